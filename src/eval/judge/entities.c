/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/judge/entities.h"

#include <string.h>

#include "util/utf8.h"

enum { LONGEST_REFERENCE = 10 }; /* bytes between & and ; */

/* Those that stand in prose. Every name is at least as long as the character's UTF-8. */
static const struct named {
    const char *name;
    uint32_t code;
} named[] = {
    {"amp", '&'},      {"quot", '"'},     {"apos", '\''},     {"lt", '<'},       {"gt", '>'},
    {"nbsp", ' '},     {"lsquo", 0x2018}, {"rsquo", 0x2019},  {"sbquo", 0x201A}, {"ldquo", 0x201C},
    {"rdquo", 0x201D}, {"bdquo", 0x201E}, {"laquo", 0xAB},    {"raquo", 0xBB},   {"ndash", 0x2013},
    {"mdash", 0x2014}, {"shy", 0xAD},     {"hellip", 0x2026}, {"bull", 0x2022},
};

static uint32_t named_code(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (strlen(named[i].name) == n && memcmp(named[i].name, name, n) == 0) return named[i].code;
    return 0;
}

/* "#39", "#x27"; 0 when it is no character's number. */
static uint32_t numbered_code(const char *digits, size_t n)
{
    const bool hex = n > 1 && (digits[1] | 0x20) == 'x';
    uint32_t code = 0;
    size_t i = hex ? 2 : 1;
    if (i >= n) return 0;
    for (; i < n && code <= 0x10FFFF; i++) {
        const char c = digits[i], low = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            code = code * (hex ? 16 : 10) + (uint32_t)(c - '0');
        else if (hex && low >= 'a' && low <= 'f')
            code = code * 16 + (uint32_t)(low - 'a' + 10);
        else
            return 0;
    }
    return code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF) ? code : 0;
}

/* The character of the reference that begins at text[0..length) with &, and the bytes it takes; 0: none. */
static uint32_t reference(const char *text, size_t length, size_t *bytes)
{
    size_t within = length - 1 < LONGEST_REFERENCE + 1 ? length - 1 : LONGEST_REFERENCE + 1;
    const char *end = memchr(text + 1, ';', within);
    if (end == NULL || end == text + 1) return 0;
    size_t n = (size_t)(end - text) - 1;
    *bytes = n + 2;
    return text[1] == '#' ? numbered_code(text + 1, n) : named_code(text + 1, n);
}

static void resolve_once(char *text, size_t *length)
{
    size_t kept = 0;
    for (size_t i = 0, bytes = 0; i < *length;) {
        uint32_t code = text[i] == '&' ? reference(text + i, *length - i, &bytes) : 0;
        if (code == 0) {
            text[kept++] = text[i++];
        } else {
            kept += sah_utf8_put(code, text + kept);
            i += bytes;
        }
    }
    *length = kept;
}

void sah_resolve_entities(char *text, size_t *length)
{
    if (memchr(text, '&', *length) == NULL) return;
    resolve_once(text, length);
    resolve_once(text, length);
}
