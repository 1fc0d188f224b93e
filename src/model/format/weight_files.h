/* SPDX-License-Identifier: Apache-2.0 */
/* The weight files of a Hugging Face directory: safetensors or PyTorch's, one file or several that an index
 * names. */
#ifndef SAH_MODEL_FORMAT_WEIGHT_FILES_H
#define SAH_MODEL_FORMAT_WEIGHT_FILES_H

#include "model/format/tensors.h"

/* Of what a directory has the first is opened: model.safetensors, the files that model.safetensors.index.json
 * names, pytorch_model.bin, the files that pytorch_model.bin.index.json names. (Names only: no path may lead out
 * of the directory.) */
sah_status sah_weights_open_model(const char *directory, sah_tensors *out, sah_error *error);
/* adapter_model.safetensors, else adapter_model.bin. */
sah_status sah_weights_open_adapter(const char *directory, sah_tensors *out, sah_error *error);
/* One file, whose first bytes say what it is. */
sah_status sah_weights_open_file(const char *path, sah_tensors *out, sah_error *error);

#endif
