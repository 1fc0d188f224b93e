/* SPDX-License-Identifier: Apache-2.0 */
/* float32 products on a processor's bfloat16 tiles (Intel AMX).
 *
 * A float32 is the sum of three bfloat16 pieces, each the rest of the one before rounded to 8 significant
 * bits. Rows of X are taken in all three, so exactly; weights in one piece where that is all of them (a
 * checkpoint in bfloat16), else in two (float16 exactly; any float32 to 2^-17 of itself). Of the products of
 * pieces those below 2^-24 are left out; products of two bfloat16 are exact, and sums are float32. Logits are
 * about as near float64's as those of float32 products are (docs/performance.md).
 * The idea: Henry, Tang and Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for
 * higher-precision computations", ARITH 2019.
 *
 * A row's products do not depend on the rows beside it, to the last bit. Numbers below 1e-38 count as 0; one
 * above 3.38e38 makes its row NaN. */
#ifndef SAH_ENGINE_CPU_TILES_H
#define SAH_ENGINE_CPU_TILES_H

#include "sahara.h"

typedef struct sah_tiles sah_tiles; /* a matrix [outputs, inputs] in pieces; read-only and shared */

/* True when this build has the products and the system lets this process use the tiles. The processor must
 * have them (the caller asks it). */
bool sah_tiles_usable(void);

/* Packs values [outputs, inputs], whose rows lie `stride` apart. Gated: rows are gates, then as many that
 * these gate, and outputs a multiple of SAH_TILES_GATED; such a matrix serves sah_tiles_gate() alone. */
#define SAH_TILES_GATED 64
sah_status sah_tiles_new(int64_t outputs, int64_t inputs, const float *values, int64_t stride, bool gated,
                         sah_tiles **out, sah_error *error);
void sah_tiles_free(sah_tiles *tiles);
size_t sah_tiles_bytes(const sah_tiles *tiles);

/* Rows x [rows, inputs] in pieces, as every matrix of so many inputs takes them: how many floats of memory
 * that needs, and making it. */
size_t sah_tiles_input_floats(int64_t inputs, int64_t rows);
void sah_tiles_input(const float *x, int64_t inputs, int64_t rows, int threads, void *pieces);

/* y [rows, outputs] = X Wᵀ, or += with `add`; y's rows lie without gaps. */
void sah_tiles_multiply(const sah_tiles *tiles, int64_t rows, const void *pieces, float *y, bool add,
                        int threads);

/* The pieces of silu(g) * u [rows, outputs / 2], of a gated matrix: g and u are the products with its halves
 * plus the biases [outputs / 2] (or NULL). What an MLP's last matrix takes, without the way through memory.
 */
void sah_tiles_gate(const sah_tiles *tiles, int64_t rows, const void *pieces, const float *gate_bias,
                    const float *up_bias, int threads, void *inner);

/* top [rows] = the output whose product with the row of x [rows, inputs] is the largest, the first of equals;
 * -1 where a product is not finite. `pieces` are those of x, scratch [sah_tiles_top_floats()]. First pieces
 * alone tell which outputs cannot be it; the others' products are compared in float64. A fifth of the work of
 * all products. */
size_t sah_tiles_top_floats(const sah_tiles *tiles, int64_t rows);
void sah_tiles_top(const sah_tiles *tiles, int64_t rows, const float *x, const void *pieces, float *scratch,
                   int threads, int32_t *top);

#endif
