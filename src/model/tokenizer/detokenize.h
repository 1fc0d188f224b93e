/* SPDX-License-Identifier: Apache-2.0 */
/* From tokens back to text: the decoders of the tokenizers library, one step after the other over a list of
 * token texts. */
#ifndef SAH_MODEL_TOKENIZER_DETOKENIZE_H
#define SAH_MODEL_TOKENIZER_DETOKENIZE_H

#include "model/tokenizer/pattern.h"
#include "util/strings.h"

typedef enum sah_decode_kind {
    SAH_DECODE_BYTES, /* GPT-2's byte alphabet to bytes, all tokens as one text */
    SAH_DECODE_REPLACE, /* every match by `text` */
    SAH_DECODE_BYTE_FALLBACK, /* runs of <0xNN> to bytes; U+FFFD for each when they are not UTF-8 */
    SAH_DECODE_FUSE, /* all tokens to one */
    SAH_DECODE_STRIP, /* up to `begin` and `end` times `text` (one character) off the ends of each token */
    SAH_DECODE_METASPACE /* `text` (one character) to a blank; in the first token away with it, if `prefixed`
                          */
} sah_decode_kind;

typedef struct sah_decode_step {
    sah_decode_kind kind;
    sah_pattern *pattern;
    char *text;
    size_t begin, end;
    bool prefixed;
} sah_decode_step;

typedef struct sah_decoder {
    sah_decode_step *items;
    size_t n, capacity;
    bool spaced; /* no decoder at all: blanks between the tokens */
} sah_decoder;

/* Takes over what the step owns, also when it fails. */
sah_status sah_decoder_add(sah_decoder *decoder, sah_decode_step step, sah_error *error);
void sah_decoder_free(sah_decoder *decoder);

/* Texts in one buffer: item i ends at ends[i]. Start from {0}. */
typedef struct sah_text_list {
    sah_text text;
    size_t *ends;
    size_t n, capacity;
} sah_text_list;

sah_status sah_text_list_add(sah_text_list *list, const char *text, size_t size, sah_error *error);
void sah_text_list_free(sah_text_list *list);

/* The text of `tokens`, which is used up. Always valid UTF-8 where the tokens' own texts are. */
sah_status sah_decoder_run(const sah_decoder *decoder, sah_text_list *tokens, sah_text *out,
                           sah_error *error);

#endif
