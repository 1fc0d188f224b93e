/* SPDX-License-Identifier: Apache-2.0 */
/* CSV as RFC 4180 has it: quoted fields, doubled quotes, line ends inside quotes. Lines end in CR LF, LF or CR
 * (which older Macs wrote, and which no writer leaves unquoted in a field). */
#ifndef SAH_UTIL_CSV_H
#define SAH_UTIL_CSV_H

#include "sahara.h"

/* Reads one record from text[*at..size), fields apart by `separator` (',', '\t', ...), and moves *at behind it.
 * Fields are UTF-8 strings owned by `fields` (emptied first). At the end of the text fields->n is 0. `where`
 * and *line (counted on) name the place in errors. */
sah_status sah_csv_record(const char *text, size_t size, char separator, size_t *at, size_t *line,
                          sah_strings *fields, const char *where, sah_error *error);

#endif
