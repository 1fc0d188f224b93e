/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/judge/scripts.h"

#include <stddef.h>

/* Unicode blocks, first to last code point. Blocks that are not listed are SAH_SCRIPT_OTHER. */
static const struct block {
    uint32_t first, last;
    sah_script script;
} blocks[] = {
    {0x0041, 0x024F, SAH_SCRIPT_LATIN},
    {0x0250, 0x02AF, SAH_SCRIPT_LATIN},
    {0x0370, 0x03FF, SAH_SCRIPT_GREEK},
    {0x0400, 0x052F, SAH_SCRIPT_CYRILLIC},
    {0x0590, 0x05FF, SAH_SCRIPT_HEBREW},
    {0x0600, 0x06FF, SAH_SCRIPT_ARABIC},
    {0x0750, 0x077F, SAH_SCRIPT_ARABIC},
    {0x08A0, 0x08FF, SAH_SCRIPT_ARABIC},
    {0x0900, 0x0DFF, SAH_SCRIPT_INDIC},
    {0x0E00, 0x0EFF, SAH_SCRIPT_SOUTH_EAST_ASIAN},
    {0x1000, 0x109F, SAH_SCRIPT_SOUTH_EAST_ASIAN},
    {0x1100, 0x11FF, SAH_SCRIPT_EAST_ASIAN},
    {0x1780, 0x17FF, SAH_SCRIPT_SOUTH_EAST_ASIAN},
    {0x1E00, 0x1EFF, SAH_SCRIPT_LATIN},
    {0x1F00, 0x1FFF, SAH_SCRIPT_GREEK},
    {0x2E80, 0x9FFF, SAH_SCRIPT_EAST_ASIAN},
    {0xAC00, 0xD7FF, SAH_SCRIPT_EAST_ASIAN},
    {0xF900, 0xFAFF, SAH_SCRIPT_EAST_ASIAN},
    {0xFB1D, 0xFB4F, SAH_SCRIPT_HEBREW},
    {0xFB50, 0xFDFF, SAH_SCRIPT_ARABIC},
    {0xFE70, 0xFEFF, SAH_SCRIPT_ARABIC},
    {0xFF21, 0xFF5A, SAH_SCRIPT_LATIN},
    {0xFF66, 0xFFDC, SAH_SCRIPT_EAST_ASIAN},
    {0x20000, 0x3FFFF, SAH_SCRIPT_EAST_ASIAN},
};

sah_script sah_script_of(uint32_t letter)
{
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        if (letter >= blocks[i].first && letter <= blocks[i].last) return blocks[i].script;
    }
    return SAH_SCRIPT_OTHER;
}

bool sah_script_unspaced(uint32_t letter)
{
    sah_script script = sah_script_of(letter);
    return script == SAH_SCRIPT_EAST_ASIAN || script == SAH_SCRIPT_SOUTH_EAST_ASIAN;
}
