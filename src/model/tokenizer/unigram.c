/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/unigram.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/utf8.h"

/* A character without a piece scores this much less than the worst piece, as in SentencePiece. */
static const double unknown_penalty = 10.0;

enum { NO_PIECE = -1, NO_WAY = -2 };

/* ---- The pieces, by text ------------------------------------------------------------------------------- */

static const unsigned char *text_of(const sah_vocab *vocab, int32_t id, size_t *size)
{
    return (const unsigned char *)sah_vocab_text(vocab, id, size);
}

static int by_text(const void *a, const void *b, void *vocab)
{
    size_t x, y;
    const unsigned char *left = text_of(vocab, *(const int32_t *)a, &x);
    const unsigned char *right = text_of(vocab, *(const int32_t *)b, &y);
    const int order = memcmp(left, right, x < y ? x : y);
    return order != 0 ? order : (x > y) - (x < y);
}

sah_status sah_unigram_init(sah_unigram *unigram, const sah_vocab *vocab, const double *scores, double lowest,
                            sah_error *error)
{
    const size_t n = vocab->n;
    size_t size, at = 0;
    unigram->vocab = vocab;
    unigram->unknown_score = lowest - unknown_penalty;
    unigram->scores = sah_alloc(n, sizeof *unigram->scores);
    unigram->order = sah_alloc(n, sizeof *unigram->order);
    if (unigram->scores == NULL || unigram->order == NULL)
        return sah_fail_memory(error, "the scores of tokens");
    for (size_t i = 0; i < n; i++) {
        if (!vocab->items[i].used || !vocab->items[i].in_model || vocab->items[i].size == 0) continue;
        if (!__builtin_isfinite(scores[i]))
            return sah_fail(error, SAH_FAILED, "the score of token %zu is not a number", i);
        unigram->scores[i] = scores[i];
        unigram->order[unigram->n_order++] = (int32_t)i;
    }
    unigram->n = n;
    if (unigram->n_order > 0)
        qsort_r(unigram->order, unigram->n_order, sizeof *unigram->order, by_text, (void *)vocab);
    for (size_t byte = 0; byte <= 256; byte++) {
        while (at < unigram->n_order && text_of(vocab, unigram->order[at], &size)[0] < byte) at++;
        unigram->first[byte] = at;
    }
    return SAH_OK;
}

/* The first of order [low, high), which agree up to `depth`, whose byte there is at least `byte`. Shorter ones count as
 * lower. */
static size_t lower_bound(const sah_unigram *unigram, size_t low, size_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        size_t size;
        const unsigned char *text = text_of(unigram->vocab, unigram->order[middle], &size);
        if (size <= depth || text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- The best way -------------------------------------------------------------------------------------- */

static void offer(sah_unigram_step *steps, size_t begin, size_t end, int32_t id, double score)
{
    const double sum = steps[begin].score + score;
    if (steps[end].id == NO_WAY || sum > steps[end].score)
        steps[end] = (sah_unigram_step){sum, (uint32_t)begin, id};
}

/* Offers every piece that begins at `begin`, where a character of `length` bytes stands. */
static void offer_pieces(const sah_unigram *unigram, const char *word, size_t size, size_t begin,
                         size_t length, sah_unigram_step *steps)
{
    const unsigned char *text = (const unsigned char *)word + begin;
    const size_t rest = size - begin;
    size_t low = unigram->first[text[0]], high = unigram->first[text[0] + 1];
    bool single = false; /* the character alone is a piece */
    for (size_t depth = 1; low < high; depth++) {
        const int32_t id = unigram->order[low];
        size_t piece;
        text_of(unigram->vocab, id, &piece);
        if (piece == depth) {
            offer(steps, begin, begin + depth, id, unigram->scores[id]);
            single = single || depth == length;
        }
        if (depth == rest) break;
        low = lower_bound(unigram, low, high, depth, text[depth]);
        high = lower_bound(unigram, low, high, depth, text[depth] + 1U);
    }
    if (!single) offer(steps, begin, begin + length, NO_PIECE, unigram->unknown_score);
}

/* ---- Ids ----------------------------------------------------------------------------------------------- */

static sah_status add_unknown(const sah_unigram *unigram, const char *text, size_t size, sah_ids *ids,
                              sah_error *error)
{
    bool bytes = unigram->byte_fallback;
    sah_status status = SAH_OK;
    for (size_t i = 0; i < size && bytes; i++) bytes = unigram->bytes[(unsigned char)text[i]] >= 0;
    if (!bytes) return unigram->unknown >= 0 ? sah_ids_add(ids, unigram->unknown, error) : SAH_OK;
    for (size_t i = 0; i < size && status == SAH_OK; i++)
        status = sah_ids_add(ids, unigram->bytes[(unsigned char)text[i]], error);
    return status;
}

/* The way from the end back to the beginning, turned round: each step's `begin` becomes its end. */
static void turn_round(sah_unigram_step *steps, size_t size)
{
    uint32_t end = (uint32_t)size;
    while (end > 0) {
        const uint32_t begin = steps[end].begin;
        steps[begin].score = end; /* of the piece that begins there; below 2^53, so exact */
        end = begin;
    }
}

static sah_status add_ids(const sah_unigram *unigram, const char *word, size_t size, sah_unigram_step *steps,
                          sah_ids *ids, sah_error *error)
{
    sah_status status = SAH_OK;
    turn_round(steps, size);
    for (size_t at = 0; at < size && status == SAH_OK;) {
        size_t end = (size_t)steps[at].score;
        if (steps[end].id >= 0) {
            status = sah_ids_add(ids, steps[end].id, error);
        } else {
            while (end < size && steps[(size_t)steps[end].score].id == NO_PIECE)
                end = (size_t)steps[end].score;
            status = add_unknown(unigram, word + at, end - at, ids, error);
        }
        at = end;
    }
    return status;
}

sah_status sah_unigram_word(const sah_unigram *unigram, const char *word, size_t size,
                            sah_unigram_scratch *scratch, sah_ids *ids, sah_error *error)
{
    size_t length;
    if (size == 0) return SAH_OK;
    if (size > INT32_MAX / 4) return sah_fail(error, SAH_FAILED, "a text of %zu bytes is too long", size);
    if (!sah_grow(&scratch->steps, &scratch->capacity, size + 1, sizeof *scratch->steps))
        return sah_fail_memory(error, "the pieces of a text");
    for (size_t i = 1; i <= size; i++) scratch->steps[i].id = NO_WAY;
    scratch->steps[0] = (sah_unigram_step){0.0, 0, NO_PIECE};
    for (size_t at = 0; at < size; at += length) {
        sah_utf8_next(word + at, size - at, &length);
        offer_pieces(unigram, word, size, at, length, scratch->steps);
    }
    return add_ids(unigram, word, size, scratch->steps, ids, error);
}

void sah_unigram_free(sah_unigram *unigram)
{
    free(unigram->scores);
    free(unigram->order);
    *unigram = (sah_unigram){0};
}

void sah_unigram_scratch_free(sah_unigram_scratch *scratch)
{
    free(scratch->steps);
    *scratch = (sah_unigram_scratch){0};
}
