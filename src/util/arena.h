/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for many small things that are freed together, with a bound on all of them. */
#ifndef SAH_UTIL_ARENA_H
#define SAH_UTIL_ARENA_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sah_arena {
    struct sah_arena_block *blocks; /* the first is the one in use */
    size_t used; /* bytes handed out */
    size_t limit; /* bytes that may be handed out */
    bool exhausted; /* the limit was reached; false after a NULL: the machine has no memory */
} sah_arena;

/* n items of `size` bytes, zeroed and aligned for any type; NULL when it overflows, the limit is reached or
 * memory is out. */
void *sah_arena_alloc(sah_arena *arena, size_t n, size_t size);
/* The same, not zeroed and on any byte. */
char *sah_arena_bytes(sah_arena *arena, size_t n);
void sah_arena_free(sah_arena *arena); /* everything; the limit stays */

#endif
