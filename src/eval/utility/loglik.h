/* SPDX-License-Identifier: Apache-2.0 */
/* Log-likelihoods of continuations: ln p(token | all tokens before it) for chosen tokens of many sequences at
 * once. The sequences are one forest, so that choices share their context and texts their beginnings; the
 * last layer and the LM head see the positions that are asked for and no others. */
#ifndef SAH_EVAL_UTILITY_LOGLIK_H
#define SAH_EVAL_UTILITY_LOGLIK_H

#include "engine/model.h"

/* Tokens from..n-1 of a sequence are scored, each given all before it; 1 <= from < n. */
typedef struct sah_continuation {
    const int32_t *tokens;
    size_t n, from;
} sah_continuation;

typedef struct sah_loglik sah_loglik;

/* The tokens are not needed once it is made. */
sah_status sah_loglik_new(const sah_model *model, const sah_continuation *continuations, size_t n,
                          sah_loglik **out, sah_error *error);
void sah_loglik_free(sah_loglik *loglik);

/* How many tokens are scored: the sum of n - from. */
size_t sah_loglik_size(const sah_loglik *loglik);

/* scores [sah_loglik_size()] in nats under the edits, continuation by continuation. */
sah_status sah_loglik_run(const sah_loglik *loglik, const sah_edit *edits, size_t n_edits, double *scores,
                          sah_error *error);

/* Bytes that a token of a forest takes while it runs, at most. */
uint64_t sah_loglik_token_bytes(const sah_model *model);

#endif
