/* SPDX-License-Identifier: Apache-2.0 */
#undef SAH_ANALYSED /* its macros */
#include "util/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/utf8.h"

/* Copies `line` into `out` (`size` bytes with the NUL): names from files end up in messages, so what could
 * disturb a terminal or is not UTF-8 becomes '?'. A character that does not fit whole is left out. */
static void copy_printable(const char *line, char *out, size_t size)
{
    size_t n = 0, left = strlen(line);
    while (left > 0) {
        size_t length;
        uint32_t code = sah_utf8_next(line, left, &length);
        bool invalid = code == 0xFFFD && length == 1;
        bool control = code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029;
        if (n + length + 1 > size) break;
        if (invalid || control) {
            out[n++] = '?';
        } else {
            memcpy(out + n, line, length);
            n += length;
        }
        line += length;
        left -= length;
    }
    out[n] = '\0';
}

const char *sah_version(void)
{
    return SAH_VERSION;
}

const char *sah_status_name(sah_status status)
{
    static const char *const NAMES[] = {
        "ok", "failed", "bad argument", "interrupted", "out of memory", "input or output", "unsupported"};
    return (size_t)status < sizeof NAMES / sizeof *NAMES ? NAMES[status] : "unknown";
}

static sah_status fail(sah_error *error, sah_status status, const char *field, const char *format,
                       va_list arguments)
{
    if (error == NULL) return status;
    /* The arguments may point into error->message, so the line is built beside it. */
    char line[sizeof error->message];
    const int length = snprintf(line, sizeof line, "%s", field);
    if (vsnprintf(line + length, sizeof line - (size_t)length, format, arguments) < 0) line[length] = '\0';
    error->status = status;
    snprintf(error->field, sizeof error->field, "%s", field);
    copy_printable(line, error->message, sizeof error->message);
    return status;
}

sah_status sah_fail(sah_error *error, sah_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fail(error, status, "", format, arguments);
    va_end(arguments);
    return status;
}

sah_status sah_fail_field(sah_error *error, sah_status status, const char *field, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fail(error, status, field, format, arguments);
    va_end(arguments);
    return status;
}

sah_status sah_fail_memory(sah_error *error, const char *what)
{
    return sah_fail(error, SAH_OUT_OF_MEMORY, "not enough memory for %s", what);
}

sah_status sah_fail_errno(sah_error *error, const char *what, const char *path)
{
    char buffer[256];
    const sah_status status = errno == ENOMEM ? SAH_OUT_OF_MEMORY : SAH_IO_ERROR;
    return sah_fail(error, status, "%s %s: %s", what, path, strerror_r(errno, buffer, sizeof buffer));
}

sah_status sah_fail_in(sah_error *error, const char *prefix)
{
    if (error == NULL) return SAH_FAILED;
    return sah_fail(error, error->status, "%s: %s", prefix, error->message);
}

void sah_error_clear(sah_error *error)
{
    if (error == NULL) return;
    error->status = SAH_OK;
    error->message[0] = '\0';
    error->field[0] = '\0';
}
