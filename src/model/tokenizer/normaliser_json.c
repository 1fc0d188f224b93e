/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json: the normalizer to steps. What is not known is refused by name. */
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer/normaliser_json.h"
#include "model/tokenizer/steps_json.h"
#include "model/tokenizer/tokenizer_build.h"
#include "util/alloc.h"
#include "util/error.h"

static sah_status add_replace(const json_t *json, sah_steps *steps, const char *where, sah_error *error)
{
    sah_step step = {.kind = SAH_STEP_REPLACE};
    const char *content;
    sah_status status = sah_step_string(json, "content", &content, where, error);
    if (status == SAH_OK) status = sah_step_pattern(json, &step.pattern, where, error);
    if (status != SAH_OK) return status;
    if (sah_pattern_matches_empty(step.pattern)) {
        sah_pattern_free(step.pattern);
        return sah_step_refuse(where, "normalizer", "Replace of an empty match", error);
    }
    step.text = strdup(content);
    if (step.text == NULL) {
        sah_pattern_free(step.pattern);
        return sah_fail_memory(error, where);
    }
    return sah_steps_add(steps, step, error);
}

static sah_status add_strip(const json_t *json, sah_steps *steps, const char *where, sah_error *error)
{
    sah_step step = {.kind = SAH_STEP_STRIP};
    sah_status status = sah_json_bool(json, "strip_left", true, &step.left, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "strip_right", true, &step.right, where, error);
    return status == SAH_OK ? sah_steps_add(steps, step, error) : status;
}

/* The bytes of base64 text; blanks and line ends are not expected. */
static sah_status from_base64(const char *text, unsigned char **out, size_t *n, const char *where,
                              sah_error *error)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t size = strlen(text);
    uint32_t bits = 0;
    *n = 0;
    while (size > 0 && text[size - 1] == '=') size--;
    *out = sah_alloc(size + 4, 1); /* a quarter more than it takes */
    if (*out == NULL) return sah_fail_memory(error, where);
    for (size_t i = 0; i < size; i++) {
        const char *digit = memchr(digits, text[i], sizeof digits - 1);
        if (digit == NULL) {
            free(*out);
            return sah_fail(error, SAH_FAILED, "%s: the map of characters is not base64", where);
        }
        bits = bits << 6 | (uint32_t)(digit - digits);
        if (i % 4 != 0) (*out)[(*n)++] = (unsigned char)(bits >> (6 - i % 4 * 2));
    }
    return SAH_OK;
}

/* An empty map changes nothing. */
static sah_status add_charsmap(const json_t *json, sah_steps *steps, const char *where, sah_error *error)
{
    sah_step step = {.kind = SAH_STEP_CHARSMAP, .clusters = true};
    unsigned char *bytes;
    const char *text;
    size_t n;
    sah_status status = sah_json_string(json, "precompiled_charsmap", "", &text, where, error);
    if (status != SAH_OK || text[0] == '\0') return status;
    status = from_base64(text, &bytes, &n, where, error);
    if (status != SAH_OK) return status;
    status = sah_charsmap_new(bytes, n, &step.charsmap, error);
    free(bytes);
    return status == SAH_OK ? sah_steps_add(steps, step, error) : sah_fail_in(error, where);
}

static sah_status add_normaliser(const json_t *json, int depth, sah_steps *steps, const char *where,
                                 sah_error *error)
{
    static const struct {
        const char *type;
        sah_step_kind kind;
    } plain[] = {{"Lowercase", SAH_STEP_LOWERCASE},
                 {"StripAccents", SAH_STEP_STRIP_MARKS},
                 {"Nmt", SAH_STEP_NMT},
                 {"ByteLevel", SAH_STEP_BYTES}};
    const char *type, *text;
    const json_t *item;
    size_t i;
    sah_status status = sah_step_type(json, "normalizer", &type, where, error);
    if (status != SAH_OK) return status;
    if (strcmp(type, "Sequence") == 0 && depth < SAH_DEEPEST_STEP) {
        json_array_foreach(json_object_get(json, "normalizers"), i, item)
        {
            if (status == SAH_OK) status = add_normaliser(item, depth + 1, steps, where, error);
        }
        return status;
    }
    for (i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(type, plain[i].type) == 0)
            return sah_steps_add(steps, (sah_step){.kind = plain[i].kind}, error);
    if (strcmp(type, "Precompiled") == 0) return add_charsmap(json, steps, where, error);
    if (strcmp(type, "Replace") == 0) return add_replace(json, steps, where, error);
    if (strcmp(type, "Strip") == 0) return add_strip(json, steps, where, error);
    if (strcmp(type, "Prepend") == 0) {
        status = sah_step_string(json, "prepend", &text, where, error);
        return status == SAH_OK ? sah_tokenizer_add_prepend(steps, text, false, false, error) : status;
    }
    if (strncmp(type, "NF", 2) == 0) {
        status = sah_tokenizer_add_normal_form(steps, type, error);
        return status == SAH_OK ? SAH_OK : sah_fail_in(error, where);
    }
    return sah_step_refuse(where, "normalizer", type, error);
}

sah_status sah_json_normaliser(const json_t *json, sah_steps *steps, const char *where, sah_error *error)
{
    return json == NULL || json_is_null(json) ? SAH_OK : add_normaliser(json, 0, steps, where, error);
}
