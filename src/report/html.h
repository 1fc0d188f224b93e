/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of a page, their texts escaped. */
#ifndef SAH_REPORT_HTML_H
#define SAH_REPORT_HTML_H

#include "util/strings.h"

/* Text inside HTML or XML: & < > " ' as entities; what XML cannot hold (control characters) as U+FFFD. */
void sah_add_escaped(sah_text *out, const char *text);
/* At most three digits that count, the others rounded away. */
void sah_html_number(sah_text *out, double value);
/* Tab-separated lines, the first one names, as a table in a box of class "scroll". Cells that are numbers with a
 * fraction are shown by sah_html_number(), and as they are where they are pointed at. */
void sah_html_table(sah_text *out, const char *tsv);
/* `class_` may be NULL. */
void sah_html_paragraph(sah_text *out, const char *class_, const char *text);

#endif
