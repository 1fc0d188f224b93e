/* SPDX-License-Identifier: Apache-2.0 */
#include "edit/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"
#include "util/strings.h"

static sah_status refuse_existing(const char *path, const char *const *inputs, size_t n, sah_error *error)
{
    struct stat there, input;
    if (lstat(path, &there) != 0) {
        if (errno == ENOENT) return SAH_OK;
        return sah_fail_errno(error, "cannot write", path);
    }
    const bool readable = stat(path, &there) == 0;
    for (size_t i = 0; i < n && readable; i++) {
        if (stat(inputs[i], &input) == 0 && input.st_dev == there.st_dev && input.st_ino == there.st_ino)
            return sah_fail(error, SAH_BAD_ARGUMENT, "%s is the input; write somewhere else", path);
    }
    return sah_fail(error, SAH_FAILED, "%s already exists; choose another name, or remove it first", path);
}

/* PATH.NUMBER.part, where nothing is yet: a run that was killed leaves its own, and the number of a process
 * comes again. */
static char *temporary_name(const char *path)
{
    struct stat there;
    char *name = NULL;
    for (long number = getpid();; number++) {
        if (asprintf(&name, "%s.%ld.part", path, number) < 0) return NULL;
        if (lstat(name, &there) != 0) return name;
        free(name);
    }
}

sah_status sah_output_begin(const char *path, bool is_directory, const char *const *inputs, size_t n,
                            sah_output *out, sah_error *error)
{
    size_t length = strlen(path);
    *out = (sah_output){.is_directory = is_directory};
    while (length > 1 && path[length - 1] == '/') length--;
    if (length == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "the name of the output is empty");
    char *plain = strndup(path, length);
    if (plain == NULL) return sah_fail_memory(error, "a path");
    sah_status status = refuse_existing(plain, inputs, n, error);
    if (status == SAH_OK && (out->temporary = temporary_name(plain)) == NULL)
        status = sah_fail_memory(error, "a path");
    if (status == SAH_OK && is_directory && mkdir(out->temporary, 0777) != 0)
        status = sah_fail_errno(error, "cannot make", plain);
    if (status == SAH_OK) {
        out->path = plain;
        return SAH_OK;
    }
    free(out->temporary);
    free(plain);
    *out = (sah_output){0};
    return status;
}

sah_status sah_output_file(sah_output *output, const char *name, sah_writer *writer, sah_error *error)
{
    char *path = NULL;
    *writer = (sah_writer){0};
    const char *slash = name != NULL ? "/" : "", *last = name != NULL ? name : "";
    if (asprintf(&writer->shown, "%s%s%s", output->path, slash, last) < 0) {
        writer->shown = NULL;
        return sah_fail_memory(error, "a path");
    }
    if (asprintf(&path, "%s%s%s", output->temporary, slash, last) < 0)
        return sah_fail_memory(error, "a path");
    sah_status status = sah_strings_add(&output->files, path, strlen(path), error);
    int fd = status == SAH_OK ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    if (fd < 0) {
        /* Not ours to remove. */
        if (status == SAH_OK) free(output->files.items[--output->files.n]);
        if (status == SAH_OK) status = sah_fail_errno(error, "cannot write", writer->shown);
    } else {
        writer->file = fdopen(fd, "wb");
        if (writer->file == NULL) {
            status = sah_fail_errno(error, "cannot write", writer->shown);
            close(fd);
        }
    }
    free(path);
    return status;
}

/* What is in a folder is on the disk only when the folder's entries are. */
static sah_status sync_folder(const char *path, const char *shown, sah_error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return sah_fail_errno(error, "cannot write", shown);
    /* EINVAL: a file system that has no such operation. */
    sah_status status =
        fsync(fd) != 0 && errno != EINVAL ? sah_fail_errno(error, "cannot write", shown) : SAH_OK;
    close(fd);
    return status;
}

sah_status sah_output_finish(sah_output *output, sah_error *error)
{
    if (output->is_directory) {
        sah_status status = sync_folder(output->temporary, output->path, error);
        if (status != SAH_OK) return status;
    }
    if (renameat2(AT_FDCWD, output->temporary, AT_FDCWD, output->path, RENAME_NOREPLACE) != 0) {
        /* A file system or kernel that cannot rename without replacing: look, then rename. */
        bool lacking = errno == EINVAL || errno == ENOSYS;
        if (lacking && access(output->path, F_OK) == 0) {
            errno = EEXIST;
            lacking = false;
        }
        if (!lacking || rename(output->temporary, output->path) != 0)
            return sah_fail_errno(error, "cannot write", output->path);
    }
    free(output->temporary);
    output->temporary = NULL;
    return SAH_OK;
}

void sah_output_close(sah_output *output)
{
    if (output->temporary != NULL) {
        for (size_t i = 0; i < output->files.n; i++) unlink(output->files.items[i]);
        if (output->is_directory) rmdir(output->temporary);
    }
    sah_strings_free(&output->files);
    free(output->temporary);
    free(output->path);
    *output = (sah_output){0};
}

sah_status sah_writer_put(sah_writer *writer, const void *data, size_t size, sah_error *error)
{
    if (size == 0 || fwrite(data, 1, size, writer->file) == size) return SAH_OK;
    return sah_fail_errno(error, "cannot write", writer->shown);
}

sah_status sah_writer_close(sah_writer *writer, sah_status status, sah_error *error)
{
    if (writer->file != NULL) {
        bool kept = fflush(writer->file) == 0 && fsync(fileno(writer->file)) == 0;
        if (!kept && status == SAH_OK) status = sah_fail_errno(error, "cannot write", writer->shown);
        if (fclose(writer->file) != 0 && status == SAH_OK)
            status = sah_fail_errno(error, "cannot write", writer->shown);
    }
    free(writer->shown);
    *writer = (sah_writer){0};
    return status;
}
