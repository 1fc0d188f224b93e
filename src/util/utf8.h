/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 code points, defined for every byte string: a byte that is not part of a valid sequence counts as
 * U+FFFD. */
#ifndef SAH_UTIL_UTF8_H
#define SAH_UTIL_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The code point at text[0..size), size > 0; *length gets its bytes (1 for an invalid byte, with U+FFFD). */
uint32_t sah_utf8_next(const char *text, size_t size, size_t *length);
/* Writes `code` (a scalar value) as UTF-8; returns the bytes written, 1 to 4. */
size_t sah_utf8_put(uint32_t code, char out[4]);
bool sah_utf8_valid(const char *text, size_t size);
/* A copy in which every invalid byte became U+FFFD; for free(). NULL when memory is out. */
char *sah_utf8_repair(const char *text, size_t size, size_t *out_size);

#endif
