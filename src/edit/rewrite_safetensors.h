/* SPDX-License-Identifier: Apache-2.0 */
/* A Hugging Face directory written anew; weights in PyTorch's files are left to rewrite_torch.c. */
#ifndef SAH_EDIT_REWRITE_SAFETENSORS_H
#define SAH_EDIT_REWRITE_SAFETENSORS_H

#include "edit/rewrite_tensors.h"

sah_status sah_rewrite_directory(sah_rewrite *rewrite, sah_output *output, sah_error *error);

#endif
