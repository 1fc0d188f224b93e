/* SPDX-License-Identifier: Apache-2.0 */
/* Memory whose size comes from arithmetic: products are checked for overflow, so a size from a file cannot
 * wrap. */
#ifndef SAH_UTIL_ALLOC_H
#define SAH_UTIL_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For scripts/check-static: gcc's analyzer is told what is to be freed. */
#if defined(SAH_ANALYSED) && !defined(__clang__)
#include <stdlib.h>
#define SAH_TO_FREE __attribute__((malloc, malloc(free, 1)))
#else
#define SAH_TO_FREE
#endif

bool sah_mul(size_t a, size_t b, size_t *out); /* false on overflow */
bool sah_add(size_t a, size_t b, size_t *out);

/* n items of `size` bytes, zeroed; NULL when it overflows or memory is out. n = 0 gives a valid pointer. */
SAH_TO_FREE void *sah_alloc(size_t n, size_t size);
/* The same of rows times columns items. Where bytes enter (src/model, src/run, src/report) no product stands in the
 * call itself, where nobody would check it; scripts/check-style sees to that. */
SAH_TO_FREE void *sah_alloc_table(size_t rows, size_t columns, size_t size);
/* The same, not zeroed, on a 64-byte boundary, for vectors; free() frees it. */
SAH_TO_FREE void *sah_alloc_aligned(size_t n, size_t size);
/* Makes room for `need` items in *array (capacity doubles); false when memory is out, *array stays valid. */
bool sah_grow(void *array_pointer, size_t *capacity, size_t need, size_t size);

#endif
