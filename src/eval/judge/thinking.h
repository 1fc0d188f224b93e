/* SPDX-License-Identifier: Apache-2.0 */
/* What of a response is thinking, which nobody is told. */
#ifndef SAH_EVAL_JUDGE_THINKING_H
#define SAH_EVAL_JUDGE_THINKING_H

#include <stdbool.h>
#include <stddef.h>

/* Takes thinking ("<think> ... </think>" and what other models write) out of text[0..*length), in place.
 * False when the response is nothing but thinking that never ends; the text is then as it was. */
bool sah_take_off_thinking(char *text, size_t *length);

#endif
