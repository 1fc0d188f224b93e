/* SPDX-License-Identifier: Apache-2.0 */
/* What a tokenizer is made of; filled by tokenizer_json.c, tokenizer_spm.c and tokenizer_gguf.c, used by
 * tokenizer.c. */
#ifndef SAH_MODEL_TOKENIZER_TOKENIZER_PARTS_H
#define SAH_MODEL_TOKENIZER_TOKENIZER_PARTS_H

#include "model/tokenizer/detokenize.h"
#include "model/tokenizer/merge.h"
#include "model/tokenizer/pretokenize.h"
#include "model/tokenizer/sentencepiece.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/unigram.h"
#include "util/json.h"

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
/* What a token is by its name, whatever type a file gives it (ends.c). */
typedef enum sah_known {
    SAH_KNOWN_NOT,
    SAH_KNOWN_END, /* ends an answer */
    SAH_KNOWN_CONTROL, /* a control token that ends nothing */
    SAH_KNOWN_SHOWN, /* found in texts, and part of them */
    SAH_KNOWN_BETWEEN, /* the same, and ends nothing even if the file says so */
    SAH_KNOWN_TEXT /* a token like any other, which ends nothing either */
} sah_known;
/* `given`: a bit for each role below that the file names a token for. The vocabulary must be there. */
sah_known sah_tokenizer_known(const sah_tokenizer *tokenizer, unsigned given, const char *text);
/* The roles of filling code in, by number: the key under which GGUF names the token, and whether it ends an answer;
 * NULL: no more. */
const char *sah_fill_role(size_t role, bool *ends);
/* Adds the tokens of the vocabulary that end an answer by their names. */
sah_status sah_tokenizer_add_known_ends(sah_tokenizer *tokenizer, unsigned given, sah_error *error);

/* Last of all: sorts the added tokens. */
void sah_tokenizer_finish(sah_tokenizer *tokenizer);

/* From a parsed tokenizer.json; `directory` holds the files beside it. */
sah_status sah_tokenizer_from_json(const json_t *json, const char *directory, const char *where,
                                   sah_tokenizer **out, sah_error *error);

/* The same of its text, which is faster where the vocabulary is large. */
sah_status sah_tokenizer_from_text(const char *text, size_t size, const char *directory, const char *where,
                                   sah_tokenizer **out, sah_error *error);

/* From a SentencePiece model; `directory` holds the files beside it (tokenizer_spm.c). */
sah_status sah_tokenizer_from_spm(const sah_spm *spm, const char *directory, const char *where,
                                  sah_tokenizer **out, sah_error *error);

/* The files beside tokenizer.json or tokenizer.model, an empty object for one that is not there. */
typedef struct sah_tokenizer_files {
    json_t *config; /* tokenizer_config.json */
    json_t *specials; /* special_tokens_map.json */
    json_t *added; /* added_tokens.json */
    json_t *generation; /* generation_config.json */
    json_t *model; /* config.json */
} sah_tokenizer_files;
sah_status sah_tokenizer_files_read(const char *directory, sah_tokenizer_files *out, sah_error *error);
void sah_tokenizer_files_free(sah_tokenizer_files *files);
/* The id of a token given as "text" or as {"content": "text"}; -1: it is not there, or no token. */
int32_t sah_tokenizer_named(const json_t *config, const char *key, const sah_tokenizer *tokenizer);
/* Which tokens begin a text and end an answer (tokenizer_files.c). */
sah_status sah_tokenizer_files_ends(const sah_tokenizer_files *files, sah_tokenizer *tokenizer,
                                    sah_error *error);

/* added_json.c: `own` is tokenizer.json's list; behind the model's vocabulary and the normaliser. */
sah_status sah_json_added_tokens(const json_t *own, const sah_tokenizer_files *files,
                                 sah_tokenizer *tokenizer, const char *where, sah_error *error);

/* Parts of tokenizer.json (tokenizer_steps.c). `json` may be null. */
sah_status sah_json_normaliser(const json_t *json, sah_steps *steps, const char *where, sah_error *error);
sah_status sah_json_words(const json_t *json, sah_steps *steps, const char *where, sah_error *error);
sah_status sah_json_decoder(const json_t *json, sah_decoder *decoder, const char *where, sah_error *error);

#endif
