/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/tokenizer_build.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "model/tokenizer/added.h"
#include "util/alloc.h"
#include "util/error.h"

sah_tokenizer *sah_tokenizer_new(void)
{
    sah_tokenizer *tokenizer = sah_alloc(1, sizeof *tokenizer);
    if (tokenizer == NULL) return NULL;
    tokenizer->bos = -1;
    tokenizer->merger.unknown = -1;
    tokenizer->merger.vocab = &tokenizer->vocab;
    return tokenizer;
}

sah_status sah_tokenizer_add_split(sah_steps *steps, const char *regex, sah_split split, sah_error *error)
{
    sah_step step = {.kind = SAH_STEP_SPLIT, .split = split};
    sah_status status = sah_pattern_regex(regex, &step.pattern, error);
    return status == SAH_OK ? sah_steps_add(steps, step, error) : status;
}

sah_status sah_tokenizer_add_prepend(sah_steps *steps, const char *text, bool unless_there, bool first_only,
                                     sah_error *error)
{
    sah_step step = {.kind = SAH_STEP_PREPEND, .unless_there = unless_there, .first_only = first_only};
    step.text = strdup(text);
    if (step.text == NULL) return sah_fail_memory(error, "the tokenizer's steps");
    return sah_steps_add(steps, step, error);
}

sah_status sah_tokenizer_add_replace(sah_steps *steps, const char *literal, const char *by, sah_error *error)
{
    sah_step step = {.kind = SAH_STEP_REPLACE, .text = strdup(by)};
    if (step.text == NULL) return sah_fail_memory(error, "the tokenizer's steps");
    sah_status status = sah_pattern_literal(literal, &step.pattern, error);
    if (status == SAH_OK) return sah_steps_add(steps, step, error);
    free(step.text);
    return status;
}

static sah_status add_regex_replace(sah_steps *steps, const char *regex, const char *by, sah_error *error)
{
    sah_step step = {.kind = SAH_STEP_REPLACE, .text = strdup(by)};
    if (step.text == NULL) return sah_fail_memory(error, "the tokenizer's steps");
    sah_status status = sah_pattern_regex(regex, &step.pattern, error);
    if (status == SAH_OK) return sah_steps_add(steps, step, error);
    free(step.text);
    return status;
}

sah_status sah_tokenizer_add_blanks(sah_steps *steps, bool trim, bool escape, sah_error *error)
{
    sah_status status = SAH_OK;
    if (trim) status = add_regex_replace(steps, "\\A +| +\\z", "", error);
    if (trim && status == SAH_OK) status = add_regex_replace(steps, " {2,}", " ", error);
    if (escape && status == SAH_OK) status = sah_tokenizer_add_replace(steps, " ", SAH_METASPACE, error);
    return status;
}

sah_status sah_tokenizer_add_byte_level(sah_steps *steps, bool prefix_space, bool use_regex, sah_error *error)
{
    sah_status status = SAH_OK;
    if (prefix_space) status = sah_tokenizer_add_prepend(steps, " ", true, false, error);
    if (status == SAH_OK && use_regex)
        status = sah_tokenizer_add_split(steps, SAH_GPT2_WORDS, SAH_SPLIT_ISOLATED, error);
    if (status != SAH_OK) return status;
    return sah_steps_add(steps, (sah_step){.kind = SAH_STEP_BYTES}, error);
}

sah_status sah_tokenizer_add_piece_decoder(sah_decoder *decoder, bool bytes, bool prefix, sah_error *error)
{
    sah_decode_step blanks = {.kind = SAH_DECODE_REPLACE, .text = strdup(" ")};
    if (blanks.text == NULL) return sah_fail_memory(error, "the tokenizer's decoder");
    sah_status status = sah_pattern_literal(SAH_METASPACE, &blanks.pattern, error);
    if (status != SAH_OK) {
        free(blanks.text);
        return status;
    }
    status = sah_decoder_add(decoder, blanks, error);
    if (status == SAH_OK && bytes)
        status = sah_decoder_add(decoder, (sah_decode_step){.kind = SAH_DECODE_BYTE_FALLBACK}, error);
    if (status == SAH_OK)
        status = sah_decoder_add(decoder, (sah_decode_step){.kind = SAH_DECODE_FUSE}, error);
    if (status != SAH_OK || !prefix) return status;
    sah_decode_step strip = {.kind = SAH_DECODE_STRIP, .text = strdup(" "), .begin = 1};
    if (strip.text == NULL) return sah_fail_memory(error, "the tokenizer's decoder");
    return sah_decoder_add(decoder, strip, error);
}

sah_status sah_tokenizer_add_normal_form(sah_steps *steps, const char *name, sah_error *error)
{
    static const struct {
        const char *name;
        int form;
    } forms[] = {
        {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
        {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
        {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
        {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(name, forms[i].name) == 0)
            return sah_steps_add(steps, (sah_step){.kind = SAH_STEP_NORMALISE, .form = forms[i].form}, error);
    }
    return sah_fail(error, SAH_NOT_SUPPORTED, "normalizer %s is not supported", name);
}

sah_status sah_tokenizer_add_end(sah_tokenizer *tokenizer, int32_t id, sah_error *error)
{
    if (id < 0 || sah_ids_has(&tokenizer->ends, id)) return SAH_OK;
    return sah_ids_add(&tokenizer->ends, id, error);
}

void sah_tokenizer_finish(sah_tokenizer *tokenizer)
{
    sah_added_sort(&tokenizer->raw_added);
    sah_added_sort(&tokenizer->normal_added);
}
