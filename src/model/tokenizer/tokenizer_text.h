/* SPDX-License-Identifier: Apache-2.0 */
/* The two long members of a tokenizer.json, model.vocab and model.merges, read where they stand in its text: of half a
 * million merges a tree of JSON takes longer than all else. */
#ifndef SAH_MODEL_TOKENIZER_TOKENIZER_TEXT_H
#define SAH_MODEL_TOKENIZER_TOKENIZER_TEXT_H

#include "model/tokenizer/tokenizer.h"
#include "util/strings.h"

/* Adds them to the tokenizer, and gives the rest of the text, with an empty object and an empty array in their places:
 * valid if and only if the text is. Only the usual form is read. SAH_NOT_SUPPORTED, without a message: this is another
 * one, or not sound, which is for a parser of all of JSON to say; the tokenizer then holds a part and is to be freed.
 * free(rest->data) in any case. */
sah_status sah_tokenizer_read_text(const char *text, size_t size, sah_tokenizer *tokenizer, sah_text *rest,
                                   sah_error *error);

#endif
