#include "attribution/ships_sweep.h"

#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/cpu/kl.h"
#include "util/alloc.h"
#include "util/error.h"

/* Logits that one thread holds at a time: as many rows as fit, within limits that keep the product tall and
 * memory bounded. */
enum { MOST_ROWS = 128, LEAST_ROWS = 16, LOGITS_BYTES = 32 << 20 };

/* One sweep thread's memory, made when first used. */
typedef struct thread_memory {
    float *logits; /* [rows, n_vocab] */
    double *scratch; /* [workspace threads, n_vocab] */
    double *kl; /* [candidates at a time * n_prompts] */
    size_t kl_capacity;
} thread_memory;

typedef struct scores {
    const sah_model *model;
    size_t n_prompts, n_vocab, rows;
    const sah_head *heads;
    double *p; /* [n_prompts, n_vocab] behind `base` */
    sah_kl_base *base; /* [n_prompts] */
    thread_memory *threads; /* [n_threads] */
    int n_threads;
    sah_scores_fn take;
    void *ctx;
    pthread_mutex_t taking;
} scores;

/* ---- The unablated model ------------------------------------------------------------------------------- */

static sah_status take_base(void *ctx, const float *hidden, sah_error *error)
{
    scores *s = ctx;
    size_t V = s->n_vocab, d = (size_t)s->model->config.d_model;
    sah_workspace *workspace = NULL;
    float *logits = sah_alloc_aligned(s->rows * V, sizeof *logits);
    double *scratch = sah_alloc_aligned(V, sizeof *scratch);
    sah_status status = SAH_OK;
    if (logits == NULL || scratch == NULL) status = sah_fail_memory(error, "logits");
    if (status == SAH_OK) status = sah_workspace_new(s->model->threads, &workspace, error);
    for (size_t from = 0; from < s->n_prompts && status == SAH_OK; from += s->rows) {
        size_t n = s->n_prompts - from < s->rows ? s->n_prompts - from : s->rows;
        status = sah_lm_head(s->model, workspace, hidden + from * d, (int64_t)n, logits, error);
        for (size_t i = 0; i < n && status == SAH_OK; i++) {
            s->base[from + i].p = s->p + (from + i) * V;
            if (sah_kl_prepare(logits + i * V, V, scratch, &s->base[from + i])) continue;
            status = sah_fail(error, SAH_FAILED,
                              "the logits of prompt %zu are not finite; the checkpoint may be damaged",
                              from + i + 1);
        }
    }
    sah_workspace_free(workspace);
    free(logits);
    free(scratch);
    return status;
}

/* ---- One ablated head after another -------------------------------------------------------------------- */

static bool make_room(const scores *s, thread_memory *memory, int workspace_threads, size_t n_scores)
{
    if (memory->logits == NULL)
        memory->logits = sah_alloc_aligned(s->rows * s->n_vocab, sizeof *memory->logits);
    if (memory->scratch == NULL)
        memory->scratch = sah_alloc_aligned((size_t)workspace_threads * s->n_vocab, sizeof *memory->scratch);
    return memory->logits != NULL && memory->scratch != NULL &&
           sah_grow(&memory->kl, &memory->kl_capacity, n_scores, sizeof *memory->kl);
}

/* kl[i] for n rows of logits, the first of which is score `first` of its unit: a row's prompt is its index
 * modulo the prompts. */
static void score_rows(const scores *s, const thread_memory *memory, sah_workspace *workspace, size_t first,
                       size_t n)
{
    int threads = sah_workspace_threads(workspace);
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_SCORE);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (size_t i = 0; i < n; i++) {
        double *scratch = memory->scratch + (size_t)(threads > 1 ? omp_get_thread_num() : 0) * s->n_vocab;
        const sah_kl_base *base = &s->base[(first + i) % s->n_prompts];
        memory->kl[first + i] = sah_kl(base, memory->logits + i * s->n_vocab, s->n_vocab, scratch);
    }
    sah_workspace_enter(workspace, before);
}

/* Hands one head's scores on. */
static sah_status hand_on(scores *s, size_t index, const double *kl, sah_error *error)
{
    sah_head head = s->heads[index];
    for (size_t i = 0; i < s->n_prompts; i++) {
        if (isfinite(kl[i])) continue;
        return sah_fail(error, SAH_FAILED, "the logits of prompt %zu are not finite with head %d-%d ablated",
                        i + 1, head.layer, head.head);
    }
    pthread_mutex_lock(&s->taking);
    sah_status status = s->take(s->ctx, index, kl, error);
    pthread_mutex_unlock(&s->taking);
    return status;
}

static sah_status take_candidates(void *ctx, int thread, sah_workspace *workspace, const int32_t *which,
                                  int32_t n, const float *hidden, sah_error *error)
{
    scores *s = ctx;
    thread_memory *memory = &s->threads[thread];
    size_t n_scores = (size_t)n * s->n_prompts, d = (size_t)s->model->config.d_model;
    sah_status status = SAH_OK;
    if (!make_room(s, memory, sah_workspace_threads(workspace), n_scores))
        return sah_fail_memory(error, "logits");
    for (size_t from = 0; from < n_scores && status == SAH_OK; from += s->rows) {
        size_t rows = n_scores - from < s->rows ? n_scores - from : s->rows;
        status = sah_lm_head(s->model, workspace, hidden + from * d, (int64_t)rows, memory->logits, error);
        if (status == SAH_OK) score_rows(s, memory, workspace, from, rows);
    }
    for (int32_t i = 0; i < n && status == SAH_OK; i++)
        status = hand_on(s, (size_t)which[i], memory->kl + (size_t)i * s->n_prompts, error);
    return status;
}

/* ---- The sweep ----------------------------------------------------------------------------------------- */

static sah_status make_memory(scores *s, sah_error *error)
{
    size_t fit = LOGITS_BYTES / (s->n_vocab * sizeof(float)), numbers;
    s->rows = fit > MOST_ROWS ? MOST_ROWS : fit < LEAST_ROWS ? LEAST_ROWS : fit;
    if (!sah_mul(s->n_prompts, s->n_vocab, &numbers))
        return sah_fail_memory(error, "the distributions of all queries");
    s->p = sah_alloc_aligned(numbers, sizeof *s->p);
    s->base = sah_alloc(s->n_prompts, sizeof *s->base);
    s->threads = sah_alloc((size_t)s->n_threads, sizeof *s->threads);
    return s->p && s->base && s->threads ? SAH_OK
                                         : sah_fail_memory(error, "the distributions of all queries");
}

static void free_memory(scores *s)
{
    for (int i = 0; i < s->n_threads && s->threads != NULL; i++) {
        free(s->threads[i].logits);
        free(s->threads[i].scratch);
        free(s->threads[i].kl);
    }
    free(s->threads);
    free(s->base);
    free(s->p);
    pthread_mutex_destroy(&s->taking);
}

sah_status sah_scores(const sah_model *model, const sah_forest *forest, const sah_ablation *ablation,
                      const sah_head *heads, size_t n, const sah_sweep_options *sweep, sah_scores_fn take,
                      void *ctx, sah_error *error)
{
    scores s = {
        .model = model,
        .n_prompts = (size_t)forest->n_prompts,
        .n_vocab = (size_t)model->config.n_vocab,
        .heads = heads,
        .n_threads = model->threads,
        .take = take,
        .ctx = ctx,
        .taking = PTHREAD_MUTEX_INITIALIZER,
    };
    sah_sink sink = {&s, take_base, take_candidates};
    sah_candidate *candidates = sah_alloc(n, sizeof *candidates);
    sah_status status = candidates ? make_memory(&s, error) : sah_fail_memory(error, "the heads");
    for (size_t i = 0; i < n && status == SAH_OK; i++)
        candidates[i] = sah_candidate_of(&model->config, heads[i], ablation);
    if (status == SAH_OK) status = sah_sweep(model, forest, NULL, 0, candidates, n, sweep, &sink, error);
    free(candidates);
    free_memory(&s);
    return status;
}
