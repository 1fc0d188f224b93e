/* The configuration in a GGUF file's metadata. Keys:
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#include "model/checkpoint/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"

enum { KEY_BYTES = 96 };

/* What the look-ups share: `family` is the prefix of the architecture's own keys. */
typedef struct reader {
    const sah_gguf *gguf;
    const char *where, *family;
} reader;

static const char *key_of(const reader *r, const char *suffix, char key[KEY_BYTES])
{
    snprintf(key, KEY_BYTES, "%s.%s", r->family, suffix);
    return key;
}

/* A size of at least 1; `otherwise` 0 makes it a must. */
static sah_status read_size(const reader *r, const char *suffix, int64_t otherwise, int64_t high, int *out,
                            sah_error *error)
{
    char key[KEY_BYTES];
    int64_t value;
    sah_status status = sah_gguf_int(r->gguf, key_of(r, suffix, key), otherwise, 1, high, &value, error);
    if (status != SAH_OK) return status;
    if (value == 0) return sah_fail(error, SAH_FAILED, "%s: metadata key %s is missing", r->where, key);
    *out = (int)value;
    return SAH_OK;
}

static sah_status read_number(const reader *r, const char *suffix, double otherwise, double *out,
                              sah_error *error)
{
    char key[KEY_BYTES];
    return sah_gguf_number(r->gguf, key_of(r, suffix, key), otherwise, out, error);
}

/* Settings that would change the numbers: refused unless absent or the number that changes nothing. */
static sah_status refuse_unknown(const reader *r, sah_error *error)
{
    static const struct {
        const char *suffix;
        double neutral;
    } KEYS[] = {
        {"expert_count", 0},         {"attn_logit_softcapping", 0}, {"final_logit_softcapping", 0},
        {"logit_scale", 1},          {"embedding_scale", 1},        {"residual_scale", 1},
        {"attention.scale", 0},      {"attention.clamp_kqv", 0},    {"rope.scaling.attn_factor", 1},
        {"nextn_predict_layers", 0},
    };
    char key[KEY_BYTES];
    bool causal;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        double value;
        sah_status status = read_number(r, KEYS[i].suffix, KEYS[i].neutral, &value, error);
        if (status != SAH_OK) return status;
        if (!(fabs(value - KEYS[i].neutral) <= 0)) {
            return sah_fail(error, SAH_FAILED, "%s: %s = %g is not supported", r->where,
                            key_of(r, KEYS[i].suffix, key), value);
        }
    }
    sah_status status = sah_gguf_bool(r->gguf, key_of(r, "attention.causal", key), true, &causal, error);
    if (status == SAH_OK && !causal)
        return sah_fail(error, SAH_FAILED, "%s: attention that is not causal is not supported", r->where);
    return status;
}

/* The embedding's rows are the vocabulary. */
static sah_status read_vocabulary(const reader *r, sah_config *c, sah_error *error)
{
    const sah_tensor *embedding = sah_tensors_find(&r->gguf->tensors, "token_embd.weight");
    if (embedding == NULL) return read_size(r, "vocab_size", 0, SAH_MAX_VOCAB, &c->n_vocab, error);
    if (embedding->dims[0] < 1 || embedding->dims[0] > SAH_MAX_VOCAB) {
        return sah_fail(error, SAH_FAILED, "%s: a vocabulary of %zu tokens", r->where, embedding->dims[0]);
    }
    c->n_vocab = (int)embedding->dims[0];
    return SAH_OK;
}

static sah_status read_sizes(const reader *r, sah_config *c, sah_error *error)
{
    const struct {
        const char *suffix;
        int64_t high;
        int *out;
    } SIZES[] = {
        {"block_count", SAH_MAX_LAYERS, &c->n_layers},
        {"embedding_length", SAH_MAX_WIDTH, &c->d_model},
        {"feed_forward_length", SAH_MAX_WIDTH, &c->d_ff},
        {"attention.head_count", SAH_MAX_HEADS, &c->n_heads},
        {"context_length", INT32_MAX, &c->max_positions},
    };
    sah_status status = SAH_OK;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES && status == SAH_OK; i++) {
        status = read_size(r, SIZES[i].suffix, 0, SIZES[i].high, SIZES[i].out, error);
    }
    if (status != SAH_OK) return status;
    status = read_size(r, "attention.head_count_kv", c->n_heads, SAH_MAX_HEADS, &c->n_kv_heads, error);
    if (status != SAH_OK) return status;
    /* 0, a head width that cannot be derived, makes the key a must. */
    int64_t derived = c->d_model % c->n_heads == 0 ? c->d_model / c->n_heads : 0;
    status = read_size(r, "attention.key_length", derived, SAH_MAX_WIDTH, &c->head_dim, error);
    return status != SAH_OK ? status : read_vocabulary(r, c, error);
}

/* Widths that could differ from the head's in this format, and must not here. */
static sah_status check_widths(const reader *r, const sah_config *c, sah_error *error)
{
    static const char *const KEYS[] = {"attention.value_length", "rope.dimension_count"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        char key[KEY_BYTES];
        int width = 0;
        sah_status status = read_size(r, KEYS[i], c->head_dim, SAH_MAX_WIDTH, &width, error);
        if (status != SAH_OK) return status;
        if (width != c->head_dim) {
            return sah_fail(error, SAH_FAILED, "%s: %s is %d but heads are %d wide, which is not supported",
                            r->where, key_of(r, KEYS[i], key), width, c->head_dim);
        }
    }
    return SAH_OK;
}

static sah_status read_rope(const reader *r, sah_config *c, sah_error *error)
{
    char key[KEY_BYTES];
    const char *type;
    size_t length;
    double old_factor;
    c->ropes[0].dims = c->head_dim;
    sah_status status = read_number(r, "rope.freq_base", 10000, &c->ropes[0].theta, error);
    if (status != SAH_OK) return status;
    status = read_number(r, "rope.scale_linear", 1, &old_factor, error);
    if (status != SAH_OK) return status;
    status = read_number(r, "rope.scaling.factor", old_factor, &c->ropes[0].factor, error);
    if (status != SAH_OK) return status;
    status = sah_gguf_string(r->gguf, key_of(r, "rope.scaling.type", key), &type, &length, error);
    if (status != SAH_OK) return status;
    /* A factor without a type is linear. */
    bool none = type != NULL && length == 4 && memcmp(type, "none", 4) == 0;
    bool linear = type == NULL || (length == 6 && memcmp(type, "linear", 6) == 0);
    if (!none && !linear) {
        return sah_fail(error, SAH_FAILED, "%s: rope scaling %.*s is not supported: none and linear are",
                        r->where, (int)(length < 100 ? length : 100), type);
    }
    if (linear && !(c->ropes[0].factor >= 0 && isfinite(c->ropes[0].factor))) {
        return sah_fail(error, SAH_FAILED, "%s: the rope factor %g is not a positive number", r->where,
                        c->ropes[0].factor);
    }
    /* A factor of 0 stands for none, as 1 does. */
    bool scaled = linear && c->ropes[0].factor > 0 && fabs(c->ropes[0].factor - 1) > 0;
    if (scaled) c->ropes[0].scaling = SAH_ROPE_LINEAR;
    if (sah_tensors_find(&r->gguf->tensors, "rope_freqs.weight") == NULL) return SAH_OK;
    if (scaled) return sah_fail(error, SAH_FAILED, "%s: rope factors and linear scaling at once", r->where);
    c->ropes[0].scaling = SAH_ROPE_FACTORS;
    return SAH_OK;
}

static sah_status find_family(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    static const char *const FAMILIES[] = {"llama", "qwen2", "qwen3"};
    const char *name;
    size_t length;
    sah_status status = sah_gguf_string(gguf, "general.architecture", &name, &length, error);
    if (status != SAH_OK) return status;
    if (name == NULL)
        return sah_fail(error, SAH_FAILED, "%s: metadata key general.architecture is missing", where);
    for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++) {
        if (length != strlen(FAMILIES[i]) || memcmp(name, FAMILIES[i], length) != 0) continue;
        snprintf(c->family, sizeof c->family, "%s", FAMILIES[i]);
        return SAH_OK;
    }
    return sah_fail(error, SAH_FAILED, "%s: architecture %.*s is not supported: llama, qwen2 and qwen3 are",
                    where, (int)(length < 100 ? length : 100), name);
}

sah_status sah_config_from_gguf(const sah_gguf *gguf, sah_config *out, sah_error *error)
{
    const sah_tensors *tensors = &gguf->tensors;
    const reader r = {gguf, tensors->files[0].path, out->family};
    int64_t window;
    double epsilon;
    char key[KEY_BYTES];
    *out = sah_config_neutral();
    sah_status status = find_family(gguf, r.where, out, error);
    if (status != SAH_OK) return status;
    status = refuse_unknown(&r, error);
    if (status != SAH_OK) return status;
    status = read_sizes(&r, out, error);
    if (status != SAH_OK) return status;
    status = check_widths(&r, out, error);
    if (status != SAH_OK) return status;
    status = read_rope(&r, out, error);
    if (status != SAH_OK) return status;
    status = sah_gguf_int(gguf, key_of(&r, "attention.sliding_window", key), 0, 0, INT32_MAX, &window, error);
    if (status != SAH_OK) return status;
    status = read_number(&r, "attention.layer_norm_rms_epsilon", NAN, &epsilon, error);
    if (status != SAH_OK) return status;
    out->sliding_window = (int)window;
    out->norm_eps = (float)fmin(epsilon, 1); /* 1, as NaN becomes too, is refused below */
    out->qk_norm = strcmp(out->family, "qwen3") == 0 ? SAH_QK_NORM_HEAD : SAH_QK_NORM_NONE;
    out->tied = sah_tensors_find(tensors, "output.weight") == NULL;
    /* This format does not say which biases there are: the first layer shows it, and the others must agree.
     */
    out->qkv_bias = sah_tensors_find(tensors, "blk.0.attn_q.bias") != NULL;
    out->o_bias = sah_tensors_find(tensors, "blk.0.attn_output.bias") != NULL;
    out->mlp_bias = sah_tensors_find(tensors, "blk.0.ffn_gate.bias") != NULL;
    return sah_config_check(out, r.where, error);
}
