/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of a checkpoint from GGUF metadata. */
#ifndef SAH_MODEL_CHECKPOINT_CONFIG_GGUF_H
#define SAH_MODEL_CHECKPOINT_CONFIG_GGUF_H

#include "model/family/family.h"
#include "model/format/gguf.h"

/* As sah_config_from_json(). */
sah_status sah_config_from_gguf(const sah_gguf *gguf, sah_config *out, const sah_family **family,
                                sah_error *error);

#endif
