/* SPDX-License-Identifier: Apache-2.0 */
/* Texts to the token sequences that are scored, by the rules of the LM Evaluation Harness
 * (EleutherAI, version 0.4: TemplateLM._encode_pair, get_rolling_token_windows). */
#ifndef SAH_EVAL_UTILITY_CONTINUATIONS_H
#define SAH_EVAL_UTILITY_CONTINUATIONS_H

#include "eval/utility/loglik.h"

/* Tokens a sequence may have as input: the model's positions (2048 where it does not say). */
size_t sah_longest_input(const sah_model *model);

/* A choice behind its context, which `template_` made. White space at the context's end belongs to the choice;
 * both together become tokens, of which those behind as many as the context alone makes are scored. An empty
 * context is BOS (EOS where there is none). A sequence too long for the model loses its beginning.
 * out->tokens is for free(), also when it fails. */
sah_status sah_choice_tokens(const sah_model *model, const char *template_, const char *context,
                             const char *choice, int32_t **tokens, sah_continuation *out, sah_error *error);

/* A text in disjoint windows of `window` scored tokens (0: the model's longest input). Every window has at
 * least one token in front that is not scored: the first BOS (EOS where there is none), the others the token
 * before them; the last window is filled with what stands before it. */
typedef struct sah_windows {
    int32_t *tokens; /* BOS, then the text's */
    size_t n_tokens; /* scored: those of the text */
    sah_continuation *windows;
    size_t n;
} sah_windows;

sah_status sah_windows_new(const sah_model *model, const char *text, size_t size, size_t window,
                           sah_windows *out, sah_error *error);
void sah_windows_free(sah_windows *windows);

/* Words as the harness counts them: pieces between runs of white space, also an empty one at an end. */
size_t sah_count_words(const char *text, size_t size);

#endif
