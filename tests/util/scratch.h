/* SPDX-License-Identifier: Apache-2.0 */
/* Files for tests: a directory of their own that goes away at the end, and what is expected of a failure. */
#ifndef SAH_TESTS_UTIL_SCRATCH_H
#define SAH_TESTS_UTIL_SCRATCH_H

#include "sahara.h"

/* Path of `name` in this program's scratch directory, in a buffer that four more calls leave alone. */
const char *scratch(const char *name);
void scratch_write(const char *path, const void *data, size_t size);
void scratch_write_text(const char *path, const char *text);
/* The whole file, a NUL behind it, for free(). */
uint8_t *scratch_read(const char *path, size_t *size);

/* Fails the test unless `status` is a failure with one line in `error` that contains `part`. */
void expect_failure(sah_status status, const sah_error *error, const char *part);
/* Fails the test with the error's line unless `status` is SAH_OK. */
void expect_ok(sah_status status, const sah_error *error);

#endif
