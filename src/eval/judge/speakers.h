/* SPDX-License-Identifier: Apache-2.0 */
/* What of a response persons of a script say. */
#ifndef SAH_EVAL_JUDGE_SPEAKERS_H
#define SAH_EVAL_JUDGE_SPEAKERS_H

#include <stdbool.h>
#include <stddef.h>

/* Takes the lines of a dialogue's speakers ("ANNA: I can't help you.") out of text[0..*length), in place, with what
 * they say: as quoted speech, it is not what the response says itself. A label in front of the answer ("Assistant:
 * I can't help with that.") makes no dialogue, nor do the labels of notes, mails and lists. */
void sah_take_off_speakers(char *text, size_t *length);

#endif
