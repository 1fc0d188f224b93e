/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds of code points by their general category (Unicode Standard, 4.5). */
#ifndef SAH_UTIL_UNICODE_H
#define SAH_UTIL_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

bool sah_unicode_letter(uint32_t code); /* letters and the marks upon them: L, M */
bool sah_unicode_number(uint32_t code); /* N */

#endif
