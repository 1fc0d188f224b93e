/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass as the equations read: one prompt, one position after the other, plain loops, weights read
 * straight from the checkpoint. Slow on purpose: everything fast is tested against it. */
#ifndef SAH_ENGINE_PLAIN_H
#define SAH_ENGINE_PLAIN_H

#include "engine/observer.h"
#include "model/checkpoint/checkpoint.h"

/* Final-norm hidden state [d] of the last of n tokens under the edits, every sum in float64; logits [V] too
 * when not NULL. */
sah_status sah_plain_forward(const sah_checkpoint *checkpoint, const int32_t *tokens, size_t n,
                             const sah_edit *edits, size_t n_edits, double *hidden, double *logits,
                             sah_error *error);

/* The same pass for its states on the way: everything goes to the observer. */
sah_status sah_plain_observe(const sah_checkpoint *checkpoint, const int32_t *tokens, size_t n,
                             const sah_edit *edits, size_t n_edits, const sah_observer *observer,
                             sah_error *error);

#endif
