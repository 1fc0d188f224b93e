/* SPDX-License-Identifier: Apache-2.0 */
/* What a run of find knows at any moment: no more than its lines in the journal say, so that a run carries on
 * anywhere. What a line says goes in here when it is written and, when a run is resumed, when it is read. */
#ifndef SAH_ATTRIBUTION_FIND_RUN_H
#define SAH_ATTRIBUTION_FIND_RUN_H

#include "attribution/shift.h"
#include "run/interchange.h"
#include "run/journal.h"
#include "run/prompts.h"
#include "run/together.h"

#define SAH_FIND_TEMPLATE "sahara"

/* A head's line in the step under way. */
typedef struct sah_find_entry {
    double score; /* the difference with contrast, else the shift; NaN: no line yet */
    sah_turn turn;
    double *statistics; /* [1 + SAH_TURN_PERMUTATIONS] with contrast, as in sah_turn_evidence */
} sah_find_entry;

/* What a sample of the queries says of a head's score in the first step. */
typedef struct sah_find_estimate {
    double low, high; /* 95 %; NaN: not sampled */
} sah_find_estimate;

typedef struct sah_find_run {
    const sah_model *model; /* NULL where lines alone are read */
    const sah_model_info *info; /* its own, or what a header tells of it */
    const sah_run_options *options;
    const sah_find_options *find;
    const sah_strings *lists[2]; /* queries, contrast queries or NULL */
    sah_forest *forest;
    bool differs; /* sweeps work by differences (engine/difference.h) */
    sah_donors *donors; /* of the run's ablation, or NULL */
    sah_journal *journal;
    size_t n_queries, n_contrast;

    sah_head *heads; /* [n_heads] of the ranges */
    size_t n_heads, n_cells;
    int heads_of_layer;

    sah_head *group; /* [n_group], the first n_start of them from --start */
    size_t n_group, n_start, group_capacity;
    double group_score; /* NaN: not known */
    sah_turn group_turn; /* with contrast, of the group so far: */
    double *group_statistics; /* [1 + SAH_TURN_PERMUTATIONS]; NULL: of no heads */
    size_t step; /* under way */
    sah_find_entry *entries; /* [n_cells] */
    size_t n_there; /* entries with a score */
    sah_find_estimate *estimates; /* [n_cells] */
    bool *left_out; /* [n_cells] by screening */
    double *first; /* [n_cells] scores of the first step, NaN where there are none */
    double *random; /* [n_random] scores of the step's random groups */
    size_t n_random, random_capacity;
    size_t n_random_own; /* of those, from this shard's journal */
    sah_together *together; /* the other shards; NULL: none, or not asked */
    sah_turning *turning; /* made from the unablated states when they are first there */
} sah_find_run;

/* Fills the heads (where they are not there), the starting group and the memory, from info, options and find,
 * which the caller set. */
sah_status sah_find_run_init(sah_find_run *run, sah_error *error);
void sah_find_run_free(sah_find_run *run);

size_t sah_find_cell(const sah_find_run *run, sah_head head);
sah_head sah_find_head(const sah_find_run *run, size_t cell);
bool sah_find_in_group(const sah_find_run *run, sah_head head);

/* What heads are chosen by: the difference with contrast queries, else the shift. */
double sah_find_score(const sah_find_run *run, const sah_turn *turn);

/* The starting group's own turn. */
sah_status sah_find_note_group(sah_find_run *run, const sah_turn *turn, const sah_turn_evidence *evidence,
                               sah_error *error);

/* A head's turn in the step under way; statistics [1 + SAH_TURN_PERMUTATIONS] with contrast queries. */
sah_status sah_find_note_head(sah_find_run *run, size_t cell, const sah_turn *turn, const float *statistics,
                              sah_error *error);
/* The turn of a random group of the step's size. */
sah_status sah_find_note_random(sah_find_run *run, const sah_turn *turn, sah_error *error);
/* The head of that cell, which has its line, joins the group: the next step begins. */
sah_status sah_find_note_chosen(sah_find_run *run, size_t cell, sah_error *error);

#endif
