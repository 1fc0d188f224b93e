/* SPDX-License-Identifier: Apache-2.0 */
#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

enum { REPLACEMENT = 0xFFFD };

static bool is_continuation(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

/* Unicode, table 3-7: which first bytes start a sequence of which length; overlong forms, surrogates and
 * codes past U+10FFFF are not valid. Returns 0 when no valid sequence starts here. */
static size_t sequence(const char *text, size_t size, uint32_t *code)
{
    unsigned char first = (unsigned char)text[0];
    if (first < 0x80) {
        *code = first;
        return 1;
    }
    size_t length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length == 0 || length > size) return 0;
    uint32_t value = first & (0xFFU >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if (!is_continuation(text[i])) return 0;
        value = value << 6 | ((unsigned char)text[i] & 0x3FU);
    }
    if (length == 3 && (value < 0x800 || (value >= 0xD800 && value <= 0xDFFF))) return 0;
    if (length == 4 && (value < 0x10000 || value > 0x10FFFF)) return 0;
    *code = value;
    return length;
}

uint32_t sah_utf8_next(const char *text, size_t size, size_t *length)
{
    uint32_t code = REPLACEMENT;
    *length = sequence(text, size, &code);
    if (*length == 0) *length = 1;
    return code;
}

size_t sah_utf8_put(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

bool sah_utf8_valid(const char *text, size_t size)
{
    uint32_t code;
    for (size_t i = 0; i < size;) {
        size_t length = sequence(text + i, size - i, &code);
        if (length == 0) return false;
        i += length;
    }
    return true;
}

char *sah_utf8_repair(const char *text, size_t size, size_t *out_size)
{
    /* An invalid byte grows to the three bytes of U+FFFD. */
    size_t bytes;
    if (!sah_mul(size, 3, &bytes) || !sah_add(bytes, 1, &bytes)) return NULL;
    char *out = sah_alloc(bytes, 1);
    if (out == NULL) return NULL;
    size_t n = 0;
    for (size_t i = 0; i < size;) {
        size_t length;
        uint32_t code = sah_utf8_next(text + i, size - i, &length);
        n += sah_utf8_put(code, out + n);
        i += length;
    }
    out[n] = '\0';
    if (out_size != NULL) *out_size = n;
    return out;
}
