/* SPDX-License-Identifier: Apache-2.0 */
/* SentencePiece's precompiled map of characters: prefixes of a text and what to put in their places, as a double array
 * trie (Aoe 1989, in the layout of darts-clone) and a block of texts that end in NUL. */
#ifndef SAH_MODEL_TOKENIZER_CHARSMAP_H
#define SAH_MODEL_TOKENIZER_CHARSMAP_H

#include "sahara.h"
#include "util/strings.h"

typedef struct sah_charsmap sah_charsmap;

/* Copies `bytes`: the trie's size in bytes (32 bits, little-endian), the trie, the texts. */
sah_status sah_charsmap_new(const void *bytes, size_t size, sah_charsmap **out, sah_error *error);
void sah_charsmap_free(sah_charsmap *map);

/* Appends valid UTF-8 text[0..size), mapped: at each place the longest prefix, as SentencePiece does it; or,
 * `clusters`, as the tokenizers library does it: a grapheme cluster of less than six bytes that begins with a prefix
 * is replaced as a whole by what stands for the shortest one, and else its characters one by one. */
void sah_charsmap_apply(const sah_charsmap *map, bool clusters, const char *text, size_t size, sah_text *out);

#endif
