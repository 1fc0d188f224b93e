/* SPDX-License-Identifier: Apache-2.0 */
/* Responses, verdicts and utility on the page, by what was ablated. */
#ifndef SAH_REPORT_PAGE_ANSWERS_H
#define SAH_REPORT_PAGE_ANSWERS_H

#include "util/strings.h"

/* The files of generate, judge and utility. */
typedef struct sah_answers sah_answers;

sah_answers *sah_answers_new(void);
void sah_answers_free(sah_answers *answers);

/* Takes a file, and adds its section; *taken is false when it is of another command. */
sah_status sah_answers_add(sah_answers *answers, const char *path, sah_text *out, bool *taken,
                           sah_error *error);
/* How many were taken: the next one's curve is drawn in #curve-N. */
size_t sah_answers_files(const sah_answers *answers);

/* One JSON object: queries, and for every group of ablated heads rates, perplexity and responses, whole groups as far
 * as *room characters hold them; queries where there are responses. Null when there are no files. */
void sah_answers_data(const sah_answers *answers, sah_text *data, size_t *room);

#endif
