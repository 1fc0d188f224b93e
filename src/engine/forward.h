/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass over a forest under a set of edits. */
#ifndef SAH_ENGINE_FORWARD_H
#define SAH_ENGINE_FORWARD_H

#include "engine/forest.h"
#include "engine/model.h"
#include "engine/observer.h"

/* Final-norm hidden states [n_prompts, d], in the host's memory, of every prompt's last token. Memory: one residual
 * and one qkv row a node. Uses the model's number of threads. */
sah_status sah_forward(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                       size_t n_edits, float *hidden, sah_error *error);

/* The same, and every layer's keys and values of every node, behind RoPE and unedited, at kv[layer] [n_nodes, 2
 * Hkv D] in the device's memory, but for layers that borrow theirs; of a layer of the delta rule (delta.h) the
 * states [n_prompts, kept] of those prompts that are the first to end where they end. */
sah_status sah_forward_keep(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                            size_t n_edits, float *const *kv, float *hidden, sah_error *error);

/* The same of the forest's distinct ends: [n_ends, d]. */
sah_status sah_forward_ends(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                            size_t n_edits, float *ends, sah_error *error);

/* The pass for its states on the way: everything goes to the observer. */
sah_status sah_forward_observe(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                               size_t n_edits, const sah_observer *observer, sah_error *error);

/* hidden [n_prompts, d], in the host's memory, of normed ends [n_ends, d] in the device's: prompts that are equal share
 * an end. */
sah_status sah_spread_ends(const sah_device *device, const sah_forest *forest, const float *ends, int64_t d,
                           float *hidden, sah_error *error);

/* The first prompt of each end [n_ends], for free(). NULL: no memory. */
int32_t *sah_first_of_ends(const sah_forest *forest);

#endif
