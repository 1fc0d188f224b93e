/* config.json of Hugging Face checkpoints; what both sources of a configuration must fulfil; RoPE's
 * frequencies. */
#include "model/checkpoint/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"

/* What a family's configuration class assumes when config.json is silent. */
typedef struct family {
    const char *architecture, *type, *name;
    bool qkv_bias; /* always there */
    bool optional_window; /* `use_sliding_window` switches the window on */
    bool qk_norm;
} family;

static const family FAMILIES[] = {
    {"LlamaForCausalLM", "llama", "llama", false, false, false},
    {"MistralForCausalLM", "mistral", "mistral", false, false, false},
    {"Qwen2ForCausalLM", "qwen2", "qwen2", true, true, false},
    {"Qwen3ForCausalLM", "qwen3", "qwen3", false, true, true},
};

static sah_status find_family(const json_t *json, const char *where, const family **out, sah_error *error)
{
    const char *architecture = json_string_value(json_array_get(json_object_get(json, "architectures"), 0));
    const char *type = json_string_value(json_object_get(json, "model_type"));
    if (architecture == NULL && type == NULL) {
        return sah_fail(error, SAH_FAILED, "%s: names neither \"architectures\" nor \"model_type\"", where);
    }
    for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++) {
        *out = &FAMILIES[i];
        if (architecture != NULL ? strcmp(architecture, FAMILIES[i].architecture) == 0
                                 : strcmp(type, FAMILIES[i].type) == 0) {
            return SAH_OK;
        }
    }
    return sah_fail(error, SAH_FAILED,
                    "%s: architecture %s is not supported: Llama, Mistral, Qwen2 and Qwen3 are", where,
                    architecture != NULL ? architecture : type);
}

/* Settings of relatives of the supported families that would change the numbers. Each is refused unless it is
 * absent, null, false or the number that changes nothing. */
static sah_status refuse_unknown(const json_t *json, const char *where, sah_error *error)
{
    static const struct {
        const char *key;
        double neutral;
    } KEYS[] = {
        {"num_experts", 0},
        {"num_local_experts", 0},
        {"logit_scale", 1},
        {"attn_logit_softcapping", 0},
        {"logits_scaling", 1},
        {"scale_emb", 1},
        {"clip_qkv", 0},
        {"final_logit_softcapping", 0},
        {"embedding_multiplier", 1},
        {"no_rope_layers", 0},
        {"embedding_scale", 1},
        {"residual_multiplier", 1},
        {"attention_multiplier", 0},
        {"query_pre_attn_scalar", 0},
        {"partial_rotary_factor", 1},
    };
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        const json_t *value = json_object_get(json, KEYS[i].key);
        double gap = fabs(json_number_value(value) - KEYS[i].neutral);
        if (value == NULL || json_is_null(value) || json_is_false(value) ||
            (json_is_number(value) && gap <= 0))
            continue;
        return sah_fail(error, SAH_FAILED, "%s: \"%s\" is not supported", where, KEYS[i].key);
    }
    const char *activation;
    sah_status status = sah_json_string(json, "hidden_act", "silu", &activation, where, error);
    if (status != SAH_OK) return status;
    if (strcmp(activation, "silu") != 0 && strcmp(activation, "swish") != 0) {
        return sah_fail(error, SAH_FAILED, "%s: activation %s is not supported: silu is", where, activation);
    }
    return SAH_OK;
}

/* A size of at least 1; `otherwise` 0 makes it a must. */
static sah_status read_size(const json_t *json, const char *key, int64_t otherwise, int64_t high, int *out,
                            const char *where, sah_error *error)
{
    int64_t value;
    sah_status status = sah_json_int(json, key, otherwise, 1, high, &value, where, error);
    if (status != SAH_OK) return status;
    if (value == 0) return sah_fail(error, SAH_FAILED, "%s: \"%s\" is missing", where, key);
    *out = (int)value;
    return SAH_OK;
}

static sah_status read_sizes(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    const struct {
        const char *key;
        int64_t high;
        int *out;
    } SIZES[] = {
        {"hidden_size", SAH_MAX_WIDTH, &c->d_model},
        {"intermediate_size", SAH_MAX_WIDTH, &c->d_ff},
        {"num_hidden_layers", SAH_MAX_LAYERS, &c->n_layers},
        {"num_attention_heads", SAH_MAX_HEADS, &c->n_heads},
        {"vocab_size", SAH_MAX_VOCAB, &c->n_vocab},
    };
    sah_status status = SAH_OK;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES && status == SAH_OK; i++) {
        status = read_size(json, SIZES[i].key, 0, SIZES[i].high, SIZES[i].out, where, error);
    }
    if (status != SAH_OK) return status;
    status = read_size(json, "max_position_embeddings", 2048, INT32_MAX, &c->max_positions, where, error);
    if (status != SAH_OK) return status;
    status = read_size(json, "num_key_value_heads", c->n_heads, SAH_MAX_HEADS, &c->n_kv_heads, where, error);
    if (status != SAH_OK) return status;
    if (c->d_model % c->n_heads != 0 && !json_is_integer(json_object_get(json, "head_dim"))) {
        return sah_fail(error, SAH_FAILED, "%s: \"hidden_size\" %d is not divisible by %d heads", where,
                        c->d_model, c->n_heads);
    }
    return read_size(json, "head_dim", c->d_model / c->n_heads, SAH_MAX_WIDTH, &c->head_dim, where, error);
}

/* Whether all layers, or none, attend in a window by "layer_types"; `otherwise` where it is absent. */
static sah_status read_layer_types(const json_t *json, const char *where, bool otherwise, bool *all,
                                   sah_error *error)
{
    const json_t *types = json_object_get(json, "layer_types");
    size_t n = json_array_size(types), sliding = 0;
    *all = otherwise;
    if (n == 0) return SAH_OK;
    for (size_t i = 0; i < n; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type != NULL && strcmp(type, "sliding_attention") == 0) {
            sliding++;
        } else if (type == NULL || strcmp(type, "full_attention") != 0) {
            return sah_fail(error, SAH_FAILED, "%s: layer type %s is not supported", where,
                            type != NULL ? type : "?");
        }
    }
    if (sliding != 0 && sliding != n) {
        return sah_fail(error, SAH_FAILED, "%s: a sliding window in some layers only is not supported",
                        where);
    }
    *all = sliding == n;
    return SAH_OK;
}

/* Mistral: `sliding_window`, 4096 when config.json does not speak of it, none when it is null. Qwen: only
 * when `use_sliding_window` says so, and then from layer `max_window_layers` on. Llama has none. */
static sah_status read_window(const json_t *json, const char *where, const family *f, sah_config *c,
                              sah_error *error)
{
    int64_t window, first = 0;
    bool wanted = strcmp(f->name, "mistral") == 0, all;
    bool silent = json_object_get(json, "sliding_window") == NULL;
    sah_status status;
    if (f->optional_window) {
        status = sah_json_bool(json, "use_sliding_window", false, &wanted, where, error);
        if (status != SAH_OK) return status;
        status = sah_json_int(json, "max_window_layers", 28, 0, INT32_MAX, &first, where, error);
        if (status != SAH_OK) return status;
    }
    status = sah_json_int(json, "sliding_window", silent ? 4096 : 0, 1, INT32_MAX, &window, where, error);
    if (status != SAH_OK) return status;
    status = read_layer_types(json, where, first == 0, &all, error);
    if (status != SAH_OK) return status;
    if (!wanted || window == 0) return SAH_OK;
    bool stated = json_array_size(json_object_get(json, "layer_types")) > 0;
    if (f->optional_window && !stated && first > 0 && first < c->n_layers) {
        return sah_fail(error, SAH_FAILED, "%s: a sliding window from layer %lld on is not supported", where,
                        (long long)first);
    }
    if (all || !f->optional_window) c->sliding_window = (int)window;
    return SAH_OK;
}

static sah_status read_llama3(const json_t *json, const json_t *rope, const char *where, sah_config *c,
                              sah_error *error)
{
    int64_t original;
    sah_status status =
        sah_json_number(rope, "low_freq_factor", NAN, &c->ropes[0].low_freq_factor, where, error);
    if (status != SAH_OK) return status;
    status = sah_json_number(rope, "high_freq_factor", NAN, &c->ropes[0].high_freq_factor, where, error);
    if (status != SAH_OK) return status;
    status = sah_json_int(rope, "original_max_position_embeddings", c->max_positions, 1, INT32_MAX, &original,
                          where, error);
    if (status != SAH_OK) return status;
    /* Where the key stands beside the rope settings too, that one counts. */
    status = sah_json_int(json, "original_max_position_embeddings", original, 1, INT32_MAX, &original, where,
                          error);
    if (status != SAH_OK) return status;
    if (!(c->ropes[0].low_freq_factor > 0 && c->ropes[0].high_freq_factor > c->ropes[0].low_freq_factor)) {
        return sah_fail(error, SAH_FAILED,
                        "%s: rope type llama3 needs 0 < low_freq_factor < high_freq_factor", where);
    }
    c->ropes[0].original_positions = (int)original;
    c->ropes[0].scaling = SAH_ROPE_LLAMA3;
    return SAH_OK;
}

static sah_status read_rope(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    const json_t *rope = json_object_get(json, "rope_parameters");
    double theta, partial;
    const char *type;
    if (!json_is_object(rope)) rope = json_object_get(json, "rope_scaling");
    c->ropes[0].dims = c->head_dim;
    sah_status status = sah_json_number(json, "rope_theta", 10000, &theta, where, error);
    if (status != SAH_OK) return status;
    status = sah_json_number(rope, "rope_theta", theta, &c->ropes[0].theta, where, error);
    if (status != SAH_OK) return status;
    status = sah_json_number(rope, "partial_rotary_factor", 1, &partial, where, error);
    if (status != SAH_OK) return status;
    if (fabs(partial - 1) > 0)
        return sah_fail(error, SAH_FAILED, "%s: \"partial_rotary_factor\" is not supported", where);
    status = sah_json_string(rope, "type", "default", &type, where, error);
    if (status != SAH_OK) return status;
    status = sah_json_string(rope, "rope_type", type, &type, where, error);
    if (status != SAH_OK) return status;
    if (json_is_object(json_object_get(rope, "full_attention")) ||
        json_is_object(json_object_get(rope, "sliding_attention"))) {
        return sah_fail(error, SAH_FAILED, "%s: rope settings that differ between layers are not supported",
                        where);
    }
    if (strcmp(type, "default") == 0) return SAH_OK;
    status = sah_json_number(rope, "factor", NAN, &c->ropes[0].factor, where, error);
    if (status != SAH_OK) return status;
    if (!(c->ropes[0].factor > 0))
        return sah_fail(error, SAH_FAILED, "%s: rope type %s needs a factor > 0", where, type);
    if (strcmp(type, "llama3") == 0) return read_llama3(json, rope, where, c, error);
    if (strcmp(type, "linear") != 0) {
        return sah_fail(error, SAH_FAILED,
                        "%s: rope type %s is not supported: default, linear and llama3 are", where, type);
    }
    c->ropes[0].scaling = SAH_ROPE_LINEAR;
    return SAH_OK;
}

static sah_status read_biases(const json_t *json, const char *where, const family *f, sah_config *c,
                              sah_error *error)
{
    bool attention = false;
    sah_status status = SAH_OK;
    if (strcmp(f->name, "llama") == 0)
        status = sah_json_bool(json, "mlp_bias", false, &c->mlp_bias, where, error);
    if (status != SAH_OK) return status;
    if (strcmp(f->name, "llama") == 0 || f->qk_norm) {
        status = sah_json_bool(json, "attention_bias", false, &attention, where, error);
    }
    c->qkv_bias = f->qkv_bias || attention;
    c->o_bias = attention;
    return status;
}

sah_config sah_config_neutral(void)
{
    return (sah_config){.gated = true,
                        .embedding_scale = 1,
                        .residual_scale = 1,
                        .logit_scale = 1,
                        .ropes = {{.attention_factor = 1}},
                        .n_ropes = 1};
}

sah_layer_kind sah_config_layer(const sah_config *config, int layer)
{
    if (config->layer_kind != NULL) {
        sah_layer_kind kind = config->layer_kind[layer];
        if (kind.n_heads == 0) kind.n_heads = config->n_heads;
        return kind;
    }
    return (sah_layer_kind){.window = config->sliding_window,
                            .n_heads = config->n_heads,
                            .head_dim = config->head_dim,
                            .n_kv_heads = config->n_kv_heads};
}

sah_status sah_config_from_json(const json_t *json, const char *where, sah_config *out, sah_error *error)
{
    const family *f;
    double epsilon;
    *out = sah_config_neutral();
    if (!json_is_object(json)) return sah_fail(error, SAH_FAILED, "%s: not a JSON object", where);
    sah_status status = find_family(json, where, &f, error);
    if (status != SAH_OK) return status;
    snprintf(out->family, sizeof out->family, "%s", f->name);
    out->qk_norm = f->qk_norm ? SAH_QK_NORM_HEAD : SAH_QK_NORM_NONE;
    status = refuse_unknown(json, where, error);
    if (status != SAH_OK) return status;
    status = read_sizes(json, where, out, error);
    if (status != SAH_OK) return status;
    status = read_rope(json, where, out, error);
    if (status != SAH_OK) return status;
    status = read_window(json, where, f, out, error);
    if (status != SAH_OK) return status;
    status = read_biases(json, where, f, out, error);
    if (status != SAH_OK) return status;
    status = sah_json_bool(json, "tie_word_embeddings", false, &out->tied, where, error);
    if (status != SAH_OK) return status;
    status = sah_json_number(json, "rms_norm_eps", 1e-6, &epsilon, where, error);
    if (status != SAH_OK) return status;
    out->norm_eps = (float)fmin(epsilon, 1); /* 1, as NaN becomes too, is refused below */
    return sah_config_check(out, where, error);
}

sah_status sah_config_check(const sah_config *c, const char *where, sah_error *error)
{
    if (c->n_heads % c->n_kv_heads != 0) {
        return sah_fail(error, SAH_FAILED, "%s: %d heads cannot share %d key/value heads evenly", where,
                        c->n_heads, c->n_kv_heads);
    }
    if (c->head_dim % 2 != 0) {
        return sah_fail(error, SAH_FAILED, "%s: heads are %d wide, RoPE needs an even width", where,
                        c->head_dim);
    }
    if ((int64_t)c->n_heads * c->head_dim > SAH_MAX_WIDTH) {
        return sah_fail(error, SAH_FAILED, "%s: %d heads of width %d are more than any model has", where,
                        c->n_heads, c->head_dim);
    }
    if (!(c->norm_eps > 0 && c->norm_eps < 1)) {
        return sah_fail(error, SAH_FAILED, "%s: the norm's epsilon %g is not between 0 and 1", where,
                        (double)c->norm_eps);
    }
    const sah_experts *e = &c->experts;
    if (e->n < 0 || e->n > SAH_MAX_EXPERTS || e->active < (e->n > 0) || e->active > e->n || e->groups < 0 ||
        e->groups > SAH_MAX_EXPERT_GROUPS) {
        return sah_fail(error, SAH_FAILED, "%s: %d of %d experts in %d groups: not a mixture of experts",
                        where, e->active, e->n, e->groups);
    }
    if (e->groups > 0 && (e->n % e->groups != 0 || e->active_groups < 1 || e->active_groups > e->groups ||
                          e->active > e->n / e->groups * e->active_groups)) {
        return sah_fail(error, SAH_FAILED, "%s: %d of %d experts do not come from %d of %d groups", where,
                        e->active, e->n, e->active_groups, e->groups);
    }
    for (int l = 0; l < c->n_layers; l++) {
        const sah_layer_kind kind = sah_config_layer(c, l);
        const sah_delta *delta = &c->delta;
        if (kind.mixer == SAH_MIXER_DELTA &&
            (delta->key_heads < 1 || kind.n_heads % delta->key_heads != 0 ||
             kind.n_kv_heads != kind.n_heads || delta->key_dim < 1 || delta->key_dim > SAH_MAX_DELTA_WIDTH ||
             kind.head_dim > SAH_MAX_DELTA_WIDTH || delta->kernel < 1 || delta->kernel > SAH_MAX_KERNEL)) {
            return sah_fail(
                error, SAH_FAILED,
                "%s: layer %d: %d heads of width %d, %d key heads of width %d and a convolution of %d "
                "are no layer of the delta rule",
                where, l, kind.n_heads, kind.head_dim, delta->key_heads, delta->key_dim, delta->kernel);
        }
    }
    if (!(c->ropes[0].theta > 0) || !isfinite(c->ropes[0].theta)) {
        return sah_fail(error, SAH_FAILED, "%s: the rope base %g is not positive", where, c->ropes[0].theta);
    }
    return SAH_OK;
}

/* Llama 3.1's stretch: waves longer than original / low positions are slowed by `factor`, those shorter than
 * original / high are kept, and in between the two are blended linearly in the number of turns. */
static double llama3_frequency(const sah_rope *rope, double frequency)
{
    const double turns = rope->original_positions * frequency / (2 * M_PI);
    const double blend = (turns - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    const double keep = fmin(fmax(blend, 0), 1);
    return keep * frequency + (1 - keep) * frequency / rope->factor;
}

void sah_rope_frequencies(const sah_rope *rope, double *out)
{
    for (int i = 0; i < rope->dims / 2; i++) {
        out[i] = pow(rope->theta, -2.0 * i / rope->dims);
        if (rope->scaling == SAH_ROPE_LINEAR) out[i] /= rope->factor;
        if (rope->scaling == SAH_ROPE_LLAMA3) out[i] = llama3_frequency(rope, out[i]);
        if (rope->factors != NULL) out[i] /= (double)rope->factors[i];
    }
}
