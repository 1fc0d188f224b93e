/* SPDX-License-Identifier: Apache-2.0 */
#include "attribution/ships_sweep.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

/* Logits that one thread holds at a time: as many rows as fit, within limits that keep the product tall and
 * memory bounded. */
enum { MOST_ROWS = 128, LEAST_ROWS = 16, LOGITS_BYTES = 32 << 20 };

/* What one distribution gives: its divergence from the unablated one, and changes of log-probability. */
typedef struct score {
    double kl, own, refusal;
} score;

/* The unablated side of a probe. */
typedef struct probe_base {
    sah_kl_base kl; /* p NULL: no divergence is asked for */
    double own, refusal; /* log-probabilities */
} probe_base;

/* One sweep thread's memory, made when first used. */
typedef struct thread_memory {
    float *logits; /* [rows, n_vocab] in the device's memory */
    sah_row_score *rows; /* [rows] */
    float *rest; /* [rows, d] by differences: hidden states less the base's */
    score *scores; /* [candidates at a time * probes] */
    size_t capacity;
} thread_memory;

typedef struct scores {
    const sah_model *model;
    const sah_probes *probes;
    bool opening_kl;
    size_t n_vocab, rows;
    const sah_target *targets;
    double *p; /* [divergences, n_vocab] behind `base`, in the device's memory */
    probe_base *base; /* [n probes] */
    bool differs; /* by differences, from: */
    float *hidden; /* [n probes, d] the base's hidden states */
    float *logits; /* [n probes, n_vocab] and logits, in the device's memory */
    double *sums; /* [4, n_queries] a head's scores on their way to `take` */
    thread_memory *threads; /* [n_threads] */
    int n_threads;
    sah_scores_fn take;
    void *ctx;
    pthread_mutex_t taking;
} scores;

/* What is asked of a row of logits of a probe. */
static sah_row_score question(const scores *s, size_t index)
{
    const sah_probe *probe = &s->probes->items[index];
    const probe_base *base = &s->base[index];
    return (sah_row_score){.base = base->kl.p != NULL ? &base->kl : NULL,
                           .token = {probe->own, probe->refusal}};
}

/* ---- The unablated model ------------------------------------------------------------------------------- */

static bool has_divergence(const scores *s, const sah_probe *probe)
{
    return probe->first || (s->opening_kl && probe->own >= 0);
}

/* *finite: whether all logits are. */
static sah_status prepare_probe(const scores *s, sah_workspace *workspace, size_t index, const float *logits,
                                double **p, bool *finite, sah_error *error)
{
    const sah_device *device = s->model->device;
    const int64_t V = (int64_t)s->n_vocab;
    probe_base *base = &s->base[index];
    sah_row_score row = question(s, index);
    sah_status status = device->score(workspace, logits, 1, V, &row, error);
    base->own = row.log_p[0];
    base->refusal = row.log_p[1];
    *finite = !isnan(row.log_p[0]) && !isnan(row.log_p[1]);
    if (status != SAH_OK || !has_divergence(s, &s->probes->items[index])) return status;
    base->kl.p = *p;
    *p += V;
    status = device->distribution(workspace, logits, V, &base->kl, error);
    *finite = *finite && !isnan(base->kl.log_p_sum);
    return status;
}

/* Logits of probes [from, from + n) under no edit. */
static sah_status base_logits(const scores *s, sah_workspace *workspace, size_t from, size_t n,
                              const float *hidden, float *logits, sah_error *error)
{
    const size_t V = s->n_vocab;
    if (!s->differs) return sah_lm_head(s->model, workspace, hidden, (int64_t)n, logits, error);
    const sah_rows kept = {s->logits + from * V, (int64_t)V, NULL};
    workspace->device->copy(workspace, kept, (int64_t)n, (int64_t)V, logits, (int64_t)V, NULL);
    return sah_lm_head_beside(s->model, workspace, NULL, (int64_t)n, logits, error);
}

static sah_status take_base(void *ctx, const float *hidden, sah_error *error)
{
    scores *s = ctx;
    const sah_device *device = s->model->device;
    size_t V = s->n_vocab, d = (size_t)s->model->config.d_model, n_probes = s->probes->n;
    sah_workspace *workspace = NULL;
    double *p = s->p;
    float *logits = sah_device_alloc(device, s->rows * V, sizeof *logits);
    sah_status status = logits != NULL ? sah_workspace_new(device, s->model->threads, &workspace, error)
                                       : sah_fail_memory(error, "logits");
    if (status == SAH_OK && s->differs) {
        memcpy(s->hidden, hidden, n_probes * d * sizeof *hidden);
        status = sah_lm_head_exact(s->model, workspace, hidden, (int64_t)n_probes, s->logits, error);
    }
    for (size_t from = 0; from < n_probes && status == SAH_OK; from += s->rows) {
        size_t n = n_probes - from < s->rows ? n_probes - from : s->rows;
        status = base_logits(s, workspace, from, n, hidden + from * d, logits, error);
        for (size_t i = 0; i < n && status == SAH_OK; i++) {
            bool finite;
            status = prepare_probe(s, workspace, from + i, logits + i * V, &p, &finite, error);
            if (status != SAH_OK || finite) continue;
            status = sah_fail(error, SAH_FAILED,
                              "the logits of prompt %zu are not finite; the checkpoint may be damaged",
                              s->probes->items[from + i].query + 1);
        }
    }
    sah_workspace_free(workspace);
    sah_device_free(device, logits);
    return status;
}

/* ---- One ablated head after another -------------------------------------------------------------------- */

static bool make_room(const scores *s, thread_memory *memory, size_t n_scores)
{
    if (memory->logits == NULL)
        memory->logits = sah_device_alloc(s->model->device, s->rows * s->n_vocab, sizeof *memory->logits);
    if (memory->rows == NULL) memory->rows = sah_alloc(s->rows, sizeof *memory->rows);
    if (s->differs && memory->rest == NULL)
        memory->rest = sah_alloc_aligned(s->rows * (size_t)s->model->config.d_model, sizeof *memory->rest);
    return memory->logits != NULL && memory->rows != NULL && (memory->rest != NULL || !s->differs) &&
           sah_grow(&memory->scores, &memory->capacity, n_scores, sizeof *memory->scores);
}

/* The scores of n rows of logits, the first of which is score `first` of its unit: a row's probe is its index
 * modulo the probes. */
static sah_status score_rows(const scores *s, const thread_memory *memory, sah_workspace *workspace,
                             size_t first, size_t n, sah_error *error)
{
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_SCORE);
    for (size_t i = 0; i < n; i++) memory->rows[i] = question(s, (first + i) % s->probes->n);
    sah_status status = s->model->device->score(workspace, memory->logits, (int64_t)n, (int64_t)s->n_vocab,
                                                memory->rows, error);
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        const sah_row_score *row = &memory->rows[i];
        const probe_base *base = &s->base[(first + i) % s->probes->n];
        memory->scores[first + i] =
            (score){row->kl, row->log_p[0] - base->own, row->log_p[1] - base->refusal};
    }
    sah_workspace_enter(workspace, before);
    return status;
}

/* Sums over each query's probes, as means a token; false where one is not finite. */
static bool gather(const scores *s, const score *of_probes, double *kl, double *effect, double *toward,
                   double *opening_kl)
{
    const sah_probes *probes = s->probes;
    bool finite = true;
    memset(s->sums, 0, 4 * probes->n_queries * sizeof *s->sums);
    for (size_t i = 0; i < probes->n; i++) {
        size_t q = probes->items[i].query;
        const score *one = &of_probes[i];
        if (probes->items[i].first) kl[q] = one->kl;
        effect[q] += one->own;
        toward[q] += one->refusal;
        if (probes->items[i].own >= 0) opening_kl[q] += one->kl;
        finite = finite && isfinite(one->kl) && isfinite(one->own) && isfinite(one->refusal);
    }
    for (size_t q = 0; q < probes->n_queries && probes->own_length != NULL; q++) {
        size_t own = probes->own_length[q], refusal = probes->refusal_length[q];
        effect[q] = own > 0 ? effect[q] / (double)own : NAN;
        opening_kl[q] = own > 0 ? opening_kl[q] / (double)own : NAN;
        toward[q] = refusal > 0 ? toward[q] / (double)refusal : NAN;
    }
    return finite;
}

/* Hands one head's scores on. */
static sah_status hand_on(scores *s, size_t index, const score *of_probes, sah_error *error)
{
    sah_head head = s->targets[index].head;
    size_t n = s->probes->n_queries;
    bool openings = s->probes->own_length != NULL;
    double *kl = s->sums, *effect = kl + n, *toward = effect + n, *opening_kl = toward + n;
    sah_status status;
    pthread_mutex_lock(&s->taking);
    const sah_head_scores out = {.kl = kl,
                                 .effect = openings ? effect : NULL,
                                 .toward = openings ? toward : NULL,
                                 .opening_kl = s->opening_kl ? opening_kl : NULL};
    if (gather(s, of_probes, kl, effect, toward, opening_kl))
        status = s->take(s->ctx, index, &out, error);
    else
        status = sah_fail(error, SAH_FAILED, "logits are not finite with head %d-%d ablated", head.layer,
                          head.head);
    pthread_mutex_unlock(&s->taking);
    return status;
}

/* The logits of n rows of hidden states, the first of which is that of score `first`. */
static sah_status find_logits(const scores *s, const thread_memory *memory, sah_workspace *workspace,
                              size_t first, size_t n, const float *hidden, sah_error *error)
{
    const size_t V = s->n_vocab, d = (size_t)s->model->config.d_model, n_probes = s->probes->n;
    if (!s->differs) return sah_lm_head(s->model, workspace, hidden, (int64_t)n, memory->logits, error);
    for (size_t i = 0, of_one; i < n; i += of_one) {
        const size_t probe = (first + i) % n_probes;
        const sah_rows kept = {s->logits + probe * V, (int64_t)V, NULL};
        of_one = n_probes - probe < n - i ? n_probes - probe : n - i;
        workspace->device->copy(workspace, kept, (int64_t)of_one, (int64_t)V, memory->logits + i * V,
                                (int64_t)V, NULL);
        for (size_t j = 0; j < of_one * d; j++)
            memory->rest[i * d + j] = hidden[i * d + j] - s->hidden[probe * d + j];
    }
    return sah_lm_head_beside(s->model, workspace, memory->rest, (int64_t)n, memory->logits, error);
}

static sah_status take_candidates(void *ctx, int thread, sah_workspace *workspace, const int32_t *which,
                                  int32_t n, const float *hidden, sah_error *error)
{
    scores *s = ctx;
    thread_memory *memory = &s->threads[thread];
    size_t n_scores = (size_t)n * s->probes->n, d = (size_t)s->model->config.d_model;
    sah_status status = SAH_OK;
    if (!make_room(s, memory, n_scores)) return sah_fail_memory(error, "logits");
    for (size_t from = 0; from < n_scores && status == SAH_OK; from += s->rows) {
        size_t rows = n_scores - from < s->rows ? n_scores - from : s->rows;
        status = find_logits(s, memory, workspace, from, rows, hidden + from * d, error);
        if (status == SAH_OK) status = score_rows(s, memory, workspace, from, rows, error);
    }
    for (int32_t i = 0; i < n && status == SAH_OK; i++)
        status = hand_on(s, (size_t)which[i], memory->scores + (size_t)i * s->probes->n, error);
    return status;
}

/* ---- The sweep ----------------------------------------------------------------------------------------- */

static sah_status make_memory(scores *s, sah_error *error)
{
    size_t fit = LOGITS_BYTES / (s->n_vocab * sizeof(float)), numbers, divergences = 0;
    s->rows = fit > MOST_ROWS ? MOST_ROWS : fit < LEAST_ROWS ? LEAST_ROWS : fit;
    for (size_t i = 0; i < s->probes->n; i++) divergences += has_divergence(s, &s->probes->items[i]);
    if (!sah_mul(divergences, s->n_vocab, &numbers))
        return sah_fail_memory(error, "the distributions of all queries");
    s->p = sah_device_alloc(s->model->device, numbers, sizeof *s->p);
    s->base = sah_alloc(s->probes->n, sizeof *s->base);
    s->sums = sah_alloc(s->probes->n_queries, 4 * sizeof *s->sums);
    s->threads = sah_alloc((size_t)s->n_threads, sizeof *s->threads);
    if (s->differs) {
        const size_t n = s->probes->n, d = (size_t)s->model->config.d_model;
        if (!sah_mul(n, s->n_vocab, &numbers))
            return sah_fail_memory(error, "the distributions of all queries");
        s->logits = sah_device_alloc(s->model->device, numbers, sizeof *s->logits);
        s->hidden = sah_alloc_aligned(n * d, sizeof *s->hidden);
    }
    return s->p != NULL && s->base != NULL && s->sums != NULL && s->threads != NULL &&
                   (!s->differs || (s->logits != NULL && s->hidden != NULL))
               ? SAH_OK
               : sah_fail_memory(error, "the distributions of all queries");
}

static void free_memory(scores *s)
{
    for (int i = 0; i < s->n_threads && s->threads != NULL; i++) {
        sah_device_free(s->model->device, s->threads[i].logits);
        free(s->threads[i].rows);
        free(s->threads[i].rest);
        free(s->threads[i].scores);
    }
    free(s->threads);
    free(s->base);
    free(s->hidden);
    sah_device_free(s->model->device, s->logits);
    free(s->sums);
    sah_device_free(s->model->device, s->p);
    pthread_mutex_destroy(&s->taking);
}

sah_status sah_scores(const sah_model *model, const sah_probes *probes, bool opening_kl,
                      const sah_target *targets, size_t n, const sah_sweep_options *sweep, sah_scores_fn take,
                      void *ctx, sah_error *error)
{
    scores s = {
        .model = model,
        .probes = probes,
        .opening_kl = opening_kl && probes->own_length != NULL,
        .n_vocab = (size_t)model->config.n_vocab,
        .targets = targets,
        .differs = sweep != NULL && sweep->differences,
        .n_threads = model->threads,
        .take = take,
        .ctx = ctx,
        .taking = PTHREAD_MUTEX_INITIALIZER,
    };
    sah_sink sink = {&s, take_base, take_candidates};
    sah_candidate *candidates = sah_alloc(n, sizeof *candidates);
    sah_status status = candidates != NULL ? make_memory(&s, error) : sah_fail_memory(error, "the heads");
    for (size_t i = 0; i < n && status == SAH_OK; i++)
        candidates[i] = sah_candidate_of(&model->config, targets[i].head, targets[i].ablation);
    if (status == SAH_OK)
        status = sah_sweep(model, probes->forest, NULL, 0, candidates, n, sweep, &sink, error);
    free(candidates);
    free_memory(&s);
    return status;
}
