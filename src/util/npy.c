/* SPDX-License-Identifier: Apache-2.0 */
#include "util/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/wholefile.h"

/* Magic, version and length are 10 bytes; with the description the header is a multiple of 64. */
enum { HEADER = 128, PREFIX = 10 };

static sah_status write_matrix(const char *path, const void *data, size_t item, size_t rows, size_t columns,
                               sah_error *error)
{
    char order = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>';
    size_t size;
    uint8_t *file = NULL;
    if (sah_mul(rows, columns, &size) && sah_mul(size, item, &size) && size <= SIZE_MAX - HEADER)
        file = sah_alloc(HEADER + size, 1);
    if (file == NULL) return sah_fail_memory(error, "a .npy file");
    char *text = (char *)file + PREFIX;
    memcpy(file, "\x93NUMPY\x01\x00", 8);
    file[8] = HEADER - PREFIX; /* the length, two bytes, lowest first */
    int n =
        snprintf(text, HEADER - PREFIX, "{'descr': '%cf%zu', 'fortran_order': False, 'shape': (%zu, %zu), }",
                 order, item, rows, columns);
    memset(text + n, ' ', (size_t)(HEADER - PREFIX - n));
    file[HEADER - 1] = '\n';
    if (size > 0) memcpy(file + HEADER, data, size);
    sah_status status = sah_file_write(path, file, HEADER + size, error);
    free(file);
    return status;
}

sah_status sah_npy_write_floats(const char *path, const float *data, size_t rows, size_t columns,
                                sah_error *error)
{
    return write_matrix(path, data, sizeof *data, rows, columns, error);
}

sah_status sah_npy_write_doubles(const char *path, const double *data, size_t rows, size_t columns,
                                 sah_error *error)
{
    return write_matrix(path, data, sizeof *data, rows, columns, error);
}
