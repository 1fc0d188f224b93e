/* SPDX-License-Identifier: Apache-2.0 */
#include "run/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "model/checkpoint/identity.h"
#include "util/alloc.h"
#include "util/json.h"
#include "util/error.h"
#include "util/mapfile.h"
#include "util/strings.h"

/* Largest journal that is resumed, in bytes: bounds what a wrong file can make us read. */
static const size_t LARGEST_JOURNAL = (size_t)16 << 30;

struct sah_journal {
    int fd; /* -1: no file */
    sah_line_sink sink;
    bool regular; /* can be read back, locked and cut */
    bool owned; /* close fd; standard output stays open */
    off_t end; /* behind the last whole line */
    char *path;
};

/* ---- Headers ------------------------------------------------------------------------------------------- */

json_t *sah_journal_header(const char *command, const sah_model *model)
{
    json_t *record = sah_model_record(sah_model_describe(model));
    return json_pack("{s:s, s:s, s:o}", "sahara", command, "version", SAH_VERSION, "model", record);
}

sah_status sah_journal_read_header(const char *path, const char *command, json_t **out, sah_error *error)
{
    struct stat info;
    sah_mapfile file;
    *out = NULL;
    if (path == NULL || strcmp(path, "-") == 0 || (stat(path, &info) == 0 && !S_ISREG(info.st_mode)))
        return SAH_OK;
    sah_status status = sah_mapfile_open(path, &file, error);
    if (status != SAH_OK) return status;
    const char *text = (const char *)file.data, *end = file.size > 0 ? memchr(text, '\n', file.size) : NULL;
    if (end != NULL) status = sah_json_parse(text, (size_t)(end - text), path, out, error);
    sah_mapfile_close(&file);
    const char *there = json_string_value(json_object_get(*out, "sahara"));
    if (status == SAH_OK && there != NULL && strcmp(there, command) == 0) return SAH_OK;
    json_decref(*out);
    *out = NULL;
    return status;
}

/* A value as short text, or `absent`. */
static void show_value(const json_t *value, const char *absent, char out[80])
{
    char *text =
        value != NULL ? sah_json_text(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    const char *shown = text != NULL ? text : absent;
    size_t length = strlen(shown);
    if (length < 80) {
        memcpy(out, shown, length + 1);
    } else {
        size_t cut = 72;
        while (((unsigned char)shown[cut] & 0xc0) == 0x80) cut--; /* not inside a UTF-8 sequence */
        memcpy(out, shown, cut);
        memcpy(out + cut, "...", 4);
    }
    free(text);
}

/* The place of the value under comparison, "queries[3]"; grows and shrinks as the comparison descends. */
typedef struct place {
    char text[160];
    size_t length;
} place;

static void enter_key(place *at, const char *key)
{
    int n =
        snprintf(at->text + at->length, sizeof at->text - at->length, "%s%s", at->length > 0 ? "." : "", key);
    at->length += (size_t)n;
    if (at->length >= sizeof at->text) at->length = sizeof at->text - 1;
}

static void enter_item(place *at, size_t index)
{
    int n = snprintf(at->text + at->length, sizeof at->text - at->length, "[%zu]", index);
    at->length += (size_t)n;
    if (at->length >= sizeof at->text) at->length = sizeof at->text - 1;
}

static void leave_to(place *at, size_t length)
{
    at->length = length;
    at->text[length] = '\0';
}

static bool differ(const json_t *there, const json_t *here, place *at, char *what, size_t size);

static bool objects_differ(const json_t *there, const json_t *here, place *at, char *what, size_t size)
{
    const char *key;
    json_t *value;
    size_t outside = at->length;
    /* jansson's iterators take no const object; nothing is changed. */
    json_object_foreach((json_t *)(uintptr_t)here, key, value)
    {
        enter_key(at, key);
        if (differ(json_object_get(there, key), value, at, what, size)) return true;
        leave_to(at, outside);
    }
    json_object_foreach((json_t *)(uintptr_t)there, key, value)
    {
        if (json_object_get(here, key) != NULL) continue;
        enter_key(at, key);
        return differ(value, NULL, at, what, size);
    }
    return false;
}

static bool arrays_differ(const json_t *there, const json_t *here, place *at, char *what, size_t size)
{
    size_t n_there = json_array_size(there), n_here = json_array_size(here), outside = at->length;
    for (size_t i = 0; i < n_there || i < n_here; i++) {
        enter_item(at, i);
        if (differ(json_array_get(there, i), json_array_get(here, i), at, what, size)) return true;
        leave_to(at, outside);
    }
    return false;
}

static bool differ(const json_t *there, const json_t *here, place *at, char *what, size_t size)
{
    if (json_is_object(there) && json_is_object(here)) return objects_differ(there, here, at, what, size);
    if (json_is_array(there) && json_is_array(here)) return arrays_differ(there, here, at, what, size);
    if (there != NULL && here != NULL) {
        if (json_is_number(there) && json_is_number(here)) {
            double a = json_number_value(there), b = json_number_value(here);
            if (!(a < b) && !(a > b)) return false;
        } else if (json_equal(there, here)) {
            return false;
        }
    }
    char value_there[80], value_here[80];
    /* Headers name a device that is not the CPU. */
    const char *absent = strcmp(at->text, "settings.device") == 0 ? "\"cpu\"" : "nothing";
    show_value(there, absent, value_there);
    show_value(here, absent, value_here);
    snprintf(what, size, "%s: %s there, %s here", at->text, value_there, value_here);
    return true;
}

bool sah_json_difference(const json_t *there, const json_t *here, char *what, size_t size)
{
    place at = {.length = 0};
    return differ(there, here, &at, what, size);
}

/* ---- Writing ------------------------------------------------------------------------------------------- */

static sah_status write_failed(const sah_journal *journal, sah_error *error)
{
    sah_status status = sah_fail_errno(error, "cannot write", journal->path);
    if (journal->regular && ftruncate(journal->fd, journal->end) != 0) {
        return sah_fail_errno(error, "cannot write, nor remove a half-written line from", journal->path);
    }
    return status;
}

/* Hands the sink a line[0..size), which has a NUL or a line end behind it. */
static sah_status show_line(const sah_journal *journal, char *line, size_t size, sah_error *error)
{
    const char end = line[size];
    if (journal->sink.line == NULL) return SAH_OK;
    line[size] = '\0';
    const bool go_on = journal->sink.line(journal->sink.user, line, size);
    line[size] = end;
    return go_on ? SAH_OK : sah_fail(error, SAH_INTERRUPTED, "interrupted");
}

/* Writes bytes that end in a line end, with one write(2) where the system takes them whole. */
static sah_status write_line(sah_journal *journal, const char *bytes, size_t size, sah_error *error)
{
    size_t done = 0;
    if (journal->fd < 0) return SAH_OK;
    while (done < size) {
        ssize_t n = write(journal->fd, bytes + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return write_failed(journal, error);
        done += (size_t)n;
    }
    journal->end += (off_t)size;
    return SAH_OK;
}

sah_status sah_journal_add(sah_journal *journal, const char *text, size_t size, sah_error *error)
{
    char *line = sah_alloc(size + 1, 1);
    if (line == NULL) return sah_fail_memory(error, "a line of the result");
    memcpy(line, text, size);
    line[size] = '\n';
    sah_status status = write_line(journal, line, size + 1, error);
    if (status == SAH_OK) status = show_line(journal, line, size, error);
    free(line);
    return status;
}

/* ---- Opening ------------------------------------------------------------------------------------------- */

/* Reads the whole file into *data. */
static sah_status read_back(const sah_journal *journal, size_t size, char **data, sah_error *error)
{
    if (size > LARGEST_JOURNAL) {
        return sah_fail(error, SAH_FAILED, "%s: too large to be a result file", journal->path);
    }
    *data = sah_alloc(size + 1, 1);
    if (*data == NULL) return sah_fail_memory(error, journal->path);
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(journal->fd, *data + done, size - done, (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return sah_fail_errno(error, "cannot read", journal->path);
        if (n == 0) return sah_fail(error, SAH_FAILED, "%s: became shorter while it was read", journal->path);
        done += (size_t)n;
    }
    return SAH_OK;
}

static sah_status not_a_result(const sah_journal *journal, sah_error *error)
{
    return sah_fail(error, SAH_FAILED,
                    "%s: already exists and is not a result file of this program; choose another name",
                    journal->path);
}

/* Line `number`, text[0..size) without its line end, as an object. */
static sah_status parse_line(const sah_journal *journal, const char *text, size_t size, size_t number,
                             json_t **out, sah_error *error)
{
    char where[64];
    snprintf(where, sizeof where, "line %zu", number);
    *out = NULL;
    if (sah_json_parse(text, size, where, out, error) == SAH_OK && json_is_object(*out)) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "%s: line %zu is damaged (not a JSON object); remove it to carry on",
                    journal->path, number);
}

static sah_status check_header(const sah_journal *journal, const char *text, size_t size,
                               const json_t *header, sah_error *error)
{
    json_t *there = NULL;
    char what[512];
    sah_status status = SAH_OK;
    if (sah_json_parse(text, size, journal->path, &there, NULL) != SAH_OK ||
        !json_is_string(json_object_get(there, "sahara"))) {
        status = not_a_result(journal, error);
    } else if (sah_json_difference(there, header, what, sizeof what)) {
        status =
            sah_fail(error, SAH_FAILED, "%s: holds another run: %s; choose another name, or remove the file",
                     journal->path, what);
    }
    json_decref(there);
    return status;
}

static sah_status write_first(sah_journal *journal, const sah_text *first, sah_error *error)
{
    sah_status status = write_line(journal, first->data, first->size, error);
    return status == SAH_OK ? show_line(journal, first->data, first->size - 1, error) : status;
}

/* Checks the header, hands every other line to `each`, and cuts a last line without its end. `first` is the
 * header line with its end. */
static sah_status resume(sah_journal *journal, size_t size, const json_t *header, const sah_text *first,
                         sah_journal_line_fn each, void *ctx, sah_error *error)
{
    char *data = NULL;
    sah_status status = read_back(journal, size, &data, error);
    if (status != SAH_OK) goto done;

    size_t at = 0, number = 0;
    const char *end;
    while (status == SAH_OK && at < size && (end = memchr(data + at, '\n', size - at)) != NULL) {
        size_t length = (size_t)(end - (data + at));
        number++;
        if (number == 1) {
            status = check_header(journal, data, length, header, error);
            if (status == SAH_OK) status = show_line(journal, data, length, error);
        } else {
            json_t *line;
            status = parse_line(journal, data + at, length, number, &line, error);
            if (status == SAH_OK && each(ctx, line, number, error) != SAH_OK)
                status = sah_fail_in(error, journal->path);
            if (status == SAH_OK) status = show_line(journal, data + at, length, error);
            json_decref(line);
        }
        at += length + 1;
    }
    if (status != SAH_OK) goto done;

    /* Without one whole line only a header that was cut short is ours to overwrite. */
    if (number == 0 && (size >= first->size || memcmp(data, first->data, size) != 0)) {
        status = not_a_result(journal, error);
        goto done;
    }
    journal->end = (off_t)at;
    if (at < size && ftruncate(journal->fd, journal->end) != 0) {
        status = sah_fail_errno(error, "cannot cut the unfinished last line of", journal->path);
        goto done;
    }
    if (number == 0) status = write_first(journal, first, error);

done:
    free(data);
    return status;
}

/* The process that holds a lock of flock(2) on the file, from the list in /proc/locks ("1: FLOCK  ADVISORY  WRITE 4711
 * 08:01:131 0 EOF"); 0: not to be known. */
static long lock_holder(const struct stat *file)
{
    char line[256];
    long holder = 0;
    FILE *locks = fopen("/proc/locks", "r");
    if (locks == NULL) return 0;
    while (holder == 0 && fgets(line, sizeof line, locks) != NULL) {
        long pid;
        unsigned major_, minor_;
        unsigned long long inode;
        if (sscanf(line, "%*d: FLOCK %*s %*s %ld %x:%x:%llu", &pid, &major_, &minor_, &inode) == 4 &&
            makedev(major_, minor_) == file->st_dev && inode == file->st_ino) {
            holder = pid;
        }
    }
    fclose(locks);
    return holder;
}

/* Opens and locks the file, and says how long it is. */
static sah_status open_file(sah_journal *journal, const char *path, size_t *size, sah_error *error)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        errno = EISDIR;
        return sah_fail_errno(error, "cannot write", path);
    }
    bool plain = stat(path, &info) != 0 || S_ISREG(info.st_mode);
    journal->fd = open(path, (plain ? O_RDWR | O_CREAT | O_APPEND : O_WRONLY) | O_CLOEXEC, 0666);
    if (journal->fd < 0 || fstat(journal->fd, &info) != 0) return sah_fail_errno(error, "cannot write", path);
    journal->owned = true;
    journal->regular = S_ISREG(info.st_mode);
    if (!journal->regular) return SAH_OK;
    if (flock(journal->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        const long holder = lock_holder(&info);
        if (holder > 0)
            return sah_fail(error, SAH_FAILED, "%s: another run, process %ld, is writing this file", path,
                            holder);
        return sah_fail(error, SAH_FAILED, "%s: another run is writing this file", path);
    }
    /* Its length once it is ours alone. */
    if (fstat(journal->fd, &info) != 0) return sah_fail_errno(error, "cannot read", path);
    *size = (size_t)info.st_size;
    return SAH_OK;
}

sah_status sah_journal_open(const char *path, const json_t *header, sah_journal_line_fn each, void *ctx,
                            sah_line_sink sink, sah_journal **out, sah_error *error)
{
    const bool none = path == NULL, standard = !none && strcmp(path, "-") == 0;
    size_t size = 0;
    sah_text first = {0};
    sah_status status = SAH_OK;
    char *text = sah_json_text(header, JSON_COMPACT | JSON_REAL_PRECISION(15));
    sah_journal *journal = sah_alloc(1, sizeof *journal);
    *out = NULL;
    if (journal != NULL) {
        journal->fd = none ? -1 : STDOUT_FILENO;
        journal->sink = sink;
        journal->path = strdup(none ? "the result" : standard ? "standard output" : path);
    }
    if (text != NULL) sah_text_adds(&first, text);
    sah_text_adds(&first, "\n");
    if (journal == NULL || journal->path == NULL || text == NULL || first.failed) {
        status = sah_fail_memory(error, "the result file's header");
        goto done;
    }

    if (!none && !standard) status = open_file(journal, path, &size, error);
    if (status != SAH_OK) goto done;
    if (size > 0)
        status = resume(journal, size, header, &first, each, ctx, error);
    else
        status = write_first(journal, &first, error);

done:
    free(text);
    free(first.data);
    if (status == SAH_OK)
        *out = journal;
    else
        (void)sah_journal_close(journal, NULL);
    return status;
}

sah_status sah_journal_close(sah_journal *journal, sah_error *error)
{
    sah_status status = SAH_OK;
    if (journal == NULL) return SAH_OK;
    if (journal->owned) {
        if (journal->regular && fsync(journal->fd) != 0 && errno != EINVAL && errno != ENOSYS) {
            status = sah_fail_errno(error, "cannot write", journal->path);
        }
        if (close(journal->fd) != 0 && errno != EINTR && status == SAH_OK) {
            status = sah_fail_errno(error, "cannot write", journal->path);
        }
    }
    free(journal->path);
    free(journal);
    return status;
}

bool sah_lines_add(void *user, const char *line, size_t length)
{
    sah_lines *lines = user;
    size_t size;
    if (!sah_add(lines->size, length, &size) || !sah_add(size, 2, &size) ||
        !sah_grow(&lines->text, &lines->capacity, size, 1))
        return false;
    memcpy(lines->text + lines->size, line, length);
    memcpy(lines->text + lines->size + length, "\n", 2);
    lines->size = size - 1;
    return true;
}

void sah_line_number(sah_text *line, const char *key, double value)
{
    char number[32];
    sah_format_double(value, number);
    sah_text_addf(line, ",\"%s\":%s", key, number);
}

void sah_line_numbers(sah_text *line, const char *key, const double *values, size_t n)
{
    char number[32];
    sah_text_addf(line, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++) {
        sah_format_double(values[i], number);
        if (i > 0) sah_text_add(line, ",", 1);
        sah_text_adds(line, isnan(values[i]) ? "null" : number);
    }
    sah_text_add(line, "]", 1);
}
