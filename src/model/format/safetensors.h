/* Reading safetensors: 8 bytes header length, JSON header, data. One file, or several named by an index. */
#ifndef SAH_MODEL_FORMAT_SAFETENSORS_H
#define SAH_MODEL_FORMAT_SAFETENSORS_H

#include "model/format/tensors.h"

/* Opens DIR/model.safetensors, or the shards that DIR/model.safetensors.index.json names (names only: no path
 * may lead out of the directory), or DIR/NAME when `name` is given. Offsets are checked: inside the file, the
 * size of the shape, no two tensors overlapping. */
sah_status sah_safetensors_open(const char *directory, const char *name, sah_tensors *out, sah_error *error);

#endif
