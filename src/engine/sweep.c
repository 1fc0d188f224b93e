/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/sweep.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/difference.h"
#include "engine/donors.h"
#include "engine/forward.h"
#include "engine/inputs.h"
#include "engine/snapshot.h"
#include "util/alloc.h"
#include "util/error.h"

/* A unit of work, done by one thread: candidates from..to-1 (in order of layers), stacked as rows. It starts
 * at its lowest layer and picks the others up on its way. With many prompts a unit is one candidate, with few
 * it is many, so that products stay tall. */
enum { UNIT_BLOCKS = 4, UNITS_PER_THREAD = 4 };

/* Layers whose base states are there at once, at most. */
enum { SNAPSHOTS = 3 };

/* By differences the base pass, in float32, begins anew with each group of candidates: it costs some of theirs. So a
 * group has this many at least (else the plain way is taken), and this much memory where there is no bound. */
enum { GROUP_LEAST = 32, GROUP_BYTES = 256 << 20 };

/* Candidates [from, to) of the order on their way up. */
typedef struct unit {
    int32_t from, to, active; /* the first `active` of them have begun */
    float *x; /* [unit_size * n_nodes, d] */
    float *ends; /* [unit_size * n_ends, d] */
    sah_lent lent; /* [unit_size * n_nodes] rows of each layer that lends */
} unit;

/* One worker's memory. */
typedef struct worker {
    sah_workspace *workspace;
    float *qkv; /* [unit_size * n_nodes, qkv width] states of a unit in one layer */
    float *q; /* [unit_size * n_ends, H D] the last layer's q and z */
    float *hidden; /* [unit_size, n_prompts, d] */
} worker;

typedef struct sweep {
    const sah_model *model;
    const sah_forest *forest;
    const sah_plan *plans;
    const sah_candidate *candidates;
    const int32_t *order; /* candidates by layer */
    int32_t n, unit_size, units; /* candidates in all and of a unit; number of units */
    sah_pass pass; /* without a workspace: each worker has its own */
    const sah_sink *sink;
    const sah_sweep_options *options;
    const sah_model *base_model; /* of the base pass and the donors': by differences in float32 */
    sah_model *exact; /* that, where the model is not; or NULL */
    bool differs;
    sah_record record; /* of the base pass in the layer */
    sah_workspace *base_workspace; /* with all threads */
    sah_base *base;
    sah_donor_set set; /* that stands in for heads of the base ablation */
    sah_donor_walk *donors; /* those for the candidates; or NULL */
    int workers, threads_each; /* n and 1, or 1 and n */
    /* Where layers come and go, and by differences: */
    worker *crew; /* [workers] */
    unit *group; /* [group_size] units that go up together */
    int32_t group_size, group_end; /* the last candidate of the group */
    int layer; /* that they are in */
    atomic_int next_unit;
    atomic_bool stop;
    pthread_mutex_t
        telling; /* held while the caller hears of progress, who may call the library; guards done */
    uint64_t done;
    pthread_mutex_t noting; /* held for a moment; guards what follows */
    sah_books books; /* of the workers that are through */
    sah_status status; /* the first failure */
    sah_error error;
} sweep;

/* ---- One unit ------------------------------------------------------------------------------------------ */

static int layer_of(const sweep *sw, int32_t place)
{
    return sw->candidates[sw->order[place]].layer;
}

/* The base pass, and the donors', go up to a layer. */
static void base_ahead(const sweep *sw, sah_workspace *workspace, int layer)
{
    sah_base_ahead(sw->base, workspace, layer);
    if (sw->donors != NULL) sah_donor_walk_ahead(sw->donors, workspace, layer);
}

/* One layer of a unit, for which it is not too early; the candidates of that layer join. */
static sah_status climb(const sweep *sw, const worker *w, unit *u, int l, sah_error *error)
{
    const sah_config *c = &sw->model->config;
    const sah_forest *f = sw->forest;
    const sah_states states = {.qkv = w->qkv, .q = w->q, .kept = sah_lent_kv(&u->lent, c, l)};
    sah_pass pass = sw->pass;
    float *y = l < c->n_layers - 1 ? u->x : u->ends;
    sah_status status = SAH_OK;
    pass.workspace = w->workspace;
    pass.record = sw->differs ? &sw->record : NULL;
    int64_t d = c->d_model, each = sah_pass_view(&pass, l)->n;
    if (u->active > 0)
        status = sah_block_attend(&pass, l, &sw->plans[l], u->active, &states, u->x, y, NULL, error);
    int32_t before = u->active;
    const sah_snapshot *s = NULL;
    const sah_donor *donor = sw->pass.donors != NULL ? sw->pass.donors[l] : NULL;
    while (u->from + u->active < u->to && layer_of(sw, u->from + u->active) == l && status == SAH_OK) {
        if (s == NULL) {
            status = sah_base_take(sw->base, w->workspace, l, &s, error);
            if (status == SAH_OK && sw->donors != NULL)
                status = sah_donor_walk_take(sw->donors, w->workspace, l, &donor, error);
        }
        if (status == SAH_OK)
            status = sah_snapshot_candidate(s, &pass, &sw->plans[l],
                                            &sw->candidates[sw->order[u->from + u->active]], donor,
                                            y + u->active * each * d, error);
        if (status == SAH_OK)
            sah_lent_copy(w->workspace, s->lent, c, l, u->active * f->n_nodes, f->n_nodes, &u->lent);
        u->active++;
    }
    if (s != NULL) sah_base_release(sw->base, l, u->active - before);
    if (s != NULL && sw->donors != NULL) sah_donor_walk_release(sw->donors, l, u->active - before);
    return status == SAH_OK ? sah_block_finish(&pass, l, u->active * each, y, error) : status;
}

/* ---- Workers ------------------------------------------------------------------------------------------- */

static void unit_free(const sweep *sw, unit *u)
{
    sah_device_free(sw->model->device, u->x);
    sah_device_free(sw->model->device, u->ends);
    sah_lent_free(&u->lent);
}

static sah_status unit_new(const sweep *sw, unit *u, sah_error *error)
{
    const sah_config *c = &sw->model->config;
    const sah_device *device = sw->model->device;
    size_t n = (size_t)sw->unit_size, d = (size_t)c->d_model, rows = n * (size_t)sw->forest->n_nodes;
    u->x = sah_device_alloc(device, rows * d, sizeof *u->x);
    u->ends = sah_device_alloc(device, n * (size_t)sw->forest->n_ends * d, sizeof *u->ends);
    if (u->x == NULL || u->ends == NULL)
        return sah_fail_memory(error, "the sweep; with a lower bound on memory it may need less");
    return sah_lent_new(device, c, rows, &u->lent, error);
}

static void worker_free(const sweep *sw, worker *w)
{
    sah_workspace_free(w->workspace);
    sah_device_free(sw->model->device, w->qkv);
    sah_device_free(sw->model->device, w->q);
    free(w->hidden);
}

static sah_status worker_new(const sweep *sw, worker *w, sah_error *error)
{
    const sah_config *c = &sw->model->config;
    const sah_forest *f = sw->forest;
    const sah_device *device = sw->model->device;
    size_t n = (size_t)sw->unit_size, size = sizeof(float);
    sah_status status = sah_workspace_new(device, sw->threads_each, &w->workspace, error);
    if (status != SAH_OK) return status;
    w->qkv = sah_device_alloc(device, n * (size_t)f->n_nodes * (size_t)sah_qkv_width(c), size);
    w->q = sah_device_alloc(device, n * (size_t)f->n_ends * (size_t)sah_q_width(c), size);
    w->hidden = sah_alloc_aligned(n * (size_t)f->n_prompts * (size_t)c->d_model, size);
    return w->qkv != NULL && w->q != NULL && w->hidden != NULL
               ? SAH_OK
               : sah_fail_memory(error, "the sweep; with a lower bound on memory it may need less");
}

static void note_failure(sweep *sw, sah_status status, const sah_error *error)
{
    pthread_mutex_lock(&sw->noting);
    if (sw->status == SAH_OK) {
        sw->status = status;
        sw->error = *error;
    }
    pthread_mutex_unlock(&sw->noting);
    atomic_store(&sw->stop, true);
}

/* Locks are this sweep's own: while one caller takes its time no other sweep waits. */
static void note_progress(sweep *sw, int32_t n)
{
    const sah_sweep_options *o = sw->options;
    bool go_on = true;
    pthread_mutex_lock(&sw->telling);
    sw->done += (uint64_t)n;
    if (o->progress != NULL && !atomic_load(&sw->stop))
        go_on = o->progress(o->user, o->what, o->done + sw->done,
                            o->total ? o->total : o->done + (uint64_t)sw->n);
    if (!go_on) {
        sah_error error = {0};
        note_failure(sw, sah_fail(&error, SAH_INTERRUPTED, "interrupted"), &error);
    }
    pthread_mutex_unlock(&sw->telling);
}

/* Seconds of all threads of the workspace together. */
static void note_books(sweep *sw, sah_workspace *ws)
{
    sah_books own = {{0.0}, {0.0}};
    sah_workspace_count(ws, &own);
    pthread_mutex_lock(&sw->noting);
    for (int i = 0; i < SAH_N_STAGES; i++) {
        sw->books.seconds[i] += own.seconds[i] * ws->threads;
        sw->books.operations[i] += own.operations[i];
    }
    pthread_mutex_unlock(&sw->noting);
}

/* Hands on final-norm hidden states of a unit that went through all layers. */
static sah_status deliver(sweep *sw, const worker *w, int number, const unit *u, sah_error *error)
{
    const sah_forest *f = sw->forest;
    int64_t d = sw->model->config.d_model;
    int32_t n = u->to - u->from;
    sah_status status = SAH_OK;
    sah_final_norm(sw->model, w->workspace, u->ends, (int64_t)n * f->n_ends, u->ends);
    for (int32_t i = 0; i < n && status == SAH_OK; i++)
        status = sah_spread_ends(sw->model->device, f, u->ends + (int64_t)i * f->n_ends * d, d,
                                 w->hidden + (int64_t)i * f->n_prompts * d, error);
    if (status == SAH_OK)
        status =
            sw->sink->take(sw->sink->ctx, number, w->workspace, sw->order + u->from, n, w->hidden, error);
    if (status == SAH_OK) note_progress(sw, n);
    return status;
}

/* Unit number i. */
static void begin(const sweep *sw, int32_t i, unit *u)
{
    u->from = i * sw->unit_size;
    u->to = u->from + sw->unit_size < sw->n ? u->from + sw->unit_size : sw->n;
    u->active = 0;
}

/* All layers are there: each worker takes one unit after another to the top. */
static void work(sweep *sw, int number)
{
    sah_error error = {0};
    worker w = {0};
    unit u = {0};
    sah_status status = worker_new(sw, &w, &error);
    if (status == SAH_OK) status = unit_new(sw, &u, &error);
    while (status == SAH_OK && !atomic_load(&sw->stop)) {
        int32_t i = atomic_fetch_add(&sw->next_unit, 1), ahead = (i + sw->workers) * sw->unit_size;
        if (i >= sw->units) break;
        if (ahead < sw->n && sw->workers > 1) base_ahead(sw, w.workspace, layer_of(sw, ahead));
        begin(sw, i, &u);
        for (int l = layer_of(sw, u.from); l < sw->model->config.n_layers && status == SAH_OK; l++)
            status = climb(sw, &w, &u, l, &error);
        if (status == SAH_OK) status = deliver(sw, &w, number, &u, &error);
    }
    if (status != SAH_OK) note_failure(sw, status, &error);
    if (w.workspace != NULL) note_books(sw, w.workspace);
    unit_free(sw, &u);
    worker_free(sw, &w);
}

static void work_all(sweep *sw)
{
#pragma omp parallel num_threads(sw->workers) if (sw->workers > 1)
    {
        int number = sw->workers > 1 ? omp_get_thread_num() : 0;
        if (sw->workers > 1)
            omp_set_num_threads(1); /* this thread's own setting: products and loops inside stay on it */
        work(sw, number);
    }
}

/* ---- Layer by layer ------------------------------------------------------------------------------------ */

/* Runs `job` for numbers 0 .. n - 1, each by the worker that is free, until one fails. */
typedef sah_status (*job_fn)(sweep *sw, int number, int32_t i, sah_error *error);

static void share(sweep *sw, int32_t n, job_fn job)
{
#pragma omp parallel for schedule(dynamic, 1) num_threads(sw->workers) if (sw->workers > 1)
    for (int32_t i = 0; i < n; i++) {
        int number = sw->workers > 1 ? omp_get_thread_num() : 0, before = omp_get_max_threads();
        sah_error error = {0};
        if (atomic_load(&sw->stop)) continue;
        if (sw->workers > 1) omp_set_num_threads(1);
        sah_status status = job(sw, number, i, &error);
        omp_set_num_threads(before);
        if (status != SAH_OK) note_failure(sw, status, &error);
    }
}

/* The base pass in the layer, while there are candidates to come; then units that have reached it. Those whose
 * candidates join here stand last, when the base's states are there. */
static sah_status climb_job(sweep *sw, int number, int32_t i, sah_error *error)
{
    const worker *w = &sw->crew[number];
    if (i == 0) {
        if (!sw->differs && sw->layer <= layer_of(sw, sw->group_end - 1))
            base_ahead(sw, w->workspace, sw->layer);
        return SAH_OK;
    }
    unit *u = &sw->group[i - 1];
    return sw->layer >= layer_of(sw, u->from) ? climb(sw, w, u, sw->layer, error) : SAH_OK;
}

static sah_status deliver_job(sweep *sw, int number, int32_t i, sah_error *error)
{
    return deliver(sw, &sw->crew[number], number, &sw->group[i], error);
}

/* Hands the sink what a base pass came to, behind the last layer. */
static sah_status give_base(const sweep *sw, sah_workspace *workspace, const sah_base *base, sah_error *error)
{
    const sah_forest *f = sw->forest;
    const sah_device *device = sw->model->device;
    const int64_t d = sw->model->config.d_model;
    float *hidden = sah_alloc_aligned((size_t)f->n_prompts * (size_t)d, sizeof *hidden);
    float *ends = sah_device_alloc(device, (size_t)f->n_ends * (size_t)d, sizeof *ends);
    sah_status status = hidden != NULL && ends != NULL ? SAH_OK : sah_fail_memory(error, "the base pass");
    if (status == SAH_OK) {
        sah_final_norm(sw->model, workspace, sah_base_ends(base), f->n_ends, ends);
        status = sah_spread_ends(device, f, ends, d, hidden, error);
    }
    if (status == SAH_OK) status = sw->sink->base(sw->sink->ctx, hidden, error);
    free(hidden);
    sah_device_free(device, ends);
    return status;
}

/* By differences the base pass stands in the layer before any unit does. */
static sah_status lead(const sweep *sw, sah_error *error)
{
    const sah_snapshot *unused;
    if (!sw->differs) return SAH_OK;
    if (sw->donors != NULL && sw->layer <= layer_of(sw, sw->group_end - 1))
        sah_donor_walk_ahead(sw->donors, sw->base_workspace, sw->layer);
    return sah_base_take(sw->base, sw->base_workspace, sw->layer, &unused, error);
}

/* The n units from number `first` on go up together from layer `from` on. No layer is held while the sink, or
 * who hears of progress, has its time. */
static sah_status walk(sweep *sw, int32_t first, int32_t n, int from, int next_group, sah_error *error)
{
    int layers = sw->model->config.n_layers;
    for (int32_t i = 0; i < n; i++) begin(sw, first + i, &sw->group[i]);
    sw->group_end = sw->group[n - 1].to;
    for (sw->layer = from; sw->layer < layers && !atomic_load(&sw->stop); sw->layer++) {
        int next = sw->layer + 1 < layers ? sw->layer + 1 : next_group;
        sah_status status = lead(sw, error);
        if (status == SAH_OK) status = sah_layer_take(sw->model, sw->layer, next, error);
        if (status != SAH_OK) return status;
        share(sw, n + 1, climb_job);
        sah_layer_release(sw->model, sw->layer);
    }
    sah_status status = SAH_OK;
    if (sw->differs && first == 0 && !atomic_load(&sw->stop))
        status = give_base(sw, sw->base_workspace, sw->base, error);
    if (status == SAH_OK) share(sw, n, deliver_job);
    return status;
}

/* Where layers come and go, and by differences: as many units as the memory holds go up together, one layer of all
 * before the next. */
static sah_status walk_groups(sweep *sw, sah_error *error)
{
    sah_status status = SAH_OK;
    int from = 0; /* where the base pass begins */
    sw->crew = sah_alloc((size_t)sw->workers, sizeof *sw->crew);
    sw->group = sah_alloc((size_t)sw->group_size, sizeof *sw->group);
    if (sw->crew == NULL || sw->group == NULL) status = sah_fail_memory(error, "the sweep");
    for (int i = 0; i < sw->workers && status == SAH_OK; i++) status = worker_new(sw, &sw->crew[i], error);
    for (int i = 0; i < sw->group_size && status == SAH_OK; i++) status = unit_new(sw, &sw->group[i], error);
    for (int32_t i = 0; i < sw->units && status == SAH_OK && !atomic_load(&sw->stop); i += sw->group_size) {
        int32_t n = sw->units - i < sw->group_size ? sw->units - i : sw->group_size;
        int32_t behind = (i + n) * sw->unit_size; /* the first candidate of the next group */
        int last = layer_of(sw, behind < sw->n ? behind - 1 : sw->n - 1), next = -1;
        if (behind < sw->n) next = layer_of(sw, behind) == last ? last : last + 1;
        if (sw->differs && next >= 0) status = sah_base_mark(sw->base, next, error);
        if (status == SAH_OK) status = walk(sw, i, n, from, next, error);
        if (status == SAH_OK && sw->differs && next >= 0) sah_base_return(sw->base, sw->base_workspace);
        from = next;
    }
    if (sw->base_workspace != NULL) note_books(sw, sw->base_workspace);
    for (int i = 0; sw->crew != NULL && i < sw->workers; i++) {
        if (sw->crew[i].workspace != NULL) note_books(sw, sw->crew[i].workspace);
        worker_free(sw, &sw->crew[i]);
    }
    for (int i = 0; sw->group != NULL && i < sw->group_size; i++) unit_free(sw, &sw->group[i]);
    free(sw->crew);
    free(sw->group);
    return status;
}

/* ---- The whole ----------------------------------------------------------------------------------------- */

/* Bytes of one candidate: what a unit holds of it, and what the worker that is at it. */
static uint64_t unit_bytes(const sah_config *c, const sah_forest *f)
{
    uint64_t d = (uint64_t)c->d_model, n = (uint64_t)f->n_nodes;
    return (n * (d + (uint64_t)sah_lent_widths(c)) + (uint64_t)f->n_ends * d) * sizeof(float);
}

static uint64_t worker_bytes(const sah_config *c, const sah_forest *f)
{
    uint64_t floats = (uint64_t)f->n_nodes * (uint64_t)sah_qkv_width(c) +
                      (uint64_t)f->n_ends * (uint64_t)sah_q_width(c) +
                      (uint64_t)f->n_prompts * (uint64_t)c->d_model;
    return floats * sizeof(float);
}

/* Bytes of the base pass's states that candidates share, the donors' among them. */
static uint64_t base_bytes(const sah_config *c, const sah_forest *f)
{
    uint64_t each = sah_snapshot_bytes(c, f) + (f->donors != NULL ? sah_donor_bytes(c, f->donors) : 0),
             nodes = (uint64_t)f->n_nodes + (f->donors != NULL ? (uint64_t)f->donors->forest->n_nodes : 0);
    return SNAPSHOTS * each + nodes * ((uint64_t)sah_lent_widths(c) + sah_inputs_width(c)) * sizeof(float);
}

/* What working by differences takes beside; logits of the base are a sink's. */
static uint64_t difference_bytes(const sah_model *model, const sah_forest *f)
{
    const uint64_t states = (uint64_t)f->n_nodes * (uint64_t)model->config.d_model,
                   logits = (uint64_t)f->n_prompts * (uint64_t)model->config.n_vocab;
    return sah_record_bytes(&model->config, f) + sah_model_exact_bytes(model) +
           (states + logits) * sizeof(float);
}

bool sah_sweep_differs(const sah_model *model, const sah_forest *forest, uint64_t memory)
{
    const sah_config *c = &model->config;
    const uint64_t threads = (uint64_t)sah_threads_here(model->threads);
    if (!sah_model_differs(model)) return false;
    if (memory == 0) memory = sah_model_rows_memory(model);
    if (memory == 0) return true;
    const uint64_t shared = base_bytes(c, forest) + difference_bytes(model, forest);
    return memory >= shared + threads * worker_bytes(c, forest) + GROUP_LEAST * unit_bytes(c, forest);
}

/* Units that go up together: as many as the memory holds. Without a bound those by differences may take as much as
 * the weights, where the device has that. */
static int32_t plan_group(const sweep *sw, uint64_t memory, uint64_t beside)
{
    uint64_t of_unit = unit_bytes(&sw->model->config, sw->forest) * (uint64_t)sw->unit_size;
    if (memory == 0) {
        memory = sah_model_weight_bytes(sw->model);
        if (memory < GROUP_BYTES) memory = GROUP_BYTES;
        if (memory < of_unit * (uint64_t)sw->workers) memory = of_unit * (uint64_t)sw->workers;
        memory = sah_device_most(sw->model->device, beside, memory);
    } else
        memory -= beside;
    uint64_t fit = memory / of_unit;
    if (fit < 1) fit = 1;
    return fit < (uint64_t)sw->units ? (int32_t)fit : sw->units;
}

/* Candidates of a unit and number of workers: enough rows for tall products, enough units for all threads,
 * within the memory. Either every thread is a worker, or one worker uses all threads inside its products and
 * loops. Where layers come and go, a pass over the file serves as many units as the memory holds. */
static sah_status plan_units(sweep *sw, sah_error *error)
{
    const sah_config *c = &sw->model->config;
    int threads = sah_threads_here(sw->model->threads);
    uint64_t of_unit = unit_bytes(c, sw->forest), of_worker = worker_bytes(c, sw->forest),
             each = of_unit + of_worker, shared = base_bytes(c, sw->forest), memory = sw->options->memory;
    if (sw->differs) shared += difference_bytes(sw->model, sw->forest);
    int64_t all = (int64_t)sw->n * sw->forest->n_nodes / ((int64_t)threads * UNITS_PER_THREAD);
    int64_t most = UNIT_BLOCKS * sw->model->device->block_rows, target = all < most ? all : most;
    int64_t size = target / sw->forest->n_nodes;
    sw->unit_size = (int32_t)(size < 1 ? 1 : size);
    int32_t units = (sw->n + sw->unit_size - 1) / sw->unit_size;
    sw->workers = units < threads ? 1 : threads;
    if (memory == 0) memory = sah_model_rows_memory(sw->model);
    if (memory > 0) {
        if (memory < shared + each)
            return sah_fail_field(error, SAH_BAD_ARGUMENT, "memory",
                                  ": %d prompts of %d tokens need %" PRIu64 " MB for rows, and %" PRIu64
                                  " are left beside the weights; give more, or fewer queries",
                                  (int)sw->forest->n_prompts, (int)sw->forest->n_nodes,
                                  (shared + each) / 1000000 + 1, memory / 1000000);
        uint64_t fit = (memory - shared) / each; /* candidates at once */
        if ((uint64_t)sw->workers > fit) sw->workers = 1;
        if ((uint64_t)sw->unit_size * (uint64_t)sw->workers > fit)
            sw->unit_size = (int32_t)(fit / (uint64_t)sw->workers);
    }
    sw->threads_each = threads / sw->workers;
    sw->units = (sw->n + sw->unit_size - 1) / sw->unit_size;
    sw->group_size = sw->workers;
    if (sw->model->stream != NULL || sw->differs)
        sw->group_size = plan_group(sw, memory, shared + of_worker * (uint64_t)(sw->workers * sw->unit_size));
    return SAH_OK;
}

static int compare_layers(const void *a, const void *b, void *candidates)
{
    const sah_candidate *x = (const sah_candidate *)candidates + *(const int32_t *)a;
    const sah_candidate *y = (const sah_candidate *)candidates + *(const int32_t *)b;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    return *(const int32_t *)a < *(const int32_t *)b ? -1 : 1;
}

/* *donors: whether they take any. */
static sah_status check_candidates(const sah_model *model, const sah_forest *forest,
                                   const sah_candidate *candidates, size_t n, bool *donors, sah_error *error)
{
    *donors = false;
    if (n > INT32_MAX / 2) return sah_fail(error, SAH_BAD_ARGUMENT, "too many candidates");
    for (size_t i = 0; i < n; i++) {
        sah_status status =
            sah_edits_check(&model->config, candidates[i].edits, (size_t)candidates[i].n_edits, error);
        if (status == SAH_OK)
            status =
                sah_donors_check(forest->donors, candidates[i].edits, (size_t)candidates[i].n_edits, error);
        if (status != SAH_OK) return status;
        for (int e = 0; e < candidates[i].n_edits; e++) {
            if (candidates[i].edits[e].layer != candidates[i].layer)
                return sah_fail(error, SAH_BAD_ARGUMENT, "a candidate's edits must lie in one layer");
            *donors = *donors || sah_op_takes_donors(candidates[i].edits[e].op);
        }
    }
    return SAH_OK;
}

/* Fills the order, and what the base pass must keep for whom. */
static void sort_candidates(const sweep *sw, int32_t *order, int32_t *needed, bool *slice)
{
    const sah_config *c = &sw->model->config;
    for (int32_t i = 0; i < sw->n; i++) {
        const sah_candidate *candidate = &sw->candidates[i];
        order[i] = i;
        needed[candidate->layer]++;
        for (int h = 0; h < c->n_heads; h++)
            if (sah_candidate_edits(candidate, c, h)) slice[candidate->layer * c->n_heads + h] = true;
    }
    qsort_r(order, (size_t)sw->n, sizeof *order, compare_layers, (void *)(uintptr_t)sw->candidates);
}

/* Of the model that the base pass has, which by differences is recorded. */
static sah_status base_new(const sweep *sw, const int32_t *needed, const bool *slice, sah_base **out,
                           sah_error *error)
{
    sah_pass pass = sw->pass;
    pass.model = sw->base_model;
    pass.record = sw->differs ? &sw->record : NULL;
    pass.records = sw->differs;
    return sah_base_new(&pass, sw->forest, sw->plans, needed, slice, out, error);
}

/* The base ablation's own hidden states, which a sink needs before all others. They are computed as
 * candidates are, to the last bit: rounding that both share cancels in a score, and a head without effect
 * scores 0. (Where it does not, scores near 1e-4 were off by up to 0.4 %.) By differences the first group's base
 * pass is that already. In float32 all threads may help, since a row's bits depend neither on the rows beside it nor
 * on the threads. */
static sah_status run_base(sweep *sw, sah_error *error)
{
    const sah_config *c = &sw->model->config;
    sah_base *base = NULL;
    sah_workspace *ws = NULL;
    const sah_snapshot *unused;
    int32_t *nobody = sah_alloc((size_t)c->n_layers, sizeof *nobody);
    bool *none = sah_alloc((size_t)c->n_layers * (size_t)c->n_heads, sizeof *none);
    sah_status status = nobody != NULL && none != NULL ? SAH_OK : sah_fail_memory(error, "the base pass");
    int threads = sw->base_model->precision == SAH_PRECISION_F32 ? sw->model->threads : sw->threads_each;
    if (status == SAH_OK) status = sah_workspace_new(sw->model->device, threads, &ws, error);
    if (status == SAH_OK) status = base_new(sw, nobody, none, &base, error);
    if (status == SAH_OK) status = sah_base_take(base, ws, c->n_layers - 1, &unused, error);
    if (status == SAH_OK) status = give_base(sw, ws, base, error);
    if (ws != NULL) note_books(sw, ws);
    sah_base_free(base);
    sah_workspace_free(ws);
    free(nobody);
    free(none);
    return status;
}

/* A base pass in float32, and room for its record. */
static sah_status prepare_differences(sweep *sw, sah_error *error)
{
    sah_status status = sah_model_exact(sw->model, &sw->exact, error);
    if (status == SAH_OK) status = sah_record_new(sw->model, sw->forest, &sw->record, error);
    if (status == SAH_OK)
        status = sah_workspace_new(sw->model->device, sah_threads_here(sw->model->threads),
                                   &sw->base_workspace, error);
    if (sw->exact != NULL) sw->base_model = sw->exact;
    return status;
}

/* What stands in for the base ablation's heads, for all passes. */
static sah_status lend(sweep *sw, const sah_edit *base, size_t n_base, sah_error *error)
{
    sah_workspace *ws = NULL;
    sah_status status =
        sah_workspace_new(sw->model->device, sah_threads_here(sw->model->threads), &ws, error);
    if (status == SAH_OK)
        status = sah_donor_set_new(sw->base_model, sw->forest->donors, base, n_base, ws, &sw->set, error);
    sw->pass.donors = sw->set.layers;
    sah_workspace_free(ws);
    return status;
}

static uint64_t rows_bytes(const sweep *sw)
{
    const sah_config *c = &sw->model->config;
    return (uint64_t)(sw->workers * sw->unit_size) * worker_bytes(c, sw->forest) +
           (uint64_t)sw->group_size * (uint64_t)sw->unit_size * unit_bytes(c, sw->forest) +
           base_bytes(c, sw->forest) + (sw->differs ? difference_bytes(sw->model, sw->forest) : 0);
}

/* Says of a device without memory for the rows how much they need. */
static sah_status too_many(const sweep *sw, sah_error *error)
{
    return sah_fail_field(error, SAH_OUT_OF_MEMORY, "memory",
                          ": %s has too little for the sweep, whose rows take %.0f MB beside %.0f MB of "
                          "weights; give a bound, and fewer heads are swept together",
                          sw->model->device->name, (double)rows_bytes(sw) / 1e6 + 1,
                          (double)sah_model_weight_bytes(sw->model) / 1e6 + 1);
}

/* What no workspace has counted is waiting: for the base pass at the start, for the last unit at the end. */
static void fill_report(const sweep *sw, double seconds, sah_sweep_report *report)
{
    const sah_config *c = &sw->model->config;
    *report = (sah_sweep_report){.seconds = seconds, .threads = sw->model->threads, .books = sw->books};
    sah_forest_measure(sw->forest, c->sliding_window, &report->forest);
    report->rows_bytes = rows_bytes(sw);
    double counted = 0.0;
    for (int i = 0; i < SAH_N_STAGES; i++) counted += report->books.seconds[i];
    report->books.seconds[SAH_STAGE_WAIT] += fmax(0.0, seconds * report->threads - counted);
}

sah_status sah_sweep(const sah_model *model, const sah_forest *forest, const sah_edit *base, size_t n_base,
                     const sah_candidate *candidates, size_t n, const sah_sweep_options *options,
                     const sah_sink *sink, sah_error *error)
{
    const sah_config *c = &model->config;
    size_t layers = (size_t)c->n_layers;
    sah_sweep_options defaults = {.what = "heads"};
    sweep sw = {
        .model = model, .base_model = model, .forest = forest, .candidates = candidates, .sink = sink};
    sah_plan *plans = NULL;
    double start = omp_get_wtime();
    sw.options = options != NULL ? options : &defaults;
    sw.differs = sw.options->differences;

    bool donors;
    sah_status status = check_candidates(model, forest, candidates, n, &donors, error);
    if (status != SAH_OK) return status;
    pthread_mutex_init(&sw.telling, NULL);
    pthread_mutex_init(&sw.noting, NULL);
    sw.n = (int32_t)n;
    int32_t *order = sah_alloc(n, sizeof *order), *needed = sah_alloc(layers, sizeof *needed);
    bool *slice = sah_alloc(layers * (size_t)c->n_heads, sizeof *slice);
    if (order == NULL || needed == NULL || slice == NULL) status = sah_fail_memory(error, "the sweep");
    if (status == SAH_OK) status = plan_units(&sw, error);
    if (status == SAH_OK) status = sah_plans_new(c, base, n_base, &plans, error);
    if (status == SAH_OK) status = sah_pass_over(model, forest, NULL, &sw.pass, error);
    if (status != SAH_OK) goto done;
    sort_candidates(&sw, order, needed, slice);
    sw.order = order;
    sw.plans = plans;
    if (sw.differs) status = prepare_differences(&sw, error);
    if (status == SAH_OK) status = lend(&sw, base, n_base, error);
    const bool alone = n == 0 || sw.options->base_only;
    if (status == SAH_OK && (alone || !sw.differs)) status = run_base(&sw, error);
    if (status != SAH_OK || alone) goto done;
    status = base_new(&sw, needed, slice, &sw.base, error);
    if (status == SAH_OK && donors)
        status = sah_donor_walk_new(sw.base_model, forest->donors, needed, &sw.donors, error);
    if (status != SAH_OK) goto done;

    if (model->stream != NULL || sw.differs)
        status = walk_groups(&sw, error);
    else
        work_all(&sw);
    if (sw.status != SAH_OK) {
        status = sw.status;
        if (error != NULL) *error = sw.error;
    }
    if (status == SAH_OK && sw.options->report != NULL)
        fill_report(&sw, omp_get_wtime() - start, sw.options->report);

done:
    if (status == SAH_OUT_OF_MEMORY && !model->device->host && sw.units > 0) status = too_many(&sw, error);
    sah_base_free(sw.base);
    sah_donor_walk_free(sw.donors);
    sah_donor_set_free(&sw.set);
    if (sw.differs) sah_record_free(&sw.record);
    sah_workspace_free(sw.base_workspace);
    sah_model_exact_free(sw.exact);
    sah_plans_free(plans);
    sah_pass_end(&sw.pass);
    pthread_mutex_destroy(&sw.telling);
    pthread_mutex_destroy(&sw.noting);
    free(order);
    free(needed);
    free(slice);
    return status;
}
