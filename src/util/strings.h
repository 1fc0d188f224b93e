/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of strings and growing text. */
#ifndef SAH_UTIL_STRINGS_H
#define SAH_UTIL_STRINGS_H

#include "sahara.h"

/* Growing text: always ends in NUL. Start from {0}; free(text.data). Appending after memory ran out does
 * nothing; ask `failed` once at the end. */
typedef struct sah_text {
    char *data;
    size_t size, capacity;
    bool failed;
} sah_text;

void sah_text_add(sah_text *text, const char *bytes, size_t n);
void sah_text_adds(sah_text *text, const char *string);
void sah_text_addf(sah_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
