/* SPDX-License-Identifier: Apache-2.0 */
#include "util/wholefile.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"

static sah_status write_stream(FILE *file, const void *data, size_t size, const char *name, sah_error *error)
{
    if (fwrite(data, 1, size, file) == size && fflush(file) == 0) return SAH_OK;
    return sah_fail_errno(error, "cannot write", name);
}

/* Writes beside `path` and renames, so that a full disk or a kill leaves the old file or none. */
static sah_status replace_file(const char *path, const void *data, size_t size, const struct stat *old,
                               sah_error *error)
{
    char *name = NULL;
    sah_status status = SAH_OK;
    if (asprintf(&name, "%s.%ld.part", path, (long)getpid()) < 0) return sah_fail_memory(error, "a path");
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (file == NULL) {
        status = sah_fail_errno(error, "cannot write", path);
        if (fd >= 0) close(fd);
    } else {
        status = write_stream(file, data, size, path, error);
        bool kept = (old == NULL || fchmod(fd, old->st_mode & 0777) == 0) && fsync(fd) == 0;
        if (status == SAH_OK && !kept) status = sah_fail_errno(error, "cannot write", path);
        if (fclose(file) != 0 && status == SAH_OK) status = sah_fail_errno(error, "cannot write", path);
        if (status == SAH_OK && rename(name, path) != 0) status = sah_fail_errno(error, "cannot write", path);
    }
    if (status != SAH_OK && fd >= 0) unlink(name);
    free(name);
    return status;
}

sah_status sah_file_write(const char *path, const void *data, size_t size, sah_error *error)
{
    struct stat there;
    if (path == NULL) return write_stream(stdout, data, size, "standard output", error);
    if (lstat(path, &there) != 0) return replace_file(path, data, size, NULL, error);
    if (access(path, W_OK) != 0) return sah_fail_errno(error, "cannot write", path);
    if (S_ISREG(there.st_mode)) return replace_file(path, data, size, &there, error);
    /* A device, a pipe or a link is written through. */
    FILE *file = fopen(path, "wb");
    if (file == NULL) return sah_fail_errno(error, "cannot write", path);
    sah_status status = write_stream(file, data, size, path, error);
    if (fclose(file) != 0 && status == SAH_OK) status = sah_fail_errno(error, "cannot write", path);
    return status;
}
