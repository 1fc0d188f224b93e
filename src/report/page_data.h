/* SPDX-License-Identifier: Apache-2.0 */
/* What page_script.js draws from beside the tables: `data`, JSON in a script element. */
#ifndef SAH_REPORT_PAGE_DATA_H
#define SAH_REPORT_PAGE_DATA_H

#include "report/result.h"
#include "util/strings.h"

/* A number, or null where there is none. */
void sah_page_number(sah_text *out, double value);

/* One JSON object: queries, scores by query as far as *room characters hold them, steps of a search. Takes what it uses
 * from *room. */
void sah_page_data(sah_text *data, const sah_result *result, size_t *room);

#endif
