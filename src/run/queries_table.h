/* SPDX-License-Identifier: Apache-2.0 */
/* Queries from CSV and its like. */
#ifndef SAH_RUN_QUERIES_TABLE_H
#define SAH_RUN_QUERIES_TABLE_H

#include "run/query_source.h"

/* Separators in the order in which a header is tried with them. */
#define SAH_SEPARATORS_CSV ",\t;"
#define SAH_SEPARATORS_TSV "\t,"

/* Whether the first line is a table's header though no name says so: with one of the separators, the wanted
 * column among `least` names or more, none of them empty or between blanks. */
sah_status sah_query_is_table(const sah_query_source *s, size_t least, bool *is_table, sah_error *error);
sah_status sah_query_read_table(const sah_query_source *s, const char *separators, sah_error *error);

#endif
