/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json: pre_tokenizer and decoder to steps. What is not known is refused by name. */
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer/steps_json.h"
#include "model/tokenizer/tokenizer_build.h"
#include "util/error.h"
#include "util/utf8.h"

sah_status sah_step_refuse(const char *where, const char *part, const char *what, sah_error *error)
{
    return sah_fail(error, SAH_NOT_SUPPORTED, "%s: %s \"%s\" is not supported", where, part, what);
}

sah_status sah_step_type(const json_t *json, const char *part, const char **type, const char *where,
                         sah_error *error)
{
    sah_status status = sah_json_string(json, "type", NULL, type, where, error);
    if (status == SAH_OK && *type == NULL)
        status = sah_fail(error, SAH_FAILED, "%s: a %s without a type", where, part);
    return status;
}

sah_status sah_step_string(const json_t *json, const char *key, const char **out, const char *where,
                           sah_error *error)
{
    sah_status status = sah_json_string(json, key, NULL, out, where, error);
    if (status == SAH_OK && *out == NULL)
        status = sah_fail(error, SAH_FAILED, "%s: \"%s\" is missing", where, key);
    return status;
}

sah_status sah_step_pattern(const json_t *json, sah_pattern **out, const char *where, sah_error *error)
{
    const json_t *pattern = json_object_get(json, "pattern");
    const char *literal, *regex;
    sah_status status = sah_json_string(pattern, "String", NULL, &literal, where, error);
    if (status == SAH_OK) status = sah_json_string(pattern, "Regex", NULL, &regex, where, error);
    if (status != SAH_OK) return status;
    if ((literal == NULL) == (regex == NULL))
        return sah_fail(error, SAH_FAILED, "%s: a pattern is neither String nor Regex", where);
    status =
        literal != NULL ? sah_pattern_literal(literal, out, error) : sah_pattern_regex(regex, out, error);
    return status == SAH_OK ? SAH_OK : sah_fail_in(error, where);
}

/* ---- Pre-tokenizers ------------------------------------------------------------------------------------ */

/* As Rust's library of regular expressions has them (\w). */
#define WORD_CHARACTERS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"

/* What becomes of a match: "behavior"; `otherwise` where it is not there. */
static sah_status behaviour_of(const json_t *json, const char *otherwise, sah_split *out, const char *where,
                               sah_error *error)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    static const sah_split splits[] = {SAH_SPLIT_ISOLATED, SAH_SPLIT_REMOVED, SAH_SPLIT_WITH_PREVIOUS,
                                       SAH_SPLIT_WITH_NEXT, SAH_SPLIT_CONTIGUOUS};
    const char *behaviour;
    size_t i = 0;
    sah_status status = sah_json_string(json, "behavior", otherwise, &behaviour, where, error);
    if (status == SAH_OK && behaviour == NULL)
        status = sah_fail(error, SAH_FAILED, "%s: \"behavior\" is missing", where);
    if (status != SAH_OK) return status;
    while (i < 5 && strcmp(behaviour, names[i]) != 0) i++;
    if (i == 5) return sah_step_refuse(where, "split behavior", behaviour, error);
    *out = splits[i];
    return SAH_OK;
}

static sah_status add_split(const json_t *json, sah_steps *steps, const char *where, sah_error *error)
{
    sah_step step = {.kind = SAH_STEP_SPLIT};
    sah_status status = sah_json_bool(json, "invert", false, &step.invert, where, error);
    if (status == SAH_OK) status = behaviour_of(json, NULL, &step.split, where, error);
    if (status == SAH_OK) status = sah_step_pattern(json, &step.pattern, where, error);
    return status == SAH_OK ? sah_steps_add(steps, step, error) : status;
}

/* ASCII's signs count as punctuation, "$+<=>^`|~" too. */
static sah_status add_punctuation(const json_t *json, sah_steps *steps, const char *where, sah_error *error)
{
    sah_split split;
    sah_status status = behaviour_of(json, "Isolated", &split, where, error);
    return status == SAH_OK ? sah_tokenizer_add_split(steps, "[!-/:-@\\[-`{-~\\p{P}]", split, error) : status;
}

/* Words and runs of signs; the white space between them goes. */
static sah_status add_whitespace(sah_steps *steps, sah_error *error)
{
    sah_step step = {.kind = SAH_STEP_SPLIT, .split = SAH_SPLIT_REMOVED, .invert = true};
    sah_status status =
        sah_pattern_regex("[" WORD_CHARACTERS "]+|[^" WORD_CHARACTERS "\\s]+", &step.pattern, error);
    return status == SAH_OK ? sah_steps_add(steps, step, error) : status;
}

/* The first character only of "replacement", as the library reads it. */
static sah_status replacement_of(const json_t *json, char out[8], const char *where, sah_error *error)
{
    const char *text;
    size_t length;
    sah_status status = sah_json_string(json, "replacement", SAH_METASPACE, &text, where, error);
    if (status != SAH_OK) return status;
    if (text[0] != '\0') sah_utf8_next(text, strlen(text), &length);
    if (text[0] == '\0' || text[length] != '\0')
        return sah_fail(error, SAH_FAILED, "%s: \"replacement\" must be one character", where);
    memcpy(out, text, length + 1);
    return SAH_OK;
}

/* Metaspace's prefix: "prepend_scheme", or the older "add_prefix_space". */
static sah_status scheme_of(const json_t *json, const char **scheme, const char *where, sah_error *error)
{
    bool prefix;
    sah_status status = sah_json_bool(json, "add_prefix_space", true, &prefix, where, error);
    if (status == SAH_OK)
        status = sah_json_string(json, "prepend_scheme", prefix ? "always" : "never", scheme, where, error);
    if (status != SAH_OK) return status;
    if (strcmp(*scheme, "always") != 0 && strcmp(*scheme, "first") != 0 && strcmp(*scheme, "never") != 0)
        return sah_step_refuse(where, "prepend_scheme", *scheme, error);
    return SAH_OK;
}

static sah_status add_metaspace(const json_t *json, sah_steps *steps, const char *where, sah_error *error)
{
    sah_step split = {.kind = SAH_STEP_SPLIT, .split = SAH_SPLIT_WITH_NEXT};
    const char *scheme;
    char mark[8];
    bool splits;
    sah_status status = replacement_of(json, mark, where, error);
    if (status == SAH_OK) status = scheme_of(json, &scheme, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "split", true, &splits, where, error);
    if (status == SAH_OK) status = sah_tokenizer_add_replace(steps, " ", mark, error);
    if (status == SAH_OK && strcmp(scheme, "never") != 0)
        status = sah_tokenizer_add_prepend(steps, mark, true, strcmp(scheme, "first") == 0, error);
    if (status != SAH_OK || !splits) return status;
    status = sah_pattern_literal(mark, &split.pattern, error);
    return status == SAH_OK ? sah_steps_add(steps, split, error) : status;
}

static sah_status add_words(const json_t *json, int depth, sah_steps *steps, const char *where,
                            sah_error *error)
{
    const char *type;
    const json_t *item;
    size_t i;
    bool individual, prefix, regex;
    sah_status status = sah_step_type(json, "pre_tokenizer", &type, where, error);
    if (status != SAH_OK) return status;
    if (strcmp(type, "Sequence") == 0 && depth < SAH_DEEPEST_STEP) {
        json_array_foreach(json_object_get(json, "pretokenizers"), i, item)
        {
            if (status == SAH_OK) status = add_words(item, depth + 1, steps, where, error);
        }
        return status;
    }
    if (strcmp(type, "Split") == 0) return add_split(json, steps, where, error);
    if (strcmp(type, "Metaspace") == 0) return add_metaspace(json, steps, where, error);
    if (strcmp(type, "Punctuation") == 0) return add_punctuation(json, steps, where, error);
    if (strcmp(type, "Whitespace") == 0) return add_whitespace(steps, error);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return sah_tokenizer_add_split(steps, "\\s", SAH_SPLIT_REMOVED, error);
    if (strcmp(type, "Digits") == 0) {
        status = sah_json_bool(json, "individual_digits", false, &individual, where, error);
        if (status != SAH_OK) return status;
        return sah_tokenizer_add_split(steps, "\\p{N}",
                                       individual ? SAH_SPLIT_ISOLATED : SAH_SPLIT_CONTIGUOUS, error);
    }
    if (strcmp(type, "ByteLevel") == 0) {
        status = sah_json_bool(json, "add_prefix_space", true, &prefix, where, error);
        if (status == SAH_OK) status = sah_json_bool(json, "use_regex", true, &regex, where, error);
        return status == SAH_OK ? sah_tokenizer_add_byte_level(steps, prefix, regex, error) : status;
    }
    return sah_step_refuse(where, "pre_tokenizer", type, error);
}

sah_status sah_json_words(const json_t *json, sah_steps *steps, const char *where, sah_error *error)
{
    return json == NULL || json_is_null(json) ? SAH_OK : add_words(json, 0, steps, where, error);
}

/* ---- Decoders ------------------------------------------------------------------------------------------ */

static sah_status add_decoder_text(sah_decoder *decoder, sah_decode_step step, const char *text,
                                   sah_error *error)
{
    step.text = strdup(text);
    if (step.text == NULL) {
        sah_pattern_free(step.pattern);
        return sah_fail_memory(error, "the tokenizer's decoder");
    }
    return sah_decoder_add(decoder, step, error);
}

static sah_status add_replace_decoder(const json_t *json, sah_decoder *decoder, const char *where,
                                      sah_error *error)
{
    sah_decode_step step = {.kind = SAH_DECODE_REPLACE};
    const char *content;
    sah_status status = sah_step_string(json, "content", &content, where, error);
    if (status == SAH_OK) status = sah_step_pattern(json, &step.pattern, where, error);
    return status == SAH_OK ? add_decoder_text(decoder, step, content, error) : status;
}

static sah_status add_strip_decoder(const json_t *json, sah_decoder *decoder, const char *where,
                                    sah_error *error)
{
    const char *content;
    int64_t begin, end;
    sah_status status = sah_step_string(json, "content", &content, where, error);
    if (status == SAH_OK) status = sah_json_int(json, "start", 0, 0, INT32_MAX, &begin, where, error);
    if (status == SAH_OK) status = sah_json_int(json, "stop", 0, 0, INT32_MAX, &end, where, error);
    if (status != SAH_OK) return status;
    size_t length = 0;
    if (content[0] != '\0') sah_utf8_next(content, strlen(content), &length);
    if (length == 0 || content[length] != '\0')
        return sah_fail(error, SAH_FAILED, "%s: \"content\" of a Strip decoder must be one character", where);
    const sah_decode_step step = {.kind = SAH_DECODE_STRIP, .begin = (size_t)begin, .end = (size_t)end};
    return add_decoder_text(decoder, step, content, error);
}

static sah_status add_metaspace_decoder(const json_t *json, sah_decoder *decoder, const char *where,
                                        sah_error *error)
{
    const char *scheme;
    char mark[8];
    sah_status status = replacement_of(json, mark, where, error);
    if (status == SAH_OK) status = scheme_of(json, &scheme, where, error);
    if (status != SAH_OK) return status;
    const sah_decode_step step = {.kind = SAH_DECODE_METASPACE, .prefixed = strcmp(scheme, "never") != 0};
    return add_decoder_text(decoder, step, mark, error);
}

static sah_status add_decoder(const json_t *json, int depth, sah_decoder *decoder, const char *where,
                              sah_error *error)
{
    const char *type;
    const json_t *item;
    size_t i;
    sah_status status = sah_step_type(json, "decoder", &type, where, error);
    if (status != SAH_OK) return status;
    if (strcmp(type, "Sequence") == 0 && depth < SAH_DEEPEST_STEP) {
        json_array_foreach(json_object_get(json, "decoders"), i, item)
        {
            if (status == SAH_OK) status = add_decoder(item, depth + 1, decoder, where, error);
        }
        return status;
    }
    if (strcmp(type, "Replace") == 0) return add_replace_decoder(json, decoder, where, error);
    if (strcmp(type, "Strip") == 0) return add_strip_decoder(json, decoder, where, error);
    if (strcmp(type, "Metaspace") == 0) return add_metaspace_decoder(json, decoder, where, error);
    if (strcmp(type, "ByteLevel") == 0)
        return sah_decoder_add(decoder, (sah_decode_step){.kind = SAH_DECODE_BYTES}, error);
    if (strcmp(type, "ByteFallback") == 0)
        return sah_decoder_add(decoder, (sah_decode_step){.kind = SAH_DECODE_BYTE_FALLBACK}, error);
    if (strcmp(type, "Fuse") == 0)
        return sah_decoder_add(decoder, (sah_decode_step){.kind = SAH_DECODE_FUSE}, error);
    return sah_step_refuse(where, "decoder", type, error);
}

sah_status sah_json_decoder(const json_t *json, sah_decoder *decoder, const char *where, sah_error *error)
{
    decoder->spaced = json == NULL || json_is_null(json);
    return decoder->spaced ? SAH_OK : add_decoder(json, 0, decoder, where, error);
}
