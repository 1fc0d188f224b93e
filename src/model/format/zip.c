/* SPDX-License-Identifier: Apache-2.0 */
/* Format: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 (records) and 4.5.3 (zip64). Entries, then the central
 * directory that lists them, then a record that says where it lies. All numbers little endian. What an entry's
 * own header says of its size is not asked: writers of streams leave it empty. */
#include "model/format/zip.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

enum {
    END_BYTES = 22, /* end of central directory record, without its comment */
    MAX_COMMENT = 65535,
    LOCATOR_BYTES = 20, /* zip64: where the larger end record lies */
    END64_BYTES = 56,
    DIRECTORY_BYTES = 46, /* an entry of the central directory, without its name */
    LOCAL_BYTES = 30, /* an entry's own header */
    SHOWN_NAME = 100
};

/* Where the central directory lies. */
typedef struct directory {
    uint64_t begin, size, n;
} directory;

static uint64_t number_at(const uint8_t *bytes, int n)
{
    uint64_t value = 0;
    while (n-- > 0) value = value << 8 | bytes[n];
    return value;
}

static bool signature_at(const sah_mapfile *file, uint64_t at, size_t size, const char signature[4])
{
    return at <= file->size && size <= file->size - at && memcmp(file->data + at, signature, 4) == 0;
}

/* The end record is the last one whose comment ends with the file. */
static bool find_end(const sah_mapfile *file, size_t *out)
{
    for (size_t comment = 0; comment <= MAX_COMMENT && comment + END_BYTES <= file->size; comment++) {
        const size_t at = file->size - END_BYTES - comment;
        if (memcmp(file->data + at, "PK\5\6", 4) == 0 && number_at(file->data + at + 20, 2) == comment) {
            *out = at;
            return true;
        }
    }
    return false;
}

static sah_status find_directory(const sah_mapfile *file, directory *out, sah_error *error)
{
    size_t end;
    if (!find_end(file, &end)) {
        return sah_fail(error, SAH_FAILED, "%s: not a zip container, or cut short: its directory is missing",
                        file->path);
    }
    const uint8_t *record = file->data + end;
    uint64_t parts = number_at(record + 4, 2) | number_at(record + 6, 2), limit = end;
    *out = (directory){number_at(record + 16, 4), number_at(record + 12, 4), number_at(record + 10, 2)};
    if (end >= LOCATOR_BYTES && memcmp(record - LOCATOR_BYTES, "PK\6\7", 4) == 0) {
        limit = number_at(record - LOCATOR_BYTES + 8, 8);
        if (!signature_at(file, limit, END64_BYTES, "PK\6\6"))
            return sah_fail(error, SAH_FAILED, "%s: its zip64 directory is missing: cut short?", file->path);
        record = file->data + limit;
        parts = number_at(record + 16, 4) | number_at(record + 20, 4);
        *out = (directory){number_at(record + 48, 8), number_at(record + 40, 8), number_at(record + 32, 8)};
    }
    if (parts != 0)
        return sah_fail(error, SAH_FAILED, "%s: one part of a zip container in several files", file->path);
    if (out->begin > limit || out->size > limit - out->begin || out->n > out->size / DIRECTORY_BYTES)
        return sah_fail(error, SAH_FAILED, "%s: its zip directory does not fit into the file: cut short?",
                        file->path);
    return SAH_OK;
}

/* Sizes and place that do not fit into 32 bits stand in an extra field, those alone, in this order. */
static bool take_zip64(const uint8_t *extra, size_t size, uint64_t *const values[3])
{
    while (size >= 4) {
        const size_t length = number_at(extra + 2, 2);
        if (length > size - 4) return false;
        if (number_at(extra, 2) == 1) {
            const uint8_t *at = extra + 4, *end = at + length;
            for (int i = 0; i < 3; i++) {
                if (*values[i] != UINT32_MAX) continue;
                if (end - at < 8) return false;
                *values[i] = number_at(at, 8);
                at += 8;
            }
            return true;
        }
        extra += 4 + length;
        size -= 4 + length;
    }
    return true;
}

/* The entry whose line of the directory is `line`; `limit` is where the directory begins. */
static sah_status place_entry(const sah_mapfile *file, const uint8_t *line, size_t limit, sah_zip_entry *out,
                              sah_error *error)
{
    const uint64_t flags = number_at(line + 8, 2), method = number_at(line + 10, 2);
    uint64_t packed = number_at(line + 20, 4), size = number_at(line + 24, 4), at = number_at(line + 42, 4);
    const int shown = (int)(out->length < SHOWN_NAME ? out->length : SHOWN_NAME);
    const size_t extra = number_at(line + 30, 2);
    if ((flags & 1) != 0)
        return sah_fail(error, SAH_FAILED, "%s: entry %.*s is encrypted", file->path, shown, out->name);
    if (method != 0) {
        return sah_fail(error, SAH_FAILED,
                        "%s: entry %.*s is compressed (method %u), which PyTorch never does: save it again "
                        "with torch.save()",
                        file->path, shown, out->name, (unsigned)method);
    }
    if (!take_zip64(line + DIRECTORY_BYTES + out->length, extra, (uint64_t *const[]){&size, &packed, &at}))
        return sah_fail(error, SAH_FAILED, "%s: entry %.*s has a malformed extra field", file->path, shown,
                        out->name);
    if (packed != size || at > limit || LOCAL_BYTES > limit - at ||
        memcmp(file->data + at, "PK\3\4", 4) != 0) {
        return sah_fail(error, SAH_FAILED, "%s: entry %.*s is not where the directory says it is", file->path,
                        shown, out->name);
    }
    const size_t room = limit - at - LOCAL_BYTES;
    const size_t before = number_at(file->data + at + 26, 2) + number_at(file->data + at + 28, 2);
    if (before > room || size > room - before) {
        return sah_fail(error, SAH_FAILED, "%s: entry %.*s reaches past the end of the entries: cut short?",
                        file->path, shown, out->name);
    }
    out->begin = at;
    out->data = file->data + at + LOCAL_BYTES + before;
    out->size = size;
    out->end = at + LOCAL_BYTES + before + size;
    return SAH_OK;
}

static sah_status read_entries(const sah_mapfile *file, const directory *where, sah_zip *out,
                               sah_error *error)
{
    const uint8_t *line = file->data + where->begin;
    size_t left = where->size;
    while (out->n < where->n) {
        if (left < DIRECTORY_BYTES || memcmp(line, "PK\1\2", 4) != 0)
            return sah_fail(error, SAH_FAILED, "%s: its zip directory is malformed", file->path);
        sah_zip_entry *entry = &out->entries[out->n];
        entry->name = (const char *)line + DIRECTORY_BYTES;
        entry->length = number_at(line + 28, 2);
        const size_t size =
            DIRECTORY_BYTES + entry->length + number_at(line + 30, 2) + number_at(line + 32, 2);
        if (size > left) return sah_fail(error, SAH_FAILED, "%s: its zip directory is malformed", file->path);
        sah_status status = place_entry(file, line, where->begin, entry, error);
        if (status != SAH_OK) return status;
        out->n++;
        line += size;
        left -= size;
    }
    return SAH_OK;
}

static int by_place(const void *a, const void *b)
{
    const sah_zip_entry *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static int by_name(const void *a, const void *b)
{
    const sah_zip_entry *x = a, *y = b;
    const size_t shorter = x->length < y->length ? x->length : y->length;
    const int order = memcmp(x->name, y->name, shorter);
    return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

/* No two entries share bytes or a name. Leaves them in the order of names. */
static sah_status check_entries(const sah_mapfile *file, sah_zip *zip, sah_error *error)
{
    if (zip->n == 0) return SAH_OK;
    qsort(zip->entries, zip->n, sizeof *zip->entries, by_place);
    for (size_t i = 1; i < zip->n; i++) {
        const sah_zip_entry *a = &zip->entries[i - 1], *b = &zip->entries[i];
        if (a->end > b->begin) {
            return sah_fail(error, SAH_FAILED, "%s: entries %.*s and %.*s overlap", file->path,
                            (int)(a->length < SHOWN_NAME ? a->length : SHOWN_NAME), a->name,
                            (int)(b->length < SHOWN_NAME ? b->length : SHOWN_NAME), b->name);
        }
    }
    qsort(zip->entries, zip->n, sizeof *zip->entries, by_name);
    for (size_t i = 1; i < zip->n; i++) {
        const sah_zip_entry *a = &zip->entries[i];
        if (by_name(a - 1, a) == 0) {
            return sah_fail(error, SAH_FAILED, "%s: entry %.*s is there twice", file->path,
                            (int)(a->length < SHOWN_NAME ? a->length : SHOWN_NAME), a->name);
        }
    }
    return SAH_OK;
}

sah_status sah_zip_open(const sah_mapfile *file, sah_zip *out, sah_error *error)
{
    directory where = {0};
    *out = (sah_zip){0};
    sah_status status = find_directory(file, &where, error);
    if (status != SAH_OK) return status;
    out->entries = sah_alloc(where.n, sizeof *out->entries);
    if (out->entries == NULL) return sah_fail_memory(error, "a zip directory");
    status = read_entries(file, &where, out, error);
    if (status == SAH_OK) status = check_entries(file, out, error);
    if (status != SAH_OK) sah_zip_close(out);
    return status;
}

const sah_zip_entry *sah_zip_find(const sah_zip *zip, const char *name, size_t length)
{
    const sah_zip_entry wanted = {.name = name, .length = length};
    if (zip->n == 0) return NULL;
    return bsearch(&wanted, zip->entries, zip->n, sizeof *zip->entries, by_name);
}

void sah_zip_close(sah_zip *zip)
{
    if (zip == NULL) return;
    free(zip->entries);
    *zip = (sah_zip){0};
}
