/* SPDX-License-Identifier: Apache-2.0 */
/* A new file or folder that gets its name when it is whole: written under a temporary name beside it, then
 * renamed. */
#ifndef SAH_EDIT_OUTPUT_H
#define SAH_EDIT_OUTPUT_H

#include <stdio.h>

#include "sahara.h"

typedef struct sah_output {
    char *path, *temporary;
    bool is_directory;
    sah_strings files; /* temporary paths of what was begun in the folder */
} sah_output;

/* A file being written. */
typedef struct sah_writer {
    FILE *file;
    char *shown; /* its name once all is done, for errors */
} sah_writer;

/* Refuses a path that exists, and names it as the input when it is one of the `n` inputs. On failure nothing
 * is left. */
sah_status sah_output_begin(const char *path, bool is_directory, const char *const *inputs, size_t n,
                            sah_output *out, sah_error *error);
/* Opens a new file: the output itself (`name` NULL), or one in the folder. sah_writer_close() in either case.
 */
sah_status sah_output_file(sah_output *output, const char *name, sah_writer *writer, sah_error *error);
/* Gives the finished output its name. */
sah_status sah_output_finish(sah_output *output, sah_error *error);
/* Frees; removes what is not finished. */
void sah_output_close(sah_output *output);

sah_status sah_writer_put(sah_writer *writer, const void *data, size_t size, sah_error *error);
/* Closes the file, its bytes on the disk; `status` is what came before, and what is returned when it is a
 * failure. */
sah_status sah_writer_close(sah_writer *writer, sah_status status, sah_error *error);

#endif
