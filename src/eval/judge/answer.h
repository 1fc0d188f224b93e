/* SPDX-License-Identifier: Apache-2.0 */
/* What of a response is said to the asker: character references of HTML resolved, thinking and the speech of a
 * script's persons taken off. */
#ifndef SAH_EVAL_JUDGE_ANSWER_H
#define SAH_EVAL_JUDGE_ANSWER_H

#include "sahara.h"

/* Resolves "&#39;", "&quot;" and the like in text[0..*length), in place: no reference is shorter than the
 * character it stands for. Twice, for text that was escaped twice ("&amp;#39;"). */
void sah_resolve_entities(char *text, size_t *length);

/* Takes thinking ("<think> ... </think>" and what other models write) out of text[0..*length), in place.
 * False when the response is nothing but thinking that never ends; the text is then as it was. */
bool sah_take_off_thinking(char *text, size_t *length);

/* Takes the lines of a dialogue's speakers ("ANNA: I can't help you.") out of text[0..*length), in place, with what
 * they say: as quoted speech, it is not what the response says itself. A label in front of the answer ("Assistant:
 * I can't help with that.") makes no dialogue, nor do the labels of notes, mails and lists. */
void sah_take_off_speakers(char *text, size_t *length);

#endif
