/* SPDX-License-Identifier: Apache-2.0 */
/* What a line of a result is about, for merge.c: its unit, and which units a run has. */
#ifndef SAH_RUN_MERGE_UNITS_H
#define SAH_RUN_MERGE_UNITS_H

#include "sahara.h"
#include "util/json.h"

/* A unit as numbers that sort as a run's lines may stand: by step or round, kind of line, and head, query or item. */
enum { SAH_UNIT_NUMBERS = 5 };
typedef struct sah_unit {
    uint64_t numbers[SAH_UNIT_NUMBERS];
    bool many; /* several lines may speak of it: answers to equal queries, equal random groups */
} sah_unit;

/* False for a line that is none of the command's. */
bool sah_unit_of(const json_t *header, const json_t *line, sah_unit *out);
int sah_unit_compare(const sah_unit *a, const sah_unit *b);

/* The units that must be there at the end, in the order in which shards deal them out, as far as the header tells;
 * *dealt is false where they are not dealt one by one. units [*n] for free(). */
typedef struct sah_expected {
    sah_unit *units;
    size_t *counts; /* [n] lines of each */
    size_t *deals; /* [n] the number by which it is dealt */
    size_t n;
    bool dealt;
} sah_expected;
sah_status sah_units_expected(const json_t *header, sah_expected *out, sah_error *error);
void sah_expected_free(sah_expected *expected);

/* The heads that a run of ships or find tries, but those that a search starts with; *heads for free(), NULL where the
 * header does not tell. */
sah_status sah_units_heads(const json_t *header, sah_head **heads, size_t *n, sah_error *error);

/* "5-6", "query 3", "item 7" */
void sah_unit_name(const json_t *header, const sah_unit *unit, char out[64]);

/* The line that stands at the end of all others and is made of them, which no shard alone can write: a step's choice,
 * the totals. False: the command has none. */
bool sah_unit_last(const json_t *header, sah_unit *out);

#endif
