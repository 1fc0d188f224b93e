/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of templates: UTF-8 whose length is counted in code points, with the meaning that Python's str gives
 * to searching, cutting, stripping and letter case. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_TEXT_H
#define SAH_MODEL_TEMPLATE_JINJA_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sah_jtext {
    const char *data; /* valid UTF-8, not ended by NUL */
    size_t size; /* bytes */
    size_t length; /* code points */
} sah_jtext;

sah_jtext sah_jtext_of(const char *data, size_t size);
sah_jtext sah_jtext_c(const char *string);
bool sah_jtext_same(sah_jtext a, sah_jtext b);
bool sah_jtext_is(sah_jtext text, const char *string);
int sah_jtext_compare(sah_jtext a, sah_jtext b); /* by code points */

/* The byte where code point `index` begins, 0 <= index <= length. */
size_t sah_jtext_at(sah_jtext text, size_t index);
/* Bytes [from, to), which are borders of code points. */
sah_jtext sah_jtext_cut(sah_jtext text, size_t from, size_t to);
/* The first place at or behind byte `from` (the last one, `last`), in bytes; SIZE_MAX: none. */
size_t sah_jtext_find(sah_jtext text, sah_jtext part, size_t from);
size_t sah_jtext_find_last(sah_jtext text, sah_jtext part);

/* str.isspace() of one code point, which is what \s means to Python's re as well. */
bool sah_jtext_is_space(uint32_t code);
/* The code point that ends before byte `end` > 0. */
uint32_t sah_jtext_before(const char *data, size_t end, size_t *length);
/* str.strip: `chars` NULL is white space. */
sah_jtext sah_jtext_strip(sah_jtext text, const sah_jtext *chars, bool left, bool right);

/* Properties of code points as str.isupper() and the like ask for them. */
bool sah_jtext_is_upper(uint32_t code);
bool sah_jtext_is_lower(uint32_t code);
bool sah_jtext_is_title(uint32_t code);
bool sah_jtext_is_alpha(uint32_t code);
bool sah_jtext_is_decimal(uint32_t code);
bool sah_jtext_is_digit(uint32_t code);
bool sah_jtext_is_numeric(uint32_t code);
bool sah_jtext_is_printable(uint32_t code);

/* Letter case: writes up to three code points, returns how many. */
size_t sah_jtext_upper(uint32_t code, uint32_t out[3]);
size_t sah_jtext_title(uint32_t code, uint32_t out[3]);
/* `text` and `at` (bytes) decide about a sigma at the end of a word. */
size_t sah_jtext_lower(sah_jtext text, size_t at, uint32_t code, uint32_t out[3]);

#endif
