/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.model (SentencePiece), with the files beside it. */
#ifndef SAH_MODEL_TOKENIZER_TOKENIZER_SPM_H
#define SAH_MODEL_TOKENIZER_TOKENIZER_SPM_H

#include "model/tokenizer/sentencepiece.h"
#include "model/tokenizer/tokenizer_build.h"

/* From a SentencePiece model; `directory` holds the files beside it. */
sah_status sah_tokenizer_from_spm(const sah_spm *spm, const char *directory, const char *where,
                                  sah_tokenizer **out, sah_error *error);

#endif
