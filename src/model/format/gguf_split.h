/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF models in several files. */
#ifndef SAH_MODEL_FORMAT_GGUF_SPLIT_H
#define SAH_MODEL_FORMAT_GGUF_SPLIT_H

#include "model/format/gguf.h"

/* A model: the file, or all files of which it is a part . */
sah_status sah_gguf_open(const char *path, sah_gguf *out, sah_error *error);

#endif
