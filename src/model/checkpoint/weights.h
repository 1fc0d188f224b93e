/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the weights of a checkpoint among its tensors. */
#ifndef SAH_MODEL_CHECKPOINT_WEIGHTS_H
#define SAH_MODEL_CHECKPOINT_WEIGHTS_H

#include "model/checkpoint/checkpoint.h"

/* Finds every tensor the configuration asks for, with the right shape, and refuses tensors that it does not
 * know. Fills layers, embedding, lm_head, final_norm, rope_factors, config.tied, and of info n_parameters and
 * types. */
sah_status sah_checkpoint_find_weights(sah_checkpoint *checkpoint, sah_error *error);

/* What stands before the names of a text part in a larger model; ends in NULL. */
extern const char *const sah_part_prefixes[];

#endif
