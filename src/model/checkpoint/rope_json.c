/* SPDX-License-Identifier: Apache-2.0 */
#include "model/checkpoint/rope_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

/* What the steps share. */
typedef struct reader {
    const json_t *json; /* config.json */
    const char *where;
    const sah_family *family;
    sah_config *c;
    /* Kinds of layers have settings of their own, side by side in `kinds` (NULL: nowhere). */
    bool by_kind;
    const json_t *kinds;
} reader;

/* The settings' own number, else config.json's, else `otherwise`. */
static sah_status read_number(const reader *r, const json_t *rope, const char *key, double otherwise,
                              double *out, sah_error *error)
{
    double beside;
    sah_status status = sah_json_number(r->json, key, otherwise, &beside, r->where, error);
    return status == SAH_OK ? sah_json_number(rope, key, beside, out, r->where, error) : status;
}

/* Positions that the model was first trained on: config.json's own key counts before the settings'. */
static sah_status read_original(const reader *r, const json_t *rope, sah_rope *out, sah_error *error)
{
    static const char key[] = "original_max_position_embeddings";
    int64_t original;
    sah_status status =
        sah_json_int(rope, key, r->c->max_positions, 1, INT32_MAX, &original, r->where, error);
    if (status == SAH_OK)
        status = sah_json_int(r->json, key, original, 1, INT32_MAX, &original, r->where, error);
    out->original_positions = (int)original;
    return status;
}

static sah_status read_llama3(const reader *r, const json_t *rope, sah_rope *out, sah_error *error)
{
    sah_status status = sah_json_number(rope, "low_freq_factor", NAN, &out->low_freq_factor, r->where, error);
    if (status == SAH_OK)
        status = sah_json_number(rope, "high_freq_factor", NAN, &out->high_freq_factor, r->where, error);
    if (status == SAH_OK) status = read_original(r, rope, out, error);
    if (status != SAH_OK) return status;
    if (!(out->low_freq_factor > 0 && out->high_freq_factor > out->low_freq_factor))
        return sah_fail(error, SAH_FAILED,
                        "%s: rope type llama3 needs 0 < low_freq_factor < high_freq_factor", r->where);
    out->scaling = SAH_ROPE_LLAMA3;
    return SAH_OK;
}

/* ln-scaled factor of YaRN's attention (arXiv 2309.00071, section 3.4). */
static double yarn_scale(double factor, double by)
{
    return factor <= 1 ? 1 : 0.1 * by * log(factor) + 1;
}

static sah_status read_yarn(const reader *r, const json_t *rope, sah_rope *out, sah_error *error)
{
    double attention, scale, scale_all;
    sah_status status = sah_json_number(rope, "beta_fast", 32, &out->beta_fast, r->where, error);
    if (status == SAH_OK) status = sah_json_number(rope, "beta_slow", 1, &out->beta_slow, r->where, error);
    if (status == SAH_OK) status = sah_json_number(rope, "mscale", 0, &scale, r->where, error);
    if (status == SAH_OK) status = sah_json_number(rope, "mscale_all_dim", 0, &scale_all, r->where, error);
    if (status == SAH_OK) status = sah_json_number(rope, "attention_factor", 0, &attention, r->where, error);
    /* transformers 5 looks for it beside the kinds of layers, not among the settings of one. */
    if (status == SAH_OK)
        status =
            sah_json_bool(r->by_kind ? r->kinds : rope, "truncate", true, &out->truncate, r->where, error);
    if (status == SAH_OK) status = read_original(r, rope, out, error);
    if (status != SAH_OK) return status;
    if (!(out->beta_fast > 0)) out->beta_fast = 32; /* 0 counts as absent, as there */
    if (!(out->beta_slow > 0)) out->beta_slow = 1;
    if (!(attention > 0) && scale > 0 && scale_all > 0)
        attention = yarn_scale(out->factor, scale) / yarn_scale(out->factor, scale_all);
    else if (!(attention > 0))
        attention = yarn_scale(out->factor, 1);
    out->attention_factor = (float)attention;
    out->scaling = SAH_ROPE_YARN;
    return SAH_OK;
}

/* The short factors. Prompts that the long ones are for are refused: there every position would turn otherwise. */
static sah_status read_long(const reader *r, const json_t *rope, sah_rope *out, sah_error *error)
{
    const json_t *list = json_object_get(rope, "short_factor");
    const size_t n = (size_t)out->dims / 2;
    double attention;
    sah_status status = read_original(r, rope, out, error);
    if (status == SAH_OK) status = sah_json_number(rope, "attention_factor", 0, &attention, r->where, error);
    if (status != SAH_OK) return status;
    double factor = out->factor > 0 ? out->factor : (double)r->c->max_positions / out->original_positions;
    if (json_array_size(list) != n)
        return sah_fail(error, SAH_FAILED, "%s: \"short_factor\" has %zu numbers, %zu pairs are rotated",
                        r->where, json_array_size(list), n);
    float *factors = sah_alloc(n, sizeof *factors);
    if (factors == NULL) return sah_fail_memory(error, r->where);
    r->c->rope_factors = factors;
    for (size_t i = 0; i < n; i++) {
        const double value = json_number_value(json_array_get(list, i));
        if (!(value > 0) || !isfinite(value))
            return sah_fail(error, SAH_FAILED, "%s: \"short_factor\": number %zu is not positive", r->where,
                            i);
        factors[i] = (float)value;
    }
    if (!(attention > 0))
        attention = factor > 1 ? sqrt(1 + log(factor) / log((double)out->original_positions)) : 1;
    out->attention_factor = (float)attention;
    out->factors = factors;
    out->limit = out->original_positions < r->c->max_positions ? out->original_positions : 0;
    out->scaling = SAH_ROPE_LONG;
    return SAH_OK;
}

static sah_status check_type(const reader *r, const char *type, sah_error *error)
{
    static const char *const known[] = {"default", "proportional", "longrope", "su",   "yarn",
                                        "llama3",  "dynamic",      "linear",   "mrope"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(type, known[i]) == 0) return SAH_OK;
    return sah_fail(
        error, SAH_NOT_SUPPORTED,
        "%s: rope type %s is not supported: default, linear, dynamic, llama3, yarn and longrope are",
        r->where, type);
}

static sah_status read_scaling(const reader *r, const json_t *rope, const char *type, sah_rope *out,
                               sah_error *error)
{
    sah_status status = check_type(r, type, error);
    if (status != SAH_OK || strcmp(type, "default") == 0) return status;
    if (strcmp(type, "mrope") == 0) return status; /* of text all three positions are the one */
    if (strcmp(type, "proportional") == 0) {
        out->scaling = SAH_ROPE_LINEAR;
        status = sah_json_number(rope, "factor", 1, &out->factor, r->where, error);
        if (status == SAH_OK && !(out->factor > 0))
            status = sah_fail(error, SAH_FAILED, "%s: rope type %s needs a factor > 0", r->where, type);
        if (status == SAH_OK && !(out->factor < 1) && !(out->factor > 1)) out->scaling = SAH_ROPE_NONE;
        return status;
    }
    const bool is_long = strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0,
               yarn = strcmp(type, "yarn") == 0;
    status = sah_json_number(rope, "factor", is_long || yarn ? 0 : NAN, &out->factor, r->where, error);
    if (status != SAH_OK) return status;
    if (yarn && !(out->factor > 0)) {
        status = read_original(r, rope, out, error);
        if (status != SAH_OK) return status;
        out->factor = (double)r->c->max_positions / out->original_positions;
    }
    if (!(out->factor > 0) && !is_long)
        return sah_fail(error, SAH_FAILED, "%s: rope type %s needs a factor > 0", r->where, type);
    if (is_long) return read_long(r, rope, out, error);
    if (yarn) return read_yarn(r, rope, out, error);
    if (strcmp(type, "llama3") == 0) return read_llama3(r, rope, out, error);
    if (strcmp(type, "dynamic") == 0) { /* stretches prompts that are longer than the model's positions */
        out->scaling = SAH_ROPE_DYNAMIC;
        out->limit = r->c->max_positions;
        return SAH_OK;
    }
    out->scaling = SAH_ROPE_LINEAR;
    return SAH_OK;
}

static bool reads(const sah_family *f, const char *key)
{
    for (size_t i = 0; i < sizeof f->keys / sizeof *f->keys && f->keys[i] != NULL; i++)
        if (strcmp(f->keys[i], key) == 0) return true;
    return false;
}

/* One setting; `rope` may be NULL. */
static sah_status read_one(const reader *r, const json_t *rope, double theta, sah_rope *out, sah_error *error)
{
    const double part = r->family->partial_rotary > 0 ? r->family->partial_rotary : 1;
    const char *type;
    double partial;
    *out = (sah_rope){.attention_factor = 1, .neighbours = r->family->neighbours};
    sah_status status = sah_json_number(rope, "rope_theta", theta, &out->theta, r->where, error);
    if (status == SAH_OK) status = read_number(r, rope, "partial_rotary_factor", part, &partial, error);
    if (status == SAH_OK) status = sah_json_string(rope, "type", "default", &type, r->where, error);
    if (status == SAH_OK) status = sah_json_string(rope, "rope_type", type, &type, r->where, error);
    if (status != SAH_OK) return status;
    const bool share = partial > 0 && partial <= 1;
    out->dims = share ? (int)(r->c->head_dim * partial) : 0;
    if (strcmp(type, "proportional") == 0 && share) { /* by pairs of the whole head */
        out->share = partial;
        partial = 1;
        out->dims = r->c->head_dim;
    }
    bool known = part < 1 || !(partial < 1) || reads(r->family, "partial_rotary_factor");
    const bool whole = !(partial < 1) && !(partial > 1); /* the width of a head is checked elsewhere */
    if (!whole && (!(partial > 0 && partial < 1) || out->dims < 2 || out->dims % 2 != 0 || !known))
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"partial_rotary_factor\" %g is not supported",
                        r->where, partial);
    return read_scaling(r, rope, type, out, error);
}

static bool is_nested(const json_t *rope)
{
    return json_is_object(json_object_get(rope, "full_attention")) ||
           json_is_object(json_object_get(rope, "sliding_attention"));
}

/* Layers with a window have settings of their own. "rope_parameters" holds both kinds by name, and nothing else in
 * it counts but "truncate"; "rope_scaling" is of the layers without a window, over what is there. So transformers 5
 * has it. */
static sah_status read_both(const reader *shared, const json_t *scaling, const json_t *parameters,
                            double theta, sah_error *error)
{
    const json_t *both = is_nested(scaling) ? scaling : parameters, *given;
    const reader own = {shared->json, shared->where, shared->family, shared->c, true, both}, *r = &own;
    double local;
    json_t *full = json_object();
    given = json_object_get(both, "full_attention");
    bool good = full != NULL;
    /* Without "rope_parameters" a type is there before "rope_scaling" comes, so that its older key "type" is not
     * looked at. */
    if (good && !json_is_object(parameters))
        good = json_object_set_new(full, "rope_type", json_string("default")) == 0;
    if (good && json_is_object(given)) good = json_object_update(full, (json_t *)(uintptr_t)given) == 0;
    if (good && both != scaling && json_object_size(scaling) > 0)
        good = json_object_update(full, (json_t *)(uintptr_t)scaling) == 0;
    sah_status status =
        good ? read_one(r, full, theta, &r->c->ropes[0], error) : sah_fail_memory(error, "the configuration");
    json_decref(full);
    local = r->family->local_theta;
    if (status == SAH_OK && reads(r->family, "rope_local_base_freq"))
        status = sah_json_number(r->json, "rope_local_base_freq", local, &local, r->where, error);
    if (status == SAH_OK)
        status = read_one(r, json_object_get(both, "sliding_attention"), local, &r->c->ropes[1], error);
    r->c->n_ropes = 2;
    return status;
}

sah_status sah_rope_from_json(const json_t *json, const char *where, const sah_family *family, sah_config *c,
                              sah_error *error)
{
    const reader r = {.json = json, .where = where, .family = family, .c = c};
    const json_t *rope = json_object_get(json, "rope_scaling"),
                 *other = json_object_get(json, "rope_parameters");
    double theta;
    const bool good = rope == NULL || json_is_object(rope) || json_is_null(rope);
    if (!good || (other != NULL && !json_is_object(other) && !json_is_null(other)))
        return sah_fail(error, SAH_FAILED, "%s: \"%s\" must be an object", where,
                        good ? "rope_parameters" : "rope_scaling");
    sah_status status = sah_json_number(json, "rope_theta", family->theta, &theta, where, error);
    if (status != SAH_OK) return status;
    if (family->local_theta > 0) return read_both(&r, rope, other, theta, error);
    if (json_object_size(rope) == 0) rope = other;
    if (is_nested(rope))
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: rope settings that differ between layers are not supported", where);
    return read_one(&r, rope, theta, &c->ropes[0], error);
}
