/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration in a GGUF file's metadata. Keys:
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#include "model/checkpoint/config.h"
#include "model/checkpoint/config_gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/family/families.h"
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

static bool knows(const sah_family *f, const char *key)
{
    for (size_t i = 0; i < sizeof f->keys / sizeof *f->keys && f->keys[i] != NULL; i++)
        if (strcmp(f->keys[i], key) == 0) return true;
    return false;
}

/* Settings that would change the numbers: refused unless absent or the number that changes nothing, or the family
 * reads them (by config.json's name for the same). */
static sah_status refuse_unknown(const reader *r, const sah_family *f, sah_error *error)
{
    static const struct {
        const char *suffix;
        double neutral;
        const char *key;
    } KEYS[] = {
        {"expert_count", 0, "num_experts"},
        {"attn_logit_softcapping", 0, "attn_logit_softcapping"},
        {"final_logit_softcapping", 0, "final_logit_softcapping"},
        {"logit_scale", 1, "logits_scaling"},
        {"embedding_scale", 1, "embedding_multiplier"},
        {"residual_scale", 1, "residual_multiplier"},
        {"attention.scale", 0, "attention_multiplier"},
        {"attention.clamp_kqv", 0, ""},
        {"nextn_predict_layers", 0, "num_nextn_predict_layers"},
    };
    char key[KEY_BYTES];
    bool causal;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        double value;
        sah_status status = read_number(r, KEYS[i].suffix, KEYS[i].neutral, &value, error);
        if (status != SAH_OK) return status;
        if (!(fabs(value - KEYS[i].neutral) <= 0) && !knows(f, KEYS[i].key)) {
            return sah_fail(error, SAH_NOT_SUPPORTED, "%s: %s = %g is not supported", r->where,
                            key_of(r, KEYS[i].suffix, key), value);
        }
    }
    sah_status status = sah_gguf_bool(r->gguf, key_of(r, "attention.causal", key), true, &causal, error);
    if (status == SAH_OK && !causal)
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: attention that is not causal is not supported",
                        r->where);
    return status;
}

/* What may be a number of at least `low` for each layer: *out is the largest; true: they differ. */
static sah_status read_by_layer(const reader *r, const sah_config *c, const char *suffix, int64_t otherwise,
                                int64_t low, int64_t high, int *out, bool *differ, sah_error *error)
{
    char key[KEY_BYTES];
    int64_t first = 0, here;
    key_of(r, suffix, key);
    *out = 0;
    for (int l = 0; l < c->n_layers; l++) {
        sah_status status =
            sah_gguf_int_of(r->gguf, key, (size_t)l, (size_t)c->n_layers, otherwise, low, high, &here, error);
        if (status != SAH_OK) return status;
        if (here < low || (l == c->n_layers - 1 && here == 0 && *out == 0))
            return sah_fail(error, SAH_FAILED, "%s: metadata key %s is missing", r->where, key);
        if (l == 0) first = here;
        *differ = *differ || here != first;
        if (here > *out) *out = (int)here;
    }
    return SAH_OK;
}

/* Key heads and the MLP's width, which layers may have of their own. */
static sah_status read_layers(const reader *r, const sah_family *f, sah_config *c, sah_error *error)
{
    static const char *const SUFFIXES[] = {"attention.head_count_kv", "feed_forward_length"};
    bool differ = false;
    const int64_t no_keys = f->layers_differ ? 0 : 1; /* the fewest: layers without attention have none */
    int narrow = 0; /* files of experts alone have that width at least */
    sah_status status = read_size(r, "expert_feed_forward_length", -1, SAH_MAX_WIDTH, &narrow, error);
    if (narrow < 0) narrow = 0;
    if (status == SAH_OK)
        status = read_by_layer(r, c, SUFFIXES[0], c->n_heads, no_keys, SAH_MAX_HEADS, &c->n_kv_heads, &differ,
                               error);
    if (status == SAH_OK)
        status = read_by_layer(r, c, SUFFIXES[1], narrow, 1, SAH_MAX_WIDTH, &c->d_ff, &differ, error);
    if (status != SAH_OK || !differ) return status;
    if (!f->layers_differ)
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: %s.%s or %s.%s differs between layers, which is not supported", r->where,
                        r->family, SUFFIXES[0], r->family, SUFFIXES[1]);
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, r->where);
    for (int l = 0; l < c->n_layers && status == SAH_OK; l++) {
        char key[KEY_BYTES];
        int64_t heads = 0, width = 0;
        status = sah_gguf_int_of(r->gguf, key_of(r, SUFFIXES[0], key), (size_t)l, (size_t)c->n_layers,
                                 c->n_heads, no_keys, SAH_MAX_HEADS, &heads, error);
        if (status == SAH_OK)
            status = sah_gguf_int_of(r->gguf, key_of(r, SUFFIXES[1], key), (size_t)l, (size_t)c->n_layers,
                                     narrow, 1, SAH_MAX_WIDTH, &width, error);
        c->layer_kind[l].n_kv_heads = (int)heads;
        c->layer_kind[l].d_ff = (int)width;
    }
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

static sah_status read_sizes(const reader *r, const sah_family *f, sah_config *c, sah_error *error)
{
    const struct {
        const char *suffix;
        int64_t high;
        int *out;
    } SIZES[] = {
        {"block_count", SAH_MAX_LAYERS, &c->n_layers},
        {"embedding_length", SAH_MAX_WIDTH, &c->d_model},
        {"attention.head_count", SAH_MAX_HEADS, &c->n_heads},
        {"context_length", INT32_MAX, &c->max_positions},
    };
    sah_status status = SAH_OK;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES && status == SAH_OK; i++) {
        status = read_size(r, SIZES[i].suffix, 0, SIZES[i].high, SIZES[i].out, error);
    }
    if (status != SAH_OK) return status;
    /* 0, a head width that cannot be derived, makes the key a must. */
    int64_t derived = c->d_model % c->n_heads == 0 ? c->d_model / c->n_heads : 0;
    status = read_size(r, "attention.key_length", derived, SAH_MAX_WIDTH, &c->head_dim, error);
    if (status == SAH_OK) status = read_layers(r, f, c, error);
    return status != SAH_OK ? status : read_vocabulary(r, c, error);
}

/* A width that could differ from the head's in this format, and must not here. */
static sah_status check_widths(const reader *r, const sah_config *c, sah_error *error)
{
    char key[KEY_BYTES];
    int width = 0;
    sah_status status = read_size(r, "attention.value_length", c->head_dim, SAH_MAX_WIDTH, &width, error);
    if (status != SAH_OK) return status;
    if (width == c->head_dim) return SAH_OK;
    return sah_fail(error, SAH_NOT_SUPPORTED, "%s: %s is %d but heads are %d wide, which is not supported",
                    r->where, key_of(r, "attention.value_length", key), width, c->head_dim);
}

static bool is_text(const char *text, size_t length, const char *word)
{
    return text != NULL && strlen(word) == length && memcmp(text, word, length) == 0;
}

/* YaRN's numbers as llama.cpp assumes them where the file is silent. The log multiplier is config.json's
 * "mscale_all_dim", beside an "mscale" of 1. */
static sah_status read_yarn(const reader *r, const sah_config *c, sah_rope *rope, sah_error *error)
{
    double attention, multiplier;
    int64_t original;
    char key[KEY_BYTES];
    sah_status status = sah_gguf_int(r->gguf, key_of(r, "rope.scaling.original_context_length", key),
                                     c->max_positions, 1, INT32_MAX, &original, error);
    if (status == SAH_OK) status = read_number(r, "rope.scaling.yarn_beta_fast", 32, &rope->beta_fast, error);
    if (status == SAH_OK) status = read_number(r, "rope.scaling.yarn_beta_slow", 1, &rope->beta_slow, error);
    if (status == SAH_OK) status = read_number(r, "rope.scaling.attn_factor", 1, &attention, error);
    if (status == SAH_OK) status = read_number(r, "rope.scaling.yarn_log_multiplier", 0, &multiplier, error);
    if (status != SAH_OK) return status;
    if (!(rope->factor > 0) || !(attention > 0) || !(multiplier >= 0) || !(rope->beta_fast > 0) ||
        !(rope->beta_slow > 0))
        return sah_fail(error, SAH_FAILED, "%s: a number of the yarn scaling is not positive", r->where);
    rope->original_positions = (int)original;
    const double growth = rope->factor > 1 ? 0.1 * log(rope->factor) : 0;
    rope->attention_factor =
        (float)(attention * (growth + 1) / (multiplier > 0 ? growth * multiplier + 1 : 1));
    rope->truncate = true;
    rope->scaling = SAH_ROPE_YARN;
    return SAH_OK;
}

/* Factors in tensors: Llama 3's, or LongRoPE's short ones, up to the positions that those are for. */
static sah_status read_factors(const reader *r, const sah_config *c, sah_rope *rope, sah_error *error)
{
    double attention;
    int64_t original;
    char key[KEY_BYTES];
    const sah_tensors *tensors = &r->gguf->tensors;
    bool is_long = sah_tensors_find(tensors, "rope_factors_short.weight") != NULL;
    if (!is_long && sah_tensors_find(tensors, "rope_freqs.weight") == NULL) return SAH_OK;
    if (rope->scaling != SAH_ROPE_NONE)
        return sah_fail(error, SAH_FAILED, "%s: rope factors and another scaling at once", r->where);
    rope->scaling = is_long ? SAH_ROPE_LONG : SAH_ROPE_FACTORS;
    if (!is_long) return SAH_OK;
    sah_status status = sah_gguf_int(r->gguf, key_of(r, "rope.scaling.original_context_length", key),
                                     c->max_positions, 1, INT32_MAX, &original, error);
    if (status == SAH_OK) status = read_number(r, "rope.scaling.attn_factor", 1, &attention, error);
    if (status != SAH_OK) return status;
    rope->original_positions = (int)original;
    if (original < c->max_positions) rope->limit = (int)original;
    rope->attention_factor = (float)attention;
    return attention > 0
               ? SAH_OK
               : sah_fail(error, SAH_FAILED, "%s: rope.scaling.attn_factor is %g", r->where, attention);
}

static sah_status read_rope(const reader *r, const sah_family *f, sah_config *c, sah_error *error)
{
    char key[KEY_BYTES];
    const char *type;
    size_t length;
    double old_factor;
    sah_rope *rope = &c->ropes[0];
    rope->neighbours = f->neighbours;
    sah_status status = read_size(r, "rope.dimension_count", c->head_dim, SAH_MAX_WIDTH, &rope->dims, error);
    if (status == SAH_OK) status = read_number(r, "rope.freq_base", 10000, &rope->theta, error);
    if (status == SAH_OK) status = read_number(r, "rope.scale_linear", 1, &old_factor, error);
    if (status == SAH_OK) status = read_number(r, "rope.scaling.factor", old_factor, &rope->factor, error);
    if (status == SAH_OK)
        status = sah_gguf_string(r->gguf, key_of(r, "rope.scaling.type", key), &type, &length, error);
    if (status != SAH_OK) return status;
    if (rope->dims > c->head_dim || rope->dims % 2 != 0 || (f->permuted && rope->dims < c->head_dim))
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: %s is %d but heads are %d wide, which is not supported", r->where,
                        key_of(r, "rope.dimension_count", key), rope->dims, c->head_dim);
    /* A factor without a type is linear, and one of 0 stands for none, as 1 does. */
    bool linear = type == NULL || is_text(type, length, "linear");
    if (!linear && !is_text(type, length, "none") && !is_text(type, length, "yarn") &&
        !is_text(type, length, "longrope"))
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: rope scaling %.*s is not supported: none, linear, yarn and longrope are",
                        r->where, (int)(length < 100 ? length : 100), type);
    if (linear && !(rope->factor >= 0 && isfinite(rope->factor)))
        return sah_fail(error, SAH_FAILED, "%s: the rope factor %g is not a positive number", r->where,
                        rope->factor);
    if (linear && rope->factor > 0 && fabs(rope->factor - 1) > 0) rope->scaling = SAH_ROPE_LINEAR;
    if (is_text(type, length, "yarn")) status = read_yarn(r, c, rope, error);
    if (status == SAH_OK) status = read_factors(r, c, rope, error);
    if (status != SAH_OK || !(f->local_theta > 0)) return status;
    c->ropes[1] = (sah_rope){.attention_factor = 1, .dims = rope->dims, .neighbours = f->neighbours};
    c->n_ropes = 2;
    return read_number(r, "rope.freq_base_swa", f->local_theta, &c->ropes[1].theta, error);
}

/* Which layers have a window: as the file says, layer by layer or every so many-th without, else by the family's
 * pattern. */
static sah_status read_windows(const reader *r, const sah_family *f, sah_config *c, sah_error *error)
{
    int64_t window, pattern = f->windows == SAH_WINDOW_PATTERN ? f->pattern : 0;
    char key[KEY_BYTES];
    sah_status status =
        sah_gguf_int(r->gguf, key_of(r, "attention.sliding_window", key), 0, 0, INT32_MAX, &window, error);
    if (status != SAH_OK) return status;
    const sah_gguf_value *own = sah_gguf_find(r->gguf, key_of(r, "attention.sliding_window_pattern", key));
    const bool listed = own != NULL && own->type == SAH_GGUF_ARRAY;
    if (!listed) status = sah_gguf_int(r->gguf, key, pattern, 0, INT32_MAX, &pattern, error);
    if (status != SAH_OK) return status;
    if (!listed && pattern == 0) {
        c->sliding_window = (int)window;
        for (int l = 0; c->layer_kind != NULL && l < c->n_layers; l++) c->layer_kind[l].window = (int)window;
        return SAH_OK;
    }
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, r->where);
    for (int l = 0; l < c->n_layers && status == SAH_OK; l++) {
        int64_t slides = 0;
        if (listed)
            status = sah_gguf_int_of(r->gguf, key, (size_t)l, (size_t)c->n_layers, 0, 0, 1, &slides, error);
        else
            slides = (l + 1) % pattern != 0;
        c->layer_kind[l].window = slides ? (int)window : 0;
        c->layer_kind[l].rope = slides && c->n_ropes > 1 ? 1 : 0;
    }
    return status;
}

static sah_status find_family(const sah_gguf *gguf, const char *where, const sah_family **out,
                              sah_error *error)
{
    const char *name;
    size_t length;
    char names[1024], key[KEY_BYTES];
    int64_t experts;
    sah_status status = sah_gguf_string(gguf, "general.architecture", &name, &length, error);
    if (status != SAH_OK) return status;
    if (name == NULL)
        return sah_fail(error, SAH_FAILED, "%s: metadata key general.architecture is missing", where);
    snprintf(key, sizeof key, "%.*s.expert_count", (int)(length < 64 ? length : 64), name);
    status = sah_gguf_int(gguf, key, 0, 0, SAH_MAX_EXPERTS, &experts, error);
    if (status != SAH_OK) return status;
    *out = sah_family_of_gguf(name, length, experts > 0);
    if (*out != NULL) return SAH_OK;
    sah_family_list(true, names, sizeof names);
    return sah_fail(error, SAH_NOT_SUPPORTED, "%s: architecture %.*s is not supported: %s are", where,
                    (int)(length < 100 ? length : 100), name, names);
}

/* This format does not say which biases there are: the first layer shows it, and the others must agree. */
static bool first_has(const sah_gguf *gguf, const char *first, const char *second)
{
    return sah_tensors_find(&gguf->tensors, first) != NULL ||
           sah_tensors_find(&gguf->tensors, second) != NULL;
}

sah_status sah_config_from_gguf(const sah_gguf *gguf, sah_config *out, const sah_family **family,
                                sah_error *error)
{
    const sah_tensors *tensors = &gguf->tensors;
    reader r = {gguf, tensors->files[0].path, NULL};
    const sah_family *f;
    char whole[KEY_BYTES];
    double epsilon;
    *out = sah_config_neutral();
    sah_status status = find_family(gguf, r.where, &f, error);
    if (status != SAH_OK) return status;
    *family = f;
    r.family = f->gguf;
    sah_config_of_family(f, out);
    const char *key =
        f->norm == SAH_NORM_LAYER ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    sah_activation_named(f->activation, &out->activation); /* the format does not say which */
    status = refuse_unknown(&r, f, error);
    if (status == SAH_OK) status = read_sizes(&r, f, out, error);
    if (status == SAH_OK) status = check_widths(&r, out, error);
    if (status == SAH_OK && f->positions == NULL) status = read_rope(&r, f, out, error);
    if (status == SAH_OK) status = read_windows(&r, f, out, error);
    if (status == SAH_OK) status = read_number(&r, key, NAN, &epsilon, error);
    if (status == SAH_OK && sah_gguf_find(gguf, key_of(&r, key, whole)) == NULL)
        status = sah_fail(error, SAH_FAILED, "%s: metadata key %s is missing", r.where, whole);
    if (status != SAH_OK) return status;
    out->norm_eps = (float)fmin(epsilon, 1); /* 1, as NaN becomes too, is refused below */
    out->tied = sah_tensors_find(tensors, "output.weight") == NULL;
    out->qkv_bias = first_has(gguf, "blk.0.attn_q.bias", "blk.0.attn_qkv.bias");
    out->o_bias = first_has(gguf, "blk.0.attn_output.bias", "");
    out->mlp_bias = first_has(gguf, "blk.0.ffn_down.bias", "blk.0.ffn_gate.bias");
    if (f->read_gguf != NULL) status = f->read_gguf(gguf, r.where, out, error);
    return status == SAH_OK ? sah_config_check(out, r.where, error) : status;
}
