/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/generate/respond.h"

#include <omp.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/decode.h"
#include "eval/generate/philox.h"
#include "util/alloc.h"
#include "util/error.h"

/* Rows of logits at a time: as many as fit, within limits that keep the product tall. */
enum { MOST_ROWS = 128, LEAST_ROWS = 16, LOGITS_BYTES = 32 << 20 };

typedef struct respond {
    const sah_model *model;
    const sah_respond_options *options;
    const sah_prompt *prompts; /* of all waves */
    size_t first, n; /* the wave's */
    size_t rows, n_vocab;
    sah_workspace *workspace;
    float *logits; /* [rows, n_vocab] */
    sah_choice *scratch; /* [threads, n_vocab] when tokens are drawn */
    int32_t *next; /* [n] */
    int32_t *tokens; /* [n, most_tokens] */
    size_t *lengths; /* [n] */
} respond;

/* ---- One step ------------------------------------------------------------------------------------------ */

/* next[from + i] for n rows of logits, of the live sequences from `from` on. */
static void pick(const respond *r, const int32_t *live, size_t from, size_t n)
{
    const sah_respond_options *o = r->options;
    int threads = r->model->threads;
    bool drawn = o->sampling.temperature > 0.0;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1 && n > 1)
    for (size_t i = 0; i < n; i++) {
        int32_t sequence = live[from + i];
        size_t thread = n > 1 && threads > 1 ? (size_t)omp_get_thread_num() : 0;
        double uniform =
            drawn ? sah_uniform(o->seed, o->numbers[r->first + (size_t)sequence], r->lengths[sequence]) : 0.0;
        sah_choice *scratch = drawn ? r->scratch + thread * r->n_vocab : NULL;
        r->next[from + i] =
            sah_sample(&o->sampling, r->logits + i * r->n_vocab, (int32_t)r->n_vocab, uniform, scratch);
    }
}

/* next[from + i] of n final states [n, d]. */
static sah_status next_tokens(const respond *r, const int32_t *live, size_t from, size_t n,
                              const float *hidden, sah_error *error)
{
    if (!(r->options->sampling.temperature > 0.0) && sah_product_knows_top(r->model->lm_head))
        return sah_lm_head_top(r->model, r->workspace, hidden, (int64_t)n, r->next + from, error);
    sah_status status = sah_lm_head_logits(r->model, r->workspace, hidden, (int64_t)n, r->logits, error);
    if (status == SAH_OK) pick(r, live, from, n);
    return status;
}

static sah_status finish(const respond *r, int32_t sequence, bool ended, sah_error *error)
{
    const sah_respond_options *o = r->options;
    size_t most = o->most_tokens, length = r->lengths[sequence];
    *o->total -= most - length;
    sah_reply reply = {r->first + (size_t)sequence, r->tokens + (size_t)sequence * most, length, ended};
    return o->take(o->ctx, &reply, error);
}

/* Takes the tokens picked; those that finish a reply become -1. */
static sah_status take_tokens(respond *r, const int32_t *live, size_t n, sah_error *error)
{
    size_t limit = (size_t)r->model->config.max_positions, most = r->options->most_tokens;
    for (size_t i = 0; i < n; i++) {
        int32_t sequence = live[i], token = r->next[i];
        const sah_prompt *prompt = &r->prompts[r->first + (size_t)sequence];
        if (token < 0)
            return sah_fail(error, SAH_FAILED, "the logits are not finite; the checkpoint may be damaged");
        bool end = sah_is_end_token(r->model, token);
        size_t *length = &r->lengths[sequence];
        if (!end) {
            r->tokens[(size_t)sequence * most + (*length)++] = token;
            ++*r->options->done;
        }
        bool full = *length == most || (limit > 0 && prompt->n + *length >= limit);
        if (!end && !full) continue;
        r->next[i] = -1;
        sah_status status = finish(r, sequence, end, error);
        if (status != SAH_OK) return status;
    }
    return SAH_OK;
}

static sah_status go_on(const sah_respond_options *o, sah_error *error)
{
    if (o->progress == NULL || o->progress(o->user, o->what, *o->done, *o->total)) return SAH_OK;
    return sah_fail(error, SAH_INTERRUPTED, "interrupted");
}

static sah_status run_wave(respond *r, sah_decoding *decoding, sah_error *error)
{
    size_t d = (size_t)r->model->config.d_model;
    for (;;) {
        int32_t live;
        const int32_t *sequences = sah_decoding_live(decoding, &live);
        const float *hidden = sah_decoding_hidden(decoding);
        size_t n = (size_t)live;
        if (n == 0) return SAH_OK;
        sah_status status = go_on(r->options, error);
        for (size_t from = 0; from < n && status == SAH_OK; from += r->rows) {
            size_t rows = n - from < r->rows ? n - from : r->rows;
            status = next_tokens(r, sequences, from, rows, hidden + from * d, error);
        }
        if (status == SAH_OK) status = take_tokens(r, sequences, n, error);
        if (status == SAH_OK) status = sah_decoding_step(decoding, r->next, error);
        if (status != SAH_OK) return status;
    }
}

/* ---- Waves --------------------------------------------------------------------------------------------- */

static uint64_t default_memory(const sah_model *model)
{
    uint64_t left = sah_model_rows_memory(model);
    if (left > 0) return left;
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 4 : (uint64_t)1 << 30;
}

/* Bytes for n prompts of n_tokens in all; SIZE_MAX when that overflows. */
static size_t wave_bytes(const respond *r, size_t n, size_t n_tokens)
{
    size_t most = r->options->most_tokens, replies, bytes;
    bool fits = sah_decoding_bytes(&r->model->config, n, n_tokens, most - 1, &bytes) &&
                sah_mul(n, most, &replies) && sah_mul(replies, sizeof(int32_t), &replies) &&
                sah_add(bytes, replies, &bytes) &&
                sah_add(bytes, r->rows * r->n_vocab * sizeof(float), &bytes);
    return fits ? bytes : SIZE_MAX;
}

/* How many of `left` prompts from r->first on decode together. */
static sah_status wave_size(respond *r, size_t left, sah_error *error)
{
    uint64_t memory = r->options->memory > 0 ? r->options->memory : default_memory(r->model);
    size_t n_tokens = 0;
    for (r->n = 0; r->n < left; r->n++) {
        n_tokens += r->prompts[r->first + r->n].n;
        size_t bytes = wave_bytes(r, r->n + 1, n_tokens);
        if (bytes <= memory) continue;
        if (r->n > 0) break;
        return sah_fail_field(
            error, SAH_FAILED, "memory",
            ": prompt %zu needs %.1f MB for %zu new tokens; give more, or ask for fewer tokens", r->first + 1,
            (double)bytes / 1e6, r->options->most_tokens);
    }
    return SAH_OK;
}

static sah_status run_one_wave(respond *r, const sah_edit *edits, size_t n_edits, sah_error *error)
{
    sah_decoding *decoding = NULL;
    size_t numbers;
    bool fits = sah_mul(r->n, r->options->most_tokens, &numbers);
    r->next = sah_alloc(r->n, sizeof *r->next);
    r->tokens = fits ? sah_alloc_aligned(numbers, sizeof *r->tokens) : NULL;
    r->lengths = sah_alloc(r->n, sizeof *r->lengths);
    sah_status status = r->next != NULL && r->tokens != NULL && r->lengths != NULL
                            ? SAH_OK
                            : sah_fail_memory(error, "the responses");
    if (status == SAH_OK) status = go_on(r->options, error);
    if (status == SAH_OK)
        status = sah_decoding_new(r->model, r->prompts + r->first, r->n, (int32_t)r->options->most_tokens - 1,
                                  edits, n_edits, r->options->donors, &decoding, error);
    if (status == SAH_OK) status = run_wave(r, decoding, error);
    sah_decoding_free(decoding);
    free(r->next);
    free(r->tokens);
    free(r->lengths);
    return status;
}

sah_status sah_respond(const sah_model *model, const sah_prompt *prompts, size_t n, const sah_edit *edits,
                       size_t n_edits, const sah_respond_options *options, sah_error *error)
{
    size_t V = (size_t)model->config.n_vocab, fit = LOGITS_BYTES / (V * sizeof(float));
    respond r = {.model = model, .options = options, .prompts = prompts, .n_vocab = V};
    r.rows = fit > MOST_ROWS ? MOST_ROWS : fit < LEAST_ROWS ? LEAST_ROWS : fit;
    if (options->most_tokens < 1 || options->most_tokens > INT32_MAX)
        return sah_fail(error, SAH_BAD_ARGUMENT, "a response has 1 to %d tokens", INT32_MAX);
    r.logits = sah_alloc_aligned(r.rows * V, sizeof *r.logits);
    bool there = r.logits != NULL;
    if (options->sampling.temperature > 0.0) {
        r.scratch = sah_alloc_aligned((size_t)model->threads * V, sizeof *r.scratch);
        there = there && r.scratch != NULL;
    }
    sah_status status = there ? sah_workspace_new(model->device, model->threads, &r.workspace, error)
                              : sah_fail_memory(error, "logits");
    if (status == SAH_OK) sah_workspace_fix_rows(r.workspace);
    for (; r.first < n && status == SAH_OK; r.first += r.n) {
        status = wave_size(&r, n - r.first, error);
        if (status == SAH_OK) status = run_one_wave(&r, edits, n_edits, error);
    }
    sah_workspace_free(r.workspace);
    free(r.logits);
    free(r.scratch);
    return status;
}
