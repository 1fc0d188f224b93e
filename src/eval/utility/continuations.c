/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/utility/continuations.h"

#include <stdlib.h>
#include <string.h>

#include "model/tokenizer/characters.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"
#include "util/utf8.h"

enum { LONGEST_UNKNOWN = 2048 };

size_t sah_longest_input(const sah_model *model)
{
    int longest = model->info.max_positions;
    return longest > 0 ? (size_t)longest : LONGEST_UNKNOWN;
}

/* BOS, else EOS: what stands in front of a text that has nothing in front. */
static sah_status prefix_token(const sah_model *model, int32_t *out, sah_error *error)
{
    const sah_tokenizer *tokenizer = model->checkpoint->tokenizer;
    if (tokenizer == NULL) return sah_fail(error, SAH_FAILED, "%s has no tokenizer", model->info.name);
    *out = sah_tokenizer_bos(tokenizer);
    if (*out < 0) *out = sah_tokenizer_eos(tokenizer);
    if (*out < 0)
        return sah_fail(error, SAH_FAILED, "the tokenizer of %s has neither BOS nor EOS to begin a text with",
                        model->info.name);
    return SAH_OK;
}

/* White space as Python's str.isspace() and the \s of its regular expressions have it. */
static bool is_space(uint32_t code)
{
    return sah_is_white_space(code) || (code >= 0x1C && code <= 0x1F);
}

/* Length of the text without white space at its end. */
static size_t stripped_length(const char *text, size_t size)
{
    size_t end = 0, length;
    for (size_t at = 0; at < size; at += length)
        if (!is_space(sah_utf8_next(text + at, size - at, &length))) end = at + length;
    return end;
}

size_t sah_count_words(const char *text, size_t size)
{
    size_t words = 1, length;
    bool space = false;
    for (size_t at = 0; at < size; at += length) {
        bool now = is_space(sah_utf8_next(text + at, size - at, &length));
        words += now && !space;
        space = now;
    }
    return words;
}

/* Tokens of the choice alone behind `prefix`; a choice that begins with it does not get it twice. */
static sah_status without_context(const sah_model *model, const char *choice, int32_t **tokens, size_t *n,
                                  sah_error *error)
{
    int32_t prefix = -1, *own = NULL;
    size_t size = 0;
    sah_status status = prefix_token(model, &prefix, error);
    if (status == SAH_OK)
        status = sah_tokenizer_encode(model->checkpoint->tokenizer, choice, strlen(choice), false, &own,
                                      &size, error);
    if (status != SAH_OK) return status;
    if (size > 0 && own[0] == prefix) {
        *tokens = own;
        *n = size;
        return SAH_OK;
    }
    *tokens = sah_alloc(size + 1, sizeof **tokens);
    if (*tokens != NULL) {
        (*tokens)[0] = prefix;
        if (size > 0) memcpy(*tokens + 1, own, size * sizeof *own);
        *n = size + 1;
    }
    free(own);
    return *tokens != NULL ? SAH_OK : sah_fail_memory(error, "the tokens of a text");
}

/* Tokens of context and choice together, and how many the context alone has. */
static sah_status with_context(const sah_model *model, const char *template_, const char *context,
                               size_t length, const char *choice, int32_t **tokens, size_t *n,
                               size_t *n_context, sah_error *error)
{
    sah_text whole = {0};
    int32_t *alone = NULL;
    sah_text_adds(&whole, context);
    sah_text_adds(&whole, choice);
    sah_status status = whole.failed ? sah_fail_memory(error, "a text") : SAH_OK;
    if (status == SAH_OK) status = sah_prompt_encode(model, template_, whole.data, tokens, n, error);
    if (status == SAH_OK) {
        whole.data[length] = '\0';
        status = sah_prompt_encode(model, template_, whole.data, &alone, n_context, error);
    }
    free(alone);
    free(whole.data);
    return status;
}

sah_status sah_choice_tokens(const sah_model *model, const char *template_, const char *context,
                             const char *choice, int32_t **tokens, sah_continuation *out, sah_error *error)
{
    size_t length = stripped_length(context, strlen(context)), n = 0, from = 1;
    size_t longest = sah_longest_input(model);
    sah_status status;
    *tokens = NULL;
    if (length > 0) {
        status = with_context(model, template_, context, length, choice, tokens, &n, &from, error);
    } else {
        sah_text blanks = {0};
        sah_text_adds(&blanks, context);
        sah_text_adds(&blanks, choice);
        status = blanks.failed ? sah_fail_memory(error, "a text")
                               : without_context(model, blanks.data, tokens, &n, error);
        free(blanks.data);
    }
    if (status != SAH_OK) return status;
    if (from == 0) return sah_fail(error, SAH_FAILED, "the context \"%.60s\" has no token", context);
    if (from >= n)
        return sah_fail(error, SAH_FAILED, "the choice \"%.60s\" adds no token to its context", choice);
    size_t scored = n - from;
    if (scored > longest)
        return sah_fail(error, SAH_FAILED, "the choice \"%.60s\" has %zu tokens, but the model takes %zu",
                        choice, scored, longest);
    /* The last token is not an input, so one more than the longest input fits. */
    size_t cut = n > longest + 1 ? n - (longest + 1) : 0;
    *out = (sah_continuation){*tokens + cut, n - cut, from - cut};
    return SAH_OK;
}

sah_status sah_windows_new(const sah_model *model, const char *text, size_t size, size_t window,
                           sah_windows *out, sah_error *error)
{
    int32_t prefix = -1, *own = NULL;
    size_t n = 0, longest = sah_longest_input(model);
    *out = (sah_windows){0};
    if (window > longest)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "window", " %zu: the model takes %zu tokens", window,
                              longest);
    if (window == 0) window = longest;
    sah_status status = prefix_token(model, &prefix, error);
    if (status == SAH_OK)
        status = sah_tokenizer_encode(model->checkpoint->tokenizer, text, size, false, &own, &n, error);
    if (status == SAH_OK && n == 0) status = sah_fail(error, SAH_FAILED, "the text has no token");
    if (status != SAH_OK) goto done;
    out->n_tokens = n;
    out->n = (n + window - 1) / window;
    out->tokens = sah_alloc(n + 1, sizeof *out->tokens);
    out->windows = sah_alloc(out->n, sizeof *out->windows);
    if (out->tokens == NULL || out->windows == NULL) {
        status = sah_fail_memory(error, "the tokens of a text");
        goto done;
    }
    out->tokens[0] = prefix;
    memcpy(out->tokens + 1, own, n * sizeof *own);
    for (size_t i = 0; i < out->n; i++) { /* token t of the text stands at t + 1 */
        size_t from = i * window, to = from + window < n ? from + window : n;
        size_t begin = i > 0 && to < (i + 1) * window ? to - window : from;
        out->windows[i] = (sah_continuation){out->tokens + begin, to + 1 - begin, from + 1 - begin};
    }
done:
    free(own);
    if (status != SAH_OK) sah_windows_free(out);
    return status;
}

void sah_windows_free(sah_windows *windows)
{
    free(windows->tokens);
    free(windows->windows);
    *windows = (sah_windows){0};
}
