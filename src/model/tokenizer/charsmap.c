/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/charsmap.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/utf8.h"

struct sah_charsmap {
    uint32_t *units; /* the trie */
    size_t n_units;
    char *texts; /* ends in NUL, whatever the file held */
    size_t texts_size;
};

enum { LARGEST_CLUSTER = 6, LARGEST_CHARSMAP = 1 << 26 };

sah_status sah_charsmap_new(const void *bytes, size_t size, sah_charsmap **out, sah_error *error)
{
    const unsigned char *b = bytes;
    *out = NULL;
    const size_t trie = size >= 4 ? b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16 | (size_t)b[3] << 24 : 0;
    if (size < 4 || size > LARGEST_CHARSMAP || trie > size - 4 || trie == 0 || trie % 4 != 0)
        return sah_fail(error, SAH_FAILED,
                        "the map of characters is damaged: its trie does not fit its %zu bytes", size);
    sah_charsmap *map = sah_alloc(1, sizeof *map);
    if (map == NULL) return sah_fail_memory(error, "the map of characters");
    map->n_units = trie / 4;
    map->texts_size = size - 4 - trie;
    map->units = sah_alloc(map->n_units, sizeof *map->units);
    map->texts = sah_alloc(map->texts_size + 1, 1);
    if (map->units == NULL || map->texts == NULL) {
        sah_charsmap_free(map);
        return sah_fail_memory(error, "the map of characters");
    }
    for (size_t i = 0; i < map->n_units; i++) {
        const unsigned char *unit = b + 4 + 4 * i;
        map->units[i] = unit[0] | (uint32_t)unit[1] << 8 | (uint32_t)unit[2] << 16 | (uint32_t)unit[3] << 24;
    }
    memcpy(map->texts, b + 4 + trie, map->texts_size);
    if (!sah_utf8_valid(map->texts, map->texts_size)) {
        sah_charsmap_free(map);
        return sah_fail(error, SAH_FAILED, "the map of characters is damaged: its texts are not UTF-8");
    }
    *out = map;
    return SAH_OK;
}

void sah_charsmap_free(sah_charsmap *map)
{
    if (map == NULL) return;
    free(map->units);
    free(map->texts);
    free(map);
}

/* A unit holds the offset to its children, the byte that leads to it, and whether a value hangs on it. */
static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1U << 9) >> 6);
}

/* The text that stands for the longest (or the shortest) prefix of text[0..size) in the map, *length its bytes; NULL:
 * none. Places outside of the trie, or of the texts, count as the end of the search. */
static const char *find(const sah_charsmap *map, bool shortest, const char *text, size_t size, size_t *length)
{
    const char *found = NULL;
    uint32_t place = offset_of(map->units[0]);
    for (size_t i = 0; i < size && text[i] != '\0'; i++) {
        const unsigned char byte = (unsigned char)text[i];
        place ^= byte;
        if (place >= map->n_units) break;
        const uint32_t unit = map->units[place];
        if ((unit & (1U << 31 | 0xFF)) != byte) break;
        place ^= offset_of(unit);
        /* A prefix that ends inside a character would cut it. */
        if ((unit >> 8 & 1) == 0 || (i + 1 < size && ((unsigned char)text[i + 1] & 0xC0) == 0x80)) continue;
        const uint32_t at = place < map->n_units ? map->units[place] & 0x7FFFFFFF : UINT32_MAX;
        if (at > map->texts_size || ((unsigned char)map->texts[at] & 0xC0) == 0x80) break;
        found = map->texts + at;
        *length = i + 1;
        if (shortest) break;
    }
    return found;
}

/* Bytes of the grapheme cluster at text[0..size). */
static size_t cluster_size(const char *text, size_t size)
{
    size_t length, at;
    utf8proc_int32_t state = 0;
    uint32_t last = sah_utf8_next(text, size, &at);
    for (; at < size; at += length) {
        const uint32_t next = sah_utf8_next(text + at, size - at, &length);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)last, (utf8proc_int32_t)next, &state)) break;
        last = next;
    }
    return at;
}

static void apply_to_characters(const sah_charsmap *map, const char *text, size_t size, sah_text *out)
{
    size_t length, prefix;
    for (size_t at = 0; at < size; at += length) {
        sah_utf8_next(text + at, size - at, &length);
        const char *mapped = find(map, true, text + at, length, &prefix);
        if (mapped != NULL)
            sah_text_adds(out, mapped);
        else
            sah_text_add(out, text + at, length);
    }
}

void sah_charsmap_apply(const sah_charsmap *map, bool clusters, const char *text, size_t size, sah_text *out)
{
    size_t length, prefix;
    for (size_t at = 0; at < size; at += length) {
        if (clusters) {
            length = cluster_size(text + at, size - at);
            const char *mapped =
                length < LARGEST_CLUSTER ? find(map, true, text + at, length, &prefix) : NULL;
            if (mapped != NULL)
                sah_text_adds(out, mapped);
            else
                apply_to_characters(map, text + at, length, out);
            continue;
        }
        const char *mapped = find(map, false, text + at, size - at, &length);
        if (mapped != NULL) {
            sah_text_adds(out, mapped);
        } else {
            sah_utf8_next(text + at, size - at, &length);
            sah_text_add(out, text + at, length);
        }
    }
}
