/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

#include "engine/cuda/card.h"
#include "engine/cuda/kernels.h"
#include "engine/cuda/plugin.h"
#include "engine/cuda/product.h"
#include "util/alloc.h"
#include "util/error.h"

static cudaStream_t stream(void)
{
    return sah_card_here()->stream;
}

/* ---- Operations without more to them than their kernel ----------------------------------------------------- */

static sah_status start(sah_workspace *workspace, sah_error *error)
{
    (void)workspace;
    return sah_card_launched(error);
}

static void stop(sah_workspace *workspace)
{
    (void)workspace;
}

static void copy(sah_workspace *workspace, sah_rows from, int64_t rows, int64_t width, float *to,
                 int64_t to_stride, const int32_t *to_row)
{
    (void)workspace;
    sah_cuda_copy(stream(), from, rows, width, to, to_stride, to_row);
}

static void add(sah_workspace *workspace, sah_rows from, int64_t rows, int64_t width, float factor, float *to)
{
    (void)workspace;
    sah_cuda_add(stream(), from, rows, width, factor, to);
}

static void scale(sah_workspace *workspace, float *x, int64_t n, float factor)
{
    (void)workspace;
    sah_cuda_scale(stream(), x, n, factor);
}

static void clear(sah_workspace *workspace, float *x, int64_t n)
{
    (void)workspace;
    sah_cuda_clear(stream(), x, n);
}

static void scatter(sah_workspace *workspace, const float *x, int64_t rows, int64_t width,
                    const float *factor, const int32_t *to_row, float *to)
{
    (void)workspace;
    sah_cuda_scatter(stream(), x, rows, width, factor, to_row, to);
}

static void weigh(sah_workspace *workspace, const float *w, const float *x, int64_t rows, int64_t width,
                  float *y)
{
    (void)workspace;
    sah_cuda_weigh(stream(), w, x, rows, width, y);
}

static void norm(sah_workspace *workspace, const sah_config *config, const sah_norm *weights, const float *x,
                 int64_t rows, float *y)
{
    (void)workspace;
    sah_cuda_norm(stream(), config, weights, x, rows, false, y);
}

static void join(sah_workspace *workspace, const sah_config *config, const sah_norm *weights, float *branch,
                 int64_t rows, float *y)
{
    const int64_t d = config->d_model;
    (void)workspace;
    if (weights->weight != NULL)
        sah_cuda_norm(stream(), config, weights, branch, rows, true, y);
    else
        sah_cuda_add(stream(), (sah_rows){branch, d, NULL}, rows, d, config->residual_scale, y);
}

static void rotate(sah_workspace *workspace, const sah_config *config, const sah_rotation *rotation,
                   const sah_view *view, int64_t from, int64_t n, int64_t width, float *x)
{
    (void)workspace;
    sah_cuda_rotate(stream(), config, rotation, view, from, n, width, x);
}

static sah_status attend(sah_workspace *workspace, const sah_attention *attention, const sah_view *view,
                         sah_error *error)
{
    (void)workspace;
    if (!sah_cuda_attends(attention->head_dim))
        return sah_fail(error, SAH_NOT_SUPPORTED, "heads %d wide are too wide for the graphics card",
                        attention->head_dim);
    sah_cuda_attend(stream(), attention, view);
    return sah_card_launched(error);
}

static void convolve(sah_workspace *workspace, const sah_convolution *convolution, const sah_view *nodes,
                     const sah_view *ends, const sah_view *view)
{
    (void)workspace;
    sah_cuda_convolve(stream(), convolution, nodes, ends, view);
}

static sah_status recur(sah_workspace *workspace, const sah_recurrence *r, const sah_view *nodes,
                        const sah_view *ends, const sah_view *view, sah_error *error)
{
    float *memory = NULL;
    int32_t *sequence = NULL;
    if (!nodes->single) {
        const size_t size = (size_t)(1 + nodes->n_branches) * (size_t)r->key_dim * (size_t)r->head_dim;
        memory = sah_workspace_scratch(workspace, SAH_SLOT_ATTENTION, (size_t)r->n_heads * size);
        if (memory == NULL) return sah_fail_memory(error, "states of a layer");
    }
    if (!nodes->single && r->kept != NULL) {
        sequence = (int32_t *)(void *)sah_workspace_scratch(workspace, SAH_SLOT_ROUTES, (size_t)nodes->n);
        if (sequence == NULL) return sah_fail_memory(error, "states of a layer");
    }
    sah_cuda_recur(stream(), r, nodes, ends, view, sequence, memory);
    return sah_card_launched(error);
}

static void edit(sah_workspace *workspace, const sah_head_states *states, const sah_edit *how, float *out)
{
    (void)workspace;
    sah_cuda_edit(stream(), states, how, out);
}

static void stand_in(sah_workspace *workspace, const sah_stand_in *which, float *out)
{
    (void)workspace;
    sah_cuda_stand_in(stream(), which, out);
}

static void activate(sah_workspace *workspace, const sah_config *config, int64_t n, const float *gate_bias,
                     const float *up_bias, int64_t rows, float *states, float *out)
{
    (void)workspace;
    sah_cuda_activate(stream(), config, n, gate_bias, up_bias, rows, states, out);
}

static void give(sah_workspace *workspace, const sah_config *config, const sah_view *view, int64_t from,
                 int64_t rows, int64_t width, const float *given, int64_t stride, const float *gates,
                 float *out)
{
    (void)workspace;
    sah_cuda_give(stream(), config, view, from, rows, width, given, stride, gates, out);
}

static void softcap(sah_workspace *workspace, float *x, int64_t n, float cap)
{
    (void)workspace;
    sah_cuda_softcap(stream(), x, n, cap);
}

/* ---- What products of a processor know and these do not ---------------------------------------------------- */

static bool knows_not(const sah_weights *weights)
{
    (void)weights;
    return false;
}

static bool differs(void)
{
    return sah_card_here()->pieces;
}

static const void *gate(sah_workspace *workspace, sah_slot slot, const sah_weights *weights, int64_t rows,
                        const void *input, const float *gate_bias, const float *up_bias)
{
    (void)workspace, (void)slot, (void)weights, (void)rows, (void)input, (void)gate_bias, (void)up_bias;
    return NULL;
}

static sah_status top(sah_workspace *workspace, const sah_weights *weights, int64_t rows, const float *x,
                      int32_t *out, sah_error *error)
{
    (void)workspace, (void)weights, (void)rows, (void)x, (void)out;
    return sah_fail(error, SAH_NOT_SUPPORTED, "the graphics card knows no highest output without all");
}

/* ---- Scores --------------------------------------------------------------------------------------------- */

static sah_status distribution(sah_workspace *workspace, const float *logits, int64_t n, sah_kl_base *base,
                               sah_error *error)
{
    double *sum = (double *)(void *)sah_workspace_scratch(workspace, SAH_SLOT_SCORES, 2);
    if (sum == NULL) return sah_fail_memory(error, "logits");
    sah_cuda_distribution(stream(), logits, n, base->p, sum);
    return sah_card_download(sum, sizeof *sum, &base->log_p_sum, error);
}

static sah_status score(sah_workspace *workspace, const float *logits, int64_t rows, int64_t n,
                        sah_row_score *scores, sah_error *error)
{
    const size_t bytes = (size_t)rows * sizeof(sah_cuda_score);
    sah_cuda_score *here = sah_alloc((size_t)rows, sizeof *here),
                   *there = (void *)sah_workspace_scratch(workspace, SAH_SLOT_SCORES, bytes / sizeof(float));
    sah_status status = here != NULL && there != NULL ? SAH_OK : sah_fail_memory(error, "logits");
    for (int64_t r = 0; r < rows && status == SAH_OK; r++) {
        const sah_row_score *s = &scores[r];
        here[r] = (sah_cuda_score){.p = s->base != NULL ? s->base->p : NULL,
                                   .log_p_sum = s->base != NULL ? s->base->log_p_sum : 0.0,
                                   .token = {s->token[0], s->token[1]},
                                   .kl = s->kl,
                                   .log_p = {s->log_p[0], s->log_p[1]}};
    }
    if (status == SAH_OK) status = sah_card_upload(here, bytes, there, error);
    if (status == SAH_OK) sah_cuda_scores(stream(), logits, rows, n, there);
    if (status == SAH_OK) status = sah_card_download(there, bytes, here, error);
    for (int64_t r = 0; r < rows && status == SAH_OK; r++) {
        scores[r].kl = here[r].kl;
        memcpy(scores[r].log_p, here[r].log_p, sizeof here[r].log_p);
    }
    free(here);
    return status;
}

/* ---- The table ------------------------------------------------------------------------------------------ */

/* Enough for the results' tiles of the smallest matrices of a model of 7 billion parameters, 128 by 256 each, to keep
 * all of a large card's processors busy (4096 / 256 * 1024 / 128 = 128 on 132 of an H100). */
enum { BLOCK_ROWS = 1024 };

const sah_device *sah_cuda(void)
{
    static const sah_device cuda = {
        .name = "cuda",
        .block_rows = BLOCK_ROWS,
        .alloc = sah_card_alloc,
        .free = sah_card_free,
        .room = sah_card_room,
        .upload = sah_card_upload,
        .download = sah_card_download,
        .start = start,
        .stop = stop,
        .pack = sah_cuda_pack,
        .unpack = sah_cuda_unpack,
        .differs = differs,
        .packed = sah_cuda_packed,
        .input = sah_cuda_input,
        .product = sah_cuda_product,
        .gates = knows_not,
        .gate = gate,
        .knows_top = knows_not,
        .top = top,
        .copy = copy,
        .add = add,
        .scale = scale,
        .clear = clear,
        .scatter = scatter,
        .weigh = weigh,
        .norm = norm,
        .join = join,
        .rotate = rotate,
        .attend = attend,
        .convolve = convolve,
        .recur = recur,
        .edit = edit,
        .stand_in = stand_in,
        .activate = activate,
        .give = give,
        .softcap = softcap,
        .distribution = distribution,
        .score = score,
    };
    return &cuda;
}

static sah_status open_card(const sah_device **out, char *description, size_t size, sah_error *error)
{
    *out = sah_cuda();
    return sah_card_open(description, size, error);
}

/* By its name alone (SAH_PLUGIN_SYMBOL). */
__attribute__((visibility("default"))) const sah_plugin *sah_plugin_get(void);

const sah_plugin *sah_plugin_get(void)
{
    static const sah_plugin plugin = {
        .abi = SAH_PLUGIN_ABI,
        .bytes = SAH_PLUGIN_BYTES,
        .version = SAH_VERSION,
        .name = "cuda",
        .open = open_card,
    };
    return &plugin;
}
