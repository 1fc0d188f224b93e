/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel with faults, which the emulation must see (tests/cuda/test_emulation.c). */
#include <cuda_runtime.h>

#include "cuda/emulator.h"

enum { MOST = 64 };

static __global__ void sum_all(planted fault, const float *in, int n, float *out)
{
    __shared__ float part[MOST];
    const int me = (int)threadIdx.x, step = (int)blockDim.x;
    const int last = fault == PLANTED_READ ? n : n - 1;
    for (int i = me; i < n; i += step)
        part[i + (fault == PLANTED_BLOCK ? MOST - n + 1 : 0)] = in[i < n - 1 ? i : last];
    if (fault != PLANTED_BARRIER) __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < n; i++) sum += part[i];
    __syncthreads();
    for (int i = me; i < n; i += step) part[i] = 0.0f;
    for (int i = me; i < n; i += step) out[i + (fault == PLANTED_WRITE && i == n - 1)] = sum;
}

void planted_sum(planted fault, const float *in, int n, float *out)
{
    LAUNCH(sum_all, 1, 0, (cudaStream_t) nullptr, fault, in, n, out);
}
