#include "engine/mlp.h"

#include <omp.h>

#include "engine/cpu/elementwise.h"
#include "util/error.h"

/* out [rows, n] = silu(gate) * up of rows [gate | up]. */
static void activate(const sah_pass *pass, int n, const float *gate_bias, const float *up_bias, int64_t rows,
                     float *gate_up, float *out)
{
    int threads = sah_workspace_threads(pass->workspace);
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
#pragma omp parallel for if (threads > 1 && rows > 8) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        float *row = gate_up + r * 2 * n;
        if (gate_bias) {
            sah_vector_add(gate_bias, n, row);
            sah_vector_add(up_bias, n, row + n);
        }
        sah_silu_multiply(row, row + n, n, out + r * n);
    }
    sah_workspace_enter(pass->workspace, before);
}

/* block [rows, d] += a slice's part of the MLP, of the normed rows as its gate_up takes them. */
static sah_status add_slice(const sah_pass *pass, const sah_mlp_slice *slice, const float *bias, int64_t rows,
                            const void *input, float *block, sah_error *error)
{
    sah_workspace *ws = pass->workspace;
    const float *gate_bias = bias ? bias + slice->from : NULL;
    const float *up_bias = bias ? gate_bias + pass->model->config.d_ff : NULL;
    if (sah_product_gates(slice->gate_up)) {
        const void *gated =
            sah_product_gate(ws, SAH_SLOT_INNER, slice->gate_up, rows, input, gate_bias, up_bias);
        if (!gated) return sah_fail_memory(error, "a block of rows");
        return sah_product_of(ws, slice->down, rows, gated, block, true, error);
    }
    float *gate_up = sah_workspace_scratch(ws, SAH_SLOT_GATE_UP, (size_t)(rows * 2 * slice->n));
    float *inner = sah_workspace_scratch(ws, SAH_SLOT_INNER, (size_t)(rows * slice->n));
    if (!gate_up || !inner) return sah_fail_memory(error, "a block of rows");
    sah_status status = sah_product_of(ws, slice->gate_up, rows, input, gate_up, false, error);
    if (status != SAH_OK) return status;
    activate(pass, (int)slice->n, gate_bias, up_bias, rows, gate_up, inner);
    return sah_product(ws, slice->down, rows, inner, block, true, error);
}

sah_status sah_mlp(const sah_pass *pass, int layer, int64_t rows, float *x, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    const sah_layer *weights = &pass->model->layers[layer];
    sah_workspace *ws = pass->workspace;
    int64_t d = c->d_model, step = sah_pass_block(pass, rows);
    float *normed = sah_workspace_scratch(ws, SAH_SLOT_NORMED, (size_t)(step * d));
    if (!normed) return sah_fail_memory(error, "a block of rows");
    for (int64_t from = 0; from < rows; from += step) {
        int64_t n = rows - from < step ? rows - from : step;
        float *block = x + from * d;
        sah_norm_rows(pass, block, weights->post_norm, n, normed);
        const void *input = sah_product_input(ws, SAH_SLOT_INPUT, weights->slices[0].gate_up, n, normed);
        if (!input) return sah_fail_memory(error, "a block of rows");
        for (int i = 0; i < weights->n_slices; i++) {
            sah_status status =
                add_slice(pass, &weights->slices[i], weights->gate_up_bias, n, input, block, error);
            if (status != SAH_OK) return status;
        }
    }
    sah_add_bias(pass, weights->down_bias, c->d_model, rows, x);
    return SAH_OK;
}
