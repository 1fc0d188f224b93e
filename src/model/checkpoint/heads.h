/* SPDX-License-Identifier: Apache-2.0 */
/* Which heads and parts a model has. */
#ifndef SAH_MODEL_CHECKPOINT_HEADS_H
#define SAH_MODEL_CHECKPOINT_HEADS_H

#include "model/family/shape.h"
#include "sahara.h"

/* Whether states of other prompts take the place of a head's own. */
bool sah_op_takes_donors(sah_op op);

/* Checks edits against the model: layer, head, part, a finite factor. */
sah_status sah_edits_check(const sah_config *config, const sah_edit *edits, size_t n, sah_error *error);

/* The ablation as it is meant: all 0, and NULL, are the default. */
sah_ablation sah_ablation_resolve(const sah_ablation *ablation);

#endif
