/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of cuBLASLt that src/engine/cuda/ makes, as plain loops. What is asked for without sense is refused, as
 * cuBLAS would, and so is whatever the project does not use. */
#include <cublasLt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct emulated_product {
    bool turned;
};

struct emulated_layout {
    cudaDataType type;
    uint64_t rows, columns;
    int64_t ld;
};

struct emulated_preference {
    uint64_t memory;
    uint32_t reductions;
};

size_t cublasLtGetVersion(void)
{
    return 0;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *out)
{
    *out = NULL;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t made(const void *it)
{
    return it != NULL ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    return made(*out = calloc(1, sizeof **out));
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t which,
                                              const void *value, size_t bytes)
{
    if (which != CUBLASLT_MATMUL_DESC_TRANSA || bytes != sizeof(cublasOperation_t))
        return CUBLAS_STATUS_INVALID_VALUE;
    desc->turned = *(const cublasOperation_t *)value == CUBLAS_OP_T;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    free(desc);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t ld)
{
    if (ld < (int64_t)rows || rows == 0 || columns == 0) return CUBLAS_STATUS_INVALID_VALUE;
    *out = malloc(sizeof **out);
    if (*out != NULL) **out = (struct emulated_layout){type, rows, columns, ld};
    return made(*out);
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    return made(*out = calloc(1, sizeof **out));
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t which,
                                                    const void *value, size_t bytes)
{
    if (which == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && bytes == sizeof preference->memory)
        memcpy(&preference->memory, value, bytes);
    else if (which == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK && bytes == sizeof preference->reductions)
        memcpy(&preference->reductions, value, bytes);
    else if (bytes != sizeof(uint32_t))
        return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}

/* Whether D [n, rows] = A [inputs, n] turned, times B [inputs, rows]. */
static bool agree(cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                  cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d)
{
    return desc->turned && a->rows == b->rows && a->columns == d->rows && b->columns == d->columns &&
           a->type == b->type && d->type == CUDA_R_32F && c == d;
}

/* The first is one that must not be taken: it adds in two parts. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t found[], int *n)
{
    (void)handle;
    if (!agree(desc, a, b, c, d) || most < 2) return CUBLAS_STATUS_INVALID_VALUE;
    for (*n = 0; *n < 2; ++*n)
        found[*n] = (cublasLtMatmulHeuristicResult_t){{2 - (uint64_t)*n, a->columns}, preference->memory};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t which, void *value,
                                                    size_t bytes, size_t *written)
{
    const uint32_t answer = which == CUBLASLT_ALGO_CONFIG_SPLITK_NUM ? (uint32_t)algorithm->parts
                                                                     : CUBLASLT_REDUCTION_SCHEME_NONE;
    if (bytes != sizeof answer) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(value, &answer, bytes);
    *written = bytes;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algorithm,
                                       cublasLtMatmulHeuristicResult_t *out)
{
    (void)handle;
    *out = (cublasLtMatmulHeuristicResult_t){*algorithm, 0};
    return agree(desc, a, b, c, d) && algorithm->outputs == a->columns ? CUBLAS_STATUS_SUCCESS
                                                                       : CUBLAS_STATUS_NOT_SUPPORTED;
}

/* ---- The product ---------------------------------------------------------------------------------------- */

enum { LANES = 16 };

static float wide(const void *values, cudaDataType type, int64_t i)
{
    float x;
    if (type == CUDA_R_32F) return ((const float *)values)[i];
    const uint32_t bits = (uint32_t)((const uint16_t *)values)[i] << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Columns of one operand as float32, one behind the other, zeros up to whole LANES. NULL: no memory. */
static float *widened(const void *values, const struct emulated_layout *l, int64_t padded)
{
    float *out = calloc((size_t)padded * l->columns, sizeof *out);
    for (int64_t j = 0; out != NULL && j < (int64_t)l->columns; j++)
        for (int64_t i = 0; i < (int64_t)l->rows; i++)
            out[j * padded + i] = wide(values, l->type, j * l->ld + i);
    return out;
}

static float dot(const float *x, const float *y, int64_t n)
{
    float lane[LANES] = {0.0f}, sum = 0.0f;
    for (int64_t i = 0; i < n; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] += x[i + j] * y[i + j];
    for (int j = 0; j < LANES; j++) sum += lane[j];
    return sum;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a_values, cublasLtMatrixLayout_t a, const void *b_values,
                              cublasLtMatrixLayout_t b, const void *beta, const void *c_values,
                              cublasLtMatrixLayout_t c, void *d_values, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t bytes,
                              cudaStream_t stream)
{
    const int64_t n = (int64_t)d->rows, padded = ((int64_t)a->rows + LANES - 1) / LANES * LANES;
    const float factor = *(const float *)alpha, keep = *(const float *)beta;
    cublasLtMatmulHeuristicResult_t checked;
    const uintptr_t places = (uintptr_t)a_values | (uintptr_t)b_values | (uintptr_t)d_values;
    (void)workspace, (void)stream;
    if (cublasLtMatmulAlgoCheck(handle, desc, a, b, c, d, algorithm, &checked) != CUBLAS_STATUS_SUCCESS ||
        algorithm->parts != 1 || bytes != 0 || places % 16 != 0 || c_values != d_values)
        return CUBLAS_STATUS_INVALID_VALUE;
    float *w = widened(a_values, a, padded), *x = widened(b_values, b, padded);
    for (int64_t row = 0; w != NULL && x != NULL && row < (int64_t)d->columns; row++)
        for (int64_t i = 0; i < n; i++) {
            float *y = (float *)d_values + row * d->ld + i;
            const float product = factor * dot(w + i * padded, x + row * padded, padded);
            *y = keep > 0.0f || keep < 0.0f ? product + keep * *y : product;
        }
    cublasStatus_t status = w != NULL && x != NULL ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
    free(w);
    free(x);
    return status;
}
