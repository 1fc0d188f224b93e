/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels, each as the function that starts it on a stream: what arrays they are given lies on the card, what
 * structs in the host's memory. None fails; a launch that did is seen by cudaGetLastError(). Sums that decide are in
 * float64, in an order that depends on nothing but the width of a row. */
#ifndef SAH_ENGINE_CUDA_KERNELS_H
#define SAH_ENGINE_CUDA_KERNELS_H

#include <cuda_runtime.h>

#include "engine/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Rows: as the operations of engine/device.h --------------------------------------------------------- */

void sah_cuda_copy(cudaStream_t stream, sah_rows from, int64_t rows, int64_t width, float *to,
                   int64_t to_stride, const int32_t *to_row);
void sah_cuda_add(cudaStream_t stream, sah_rows from, int64_t rows, int64_t width, float factor, float *to);
void sah_cuda_scale(cudaStream_t stream, float *x, int64_t n, float factor);
void sah_cuda_clear(cudaStream_t stream, float *x, int64_t n);
void sah_cuda_scatter(cudaStream_t stream, const float *x, int64_t rows, int64_t width, const float *factor,
                      const int32_t *to_row, float *to);
void sah_cuda_weigh(cudaStream_t stream, const float *w, const float *x, int64_t rows, int64_t width,
                    float *y);
void sah_cuda_softcap(cudaStream_t stream, float *x, int64_t n, float cap);
/* y [rows, d] = norm(x), or with `join` y += the configuration's factor * norm(x). */
void sah_cuda_norm(cudaStream_t stream, const sah_config *config, const sah_norm *norm, const float *x,
                   int64_t rows, bool join, float *y);
void sah_cuda_rotate(cudaStream_t stream, const sah_config *config, const sah_rotation *rotation,
                     const sah_view *view, int64_t from, int64_t n, int64_t width, float *x);
void sah_cuda_edit(cudaStream_t stream, const sah_head_states *states, const sah_edit *edit, float *out);
void sah_cuda_stand_in(cudaStream_t stream, const sah_stand_in *stand_in, float *out);
void sah_cuda_activate(cudaStream_t stream, const sah_config *config, int64_t n, const float *gate_bias,
                       const float *up_bias, int64_t rows, const float *states, float *out);
void sah_cuda_give(cudaStream_t stream, const sah_config *config, const sah_view *view, int64_t from,
                   int64_t rows, int64_t width, const float *given, int64_t stride, const float *gates,
                   float *out);

/* Whether a block's memory holds the tiles of heads so wide. */
bool sah_cuda_attends(int head_dim);
void sah_cuda_attend(cudaStream_t stream, const sah_attention *attention, const sah_view *view);

/* ---- States that run along a path ------------------------------------------------------------------------ */

void sah_cuda_convolve(cudaStream_t stream, const sah_convolution *convolution, const sah_view *nodes,
                       const sah_view *ends, const sah_view *view);
/* Where nodes are not single, memory [heads, 1 + branches, key_dim head_dim], and sequence [nodes] where states are
 * kept. */
void sah_cuda_recur(cudaStream_t stream, const sah_recurrence *recurrence, const sah_view *nodes,
                    const sah_view *ends, const sah_view *view, int32_t *sequence, float *memory);

/* ---- Operands of products ------------------------------------------------------------------------------- */

/* How numbers lie in memory. */
typedef enum sah_cuda_type { SAH_CUDA_F32, SAH_CUDA_BF16, SAH_CUDA_F16 } sah_cuda_type;

/* Rows [rows, columns] of a type as float32 [padded_rows, padded_columns], zeros around; `rounded`: to numbers that
 * bfloat16 has. */
void sah_cuda_widen(cudaStream_t stream, const void *x, sah_cuda_type type, int64_t rows, int64_t columns,
                    int64_t padded_rows, int64_t padded_columns, bool rounded, float *out);
/* The same as the sum of n pieces of bfloat16, out [n, padded_rows, padded_columns]: each the nearest to what the
 * ones before it leave. */
void sah_cuda_split(cudaStream_t stream, const void *x, sah_cuda_type type, int64_t rows, int64_t columns,
                    int64_t padded_rows, int64_t padded_columns, int n, uint16_t *out);

/* ---- Scores --------------------------------------------------------------------------------------------- */

/* A row of sah_row_score, with the distribution that it is held against. */
typedef struct sah_cuda_score {
    double *p; /* or NULL */
    double log_p_sum;
    int32_t token[2];
    double kl, log_p[2]; /* the answers; those not asked for are left alone */
} sah_cuda_score;

void sah_cuda_distribution(cudaStream_t stream, const float *logits, int64_t n, double *p, double *log_p_sum);
void sah_cuda_scores(cudaStream_t stream, const float *logits, int64_t rows, int64_t n,
                     sah_cuda_score *scores);

#ifdef __cplusplus
}
#endif

#endif
