/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of a checkpoint, from config.json or GGUF metadata. */
#ifndef SAH_MODEL_CHECKPOINT_CONFIG_H
#define SAH_MODEL_CHECKPOINT_CONFIG_H

#include "model/family/family.h"

/* From a parsed config.json: both forms of rope settings, `rope_theta` + `rope_scaling` and
 * `rope_parameters`. An architecture, activation or rope type that is not supported is refused by name. Sizes
 * are bounded, divisible where they must be. *out is for sah_config_free(), also when it fails; *family says how
 * the weights are named. */
sah_status sah_config_from_json(const json_t *json, const char *where, sah_config *out,
                                const sah_family **family, sah_error *error);

/* For the two readers above: what the family says of every model of its, and what must hold between the sizes. */
void sah_config_of_family(const sah_family *family, sah_config *config);
sah_status sah_config_check(const sah_config *config, const char *where, sah_error *error);
/* By the name that transformers has for it; false: none that is supported. */
bool sah_activation_named(const char *name, sah_activation *out);

#endif
