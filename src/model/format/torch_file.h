/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what torch.save() writes of a dictionary of tensors: a zip container with a pickle, read as data, and
 * the tensors' storages beside it. */
#ifndef SAH_MODEL_FORMAT_TORCH_FILE_H
#define SAH_MODEL_FORMAT_TORCH_FILE_H

#include "model/format/tensors.h"

/* True when the file begins as one of PyTorch's does, of today or of before its version 1.6. */
bool sah_torch_is(const sah_mapfile *file);

/* Adds the tensors of out->files[file]. Tensors may share a storage; one whose numbers do not lie in its own order
 * is copied, one that repeats numbers is left out as unsupported. */
sah_status sah_torch_read(sah_tensors *out, size_t file, sah_error *error);

#endif
