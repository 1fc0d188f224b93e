/* SPDX-License-Identifier: Apache-2.0 */
#include "util/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

/* Blocks grow from the first to the largest size, so that a small use stays small. */
enum { FIRST_BLOCK = 4 << 10, LARGEST_BLOCK = 1 << 20 };

typedef struct sah_arena_block {
    struct sah_arena_block *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
} sah_arena_block;

static sah_arena_block *add_block(sah_arena *arena, size_t need)
{
    size_t size = arena->blocks != NULL ? 2 * arena->blocks->size : FIRST_BLOCK;
    if (size > LARGEST_BLOCK) size = LARGEST_BLOCK;
    if (size < need) size = need;
    if (size > SIZE_MAX - sizeof(sah_arena_block)) return NULL;
    sah_arena_block *block = malloc(sizeof *block + size);
    if (block == NULL) return NULL;
    block->size = size;
    block->used = 0;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

static char *take(sah_arena *arena, size_t bytes, size_t align)
{
    if (bytes > arena->limit - arena->used) {
        arena->exhausted = true;
        return NULL;
    }
    sah_arena_block *block = arena->blocks;
    size_t at = block != NULL ? (block->used + align - 1) / align * align : 0;
    if (block == NULL || at > block->size || bytes > block->size - at) {
        block = add_block(arena, bytes);
        if (block == NULL) return NULL;
        at = 0;
    }
    block->used = at + bytes;
    arena->used += bytes;
    return block->bytes + at;
}

void *sah_arena_alloc(sah_arena *arena, size_t n, size_t size)
{
    size_t bytes;
    if (!sah_mul(n, size, &bytes)) {
        arena->exhausted = true;
        return NULL;
    }
    void *memory = take(arena, bytes, alignof(max_align_t));
    if (memory != NULL) memset(memory, 0, bytes);
    return memory;
}

char *sah_arena_bytes(sah_arena *arena, size_t n)
{
    return take(arena, n, 1);
}

void sah_arena_free(sah_arena *arena)
{
    while (arena->blocks != NULL) {
        sah_arena_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
    arena->used = 0;
    arena->exhausted = false;
}
