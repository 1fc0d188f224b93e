/* SPDX-License-Identifier: Apache-2.0 */
/* A template's text cut into tokens, white space around tags taken away as trim_blocks, lstrip_blocks and the
 * signs - and + in tags ask. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_LEX_H
#define SAH_MODEL_TEMPLATE_JINJA_LEX_H

#include "model/template/jinja_text.h"
#include "sahara.h"
#include "util/arena.h"

typedef enum sah_jtoken_kind {
    SAH_JT_END,
    SAH_JT_DATA, /* text outside of tags */
    SAH_JT_OUTPUT_BEGIN,
    SAH_JT_OUTPUT_END,
    SAH_JT_BLOCK_BEGIN,
    SAH_JT_BLOCK_END,
    SAH_JT_NAME,
    SAH_JT_STRING, /* `text` is what stands between the quotes, still escaped */
    SAH_JT_INTEGER,
    SAH_JT_FLOAT,
    SAH_JT_OPERATOR /* one or two characters */
} sah_jtoken_kind;

typedef struct sah_jtoken {
    sah_jtoken_kind kind;
    int line;
    sah_jtext text;
} sah_jtoken;

typedef struct sah_jtokens {
    sah_jtoken *items; /* the last is SAH_JT_END */
    size_t n, capacity;
} sah_jtokens;

/* The tokens' texts and the tokens themselves live in the arena. `source` must be valid UTF-8. */
sah_status sah_jinja_lex(const char *source, size_t size, sah_arena *arena, sah_jtokens *out,
                         sah_error *error);

/* What a string literal stands for, escapes read as Python's unicode-escape codec reads them. */
sah_status sah_jinja_unescape(sah_jtext literal, int line, sah_arena *arena, sah_jtext *out,
                              sah_error *error);

/* "not enough memory" or "too large", as it is. */
sah_status sah_jinja_out_of_memory(const sah_arena *arena, sah_error *error);

#endif
