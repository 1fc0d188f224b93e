/* SPDX-License-Identifier: Apache-2.0 */
#include "run/together.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "run/journal.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

enum { PAUSE = 200 /* milliseconds */ };

/* Another shard's journal, or a file that is none (`foreign`). */
typedef struct peer {
    char *path;
    dev_t device;
    ino_t inode;
    off_t at; /* behind the last line that was taken */
    bool begun, foreign; /* its header was read */
} peer;

struct sah_together {
    char *folder, *own;
    json_t *header;
    peer *peers;
    size_t n, capacity;
};

sah_status sah_together_open(const char *folder, const char *own, json_t *header, sah_together **out,
                             sah_error *error)
{
    *out = NULL;
    if (own == NULL || strcmp(own, "-") == 0)
        return sah_fail(error, SAH_BAD_ARGUMENT, "a shard that others wait for must write a file of %s",
                        folder);
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) return sah_fail_errno(error, "cannot make", folder);
    sah_together *t = sah_alloc(1, sizeof *t);
    if (t == NULL) return sah_fail_memory(error, "the other shards");
    t->folder = strdup(folder);
    t->own = strdup(own);
    t->header = json_incref(header);
    *out = t;
    if (t->folder != NULL && t->own != NULL) return SAH_OK;
    sah_together_close(t);
    *out = NULL;
    return sah_fail_memory(error, "the other shards");
}

void sah_together_close(sah_together *t)
{
    if (t == NULL) return;
    for (size_t i = 0; i < t->n; i++) free(t->peers[i].path);
    free(t->peers);
    free(t->folder);
    free(t->own);
    json_decref(t->header);
    free(t);
}

/* The file as one that is known, or as a new one. */
static sah_status find_peer(sah_together *t, const char *path, const struct stat *info, peer **out,
                            sah_error *error)
{
    for (size_t i = 0; i < t->n; i++) {
        *out = &t->peers[i];
        if ((*out)->device == info->st_dev && (*out)->inode == info->st_ino) return SAH_OK;
    }
    char *copy = strdup(path);
    if (copy == NULL || !sah_grow(&t->peers, &t->capacity, t->n + 1, sizeof *t->peers)) {
        free(copy);
        return sah_fail_memory(error, "the other shards");
    }
    *out = &t->peers[t->n++];
    **out = (peer){.path = copy, .device = info->st_dev, .inode = info->st_ino};
    return SAH_OK;
}

/* The bytes of a file from `at` on; what cannot be read now is read the next time. */
static sah_status read_from(const char *path, off_t at, off_t end, char **data, size_t *n, sah_error *error)
{
    const size_t size = end > at ? (size_t)(end - at) : 0;
    *n = 0;
    *data = sah_alloc(size, 1);
    if (*data == NULL) return sah_fail_memory(error, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && *n < size) {
        ssize_t got = pread(fd, *data + *n, size - *n, at + (off_t)*n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        *n += (size_t)got;
    }
    if (fd >= 0) close(fd);
    return SAH_OK;
}

static sah_status take_header(const sah_together *t, peer *p, const json_t *line, sah_error *error)
{
    char what[512];
    const json_t *command = json_object_get(line, "sahara");
    p->begun = true;
    p->foreign = !json_is_string(command) || !json_equal(command, json_object_get(t->header, "sahara"));
    if (p->foreign || !sah_json_difference(line, t->header, what, sizeof what)) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "%s: a shard of another run: %s", p->path, what);
}

static sah_status take_line(const sah_together *t, peer *p, const char *text, size_t size,
                            sah_together_line_fn each, void *ctx, bool *later, sah_error *error)
{
    json_t *line = NULL;
    sah_status status = sah_json_parse(text, size, p->path, &line, NULL);
    if (status != SAH_OK && !p->begun) {
        p->begun = p->foreign = true;
        return SAH_OK;
    }
    if (status != SAH_OK)
        return sah_fail(error, SAH_FAILED, "%s: a line is damaged (not a JSON object)", p->path);
    if (!p->begun) {
        status = take_header(t, p, line, error);
    } else if (each(ctx, line, later, error) != SAH_OK) {
        status = sah_fail_in(error, p->path);
    }
    json_decref(line);
    return status;
}

static sah_status read_peer(const sah_together *t, peer *p, off_t end, sah_together_line_fn each, void *ctx,
                            sah_error *error)
{
    char *data = NULL;
    size_t n, at = 0;
    bool later = false;
    const char *line_end;
    if (p->foreign || end <= p->at) return SAH_OK;
    sah_status status = read_from(p->path, p->at, end, &data, &n, error);
    while (status == SAH_OK && !p->foreign && at < n &&
           (line_end = memchr(data + at, '\n', n - at)) != NULL) {
        const size_t length = (size_t)(line_end - (data + at));
        status = take_line(t, p, data + at, length, each, ctx, &later, error);
        if (later) break;
        at += length + 1;
        p->at += (off_t)length + 1;
    }
    free(data);
    return status;
}

static bool is_journal(const char *name)
{
    static const char SUFFIX[] = ".jsonl";
    const size_t n = strlen(name), m = sizeof SUFFIX - 1;
    return name[0] != '.' && n > m && strcmp(name + n - m, SUFFIX) == 0;
}

sah_status sah_together_read(sah_together *t, sah_together_line_fn each, void *ctx, sah_error *error)
{
    struct stat own = {0}, info;
    struct dirent *entry;
    sah_status status = SAH_OK;
    const bool has_own = stat(t->own, &own) == 0;
    DIR *directory = opendir(t->folder);
    if (directory == NULL) return sah_fail_errno(error, "cannot list", t->folder);
    while (status == SAH_OK && (entry = readdir(directory)) != NULL) {
        sah_text path = {0};
        peer *p = NULL;
        if (!is_journal(entry->d_name)) continue;
        sah_text_addf(&path, "%s/%s", t->folder, entry->d_name);
        if (path.failed) {
            status = sah_fail_memory(error, "a path");
        } else if (stat(path.data, &info) == 0 && S_ISREG(info.st_mode) &&
                   !(has_own && info.st_dev == own.st_dev && info.st_ino == own.st_ino)) {
            status = find_peer(t, path.data, &info, &p, error);
            if (status == SAH_OK) status = read_peer(t, p, info.st_size, each, ctx, error);
        }
        free(path.data);
    }
    closedir(directory);
    return status;
}

sah_status sah_together_wait(const sah_run_options *options, const char *what, uint64_t done, uint64_t total,
                             sah_error *error)
{
    const struct timespec pause = {0, PAUSE * 1000000L};
    if (options->progress != NULL && !options->progress(options->user, what, done, total))
        return sah_fail(error, SAH_INTERRUPTED, "interrupted");
    nanosleep(&pause, NULL);
    return SAH_OK;
}
