/* SPDX-License-Identifier: Apache-2.0 */
/* SentencePiece's model files (tokenizer.model): a protocol buffer, message ModelProto of sentencepiece_model.proto. */
#ifndef SAH_MODEL_TOKENIZER_SENTENCEPIECE_H
#define SAH_MODEL_TOKENIZER_SENTENCEPIECE_H

#include "sahara.h"

typedef enum sah_piece_type { /* the file format's numbers */
                              SAH_PIECE_NORMAL = 1,
                              SAH_PIECE_UNKNOWN,
                              SAH_PIECE_CONTROL,
                              SAH_PIECE_USER_DEFINED,
                              SAH_PIECE_UNUSED,
                              SAH_PIECE_BYTE
} sah_piece_type;

/* Bytes of the file. */
typedef struct sah_bytes {
    const char *data;
    size_t size;
} sah_bytes;

typedef struct sah_spm_piece {
    sah_bytes text;
    float score;
    int64_t type;
} sah_spm_piece;

typedef enum sah_spm_kind { SAH_SPM_UNIGRAM = 1, SAH_SPM_BPE } sah_spm_kind; /* the file format's numbers */

typedef struct sah_spm {
    char *file;
    sah_spm_piece *pieces;
    size_t n, capacity;
    int64_t kind; /* SAH_SPM_UNIGRAM or SAH_SPM_BPE */
    bool byte_fallback;
    int64_t unknown, bos, eos; /* ids; negative: none */
    sah_bytes unknown_text, bos_text, eos_text;
    sah_bytes charsmap; /* precompiled; may be empty */
    bool dummy_prefix; /* a blank in front of every text */
    bool trim; /* one blank between words, none at the ends */
    bool escape; /* blanks are written as U+2581 */
} sah_spm;

/* Reads the file at `path`; sah_spm_free() also after a failure. What is no such file, or a model of words or of single
 * characters, is refused by name. */
sah_status sah_spm_read(const char *path, sah_spm *out, sah_error *error);
/* The same of bytes in memory, which must stay; `where` names them. */
sah_status sah_spm_parse(const char *data, size_t size, const char *where, sah_spm *out, sah_error *error);
void sah_spm_free(sah_spm *spm);

#endif
