/* SPDX-License-Identifier: Apache-2.0 */
/* What a tokenizer is made of, and how its readers put it together: tokenizer_json.c, tokenizer_spm.c and
 * tokenizer_gguf.c fill one, tokenizer.c runs it. */
#ifndef SAH_MODEL_TOKENIZER_TOKENIZER_BUILD_H
#define SAH_MODEL_TOKENIZER_TOKENIZER_BUILD_H

#include "model/tokenizer/added.h"
#include "model/tokenizer/detokenize.h"
#include "model/tokenizer/merge.h"
#include "model/tokenizer/pretokenize.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/unigram.h"

/* The GPT-2 paper's word pattern, which ByteLevel means by "use_regex". */
#define SAH_GPT2_WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

#define SAH_METASPACE "\xE2\x96\x81" /* U+2581, SentencePiece's blank */

struct sah_tokenizer {
    sah_vocab vocab;
    sah_added_set raw_added; /* cut out of the text as it comes */
    sah_added_set normal_added; /* cut out of the normalised text */
    sah_steps normaliser, words;
    sah_merger merger;
    sah_unigram unigram; /* in the merger's place where it has pieces */
    sah_decoder decoder;
    sah_ids prefix, suffix; /* special tokens around a prompt */
    int32_t bos;
    sah_ids ends;
};

/* An empty one; NULL when memory is out. sah_tokenizer_free() frees it at any stage. */
sah_tokenizer *sah_tokenizer_new(void);

/* Steps for all sources. */
sah_status sah_tokenizer_add_split(sah_steps *steps, const char *regex, sah_split split, sah_error *error);
sah_status sah_tokenizer_add_prepend(sah_steps *steps, const char *text, bool unless_there, bool first_only,
                                     sah_error *error);
sah_status sah_tokenizer_add_replace(sah_steps *steps, const char *literal, const char *by, sah_error *error);
/* SentencePiece's treatment of blanks: `trim` leaves one between words and none at the ends; `escape` writes them as
 * U+2581. Only blanks count, no other white space. */
sah_status sah_tokenizer_add_blanks(sah_steps *steps, bool trim, bool escape, sah_error *error);
sah_status sah_tokenizer_add_byte_level(sah_steps *steps, bool prefix_space, bool use_regex,
                                        sah_error *error);
sah_status sah_tokenizer_add_normal_form(sah_steps *steps, const char *name,
                                         sah_error *error); /* "NFC" ... */

/* Pieces back to text: blanks for U+2581, `bytes`: tokens <0xNN> to bytes, all as one text, `prefix`: the blank that
 * was put in front off it. */
sah_status sah_tokenizer_add_piece_decoder(sah_decoder *decoder, bool bytes, bool prefix, sah_error *error);

/* Adds an end token once; -1 is passed over. */
sah_status sah_tokenizer_add_end(sah_tokenizer *tokenizer, int32_t id, sah_error *error);

/* Last of all: sorts the added tokens. */
void sah_tokenizer_finish(sah_tokenizer *tokenizer);

#endif
