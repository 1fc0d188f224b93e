/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions of tokenizer files. They are written for Oniguruma (Ruby syntax, UTF-8) and run on
 * PCRE2: what the two read differently is rewritten, and what cannot be rewritten is refused by name.
 * Characters newer than the PCRE2 in use (10.42: Unicode 14) count as unassigned. */
#ifndef SAH_MODEL_TOKENIZER_PATTERN_H
#define SAH_MODEL_TOKENIZER_PATTERN_H

#include "sahara.h"

typedef struct sah_pattern sah_pattern;

/* A part of a text, bytes [begin, end): a match, or what lies between two matches. */
typedef struct sah_span {
    size_t begin, end;
    bool match;
} sah_span;

/* Working memory of searches, for one thread. Start from {0}. */
typedef struct sah_spans {
    sah_span *items;
    size_t n, capacity;
    void *match_data; /* PCRE2's */
} sah_spans;

sah_status sah_pattern_regex(const char *regex, sah_pattern **out, sah_error *error);
/* Matches `text` itself. */
sah_status sah_pattern_literal(const char *text, sah_pattern **out, sah_error *error);
bool sah_pattern_matches_empty(const sah_pattern *pattern); /* could match an empty text */
void sah_pattern_free(sah_pattern *pattern);

/* Cuts valid UTF-8 text into matches and the parts between them, in order and without gaps. An empty match
 * directly behind another match does not count. A search that exceeds PCRE2's limits is an error. */
sah_status sah_pattern_cut(const sah_pattern *pattern, const char *text, size_t size, sah_spans *out,
                           sah_error *error);
void sah_spans_free(sah_spans *spans);

#endif
