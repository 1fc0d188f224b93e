/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cpu/product.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/cpu.h"
#include "engine/cpu/elementwise.h"
#include "engine/cpu/tiles.h"
#include "util/alloc.h"
#include "util/error.h"

/* ---- oneDNN 2 and 3 ---------------------------------------------------------------------------------------
 * Version 3 made memory descriptors opaque handles and folded operation descriptors into primitive
 * descriptors. The rest of this file is written against version 3's shape. */

#if DNNL_VERSION_MAJOR >= 3

typedef dnnl_memory_desc_t desc_t;
typedef const_dnnl_memory_desc_t const_desc_t;

static void desc_free(desc_t *desc)
{
    if (*desc) dnnl_memory_desc_destroy(*desc);
    *desc = NULL;
}

static dnnl_status_t desc_plain(desc_t *desc, const dnnl_dims_t dims, dnnl_data_type_t type,
                                const dnnl_dims_t strides)
{
    return dnnl_memory_desc_create_with_strides(desc, 2, dims, type, strides);
}

static dnnl_status_t desc_any(desc_t *desc, const dnnl_dims_t dims, dnnl_data_type_t type)
{
    return dnnl_memory_desc_create_with_tag(desc, 2, dims, type, dnnl_format_tag_any);
}

static dnnl_status_t desc_copy(desc_t *desc, const_desc_t from)
{
    return dnnl_memory_desc_clone(desc, from);
}

static const_desc_t desc_of(const desc_t *desc)
{
    return *desc;
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}

static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const_desc_t x,
                                 const_desc_t w, const_desc_t y, const_dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(out, engine, x, w, NULL, y, attr);
}

#else

typedef dnnl_memory_desc_t desc_t;
typedef const dnnl_memory_desc_t *const_desc_t;

static void desc_free(desc_t *desc)
{
    (void)desc;
}

static dnnl_status_t desc_plain(desc_t *desc, const dnnl_dims_t dims, dnnl_data_type_t type,
                                const dnnl_dims_t strides)
{
    return dnnl_memory_desc_init_by_strides(desc, 2, dims, type, strides);
}

static dnnl_status_t desc_any(desc_t *desc, const dnnl_dims_t dims, dnnl_data_type_t type)
{
    return dnnl_memory_desc_init_by_tag(desc, 2, dims, type, dnnl_format_tag_any);
}

static dnnl_status_t desc_copy(desc_t *desc, const_desc_t from)
{
    *desc = *from;
    return dnnl_success;
}

static const_desc_t desc_of(const desc_t *desc)
{
    return desc;
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0f);
}

static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const_desc_t x,
                                 const_desc_t w, const_desc_t y, const_dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t operation;
    dnnl_status_t status = dnnl_matmul_desc_init(&operation, x, w, NULL, y);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &operation, attr, engine, NULL) : status;
}

#endif

/* ---- Weights ------------------------------------------------------------------------------------------- */

/* The layout is asked for at this many rows; primitives for other numbers of rows are held to it. */
enum { LAYOUT_ROWS = 256 };

/* Inputs of bfloat16 products are rounded up to whole vectors of the processor's tiles (with zeros): with odd
 * ends, oneDNN 2.6 made AMX products that died of an illegal instruction (37 x 63 times 63 x 65). */
enum { BF16_INPUTS = 32 };

/* Rows of every bfloat16 product where the number of rows is fixed. */
enum { FIXED_ROWS = 64 };

typedef struct cpu_weights {
    sah_weights shared; /* first: sah_weights points here */
    int64_t padded; /* inputs as packed */
    dnnl_data_type_t type;
    desc_t layout;
    void *packed;
    bool on_tiles; /* float32 on a processor with bfloat16 tiles: instead of layout and packed */
    bool gated; /* only there: sah_product_gate() */
    sah_tiles *tiles;
} cpu_weights;

static const cpu_weights *own(const sah_weights *weights)
{
    return (const cpu_weights *)weights;
}

/* One per process: a oneDNN engine is a handle on "the CPU" and is safe to share. */
static dnnl_engine_t cpu_engine(void)
{
    static dnnl_engine_t engine;
    static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&making);
    if (engine == NULL && dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) engine = NULL;
    pthread_mutex_unlock(&making);
    return engine;
}

/* Whether oneDNN takes AMX, or not, as the number of rows suggests. */
static bool has_amx(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx;
}

bool sah_product_has_tiles(void)
{
    return has_amx() && sah_tiles_usable();
}

static sah_status fail_dnnl(sah_error *error, const char *what, dnnl_status_t status)
{
    if (status == dnnl_out_of_memory) return sah_fail_memory(error, what);
    return sah_fail(error, SAH_FAILED, "%s: oneDNN refused (status %d)%s", what, (int)status,
                    status == dnnl_unimplemented ? ": not available on this processor" : "");
}

typedef struct product_key {
    int64_t outputs, inputs, rows;
    dnnl_data_type_t type;
    bool add;
} product_key;

typedef struct product_entry {
    product_key key;
    desc_t x, w, y, scratch;
    dnnl_primitive_t primitive;
    size_t scratch_bytes;
    uint64_t used;
} product_entry;

/* The primitive descriptor of a product; with `layout` NULL oneDNN chooses the weights' layout. */
static dnnl_status_t describe(const product_key *key, const desc_t *layout, desc_t *x, desc_t *y,
                              dnnl_primitive_desc_t *out)
{
    dnnl_engine_t engine = cpu_engine();
    dnnl_dims_t x_dims = {key->rows, key->inputs}, w_dims = {key->inputs, key->outputs};
    dnnl_dims_t y_dims = {key->rows, key->outputs};
    dnnl_dims_t x_strides = {key->inputs, 1}, y_strides = {key->outputs, 1};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    desc_t any;
    memset(&any, 0, sizeof any);

    if (engine == NULL) return dnnl_runtime_error;
    dnnl_status_t status = desc_plain(x, x_dims, key->type, x_strides);
    if (status == dnnl_success) status = desc_plain(y, y_dims, dnnl_f32, y_strides);
    if (status == dnnl_success && layout == NULL) status = desc_any(&any, w_dims, key->type);
    if (status == dnnl_success) status = dnnl_primitive_attr_create(&attr);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && key->add) {
        status = dnnl_post_ops_create(&ops);
        if (status == dnnl_success) status = append_sum(ops);
        if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(attr, ops);
    }
    if (status == dnnl_success)
        status =
            matmul_desc(out, engine, desc_of(x), desc_of(layout != NULL ? layout : &any), desc_of(y), attr);
    desc_free(&any);
    if (ops != NULL) dnnl_post_ops_destroy(ops);
    if (attr != NULL) dnnl_primitive_attr_destroy(attr);
    return status;
}

/* Asks oneDNN for its layout of a [outputs, inputs] matrix. */
static dnnl_status_t choose_layout(cpu_weights *weights)
{
    product_key key = {weights->shared.outputs, weights->padded, LAYOUT_ROWS, weights->type, false};
    dnnl_primitive_desc_t pd = NULL;
    desc_t x, y;
    memset(&x, 0, sizeof x);
    memset(&y, 0, sizeof y);
    dnnl_status_t status = describe(&key, NULL, &x, &y, &pd);
    if (status == dnnl_success)
        status = desc_copy(&weights->layout, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
    if (pd != NULL) dnnl_primitive_desc_destroy(pd);
    desc_free(&x);
    desc_free(&y);
    return status;
}

/* Packs a float32 matrix [outputs, inputs], whose rows lie `stride` apart, into the chosen layout and type.
 */
static dnnl_status_t pack(cpu_weights *weights, float *values, int64_t stride)
{
    dnnl_engine_t engine = cpu_engine();
    dnnl_dims_t dims = {weights->padded, weights->shared.outputs}, strides = {1, stride};
    dnnl_memory_t from = NULL, to = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_stream_t stream = NULL;
    desc_t plain;
    memset(&plain, 0, sizeof plain);

    dnnl_status_t status = desc_plain(&plain, dims, dnnl_f32, strides);
    if (status == dnnl_success) status = dnnl_memory_create(&from, desc_of(&plain), engine, values);
    if (status == dnnl_success)
        status = dnnl_memory_create(&to, desc_of(&weights->layout), engine, weights->packed);
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(&pd, desc_of(&plain), engine, desc_of(&weights->layout),
                                                    engine, NULL);
    if (status == dnnl_success) status = dnnl_primitive_create(&reorder, pd);
    if (status == dnnl_success) status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    if (status == dnnl_success) {
        dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
        status = dnnl_primitive_execute(reorder, stream, 2, arguments);
    }
    if (status == dnnl_success) status = dnnl_stream_wait(stream);
    if (stream != NULL) dnnl_stream_destroy(stream);
    if (reorder != NULL) dnnl_primitive_destroy(reorder);
    if (pd != NULL) dnnl_primitive_desc_destroy(pd);
    if (to != NULL) dnnl_memory_destroy(to);
    if (from != NULL) dnnl_memory_destroy(from);
    desc_free(&plain);
    return status;
}

static int64_t padded_inputs(int64_t inputs, dnnl_data_type_t type)
{
    return type == dnnl_bf16 ? (inputs + BF16_INPUTS - 1) / BF16_INPUTS * BF16_INPUTS : inputs;
}

/* A matrix of the chosen layout, not yet filled. */
static sah_status weights_make(int64_t outputs, int64_t inputs, sah_packing packing, sah_weights **out,
                               sah_error *error)
{
    cpu_weights *weights = sah_alloc(1, sizeof *weights);
    if (weights == NULL) return sah_fail_memory(error, "weights");
    weights->shared = (sah_weights){.device = sah_cpu(), .outputs = outputs, .inputs = inputs};
    weights->type = packing.precision == SAH_PRECISION_BF16 ? dnnl_bf16 : dnnl_f32;
    weights->padded = padded_inputs(inputs, weights->type);
    weights->on_tiles = packing.tiles && weights->type == dnnl_f32 && sah_product_has_tiles();
    weights->gated = packing.gated && weights->on_tiles && outputs % SAH_TILES_GATED == 0;
    *out = &weights->shared; /* the caller frees it, whatever comes */
    if (weights->on_tiles) return SAH_OK;

    dnnl_status_t status = choose_layout(weights);
    if (status != dnnl_success) return fail_dnnl(error, "matrix product", status);
    weights->shared.bytes = dnnl_memory_desc_get_size(desc_of(&weights->layout));
    weights->packed = sah_alloc_aligned(weights->shared.bytes, 1);
    return weights->packed != NULL ? SAH_OK : sah_fail_memory(error, "weights");
}

static sah_status weights_fill(cpu_weights *weights, float *values, int64_t stride, sah_error *error)
{
    if (weights->on_tiles) {
        sah_status status = sah_tiles_new(weights->shared.outputs, weights->shared.inputs, values, stride,
                                          weights->gated, &weights->tiles, error);
        if (status == SAH_OK) weights->shared.bytes = sah_tiles_bytes(weights->tiles);
        return status;
    }
    dnnl_status_t packed = pack(weights, values, stride);
    return packed == dnnl_success ? SAH_OK : fail_dnnl(error, "packing weights", packed);
}

sah_status sah_cpu_pack(int64_t outputs, const int64_t *ends, int n, sah_packing packing, sah_rows_fn read,
                        const void *source, sah_weights **out, sah_error *error)
{
    sah_status status = SAH_OK;
    int64_t inputs = ends[n - 1];
    int64_t stride = padded_inputs(inputs, packing.precision == SAH_PRECISION_BF16 ? dnnl_bf16 : dnnl_f32);
    size_t size;
    float *values = NULL;
    for (int i = 0; i < n; i++) out[i] = NULL;
    if (sah_mul((size_t)outputs, (size_t)stride, &size)) values = sah_alloc_aligned(size, sizeof *values);
    if (values == NULL) return sah_fail_memory(error, "weights");
    for (int i = 0; i < n && status == SAH_OK; i++)
        status = weights_make(outputs, ends[i] - (i > 0 ? ends[i - 1] : 0), packing, &out[i], error);
    if (status == SAH_OK) sah_read_rows(outputs, inputs, read, source, values, stride);
    for (int i = 0; i < n && status == SAH_OK; i++)
        status = weights_fill((cpu_weights *)out[i], values + (i > 0 ? ends[i - 1] : 0), stride, error);
    free(values);
    for (int i = 0; i < n && status != SAH_OK; i++) {
        sah_weights_free(out[i]);
        out[i] = NULL;
    }
    return status;
}

uint64_t sah_cpu_packed(int64_t outputs, int64_t inputs, sah_packing packing, sah_dtype type)
{
    (void)type; /* numbers are packed as they are multiplied */
    return (uint64_t)outputs * (uint64_t)inputs * (packing.precision == SAH_PRECISION_BF16 ? 2 : 4);
}

void sah_cpu_unpack(sah_weights *shared)
{
    cpu_weights *weights = (cpu_weights *)shared;
    desc_free(&weights->layout);
    free(weights->packed);
    sah_tiles_free(weights->tiles);
    free(weights);
}

/* ---- Workspace ----------------------------------------------------------------------------------------- */

/* Enough for every shape of a model at the few row counts of a run; the least recently used one makes room.
 */
enum { MAX_ENTRIES = 64 };

/* A workspace's own. */
typedef struct products {
    dnnl_stream_t stream;
    product_entry entries[MAX_ENTRIES];
    int n_entries;
    uint64_t clock;
    void *scratch;
    size_t scratch_size;
} products;

sah_status sah_cpu_start(sah_workspace *workspace, sah_error *error)
{
    products *p = workspace->own = sah_alloc(1, sizeof *p);
    if (p == NULL) return sah_fail_memory(error, "a workspace");
    dnnl_engine_t engine = cpu_engine();
    if (engine != NULL && dnnl_stream_create(&p->stream, engine, dnnl_stream_default_flags) == dnnl_success)
        return SAH_OK;
    p->stream = NULL;
    return sah_fail(error, SAH_FAILED, "oneDNN does not start on this machine");
}

static void entry_clear(product_entry *entry)
{
    if (entry->primitive != NULL) dnnl_primitive_destroy(entry->primitive);
    desc_free(&entry->x);
    desc_free(&entry->w);
    desc_free(&entry->y);
    desc_free(&entry->scratch);
    memset(entry, 0, sizeof *entry);
}

void sah_cpu_stop(sah_workspace *workspace)
{
    products *p = workspace->own;
    if (p == NULL) return;
    for (int i = 0; i < p->n_entries; i++) entry_clear(&p->entries[i]);
    if (p->stream != NULL) dnnl_stream_destroy(p->stream);
    free(p->scratch);
    free(p);
}

/* Makes the primitive for `key` in `entry`. The number of threads is oneDNN's at creation, so it is set
 * around it. */
static dnnl_status_t entry_make(const sah_workspace *workspace, product_entry *entry, const product_key *key,
                                const cpu_weights *weights)
{
    dnnl_primitive_desc_t pd = NULL;
    int before = omp_get_max_threads();
    omp_set_num_threads(workspace->threads);
    memset(entry, 0, sizeof *entry);
    entry->key = *key;
    dnnl_status_t status = describe(key, &weights->layout, &entry->x, &entry->y, &pd);
    if (status == dnnl_success) status = dnnl_primitive_create(&entry->primitive, pd);
    if (status == dnnl_success) status = desc_copy(&entry->w, desc_of(&weights->layout));
    if (status == dnnl_success)
        status = desc_copy(&entry->scratch, dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0));
    if (status == dnnl_success) entry->scratch_bytes = dnnl_memory_desc_get_size(desc_of(&entry->scratch));
    if (pd != NULL) dnnl_primitive_desc_destroy(pd);
    omp_set_num_threads(before);
    return status;
}

static bool same_key(const product_key *a, const product_key *b)
{
    return a->rows == b->rows && a->outputs == b->outputs && a->inputs == b->inputs && a->type == b->type &&
           a->add == b->add;
}

static dnnl_status_t entry_find(sah_workspace *workspace, const product_key *key, const cpu_weights *weights,
                                product_entry **out)
{
    products *p = workspace->own;
    product_entry *oldest = &p->entries[0];
    p->clock++;
    for (int i = 0; i < p->n_entries; i++) {
        product_entry *entry = &p->entries[i];
        if (same_key(&entry->key, key) &&
            dnnl_memory_desc_equal(desc_of(&entry->w), desc_of(&weights->layout))) {
            entry->used = p->clock;
            *out = entry;
            return dnnl_success;
        }
        if (entry->used < oldest->used) oldest = entry;
    }
    product_entry *entry = oldest;
    if (p->n_entries < MAX_ENTRIES)
        entry = &p->entries[p->n_entries++];
    else
        entry_clear(entry);
    dnnl_status_t status = entry_make(workspace, entry, key, weights);
    if (status != dnnl_success) entry_clear(entry);
    entry->used = p->clock;
    *out = entry;
    return status;
}

/* ---- The product --------------------------------------------------------------------------------------- */

static bool need_bytes(void **buffer, size_t *size, size_t need)
{
    if (*size >= need && *buffer != NULL) return true;
    free(*buffer);
    *buffer = sah_alloc_aligned(need ? need : 1, 1);
    *size = *buffer != NULL ? need : 0;
    return *buffer != NULL;
}

/* Whether the number of rows of a product would show in their bits, and must not. */
static bool in_blocks(const sah_workspace *workspace, const cpu_weights *weights)
{
    return weights->type == dnnl_bf16 && workspace->fixed_rows && has_amx();
}

/* Rows that a product is given: whole blocks of the fixed number where that matters. */
static int64_t rows_given(const sah_workspace *workspace, const cpu_weights *weights, int64_t rows)
{
    if (!in_blocks(workspace, weights)) return rows;
    return (rows + FIXED_ROWS - 1) / FIXED_ROWS * FIXED_ROWS;
}

const void *sah_cpu_input(sah_workspace *workspace, sah_slot slot, const sah_weights *shared, int64_t rows,
                          const float *x)
{
    const cpu_weights *weights = own(shared);
    int64_t inputs = shared->inputs, padded = weights->padded, given = rows_given(workspace, weights, rows);
    if (weights->on_tiles) {
        void *pieces = sah_workspace_scratch(workspace, slot, sah_tiles_input_floats(inputs, rows));
        if (pieces != NULL) sah_tiles_input(x, inputs, rows, workspace->threads, pieces);
        return pieces;
    }
    if (weights->type != dnnl_bf16) return x;
    /* two bfloat16 to the float */
    void *memory = sah_workspace_scratch(workspace, slot, (size_t)(given * padded / 2));
    uint16_t *rounded = memory;
    if (rounded == NULL) return NULL;
#pragma omp parallel for if (workspace->threads > 1 && rows > 8) num_threads(workspace->threads)
    for (int64_t r = 0; r < rows; r++) {
        sah_round_bf16(x + r * inputs, rounded + r * padded, inputs);
        memset(rounded + r * padded + inputs, 0, (size_t)(padded - inputs) * sizeof *rounded);
    }
    memset(rounded + rows * padded, 0, (size_t)((given - rows) * padded) * sizeof *rounded);
    return rounded;
}

static sah_status multiply(sah_workspace *workspace, const cpu_weights *weights, int64_t rows,
                           const void *input, float *y, bool add, sah_error *error)
{
    product_key key = {weights->shared.outputs, weights->padded, rows, weights->type, add};
    products *p = workspace->own;
    product_entry *entry;
    dnnl_status_t status = entry_find(workspace, &key, weights, &entry);
    if (status != dnnl_success) return fail_dnnl(error, "matrix product", status);
    if (!need_bytes(&p->scratch, &p->scratch_size, entry->scratch_bytes))
        return sah_fail_memory(error, "a matrix product");

    dnnl_engine_t engine = cpu_engine();
    dnnl_memory_t memory[4] = {NULL};
    /* oneDNN takes inputs through the same non-const handle as outputs; it only reads them. */
    status = dnnl_memory_create(&memory[0], desc_of(&entry->x), engine, (void *)(uintptr_t)input);
    if (status == dnnl_success)
        status = dnnl_memory_create(&memory[1], desc_of(&weights->layout), engine, weights->packed);
    if (status == dnnl_success) status = dnnl_memory_create(&memory[2], desc_of(&entry->y), engine, y);
    if (status == dnnl_success)
        status = dnnl_memory_create(&memory[3], desc_of(&entry->scratch), engine, p->scratch);
    if (status == dnnl_success) {
        dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, memory[0]},
                                       {DNNL_ARG_WEIGHTS, memory[1]},
                                       {DNNL_ARG_DST, memory[2]},
                                       {DNNL_ARG_SCRATCHPAD, memory[3]}};
        status = dnnl_primitive_execute(entry->primitive, p->stream, 4, arguments);
    }
    if (status == dnnl_success) status = dnnl_stream_wait(p->stream);
    for (int i = 0; i < 4; i++)
        if (memory[i] != NULL) dnnl_memory_destroy(memory[i]);
    return status == dnnl_success ? SAH_OK : fail_dnnl(error, "matrix product", status);
}

/* The product in blocks of FIXED_ROWS rows of input [whole blocks, padded], the last one's missing rows
 * apart.
 */
static sah_status multiply_blocks(sah_workspace *workspace, const cpu_weights *weights, int64_t rows,
                                  const uint16_t *input, float *y, bool add, sah_error *error)
{
    int64_t width = weights->shared.outputs, whole = rows - rows % FIXED_ROWS, rest = rows - whole;
    sah_status status = SAH_OK;
    for (int64_t r = 0; r < whole && status == SAH_OK; r += FIXED_ROWS)
        status =
            multiply(workspace, weights, FIXED_ROWS, input + r * weights->padded, y + r * width, add, error);
    if (rest == 0 || status != SAH_OK) return status;
    size_t bytes = (size_t)(rest * width) * sizeof *y;
    float *block = sah_workspace_scratch(workspace, SAH_SLOT_BLOCK, (size_t)(FIXED_ROWS * width));
    if (block == NULL) return sah_fail_memory(error, "a matrix product");
    memcpy(block, y + whole * width, bytes);
    memset(block + rest * width, 0, (size_t)((FIXED_ROWS - rest) * width) * sizeof *y);
    status = multiply(workspace, weights, FIXED_ROWS, input + whole * weights->padded, block, add, error);
    memcpy(y + whole * width, block, bytes);
    return status;
}

sah_status sah_cpu_product(sah_workspace *workspace, const sah_weights *shared, int64_t rows,
                           const void *input, float *y, bool add, sah_error *error)
{
    const cpu_weights *weights = own(shared);
    if (in_blocks(workspace, weights)) return multiply_blocks(workspace, weights, rows, input, y, add, error);
    if (!weights->on_tiles) return multiply(workspace, weights, rows, input, y, add, error);
    sah_tiles_multiply(weights->tiles, rows, input, y, add, workspace->threads);
    return SAH_OK;
}

bool sah_cpu_gates(const sah_weights *weights)
{
    return own(weights)->gated;
}

const void *sah_cpu_gate(sah_workspace *workspace, sah_slot slot, const sah_weights *weights, int64_t rows,
                         const void *input, const float *gate_bias, const float *up_bias)
{
    size_t size = sah_tiles_input_floats(weights->outputs / 2, rows);
    void *inner = sah_workspace_scratch(workspace, slot, size);
    if (inner != NULL)
        sah_tiles_gate(own(weights)->tiles, rows, input, gate_bias, up_bias, workspace->threads, inner);
    return inner;
}

bool sah_cpu_knows_top(const sah_weights *weights)
{
    return own(weights)->on_tiles;
}

sah_status sah_cpu_top(sah_workspace *workspace, const sah_weights *weights, int64_t rows, const float *x,
                       int32_t *top, sah_error *error)
{
    const sah_tiles *tiles = own(weights)->tiles;
    float *scratch = sah_workspace_scratch(workspace, SAH_SLOT_BLOCK, sah_tiles_top_floats(tiles, rows));
    const void *input = sah_cpu_input(workspace, SAH_SLOT_ROUNDED, weights, rows, x);
    if (scratch == NULL || input == NULL) return sah_fail_memory(error, "a matrix product");
    sah_tiles_top(tiles, rows, x, input, scratch, workspace->threads, top);
    return SAH_OK;
}

bool sah_product_has_bf16(void)
{
    product_key key = {64, 64, LAYOUT_ROWS, dnnl_bf16, false};
    dnnl_primitive_desc_t pd = NULL;
    desc_t x, y;
    memset(&x, 0, sizeof x);
    memset(&y, 0, sizeof y);
    dnnl_status_t status = describe(&key, NULL, &x, &y, &pd);
    if (pd != NULL) dnnl_primitive_desc_destroy(pd);
    desc_free(&x);
    desc_free(&y);
    return status == dnnl_success;
}
