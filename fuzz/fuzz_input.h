/* SPDX-License-Identifier: Apache-2.0 */
/* Hands a fuzz target's bytes to readers that want files: files in memory that have a path, alone or under given names
 * in a folder. */
#ifndef SAH_FUZZ_INPUT_H
#define SAH_FUZZ_INPUT_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

/* A folder for files of given names and for what the library writes; fuzz_folder_remove() removes it. */
typedef struct fuzz_folder {
    char path[32];
} fuzz_folder;

static inline void fuzz_folder_make(fuzz_folder *folder)
{
    snprintf(folder->path, sizeof folder->path, "/tmp/sahara-fuzz-XXXXXX");
    if (mkdtemp(folder->path) == NULL) abort();
}

/* Removes the folder and what lies in it. */
static inline void fuzz_folder_remove(const fuzz_folder *folder)
{
    char path[512];
    DIR *listing = opendir(folder->path);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", folder->path, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    if (listing != NULL) closedir(listing);
    rmdir(folder->path);
}

typedef struct fuzz_path {
    char text[256];
} fuzz_path;

static inline fuzz_path fuzz_path_in(const fuzz_folder *folder, const char *name)
{
    fuzz_path path;
    if (snprintf(path.text, sizeof path.text, "%s/%s", folder->path, name) >= (int)sizeof path.text) abort();
    return path;
}

static inline void fuzz_folder_link(const fuzz_folder *folder, const char *name, const char *target)
{
    if (symlink(target, fuzz_path_in(folder, name).text) != 0) abort();
}

/* A name in the folder whose bytes fuzz_named_set() gives. */
static inline int fuzz_named(const fuzz_folder *folder, const char *name)
{
    fuzz_file file = fuzz_file_of(NULL, 0);
    if (file.fd < 0) abort();
    fuzz_folder_link(folder, name, file.path);
    return file.fd;
}

static inline void fuzz_named_set(int fd, const void *data, size_t size)
{
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size) abort();
}

#endif
