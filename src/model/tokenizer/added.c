/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer/added.h"
#include "model/tokenizer/characters.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/utf8.h"

sah_status sah_added_add(sah_added_set *set, sah_added token, sah_error *error)
{
    if (token.size == 0) return sah_fail(error, SAH_FAILED, "added token %d is empty", token.id);
    if (!sah_utf8_valid(token.text, token.size))
        return sah_fail(error, SAH_FAILED, "added token %d is not UTF-8", token.id);
    char *copy = sah_alloc(token.size + 1, 1);
    if (copy == NULL || !sah_grow(&set->items, &set->capacity, set->n + 1, sizeof *set->items)) {
        free(copy);
        return sah_fail_memory(error, "the added tokens");
    }
    memcpy(copy, token.text, token.size);
    token.text = copy;
    token.place = set->n;
    set->items[set->n++] = token;
    return SAH_OK;
}

/* By text; a token stands before those that go on from it. */
static int by_text(const void *a, const void *b)
{
    const sah_added *x = a, *y = b;
    const int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
    return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

static int by_text_then_place(const void *a, const void *b)
{
    const int order = by_text(a, b);
    const sah_added *x = a, *y = b;
    return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

void sah_added_sort(sah_added_set *set)
{
    size_t n = 0;
    if (set->n > 0) qsort(set->items, set->n, sizeof *set->items, by_text_then_place);
    for (size_t i = 0; i < set->n; i++) {
        if (n > 0 && by_text(&set->items[n - 1], &set->items[i]) == 0)
            free(set->items[i].text);
        else
            set->items[n++] = set->items[i];
    }
    set->n = n;
    for (size_t byte = 0, i = 0; byte <= 256; byte++) {
        while (i < n && (unsigned char)set->items[i].text[0] < byte) i++;
        set->first[byte] = i;
    }
}

void sah_added_free(sah_added_set *set)
{
    for (size_t i = 0; i < set->n; i++) free(set->items[i].text);
    free(set->items);
    *set = (sah_added_set){0};
}

/* The first of items [low, high), which agree up to `depth`, whose byte there is at least `byte`. Shorter
 * items count as lower. */
static size_t lower_bound(const sah_added_set *set, size_t low, size_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const sah_added *item = &set->items[middle];
        if (item->size <= depth || (unsigned char)item->text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that begins at `text`, or NULL. */
static const sah_added *match_at(const sah_added_set *set, const char *text, size_t size)
{
    const unsigned first = (unsigned char)text[0];
    size_t low = set->first[first], high = set->first[first + 1];
    const sah_added *longest = NULL;
    for (size_t depth = 1; low < high; depth++) {
        if (set->items[low].size == depth) longest = &set->items[low];
        if (depth == size) break;
        const unsigned byte = (unsigned char)text[depth];
        low = lower_bound(set, low, high, depth, byte);
        high = lower_bound(set, low, high, depth, byte + 1);
    }
    return longest;
}

/* The character that ends at text + end, end > 0. */
static uint32_t character_before(const char *text, size_t end, size_t *length)
{
    size_t begin = end - 1;
    while (begin > 0 && ((unsigned char)text[begin] & 0xC0) == 0x80) begin--;
    *length = end - begin;
    size_t whole;
    return sah_utf8_next(text + begin, end - begin, &whole);
}

static bool touches_word(const char *text, size_t size, size_t begin, size_t end)
{
    size_t length;
    if (begin > 0 && sah_is_word_character(character_before(text, begin, &length))) return true;
    return end < size && sah_is_word_character(sah_utf8_next(text + end, size - end, &length));
}

static size_t space_before(const char *text, size_t begin, size_t end)
{
    size_t length;
    while (end > begin && sah_is_white_space(character_before(text, end, &length))) end -= length;
    return end;
}

static size_t space_behind(const char *text, size_t at, size_t size)
{
    size_t length;
    while (at < size && sah_is_white_space(sah_utf8_next(text + at, size - at, &length))) at += length;
    return at;
}

/* Appends the parts of text[base..base + size); `first`: the whole text begins there. */
static sah_status cut_text(const sah_added_set *set, const char *all, size_t base, size_t size, bool first,
                           sah_pieces *out, sah_error *error)
{
    const char *text = all + base;
    size_t covered = 0; /* up to here the text lies in parts */
    sah_status status = SAH_OK;
    for (size_t at = 0; at < size && status == SAH_OK;) {
        const sah_added *token = match_at(set, text + at, size - at);
        if (token == NULL) {
            at++;
            continue;
        }
        size_t begin = at, end = at + token->size;
        at = end;
        if (token->single_word && touches_word(text, size, begin, end)) continue;
        if (token->left_strip && begin > covered) begin = space_before(text, covered, begin);
        if (token->right_strip) end = space_behind(text, end, size);
        if (begin > covered) {
            const sah_piece before = {base + covered, begin - covered, -1, first && covered == 0};
            status = sah_pieces_add(out, before, error);
        }
        if (status == SAH_OK) status = sah_pieces_add(out, (sah_piece){.id = token->id}, error);
        covered = end;
    }
    if (status == SAH_OK && covered < size) {
        const sah_piece rest = {base + covered, size - covered, -1, first && covered == 0};
        status = sah_pieces_add(out, rest, error);
    }
    return status;
}

sah_status sah_added_cut(const sah_added_set *set, sah_pieces *pieces, sah_error *error)
{
    sah_pieces out = {0};
    sah_status status = SAH_OK;
    if (set->n == 0) return SAH_OK;
    for (size_t i = 0; i < pieces->n && status == SAH_OK; i++) {
        const sah_piece piece = pieces->items[i];
        if (piece.id >= 0)
            status = sah_pieces_add(&out, piece, error);
        else
            status = cut_text(set, pieces->text.data, piece.at, piece.size, piece.first, &out, error);
    }
    out.text = pieces->text;
    pieces->text = (sah_text){0};
    sah_pieces_free(pieces);
    *pieces = out;
    return status;
}
