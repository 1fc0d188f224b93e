/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/merge.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/utf8.h"

/* A character, or what it was merged into: text[at..at + size). Merged symbols make a list from left to
 * right. */
typedef struct sah_symbol {
    int32_t id; /* -1: its text is no token (SentencePiece only) */
    uint32_t at, size;
    int32_t previous, next; /* -1: none */
    bool gone; /* merged into its left neighbour */
} sah_symbol;

/* A pair that could merge: the symbol at `left` and the one behind it, into `id`. */
typedef struct sah_candidate {
    uint32_t rank;
    int32_t left, id;
} sah_candidate;

sah_status sah_ids_add(sah_ids *ids, int32_t id, sah_error *error)
{
    if (!sah_grow(&ids->items, &ids->capacity, ids->n + 1, sizeof *ids->items))
        return sah_fail_memory(error, "the tokens of a text");
    ids->items[ids->n++] = id;
    return SAH_OK;
}

bool sah_ids_has(const sah_ids *ids, int32_t id)
{
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->items[i] == id) return true;
    }
    return false;
}

/* ---- The table of merges ------------------------------------------------------------------------------- */

static uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static sah_pair *pair_slot(const sah_merger *merger, uint64_t key)
{
    uint64_t hash = key * 0x9E3779B97F4A7C15u; /* 2^64 / golden ratio (Knuth, 6.4) */
    size_t slot = (size_t)(hash ^ hash >> 32) & (merger->n_slots - 1);
    while (merger->pairs[slot].id >= 0 && merger->pairs[slot].key != key)
        slot = (slot + 1) & (merger->n_slots - 1);
    return &merger->pairs[slot];
}

static bool make_pair_slots(sah_merger *merger)
{
    if (merger->n_slots > 2 * (merger->n_pairs + 1)) return true;
    sah_pair *old = merger->pairs;
    const size_t n_old = merger->n_slots, n_slots = n_old > 0 ? n_old * 2 : 1024;
    sah_pair *pairs = sah_alloc(n_slots, sizeof *pairs);
    if (pairs == NULL) return false;
    for (size_t i = 0; i < n_slots; i++) pairs[i].id = -1;
    merger->pairs = pairs;
    merger->n_slots = n_slots;
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].id >= 0) *pair_slot(merger, old[i].key) = old[i];
    }
    free(old);
    return true;
}

sah_status sah_merger_add_ids(sah_merger *merger, int32_t left, int32_t right, int32_t id, uint32_t rank,
                              sah_error *error)
{
    if (!make_pair_slots(merger)) return sah_fail_memory(error, "the merges");
    sah_pair *slot = pair_slot(merger, pair_key(left, right));
    if (slot->id < 0) merger->n_pairs++;
    *slot = (sah_pair){pair_key(left, right), rank, id};
    return SAH_OK;
}

sah_status sah_merger_add(sah_merger *merger, const char *a, size_t a_size, const char *b, size_t b_size,
                          uint32_t rank, sah_error *error)
{
    char joined[2 * SAH_MAX_TOKEN_BYTES];
    if (a_size > SAH_MAX_TOKEN_BYTES || b_size > SAH_MAX_TOKEN_BYTES)
        return sah_fail(error, SAH_FAILED, "merge %u is too long", rank);
    memcpy(joined, a, a_size);
    memcpy(joined + a_size, b, b_size);
    const int32_t left = sah_vocab_find(merger->vocab, a, a_size);
    const int32_t right = sah_vocab_find(merger->vocab, b, b_size);
    const int32_t id = sah_vocab_find(merger->vocab, joined, a_size + b_size);
    if (left < 0 || right < 0 || id < 0) {
        return sah_fail(error, SAH_FAILED, "merge %u, \"%.*s\" and \"%.*s\": %s is not in the vocabulary",
                        rank, (int)a_size, a, (int)b_size, b,
                        left < 0    ? "the first"
                        : right < 0 ? "the second"
                                    : "their join");
    }
    return sah_merger_add_ids(merger, left, right, id, rank, error);
}

/* ---- Scores -------------------------------------------------------------------------------------------- */

typedef struct scored {
    float score;
    uint32_t id;
} scored;

static int by_descending_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

sah_status sah_merger_score(sah_merger *merger, const float *scores, sah_error *error)
{
    const size_t n = merger->vocab->n;
    sah_status status = SAH_OK;
    scored *order = sah_alloc(n, sizeof *order);
    merger->ranks = sah_alloc(n, sizeof *merger->ranks);
    if (order == NULL || merger->ranks == NULL) {
        status = sah_fail_memory(error, "the scores of tokens");
        goto end;
    }
    for (size_t i = 0; i < n; i++) {
        if (!__builtin_isfinite(scores[i])) {
            status = sah_fail(error, SAH_FAILED, "the score of token %zu is not a number", i);
            goto end;
        }
        order[i] = (scored){scores[i], (uint32_t)i};
    }
    qsort(order, n, sizeof *order, by_descending_score);
    uint32_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && order[i].score < order[i - 1].score) rank++;
        merger->ranks[order[i].id] = rank;
    }
end:
    free(order);
    return status;
}

/* ---- Characters ---------------------------------------------------------------------------------------- */

static sah_status add_symbol(sah_merge_scratch *scratch, int32_t id, size_t at, size_t size, sah_error *error)
{
    if (!sah_grow(&scratch->symbols, &scratch->symbols_capacity, scratch->n_symbols + 1, sizeof(sah_symbol)))
        return sah_fail_memory(error, "the characters of a text");
    const int32_t i = (int32_t)scratch->n_symbols++;
    scratch->symbols[i] = (sah_symbol){id, (uint32_t)at, (uint32_t)size, i - 1, i + 1, false};
    return SAH_OK;
}

static bool has_byte_tokens(const sah_merger *merger, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (merger->bytes[(unsigned char)text[i]] < 0) return false;
    }
    return merger->byte_fallback;
}

/* Symbols of a word for ranked merges. A run of unknown characters is held back until a known one follows:
 * bytes that stand in for a character do not count as known, as in the tokenizers library. */
static sah_status bpe_symbols(const sah_merger *merger, const char *word, size_t size,
                              sah_merge_scratch *scratch, sah_error *error)
{
    sah_status status = SAH_OK;
    bool held = false;
    size_t length;
    for (size_t at = 0; at < size && status == SAH_OK; at += length) {
        sah_utf8_next(word + at, size - at, &length);
        const int32_t id = sah_vocab_find_model(merger->vocab, word + at, length);
        if (id >= 0) {
            if (held) status = add_symbol(scratch, merger->unknown, at, 0, error);
            if (status == SAH_OK) status = add_symbol(scratch, id, at, length, error);
            held = false;
        } else if (has_byte_tokens(merger, word + at, length)) {
            for (size_t i = 0; i < length && status == SAH_OK; i++)
                status = add_symbol(scratch, merger->bytes[(unsigned char)word[at + i]], at + i, 1, error);
        } else if (merger->unknown >= 0) {
            if (held && !merger->fuse_unknown) status = add_symbol(scratch, merger->unknown, at, 0, error);
            held = true;
        }
    }
    if (held && status == SAH_OK) status = add_symbol(scratch, merger->unknown, size, 0, error);
    return status;
}

/* Symbols for merging by score: every character, token or not. */
static sah_status piece_symbols(const sah_merger *merger, const char *word, size_t size,
                                sah_merge_scratch *scratch, sah_error *error)
{
    sah_status status = SAH_OK;
    size_t length;
    for (size_t at = 0; at < size && status == SAH_OK; at += length) {
        sah_utf8_next(word + at, size - at, &length);
        status =
            add_symbol(scratch, sah_vocab_find_model(merger->vocab, word + at, length), at, length, error);
    }
    return status;
}

/* ---- The queue: a binary heap, best candidate first ---------------------------------------------------- */

static bool comes_before(const sah_candidate *a, const sah_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static sah_status push(sah_merge_scratch *scratch, sah_candidate candidate, sah_error *error)
{
    if (!sah_grow(&scratch->heap, &scratch->heap_capacity, scratch->n_heap + 1, sizeof(sah_candidate)))
        return sah_fail_memory(error, "the merges of a text");
    size_t i = scratch->n_heap++;
    for (; i > 0 && comes_before(&candidate, &scratch->heap[(i - 1) / 2]); i = (i - 1) / 2)
        scratch->heap[i] = scratch->heap[(i - 1) / 2];
    scratch->heap[i] = candidate;
    return SAH_OK;
}

static sah_candidate pop(sah_merge_scratch *scratch)
{
    const sah_candidate best = scratch->heap[0], last = scratch->heap[--scratch->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= scratch->n_heap) break;
        if (child + 1 < scratch->n_heap && comes_before(&scratch->heap[child + 1], &scratch->heap[child]))
            child++;
        if (!comes_before(&scratch->heap[child], &last)) break;
        scratch->heap[i] = scratch->heap[child];
        i = child;
    }
    scratch->heap[i] = last;
    return best;
}

/* ---- Merging ------------------------------------------------------------------------------------------- */

/* What the symbol `left` and the one behind it merge into: false when they do not. */
static bool find_merge(const sah_merger *merger, const sah_symbol *symbols, const char *word, int32_t left,
                       sah_candidate *out)
{
    if (left < 0 || symbols[left].next < 0) return false;
    const sah_symbol *a = &symbols[left], *b = &symbols[a->next];
    if (merger->ranks != NULL) {
        const int32_t id = sah_vocab_find_model(merger->vocab, word + a->at, (size_t)a->size + b->size);
        if (id < 0) return false;
        *out = (sah_candidate){merger->ranks[id], left, id};
        return true;
    }
    if (merger->n_slots == 0) return false;
    const sah_pair *pair = pair_slot(merger, pair_key(a->id, b->id));
    *out = (sah_candidate){pair->rank, left, pair->id};
    return pair->id >= 0;
}

static sah_status consider(const sah_merger *merger, sah_merge_scratch *scratch, const char *word,
                           int32_t left, sah_error *error)
{
    sah_candidate candidate;
    if (!find_merge(merger, scratch->symbols, word, left, &candidate)) return SAH_OK;
    if (scratch->splits != NULL) scratch->splits[candidate.id] = scratch->symbols[left].size;
    return push(scratch, candidate, error);
}

/* Takes candidates in order. One whose symbols have changed since no longer finds the same token and is
 * passed over. */
static sah_status merge_all(const sah_merger *merger, sah_merge_scratch *scratch, const char *word,
                            sah_error *error)
{
    sah_symbol *symbols = scratch->symbols;
    sah_status status = SAH_OK;
    scratch->n_heap = 0;
    symbols[scratch->n_symbols - 1].next = -1;
    for (size_t i = 0; i + 1 < scratch->n_symbols && status == SAH_OK; i++)
        status = consider(merger, scratch, word, (int32_t)i, error);
    while (status == SAH_OK && scratch->n_heap > 0) {
        const sah_candidate best = pop(scratch);
        sah_candidate now;
        sah_symbol *left = &symbols[best.left];
        if (left->gone || !find_merge(merger, symbols, word, best.left, &now) || now.id != best.id) continue;
        sah_symbol *right = &symbols[left->next];
        left->id = best.id;
        left->size += right->size;
        right->gone = true;
        left->next = right->next;
        if (left->next >= 0) symbols[left->next].previous = best.left;
        status = consider(merger, scratch, word, left->previous, error);
        if (status == SAH_OK) status = consider(merger, scratch, word, best.left, error);
    }
    return status;
}

/* ---- Ids ----------------------------------------------------------------------------------------------- */

/* A symbol that is no token: its bytes, or the unknown token. */
static sah_status add_fallback(const sah_merger *merger, const char *text, size_t size, sah_ids *ids,
                               sah_error *error)
{
    sah_status status = SAH_OK;
    if (!has_byte_tokens(merger, text, size))
        return merger->unknown >= 0 ? sah_ids_add(ids, merger->unknown, error) : SAH_OK;
    for (size_t i = 0; i < size && status == SAH_OK; i++)
        status = sah_ids_add(ids, merger->bytes[(unsigned char)text[i]], error);
    return status;
}

/* The ids of a piece. An unused one is taken apart again where it was last put together; every part is
 * shorter, which bounds the depth by the longest token. */
static sah_status add_piece(const sah_merger *merger, const sah_merge_scratch *scratch, const char *text,
                            size_t size, sah_ids *ids, sah_error *error)
{
    const int32_t id = sah_vocab_find_model(merger->vocab, text, size);
    if (id < 0) return add_fallback(merger, text, size, ids, error);
    const size_t left = merger->unused != NULL && merger->unused[id] ? scratch->splits[id] : 0;
    if (left == 0 || left >= size) return sah_ids_add(ids, id, error);
    sah_status status = add_piece(merger, scratch, text, left, ids, error);
    if (status == SAH_OK) status = add_piece(merger, scratch, text + left, size - left, ids, error);
    return status;
}

static sah_status add_ids(const sah_merger *merger, const sah_merge_scratch *scratch, const char *word,
                          sah_ids *ids, sah_error *error)
{
    sah_status status = SAH_OK;
    for (int32_t i = 0; i >= 0 && status == SAH_OK; i = scratch->symbols[i].next) {
        const sah_symbol *symbol = &scratch->symbols[i];
        if (merger->ranks != NULL)
            status = add_piece(merger, scratch, word + symbol->at, symbol->size, ids, error);
        else
            status = sah_ids_add(ids, symbol->id, error);
    }
    return status;
}

sah_status sah_merge_word(const sah_merger *merger, const char *word, size_t size, sah_merge_scratch *scratch,
                          sah_ids *ids, sah_error *error)
{
    if (size > INT32_MAX / 4) return sah_fail(error, SAH_FAILED, "a text of %zu bytes is too long", size);
    if (merger->ignore_merges) {
        const int32_t whole = sah_vocab_find_model(merger->vocab, word, size);
        if (whole >= 0) return sah_ids_add(ids, whole, error);
    }
    if (merger->unused != NULL && scratch->splits == NULL) {
        scratch->splits = sah_alloc(merger->vocab->n, sizeof *scratch->splits);
        if (scratch->splits == NULL) return sah_fail_memory(error, "the merges of a text");
    }
    scratch->n_symbols = 0;
    sah_status status = merger->ranks != NULL ? piece_symbols(merger, word, size, scratch, error)
                                              : bpe_symbols(merger, word, size, scratch, error);
    if (status != SAH_OK || scratch->n_symbols == 0) return status;
    status = merge_all(merger, scratch, word, error);
    if (status == SAH_OK) status = add_ids(merger, scratch, word, ids, error);
    return status;
}

void sah_merger_free(sah_merger *merger)
{
    free(merger->pairs);
    free(merger->ranks);
    free(merger->unused);
    *merger = (sah_merger){0};
}

void sah_merge_scratch_free(sah_merge_scratch *scratch)
{
    free(scratch->symbols);
    free(scratch->heap);
    free(scratch->splits);
    *scratch = (sah_merge_scratch){0};
}
