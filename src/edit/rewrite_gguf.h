/* SPDX-License-Identifier: Apache-2.0 */
/* A GGUF model written anew. */
#ifndef SAH_EDIT_REWRITE_GGUF_H
#define SAH_EDIT_REWRITE_GGUF_H

#include "edit/rewrite_tensors.h"

sah_status sah_rewrite_gguf(sah_rewrite *rewrite, sah_output *output, sah_error *error);

#endif
