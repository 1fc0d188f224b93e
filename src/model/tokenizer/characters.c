/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/characters.h"

#include <utf8proc.h>

#include "util/unicode.h"

/* GPT-2 keeps the bytes that are printable in Latin-1 and moves the others, in order, to U+0100 and up. */
static bool is_printable_byte(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

uint32_t sah_byte_character(unsigned char byte)
{
    if (is_printable_byte(byte)) return byte;
    if (byte <= 0x20) return 0x100U + byte;
    if (byte <= 0xA0) return 0x121U + (byte - 0x7FU);
    return 0x143U; /* 0xAD */
}

int sah_character_byte(uint32_t character)
{
    if (character <= 0xFF) return is_printable_byte(character) ? (int)character : -1;
    if (character <= 0x120) return (int)(character - 0x100U);
    if (character <= 0x142) return (int)(character - 0x121U + 0x7FU);
    return character == 0x143 ? 0xAD : -1;
}

bool sah_is_white_space(uint32_t code)
{
    if (code < 0x80) return code == ' ' || (code >= '\t' && code <= '\r');
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return code == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

bool sah_is_word_character(uint32_t code)
{
    if (sah_unicode_letter(code)) return true;
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    case UTF8PROC_CATEGORY_SO: /* the letters in circles and squares are Other_Alphabetic */
        return (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
               (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
    default:
        return code == 0x200C || code == 0x200D; /* Join_Control */
    }
}
