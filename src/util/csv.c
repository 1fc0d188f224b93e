/* SPDX-License-Identifier: Apache-2.0 */
#include "util/csv.h"

#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/strings.h"
#include "util/utf8.h"

/* A quoted field from behind its opening quote to behind the closing one. */
static sah_status quoted_field(const char *text, size_t size, size_t *at, size_t *line, sah_text *field,
                               const char *where, sah_error *error)
{
    size_t i = *at, begin = *line;
    for (; i < size; i++) {
        if (text[i] == '\n' || (text[i] == '\r' && (i + 1 == size || text[i + 1] != '\n'))) ++*line;
        if (text[i] != '"') {
            sah_text_add(field, text + i, 1);
        } else if (i + 1 < size && text[i + 1] == '"') {
            sah_text_add(field, text + i++, 1);
        } else {
            *at = i + 1;
            return SAH_OK;
        }
    }
    return sah_fail(error, SAH_FAILED, "%s: line %zu: a quoted field has no closing quote", where, begin);
}

static bool at_line_end(const char *text, size_t size, size_t at)
{
    return at == size || text[at] == '\n' || text[at] == '\r';
}

/* One field; *at ends on the separator, on the line end or at the end of the text. A quote inside a field that
 * did not begin with one stands for itself, as most readers have it. */
static sah_status read_field(const char *text, size_t size, char separator, size_t *at, size_t *line,
                             sah_text *field, const char *where, sah_error *error)
{
    if (*at < size && text[*at] == '"') {
        ++*at;
        sah_status status = quoted_field(text, size, at, line, field, where, error);
        if (status != SAH_OK) return status;
        if (!at_line_end(text, size, *at) && text[*at] != separator) {
            return sah_fail(error, SAH_FAILED,
                            "%s: line %zu: text after the closing quote of a field; a quote inside a quoted "
                            "field must be doubled",
                            where, *line);
        }
    } else {
        size_t begin = *at;
        while (!at_line_end(text, size, *at) && text[*at] != separator) ++*at;
        sah_text_add(field, text + begin, *at - begin);
    }
    if (field->failed) return sah_fail_memory(error, where);
    if (field->size > 0 && memchr(field->data, '\0', field->size) != NULL) {
        return sah_fail(error, SAH_FAILED, "%s: line %zu: a NUL byte in a field", where, *line);
    }
    if (!sah_utf8_valid(field->data, field->size)) {
        return sah_fail(error, SAH_FAILED, "%s: line %zu: a field is not UTF-8", where, *line);
    }
    return SAH_OK;
}

sah_status sah_csv_record(const char *text, size_t size, char separator, size_t *at, size_t *line,
                          sah_strings *fields, const char *where, sah_error *error)
{
    sah_strings_free(fields);
    if (*at >= size) return SAH_OK;
    sah_text field = {0};
    sah_status status;
    for (;;) {
        field.size = 0;
        status = read_field(text, size, separator, at, line, &field, where, error);
        if (status == SAH_OK) status = sah_strings_add(fields, field.data, field.size, error);
        if (status != SAH_OK || at_line_end(text, size, *at)) break;
        ++*at; /* the separator */
    }
    free(field.data);
    if (status != SAH_OK) return status;
    if (*at < size) {
        *at += text[*at] == '\r' && *at + 1 < size && text[*at + 1] == '\n' ? 2 : 1;
        ++*line;
    }
    return SAH_OK;
}
