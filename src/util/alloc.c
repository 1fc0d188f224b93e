/* SPDX-License-Identifier: Apache-2.0 */
#include "util/alloc.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, FIRST_CAPACITY = 16 };

bool sah_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool sah_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

void *sah_alloc(size_t n, size_t size)
{
    size_t bytes;
    if (!sah_mul(n, size, &bytes) || bytes > PTRDIFF_MAX) return NULL;
    return calloc(bytes > 0 ? bytes : 1, 1);
}

void *sah_alloc_table(size_t rows, size_t columns, size_t size)
{
    size_t n;
    return sah_mul(rows, columns, &n) ? sah_alloc(n, size) : NULL;
}

void *sah_alloc_aligned(size_t n, size_t size)
{
    size_t bytes;
    if (!sah_mul(n, size, &bytes) || !sah_add(bytes, ALIGNMENT - 1, &bytes) || bytes > PTRDIFF_MAX)
        return NULL;
    bytes -= bytes % ALIGNMENT; /* C11 wants a multiple of the alignment */
    return aligned_alloc(ALIGNMENT, bytes > 0 ? bytes : ALIGNMENT);
}

bool sah_grow(void *array_pointer, size_t *capacity, size_t need, size_t size)
{
    if (need <= *capacity) return true;
    size_t wanted = *capacity > 0 ? *capacity : FIRST_CAPACITY, bytes;
    while (wanted < need) {
        if (!sah_mul(wanted, 2, &wanted)) return false;
    }
    if (!sah_mul(wanted, size, &bytes) || bytes > PTRDIFF_MAX) return false;
    /* The array may be of any type, so its pointer is copied in and out instead of cast. */
    void *array;
    memcpy(&array, array_pointer, sizeof array);
    array = realloc(array, bytes > 0 ? bytes : 1);
    if (array == NULL) return false;
    memcpy(array_pointer, &array, sizeof array);
    *capacity = wanted;
    return true;
}
