/* SPDX-License-Identifier: Apache-2.0 */
/* Reading zip containers whose entries are stored as they are, which is how PyTorch saves: entries are looked at
 * where they lie in the mapped file. */
#ifndef SAH_MODEL_FORMAT_ZIP_H
#define SAH_MODEL_FORMAT_ZIP_H

#include "util/mapfile.h"

typedef struct sah_zip_entry {
    const char *name; /* in the file, not NUL-terminated */
    size_t length;
    const uint8_t *data;
    size_t size;
    size_t begin, end; /* in the file, the entry's own header included */
} sah_zip_entry;

typedef struct sah_zip {
    sah_zip_entry *entries; /* in the order of their names */
    size_t n;
} sah_zip;

/* Compressed and encrypted entries, archives in several parts, and entries that overlap, leave the file or have
 * one name are errors. */
sah_status sah_zip_open(const sah_mapfile *file, sah_zip *out, sah_error *error);
const sah_zip_entry *sah_zip_find(const sah_zip *zip, const char *name, size_t length); /* NULL: not there */
void sah_zip_close(sah_zip *zip);

#endif
