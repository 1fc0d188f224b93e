/* SPDX-License-Identifier: Apache-2.0 */
/* The card, one a process, and what may go wrong with it. Everything that computes is put on one stream, in the order
 * of the host's calls, whichever of its threads calls. */
#ifndef SAH_ENGINE_CUDA_CARD_H
#define SAH_ENGINE_CUDA_CARD_H

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <pthread.h>

#include "engine/device.h"

typedef struct sah_card {
    cudaStream_t stream; /* operations */
    cudaStream_t packing; /* copies of weights, beside them */
    cublasLtHandle_t blas;
    bool bf16; /* has products of bfloat16 */
    bool pieces; /* which are so fast that float32 is made of them */
    pthread_mutex_t products; /* held while one is put on the stream; guards what follows */
    int matrices; /* packed */
    int64_t
        ready; /* weights that are made ready for a product at a time, where they are not multiplied as they lie */
    void *scratch; /* where */
    size_t scratch_size;
} sah_card;

/* The card of sah_card_open(). */
sah_card *sah_card_here(void);

/* Finds the first card that the driver shows, once; what it is goes to `description` [size]. */
sah_status sah_card_open(char *description, size_t size, sah_error *error);

/* Fails where a call did, or an operation before it. */
sah_status sah_card_check(cudaError_t result, sah_error *error);
/* The same of all operations that this thread has put on the stream; does not wait for them. */
sah_status sah_card_launched(sah_error *error);

/* Operations of the table. */
void *sah_card_alloc(size_t bytes);
void sah_card_free(void *memory);
uint64_t sah_card_room(void);
sah_status sah_card_upload(const void *from, size_t bytes, void *to, sah_error *error);
sah_status sah_card_download(const void *from, size_t bytes, void *to, sah_error *error);

/* "not enough memory on the card for WHAT: BYTES are needed, so many are free". */
sah_status sah_card_fail_memory(sah_error *error, const char *what, size_t bytes);

#endif
