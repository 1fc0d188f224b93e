/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cuda/product.h"

#include <stdlib.h>
#include <string.h>

#include "engine/cuda/card.h"
#include "engine/cuda/cuda.h"
#include "engine/cuda/kernels.h"
#include "model/format/half.h"
#include "util/alloc.h"
#include "util/error.h"

enum {
    ROW_BLOCK = 16, /* numbers of rows are rounded up to whole ones */
    INPUT_BLOCK = 32, /* and inputs: whole vectors of the tensor cores */
    TYPICAL_ROWS = 2048, /* an algorithm is chosen for */
    X_PIECES = 3, /* hold the 24 bits of a float32 */
    DIFFERENCE_PIECES = 2, /* of a difference, and of weights that meet one */
    ALIGNED = 16 /* bytes that pointers of products are multiples of */
};

typedef struct cuda_weights {
    sah_weights shared; /* first: sah_weights points here */
    int64_t padded; /* inputs as they lie */
    sah_cuda_type type; /* of what lies in memory */
    cudaDataType_t operand; /* what is multiplied */
    int pieces; /* of the weights, where operands are bfloat16 */
    int x_pieces;
    int64_t chunk; /* outputs that are multiplied at a time */
    cublasLtMatmulAlgo_t algorithms[2]; /* for a chunk, and for the last one where that is smaller */
    void *values;
} cuda_weights;

static const cuda_weights *own(const sah_weights *weights)
{
    return (const cuda_weights *)weights;
}

static int64_t round_up(int64_t n, int64_t block)
{
    return (n + block - 1) / block * block;
}

static size_t type_bytes(sah_cuda_type type)
{
    return type == SAH_CUDA_F32 ? 4 : 2;
}

/* Whether weights are multiplied as they lie. */
static bool is_ready(const cuda_weights *w)
{
    return w->type == (w->operand == CUDA_R_16BF ? SAH_CUDA_BF16 : SAH_CUDA_F32);
}

static size_t operand_bytes(const cuda_weights *w)
{
    return w->operand == CUDA_R_16BF ? 2 : 4;
}

/* ---- One product of cuBLASLt ------------------------------------------------------------------------------
 * It counts by columns: y [rows, n] is its D [n, rows], W [n, inputs] its A transposed, x [rows, inputs] its B. */

typedef struct plan {
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t w, x, y;
} plan;

static void plan_free(plan *p)
{
    if (p->product != NULL) cublasLtMatmulDescDestroy(p->product);
    if (p->w != NULL) cublasLtMatrixLayoutDestroy(p->w);
    if (p->x != NULL) cublasLtMatrixLayoutDestroy(p->x);
    if (p->y != NULL) cublasLtMatrixLayoutDestroy(p->y);
}

static cublasStatus_t plan_make(const cuda_weights *w, int64_t outputs, int64_t rows, int64_t y_stride,
                                plan *p)
{
    const uint64_t n = (uint64_t)outputs, m = (uint64_t)rows, k = (uint64_t)w->padded;
    const cublasOperation_t turned = CUBLAS_OP_T;
    *p = (plan){0};
    cublasStatus_t status = cublasLtMatmulDescCreate(&p->product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (status == CUBLAS_STATUS_SUCCESS)
        status =
            cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatrixLayoutCreate(&p->w, w->operand, k, n, w->padded);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatrixLayoutCreate(&p->x, w->operand, k, m, w->padded);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatrixLayoutCreate(&p->y, CUDA_R_32F, n, m, y_stride);
    return status;
}

static cublasStatus_t prefer(cublasLtMatmulPreference_t p)
{
    static const cublasLtMatmulPreferenceAttributes_t pointers[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const uint64_t memory = 0;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE, aligned = ALIGNED;
    cublasStatus_t status = cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                                 &memory, sizeof memory);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                      &reductions, sizeof reductions);
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers && status == CUBLAS_STATUS_SUCCESS; i++)
        status = cublasLtMatmulPreferenceSetAttribute(p, pointers[i], &aligned, sizeof aligned);
    return status;
}

/* Whether an algorithm adds in one go, and takes a single block of rows as well. */
static bool is_fit(const cublasLtMatmulAlgo_t *algorithm, const plan *one_block)
{
    cublasLtMatmulHeuristicResult_t checked;
    uint32_t parts = 1, scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
    size_t written;
    return cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &parts,
                                                sizeof parts, &written) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
                                                sizeof scheme, &written) == CUBLAS_STATUS_SUCCESS &&
           parts <= 1 && scheme == CUBLASLT_REDUCTION_SCHEME_NONE &&
           cublasLtMatmulAlgoCheck(sah_card_here()->blas, one_block->product, one_block->w, one_block->x,
                                   one_block->y, one_block->y, algorithm,
                                   &checked) == CUBLAS_STATUS_SUCCESS &&
           checked.workspaceSize == 0;
}

/* The first that fits of those that cuBLAS thinks fastest. */
static sah_status choose(const cuda_weights *w, int64_t outputs, cublasLtMatmulAlgo_t *out, sah_error *error)
{
    enum { MOST = 32 };
    cublasLtMatmulHeuristicResult_t *found = sah_alloc(MOST, sizeof *found);
    cublasLtMatmulPreference_t preference = NULL;
    plan typical = {0}, one_block = {0};
    int n = 0, i = 0;
    if (found == NULL) return sah_fail_memory(error, "weights");
    cublasStatus_t status = cublasLtMatmulPreferenceCreate(&preference);
    if (status == CUBLAS_STATUS_SUCCESS) status = prefer(preference);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = plan_make(w, outputs, TYPICAL_ROWS, w->shared.outputs, &typical);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = plan_make(w, outputs, ROW_BLOCK, w->shared.outputs, &one_block);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulAlgoGetHeuristic(sah_card_here()->blas, typical.product, typical.w, typical.x,
                                                typical.y, typical.y, preference, MOST, found, &n);
    if (status == CUBLAS_STATUS_SUCCESS)
        while (i < n && !is_fit(&found[i].algo, &one_block)) i++;
    if (status == CUBLAS_STATUS_SUCCESS && i < n) *out = found[i].algo;
    plan_free(&typical);
    plan_free(&one_block);
    if (preference != NULL) cublasLtMatmulPreferenceDestroy(preference);
    free(found);
    if (status == CUBLAS_STATUS_SUCCESS && i < n) return SAH_OK;
    return sah_fail(error, SAH_FAILED,
                    "cuBLAS has no product of %lld by %lld that adds in one go (status %d, %d looked at)",
                    (long long)outputs, (long long)w->padded, (int)status, n);
}

/* ---- Packing -------------------------------------------------------------------------------------------- */

static bool is_bf16(float x)
{
    return sah_bf16_to_f32(sah_f32_to_bf16(x)) == x;
}

static bool is_f16(float x)
{
    return sah_f16_to_f32(sah_f32_to_f16(x)) == x;
}

/* The smallest type that holds all numbers as they are. */
static sah_cuda_type type_of(const float *values, int64_t n)
{
    bool bf16 = true, f16 = true;
#pragma omp parallel for reduction(&& : bf16, f16)
    for (int64_t i = 0; i < n; i++) {
        bf16 = bf16 && is_bf16(values[i]);
        f16 = f16 && is_f16(values[i]);
    }
    return bf16 ? SAH_CUDA_BF16 : f16 ? SAH_CUDA_F16 : SAH_CUDA_F32;
}

/* What is multiplied, and in how many pieces. */
static void set_operands(cuda_weights *w, sah_precision precision)
{
    const sah_card *card = sah_card_here();
    const bool rounded = precision == SAH_PRECISION_BF16;
    w->operand = (rounded ? card->bf16 : card->pieces) ? CUDA_R_16BF : CUDA_R_32F;
    w->pieces = w->type == SAH_CUDA_BF16 ? 1 : w->type == SAH_CUDA_F16 ? 2 : 3;
    w->x_pieces = rounded ? 1 : X_PIECES;
    w->chunk = w->shared.outputs;
    if (!is_ready(w)) {
        int64_t most = card->ready / w->padded / INPUT_BLOCK * INPUT_BLOCK;
        if (most < INPUT_BLOCK) most = INPUT_BLOCK;
        if (most < w->chunk) w->chunk = most;
    }
}

/* The same matrix as differences meet it, beside the first. */
static void set_difference(cuda_weights *w)
{
    cuda_weights *other = w + 1;
    if (w->operand != CUDA_R_16BF || w->x_pieces < X_PIECES) return;
    *other = *w;
    other->x_pieces = DIFFERENCE_PIECES;
    if (other->pieces > DIFFERENCE_PIECES) other->pieces = DIFFERENCE_PIECES;
    w->shared.difference = &other->shared;
}

static sah_status choose_algorithms(cuda_weights *w, sah_error *error)
{
    const int64_t last = w->shared.outputs % w->chunk;
    sah_status status = choose(w, w->chunk, &w->algorithms[0], error);
    return status == SAH_OK && last > 0 ? choose(w, last, &w->algorithms[1], error) : status;
}

/* Rows [from, from + n) of columns [column, + inputs) of values, as they lie on the card, zeros behind them. */
static void lay(const cuda_weights *w, const float *values, int64_t stride, int64_t from, int64_t n,
                void *out)
{
    const int64_t inputs = w->shared.inputs, padded = w->padded;
    memset(out, 0, (size_t)(n * padded) * type_bytes(w->type));
#pragma omp parallel for
    for (int64_t r = 0; r < n; r++) {
        const float *row = values + (from + r) * stride;
        if (w->type == SAH_CUDA_F32) memcpy((float *)out + r * padded, row, (size_t)inputs * sizeof *row);
        uint16_t *half = (uint16_t *)out + r * padded;
        for (int64_t i = 0; i < inputs && w->type == SAH_CUDA_BF16; i++) half[i] = sah_f32_to_bf16(row[i]);
        for (int64_t i = 0; i < inputs && w->type == SAH_CUDA_F16; i++) half[i] = sah_f32_to_f16(row[i]);
    }
}

static sah_status fill(cuda_weights *w, const float *values, int64_t stride, sah_error *error)
{
    const sah_card *card = sah_card_here();
    const size_t row = (size_t)w->padded * type_bytes(w->type);
    int64_t at_once = (int64_t)(((size_t)64 << 20) / row) + 1;
    if (at_once > w->shared.outputs) at_once = w->shared.outputs;
    void *staged = sah_alloc_aligned((size_t)at_once, row);
    sah_status status = staged != NULL ? SAH_OK : sah_fail_memory(error, "weights");
    for (int64_t from = 0; from < w->shared.outputs && status == SAH_OK; from += at_once) {
        int64_t n = w->shared.outputs - from < at_once ? w->shared.outputs - from : at_once;
        lay(w, values, stride, from, n, staged);
        status = sah_card_check(cudaMemcpyAsync((char *)w->values + (size_t)from * row, staged,
                                                (size_t)n * row, cudaMemcpyHostToDevice, card->packing),
                                error);
        if (status == SAH_OK) status = sah_card_check(cudaStreamSynchronize(card->packing), error);
    }
    free(staged);
    return status;
}

/* The card's scratch memory goes with the last matrix. */
static void count_matrices(int more)
{
    sah_card *card = sah_card_here();
    pthread_mutex_lock(&card->products);
    card->matrices += more;
    if (card->matrices == 0 && card->scratch != NULL) {
        sah_card_free(card->scratch);
        card->scratch = NULL;
        card->scratch_size = 0;
    }
    pthread_mutex_unlock(&card->products);
}

static sah_status make(int64_t outputs, int64_t inputs, sah_cuda_type type, sah_precision precision,
                       sah_weights **out, sah_error *error)
{
    cuda_weights *w = sah_alloc(2, sizeof *w);
    if (w == NULL) return sah_fail_memory(error, "weights");
    w->shared = (sah_weights){.device = sah_cuda(), .outputs = outputs, .inputs = inputs};
    w->padded = round_up(inputs, INPUT_BLOCK);
    w->type = type;
    w->shared.bytes = (size_t)(outputs * w->padded) * type_bytes(type);
    *out = &w->shared; /* the caller frees it, whatever comes */
    set_operands(w, precision);
    count_matrices(1);
    sah_status status = choose_algorithms(w, error);
    if (status != SAH_OK) return status;
    w->values = sah_card_alloc(w->shared.bytes);
    set_difference(w);
    return w->values != NULL ? SAH_OK : sah_card_fail_memory(error, "the weights", w->shared.bytes);
}

sah_status sah_cuda_pack(int64_t outputs, const int64_t *ends, int n, sah_packing packing, sah_rows_fn read,
                         const void *source, sah_weights **out, sah_error *error)
{
    const int64_t inputs = ends[n - 1];
    sah_status status = SAH_OK;
    size_t size;
    float *values = NULL;
    for (int i = 0; i < n; i++) out[i] = NULL;
    if (sah_mul((size_t)outputs, (size_t)inputs, &size)) values = sah_alloc_aligned(size, sizeof *values);
    if (values == NULL) return sah_fail_memory(error, "weights");
    sah_read_rows(outputs, inputs, read, source, values, inputs);
    const sah_cuda_type type =
        packing.precision == SAH_PRECISION_BF16 ? SAH_CUDA_BF16 : type_of(values, outputs * inputs);
    for (int i = 0; i < n && status == SAH_OK; i++) {
        const int64_t from = i > 0 ? ends[i - 1] : 0;
        status = make(outputs, ends[i] - from, type, packing.precision, &out[i], error);
        if (status == SAH_OK) status = fill((cuda_weights *)out[i], values + from, inputs, error);
    }
    free(values);
    for (int i = 0; i < n && status != SAH_OK; i++) {
        sah_weights_free(out[i]);
        out[i] = NULL;
    }
    return status;
}

void sah_cuda_unpack(sah_weights *shared)
{
    cuda_weights *w = (cuda_weights *)shared;
    if (w->values != NULL) sah_card_free(w->values);
    count_matrices(-1);
    free(w);
}

uint64_t sah_cuda_packed(int64_t outputs, int64_t inputs, sah_packing packing, sah_dtype type)
{
    const bool two = packing.precision == SAH_PRECISION_BF16 || type == SAH_BF16 || type == SAH_F16;
    return (uint64_t)outputs * (uint64_t)round_up(inputs, INPUT_BLOCK) * (two ? 2 : 4);
}

/* ---- Products ------------------------------------------------------------------------------------------- */

const void *sah_cuda_input(sah_workspace *workspace, sah_slot slot, const sah_weights *weights, int64_t rows,
                           const float *x)
{
    const cuda_weights *w = own(weights);
    const int64_t inputs = w->shared.inputs, padded_rows = round_up(rows, ROW_BLOCK);
    const size_t numbers = (size_t)(padded_rows * w->padded);
    const bool whole = padded_rows == rows && w->padded == inputs && (uintptr_t)x % ALIGNED == 0;
    if (w->operand == CUDA_R_32F && whole && w->x_pieces > 1) return x;
    float *out = sah_workspace_scratch(workspace, slot, numbers * (w->operand == CUDA_R_32F ? 1 : 2));
    if (out == NULL) return NULL;
    cudaStream_t stream = sah_card_here()->stream;
    if (w->operand == CUDA_R_16BF)
        sah_cuda_split(stream, x, SAH_CUDA_F32, rows, inputs, padded_rows, w->padded, w->x_pieces,
                       (uint16_t *)(void *)out);
    else /* rounded: of numbers that bfloat16 has, where the card multiplies no others than float32 */
        sah_cuda_widen(stream, x, SAH_CUDA_F32, rows, inputs, padded_rows, w->padded, w->x_pieces == 1, out);
    return out;
}

/* Outputs [from, from + n) of the weights, ready to be multiplied, on the card's scratch memory unless they lie so. */
static const void *ready(const cuda_weights *w, int64_t from, int64_t n)
{
    sah_card *card = sah_card_here();
    const char *values = (const char *)w->values + (size_t)(from * w->padded) * type_bytes(w->type);
    if (is_ready(w)) return values;
    const size_t bytes =
        (size_t)(n * w->padded) * operand_bytes(w) * (size_t)(w->operand == CUDA_R_16BF ? w->pieces : 1);
    if (card->scratch_size < bytes) {
        if (card->scratch != NULL) sah_card_free(card->scratch);
        card->scratch = sah_card_alloc(bytes);
        card->scratch_size = card->scratch != NULL ? bytes : 0;
        if (card->scratch == NULL) return NULL;
    }
    if (w->operand == CUDA_R_16BF)
        sah_cuda_split(card->stream, values, w->type, n, w->padded, n, w->padded, w->pieces, card->scratch);
    else
        sah_cuda_widen(card->stream, values, w->type, n, w->padded, n, w->padded, false, card->scratch);
    return card->scratch;
}

/* y [rows, n], rows `stride` apart, = or += the product of rows, whole blocks of them, with n outputs; piece by
 * piece, the smallest first. `plane` numbers lie between two pieces of x. */
static cublasStatus_t multiply(const cuda_weights *w, const void *values, int64_t n, int64_t rows,
                               const void *x, int64_t plane, float *y, int64_t stride, bool add)
{
    const sah_card *card = sah_card_here();
    const bool pieces = w->operand == CUDA_R_16BF;
    const int w_pieces = pieces ? w->pieces : 1, x_pieces = pieces ? w->x_pieces : 1;
    const int smallest = x_pieces - 1; /* 2^-8 of the one before */
    const cublasLtMatmulAlgo_t *algorithm = &w->algorithms[n < w->chunk];
    const float one = 1.0f;
    float keep = add ? 1.0f : 0.0f;
    plan p;
    cublasStatus_t status = plan_make(w, n, rows, stride, &p);
    for (int size = smallest; size >= 0; size--)
        for (int i = size < w_pieces ? size : w_pieces - 1; i >= 0 && status == CUBLAS_STATUS_SUCCESS; i--) {
            const char *a = (const char *)values + (size_t)(i * n * w->padded) * operand_bytes(w);
            const char *b = (const char *)x + (size_t)((size - i) * plane) * operand_bytes(w);
            status = cublasLtMatmul(card->blas, p.product, &one, a, p.w, b, p.x, &keep, y, p.y, y, p.y,
                                    algorithm, NULL, 0, card->stream);
            keep = 1.0f;
        }
    plan_free(&p);
    return status;
}

/* All outputs. */
static sah_status multiply_all(const cuda_weights *w, int64_t rows, const void *x, int64_t plane, float *y,
                               bool add, sah_error *error)
{
    const int64_t outputs = w->shared.outputs;
    for (int64_t from = 0; from < outputs; from += w->chunk) {
        const int64_t n = outputs - from < w->chunk ? outputs - from : w->chunk;
        const void *values = ready(w, from, n);
        if (values == NULL)
            return sah_card_fail_memory(error, "a matrix product", (size_t)(n * w->padded) * 6);
        cublasStatus_t status = multiply(w, values, n, rows, x, plane, y + from, outputs, add);
        if (status != CUBLAS_STATUS_SUCCESS)
            return sah_fail(error, SAH_FAILED, "the graphics card fails: a matrix product (status %d)",
                            (int)status);
    }
    return SAH_OK;
}

sah_status sah_cuda_product(sah_workspace *workspace, const sah_weights *weights, int64_t rows,
                            const void *input, float *y, bool add, sah_error *error)
{
    sah_card *card = sah_card_here();
    const cuda_weights *w = own(weights);
    const int64_t outputs = w->shared.outputs, padded_rows = round_up(rows, ROW_BLOCK),
                  plane = padded_rows * w->padded;
    /* Whole blocks go where they belong, if that is where cuBLAS can write; the others by way of scratch memory. */
    const int64_t direct = (uintptr_t)y % ALIGNED == 0 ? rows / ROW_BLOCK * ROW_BLOCK : 0,
                  left = rows - direct;
    const char *rest = (const char *)input + (size_t)(direct * w->padded) * operand_bytes(w);
    float *block = NULL;
    sah_status status = sah_card_launched(error);
    if (status == SAH_OK && left > 0) {
        block = sah_workspace_scratch(workspace, SAH_SLOT_BLOCK, (size_t)((padded_rows - direct) * outputs));
        if (block == NULL) return sah_fail_memory(error, "a matrix product");
    }
    pthread_mutex_lock(&card->products);
    if (status == SAH_OK && direct > 0) status = multiply_all(w, direct, input, plane, y, add, error);
    if (status == SAH_OK && left > 0) {
        if (add) /* with zeros below */
            sah_cuda_widen(card->stream, y + direct * outputs, SAH_CUDA_F32, left, outputs,
                           padded_rows - direct, outputs, false, block);
        status = multiply_all(w, padded_rows - direct, rest, plane, block, add, error);
        if (status == SAH_OK)
            sah_cuda_copy(card->stream, (sah_rows){block, outputs, NULL}, left, outputs, y + direct * outputs,
                          outputs, NULL);
    }
    pthread_mutex_unlock(&card->products);
    return status == SAH_OK ? sah_card_launched(error) : status;
}
