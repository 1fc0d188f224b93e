/* SPDX-License-Identifier: Apache-2.0 */
/* Packed weights and matrix products on cuBLASLt. A matrix lies as its checkpoint has it: bfloat16 or float16 where
 * that loses nothing, else float32.
 *
 * Float32 products are made of bfloat16's where the card gains by it: x in three pieces, which hold all its bits, W
 * in as many as it needs (bfloat16 one, float16 two, float32 three), and of the products of pieces those above 2^-24
 * of the whole: 3, 5 or 6. Differences (engine/difference.h) take two pieces of each side at most, and of their
 * products those above 2^-16: 2, 3 or 3. Elsewhere they are float32 products of the widened numbers. At
 * SAH_PRECISION_BF16 both are rounded to bfloat16 once.
 *
 * A row's bits depend on nothing but the row and the matrix. Each matrix has one algorithm, chosen when it is packed,
 * that adds along the inputs in one go (no split-K, no memory to add up in), and numbers of rows are rounded up to
 * blocks of one size. */
#ifndef SAH_ENGINE_CUDA_PRODUCT_H
#define SAH_ENGINE_CUDA_PRODUCT_H

#include "engine/device.h"

/* Operations of the table. */
sah_status sah_cuda_pack(int64_t outputs, const int64_t *ends, int n, sah_packing packing, sah_rows_fn read,
                         const void *source, sah_weights **out, sah_error *error);
void sah_cuda_unpack(sah_weights *weights);
uint64_t sah_cuda_packed(int64_t outputs, int64_t inputs, sah_packing packing, sah_dtype type);
const void *sah_cuda_input(sah_workspace *workspace, sah_slot slot, const sah_weights *weights, int64_t rows,
                           const float *x);
sah_status sah_cuda_product(sah_workspace *workspace, const sah_weights *weights, int64_t rows,
                            const void *input, float *y, bool add, sah_error *error);

#endif
