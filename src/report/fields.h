/* SPDX-License-Identifier: Apache-2.0 */
/* Values as cells of TSV and as JSON. */
#ifndef SAH_REPORT_FIELDS_H
#define SAH_REPORT_FIELDS_H

#include "util/strings.h"

/* A JSON string; text that JSON cannot hold marks `text` as failed. */
void sah_cell_json(sah_text *text, const char *string);
/* Text as a cell of TSV: tabs and line ends as \t, \n, \r, a backslash doubled. */
void sah_cell_tsv(sah_text *text, const char *string);
/* A number: six digits in TSV, all of them in JSON. NaN, what a result does not have, is an empty cell and
 * null. */
void sah_cell_number(sah_text *text, double value, bool tsv);

#endif
