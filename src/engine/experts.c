/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/experts.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "engine/cpu/elementwise.h"
#include "engine/mlp.h"
#include "util/error.h"

/* ---- The router ---------------------------------------------------------------------------------------- */

static void softmax(const float *x, int n, double *out)
{
    double max = -INFINITY, sum = 0.0;
    for (int i = 0; i < n; i++) max = fmax(max, (double)x[i]);
    for (int i = 0; i < n; i++) sum += out[i] = exp((double)x[i] - max);
    for (int i = 0; i < n; i++) out[i] /= sum;
}

/* The place of the largest of x [n] that is not `without` (-1: any), the first of equals. */
static int largest(const double *x, int n, int without)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (i != without && (best < 0 || x[i] > x[best])) best = i;
    return best;
}

/* Leaves the experts of the best groups alone in the choice, by the sum of a group's two highest. */
static void leave_groups(const sah_experts *e, double *choice)
{
    int each = e->n / e->groups;
    double score[SAH_MAX_EXPERT_GROUPS];
    for (int g = 0; g < e->groups; g++) {
        const double *group = choice + g * each;
        int first = largest(group, each, -1), second = largest(group, each, first);
        score[g] = group[first] + (second < 0 ? 0.0 : group[second]);
    }
    for (int i = 0; i < e->active_groups; i++) score[largest(score, e->groups, -1)] = -INFINITY;
    for (int g = 0; g < e->groups; g++)
        for (int i = 0; i < each && !isinf(score[g]); i++) choice[g * each + i] = -INFINITY;
}

void sah_experts_choose(const sah_experts *e, const float *logits, const float *correction, double *scratch,
                        int32_t *chosen, float *weight)
{
    double *score = scratch, *choice = scratch + e->n, *taken = scratch + 2 * e->n, sum = 0.0;
    if (e->router == SAH_ROUTER_SIGMOID)
        for (int i = 0; i < e->n; i++) score[i] = 1.0 / (1.0 + exp(-(double)logits[i]));
    else
        softmax(logits, e->n, score);
    for (int i = 0; i < e->n; i++) choice[i] = score[i] + (correction != NULL ? (double)correction[i] : 0.0);
    if (e->groups > 0) leave_groups(e, choice);
    memset(taken, 0, (size_t)e->n * sizeof *taken);
    for (int k = 0; k < e->active; k++) { /* the first of equals, and of what is not a number */
        int best = -1;
        for (int i = 0; i < e->n; i++)
            if (taken[i] < 1.0 && (best < 0 || choice[i] > choice[best])) best = i;
        taken[best] = 1.0;
    }
    for (int i = 0, k = 0; i < e->n; i++) {
        if (taken[i] < 1.0) continue;
        chosen[k++] = i;
        sum += score[i];
    }
    /* A softmax over the chosen logits alone is that over all, made to add up to 1. */
    bool normalise = e->normalise || e->router == SAH_ROUTER_TOP_SOFTMAX;
    for (int k = 0; k < e->active; k++)
        weight[k] =
            (float)(score[chosen[k]] / (normalise ? sum + (double)e->sum_add : 1.0) * (double)e->scale);
}

/* ---- Rows by expert ------------------------------------------------------------------------------------ */

/* Which rows go to which expert: those of expert e are places [first[e], first[e + 1]). */
typedef struct routes {
    int32_t *chosen; /* [rows, active] */
    float *weight;
    int32_t *row; /* [rows * active] by expert */
    float *share; /* [rows * active] the weight of each, behind the rows */
    int32_t *first; /* [n + 1] */
    const int32_t *row_there; /* the same two where the device reads them */
    const float *share_there;
} routes;

/* Room of a routing in the host's memory: that of the routes, three doubles an expert for each thread, and the logits
 * of the router where those lie elsewhere. */
typedef struct room {
    double *scratch;
    float *logits;
    routes routes;
} room;

static bool make_room(const sah_pass *pass, int64_t rows, float *logits, room *out)
{
    const sah_experts *e = &pass->model->config.experts;
    sah_workspace *ws = pass->workspace;
    const int64_t pairs = rows * e->active, scratch = 6 * (int64_t)e->n * ws->threads,
                  copied = ws->device->host ? 0 : rows * e->n;
    float *memory =
        sah_workspace_scratch(ws, SAH_SLOT_PLAN, (size_t)(scratch + copied + 4 * pairs + e->n + 1));
    if (memory == NULL || logits == NULL) return false;
    out->scratch = (double *)(void *)memory;
    out->logits = copied > 0 ? memory + scratch : logits;
    routes *r = &out->routes;
    r->weight = memory + scratch + copied;
    r->chosen = (int32_t *)(void *)(r->weight + pairs);
    r->row = r->chosen + pairs;
    r->share = r->weight + 3 * pairs;
    r->first = r->row + 2 * pairs;
    return true;
}

static void sort_routes(const sah_experts *e, int64_t rows, routes *r)
{
    memset(r->first, 0, (size_t)(e->n + 1) * sizeof *r->first);
    for (int64_t i = 0; i < rows * e->active; i++) r->first[r->chosen[i] + 1]++;
    for (int i = 0; i < e->n; i++) r->first[i + 1] += r->first[i];
    for (int64_t i = 0; i < rows * e->active; i++) {
        int32_t place = r->first[r->chosen[i]]++;
        r->row[place] = (int32_t)(i / e->active);
        r->share[place] = r->weight[i];
    }
    for (int i = e->n; i > 0; i--) r->first[i] = r->first[i - 1];
    r->first[0] = 0;
}

/* What the router sees of the rows; NULL: no memory. */
static const float *router_input(const sah_pass *pass, const sah_expert_layer *weights, int64_t rows,
                                 const float *x, const float *normed)
{
    if (weights->router_norm.weight == NULL) return normed;
    const size_t values = (size_t)rows * (size_t)pass->model->config.d_model;
    float *own = sah_workspace_scratch(pass->workspace, SAH_SLOT_GATHERED, values);
    if (own != NULL) sah_norm_rows(pass, x, &weights->router_norm, rows, own);
    return own;
}

/* The choice is the host's, which has the logits. */
static void choose(const sah_pass *pass, const sah_expert_layer *weights, int64_t rows, const room *m)
{
    const sah_experts *e = &pass->model->config.experts;
    const routes *r = &m->routes;
    int threads = pass->workspace->threads;
#pragma omp parallel for if (threads > 1 && rows > 8) num_threads(threads)
    for (int64_t i = 0; i < rows; i++) {
        double *own = m->scratch + (threads > 1 ? omp_get_thread_num() : 0) * 3 * (int64_t)e->n;
        float *logits = m->logits + i * e->n, *weight = r->weight + i * e->active;
        int32_t *chosen = r->chosen + i * e->active;
        if (e->logit_scale > 0.0f) sah_vector_scale(logits, e->n, e->logit_scale);
        sah_experts_choose(e, logits, weights->correction, own, chosen, weight);
        for (int k = 0; weights->scale && k < e->active; k++) weight[k] *= weights->scale[chosen[k]];
    }
}

/* Rows and shares to where the device reads them. */
static sah_status send_routes(const sah_pass *pass, int64_t rows, routes *r, sah_error *error)
{
    const size_t pairs = (size_t)(rows * pass->model->config.experts.active);
    sah_workspace *ws = pass->workspace;
    r->row_there = r->row;
    r->share_there = r->share;
    if (ws->device->host) return SAH_OK;
    float *there = sah_workspace_scratch(ws, SAH_SLOT_ROUTES, 2 * pairs);
    if (there == NULL) return sah_fail_memory(error, "a block of rows");
    r->row_there = (const int32_t *)(const void *)there;
    r->share_there = there + pairs;
    return ws->device->upload(r->row, 2 * pairs * sizeof *there, there, error);
}

static sah_status route(const sah_pass *pass, const sah_expert_layer *weights, int64_t rows, const float *x,
                        const float *normed, routes *r, sah_error *error)
{
    const sah_experts *e = &pass->model->config.experts;
    sah_workspace *ws = pass->workspace;
    const size_t n = (size_t)rows * (size_t)e->n;
    const float *seen = router_input(pass, weights, rows, x, normed);
    float *logits = sah_workspace_scratch(ws, SAH_SLOT_ROUTER, n);
    room m;
    if (seen == NULL || !make_room(pass, rows, logits, &m)) return sah_fail_memory(error, "a block of rows");
    sah_status status = sah_product(ws, weights->router, rows, seen, logits, false, error);
    if (status != SAH_OK) return status;
    sah_add_bias(pass, weights->router_bias, e->n, rows, logits);
    sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ELEMENTWISE);
    status = ws->device->download(logits, n * sizeof *logits, m.logits, error);
    if (status == SAH_OK) {
        choose(pass, weights, rows, &m);
        sort_routes(e, rows, &m.routes);
        status = send_routes(pass, rows, &m.routes, error);
    }
    sah_workspace_enter(ws, before);
    *r = m.routes;
    return status;
}

/* Rows of a product for m rows of an expert. Each number of rows makes a primitive of its own, so there are
 * few. */
static int64_t round_rows(int64_t m)
{
    int64_t step = m <= 8 ? 1 : m <= 64 ? 8 : 32;
    return (m + step - 1) / step * step;
}

/* out [rows, d] += share * what one expert makes of its rows [from, to) of the routes. */
static sah_status add_expert(const sah_pass *pass, const sah_expert_layer *weights, int expert,
                             const routes *r, int64_t from, int64_t to, const float *normed, float *out,
                             sah_error *error)
{
    const sah_mlp_slice *slice = &weights->experts[expert];
    sah_workspace *ws = pass->workspace;
    const sah_device *device = ws->device;
    int64_t d = pass->model->config.d_model, m = to - from, given = round_rows(m);
    float *memory = sah_workspace_scratch(ws, SAH_SLOT_GATHERED, (size_t)(2 * given * d));
    if (memory == NULL) return sah_fail_memory(error, "a block of rows");
    float *x = memory, *y = memory + given * d;
    sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ELEMENTWISE);
    device->copy(ws, (sah_rows){normed, d, r->row_there + from}, m, d, x, d, NULL);
    if (given > m) device->clear(ws, x + m * d, (given - m) * d);
    sah_workspace_enter(ws, before);

    const void *input = sah_product_input(ws, SAH_SLOT_INPUT, slice->gate_up, given, x);
    if (input == NULL) return sah_fail_memory(error, "a block of rows");
    const float *gate_bias = weights->gate_bias != NULL ? weights->gate_bias + slice->from : NULL;
    const float *up_bias = weights->up_bias != NULL ? weights->up_bias + slice->from : NULL;
    sah_status status = sah_mlp_slice_product(pass, slice, gate_bias, up_bias, given, input, y, false, error);
    if (status != SAH_OK) return status;
    if (weights->down_bias != NULL) sah_add_bias(pass, weights->down_bias + expert * d, (int)d, m, y);

    before = sah_workspace_enter(ws, SAH_STAGE_ELEMENTWISE);
    device->scatter(ws, y, m, d, r->share_there + from, r->row_there + from, out);
    sah_workspace_enter(ws, before);
    return SAH_OK;
}

/* ---- The expert that all rows share -------------------------------------------------------------------- */

static sah_status add_shared(const sah_pass *pass, const sah_expert_layer *weights, int64_t rows,
                             const float *normed, float *out, sah_error *error)
{
    sah_workspace *ws = pass->workspace;
    int64_t d = pass->model->config.d_model, step = sah_pass_block(pass, rows);
    sah_status status = SAH_OK;
    float *memory = sah_workspace_scratch(ws, SAH_SLOT_GATHERED, (size_t)(step * d));
    if (memory == NULL) return sah_fail_memory(error, "a block of rows");
    for (int64_t from = 0; from < rows && status == SAH_OK; from += step) {
        int64_t n = rows - from < step ? rows - from : step;
        const float *x = normed + from * d;
        const void *input = sah_product_input(ws, SAH_SLOT_INPUT, weights->shared[0].gate_up, n, x);
        float *y = weights->shared_router != NULL ? memory : out + from * d;
        if (input == NULL) return sah_fail_memory(error, "a block of rows");
        for (int i = 0; i < weights->n_shared && status == SAH_OK; i++)
            status = sah_mlp_slice_product(pass, &weights->shared[i], NULL, NULL, n, input, y,
                                           i > 0 || weights->shared_router == NULL, error);
        if (status != SAH_OK || weights->shared_router == NULL) continue;
        sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ELEMENTWISE);
        ws->device->weigh(ws, weights->shared_router, x, n, d, y);
        ws->device->add(ws, (sah_rows){y, d, NULL}, n, d, 1.0f, out + from * d);
        sah_workspace_enter(ws, before);
    }
    return status;
}

/* ---- Both ---------------------------------------------------------------------------------------------- */

int64_t sah_experts_block(const sah_pass *pass, int64_t rows)
{
    const sah_experts *e = &pass->model->config.experts;
    /* so that an expert gets half a block on average */
    int64_t most = pass->workspace->device->block_rows / 2 * pass->workspace->threads * e->n / e->active;
    return most < rows ? most : rows > 0 ? rows : 1;
}

sah_status sah_experts_add(const sah_pass *pass, const sah_expert_layer *weights, int64_t rows,
                           const float *x, const float *normed, float *out, sah_error *error)
{
    const sah_experts *e = &pass->model->config.experts;
    int64_t most = sah_pass_block(pass, rows); /* rows of one product */
    routes r = {0};
    sah_status status = route(pass, weights, rows, x, normed, &r, error);
    for (int i = 0; i < e->n && status == SAH_OK; i++)
        for (int64_t from = r.first[i]; from < r.first[i + 1] && status == SAH_OK; from += most) {
            int64_t to = r.first[i + 1] - from < most ? r.first[i + 1] : from + most;
            status = add_expert(pass, weights, i, &r, from, to, normed, out, error);
        }
    if (status != SAH_OK || weights->n_shared == 0) return status;
    return add_shared(pass, weights, rows, normed, out, error);
}
