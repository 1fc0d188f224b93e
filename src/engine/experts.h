/* SPDX-License-Identifier: Apache-2.0 */
/* A mixture of experts in place of a layer's MLP: a router gives each row its experts and their weights. */
#ifndef SAH_ENGINE_EXPERTS_H
#define SAH_ENGINE_EXPERTS_H

#include "engine/pass.h"

/* How many of `rows` rows go through at once: enough for every expert's products to be tall. */
int64_t sah_experts_block(const sah_pass *pass, int64_t rows);

/* out [rows, d] += what the router's experts, and the one that all rows share, make of normed rows [rows, d]. x
 * [rows, d] is those before the norm, for a router that has a norm of its own. Rows are gathered by expert; a row's sum
 * is in the order of its experts' numbers, so that it does not depend on the rows beside it. */
sah_status sah_experts_add(const sah_pass *pass, const sah_expert_layer *weights, int64_t rows,
                           const float *x, const float *normed, float *out, sah_error *error);

/* The experts [active] of a row with router logits [n], ascending, and their weights [active]. `correction`
 * [n] counts for the choice alone, or NULL. scratch [3 n]. */
void sah_experts_choose(const sah_experts *experts, const float *logits, const float *correction,
                        double *scratch, int32_t *chosen, float *weight);

#endif
