/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are there as a whole or not at all. */
#ifndef SAH_UTIL_WHOLEFILE_H
#define SAH_UTIL_WHOLEFILE_H

#include "sahara.h"

/* Writes data[0..size) to `path`: beside it and renamed, so that a full disk or a kill leaves the old file or
 * none; a device, a pipe or a link is written through. `path` NULL is standard output. */
sah_status sah_file_write(const char *path, const void *data, size_t size, sah_error *error);

#endif
