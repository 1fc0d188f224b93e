/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer from GGUF metadata (tokenizer.ggml.*). A kind or pre-tokeniser that is not supported is refused by
 * name. */
#ifndef SAH_MODEL_TOKENIZER_TOKENIZER_GGUF_H
#define SAH_MODEL_TOKENIZER_TOKENIZER_GGUF_H

#include "model/format/gguf.h"
#include "model/tokenizer/tokenizer.h"

sah_status sah_tokenizer_from_gguf(const sah_gguf *gguf, sah_tokenizer **out, sah_error *error);

#endif
