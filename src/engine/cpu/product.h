/* SPDX-License-Identifier: Apache-2.0 */
/* The matrix product Y = X Wᵀ on the CPU, from oneDNN. This pair of files alone knows oneDNN, and the .c alone knows
 * how its major versions (2 and 3) differ.
 *
 * Weights are packed once, in the layout that oneDNN asks for at a usual number of rows, as float32 or
 * bfloat16. Everything around the product is float32: with bfloat16 weights the rows of X are rounded on the
 * way in, sums are float32. Rows lie without gaps: oneDNN's fast products refuse strides, and a layout packed for
 * those falls back to a plain loop that is a hundred times slower. */
#ifndef SAH_ENGINE_CPU_PRODUCT_H
#define SAH_ENGINE_CPU_PRODUCT_H

#include "engine/device.h"

/* What device.h says of these. */
sah_status sah_cpu_start(sah_workspace *workspace, sah_error *error);
void sah_cpu_stop(sah_workspace *workspace);
sah_status sah_cpu_pack(int64_t outputs, const int64_t *ends, int n, sah_packing packing, sah_rows_fn read,
                        const void *source, sah_weights **out, sah_error *error);
void sah_cpu_unpack(sah_weights *weights);
uint64_t sah_cpu_packed(int64_t outputs, int64_t inputs, sah_packing packing, sah_dtype type);
const void *sah_cpu_input(sah_workspace *workspace, sah_slot slot, const sah_weights *weights, int64_t rows,
                          const float *x);
sah_status sah_cpu_product(sah_workspace *workspace, const sah_weights *weights, int64_t rows,
                           const void *input, float *y, bool add, sah_error *error);
bool sah_cpu_gates(const sah_weights *weights);
const void *sah_cpu_gate(sah_workspace *workspace, sah_slot slot, const sah_weights *weights, int64_t rows,
                         const void *input, const float *gate_bias, const float *up_bias);
bool sah_cpu_knows_top(const sah_weights *weights);
sah_status sah_cpu_top(sah_workspace *workspace, const sah_weights *weights, int64_t rows, const float *x,
                       int32_t *top, sah_error *error);

/* True when the processor has the tiles of float32 products, and oneDNN may use its like. */
bool sah_product_has_tiles(void);
/* True when the processor's bfloat16 products run at all in oneDNN (at whatever speed). */
bool sah_product_has_bf16(void);

#endif
