/* SPDX-License-Identifier: Apache-2.0 */
/* Character references of HTML in a response. */
#ifndef SAH_EVAL_JUDGE_ENTITIES_H
#define SAH_EVAL_JUDGE_ENTITIES_H

#include <stdbool.h>
#include <stddef.h>

/* Resolves "&#39;", "&quot;" and the like in text[0..*length), in place: no reference is shorter than the
 * character it stands for. Twice, for text that was escaped twice ("&amp;#39;"). */
void sah_resolve_entities(char *text, size_t *length);

#endif
