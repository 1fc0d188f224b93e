/* SPDX-License-Identifier: Apache-2.0 */
/* Reading safetensors: 8 bytes header length, JSON header, data. */
#ifndef SAH_MODEL_FORMAT_SAFETENSORS_H
#define SAH_MODEL_FORMAT_SAFETENSORS_H

#include "model/format/tensors.h"

/* Adds the tensors of out->files[file]. Offsets are checked: inside the file, the size of the shape. */
sah_status sah_safetensors_read(sah_tensors *out, size_t file, sah_error *error);

#endif
