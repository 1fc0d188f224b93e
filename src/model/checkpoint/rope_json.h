/* SPDX-License-Identifier: Apache-2.0 */
/* Rotary settings of config.json. */
#ifndef SAH_MODEL_CHECKPOINT_ROPE_JSON_H
#define SAH_MODEL_CHECKPOINT_ROPE_JSON_H

#include "model/family/family.h"

/* Fills c->ropes and c->n_ropes; `c` has its sizes. Where both are there "rope_scaling" counts and not
 * "rope_parameters", as in transformers 5. With settings by kind of layer the first is that of layers that see all
 * positions, the second that of layers with a window. */
sah_status sah_rope_from_json(const json_t *json, const char *where, const sah_family *family, sah_config *c,
                              sah_error *error);

#endif
