/* SPDX-License-Identifier: Apache-2.0 */
/* Generalized Ships and Sahara (method.md): a sweep a step, whose sink turns final hidden states into shifts.
 * What a step knows is what its lines in the journal say, so that a run carries on anywhere. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attribution/find_journal.h"
#include "attribution/subspace.h"
#include "engine/beside.h"
#include "engine/forward.h"
#include "engine/sweep.h"
#include "run/shard.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/npy.h"
#include "util/splitmix.h"
#include "util/strings.h"

/* ---- Candidates ---------------------------------------------------------------------------------------- */

/* Edits of some heads, [3 n] at most, behind one another; returns how many. */
static size_t edits_of(const sah_find_run *f, const sah_head *heads, size_t n, sah_edit *edits)
{
    size_t n_edits = 0;
    for (size_t i = 0; i < n; i++) {
        sah_candidate one = sah_candidate_of(&f->model->config, heads[i], &f->options->ablation);
        for (int e = 0; e < one.n_edits; e++) edits[n_edits++] = one.edits[e];
    }
    return n_edits;
}

static int compare_scores(const void *a, const void *b, void *context)
{
    const double *scores = context;
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    if (scores[x] != scores[y]) return scores[x] > scores[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* The cells of the step's candidates: heads of the ranges outside the group, and behind the first step on the
 * short list, the first step's best. cells [n_heads]; *n of them. */
static sah_status list_candidates(const sah_find_run *f, size_t *cells, size_t *n, sah_error *error)
{
    size_t most = f->find->shortlist, listed = 0;
    double *scores = sah_alloc(f->n_cells, sizeof *scores);
    if (scores == NULL) return sah_fail_memory(error, "the heads");
    *n = 0;
    for (size_t i = 0; i < f->n_heads; i++) cells[i] = sah_find_cell(f, f->heads[i]);
    bool shortened = f->step > 0 && most > 0;
    if (shortened) {
        for (size_t i = 0; i < f->n_cells; i++) scores[i] = isnan(f->first[i]) ? -INFINITY : f->first[i];
        qsort_r(cells, f->n_heads, sizeof *cells, compare_scores, scores);
    }
    for (size_t i = 0; i < f->n_heads; i++) {
        /* the list counts heads that joined the group since */
        if (shortened && (listed++ >= most || isnan(f->first[cells[i]]))) continue;
        if (!f->left_out[cells[i]] && !sah_find_in_group(f, sah_find_head(f, cells[i])))
            cells[(*n)++] = cells[i];
    }
    free(scores);
    return SAH_OK;
}

/* ---- The sweep of a step ------------------------------------------------------------------------------- */

/* What a step's sweep shares. */
typedef struct step_run {
    sah_find_run *f;
    const size_t *cells; /* of the sweep's candidates */
    pthread_mutex_t writing;
} step_run;

/* The states of the model with the group ablated, which for an empty group is the unablated one. */
static sah_status take_base(void *ctx, const float *hidden, sah_error *error)
{
    sah_find_run *f = ((step_run *)ctx)->f;
    if (f->turning == NULL)
        return sah_turning_new(hidden, f->n_queries, f->n_contrast, (size_t)f->model->config.d_model,
                               f->find->rank, f->find->variant, &f->turning, error);
    if (!isnan(f->group_score)) return SAH_OK;
    /* a starting group, which no line speaks of */
    double *angles = sah_alloc(f->find->rank, sizeof *angles);
    sah_turn turn;
    sah_turn_evidence evidence;
    sah_status status = angles != NULL ? sah_turn_measure(f->turning, hidden, "the starting group, query",
                                                          &turn, angles, &evidence, error)
                                       : sah_fail_memory(error, "principal angles");
    if (status == SAH_OK) status = sah_find_note_group(f, &turn, &evidence, error);
    free(angles);
    return status;
}

static sah_status take_candidates(void *ctx, int thread, sah_workspace *workspace, const int32_t *which,
                                  int32_t n, const float *hidden, sah_error *error)
{
    step_run *s = ctx;
    sah_find_run *f = s->f;
    size_t each = (f->n_queries + f->n_contrast) * (size_t)f->model->config.d_model;
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_SCORE);
    double *angles = sah_alloc(f->find->rank, sizeof *angles);
    sah_status status = angles != NULL ? SAH_OK : sah_fail_memory(error, "principal angles");
    (void)thread;
    for (int32_t i = 0; i < n && status == SAH_OK; i++) {
        sah_turn turn;
        sah_turn_evidence evidence;
        char what[64];
        size_t cell = s->cells[which[i]];
        sah_head head = sah_find_head(f, cell);
        snprintf(what, sizeof what, "head %d-%d, query", head.layer, head.head);
        status =
            sah_turn_measure(f->turning, hidden + (size_t)i * each, what, &turn, angles, &evidence, error);
        if (status != SAH_OK) break;
        pthread_mutex_lock(&s->writing);
        status = sah_find_write_head(f, cell, &turn, angles, &evidence, error);
        pthread_mutex_unlock(&s->writing);
    }
    free(angles);
    sah_workspace_enter(workspace, before);
    return status;
}

/* What the progress line says of whole states that are rounded. */
static const char *rounding_of(const sah_find_run *f)
{
    return f->model->precision == SAH_PRECISION_BF16 && !f->differs ? ", bf16 without differences" : "";
}

/* Sweeps `cells` beside the group; base_only: no candidate, but base states computed as for all. */
static sah_status sweep(sah_find_run *f, const sah_edit *edits, size_t n_edits, const size_t *cells, size_t n,
                        bool base_only, sah_error *error)
{
    step_run s = {.f = f, .cells = cells, .writing = PTHREAD_MUTEX_INITIALIZER};
    sah_candidate *candidates = sah_alloc(n, sizeof *candidates);
    char what[64];
    if (candidates == NULL) return sah_fail_memory(error, "the heads");
    for (size_t i = 0; i < n; i++)
        candidates[i] =
            sah_candidate_of(&f->model->config, sah_find_head(f, cells[i]), &f->options->ablation);
    snprintf(what, sizeof what, "find%s, step %zu: heads", rounding_of(f), f->step);
    sah_sweep_options options = {
        .memory = f->options->memory,
        .progress = f->options->progress,
        .user = f->options->user,
        .what = what,
        .done = f->n_there,
        .total = f->n_there + n,
        .differences = f->differs,
        .base_only = base_only,
    };
    sah_sink sink = {&s, take_base, take_candidates};
    sah_status status = sah_sweep(f->model, f->forest, edits, n_edits, candidates, n, &options, &sink, error);
    pthread_mutex_destroy(&s.writing);
    free(candidates);
    return status;
}

/* ---- Single passes ------------------------------------------------------------------------------------- */

/* Final-norm states of all queries, [n, queries, d], under each of n ablations, as the sweeps have them. */
static sah_status states_under(const sah_find_run *f, const sah_edit_list *ablations, size_t n, float *hidden,
                               sah_error *error)
{
    const size_t each = (f->n_queries + f->n_contrast) * (size_t)f->model->config.d_model;
    sah_status status = SAH_OK;
    if (f->differs) return sah_forward_beside(f->model, f->forest, ablations, n, hidden, error);
    for (size_t i = 0; i < n && status == SAH_OK; i++)
        status =
            sah_forward(f->model, f->forest, ablations[i].edits, ablations[i].n, hidden + i * each, error);
    return status;
}

/* ---- Other shards -------------------------------------------------------------------------------------- */

/* How many of `cells` [n] have what is waited for. */
typedef size_t count_fn(const sah_find_run *f, const size_t *cells, size_t n);

static size_t count_sampled(const sah_find_run *f, const size_t *cells, size_t n)
{
    size_t there = 0;
    for (size_t i = 0; i < n; i++) there += isnan(f->estimates[cells[i]].low) ? 0 : 1;
    return there;
}

static size_t count_measured(const sah_find_run *f, const size_t *cells, size_t n)
{
    size_t there = 0;
    for (size_t i = 0; i < n; i++) there += isnan(f->entries[cells[i]].score) ? 0 : 1;
    return there;
}

static size_t count_random(const sah_find_run *f, const size_t *cells, size_t n)
{
    (void)cells;
    return f->n_random < n ? f->n_random : n;
}

/* Reads what the other shards write until all is there. */
static sah_status wait_for(sah_find_run *f, count_fn *count, const size_t *cells, size_t n, sah_error *error)
{
    sah_status status = SAH_OK;
    while (f->together != NULL && status == SAH_OK && count(f, cells, n) < n) {
        status = sah_find_read_others(f, error);
        const size_t there = count(f, cells, n);
        if (status == SAH_OK && there < n)
            status = sah_together_wait(f->options, "find: waiting for other shards", there, n, error);
    }
    return status;
}

/* ---- Screening ----------------------------------------------------------------------------------------- */

/* Queries of the sample, of either set. */
enum { SAMPLE = 24 };

/* The sweep over the sample. */
typedef struct sample_run {
    sah_find_run *f;
    const size_t *cells;
    size_t n[2];
    sah_turning *turning;
    pthread_mutex_t writing;
} sample_run;

static sah_status sample_base(void *ctx, const float *hidden, sah_error *error)
{
    sample_run *s = ctx;
    const sah_find_options *find = s->f->find;
    return sah_turning_new(hidden, s->n[0], s->n[1], (size_t)s->f->model->config.d_model, find->rank,
                           find->variant, &s->turning, error);
}

static sah_status sample_take(void *ctx, int thread, sah_workspace *workspace, const int32_t *which,
                              int32_t n, const float *hidden, sah_error *error)
{
    sample_run *s = ctx;
    size_t each = (s->n[0] + s->n[1]) * (size_t)s->f->model->config.d_model;
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_SCORE);
    double *angles = sah_alloc(s->f->find->rank, sizeof *angles);
    sah_status status = angles != NULL ? SAH_OK : sah_fail_memory(error, "principal angles");
    (void)thread;
    for (int32_t i = 0; i < n && status == SAH_OK; i++) {
        sah_turn turn;
        sah_turn_evidence evidence;
        status = sah_turn_measure(s->turning, hidden + (size_t)i * each, "the sample, query", &turn, angles,
                                  &evidence, error);
        if (status != SAH_OK) break;
        pthread_mutex_lock(&s->writing);
        status = sah_find_write_sample(s->f, s->cells[which[i]], s->n[0], &turn, &evidence, error);
        pthread_mutex_unlock(&s->writing);
    }
    free(angles);
    sah_workspace_enter(workspace, before);
    return status;
}

/* Some of a list, evenly from all of it; their numbers, counted from `first`, go behind query_of[*n]. */
static sah_status sample_of(const sah_strings *list, size_t first, sah_strings *out, size_t *query_of,
                            size_t *n_sampled, sah_error *error)
{
    size_t n = list->n < SAMPLE ? list->n : SAMPLE;
    sah_status status = SAH_OK;
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        const char *query = list->items[i * list->n / n];
        query_of[(*n_sampled)++] = first + i * list->n / n;
        status = sah_strings_add(out, query, strlen(query), error);
    }
    return status;
}

/* Estimates for the cells [n] that have none. */
static sah_status sample_heads(sah_find_run *f, const size_t *cells, size_t n, sah_error *error)
{
    sah_strings lists[2] = {{0}, {0}};
    const sah_strings *both[2] = {&lists[0], &lists[1]};
    sample_run s = {.f = f, .cells = cells, .writing = PTHREAD_MUTEX_INITIALIZER};
    sah_forest *forest = NULL;
    sah_donors *donors = NULL;
    size_t query_of[2 * SAMPLE], n_sampled = 0;
    sah_candidate *candidates = sah_alloc(n, sizeof *candidates);
    sah_status status = candidates != NULL ? SAH_OK : sah_fail_memory(error, "the heads");
    for (int i = 0; i < 2 && status == SAH_OK; i++) {
        if (f->lists[i] != NULL)
            status = sample_of(f->lists[i], i > 0 ? f->n_queries : 0, &lists[i], query_of, &n_sampled, error);
        s.n[i] = lists[i].n;
    }
    if (status == SAH_OK)
        status = sah_run_forest(f->model, both, 2, f->options, SAH_FIND_TEMPLATE, query_of, &donors, &forest,
                                error);
    for (size_t i = 0; i < n && status == SAH_OK; i++)
        candidates[i] =
            sah_candidate_of(&f->model->config, sah_find_head(f, cells[i]), &f->options->ablation);
    sah_sweep_options options = {.memory = f->options->memory,
                                 .progress = f->options->progress,
                                 .user = f->options->user,
                                 .what = "find, sample: heads",
                                 .differences = f->differs};
    sah_sink sink = {&s, sample_base, sample_take};
    if (status == SAH_OK)
        status = sah_sweep(f->model, forest, NULL, 0, candidates, n, &options, &sink, error);
    pthread_mutex_destroy(&s.writing);
    sah_turning_free(s.turning);
    sah_forest_free(forest);
    sah_donors_free(donors);
    sah_strings_free(&lists[0]);
    sah_strings_free(&lists[1]);
    free(candidates);
    return status;
}

static int compare_descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Leaves out the heads whose interval on the sample ends below where that of the last wanted head begins. */
static sah_status screen_heads(sah_find_run *f, sah_error *error)
{
    const size_t n = f->n_heads; /* all, chosen or not: a run that is resumed leaves out the same */
    size_t left = 0;
    size_t *cells = sah_alloc(f->n_heads, sizeof *cells), *missing = sah_alloc(f->n_heads, sizeof *missing);
    double *lows = sah_alloc(f->n_heads, sizeof *lows);
    sah_status status =
        cells != NULL && missing != NULL && lows != NULL ? SAH_OK : sah_fail_memory(error, "the heads");
    for (size_t i = 0; i < n && status == SAH_OK; i++) cells[i] = sah_find_cell(f, f->heads[i]);
    for (size_t i = 0; i < n && status == SAH_OK; i++)
        if (sah_shard_has(&f->options->shard, i) && isnan(f->estimates[cells[i]].low))
            missing[left++] = cells[i];
    if (status == SAH_OK && left > 0) status = sample_heads(f, missing, left, error);
    if (status == SAH_OK) status = wait_for(f, count_sampled, cells, n, error);
    for (size_t i = 0; i < n && status == SAH_OK; i++) lows[i] = f->estimates[cells[i]].low;
    if (status == SAH_OK && n > f->find->screen) {
        qsort(lows, n, sizeof *lows, compare_descending);
        for (size_t i = 0; i < n; i++)
            f->left_out[cells[i]] = f->estimates[cells[i]].high < lows[f->find->screen - 1];
    }
    free(cells);
    free(missing);
    free(lows);
    return status;
}

/* ---- Random groups ------------------------------------------------------------------------------------- */

/* The step's group k: the starting heads and others of the ranges drawn at random, as many as the step's
 * group will have. heads [n_group + 1]. */
static void draw_group(const sah_find_run *f, size_t k, sah_head *heads)
{
    uint64_t seed = f->find->seed, state = sah_splitmix(&seed) ^ ((uint64_t)f->step << 32) ^ k;
    size_t n = f->n_start;
    memcpy(heads, f->group, n * sizeof *heads);
    while (n < f->n_group + 1) {
        sah_head head = f->heads[sah_splitmix_below(&state, f->n_heads)];
        bool there = false;
        for (size_t i = 0; i < n; i++)
            there = there || (heads[i].layer == head.layer && heads[i].head == head.head);
        if (!there) heads[n++] = head;
    }
}

/* Draws group k and says whether it is this shard's to measure. Equal groups belong to one shard, for their lines look
 * alike. heads, earlier [n_group + 1]. */
static bool draw_own_group(const sah_find_run *f, size_t k, sah_head *heads, sah_head *earlier)
{
    size_t first = 0;
    draw_group(f, k, heads);
    for (; first < k; first++) {
        draw_group(f, first, earlier);
        if (memcmp(heads, earlier, (f->n_group + 1) * sizeof *heads) == 0) break;
    }
    return sah_shard_has(&f->options->shard, first);
}

/* Groups that are measured together: as many as share a base pass, else one by one, so that a run that is
 * interrupted has them. */
typedef struct drawn {
    sah_head *heads; /* [most, n_group + 1], and room for one more */
    sah_edit *edits; /* [most, 3 (n_group + 1)] */
    sah_edit_list *ablations; /* [most] */
    float *hidden; /* [most, queries, d] */
    size_t n, most;
} drawn;

static sah_status measure_drawn(sah_find_run *f, drawn *g, double *angles, sah_error *error)
{
    const size_t each = (f->n_queries + f->n_contrast) * (size_t)f->model->config.d_model, n = f->n_group + 1;
    sah_status status = states_under(f, g->ablations, g->n, g->hidden, error);
    for (size_t i = 0; i < g->n && status == SAH_OK; i++) {
        sah_turn turn;
        status = sah_turn_measure(f->turning, g->hidden + i * each, "a random group, query", &turn, angles,
                                  NULL, error);
        if (status == SAH_OK) status = sah_find_write_random(f, g->heads + i * n, n, &turn, error);
    }
    g->n = 0;
    return status;
}

static sah_status measure_random(sah_find_run *f, sah_error *error)
{
    const size_t n = f->n_group + 1, total = f->n_queries + f->n_contrast, all = f->find->random_groups;
    drawn g = {.most = !f->differs || all == 0 ? 1 : all < SAH_MOST_BESIDE ? all : SAH_MOST_BESIDE};
    g.heads = sah_alloc((g.most + 1) * n, sizeof *g.heads);
    g.edits = sah_alloc(g.most * 3 * n, sizeof *g.edits);
    g.ablations = sah_alloc(g.most, sizeof *g.ablations);
    g.hidden = sah_alloc_aligned(g.most * total * (size_t)f->model->config.d_model, sizeof *g.hidden);
    double *angles = sah_alloc(f->find->rank, sizeof *angles);
    size_t there = f->n_random_own; /* lines of earlier runs, in this order */
    sah_status status =
        g.heads != NULL && g.edits != NULL && g.ablations != NULL && g.hidden != NULL && angles != NULL
            ? SAH_OK
            : sah_fail_memory(error, "random groups");
    for (size_t k = 0; k < all && status == SAH_OK; k++) {
        sah_head *heads = g.heads + g.n * n;
        sah_edit *edits = g.edits + g.n * 3 * n;
        if (draw_own_group(f, k, heads, g.heads + g.most * n)) {
            if (there > 0) {
                there--;
                continue;
            }
            g.ablations[g.n++] = (sah_edit_list){edits, edits_of(f, heads, n, edits)};
        }
        if (g.n == 0 || (g.n < g.most && k + 1 < all)) continue;
        status = measure_drawn(f, &g, angles, error);
        if (status == SAH_OK && f->options->progress != NULL &&
            !f->options->progress(f->options->user, "find: random groups", k + 1, all))
            status = sah_fail(error, SAH_INTERRUPTED, "interrupted");
    }
    if (status == SAH_OK && g.n > 0) status = measure_drawn(f, &g, angles, error);
    free(g.heads);
    free(g.edits);
    free(g.ablations);
    free(g.hidden);
    free(angles);
    return status;
}

/* ---- Steps --------------------------------------------------------------------------------------------- */

/* A shard that sees no other: it measures its heads of the first step, and chooses none. */
static bool works_alone(const sah_find_run *f)
{
    return sah_shard_is_part(&f->options->shard) && f->together == NULL;
}

static sah_status run_step(sah_find_run *f, sah_error *error)
{
    size_t n = 0, left = 0, n_edits;
    size_t *cells = sah_alloc(f->n_heads, sizeof *cells), *all = sah_alloc(f->n_heads, sizeof *all);
    sah_edit *edits = sah_alloc(3 * f->n_group + 1, sizeof *edits);
    sah_status status =
        cells != NULL && all != NULL && edits != NULL ? SAH_OK : sah_fail_memory(error, "the heads");
    if (status == SAH_OK) status = list_candidates(f, all, &n, error);
    if (status != SAH_OK) goto done;
    for (size_t i = 0; i < n; i++)
        if (sah_shard_has(&f->options->shard, i) && isnan(f->entries[all[i]].score)) cells[left++] = all[i];
    if (works_alone(f) && left == 0) goto done;
    n_edits = edits_of(f, f->group, f->n_group, edits);
    /* The unablated model first, when this step's base is another. */
    if (f->turning == NULL && f->n_group > 0) status = sweep(f, NULL, 0, all, n, true, error);
    bool need_base = f->turning == NULL || isnan(f->group_score);
    if (status == SAH_OK && (left > 0 || need_base))
        status = sweep(f, edits, n_edits, left > 0 ? cells : all, left > 0 ? left : n, left == 0, error);
    if (works_alone(f)) goto done;
    if (status == SAH_OK) status = wait_for(f, count_measured, all, n, error);
    if (status == SAH_OK && f->step > 0) status = measure_random(f, error);
    if (status == SAH_OK && f->step > 0)
        status = wait_for(f, count_random, NULL, f->find->random_groups, error);
    if (status == SAH_OK) status = sah_find_finish_step(f, all, n, error);

done:
    free(cells);
    free(all);
    free(edits);
    return status;
}

/* States of the unablated model and of every group so far, for --save-states. */
static sah_status save_states(const sah_find_run *f, sah_error *error)
{
    size_t d = (size_t)f->model->config.d_model, total = f->n_queries + f->n_contrast;
    size_t n_sets = 1 + f->n_group - f->n_start, numbers;
    sah_edit *edits = sah_alloc(3 * f->n_group + 1, sizeof *edits);
    sah_edit_list *ablations = sah_alloc(n_sets, sizeof *ablations);
    float *hidden = sah_mul(n_sets, total * d, &numbers) ? sah_alloc_aligned(numbers, sizeof *hidden) : NULL;
    sah_status status = edits != NULL && ablations != NULL && hidden != NULL
                            ? SAH_OK
                            : sah_fail_memory(error, "the hidden states");
    for (size_t i = 0; i < n_sets && status == SAH_OK; i++) /* a group's edits begin with those of the last */
        ablations[i] = (sah_edit_list){edits, i == 0 ? 0 : edits_of(f, f->group, f->n_start + i, edits)};
    if (status == SAH_OK) status = states_under(f, ablations, n_sets, hidden, error);
    if (status == SAH_OK)
        status = sah_npy_write_floats(f->find->save_states, hidden, n_sets * total, d, error);
    free(edits);
    free(ablations);
    free(hidden);
    return status;
}

/* ---- The run ------------------------------------------------------------------------------------------- */

static sah_status check_options(const sah_find_run *f, sah_error *error)
{
    const sah_find_options *find = f->find;
    size_t least = f->n_contrast > 0 && f->n_contrast < f->n_queries ? f->n_contrast : f->n_queries;
    size_t free_heads = 0;
    sah_status status = sah_shard_check(&f->options->shard, error);
    if (status != SAH_OK) return status;
    if (find->variant == SAH_VARIANT_SPECTRAL && find->rank != 1)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "rank",
                              " %zu: the spectral variant compares one column", find->rank);
    if (least <= find->rank)
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "%zu %squer%s: a space of rank %zu turns only where there are at least %zu", least,
                        f->n_contrast > 0 && least == f->n_contrast ? "contrast " : "",
                        least == 1 ? "y" : "ies", find->rank, find->rank + 1);
    for (size_t i = 0; i < f->n_heads; i++) free_heads += !sah_find_in_group(f, f->heads[i]);
    if (find->steps > free_heads)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "steps",
                              " %zu: there are only %zu heads to choose from", find->steps, free_heads);
    if (find->screen > 0 && f->n_start > 0)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "screen",
                              ": cannot be combined with a starting group: it tries each head alone");
    if (find->screen > 0 && find->screen < find->steps)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "screen", ": %zu heads are fewer than the %zu steps",
                              find->screen, find->steps);
    if (sah_shard_is_part(&f->options->shard) && f->options->together == NULL &&
        (find->steps > 1 || find->screen > 0 || find->save_states != NULL))
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "a shard of several steps or of screening needs the other shards' journals: give the "
                        "folder that holds them all");
    if (find->shortlist > 0 && find->shortlist < find->steps)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "shortlist", " %zu: fewer heads than the %zu steps",
                              find->shortlist, find->steps);
    return SAH_OK;
}

sah_find_options sah_find_options_default(void)
{
    return (sah_find_options){.steps = 1, .rank = 1, .random_groups = 19};
}

static sah_find_options resolve(const sah_find_options *find)
{
    if (find == NULL) return sah_find_options_default();
    sah_find_options out = *find;
    if (out.steps == 0) out.steps = 1;
    if (out.rank == 0) out.rank = 1;
    return out;
}

sah_status sah_find(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                    const sah_run_options *options, const sah_find_options *find, const char *path,
                    sah_error *error)
{
    if (contrast != NULL && contrast->n == 0) contrast = NULL;
    const sah_strings *lists[] = {queries, contrast};
    const sah_run_options meant = sah_run_resolve(options);
    const sah_find_options own = resolve(find);
    options = &meant;
    find = &own;
    sah_find_run f = {.model = model, .options = options, .find = find, .n_queries = queries->n};
    f.n_contrast = contrast != NULL ? contrast->n : 0;
    f.info = sah_model_describe(model);
    f.lists[0] = queries;
    f.lists[1] = contrast;
    if (queries->n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no query to score");

    sah_status status = sah_find_run_init(&f, error);
    if (status == SAH_OK) status = check_options(&f, error);
    if (status == SAH_OK)
        status = sah_interchange_check(&options->ablation, &options->interchange, f.n_queries + f.n_contrast,
                                       error);
    if (status == SAH_OK)
        status =
            sah_run_forest(model, lists, 2, options, SAH_FIND_TEMPLATE, NULL, &f.donors, &f.forest, error);
    if (status == SAH_OK) {
        f.differs = sah_sweep_differs(model, f.forest, options->memory);
        status = sah_find_open(&f, queries, contrast, path, error);
    }
    if (status == SAH_OK && find->screen > 0 && queries->n > SAMPLE) status = screen_heads(&f, error);
    if (status == SAH_OK && works_alone(&f) && f.step == 0) status = run_step(&f, error);
    while (status == SAH_OK && !works_alone(&f) && f.step < find->steps) status = run_step(&f, error);
    sah_status closed = sah_journal_close(f.journal, status == SAH_OK ? error : NULL);
    if (status == SAH_OK) status = closed;
    if (status == SAH_OK && find->save_states != NULL) status = save_states(&f, error);
    sah_turning_free(f.turning);
    sah_forest_free(f.forest);
    sah_donors_free(f.donors);
    sah_find_run_free(&f);
    return status;
}
