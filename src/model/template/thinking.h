/* SPDX-License-Identifier: Apache-2.0 */
/* How open models mark what they think before they answer. */
#ifndef SAH_MODEL_TEMPLATE_THINKING_H
#define SAH_MODEL_TEMPLATE_THINKING_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sah_thinking_marks {
    const char *open, *close; /* in lower case; the case of a text does not matter */
    bool lone; /* the template may have written the opening mark: the closing one alone ends thinking */
} sah_thinking_marks;

/* Ends in one whose `open` is NULL; the last before that is what gpt-oss's look like when special tokens were left
 * out. */
extern const sah_thinking_marks sah_thinking[];

/* True when text[at..n) begins with `mark`, which is in lower case. */
bool sah_mark_stands_at(const char *text, size_t at, size_t n, const char *mark);

/* Whether a token is a mark, or begins or ends one: left out, it would hide where thinking begins or ends. */
bool sah_is_thinking_token(const char *token);

/* The mark with which a prompt opens the model's thinking at its very end ("<think>\n"); NULL: it does not. */
const char *sah_opens_thinking(const char *prompt, size_t n);

#endif
