/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "util/alloc.h"
#include "util/error.h"

/* The slot that holds the text, or the free one where it would go. */
static size_t slot_of(const sah_vocab *vocab, const char *text, size_t size)
{
    size_t slot = XXH3_64bits(text, size) & (vocab->n_slots - 1);
    for (;;) {
        int32_t id = vocab->slots[slot];
        if (id < 0) return slot;
        const sah_vocab_item *item = &vocab->items[id];
        if (item->size == size && memcmp(vocab->pool.data + item->at, text, size) == 0) return slot;
        slot = (slot + 1) & (vocab->n_slots - 1);
    }
}

/* Keeps the table at most half full. */
static bool make_slots(sah_vocab *vocab)
{
    if (vocab->n_slots > 2 * (vocab->n_used + 1)) return true;
    const size_t n_slots = vocab->n_slots > 0 ? vocab->n_slots * 2 : 1024;
    int32_t *slots = sah_alloc(n_slots, sizeof *slots);
    if (slots == NULL) return false;
    memset(slots, 0xFF, n_slots * sizeof *slots);
    free(vocab->slots);
    vocab->slots = slots;
    vocab->n_slots = n_slots;
    for (size_t id = 0; id < vocab->n; id++) {
        const sah_vocab_item *item = &vocab->items[id];
        if (item->used && item->size > 0)
            slots[slot_of(vocab, vocab->pool.data + item->at, item->size)] = (int32_t)id;
    }
    return true;
}

/* Appends a text and its NUL to the pool, whose places are 32-bit numbers. */
static bool store(sah_vocab *vocab, const char *text, size_t size)
{
    if (vocab->pool.size > UINT32_MAX - 2 * (size_t)SAH_MAX_TOKEN_BYTES) return false;
    sah_text_add(&vocab->pool, text, size);
    sah_text_add(&vocab->pool, "", 1);
    return !vocab->pool.failed;
}

sah_status sah_vocab_add(sah_vocab *vocab, int64_t id, const char *text, size_t size, bool in_model,
                         bool special, sah_error *error)
{
    if (id < 0 || id >= SAH_MAX_TOKENS) {
        return sah_fail(error, SAH_FAILED, "token id %lld is outside 0 to %d", (long long)id,
                        SAH_MAX_TOKENS - 1);
    }
    if (size > SAH_MAX_TOKEN_BYTES) {
        return sah_fail(error, SAH_FAILED, "token %lld is longer than %d bytes", (long long)id,
                        SAH_MAX_TOKEN_BYTES);
    }
    const size_t place = (size_t)id, at = vocab->pool.size;
    if (place < vocab->n && vocab->items[place].used)
        return sah_fail(error, SAH_FAILED, "token id %zu is given twice", place);
    if (!make_slots(vocab) || !sah_grow(&vocab->items, &vocab->capacity, place + 1, sizeof *vocab->items))
        return sah_fail_memory(error, "the vocabulary");
    const size_t slot = slot_of(vocab, text, size);
    if (size > 0 && vocab->slots[slot] >= 0) {
        return sah_fail(error, SAH_FAILED, "tokens %d and %zu have the same text \"%s\"", vocab->slots[slot],
                        place, vocab->pool.data + vocab->items[vocab->slots[slot]].at);
    }
    if (!store(vocab, text, size)) return sah_fail_memory(error, "the vocabulary");
    if (place >= vocab->n) {
        memset(vocab->items + vocab->n, 0, (place + 1 - vocab->n) * sizeof *vocab->items);
        vocab->n = place + 1;
    }
    const uint32_t begin = (uint32_t)at, bytes = (uint32_t)size;
    vocab->items[place] = (sah_vocab_item){begin, bytes, begin, bytes, true, in_model, special};
    if (size > 0) { /* an empty token is a place holder: no text leads to it */
        vocab->slots[slot] = (int32_t)place;
        vocab->n_used++;
    }
    if (in_model) vocab->n_model++;
    if (size > vocab->longest) vocab->longest = size;
    return SAH_OK;
}

int32_t sah_vocab_find(const sah_vocab *vocab, const char *text, size_t size)
{
    if (vocab->n_slots == 0 || size == 0 || size > vocab->longest) return -1;
    return vocab->slots[slot_of(vocab, text, size)];
}

int32_t sah_vocab_find_model(const sah_vocab *vocab, const char *text, size_t size)
{
    int32_t id = sah_vocab_find(vocab, text, size);
    return id >= 0 && vocab->items[id].in_model ? id : -1;
}

void sah_vocab_find_bytes(const sah_vocab *vocab, int32_t out[256])
{
    char text[8];
    for (unsigned i = 0; i < 256; i++) {
        int size = snprintf(text, sizeof text, "<0x%02X>", i);
        out[i] = sah_vocab_find(vocab, text, (size_t)size);
    }
}

const char *sah_vocab_text(const sah_vocab *vocab, int32_t id, size_t *size)
{
    if (id < 0 || (size_t)id >= vocab->n || !vocab->items[id].used) return NULL;
    if (size != NULL) *size = vocab->items[id].size;
    return vocab->pool.data + vocab->items[id].at;
}

sah_status sah_vocab_set_decoded(sah_vocab *vocab, int32_t id, const char *text, size_t size,
                                 sah_error *error)
{
    const size_t at = vocab->pool.size;
    if (size > SAH_MAX_TOKEN_BYTES)
        return sah_fail(error, SAH_FAILED, "token %d is longer than %d bytes", id, SAH_MAX_TOKEN_BYTES);
    if (!store(vocab, text, size)) return sah_fail_memory(error, "the vocabulary");
    vocab->items[id].decoded_at = (uint32_t)at;
    vocab->items[id].decoded_size = (uint32_t)size;
    return SAH_OK;
}

const char *sah_vocab_decoded(const sah_vocab *vocab, int32_t id, size_t *size)
{
    if (id < 0 || (size_t)id >= vocab->n || !vocab->items[id].used) return NULL;
    *size = vocab->items[id].decoded_size;
    return vocab->pool.data + vocab->items[id].decoded_at;
}

void sah_vocab_free(sah_vocab *vocab)
{
    free(vocab->pool.data);
    free(vocab->items);
    free(vocab->slots);
    *vocab = (sah_vocab){0};
}
