/* SPDX-License-Identifier: Apache-2.0 */
/* What a run of find knows at any moment, and its lines in the journal (docs/files.md): what a line says goes
 * in here when it is written and, when a run is resumed, when it is read. */
#ifndef SAH_ATTRIBUTION_FIND_H
#define SAH_ATTRIBUTION_FIND_H

#include "run/interchange.h"
#include "run/journal.h"
#include "run/prompts.h"
#include "run/shard.h"
#include "run/together.h"
#include "attribution/shift.h"

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

/* Opens the journal and takes up what is there. */
sah_status sah_find_open(sah_find_run *run, const sah_strings *queries, const sah_strings *contrast,
                         const char *path, sah_error *error);

/* The same with a header that is there already. */
sah_status sah_find_open_as(sah_find_run *run, json_t *header, const char *path, sah_error *error);

size_t sah_find_cell(const sah_find_run *run, sah_head head);
sah_head sah_find_head(const sah_find_run *run, size_t cell);
bool sah_find_in_group(const sah_find_run *run, sah_head head);

/* What heads are chosen by: the difference with contrast queries, else the shift. */
double sah_find_score(const sah_find_run *run, const sah_turn *turn);

/* The starting group's own turn. */
sah_status sah_find_note_group(sah_find_run *run, const sah_turn *turn, const sah_turn_evidence *evidence,
                               sah_error *error);

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

/* How likely chance makes a step; < 0: nothing to say. */
typedef struct sah_find_judgement {
    double heads, random, labels;
    bool better; /* than chance */
} sah_find_judgement;

/* Of the step that chooses cells[best] among `cells` [n], which all have their lines. */
sah_status sah_find_judge(const sah_find_run *run, const size_t *cells, size_t n, size_t best,
                          sah_find_judgement *out, sah_error *error);

/* Chooses among `cells` [n], which all have their lines, writes the step's last line and goes on to the next
 * step. */
sah_status sah_find_finish_step(sah_find_run *run, const size_t *cells, size_t n, sah_error *error);

#endif
