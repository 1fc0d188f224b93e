/* SPDX-License-Identifier: Apache-2.0 */
#include "attribution/find_run.h"

#include <math.h>
#include <stdlib.h>

#include "util/alloc.h"
#include "util/error.h"

/* ---- Memory -------------------------------------------------------------------------------------------- */

static void clear_entries(sah_find_run *f)
{
    for (size_t i = 0; i < f->n_cells; i++) {
        free(f->entries[i].statistics);
        f->entries[i] = (sah_find_entry){.score = NAN};
    }
    f->n_there = 0;
    f->n_random = f->n_random_own = 0;
}

static sah_status join(sah_find_run *f, sah_head head, sah_error *error)
{
    if (!sah_grow(&f->group, &f->group_capacity, f->n_group + 1, sizeof *f->group))
        return sah_fail_memory(error, "the group");
    f->group[f->n_group++] = head;
    return SAH_OK;
}

sah_status sah_find_run_init(sah_find_run *f, sah_error *error)
{
    const sah_model_info *info = f->info;
    sah_head *start = NULL;
    size_t n_start = 0;
    f->heads_of_layer = sah_run_heads_of_layer(info, &f->options->ablation);
    f->n_cells = (size_t)info->n_layers * (size_t)f->heads_of_layer;
    sah_status status = SAH_OK;
    if (f->heads == NULL) status = sah_run_heads(f->model, f->options, &f->heads, &f->n_heads, error);
    if (status == SAH_OK && f->find->start != NULL) {
        status = sah_heads_parse(f->find->start, info, f->options->ablation.parts, &start, &n_start, error);
        if (status == SAH_OK && n_start > 0 && n_start >= f->n_cells)
            status = sah_fail_field(error, SAH_BAD_ARGUMENT, "start", ": names every head of the model");
    }
    for (size_t i = 0; i < n_start && status == SAH_OK; i++) status = join(f, start[i], error);
    free(start);
    if (status != SAH_OK) return status;
    f->n_start = f->n_group;
    f->group_score = f->n_group > 0 ? NAN : 0;
    f->entries = sah_alloc(f->n_cells, sizeof *f->entries);
    f->first = sah_alloc(f->n_cells, sizeof *f->first);
    f->estimates = sah_alloc(f->n_cells, sizeof *f->estimates);
    f->left_out = sah_alloc(f->n_cells, sizeof *f->left_out);
    if (f->entries == NULL || f->first == NULL || f->estimates == NULL || f->left_out == NULL)
        return sah_fail_memory(error, "the heads");
    for (size_t i = 0; i < f->n_cells; i++) f->estimates[i] = (sah_find_estimate){NAN, NAN};
    for (size_t i = 0; i < f->n_cells; i++) f->first[i] = NAN;
    clear_entries(f);
    return SAH_OK;
}

void sah_find_run_free(sah_find_run *f)
{
    if (f->entries != NULL) clear_entries(f);
    free(f->entries);
    free(f->first);
    free(f->estimates);
    free(f->left_out);
    free(f->random);
    free(f->group_statistics);
    free(f->group);
    free(f->heads);
    sah_together_close(f->together);
}

size_t sah_find_cell(const sah_find_run *f, sah_head head)
{
    return (size_t)head.layer * (size_t)f->heads_of_layer + (size_t)head.head;
}

sah_head sah_find_head(const sah_find_run *f, size_t cell)
{
    return (sah_head){(int)cell / f->heads_of_layer, (int)cell % f->heads_of_layer};
}

bool sah_find_in_group(const sah_find_run *f, sah_head head)
{
    for (size_t i = 0; i < f->n_group; i++)
        if (f->group[i].layer == head.layer && f->group[i].head == head.head) return true;
    return false;
}

double sah_find_score(const sah_find_run *f, const sah_turn *turn)
{
    return f->n_contrast > 0 ? turn->difference : turn->shift;
}

/* ---- What a line says ---------------------------------------------------------------------------------- */

/* A copy in float64 of statistics [1 + SAH_TURN_PERMUTATIONS], or NULL without contrast. */
static sah_status keep_statistics(const sah_find_run *f, const float *statistics, double **out,
                                  sah_error *error)
{
    *out = NULL;
    if (f->n_contrast == 0) return SAH_OK;
    double *kept = sah_alloc(1 + SAH_TURN_PERMUTATIONS, sizeof *kept);
    if (kept == NULL) return sah_fail_memory(error, "the permutations");
    for (size_t i = 0; i <= SAH_TURN_PERMUTATIONS; i++) kept[i] = (double)statistics[i];
    *out = kept;
    return SAH_OK;
}

sah_status sah_find_note_group(sah_find_run *f, const sah_turn *turn, const sah_turn_evidence *evidence,
                               sah_error *error)
{
    f->group_turn = *turn;
    f->group_score = sah_find_score(f, turn);
    free(f->group_statistics);
    return keep_statistics(f, evidence->statistics, &f->group_statistics, error);
}

sah_status sah_find_note_head(sah_find_run *f, size_t cell, const sah_turn *turn, const float *statistics,
                              sah_error *error)
{
    sah_find_entry *entry = &f->entries[cell];
    sah_status status = keep_statistics(f, statistics, &entry->statistics, error);
    if (status != SAH_OK) return status;
    entry->turn = *turn;
    entry->score = sah_find_score(f, turn);
    if (f->step == 0) f->first[cell] = entry->score;
    f->n_there++;
    return SAH_OK;
}

sah_status sah_find_note_random(sah_find_run *f, const sah_turn *turn, sah_error *error)
{
    if (!sah_grow(&f->random, &f->random_capacity, f->n_random + 1, sizeof *f->random))
        return sah_fail_memory(error, "random groups");
    f->random[f->n_random++] = sah_find_score(f, turn);
    return SAH_OK;
}

sah_status sah_find_note_chosen(sah_find_run *f, size_t cell, sah_error *error)
{
    sah_find_entry *entry = &f->entries[cell];
    f->group_score = entry->score;
    f->group_turn = entry->turn;
    free(f->group_statistics);
    f->group_statistics = entry->statistics;
    entry->statistics = NULL;
    sah_status status = join(f, sah_find_head(f, cell), error);
    clear_entries(f);
    f->step++;
    return status;
}
