/* SPDX-License-Identifier: Apache-2.0 */
/* What a file is that is not what was looked for: told from its first bytes, so that an error can say it. */
#ifndef SAH_UTIL_FILEKIND_H
#define SAH_UTIL_FILEKIND_H

#include "sahara.h"

/* Text was looked for (`wanted` says which: "a list of queries"). Fails by name on what a download left in
 * the file's place (a Git LFS pointer, an HTML page), on containers (Parquet, gzip, ...) and on UTF-16. Text
 * of any other sort passes. `where` names the file. */
sah_status sah_expect_text(const char *where, const void *data, size_t size, const char *wanted,
                           sah_error *error);

/* Bytes were looked for (`wanted`: "weights"): fails on the same leavings of a download, on an empty file and
 * on one that begins like text, whose beginning the message shows. */
sah_status sah_expect_bytes(const char *where, const void *data, size_t size, const char *wanted,
                            sah_error *error);

#endif
