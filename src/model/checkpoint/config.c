/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of Hugging Face checkpoints, read by the description of its family; what both sources of a
 * configuration must fulfil. */
#include "model/checkpoint/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint/rope_json.h"
#include "model/family/families.h"
#include "util/error.h"

static sah_status find_family(const json_t *json, const char *where, const sah_family **out, sah_error *error)
{
    const char *architecture = json_string_value(json_array_get(json_object_get(json, "architectures"), 0));
    const char *type = json_string_value(json_object_get(json, "model_type"));
    char names[1024];
    if (architecture == NULL && type == NULL) {
        return sah_fail(error, SAH_FAILED, "%s: names neither \"architectures\" nor \"model_type\"", where);
    }
    *out = sah_family_of_json(architecture, type);
    const char *part = json_string_value(json_object_get(json_object_get(json, "text_config"), "model_type"));
    if (*out == NULL && architecture != NULL && part != NULL) *out = sah_family_of_part(architecture, part);
    if (*out != NULL) return SAH_OK;
    sah_family_list(false, names, sizeof names);
    return sah_fail(error, SAH_NOT_SUPPORTED, "%s: architecture %s is not supported: %s are", where,
                    architecture != NULL ? architecture : type, names);
}

static bool knows(const sah_family *f, const char *key)
{
    for (size_t i = 0; i < sizeof f->keys / sizeof *f->keys && f->keys[i] != NULL; i++)
        if (strcmp(f->keys[i], key) == 0) return true;
    return false;
}

/* Settings of relatives of the supported families that would change the numbers. Each is refused unless it is
 * absent, null, false or the number that changes nothing, or the family reads it. */
static sah_status refuse_unknown(const json_t *json, const char *where, const sah_family *f, sah_error *error)
{
    static const struct {
        const char *key;
        double neutral;
    } KEYS[] = {
        {"num_experts", 0},
        {"num_local_experts", 0},
        {"n_routed_experts", 0},
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
        {"alibi", 0},
    };
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        const json_t *value = json_object_get(json, KEYS[i].key);
        double gap = fabs(json_number_value(value) - KEYS[i].neutral);
        if (value == NULL || json_is_null(value) || json_is_false(value) || knows(f, KEYS[i].key) ||
            (json_is_number(value) && gap <= 0))
            continue;
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"%s\" is not supported", where, KEYS[i].key);
    }
    return SAH_OK;
}

bool sah_activation_named(const char *name, sah_activation *out)
{
    static const struct {
        const char *name;
        sah_activation activation;
    } NAMES[] = {{"silu", SAH_ACT_SILU},
                 {"swish", SAH_ACT_SILU},
                 {"gelu", SAH_ACT_GELU},
                 {"gelu_python", SAH_ACT_GELU},
                 {"gelu_new", SAH_ACT_GELU_TANH},
                 {"gelu_fast", SAH_ACT_GELU_TANH},
                 {"gelu_pytorch_tanh", SAH_ACT_GELU_TANH},
                 {"gelu_python_tanh", SAH_ACT_GELU_TANH},
                 {"relu", SAH_ACT_RELU},
                 {"relu2", SAH_ACT_RELU_SQUARED}};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (strcmp(NAMES[i].name, name) != 0) continue;
        *out = NAMES[i].activation;
        return true;
    }
    return false;
}

/* The family's own key where there is one, else the usual one. */
static const char *key_of(const json_t *json, const char *own, const char *usual)
{
    if (own == NULL || (json_object_get(json, own) == NULL && json_object_get(json, usual) != NULL))
        return usual;
    return own;
}

static sah_status read_activation(const json_t *json, const char *where, const sah_family *f, sah_config *c,
                                  sah_error *error)
{
    const char *key = key_of(json, f->activation_key, "hidden_act"), *name;
    sah_status status = sah_json_string(json, key, f->activation, &name, where, error);
    if (status != SAH_OK || sah_activation_named(name, &c->activation)) return status;
    return sah_fail(error, SAH_NOT_SUPPORTED,
                    "%s: activation %s is not supported: silu, gelu, gelu_pytorch_tanh and relu are", where,
                    name);
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

/* A family's own number counts where the key is absent; null means that it is derived. */
static int64_t assumed(const json_t *json, const char *key, int own, int64_t derived)
{
    return own > 0 && json_object_get(json, key) == NULL ? own : derived;
}

static sah_status read_sizes(const json_t *json, const char *where, const sah_family *f, sah_config *c,
                             sah_error *error)
{
    const struct {
        const char *key, *usual;
        int64_t high;
        int *out;
    } SIZES[] = {
        {f->width_key, "hidden_size", SAH_MAX_WIDTH, &c->d_model},
        {f->layers_key, "num_hidden_layers", SAH_MAX_LAYERS, &c->n_layers},
        {f->heads_key, "num_attention_heads", SAH_MAX_HEADS, &c->n_heads},
        {NULL, "vocab_size", SAH_MAX_VOCAB, &c->n_vocab},
    };
    sah_status status = SAH_OK;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES && status == SAH_OK; i++) {
        const char *key = key_of(json, SIZES[i].key, SIZES[i].usual);
        status = read_size(json, key, 0, SIZES[i].high, SIZES[i].out, where, error);
    }
    if (status != SAH_OK) return status;
    status = read_size(json, f->ff_key != NULL ? f->ff_key : "intermediate_size",
                       (int64_t)f->ff_times * c->d_model, SAH_MAX_WIDTH, &c->d_ff, where, error);
    if (status != SAH_OK) return status;
    status = read_size(json, key_of(json, f->positions_key, "max_position_embeddings"), f->max_positions,
                       INT32_MAX, &c->max_positions, where, error);
    if (status != SAH_OK) return status;
    c->n_kv_heads = c->n_heads;
    if (!f->ungrouped)
        status = read_size(json, "num_key_value_heads",
                           assumed(json, "num_key_value_heads", f->kv_heads, c->n_heads), SAH_MAX_HEADS,
                           &c->n_kv_heads, where, error);
    if (status != SAH_OK) return status;
    const int64_t derived = c->d_model % c->n_heads == 0 ? c->d_model / c->n_heads : 0;
    const int64_t width = assumed(json, "head_dim", f->head_dim, derived);
    if (width == 0 && !json_is_integer(json_object_get(json, "head_dim"))) {
        return sah_fail(error, SAH_FAILED, "%s: \"hidden_size\" %d is not divisible by %d heads", where,
                        c->d_model, c->n_heads);
    }
    return read_size(json, "head_dim", width, SAH_MAX_WIDTH, &c->head_dim, where, error);
}

/* ---- Windows ------------------------------------------------------------------------------------------- */

/* Whether a layer has a window by "layer_types"; -1: it does not say. */
static sah_status typed_window(const json_t *types, int layer, const char *where, int *out, sah_error *error)
{
    const char *type = json_string_value(json_array_get(types, (size_t)layer));
    *out = -1;
    if (json_array_size(types) == 0) return SAH_OK;
    *out = type != NULL && strcmp(type, "sliding_attention") == 0;
    if (*out == 1 ||
        (type != NULL && (strcmp(type, "full_attention") == 0 || strcmp(type, "attention") == 0)))
        return SAH_OK;
    return sah_fail(error, SAH_NOT_SUPPORTED, "%s: layer type %s is not supported", where,
                    type != NULL ? type : "?");
}

/* Layers whose window, or rotary setting, is not that of all others. */
static sah_status set_windows(const json_t *json, const char *where, int window, int first, int pattern,
                              sah_config *c, sah_error *error)
{
    const json_t *types = json_object_get(json, "layer_types");
    bool same = true;
    if (json_array_size(types) > 0 && json_array_size(types) != (size_t)c->n_layers)
        return sah_fail(error, SAH_FAILED, "%s: \"layer_types\" has %zu entries for %d layers", where,
                        json_array_size(types), c->n_layers);
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    for (int l = 0; l < c->n_layers; l++) {
        int sliding;
        sah_status status = typed_window(types, l, where, &sliding, error);
        if (status != SAH_OK) return status;
        if (sliding < 0) sliding = l >= first && (pattern == 0 || (l + 1) % pattern != 0);
        c->layer_kind[l].window = sliding ? window : 0;
        c->layer_kind[l].rope = sliding && c->n_ropes > 1 ? 1 : 0;
        same = same && c->layer_kind[l].window == c->layer_kind[0].window;
    }
    if (same) c->sliding_window = c->layer_kind[0].window;
    if (same && c->n_ropes < 2) { /* nothing that is a layer's own */
        sah_layer_kind *kinds = c->layer_kind;
        c->layer_kind = NULL;
        free(kinds);
    }
    return SAH_OK;
}

static sah_status read_windows(const json_t *json, const char *where, const sah_family *f, sah_config *c,
                               sah_error *error)
{
    const bool silent = json_object_get(json, "sliding_window") == NULL;
    int64_t window, first = 0, pattern = f->pattern;
    bool wanted = true;
    if (f->own_types) return SAH_OK;
    sah_status status = sah_json_int(json, "sliding_window", silent ? f->default_window : 0, 0, INT32_MAX,
                                     &window, where, error);
    if (status == SAH_OK && f->windows == SAH_WINDOW_OPTIONAL) {
        status = sah_json_bool(json, "use_sliding_window", false, &wanted, where, error);
        if (status == SAH_OK)
            status = sah_json_int(json, "max_window_layers", 28, 0, INT32_MAX, &first, where, error);
        if (status == SAH_OK && silent && wanted) window = 4096;
    }
    if (status == SAH_OK && f->windows == SAH_WINDOW_PATTERN &&
        json_array_size(json_object_get(json, "layer_types")) == 0)
        status = sah_json_int(json, "sliding_window_pattern", pattern, 0, INT32_MAX, &pattern, where, error);
    if (status != SAH_OK) return status;
    if (f->windows == SAH_WINDOW_NONE || !wanted) window = 0;
    if (window == 0 && c->n_ropes < 2) {
        for (int l = 0; l < c->n_layers;
             l++) { /* types that this family does not have are refused all the same */
            int sliding;
            status = typed_window(json_object_get(json, "layer_types"), l, where, &sliding, error);
            if (status != SAH_OK) return status;
        }
        return SAH_OK;
    }
    if (f->windows == SAH_WINDOW_ALL) {
        c->sliding_window = (int)window;
        return SAH_OK;
    }
    return set_windows(json, where, (int)window, (int)first, (int)pattern, c, error);
}

/* ---- All of it ----------------------------------------------------------------------------------------- */

static sah_status read_bias(const json_t *json, sah_biases biases, const char *own, const char *key,
                            bool *out, const char *where, sah_error *error)
{
    const bool usual = biases == SAH_BIAS_ALWAYS || biases == SAH_BIAS_BY_KEY_ELSE_YES;
    *out = usual;
    return biases >= SAH_BIAS_BY_KEY ? sah_json_bool(json, own != NULL ? own : key, usual, out, where, error)
                                     : SAH_OK;
}

static sah_status read_config(const json_t *json, const char *where, const sah_family *f, sah_config *c,
                              sah_error *error)
{
    double epsilon;
    sah_status status = refuse_unknown(json, where, f, error);
    if (status == SAH_OK) status = read_activation(json, where, f, c, error);
    if (status == SAH_OK) status = read_sizes(json, where, f, c, error);
    if (status == SAH_OK && f->positions == NULL) status = sah_rope_from_json(json, where, f, c, error);
    if (status == SAH_OK) status = read_windows(json, where, f, c, error);
    if (status == SAH_OK)
        status = read_bias(json, f->qkv_bias, f->qkv_bias_key, "attention_bias", &c->qkv_bias, where, error);
    if (status == SAH_OK)
        status = read_bias(json, f->o_bias, f->o_bias_key, "attention_bias", &c->o_bias, where, error);
    if (status == SAH_OK)
        status = read_bias(json, f->mlp_bias, f->mlp_bias_key, "mlp_bias", &c->mlp_bias, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(json, "tie_word_embeddings", f->tied, &c->tied, where, error);
    if (status == SAH_OK)
        status = sah_json_number(json, key_of(json, f->epsilon_key, "rms_norm_eps"), f->epsilon, &epsilon,
                                 where, error);
    if (status != SAH_OK) return status;
    c->norm_eps = (float)fmin(epsilon, 1); /* 1, as NaN becomes too, is refused below */
    if (f->read_json != NULL) status = f->read_json(json, where, c, error);
    return status == SAH_OK ? sah_config_check(c, where, error) : status;
}

sah_status sah_config_from_json(const json_t *json, const char *where, sah_config *out,
                                const sah_family **family, sah_error *error)
{
    const sah_family *f;
    *out = sah_config_neutral();
    if (!json_is_object(json)) return sah_fail(error, SAH_FAILED, "%s: not a JSON object", where);
    sah_status status = find_family(json, where, &f, error);
    if (status != SAH_OK) return status;
    *family = f;
    sah_config_of_family(f, out);
    const json_t *text = json_object_get(json, "text_config");
    out->is_part = json_is_object(text) || json_is_object(json_object_get(json, "vision_config"));
    return read_config(json_is_object(text) ? text : json, where, f, out, error);
}

void sah_config_of_family(const sah_family *f, sah_config *c)
{
    snprintf(c->family, sizeof c->family, "%s", f->name);
    c->qk_norm = f->qk_norm;
    c->norm = f->norm;
    c->residual = f->residual;
    c->gated = !f->plain;
    if (f->positions != NULL) c->n_ropes = 0;
}

/* What a layer of attention has of its own. */
static sah_status check_attention(const sah_config *c, int layer, const char *where, sah_error *error)
{
    const sah_layer_kind kind = sah_config_layer(c, layer);
    if (kind.mixer != SAH_MIXER_ATTENTION) return SAH_OK;
    if (kind.n_heads < 1 || kind.n_heads > c->n_heads || kind.n_kv_heads < 1 ||
        kind.n_kv_heads > c->n_kv_heads || kind.n_heads % kind.n_kv_heads != 0 || kind.head_dim < 2 ||
        kind.head_dim > c->head_dim || kind.head_dim % 2 != 0 ||
        (kind.rope >= 0 && c->ropes[kind.rope].dims > kind.head_dim))
        return sah_fail(
            error, SAH_FAILED,
            "%s: layer %d: %d heads of width %d and %d key/value heads do not make an attention layer", where,
            layer, kind.n_heads, kind.head_dim, kind.n_kv_heads);
    if (kind.borrows == 0) return SAH_OK;
    const int from = layer - kind.borrows;
    const sah_layer_kind lender = sah_config_layer(c, from >= 0 && from < layer ? from : layer);
    if (lender.mixer == SAH_MIXER_ATTENTION && lender.borrows == 0 && lender.n_kv_heads == kind.n_kv_heads &&
        lender.head_dim == kind.head_dim)
        return SAH_OK;
    return sah_fail(error, SAH_FAILED,
                    "%s: layer %d has no layer like it whose keys and values it could share", where, layer);
}

sah_status sah_config_check(const sah_config *c, const char *where, sah_error *error)
{
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
    if ((int64_t)e->n * (e->width > c->d_model ? e->width : c->d_model) > INT32_MAX) {
        return sah_fail(error, SAH_FAILED, "%s: %d experts of width %d are more than any model has", where,
                        e->n, e->width);
    }
    if (e->groups > 0 && (e->n % e->groups != 0 || e->active_groups < 1 || e->active_groups > e->groups ||
                          e->active > e->n / e->groups * e->active_groups)) {
        return sah_fail(error, SAH_FAILED, "%s: %d of %d experts do not come from %d of %d groups", where,
                        e->active, e->n, e->active_groups, e->groups);
    }
    for (int l = 0; l < c->n_layers; l++) {
        const sah_layer_kind kind = sah_config_layer(c, l);
        const sah_delta *delta = &c->delta;
        if (kind.n_kv_heads < 1 || kind.n_heads % kind.n_kv_heads != 0)
            return sah_fail(error, SAH_FAILED, "%s: %d heads cannot share %d key/value heads evenly", where,
                            kind.n_heads, kind.n_kv_heads);
        if (kind.mixer == SAH_MIXER_ATTENTION && kind.head_dim % 2 != 0)
            return sah_fail(error, SAH_FAILED, "%s: heads are %d wide, RoPE needs an even width", where,
                            kind.head_dim);
        sah_status status = check_attention(c, l, where, error);
        if (status != SAH_OK) return status;
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
    for (int i = 0; i < c->n_ropes; i++) {
        if (!(c->ropes[i].theta > 0) || !isfinite(c->ropes[i].theta))
            return sah_fail(error, SAH_FAILED, "%s: the rope base %g is not positive", where,
                            c->ropes[i].theta);
    }
    return SAH_OK;
}
