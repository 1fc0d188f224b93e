/* SPDX-License-Identifier: Apache-2.0 */
/* The device that a model computes on: memory of its own, packed weights, and operations on rows of float32 that
 * lie in that memory. Layers, passes, sweeps and decoding are written once above this table; engine/cpu/ is the
 * first implementer.
 *
 * Rows are plain pointers into the device's memory: the host counts with them, and only operations look behind
 * them. Where `host` is true that memory is the host's own, and what would be copied lies there already.
 *
 * Operations of a workspace happen in the order of their calls. Those that return nothing cannot fail by their
 * arguments. */
#ifndef SAH_ENGINE_DEVICE_H
#define SAH_ENGINE_DEVICE_H

#include "engine/forest.h"
#include "model/family/shape.h"
#include "model/format/dtype.h"

typedef struct sah_device sah_device;

/* ---- Weights and workspaces ---------------------------------------------------------------------------- */

/* One matrix [outputs, inputs], packed; read-only and shared. Devices put their own behind it. */
typedef struct sah_weights {
    const sah_device *device;
    int64_t outputs, inputs;
    size_t bytes;
    struct sah_weights
        *difference; /* the same matrix for inputs that are differences (difference.h), of which less
                                       must be multiplied; its owner's; NULL: itself */
} sah_weights;

/* Fills rows [row, row + n) of a matrix, out [n, inputs], in the host's memory. */
typedef void (*sah_rows_fn)(const void *source, size_t row, size_t n, float *out);

/* What a matrix is packed for. */
typedef struct sah_packing {
    sah_precision precision; /* F32 or BF16 */
    bool tiles; /* float32 products may run on the processor's bfloat16 tiles (cpu/tiles.h) */
    bool gated; /* rows are [gate | up] of an MLP, for sah_product_gate() where sah_product_gates() */
} sah_packing;

/* Scratch memory, kept from call to call; each slot is its own. What for: */
typedef enum sah_slot {
    SAH_SLOT_NORMED, /* a block of normed rows, or of outputs of heads side by side */
    SAH_SLOT_INPUT, /* the same as products take it */
    SAH_SLOT_BRANCH, /* a branch before it joins the residual */
    SAH_SLOT_GATE_UP, /* the MLP's gates and what they gate */
    SAH_SLOT_INNER, /* their products */
    SAH_SLOT_ROUTER, /* logits of a router */
    SAH_SLOT_ROUTES, /* which row goes to which expert, as the device reads it; or where a row's state is kept */
    SAH_SLOT_GATHERED, /* rows of an expert, and what it makes of them; before that what the router sees */
    SAH_SLOT_BESIDE, /* what experts beside an MLP make of a block */
    SAH_SLOT_ATTENTION, /* keys, values and scores of a segment, for each thread */
    SAH_SLOT_EDITED, /* outputs of edited heads */
    SAH_SLOT_EDITED_Q, /* their queries */
    SAH_SLOT_EDITED_K, /* and keys */
    SAH_SLOT_SCORES, /* exponentials of rows of logits */
    SAH_SLOT_BLOCK, /* a product's own: a block of a fixed number of rows */
    SAH_SLOT_ROUNDED, /* and rounded rows */
    SAH_SLOT_PLAN, /* what the host thinks of rows before the device computes with them: in the host's memory */
    SAH_N_SLOTS
} sah_slot;

/* Seconds of a workspace by stage, every moment in one, and the floating-point operations its products did
 * there (a multiply-add is two). */
typedef struct sah_books {
    double seconds[SAH_N_STAGES];
    double operations[SAH_N_STAGES];
} sah_books;

/* One caller's scratch memory and books, not shared. */
typedef struct sah_workspace {
    const sah_device *device;
    void *own; /* the device's */
    int threads; /* of the host, that work on each operation */
    bool fixed_rows; /* sah_workspace_fix_rows() */
    float *slots[SAH_N_SLOTS];
    size_t slot_sizes[SAH_N_SLOTS];
    sah_stage stage; /* what runs since `since` */
    double since;
    sah_books books;
} sah_workspace;

/* ---- What operations take ------------------------------------------------------------------------------ */

/* Rows of one copy of a forest: all its nodes, or the ends alone. Several copies may be stacked; then row r
 * is row r % n of its copy. */
typedef struct sah_view {
    int64_t n;
    const int32_t *position; /* [n] */
    const int32_t
        *source; /* [n] the donors' row that stands in for a row of edited heads (donors.h), -1: none;
                              NULL: none at all */
    const int32_t *node; /* [n] the node that a row is; NULL: row r is node r */
    const sah_segment *segments; /* where attention finds the rows, and what they see */
    int32_t n_segments;
    bool single; /* every segment is one row */
    const int32_t *given; /* [n] which row of the pass's `given` is the row's token's; NULL: row r is row r */
    const int32_t *sequence; /* [n] where a row's state is kept of layers whose states run along a path
                                (delta.h), or NULL */
    const int32_t
        *branch; /* [n] the place among `n_branches` where a state lies that segments begin behind, -1: none
                              begins there; NULL: nobody asks. Of two rows of one path it is not the same. */
    int32_t n_branches;
} sah_view;

/* weight NULL: no norm stands there. */
typedef struct sah_norm {
    float *weight, *bias; /* bias NULL: none */
} sah_norm;

/* Rotary angles of one of the model's settings, [positions, dims / 2] each. */
typedef struct sah_angles {
    float *cosine, *sine;
} sah_angles;

/* What is done to projected rows: the bias, then norms of heads and RoPE. A row is q, the gates of its heads, k
 * and v. */
typedef struct sah_rotation {
    int q_heads, k_heads, v_heads, head_dim;
    const float *bias, *q_norm, *k_norm; /* or NULL */
    const sah_rope *rope; /* NULL: nothing is rotated */
    sah_angles angles;
} sah_rotation;

typedef struct sah_attention {
    int n_heads, n_kv_heads; /* query head h reads key/value head h / (n_heads / n_kv_heads) */
    int head_dim;
    float scale; /* of q kᵀ */
    float softcap; /* scores become cap tanh(score / cap); 0: none */
    const float *sinks; /* [n_heads] one more score of each head, whose weight nobody gets; or NULL */
    int window; /* sliding window: tokens seen, the own included; 0: all */
    const float *q; /* [rows, n_heads * head_dim] after RoPE, rows as the segments number them */
    int64_t q_stride;
    const float *k, *v; /* [nodes, n_kv_heads * head_dim] */
    int64_t k_stride, v_stride;
    float *z; /* [rows, n_heads * head_dim]: the heads' outputs; may lie on q */
    int64_t z_stride;
    const float *gate; /* [rows, n_heads * head_dim] outputs are times its sigmoid; or NULL */
    int64_t gate_stride;
} sah_attention;

/* A short convolution (convolution.h): rows [nodes, 3 width] are b, c and x side by side. */
typedef struct sah_convolution {
    int kernel;
    int64_t width;
    const float *weights; /* [kernel, width] */
    float *rows; /* b x takes the place of x */
    float *z; /* [view, width]; may lie on b */
    int64_t z_stride;
    float *kept; /* [sequences, (kernel - 1) width] as sah_delta_mix() has it, or NULL */
} sah_convolution;

/* The gated delta rule (delta.h) of rows [nodes, width], which it changes: q and k of the key heads, v, gates, what is
 * written and what is kept. */
typedef struct sah_recurrence {
    int n_heads, head_dim, key_heads, key_dim, kernel;
    int64_t columns; /* of q, k and v, which go through the convolution */
    int64_t gate, write, keep, width; /* where they begin in a row, and all of it */
    float norm_eps;
    const float *weights; /* [kernel, columns] of the convolution */
    const float *rate, *rate_bias; /* [n_heads] */
    const float *norm; /* [head_dim] */
    float *rows;
    float *z; /* [view, n_heads * head_dim]; may lie on the gates */
    int64_t z_stride;
    float
        *kept; /* [sequences, kept_each]: S of every head, and the last inputs of the convolution; or NULL */
    int64_t kept_each;
} sah_recurrence;

/* One head's states among the layer's: rows of n heads of `width`, the head's columns beginning at head * width. */
typedef struct sah_head_states {
    const float *x;
    int64_t stride, rows;
    int head, n, width;
} sah_head_states;

/* States of a head in other prompts (donors.h) that take the place of its own: row r becomes row source[r] of `states`,
 * turned from that row's position to its own where they are behind RoPE. */
typedef struct sah_stand_in {
    sah_head_states states; /* the donors'; `rows` are those that they come to */
    const int32_t *source; /* [rows] -1: the row stays as it is */
    const sah_rope *rope; /* NULL: nothing is turned */
    sah_angles angles;
    const int32_t *from, *to; /* positions of the donors' rows, and of the rows; NULL: all at 0 */
} sah_stand_in;

/* Rows that lie `stride` apart, 0: one for all; row r is row[r] of them, or r where `row` is NULL. */
typedef struct sah_rows {
    const float *x;
    int64_t stride;
    const int32_t *row;
} sah_rows;

/* A distribution that others are held against: p [n_vocab] + e and sum p ln p (cpu/kl.h). */
typedef struct sah_kl_base {
    double *p;
    double log_p_sum;
} sah_kl_base;

/* What is asked of a row of logits, and the answer. */
typedef struct sah_row_score {
    const sah_kl_base *base; /* NULL: no divergence is asked for */
    int32_t token[2]; /* -1: none */
    double kl; /* KL(base || softmax(logits)) in nats; NaN when a logit is not finite */
    double log_p[2]; /* ln p of the tokens; NaN likewise */
} sah_row_score;

/* ---- The table ----------------------------------------------------------------------------------------- */

struct sah_device {
    const char *name;
    bool host; /* its memory is the host's */
    int64_t block_rows; /* that pass through a layer's products at a time, at most, for each of the threads */

    /* Memory, on a 64-byte boundary; NULL: none is left. Uploads and downloads are done when they return, and what
     * lies where it should is left alone. */
    void *(*alloc)(size_t bytes);
    void (*free)(void *memory);
    /* Bytes that nobody has taken; 0: nobody knows. */
    uint64_t (*room)(void);
    sah_status (*upload)(const void *from, size_t bytes, void *to, sah_error *error);
    sah_status (*download)(const void *from, size_t bytes, void *to, sah_error *error);

    /* A workspace's own, and its end. */
    sah_status (*start)(sah_workspace *workspace, sah_error *error);
    void (*stop)(sah_workspace *workspace);

    /* Packs [outputs, inputs] values that `read` gives in n pieces of columns, piece i being [outputs, ends[i] -
     * ends[i - 1]]. On failure no piece is left in out [n]. */
    sah_status (*pack)(int64_t outputs, const int64_t *ends, int n, sah_packing packing, sah_rows_fn read,
                       const void *source, sah_weights **out, sah_error *error);
    void (*unpack)(sah_weights *weights);
    /* Whether matrices of float32 have a `difference`: where that makes sweeps faster, and no less exact. */
    bool (*differs)(void);
    /* Bytes of a packed matrix at most, whose numbers are all of a type: bfloat16, float16, or float32 for any. */
    uint64_t (*packed)(int64_t outputs, int64_t inputs, sah_packing packing, sah_dtype type);

    /* Products: sah_product_input(), sah_product_of(), sah_product_gates(), _gate(), _knows_top(), _top(). */
    const void *(*input)(sah_workspace *workspace, sah_slot slot, const sah_weights *weights, int64_t rows,
                         const float *x);
    sah_status (*product)(sah_workspace *workspace, const sah_weights *weights, int64_t rows,
                          const void *input, float *y, bool add, sah_error *error);
    bool (*gates)(const sah_weights *weights);
    const void *(*gate)(sah_workspace *workspace, sah_slot slot, const sah_weights *weights, int64_t rows,
                        const void *input, const float *gate_bias, const float *up_bias);
    bool (*knows_top)(const sah_weights *weights);
    sah_status (*top)(sah_workspace *workspace, const sah_weights *weights, int64_t rows, const float *x,
                      int32_t *top, sah_error *error);

    /* to = from, [rows, width]; row r goes to row to_row[r] of those that lie to_stride apart (NULL: r). */
    void (*copy)(sah_workspace *workspace, sah_rows from, int64_t rows, int64_t width, float *to,
                 int64_t to_stride, const int32_t *to_row);
    /* to [rows, width] += factor * from. */
    void (*add)(sah_workspace *workspace, sah_rows from, int64_t rows, int64_t width, float factor,
                float *to);
    /* x [n] *= factor. */
    void (*scale)(sah_workspace *workspace, float *x, int64_t n, float factor);
    /* x [n] = 0. */
    void (*clear)(sah_workspace *workspace, float *x, int64_t n);
    /* Row to_row[r] of to [.., width] += factor[r] times row r of x [rows, width]; no two go to the same. */
    void (*scatter)(sah_workspace *workspace, const float *x, int64_t rows, int64_t width,
                    const float *factor, const int32_t *to_row, float *to);
    /* Each row of y [rows, width] *= the logistic of x · w, x its row of [rows, width]; summed in float64. */
    void (*weigh)(sah_workspace *workspace, const float *w, const float *x, int64_t rows, int64_t width,
                  float *y);

    /* y [rows, d] = the model's kind of norm of x; y may be x. */
    void (*norm)(sah_workspace *workspace, const sah_config *config, const sah_norm *norm, const float *x,
                 int64_t rows, float *y);
    /* y [rows, d] += the branch as the residual takes it: normed where `norm` has weights, and scaled. The branch
     * may be changed. */
    void (*join)(sah_workspace *workspace, const sah_config *config, const sah_norm *norm, float *branch,
                 int64_t rows, float *y);
    /* x [n, width]: rows [from, from + n) of copies of a view. */
    void (*rotate)(sah_workspace *workspace, const sah_config *config, const sah_rotation *rotation,
                   const sah_view *view, int64_t from, int64_t n, int64_t width, float *x);
    /* z = softmax(scale q kᵀ) v, gated, for every row of the view. */
    sah_status (*attend)(sah_workspace *workspace, const sah_attention *attention, const sah_view *view,
                         sah_error *error);
    /* z of the view's rows, of the nodes' projected ones (delta.h says what is kept). */
    void (*convolve)(sah_workspace *workspace, const sah_convolution *convolution, const sah_view *nodes,
                     const sah_view *ends, const sah_view *view);
    sah_status (*recur)(sah_workspace *workspace, const sah_recurrence *recurrence, const sah_view *nodes,
                        const sah_view *ends, const sah_view *view, sah_error *error);
    /* out [rows, width] = the head's columns under an edit, or their mean over the n heads; where a donor stands
     * in, or there is no edit, its own as they are. */
    void (*edit)(sah_workspace *workspace, const sah_head_states *states, const sah_edit *edit, float *out);
    /* Rows of out [rows, width] become the states that stand in for them. */
    void (*stand_in)(sah_workspace *workspace, const sah_stand_in *stand_in, float *out);
    /* out [rows, n] = act(gate) * up of rows [gate | up], or act(up) of rows [up], biases added before, or NULL. */
    void (*activate)(sah_workspace *workspace, const sah_config *config, int64_t n, const float *gate_bias,
                     const float *up_bias, int64_t rows, float *states, float *out);

    /* out [rows, width] = act(gates) times what is given of the tokens of rows [from, from + rows) of copies of a
     * view, whose rows lie `stride` apart (inputs.h). */
    void (*give)(sah_workspace *workspace, const sah_config *config, const sah_view *view, int64_t from,
                 int64_t rows, int64_t width, const float *given, int64_t stride, const float *gates,
                 float *out);

    /* x [n] = cap tanh(x / cap). */
    void (*softcap)(sah_workspace *workspace, float *x, int64_t n, float cap);
    /* base->p [n] and the sum beside it, of logits [n]; NaN where one is not finite. */
    sah_status (*distribution)(sah_workspace *workspace, const float *logits, int64_t n, sah_kl_base *base,
                               sah_error *error);
    /* Answers scores [rows] of logits [rows, n], in float64. */
    sah_status (*score)(sah_workspace *workspace, const float *logits, int64_t rows, int64_t n,
                        sah_row_score *scores, sah_error *error);
};

/* ---- Memory -------------------------------------------------------------------------------------------- */

/* `count` times `size` bytes of the device's memory; NULL: it has no more, or that overflows. */
void *sah_device_alloc(const sah_device *device, size_t count, size_t size);
/* NULL: nothing to free. */
void sah_device_free(const sah_device *device, void *memory);

/* The host's array where the device's operations find it: the same, or a copy for sah_device_forget(); NULL of NULL. */
sah_status sah_device_lend(const sah_device *device, const void *array, size_t count, size_t size,
                           const void **out, sah_error *error);
/* Segments and the paths they point to, likewise. */
sah_status sah_device_lend_segments(const sah_device *device, const sah_segment *segments, int32_t n,
                                    const sah_segment **out, sah_error *error);
void sah_device_forget(const sah_device *device, const void *lent);

/* `wanted` bytes, or half of what the device has, and others will not take, where that is less: scratch memory and
 * logits, which nobody counts, need some. */
uint64_t sah_device_most(const sah_device *device, uint64_t others, uint64_t wanted);

/* An array of the host's, from sah_alloc(), becomes the device's, for sah_device_free(). On failure it is the
 * host's. */
sah_status sah_device_move(const sah_device *device, float **array, size_t count, sah_error *error);

/* ---- Weights ------------------------------------------------------------------------------------------- */

/* Packs [outputs, inputs] values that `read` gives. Needs the float32 matrix once, beside the packed one, while
 * it runs. */
sah_status sah_weights_new(const sah_device *device, int64_t outputs, int64_t inputs, sah_packing packing,
                           sah_rows_fn read, const void *source, sah_weights **out, sah_error *error);
/* The same in n pieces of columns, piece i being [outputs, ends[i] - ends[i - 1]]: the product with all
 * inputs is the sum of theirs. All ends but the last are multiples of 32. On failure no piece is left in
 * out [n]. */
sah_status sah_weights_split(const sah_device *device, int64_t outputs, const int64_t *ends, int n,
                             sah_packing packing, sah_rows_fn read, const void *source, sah_weights **out,
                             sah_error *error);
void sah_weights_free(sah_weights *weights);

/* Those to multiply differences with. */
const sah_weights *sah_weights_difference(const sah_weights *weights);

/* For who packs: all of a matrix to values [outputs, stride], its rows shared among the threads; what a row lacks is
 * 0. */
void sah_read_rows(int64_t outputs, int64_t inputs, sah_rows_fn read, const void *source, float *values,
                   int64_t stride);

/* ---- Workspaces ---------------------------------------------------------------------------------------- */

/* `threads`, or 1 inside a parallel region where no other may have more: when a callback, or a host's own
 * loop, calls the library. */
int sah_threads_here(int threads);

sah_status sah_workspace_new(const sah_device *device, int threads, sah_workspace **out, sah_error *error);
void sah_workspace_free(sah_workspace *workspace);

/* From now on a row's products do not depend on how many rows go with it, to the last bit. float32 is so
 * anyway; bfloat16 on a processor with AMX is made so at some cost, by products of one number of rows. */
void sah_workspace_fix_rows(sah_workspace *workspace);

/* `n` floats of a scratch slot, in the device's memory unless the slot says otherwise, on a 64-byte boundary. NULL: no
 * memory. */
float *sah_workspace_scratch(sah_workspace *workspace, sah_slot slot, size_t n);

/* What follows counts to `stage`, until the next call; returns the stage so far, to go back to. A product
 * counts to SAH_STAGE_PRODUCT by itself, except inside SAH_STAGE_LM_HEAD. Costs one reading of the clock: for
 * blocks of rows, not for rows. */
sah_stage sah_workspace_enter(sah_workspace *workspace, sah_stage stage);
/* Adds all since the workspace was made to `books`. */
void sah_workspace_count(sah_workspace *workspace, sah_books *books);

/* ---- Products ------------------------------------------------------------------------------------------ */

/* y [rows, outputs] = x [rows, inputs] Wᵀ, or += with `add`. Rows lie without gaps. */
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

#endif
