/* SPDX-License-Identifier: Apache-2.0 */
/* Weights in PyTorch's files written anew, as safetensors. */
#ifndef SAH_EDIT_REWRITE_TORCH_H
#define SAH_EDIT_REWRITE_TORCH_H

#include "edit/rewrite_tensors.h"

sah_status sah_rewrite_torch(sah_rewrite *rewrite, sah_output *output, sah_error *error);

#endif
