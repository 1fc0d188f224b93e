/* SPDX-License-Identifier: Apache-2.0 */
/* A card that the processor plays: src/engine/cuda/ compiled against tests/cuda/shim/ runs here, without a GPU and
 * under the sanitizers.
 *
 * Each thread of a block is a fiber, a stack of its own, and __syncthreads() goes on to the next. Between two of them
 * the threads run one after the other, from the first to the last or from the last to the first, so that a barrier
 * that is missing shows in one order or the other. Real threads instead are for the thread sanitizer.
 *
 * Memory of the card is the host's, one allocation each: the address sanitizer sees an index one too far. Without it
 * a hem around each allocation is looked at, and full of NaN. Everything happens when it is called; streams are
 * nothing. */
#ifndef TESTS_CUDA_EMULATOR_H
#define TESTS_CUDA_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum emulated_order { EMULATED_FORWARD, EMULATED_BACKWARD, EMULATED_THREADS } emulated_order;
void emulated_run(emulated_order order);

/* What the card is from now on; where it has been opened its products stay as they were chosen. */
void emulated_card(int n, int major, int minor, size_t memory);
/* After so many more launches every call fails, until emulated_card(). */
void emulated_lose(int launches);

int emulated_held(void); /* allocations that nobody has freed */
int emulated_launches(void); /* since the process began */

/* A kernel of tests/cuda/faults.cu, out [n] = the sum of in [n] in every place, n at most 64: as it should be, with
 * its barrier left out, reading or writing one too far in the card's memory, or in the block's. */
typedef enum planted { PLANTED_NONE, PLANTED_BARRIER, PLANTED_READ, PLANTED_WRITE, PLANTED_BLOCK } planted;
void planted_sum(planted fault, const float *in, int n, float *out);

#ifdef __cplusplus
}
#endif

#endif
