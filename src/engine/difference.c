/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/difference.h"

#include <stdlib.h>

#include "engine/projection.h"
#include "util/alloc.h"
#include "util/error.h"

bool sah_model_differs(const sah_model *model)
{
    return (model->precision == SAH_PRECISION_BF16 || model->device->differs()) &&
           model->config.experts.n == 0;
}

/* ---- The record ---------------------------------------------------------------------------------------- */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The widest that inputs and outputs of a site are in any layer. */
static void widths(const sah_config *c, int64_t x[SAH_N_SITES], int64_t y[SAH_N_SITES])
{
    const int64_t d = c->d_model;
    int64_t heads = 0, inner = 0;
    for (int l = 0; l < c->n_layers; l++) {
        const sah_layer_kind kind = sah_config_layer(c, l);
        heads = larger(heads, (int64_t)kind.n_heads * kind.head_dim);
        inner = larger(inner, kind.d_ff);
    }
    x[SAH_SITE_QKV] = x[SAH_SITE_Q] = x[SAH_SITE_GATE_UP] = x[SAH_SITE_INPUT_GATE] = d;
    x[SAH_SITE_OUTPUT] = heads;
    x[SAH_SITE_DOWN] = inner;
    x[SAH_SITE_INPUT_OUT] = y[SAH_SITE_INPUT_GATE] = c->input_width;
    y[SAH_SITE_QKV] = sah_qkv_width(c);
    y[SAH_SITE_Q] = sah_q_width(c);
    y[SAH_SITE_OUTPUT] = y[SAH_SITE_DOWN] = y[SAH_SITE_INPUT_OUT] = d;
    y[SAH_SITE_GATE_UP] = (c->gated ? 2 : 1) * inner;
    if (c->input_width == 0) x[SAH_SITE_INPUT_GATE] = y[SAH_SITE_INPUT_OUT] = 0;
}

/* Rows of a site: q is apart in the last layer alone, whose ends alone go on. */
static int64_t rows_of(const sah_forest *forest, int site)
{
    return site == SAH_SITE_Q ? forest->n_ends : larger(forest->n_nodes, forest->n_ends);
}

sah_status sah_record_new(const sah_model *model, const sah_forest *forest, sah_record *out, sah_error *error)
{
    int64_t x[SAH_N_SITES], y[SAH_N_SITES];
    bool there = true;
    *out = (sah_record){.device = model->device};
    widths(&model->config, x, y);
    for (int i = 0; i < SAH_N_SITES; i++) {
        const size_t rows = (size_t)rows_of(forest, i);
        if (x[i] == 0) continue;
        out->x[i] = sah_device_alloc(model->device, rows * (size_t)x[i], sizeof **out->x);
        out->y[i] = sah_device_alloc(model->device, rows * (size_t)y[i], sizeof **out->y);
        there = there && out->x[i] != NULL && out->y[i] != NULL;
    }
    return there ? SAH_OK : sah_fail_memory(error, "the base pass");
}

void sah_record_free(sah_record *record)
{
    for (int i = 0; i < SAH_N_SITES; i++) {
        sah_device_free(record->device, record->x[i]);
        sah_device_free(record->device, record->y[i]);
    }
    *record = (sah_record){0};
}

uint64_t sah_record_bytes(const sah_config *config, const sah_forest *forest)
{
    int64_t x[SAH_N_SITES], y[SAH_N_SITES];
    uint64_t floats = 0;
    widths(config, x, y);
    for (int i = 0; i < SAH_N_SITES; i++)
        floats += (uint64_t)rows_of(forest, i) * (uint64_t)(x[i] > 0 ? x[i] + y[i] : 0);
    return floats * sizeof(float);
}

/* ---- Products ------------------------------------------------------------------------------------------ */

/* What is done with rows that lie in one copy of the view, and the record's beside them. */
typedef void (*beside_fn)(sah_workspace *workspace, float *base, int64_t base_stride, int64_t n,
                          int64_t width, float *states, int64_t stride);

static void put(sah_workspace *ws, float *base, int64_t base_stride, int64_t n, int64_t width, float *states,
                int64_t stride)
{
    ws->device->copy(ws, (sah_rows){states, stride, NULL}, n, width, base, base_stride, NULL);
}

static void take(sah_workspace *ws, float *base, int64_t base_stride, int64_t n, int64_t width, float *states,
                 int64_t stride)
{
    ws->device->copy(ws, (sah_rows){base, base_stride, NULL}, n, width, states, stride, NULL);
}

static void subtract(sah_workspace *ws, float *base, int64_t base_stride, int64_t n, int64_t width,
                     float *states, int64_t stride)
{
    (void)stride; /* = width */
    ws->device->add(ws, (sah_rows){base, base_stride, NULL}, n, width, -1.0f, states);
}

static void add_to(sah_workspace *ws, float *base, int64_t base_stride, int64_t n, int64_t width,
                   float *states, int64_t stride)
{
    (void)stride;
    ws->device->add(ws, (sah_rows){base, base_stride, NULL}, n, width, 1.0f, states);
}

static void beside(const sah_pass *pass, beside_fn what, float *record, const sah_part *part, int64_t width,
                   float *states, int64_t stride)
{
    int64_t from = part->from, rows = part->rows;
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
    while (rows > 0) {
        const int64_t at = from % part->view->n, left = part->view->n - at, n = left < rows ? left : rows;
        what(pass->workspace, record + at * part->all + part->column, part->all, n, width, states, stride);
        from += n;
        rows -= n;
        states += n * stride;
    }
    sah_workspace_enter(pass->workspace, before);
}

const sah_weights *sah_site_weights(const sah_pass *pass, const sah_weights *weights)
{
    return pass->records ? weights : sah_weights_difference(weights);
}

const void *sah_site_input(const sah_pass *pass, sah_part part, sah_slot slot, const sah_weights *weights,
                           float *x, int64_t width)
{
    beside(pass, pass->records ? put : subtract, pass->record->x[part.site], &part, width, x, width);
    return sah_product_input(pass->workspace, slot, sah_site_weights(pass, weights), part.rows, x);
}

void sah_site_outputs(const sah_pass *pass, sah_part part, int64_t width, float *y, int64_t stride)
{
    beside(pass, pass->records ? put : take, pass->record->y[part.site], &part, width, y, stride);
}

void sah_site_add(const sah_pass *pass, sah_part part, int64_t width, float *y)
{
    beside(pass, add_to, pass->record->y[part.site], &part, width, y, width);
}

sah_status sah_site_product(const sah_pass *pass, sah_site site, const sah_view *view, int64_t from,
                            int64_t rows, const sah_weights *weights, float *x, float *y, bool add,
                            sah_error *error)
{
    const int64_t inputs = weights->inputs, outputs = weights->outputs;
    const sah_part in = {site, view, from, rows, 0, inputs}, out = {site, view, from, rows, 0, outputs};
    sah_workspace *ws = pass->workspace;
    sah_status status = SAH_OK;
    if (pass->record == NULL) return sah_product(ws, weights, rows, x, y, add, error);
    const void *input = sah_site_input(pass, in, SAH_SLOT_ROUNDED, weights, x, inputs);
    if (input == NULL) return sah_fail_memory(error, "a block of rows");
    if (pass->records) {
        float *own = pass->record->y[site] + from * outputs; /* of the one copy that there is */
        status = sah_product_of(ws, weights, rows, input, own, false, error);
        if (status != SAH_OK) return status;
    }
    if (add)
        sah_site_add(pass, out, outputs, y);
    else
        beside(pass, take, pass->record->y[site], &out, outputs, y, outputs);
    return pass->records ? SAH_OK
                         : sah_product_of(ws, sah_site_weights(pass, weights), rows, input, y, true, error);
}

/* ---- The model in float32 ------------------------------------------------------------------------------ */

sah_status sah_model_exact(const sah_model *model, sah_model **out, sah_error *error)
{
    const size_t n = (size_t)model->config.n_layers;
    *out = NULL;
    if (model->precision == SAH_PRECISION_F32) return SAH_OK;
    sah_model *exact = *out = sah_alloc(1, sizeof *exact);
    if (exact == NULL) return sah_fail_memory(error, "the base pass");
    *exact = *model;
    exact->precision = SAH_PRECISION_F32;
    exact->lm_head = NULL;
    exact->stream = NULL;
    exact->layers = sah_alloc(n, sizeof *exact->layers);
    if (exact->layers == NULL) return sah_fail_memory(error, "the base pass");
    for (size_t l = 0; l < n; l++) exact->layers[l] = sah_layer_vectors(&model->layers[l]);
    return sah_stream_all(exact, &exact->stream, error);
}

void sah_model_exact_free(sah_model *exact)
{
    if (exact == NULL) return;
    sah_stream_free(exact->stream);
    for (int l = 0; exact->layers != NULL && l < exact->config.n_layers; l++)
        sah_layer_unpack(&exact->layers[l]);
    free(exact->layers);
    free(exact);
}

uint64_t sah_model_exact_bytes(const sah_model *model)
{
    sah_model exact = *model;
    if (model->precision == SAH_PRECISION_F32) return 0;
    exact.precision = SAH_PRECISION_F32;
    return sah_stream_least(&exact);
}
