/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of a run of find in its journal (docs/files.md). */
#ifndef SAH_ATTRIBUTION_FIND_JOURNAL_H
#define SAH_ATTRIBUTION_FIND_JOURNAL_H

#include "attribution/find_run.h"

/* Opens the journal and takes up what is there. */
sah_status sah_find_open(sah_find_run *run, const sah_strings *queries, const sah_strings *contrast,
                         const char *path, sah_error *error);

/* The same with a header that is there already. */
sah_status sah_find_open_as(sah_find_run *run, json_t *header, const char *path, sah_error *error);

/* Takes up what the other shards have written of the step under way, and of their samples. */
sah_status sah_find_read_others(sah_find_run *run, sah_error *error);

/* Lines of the step under way. */
sah_status sah_find_write_head(sah_find_run *run, size_t cell, const sah_turn *turn, const double *angles,
                               const sah_turn_evidence *evidence, sah_error *error);
sah_status sah_find_write_random(sah_find_run *run, const sah_head *heads, size_t n, const sah_turn *turn,
                                 sah_error *error);

/* A line of the sample of n queries, before the first step. */
sah_status sah_find_write_sample(sah_find_run *run, size_t cell, size_t n, const sah_turn *turn,
                                 const sah_turn_evidence *evidence, sah_error *error);

/* Chooses among `cells` [n], which all have their lines, writes the step's last line and goes on to the next
 * step. */
sah_status sah_find_finish_step(sah_find_run *run, const size_t *cells, size_t n, sah_error *error);

#endif
