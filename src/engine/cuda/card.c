/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cuda/card.h"

#include <stdio.h>

#include "util/error.h"

static sah_card card = {.products = PTHREAD_MUTEX_INITIALIZER, .ready = (int64_t)16 << 20};
static bool is_open;
static char described[160];
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

sah_card *sah_card_here(void)
{
    return &card;
}

/* ---- What may go wrong ---------------------------------------------------------------------------------- */

sah_status sah_card_check(cudaError_t result, sah_error *error)
{
    if (result == cudaSuccess) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "the graphics card fails: %s (%s)", cudaGetErrorString(result),
                    cudaGetErrorName(result));
}

sah_status sah_card_launched(sah_error *error)
{
    return sah_card_check(cudaGetLastError(), error);
}

sah_status sah_card_fail_memory(sah_error *error, const char *what, size_t bytes)
{
    size_t available = 0, all = 0;
    sah_status status = sah_card_check(cudaMemGetInfo(&available, &all), error);
    if (status != SAH_OK) return status;
    return sah_fail(error, SAH_OUT_OF_MEMORY,
                    "not enough memory on the graphics card for %s: %.1f MB more are needed, %.1f of %.1f MB "
                    "are free",
                    what, (double)bytes / 1e6, (double)available / 1e6, (double)all / 1e6);
}

/* ---- Finding it ----------------------------------------------------------------------------------------- */

/* Products of bfloat16 run from compute capability 8.0 on. Float32's are made of them where they are at least twelve
 * times as fast, which are the cards for data centres of 8.0, 9.0 and 10 (docs/devices.md): elsewhere the six products
 * of pieces that float32 weights need would win little or lose. */
static void choose(const struct cudaDeviceProp *found)
{
    const bool first = found->minor == 0;
    card.bf16 = found->major >= 8;
    card.pieces = found->major == 10 || (first && (found->major == 8 || found->major == 9));
}

enum { OLDEST = 75 }; /* tenths of a compute capability: Turing */

static sah_status find(sah_error *error)
{
    struct cudaDeviceProp found;
    int n = 0;
    cudaError_t result = cudaGetDeviceCount(&n);
    if (result == cudaErrorNoDevice || (result == cudaSuccess && n == 0))
        return sah_fail(error, SAH_NOT_SUPPORTED, "there is no graphics card that CUDA can use");
    if (result == cudaErrorInsufficientDriver)
        return sah_fail(
            error, SAH_NOT_SUPPORTED,
            "there is no NVIDIA driver, or it is older than the CUDA that the plugin was built with");
    if (result != cudaSuccess)
        return sah_fail(error, SAH_NOT_SUPPORTED, "CUDA does not start: %s (%s)", cudaGetErrorString(result),
                        cudaGetErrorName(result));
    result = cudaGetDeviceProperties(&found, 0);
    if (result == cudaSuccess && 10 * found.major + found.minor < OLDEST)
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%.80s is too old: its compute capability is %d.%d, and %d.%d is needed", found.name,
                        found.major, found.minor, OLDEST / 10, OLDEST % 10);
    if (result == cudaSuccess) result = cudaSetDevice(0);
    if (result == cudaSuccess) result = cudaStreamCreateWithFlags(&card.stream, cudaStreamNonBlocking);
    if (result == cudaSuccess) result = cudaStreamCreateWithFlags(&card.packing, cudaStreamNonBlocking);
    if (result != cudaSuccess) return sah_card_check(result, error);
    cublasStatus_t made = cublasLtCreate(&card.blas);
    if (made != CUBLAS_STATUS_SUCCESS)
        return sah_fail(error, SAH_FAILED, "cuBLAS does not start on this card (status %d)", (int)made);
    choose(&found);
    snprintf(described, sizeof described, "cuda: %.80s, cuBLAS %zu, float32 products by %s", found.name,
             cublasLtGetVersion(), card.pieces ? "bfloat16 pieces" : "float32");
    return SAH_OK;
}

sah_status sah_card_open(char *description, size_t size, sah_error *error)
{
    pthread_mutex_lock(&opening);
    sah_status status = is_open ? SAH_OK : find(error);
    is_open = status == SAH_OK;
    pthread_mutex_unlock(&opening);
    if (status == SAH_OK) snprintf(description, size, "%s", described);
    return status;
}

/* ---- Memory --------------------------------------------------------------------------------------------- */

/* What a card that fails gives out, so that nobody takes it for full: the next call that can fail says what happened,
 * and nothing is computed until then. */
static _Alignas(64) char nothing[64];

void *sah_card_alloc(size_t bytes)
{
    void *memory = NULL;
    cudaError_t result = cudaMalloc(&memory, bytes > 0 ? bytes : 1);
    if (result == cudaSuccess) return memory;
    if (result != cudaErrorMemoryAllocation) return nothing;
    cudaGetLastError(); /* that there is none left is no failure of the card */
    return NULL;
}

/* Waits for operations that may still use it. */
void sah_card_free(void *memory)
{
    if (memory != nothing) cudaFree(memory);
}

uint64_t sah_card_room(void)
{
    size_t available = 0, all = 0;
    return cudaMemGetInfo(&available, &all) == cudaSuccess ? available
                                                           : 0; /* what comes next says what it is */
}

static sah_status move(const void *from, size_t bytes, void *to, enum cudaMemcpyKind kind, sah_error *error)
{
    sah_status status = sah_card_launched(error);
    if (status == SAH_OK) status = sah_card_check(cudaMemcpyAsync(to, from, bytes, kind, card.stream), error);
    return status == SAH_OK ? sah_card_check(cudaStreamSynchronize(card.stream), error) : status;
}

sah_status sah_card_upload(const void *from, size_t bytes, void *to, sah_error *error)
{
    return move(from, bytes, to, cudaMemcpyHostToDevice, error);
}

sah_status sah_card_download(const void *from, size_t bytes, void *to, sah_error *error)
{
    return move(from, bytes, to, cudaMemcpyDeviceToHost, error);
}
