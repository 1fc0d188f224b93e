/* Ships (method.md, "Ships: one query"): a sweep over single heads whose sink turns final hidden states into
 * KL(p || p_h). */
#include "attribution/ships.h"

#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "attribution/journal.h"
#include "attribution/kl.h"
#include "attribution/run.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

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

typedef struct ships {
    const sah_model *model;
    size_t n_queries, n_contrast, n_prompts;
    size_t n_vocab, rows;
    const sah_head *heads; /* [candidates] still to do */
    bool *done; /* [n_layers * heads_of_layer] found in the journal */
    int heads_of_layer;
    uint64_t n_done;
    double *p; /* [n_prompts, n_vocab] behind `base` */
    sah_kl_base *base; /* [n_prompts] */
    thread_memory *threads; /* [n_threads] */
    int n_threads;
    sah_journal *journal;
    pthread_mutex_t writing;
} ships;

/* ---- The unablated model
 * ------------------------------------------------------------------------------------ */

static sah_status take_base(void *ctx, const float *hidden, sah_error *error)
{
    ships *s = ctx;
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

/* ---- One ablated head after another
 * ------------------------------------------------------------------------- */

/* The head's line in the journal; kl [n_prompts], harmful queries first. */
static sah_status write_head(ships *s, sah_head head, const double *kl, sah_error *error)
{
    sah_text line = {0};
    for (size_t i = 0; i < s->n_prompts; i++) {
        if (isfinite(kl[i])) continue;
        return sah_fail(error, SAH_FAILED, "the logits of prompt %zu are not finite with head %d-%d ablated",
                        i + 1, head.layer, head.head);
    }
    sah_text_addf(&line, "{\"head\":\"%d-%d\"", head.layer, head.head);
    sah_line_numbers(&line, "kl", kl, s->n_queries);
    if (s->n_contrast > 0) sah_line_numbers(&line, "kl_contrast", kl + s->n_queries, s->n_contrast);
    sah_text_add(&line, "}", 1);
    sah_status status;
    if (line.failed) {
        status = sah_fail_memory(error, "a line of the result");
    } else {
        pthread_mutex_lock(&s->writing);
        status = sah_journal_add(s->journal, line.data, line.size, error);
        pthread_mutex_unlock(&s->writing);
    }
    free(line.data);
    return status;
}

static bool make_room(const ships *s, thread_memory *memory, int workspace_threads, size_t n_scores)
{
    if (memory->logits == NULL)
        memory->logits = sah_alloc_aligned(s->rows * s->n_vocab, sizeof *memory->logits);
    if (memory->scratch == NULL) {
        memory->scratch = sah_alloc_aligned((size_t)workspace_threads * s->n_vocab, sizeof *memory->scratch);
    }
    return memory->logits != NULL && memory->scratch != NULL &&
           sah_grow(&memory->kl, &memory->kl_capacity, n_scores, sizeof *memory->kl);
}

/* kl[i] for n rows of logits, the first of which is score `first` of its unit: a row's prompt is its index
 * modulo the prompts. */
static void score_rows(const ships *s, const thread_memory *memory, sah_workspace *workspace, size_t first,
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

static sah_status take_candidates(void *ctx, int thread, sah_workspace *workspace, const int32_t *which,
                                  int32_t n, const float *hidden, sah_error *error)
{
    ships *s = ctx;
    thread_memory *memory = &s->threads[thread];
    int threads = sah_workspace_threads(workspace);
    size_t n_scores = (size_t)n * s->n_prompts, d = (size_t)s->model->config.d_model;
    sah_status status = SAH_OK;
    if (!make_room(s, memory, threads, n_scores)) return sah_fail_memory(error, "logits");
    for (size_t from = 0; from < n_scores && status == SAH_OK; from += s->rows) {
        size_t rows = n_scores - from < s->rows ? n_scores - from : s->rows;
        status = sah_lm_head(s->model, workspace, hidden + from * d, (int64_t)rows, memory->logits, error);
        if (status == SAH_OK) score_rows(s, memory, workspace, from, rows);
    }
    for (int32_t i = 0; i < n && status == SAH_OK; i++) {
        status = write_head(s, s->heads[which[i]], memory->kl + (size_t)i * s->n_prompts, error);
    }
    return status;
}

/* ---- Resuming
 * ----------------------------------------------------------------------------------------------- */

static bool is_list_of(const json_t *value, size_t n)
{
    if (json_array_size(value) != n) return false;
    for (size_t i = 0; i < n; i++) {
        if (!json_is_number(json_array_get(value, i))) return false;
    }
    return true;
}

/* A line of an earlier run: its head needs no second visit. */
static sah_status take_line(void *ctx, const json_t *line, size_t number, sah_error *error)
{
    ships *s = ctx;
    const char *name = json_string_value(json_object_get(line, "head"));
    sah_head head;
    if (name == NULL || !sah_head_read(name, s->model->config.n_layers, s->heads_of_layer, &head) ||
        !is_list_of(json_object_get(line, "kl"), s->n_queries) ||
        (s->n_contrast > 0 && !is_list_of(json_object_get(line, "kl_contrast"), s->n_contrast))) {
        return sah_fail(error, SAH_FAILED, "line %zu is not a score of this run; remove it to carry on",
                        number);
    }
    bool *done = &s->done[head.layer * s->heads_of_layer + head.head];
    s->n_done += *done ? 0 : 1;
    *done = true;
    return SAH_OK;
}

/* ---- The run
 * ------------------------------------------------------------------------------------------------ */

static json_t *make_header(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                           const sah_run_options *options)
{
    json_t *header = sah_journal_header("ships", model);
    bool good = header != NULL &&
                json_object_set_new(header, "settings", sah_run_settings(model, options, "ships")) == 0 &&
                json_object_set_new(header, "queries", sah_run_strings(queries)) == 0;
    if (good) good = sah_run_add_refusal(header, options);
    if (good && contrast != NULL)
        good = json_object_set_new(header, "contrast_queries", sah_run_strings(contrast)) == 0;
    if (good) return header;
    json_decref(header);
    return NULL;
}

static sah_status make_memory(ships *s, sah_error *error)
{
    const sah_config *c = &s->model->config;
    size_t fit = LOGITS_BYTES / (s->n_vocab * sizeof(float)), numbers;
    s->rows = fit > MOST_ROWS ? MOST_ROWS : fit < LEAST_ROWS ? LEAST_ROWS : fit;
    if (!sah_mul(s->n_prompts, s->n_vocab, &numbers))
        return sah_fail_memory(error, "the distributions of all queries");
    s->p = sah_alloc_aligned(numbers, sizeof *s->p);
    s->base = sah_alloc(s->n_prompts, sizeof *s->base);
    s->threads = sah_alloc((size_t)s->n_threads, sizeof *s->threads);
    s->done = sah_alloc((size_t)c->n_layers * (size_t)s->heads_of_layer, sizeof *s->done);
    if (s->p == NULL || s->base == NULL || s->threads == NULL || s->done == NULL) {
        return sah_fail_memory(error, "the distributions of all queries");
    }
    return SAH_OK;
}

static void free_memory(ships *s)
{
    for (int i = 0; i < s->n_threads && s->threads != NULL; i++) {
        free(s->threads[i].logits);
        free(s->threads[i].scratch);
        free(s->threads[i].kl);
    }
    free(s->threads);
    free(s->base);
    free(s->p);
    free(s->done);
    pthread_mutex_destroy(&s->writing);
}

/* Sweeps the heads that the journal does not have. */
static sah_status sweep_heads(ships *s, const sah_forest *forest, sah_head *heads, size_t n,
                              const sah_run_options *options, sah_sweep_report *report, sah_error *error)
{
    size_t left = 0;
    sah_candidate *candidates = sah_alloc(n, sizeof *candidates);
    if (candidates == NULL) return sah_fail_memory(error, "the heads");
    for (size_t i = 0; i < n; i++) {
        if (s->done[heads[i].layer * s->heads_of_layer + heads[i].head]) continue;
        candidates[left] = sah_candidate_of(&s->model->config, heads[i], &options->ablation);
        heads[left++] = heads[i];
    }
    s->heads = heads;
    sah_sweep_options sweep_options = {
        .memory = options->memory,
        .progress = options->progress,
        .user = options->user,
        .what = "ships: heads",
        .done = s->n_done,
        .total = s->n_done + left,
        .report = report,
    };
    sah_sink sink = {s, take_base, take_candidates};
    sah_status status = SAH_OK;
    if (options->progress != NULL &&
        !options->progress(options->user, sweep_options.what, s->n_done, sweep_options.total)) {
        status = sah_fail(error, SAH_INTERRUPTED, "interrupted");
    }
    if (status == SAH_OK && left > 0) {
        status = sah_sweep(s->model, forest, NULL, 0, candidates, left, &sweep_options, &sink, error);
    }
    free(candidates);
    return status;
}

sah_status sah_ships(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                     const sah_run_options *options, const char *path, sah_error *error)
{
    return sah_ships_reported(model, queries, contrast, options, path, NULL, error);
}

sah_status sah_ships_reported(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                              const sah_run_options *options, const char *path, sah_sweep_report *report,
                              sah_error *error)
{
    const sah_model_info *info = sah_model_describe(model);
    if (contrast != NULL && contrast->n == 0) contrast = NULL;
    const sah_strings *lists[] = {queries, contrast};
    size_t n_contrast = contrast != NULL ? contrast->n : 0, n_heads = 0;
    ships s = {
        .model = model,
        .n_queries = queries->n,
        .n_contrast = n_contrast,
        .n_prompts = queries->n + n_contrast,
        .n_vocab = (size_t)model->config.n_vocab,
        .heads_of_layer = sah_run_heads_of_layer(info, &options->ablation),
        .n_threads = model->threads,
        .writing = PTHREAD_MUTEX_INITIALIZER,
    };
    sah_head *heads = NULL;
    sah_forest *forest = NULL;
    json_t *header = NULL;
    sah_status status = SAH_OK;
    if (queries->n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no query to score");

    status = sah_run_heads(info, options, &heads, &n_heads, error);
    if (status == SAH_OK) status = sah_run_forest(model, lists, 2, options, "ships", &forest, error);
    if (status == SAH_OK) status = make_memory(&s, error);
    if (status != SAH_OK) goto done;
    header = make_header(model, queries, contrast, options);
    if (header == NULL) {
        status = sah_fail(error, SAH_FAILED,
                          "cannot write the header: no memory, or a query or template is not UTF-8");
        goto done;
    }
    status = sah_journal_open(path, header, take_line, &s, &s.journal, error);
    if (status == SAH_OK) status = sweep_heads(&s, forest, heads, n_heads, options, report, error);
    sah_status closed = sah_journal_close(s.journal, status == SAH_OK ? error : NULL);
    if (status == SAH_OK) status = closed;

done:
    json_decref(header);
    sah_forest_free(forest);
    free(heads);
    free_memory(&s);
    return status;
}
