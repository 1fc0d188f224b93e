/* SPDX-License-Identifier: Apache-2.0 */
/* A file mapped for reading. */
#ifndef SAH_UTIL_MAPFILE_H
#define SAH_UTIL_MAPFILE_H

#include <time.h>

#include "sahara.h"

typedef struct sah_mapfile {
    const uint8_t *data;
    size_t size;
    char *path;
    uint64_t device, inode; /* as it was when it was opened */
    struct timespec modified;
} sah_mapfile;

/* Regular files only (a directory or a pipe is an error); an empty file has size 0 and data NULL. */
sah_status sah_mapfile_open(const char *path, sah_mapfile *out, sah_error *error);
/* An error when the file was written to, or became longer or shorter, since it was opened. A file that another took the
 * name of is no such: what is mapped stays what it was. */
sah_status sah_mapfile_unchanged(const sah_mapfile *file, sah_error *error);
/* Tells the kernel that bytes [offset, offset + size) are not needed soon (their pages are let go). */
void sah_mapfile_release(const sah_mapfile *file, size_t offset, size_t size);
void sah_mapfile_close(sah_mapfile *file);

/* Reads a whole small file ("-": standard input) into *data, with a NUL behind it (not counted). At most
 * `limit` bytes, else an error. */
sah_status sah_file_read(const char *path, size_t limit, char **data, size_t *size, sah_error *error);

#endif
