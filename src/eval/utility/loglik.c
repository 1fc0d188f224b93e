/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/utility/loglik.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

#include "engine/cpu/kl.h"
#include "engine/forward.h"
#include "engine/projection.h"
#include "util/alloc.h"
#include "util/error.h"

/* Logits held at a time: rows that keep the product tall and memory bounded. */
enum { MOST_ROWS = 128, LEAST_ROWS = 16, LOGITS_BYTES = 32 << 20 };

struct sah_loglik {
    const sah_model *model;
    sah_forest *forest; /* its prompts are the scored positions */
    int32_t *target; /* [n_prompts] the token behind each */
    int32_t *by_end; /* [n_prompts] positions in the order of their ends */
    int32_t *begin; /* [n_ends + 1] where each end's positions begin in by_end */
};

void sah_loglik_free(sah_loglik *loglik)
{
    if (loglik == NULL) return;
    sah_forest_free(loglik->forest);
    free(loglik->target);
    free(loglik->by_end);
    free(loglik->begin);
    free(loglik);
}

size_t sah_loglik_size(const sah_loglik *loglik)
{
    return (size_t)loglik->forest->n_prompts;
}

uint64_t sah_loglik_token_bytes(const sah_model *model)
{
    const sah_config *c = &model->config;
    /* Residuals of nodes and ends, what attention reads, and outputs of edited heads beside the plain ones.
     */
    int64_t width = (int64_t)c->n_heads * c->head_dim;
    return sizeof(float) * (uint64_t)(2 * c->d_model + sah_qkv_width(c) + 3 * width);
}

/* Sorts positions by end, counting. */
static bool sort_positions(sah_loglik *l)
{
    size_t n = (size_t)l->forest->n_prompts, n_ends = (size_t)l->forest->n_ends;
    l->by_end = sah_alloc(n, sizeof *l->by_end);
    l->begin = sah_alloc(n_ends + 2, sizeof *l->begin);
    if (l->by_end == NULL || l->begin == NULL) return false;
    /* One place too far at first: filling moves each beginning up to where the next one began. */
    for (size_t i = 0; i < n; i++) l->begin[l->forest->end_of[i] + 2]++;
    for (size_t e = 2; e < n_ends + 2; e++) l->begin[e] += l->begin[e - 1];
    for (size_t i = 0; i < n; i++) l->by_end[l->begin[l->forest->end_of[i] + 1]++] = (int32_t)i;
    return true;
}

sah_status sah_loglik_new(const sah_model *model, const sah_continuation *continuations, size_t n,
                          sah_loglik **out, sah_error *error)
{
    sah_status status = SAH_OK;
    sah_loglik *l = sah_alloc(1, sizeof *l);
    sah_prompt *prompts = sah_alloc(n, sizeof *prompts);
    size_t *first = sah_alloc(n, sizeof *first);
    *out = NULL;
    if (l == NULL || prompts == NULL || first == NULL) {
        status = sah_fail_memory(error, "the sequences");
        goto done;
    }
    l->model = model;
    for (size_t i = 0; i < n; i++) { /* the last token is a target alone */
        prompts[i] = (sah_prompt){.tokens = continuations[i].tokens, .n = continuations[i].n - 1};
        first[i] = continuations[i].from - 1;
    }
    status = sah_forest_new_positions(prompts, first, n, model->config.n_vocab, &l->forest, error);
    if (status != SAH_OK) goto done;
    l->target = sah_alloc((size_t)l->forest->n_prompts, sizeof *l->target);
    if (l->target == NULL || !sort_positions(l)) {
        status = sah_fail_memory(error, "the sequences");
        goto done;
    }
    for (size_t i = 0, at = 0; i < n && status == SAH_OK; i++)
        for (size_t j = continuations[i].from; j < continuations[i].n && status == SAH_OK; j++, at++) {
            l->target[at] = continuations[i].tokens[j];
            if (l->target[at] < 0 || l->target[at] >= model->config.n_vocab)
                status = sah_fail(error, SAH_BAD_ARGUMENT, "token %d is outside the vocabulary of %d",
                                  (int)l->target[at], model->config.n_vocab);
        }
done:
    free(prompts);
    free(first);
    if (status != SAH_OK)
        sah_loglik_free(l);
    else
        *out = l;
    return status;
}

/* Scores of the positions at ends from..from+n-1, whose logits are [n, n_vocab]; false: one is not finite. */
static bool score_rows(const sah_loglik *l, int32_t from, int32_t n, const float *logits, double *scratch,
                       double *scores)
{
    size_t V = (size_t)l->model->config.n_vocab;
    int threads = l->model->threads;
    bool finite = true;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1) reduction(&& : finite)
    for (int32_t r = 0; r < n; r++) {
        const float *row = logits + (size_t)r * V;
        double norm = sah_log_sum_exp(row, V, scratch + (size_t)(threads > 1 ? omp_get_thread_num() : 0) * V);
        finite = finite && isfinite(norm);
        for (int32_t i = l->begin[from + r]; i < l->begin[from + r + 1]; i++)
            scores[l->by_end[i]] = (double)row[l->target[l->by_end[i]]] - norm;
    }
    return finite;
}

sah_status sah_loglik_run(const sah_loglik *loglik, const sah_edit *edits, size_t n_edits, double *scores,
                          sah_error *error)
{
    const sah_model *model = loglik->model;
    size_t V = (size_t)model->config.n_vocab, d = (size_t)model->config.d_model;
    int32_t n_ends = loglik->forest->n_ends;
    size_t fit = LOGITS_BYTES / (V * sizeof(float));
    int32_t rows = fit > MOST_ROWS ? MOST_ROWS : fit < LEAST_ROWS ? LEAST_ROWS : (int32_t)fit;
    sah_workspace *workspace = NULL;
    float *ends = sah_alloc_aligned((size_t)n_ends * d, sizeof *ends);
    float *logits = sah_alloc_aligned((size_t)rows * V, sizeof *logits);
    double *scratch = sah_alloc_aligned((size_t)model->threads * V, sizeof *scratch);
    sah_status status =
        ends != NULL && logits != NULL && scratch != NULL ? SAH_OK : sah_fail_memory(error, "logits");
    if (status == SAH_OK) status = sah_forward_ends(model, loglik->forest, edits, n_edits, ends, error);
    if (status == SAH_OK) status = sah_workspace_new(model->device, model->threads, &workspace, error);
    for (int32_t from = 0; from < n_ends && status == SAH_OK; from += rows) {
        int32_t n = n_ends - from < rows ? n_ends - from : rows;
        status = sah_lm_head_logits(model, workspace, ends + (size_t)from * d, n, logits, error);
        if (status == SAH_OK && !score_rows(loglik, from, n, logits, scratch, scores))
            status = sah_fail(error, SAH_FAILED, "logits are not finite; the checkpoint may be damaged");
    }
    sah_workspace_free(workspace);
    free(ends);
    free(logits);
    free(scratch);
    return status;
}
