/* SPDX-License-Identifier: Apache-2.0 */
#include "util/strings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

sah_status sah_strings_add(sah_strings *strings, const char *text, size_t length, sah_error *error)
{
    char *copy = sah_alloc(length + 1, 1);
    if (copy == NULL ||
        !sah_grow(&strings->items, &strings->capacity, strings->n + 1, sizeof *strings->items)) {
        free(copy);
        return sah_fail_memory(error, "a list of strings");
    }
    if (length > 0) memcpy(copy, text, length);
    strings->items[strings->n++] = copy;
    return SAH_OK;
}

sah_status sah_strings_add_tokens(sah_strings *strings, const int32_t *ids, size_t n, sah_error *error)
{
    sah_text text = {0};
    sah_text_adds(&text, "");
    for (size_t i = 0; i < n; i++) sah_text_addf(&text, "%s%d", i > 0 ? " " : "", (int)ids[i]);
    sah_status status = text.failed ? sah_fail_memory(error, "the tokens")
                                    : sah_strings_add(strings, text.data, text.size, error);
    free(text.data);
    return status;
}

void sah_strings_free(sah_strings *strings)
{
    if (strings == NULL) return;
    for (size_t i = 0; i < strings->n; i++) free(strings->items[i]);
    free(strings->items);
    *strings = (sah_strings){0};
}

/* Room for n more bytes and the NUL. */
static bool make_room(sah_text *text, size_t n)
{
    size_t need;
    if (text->failed) return false;
    if (!sah_add(text->size, n, &need) || !sah_add(need, 1, &need) ||
        !sah_grow(&text->data, &text->capacity, need, 1)) {
        text->failed = true;
        return false;
    }
    return true;
}

void sah_text_add(sah_text *text, const char *bytes, size_t n)
{
    if (!make_room(text, n)) return;
    if (n > 0) memcpy(text->data + text->size, bytes, n);
    text->size += n;
    text->data[text->size] = '\0';
}

void sah_text_adds(sah_text *text, const char *string)
{
    sah_text_add(text, string, strlen(string));
}

void sah_text_addf(sah_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (n < 0) text->failed = true;
    if (n < 0 || !make_room(text, (size_t)n)) return;
    va_start(arguments, format);
    vsnprintf(text->data + text->size, (size_t)n + 1, format, arguments);
    va_end(arguments);
    text->size += (size_t)n;
}
