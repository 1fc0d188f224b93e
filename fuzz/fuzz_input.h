/* SPDX-License-Identifier: Apache-2.0 */
/* Hands a fuzz target's bytes to a reader that wants a file: a file in memory that has a path. */
#ifndef SAH_FUZZ_INPUT_H
#define SAH_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct fuzz_file {
    int fd;
    char path[32];
} fuzz_file;

static inline fuzz_file fuzz_file_of(const uint8_t *data, size_t size)
{
    fuzz_file file = {.fd = memfd_create("fuzz", 0)};
    for (size_t at = 0; at < size;) {
        ssize_t n = write(file.fd, data + at, size - at);
        if (n <= 0) break;
        at += (size_t)n;
    }
    snprintf(file.path, sizeof file.path, "/proc/self/fd/%d", file.fd);
    return file;
}

static inline void fuzz_file_close(const fuzz_file *file)
{
    close(file->fd);
}

#endif
