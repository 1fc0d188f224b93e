/* SPDX-License-Identifier: Apache-2.0 */
#include "util/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/alloc.h"
#include "util/error.h"

/* What lies behind a file's end in its last page is no part of it: the address sanitizer is told so. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define WITH_ADDRESS_SANITIZER
#endif
#ifdef WITH_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
static size_t behind_end(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (page - size % page) % page;
}
#define FENCE(data, size)   ASAN_POISON_MEMORY_REGION((data) + (size), behind_end(size))
#define UNFENCE(data, size) ASAN_UNPOISON_MEMORY_REGION((data) + (size), behind_end(size))
#else
#define FENCE(data, size)   ((void)0)
#define UNFENCE(data, size) ((void)0)
#endif

/* O_NONBLOCK: opening a named pipe that nobody writes to must fail, not wait. */
static sah_status open_regular(const char *path, int *fd, sah_mapfile *out, sah_error *error)
{
    struct stat status;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return sah_fail_errno(error, "cannot open", path);
    if (fstat(*fd, &status) != 0) return sah_fail_errno(error, "cannot open", path);
    if (S_ISDIR(status.st_mode)) return sah_fail(error, SAH_FAILED, "%s is a directory, not a file", path);
    if (!S_ISREG(status.st_mode)) return sah_fail(error, SAH_FAILED, "%s is not a regular file", path);
    out->size = (size_t)status.st_size;
    out->device = status.st_dev;
    out->inode = status.st_ino;
    out->modified = status.st_mtim;
    return SAH_OK;
}

sah_status sah_mapfile_open(const char *path, sah_mapfile *out, sah_error *error)
{
    int fd = -1;
    *out = (sah_mapfile){0};
    sah_status status = open_regular(path, &fd, out, error);
    if (status != SAH_OK) goto done;
    out->path = strdup(path);
    if (out->path == NULL) {
        status = sah_fail_memory(error, "a path");
        goto done;
    }
    if (out->size > 0) {
        void *data = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = sah_fail_errno(error, "cannot map", path);
            out->size = 0;
            goto done;
        }
        out->data = data;
        FENCE(out->data, out->size);
    }
done:
    if (fd >= 0) close(fd);
    if (status != SAH_OK) {
        free(out->path);
        *out = (sah_mapfile){0};
    }
    return status;
}

sah_status sah_mapfile_unchanged(const sah_mapfile *file, sah_error *error)
{
    struct stat now;
    if (file->path == NULL) return SAH_OK; /* bytes in memory */
    if (stat(file->path, &now) != 0 || now.st_dev != file->device || now.st_ino != file->inode) return SAH_OK;
    if ((size_t)now.st_size == file->size && now.st_mtim.tv_sec == file->modified.tv_sec &&
        now.st_mtim.tv_nsec == file->modified.tv_nsec) {
        return SAH_OK;
    }
    return sah_fail(error, SAH_FAILED,
                    "%s changed while it was read: wait until whatever writes it has finished, and try again",
                    file->path);
}

void sah_mapfile_release(const sah_mapfile *file, size_t offset, size_t size)
{
    /* Only whole pages inside the range: a page at the edge may hold a neighbour that is still needed. */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (file->data == NULL || offset > file->size || size > file->size - offset) return;
    size_t begin = (offset + page - 1) / page * page, end = (offset + size) / page * page;
    if (begin < end) madvise((void *)(uintptr_t)(file->data + begin), end - begin, MADV_DONTNEED);
}

void sah_mapfile_close(sah_mapfile *file)
{
    if (file == NULL) return;
    if (file->data != NULL) {
        UNFENCE(file->data, file->size);
        munmap((void *)(uintptr_t)file->data, file->size);
    }
    free(file->path);
    *file = (sah_mapfile){0};
}

/* What is left to read of fd; `likely`: bytes of it, as far as its system knows. */
static sah_status read_all(int fd, const char *name, size_t likely, size_t limit, char **data, size_t *size,
                           sah_error *error)
{
    enum { CHUNK = 65536 };
    size_t capacity = 0, n = 0, chunk = likely > 0 && likely < CHUNK ? likely : CHUNK;
    for (;; chunk = CHUNK) {
        /* Behind what is read: a byte to see that there is no more, and a NUL. */
        if (capacity - n < 2 && !sah_grow(data, &capacity, n + chunk + 2, 1))
            return sah_fail_memory(error, name);
        ssize_t got = read(fd, *data + n, capacity - n - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return sah_fail_errno(error, "cannot read", name);
        if (got == 0) break;
        n += (size_t)got;
        if (n > limit) {
            return sah_fail(error, SAH_FAILED, "%s is larger than the %zu bytes such a file may have", name,
                            limit);
        }
    }
    (*data)[n] = '\0';
    *size = n;
    return SAH_OK;
}

sah_status sah_file_read(const char *path, size_t limit, char **data, size_t *size, sah_error *error)
{
    bool standard_input = strcmp(path, "-") == 0;
    const char *name = standard_input ? "standard input" : path;
    struct stat status;
    *data = NULL;
    *size = 0;
    int fd = standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return sah_fail_errno(error, "cannot open", path);
    sah_status result;
    const bool known = fstat(fd, &status) == 0;
    if (known && S_ISDIR(status.st_mode)) {
        result = sah_fail(error, SAH_FAILED, "%s is a directory, not a file", name);
    } else {
        const size_t likely = known && S_ISREG(status.st_mode) ? (size_t)status.st_size : 0;
        result = read_all(fd, name, likely, limit, data, size, error);
    }
    if (!standard_input) close(fd);
    if (result != SAH_OK) {
        free(*data);
        *data = NULL;
    }
    return result;
}
