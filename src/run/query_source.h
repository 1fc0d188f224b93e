/* SPDX-License-Identifier: Apache-2.0 */
/* A list of queries on its way from a file: what the readers of its three forms share. */
#ifndef SAH_RUN_QUERY_SOURCE_H
#define SAH_RUN_QUERY_SOURCE_H

#include "sahara.h"

#define SAH_COLUMN_PARTNER "partner"

/* A text, UTF-8 without NULs, and what is wanted of it. */
typedef struct sah_query_source {
    const char *text;
    size_t size;
    const char *where;
    const char *column; /* or NULL: the first of input, goal, query, prompt that is there */
    size_t limit; /* queries at most; 0: no limit */
    bool partners_first; /* a column `partner` goes before those */
    sah_strings *out;
    sah_strings *partners; /* of the column `partner`, one for each query; NULL: not wanted */
} sah_query_source;

/* The names of the column: the i-th to look for, NULL behind the last. */
const char *sah_query_column(const sah_query_source *s, size_t i);
bool sah_query_is_blank(const char *text, size_t size);
bool sah_query_is_full(const sah_query_source *s); /* as many as wanted */
/* Adds a query unless it is blank, and its partner (NULL: there is none) where those are wanted. `place` is the
 * record's, for messages. */
sah_status sah_query_add(const sah_query_source *s, const char *query, size_t size, const char *partner,
                         const char *place, sah_error *error);
/* "WHERE: PLACE: no KIND ... among NAMES", `kind` a column or a key, `names` those that are there. */
sah_status sah_query_fail_column(const sah_query_source *s, const char *place, const char *kind,
                                 const sah_strings *names, sah_error *error);

/* Bytes of the line end at text[at]: 2 (CR LF), 1 (LF or CR), or 0 where there is none. */
size_t sah_query_line_end(const char *text, size_t size, size_t at);
/* How many line ends are in the text: CR LF, LF or CR. */
size_t sah_query_lines(const char *text, size_t size);

#endif
