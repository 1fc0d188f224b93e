/* SPDX-License-Identifier: Apache-2.0 */
/* A model's own chat template: where it is kept, and what it may name. */
#ifndef SAH_MODEL_TEMPLATE_CHAT_H
#define SAH_MODEL_TEMPLATE_CHAT_H

#include "model/format/gguf.h"
#include "model/template/jinja.h"
#include "model/tokenizer/tokenizer.h"

typedef struct sah_chat {
    bool present; /* the model has a template */
    sah_jinja *jinja; /* it, when it could be read */
    char *problem; /* why it could not */
    json_t *tokens; /* {"bos_token": "<s>", "eos_token": ...}: the special tokens that templates may name */
} sah_chat;

/* Fails where files cannot be read; a template that is not supported is none that can be used, with its
 * problem. sah_chat_free() in either case. `tokenizer` may be NULL. */
sah_status sah_chat_from_directory(const char *directory, sah_chat *out, sah_error *error);
sah_status sah_chat_from_gguf(const sah_gguf *gguf, const sah_tokenizer *tokenizer, sah_chat *out,
                              sah_error *error);
/* From a template's text. */
sah_status sah_chat_set(sah_chat *chat, const char *source, size_t size, sah_error *error);
void sah_chat_free(sah_chat *chat);

#endif
