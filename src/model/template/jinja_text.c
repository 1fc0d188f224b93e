/* SPDX-License-Identifier: Apache-2.0 */
#include "model/template/jinja_text.h"

#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

#include "util/utf8.h"

/* ---- Cutting and searching ----------------------------------------------------------------------------- */

sah_jtext sah_jtext_of(const char *data, size_t size)
{
    size_t length = size, i = 0;
    uint64_t eight;
    if (data == NULL)
        data = ""; /* of a buffer that nothing was added to: a text's places can be pointed at */
    /* A byte 10xxxxxx goes on with a character. */
    for (; i + sizeof eight <= size; i += sizeof eight) {
        memcpy(&eight, data + i, sizeof eight);
        length -= (size_t)__builtin_popcountll((eight >> 7) & ~(eight >> 6) & UINT64_C(0x0101010101010101));
    }
    for (; i < size; i++) length -= ((unsigned char)data[i] & 0xC0) == 0x80;
    return (sah_jtext){data, size, length};
}

sah_jtext sah_jtext_c(const char *string)
{
    return sah_jtext_of(string, strlen(string));
}

bool sah_jtext_same(sah_jtext a, sah_jtext b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool sah_jtext_is(sah_jtext text, const char *string)
{
    return sah_jtext_same(text, sah_jtext_c(string));
}

int sah_jtext_compare(sah_jtext a, sah_jtext b)
{
    /* The order of UTF-8's bytes is that of the code points. */
    size_t n = a.size < b.size ? a.size : b.size;
    int order = n > 0 ? memcmp(a.data, b.data, n) : 0;
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

size_t sah_jtext_at(sah_jtext text, size_t index)
{
    if (text.length == text.size || index == 0) return index;
    if (index == text.length) return text.size;
    size_t at = 0;
    for (; at < text.size; at++) {
        if (((unsigned char)text.data[at] & 0xC0) == 0x80) continue;
        if (index-- == 0) break;
    }
    return at;
}

sah_jtext sah_jtext_cut(sah_jtext text, size_t from, size_t to)
{
    if (text.size == text.length) return (sah_jtext){text.data + from, to - from, to - from};
    return sah_jtext_of(text.data + from, to - from);
}

size_t sah_jtext_find(sah_jtext text, sah_jtext part, size_t from)
{
    if (from > text.size || part.size > text.size - from) return SIZE_MAX;
    if (part.size == 0) return from;
    const char *found = memmem(text.data + from, text.size - from, part.data, part.size);
    return found != NULL ? (size_t)(found - text.data) : SIZE_MAX;
}

size_t sah_jtext_find_last(sah_jtext text, sah_jtext part)
{
    if (part.size > text.size) return SIZE_MAX;
    for (size_t at = text.size - part.size + 1; at-- > 0;) {
        if (part.size == 0 || memcmp(text.data + at, part.data, part.size) == 0) return at;
    }
    return SIZE_MAX;
}

/* ---- White space --------------------------------------------------------------------------------------- */

bool sah_jtext_is_space(uint32_t code)
{
    if (code < 0x80) return code == ' ' || (code >= '\t' && code <= '\r') || (code >= 0x1C && code <= 0x1F);
    return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
           code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

uint32_t sah_jtext_before(const char *data, size_t end, size_t *length)
{
    size_t at = end - 1;
    while (at > 0 && end - at < 4 && ((unsigned char)data[at] & 0xC0) == 0x80) at--;
    uint32_t code = sah_utf8_next(data + at, end - at, length);
    *length = end - at;
    return code;
}

static bool is_stripped(uint32_t code, const sah_jtext *chars)
{
    if (chars == NULL) return sah_jtext_is_space(code);
    size_t length;
    for (size_t at = 0; at < chars->size; at += length) {
        if (sah_utf8_next(chars->data + at, chars->size - at, &length) == code) return true;
    }
    return false;
}

sah_jtext sah_jtext_strip(sah_jtext text, const sah_jtext *chars, bool left, bool right)
{
    size_t from = 0, to = text.size, length;
    while (left && from < to && is_stripped(sah_utf8_next(text.data + from, to - from, &length), chars))
        from += length;
    while (right && to > from && is_stripped(sah_jtext_before(text.data + from, to - from, &length), chars))
        to -= length;
    return sah_jtext_cut(text, from, to);
}

/* ---- Properties ---------------------------------------------------------------------------------------- */

static utf8proc_category_t category(uint32_t code)
{
    return utf8proc_category((utf8proc_int32_t)code);
}

/* Unicode's Other_Uppercase: Roman numerals, circled and squared letters. */
bool sah_jtext_is_upper(uint32_t code)
{
    return category(code) == UTF8PROC_CATEGORY_LU || (code >= 0x2160 && code <= 0x216F) ||
           (code >= 0x24B6 && code <= 0x24CF) || (code >= 0x1F130 && code <= 0x1F149) ||
           (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
}

/* Of Unicode's Other_Lowercase what stands in texts: ordinal indicators, modifier letters, Roman numerals,
 * circled letters. */
bool sah_jtext_is_lower(uint32_t code)
{
    return category(code) == UTF8PROC_CATEGORY_LL || code == 0xAA || code == 0xBA ||
           (code >= 0x2B0 && code <= 0x2B8) || (code >= 0x2E0 && code <= 0x2E4) ||
           (code >= 0x1D2C && code <= 0x1D6A) || (code >= 0x2170 && code <= 0x217F) ||
           (code >= 0x24D0 && code <= 0x24E9);
}

bool sah_jtext_is_title(uint32_t code)
{
    return category(code) == UTF8PROC_CATEGORY_LT;
}

bool sah_jtext_is_alpha(uint32_t code)
{
    const utf8proc_category_t c = category(code);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_LO;
}

bool sah_jtext_is_decimal(uint32_t code)
{
    return category(code) == UTF8PROC_CATEGORY_ND;
}

/* Beside decimals: superscripts, subscripts and circled digits. */
bool sah_jtext_is_digit(uint32_t code)
{
    return sah_jtext_is_decimal(code) || code == 0xB2 || code == 0xB3 || code == 0xB9 || code == 0x2070 ||
           (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089) ||
           (code >= 0x2460 && code <= 0x2468) || (code >= 0x2474 && code <= 0x247C) ||
           (code >= 0x2488 && code <= 0x2490);
}

bool sah_jtext_is_numeric(uint32_t code)
{
    const utf8proc_category_t c = category(code);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool sah_jtext_is_printable(uint32_t code)
{
    switch (category(code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return code == ' ';
    default:
        return true;
    }
}

/* ---- Letter case --------------------------------------------------------------------------------------- */

/* Capitals of more than one letter (Unicode's SpecialCasing.txt); those with a Greek iota below are made by
 * rule where they are regular. */
static const struct {
    uint16_t code, upper[3];
} long_capitals[] = {
    {0x00DF, {0x53, 0x53}},          {0x0149, {0x2BC, 0x4E}},         {0x01F0, {0x4A, 0x30C}},
    {0x0390, {0x399, 0x308, 0x301}}, {0x03B0, {0x3A5, 0x308, 0x301}}, {0x0587, {0x535, 0x552}},
    {0x1E96, {0x48, 0x331}},         {0x1E97, {0x54, 0x308}},         {0x1E98, {0x57, 0x30A}},
    {0x1E99, {0x59, 0x30A}},         {0x1E9A, {0x41, 0x2BE}},         {0x1F50, {0x3A5, 0x313}},
    {0x1F52, {0x3A5, 0x313, 0x300}}, {0x1F54, {0x3A5, 0x313, 0x301}}, {0x1F56, {0x3A5, 0x313, 0x342}},
    {0x1FB2, {0x1FBA, 0x399}},       {0x1FB3, {0x391, 0x399}},        {0x1FB4, {0x386, 0x399}},
    {0x1FB6, {0x391, 0x342}},        {0x1FB7, {0x391, 0x342, 0x399}}, {0x1FBC, {0x391, 0x399}},
    {0x1FC2, {0x1FCA, 0x399}},       {0x1FC3, {0x397, 0x399}},        {0x1FC4, {0x389, 0x399}},
    {0x1FC6, {0x397, 0x342}},        {0x1FC7, {0x397, 0x342, 0x399}}, {0x1FCC, {0x397, 0x399}},
    {0x1FD2, {0x399, 0x308, 0x300}}, {0x1FD3, {0x399, 0x308, 0x301}}, {0x1FD6, {0x399, 0x342}},
    {0x1FD7, {0x399, 0x308, 0x342}}, {0x1FE2, {0x3A5, 0x308, 0x300}}, {0x1FE3, {0x3A5, 0x308, 0x301}},
    {0x1FE4, {0x3A1, 0x313}},        {0x1FE6, {0x3A5, 0x342}},        {0x1FE7, {0x3A5, 0x308, 0x342}},
    {0x1FF2, {0x1FFA, 0x399}},       {0x1FF3, {0x3A9, 0x399}},        {0x1FF4, {0x38F, 0x399}},
    {0x1FF6, {0x3A9, 0x342}},        {0x1FF7, {0x3A9, 0x342, 0x399}}, {0x1FFC, {0x3A9, 0x399}},
    {0xFB00, {0x46, 0x46}},          {0xFB01, {0x46, 0x49}},          {0xFB02, {0x46, 0x4C}},
    {0xFB03, {0x46, 0x46, 0x49}},    {0xFB04, {0x46, 0x46, 0x4C}},    {0xFB05, {0x53, 0x54}},
    {0xFB06, {0x53, 0x54}},          {0xFB13, {0x544, 0x546}},        {0xFB14, {0x544, 0x535}},
    {0xFB15, {0x544, 0x53B}},        {0xFB16, {0x54E, 0x546}},        {0xFB17, {0x544, 0x53D}},
};

size_t sah_jtext_upper(uint32_t code, uint32_t out[3])
{
    out[0] = code;
    if (code < 0x80) {
        if (code >= 'a' && code <= 'z') out[0] = code - 'a' + 'A';
        return 1;
    }
    if (code >= 0x1F80 && code <= 0x1FAF) {
        const uint32_t row = (code - 0x1F80) / 16;
        out[0] = (row == 0 ? 0x1F08 : row == 1 ? 0x1F28 : 0x1F68) + (code & 7);
        out[1] = 0x399;
        return 2;
    }
    for (size_t i = 0; i < sizeof long_capitals / sizeof *long_capitals; i++) {
        if (long_capitals[i].code != code) continue;
        size_t n = 0;
        for (; n < 3 && long_capitals[i].upper[n] != 0; n++) out[n] = long_capitals[i].upper[n];
        return n;
    }
    out[0] = (uint32_t)utf8proc_toupper((utf8proc_int32_t)code);
    return 1;
}

size_t sah_jtext_title(uint32_t code, uint32_t out[3])
{
    /* The first letter of a ligature alone is a capital. */
    if (code == 0xDF || (code >= 0xFB00 && code <= 0xFB17) || code == 0x587) {
        size_t n = sah_jtext_upper(code, out);
        for (size_t i = 1; i < n; i++) out[i] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)out[i]);
        return n;
    }
    out[0] = code < 0x80 ? code : (uint32_t)utf8proc_totitle((utf8proc_int32_t)code);
    return code < 0x80 ? sah_jtext_upper(code, out) : 1;
}

static bool is_cased(uint32_t code)
{
    return sah_jtext_is_upper(code) || sah_jtext_is_lower(code) || sah_jtext_is_title(code);
}

/* Letters' companions, over which the search for a sigma's neighbours goes. */
static bool is_case_ignorable(uint32_t code)
{
    const utf8proc_category_t c = category(code);
    return code == '\'' || code == '.' || code == ':' || code == 0xB7 || code == 0x2019 ||
           c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_SK;
}

static bool ends_word(sah_jtext text, size_t at)
{
    size_t length, from = at;
    uint32_t code = 0;
    bool before = false;
    while (from > 0 && !before) {
        code = sah_jtext_before(text.data, from, &length);
        from -= length;
        if (!is_case_ignorable(code)) {
            if (!is_cased(code)) return false;
            before = true;
        }
    }
    if (!before) return false;
    sah_utf8_next(text.data + at, text.size - at, &length);
    for (size_t next = at + length; next < text.size; next += length) {
        code = sah_utf8_next(text.data + next, text.size - next, &length);
        if (!is_case_ignorable(code)) return !is_cased(code);
    }
    return true;
}

size_t sah_jtext_lower(sah_jtext text, size_t at, uint32_t code, uint32_t out[3])
{
    out[0] = code;
    if (code < 0x80) {
        if (code >= 'A' && code <= 'Z') out[0] = code - 'A' + 'a';
        return 1;
    }
    if (code == 0x130) {
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] =
        code == 0x3A3 && ends_word(text, at) ? 0x3C2 : (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
    return 1;
}
