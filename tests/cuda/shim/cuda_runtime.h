/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA as far as src/engine/cuda/ uses it, on the processor (tests/cuda/emulator.h): what this header declares has the
 * names and the meaning of NVIDIA's, so that the same sources compile against either. */
#ifndef TESTS_CUDA_SHIM_CUDA_RUNTIME_H
#define TESTS_CUDA_SHIM_CUDA_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorIllegalAddress = 700,
    cudaErrorLaunchFailure = 719
} cudaError_t;

typedef enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_16BF = 14 } cudaDataType_t, cudaDataType;

enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
enum { cudaStreamNonBlocking = 1 };

typedef struct CUstream_st *cudaStream_t;

struct cudaDeviceProp {
    char name[256];
    int major, minor;
};

cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMalloc(void **out, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMemGetInfo(size_t *available, size_t *all);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaGetLastError(void);
const char *cudaGetErrorName(cudaError_t error);
const char *cudaGetErrorString(cudaError_t error);

#ifdef __cplusplus
}

#include <functional>

/* ---- Kernels -------------------------------------------------------------------------------------------- */

#define __global__
#define __device__
#define __shared__ static /* blocks run one after the other */

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

extern thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

void __syncthreads(void);

static inline float __uint_as_float(unsigned bits)
{
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

static inline unsigned __float_as_uint(float x)
{
    unsigned bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Runs a kernel's blocks; what a block shares beside its own variables is `bytes` of emulated_memory(). */
void emulated_launch(dim3 grid, unsigned block, size_t bytes, const std::function<void()> &kernel);
float *emulated_memory(void);

#define LAUNCH(kernel, grid, bytes, stream, ...)                                                             \
    do {                                                                                                     \
        (void)(stream);                                                                                      \
        emulated_launch((grid), SAH_CUDA_BLOCK, (bytes), [=] { kernel(__VA_ARGS__); });                      \
    } while (0)
#define BLOCK_MEMORY(name) float *name = emulated_memory()
#endif

#endif
