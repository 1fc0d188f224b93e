/* SPDX-License-Identifier: Apache-2.0 */
/* The matrix product Y = X Wᵀ, from oneDNN. This pair of files alone knows oneDNN, and the .c alone knows how
 * its major versions (2 and 3) differ.
 *
 * Weights are packed once, in the layout that oneDNN asks for at a usual number of rows, as float32 or
 * bfloat16. Everything around the product is float32: with bfloat16 weights the rows of X are rounded on the
 * way in, sums are float32. */
#ifndef SAH_ENGINE_CPU_PRODUCT_H
#define SAH_ENGINE_CPU_PRODUCT_H

#include "sahara.h"

typedef struct sah_weights sah_weights; /* one matrix [outputs, inputs], packed; read-only and shared */
typedef struct sah_workspace sah_workspace; /* one caller's primitives and scratch memory; not shared */

/* Fills rows [row, row + n) of a matrix, out [n, inputs]. */
typedef void (*sah_rows_fn)(const void *source, size_t row, size_t n, float *out);

/* Packs [outputs, inputs] values that `read` gives. `precision` is F32 or BF16. With `tiles`, float32
 * products run on the processor's bfloat16 tiles where it has them (tiles.h). Needs the float32 matrix
 * once, beside the packed one, while it runs. */
sah_status sah_weights_new(int64_t outputs, int64_t inputs, sah_precision precision, bool tiles,
                           sah_rows_fn read, const void *source, sah_weights **out, sah_error *error);
/* The same for rows [gate | up] of an MLP, whose product sah_product_gate() makes where sah_product_gates().
 */
sah_status sah_weights_gate(int64_t outputs, int64_t inputs, sah_precision precision, bool tiles,
                            sah_rows_fn read, const void *source, sah_weights **out, sah_error *error);
/* The same in n pieces of columns, piece i being [outputs, ends[i] - ends[i - 1]]: the product with all
 * inputs is the sum of theirs. All ends but the last are multiples of 32. On failure no piece is left in
 * out [n]. */
sah_status sah_weights_split(int64_t outputs, const int64_t *ends, int n, sah_precision precision, bool tiles,
                             sah_rows_fn read, const void *source, sah_weights **out, sah_error *error);
void sah_weights_free(sah_weights *weights);
int64_t sah_weights_outputs(const sah_weights *weights);
int64_t sah_weights_inputs(const sah_weights *weights);
size_t sah_weights_bytes(const sah_weights *weights);

/* `threads`, or 1 inside a parallel region where no other may have more: when a callback, or a host's own
 * loop, calls the library. */
int sah_threads_here(int threads);

/* `threads` work on each product of this workspace. */
sah_status sah_workspace_new(int threads, sah_workspace **out, sah_error *error);
void sah_workspace_free(sah_workspace *workspace);
int sah_workspace_threads(const sah_workspace *workspace);

/* From now on a row's products do not depend on how many rows go with it, to the last bit. float32 is so
 * anyway; bfloat16 on a processor with AMX is made so at some cost, by products of one number of rows. */
void sah_workspace_fix_rows(sah_workspace *workspace);

/* Scratch memory, kept from call to call; each slot is its own. What for: */
typedef enum sah_slot {
    SAH_SLOT_NORMED, /* a block of normed rows, or of outputs of heads side by side */
    SAH_SLOT_INPUT, /* the same as products take it */
    SAH_SLOT_BRANCH, /* a branch before it joins the residual */
    SAH_SLOT_GATE_UP, /* the MLP's gates and what they gate */
    SAH_SLOT_INNER, /* their products */
    SAH_SLOT_ROUTER, /* logits of a router */
    SAH_SLOT_ROUTES, /* which row goes to which expert */
    SAH_SLOT_GATHERED, /* rows of an expert, and what it makes of them */
    SAH_SLOT_ATTENTION, /* keys, values and scores of a segment, for each thread */
    SAH_SLOT_EDITED, /* outputs of edited heads */
    SAH_SLOT_EDITED_Q, /* their queries */
    SAH_SLOT_EDITED_K, /* and keys */
    SAH_SLOT_BLOCK, /* a product's own: a block of a fixed number of rows */
    SAH_SLOT_ROUNDED, /* and rounded rows */
    SAH_N_SLOTS
} sah_slot;

/* `n` floats on a 64-byte boundary. NULL: no memory. */
float *sah_workspace_scratch(sah_workspace *workspace, sah_slot slot, size_t n);

/* y [rows, outputs] = x [rows, inputs] Wᵀ, or += with `add`. Rows lie without gaps: oneDNN's fast products
 * refuse strides, and a layout packed for those falls back to a plain loop that is a hundred times slower. */
sah_status sah_product(sah_workspace *workspace, const sah_weights *weights, int64_t rows, const float *x,
                       float *y, bool add, sah_error *error);

/* The same in two steps, for rows that meet several matrices of one type: x as such weights take it (x
 * itself, or its rounding in a scratch slot; NULL: no memory), and the product with that. */
const void *sah_product_input(sah_workspace *workspace, sah_slot slot, const sah_weights *weights,
                              int64_t rows, const float *x);
sah_status sah_product_of(sah_workspace *workspace, const sah_weights *weights, int64_t rows,
                          const void *input, float *y, bool add, sah_error *error);

/* silu(g) * u of the products g, u [rows, outputs / 2] with both halves of the weights, plus biases [outputs
 * / 2] or NULL; as the next product's input, in a scratch slot. NULL: no memory. */
bool sah_product_gates(const sah_weights *weights);
const void *sah_product_gate(sah_workspace *workspace, sah_slot slot, const sah_weights *weights,
                             int64_t rows, const void *input, const float *gate_bias, const float *up_bias);

/* top [rows] = the output with the largest product, the first of equals; -1: one is not finite. Only for
 * weights that know it without all products. */
bool sah_product_knows_top(const sah_weights *weights);
sah_status sah_product_top(sah_workspace *workspace, const sah_weights *weights, int64_t rows, const float *x,
                           int32_t *top, sah_error *error);

/* Seconds of a workspace by stage, every moment in one, and the floating-point operations its products did
 * there (a multiply-add is two). */
typedef struct sah_books {
    double seconds[SAH_N_STAGES];
    double operations[SAH_N_STAGES];
} sah_books;

/* What follows counts to `stage`, until the next call; returns the stage so far, to go back to. A product
 * counts to SAH_STAGE_PRODUCT by itself, except inside SAH_STAGE_LM_HEAD. Costs one reading of the clock: for
 * blocks of rows, not for rows. */
sah_stage sah_workspace_enter(sah_workspace *workspace, sah_stage stage);
/* Adds all since the workspace was made to `books`. */
void sah_workspace_count(sah_workspace *workspace, sah_books *books);

/* True when the processor has the tiles of float32 products, and oneDNN may use its like. */
bool sah_product_has_tiles(void);
/* True when the processor's bfloat16 products run at all in oneDNN (at whatever speed). */
bool sah_product_has_bf16(void);

#endif
