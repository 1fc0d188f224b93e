/* SPDX-License-Identifier: Apache-2.0 */
/* One way to fail: fill the caller's sah_error with a line for a person and return its status. */
#ifndef SAH_UTIL_ERROR_H
#define SAH_UTIL_ERROR_H

#include "sahara.h"

/* Writes the formatted line (control characters and bytes that are not UTF-8 shown as '?') and returns
 * `status`. `error` may be NULL. */
sah_status sah_fail(sah_error *error, sah_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same where a field of the caller's options (or an argument) is at fault: the message is its name and, right
 * behind it, the formatted rest, " VALUE: what is wrong" or ": what is wrong". */
sah_status sah_fail_field(sah_error *error, sah_status status, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The usual cases. */
sah_status sah_fail_memory(sah_error *error, const char *what); /* "not enough memory for WHAT" */
sah_status sah_fail_errno(sah_error *error, const char *what, const char *path); /* "WHAT PATH: strerror" */

/* Puts "PREFIX: " before the message already in `error`. Returns its status. */
sah_status sah_fail_in(sah_error *error, const char *prefix);

void sah_error_clear(sah_error *error);

/* For scripts/check-static: an analyser sees one file at a time, and is told here that a failure is no success. */
#ifdef SAH_ANALYSED
#define sah_fail(error, status, ...) (sah_fail((error), (status), __VA_ARGS__), (status))
#define sah_fail_field(error, status, field, ...)                                                            \
    (sah_fail_field((error), (status), (field), __VA_ARGS__), (status))
#define sah_fail_memory(error, what)      (sah_fail_memory((error), (what)), SAH_OUT_OF_MEMORY)
#define sah_fail_errno(error, what, path) (sah_fail_errno((error), (what), (path)), SAH_IO_ERROR)
#endif

#endif
