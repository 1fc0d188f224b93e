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

static inline void fuzz_set(int fd, const void *data, size_t size)
{
    if ((size > 0 && pwrite(fd, data, size, 0) != (ssize_t)size) || ftruncate(fd, (off_t)size) != 0) abort();
}

/* A file in memory, by its path: the input's bytes, until the next is made. */
typedef struct fuzz_path {
    char text[256];
} fuzz_path;

static inline fuzz_path fuzz_memory(int fd)
{
    fuzz_path path;
    snprintf(path.text, sizeof path.text, "/proc/self/fd/%d", fd);
    return path;
}

static inline fuzz_path fuzz_file_of(const void *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) fd = memfd_create("fuzz", 0);
    if (fd < 0) abort();
    fuzz_set(fd, data, size);
    return fuzz_memory(fd);
}

/* A folder, in memory where there is one, for files of given names and for what the library writes;
 * fuzz_folder_remove() removes it. */
typedef struct fuzz_folder {
    char path[32];
} fuzz_folder;

static inline void fuzz_folder_make(fuzz_folder *folder)
{
    static const char *const where[] = {"/dev/shm", "/tmp"};
    for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
        snprintf(folder->path, sizeof folder->path, "%s/sahara-fuzz-XXXXXX", where[i]);
        if (mkdtemp(folder->path) != NULL) return;
    }
    abort();
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

/* A name in the folder whose bytes fuzz_set() gives. */
static inline int fuzz_named(const fuzz_folder *folder, const char *name)
{
    const int fd = memfd_create("fuzz", 0);
    if (fd < 0) abort();
    fuzz_folder_link(folder, name, fuzz_memory(fd).text);
    return fd;
}

#endif
