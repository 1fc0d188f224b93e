/* SPDX-License-Identifier: Apache-2.0 */
/* The journals of shards become one result: equal headers, every unit once, in the order of the units. */
#include "run/merge_units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "run/journal.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/mapfile.h"
#include "util/strings.h"
#include "util/wholefile.h"

enum { MOST_SHARDS = 4096 /* that are told apart */ };
static const size_t LARGEST = (size_t)16 << 30; /* bytes of a journal */

/* A whole line of a journal, without its end. */
typedef struct entry {
    sah_unit unit;
    const char *text;
    size_t size, file, number;
} entry;

typedef struct merge {
    const char *const *paths; /* [n] the shards, and what was merged before */
    size_t n, n_shards;
    char **data; /* [n] */
    json_t *header; /* of the first that has one */
    const char *header_text;
    size_t header_size, header_file;
    entry *entries;
    size_t n_entries, capacity;
    sah_text out;
    sah_merge_report *report;
} merge;

/* ---- Reading ------------------------------------------------------------------------------------------- */

static sah_status take_header(merge *m, size_t file, const char *text, size_t size, sah_error *error)
{
    const char *path = m->paths[file];
    char what[512];
    json_t *header = NULL;
    sah_status status = SAH_OK;
    if (sah_json_parse(text, size, path, &header, NULL) != SAH_OK ||
        !json_is_string(json_object_get(header, "sahara"))) {
        status = sah_fail(error, SAH_FAILED, "%s: not a result file of this program", path);
    } else if (m->header == NULL) {
        m->header = json_incref(header);
        m->header_text = text;
        m->header_size = size;
        m->header_file = file;
    } else if (sah_json_difference(m->header, header, what, sizeof what)) {
        status = sah_fail(error, SAH_FAILED, "%s and %s are from different runs: %s",
                          m->paths[m->header_file], path, what);
    }
    json_decref(header);
    return status;
}

static sah_status take_line(merge *m, size_t file, size_t number, const char *text, size_t size,
                            sah_error *error)
{
    json_t *line = NULL;
    entry e = {.text = text, .size = size, .file = file, .number = number};
    const bool good = sah_json_parse(text, size, "a line", &line, NULL) == SAH_OK && json_is_object(line) &&
                      sah_unit_of(m->header, line, &e.unit);
    json_decref(line);
    if (!good) {
        return sah_fail(error, SAH_FAILED, "%s: line %zu is not a line of %s", m->paths[file], number,
                        json_string_value(json_object_get(m->header, "sahara")));
    }
    if (!sah_grow(&m->entries, &m->capacity, m->n_entries + 1, sizeof *m->entries))
        return sah_fail_memory(error, "the lines");
    m->entries[m->n_entries++] = e;
    return SAH_OK;
}

/* The whole lines; one without its end was cut short. */
static sah_status read_file(merge *m, size_t file, sah_error *error)
{
    size_t size, at = 0, number = 0;
    const char *end;
    sah_status status = sah_file_read(m->paths[file], LARGEST, &m->data[file], &size, error);
    const char *data = m->data[file];
    while (status == SAH_OK && at < size && (end = memchr(data + at, '\n', size - at)) != NULL) {
        const size_t length = (size_t)(end - (data + at));
        status = number++ == 0 ? take_header(m, file, data + at, length, error)
                               : take_line(m, file, number, data + at, length, error);
        at += length + 1;
    }
    return status;
}

/* ---- The union ----------------------------------------------------------------------------------------- */

static int by_unit(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    const int order = sah_unit_compare(&x->unit, &y->unit);
    if (order != 0) return order;
    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static bool same_text(const entry *a, const entry *b)
{
    return a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
}

static sah_status fail_differ(const merge *m, const entry *a, const entry *b, sah_error *error)
{
    char name[64];
    sah_unit_name(m->header, &a->unit, name);
    return sah_fail(error, SAH_FAILED, "%s differs: line %zu of %s and line %zu of %s", name, a->number,
                    m->paths[a->file], b->number, m->paths[b->file]);
}

/* Whether every line of other[0..n) is one of lines[0..most), each taken once. `taken` [most] is for it. */
static const entry *find_other(const entry *lines, size_t most, const entry *other, size_t n, bool *taken)
{
    memset(taken, 0, most * sizeof *taken);
    for (size_t i = 0; i < n; i++) {
        size_t j = 0;
        while (j < most && (taken[j] || !same_text(&lines[j], &other[i]))) j++;
        if (j == most) return &other[i];
        taken[j] = true;
    }
    return NULL;
}

static void put(merge *m, const entry *e)
{
    sah_text_add(&m->out, e->text, e->size);
    sah_text_add(&m->out, "\n", 1);
    m->report->n_lines++;
}

/* Lines of one unit, file by file: as many as the file has that has most of them; the other files' must be among
 * those. Where a unit has one line each file's must be that one. */
static sah_status put_unit(merge *m, const entry *lines, size_t n, sah_error *error)
{
    size_t best = 0, most = 0;
    const entry *odd = NULL;
    bool *taken = sah_alloc(n, sizeof *taken);
    if (taken == NULL) return sah_fail_memory(error, "the lines");
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && lines[end].file == lines[i].file; end++) {
        }
        if (end - i > most) {
            most = end - i;
            best = i;
        }
    }
    if (!lines[0].unit.many) {
        for (size_t i = 1; i < n && odd == NULL; i++)
            odd = same_text(&lines[0], &lines[i]) ? NULL : &lines[i];
        best = 0;
        most = 1;
    } else {
        for (size_t i = 0, end; i < n && odd == NULL; i = end) {
            for (end = i; end < n && lines[end].file == lines[i].file; end++) {
            }
            odd = find_other(lines + best, most, lines + i, end - i, taken);
        }
    }
    free(taken);
    if (odd != NULL) return fail_differ(m, &lines[best], odd, error);
    for (size_t i = best; i < best + most; i++) put(m, &lines[i]);
    return SAH_OK;
}

static sah_status put_units(merge *m, sah_error *error)
{
    sah_status status = SAH_OK;
    sah_text_add(&m->out, m->header_text, m->header_size);
    sah_text_add(&m->out, "\n", 1);
    if (m->n_entries > 0) qsort(m->entries, m->n_entries, sizeof *m->entries, by_unit);
    for (size_t i = 0, end; i < m->n_entries && status == SAH_OK; i = end) {
        for (end = i; end < m->n_entries && sah_unit_compare(&m->entries[i].unit, &m->entries[end].unit) == 0;
             end++) {
        }
        status = put_unit(m, m->entries + i, end - i, error);
    }
    return status;
}

/* ---- What is missing ----------------------------------------------------------------------------------- */

/* Lines of a unit in one file at most; 0: it is missing. */
static size_t count_lines(const merge *m, const sah_unit *unit)
{
    size_t low = 0, high = m->n_entries, most = 0;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (sah_unit_compare(&m->entries[middle].unit, unit) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low, end; i < m->n_entries && sah_unit_compare(&m->entries[i].unit, unit) == 0; i = end) {
        for (end = i; end < m->n_entries && m->entries[end].file == m->entries[i].file &&
                      sah_unit_compare(&m->entries[end].unit, unit) == 0;
             end++) {
        }
        if (end - i > most) most = end - i;
    }
    return most;
}

/* The expected unit of an entry; expected->n: none. */
static size_t expected_of(const sah_expected *e, const sah_unit *unit)
{
    size_t i = 0;
    while (i < e->n && sah_unit_compare(&e->units[i], unit) != 0) i++;
    return i;
}

/* deals[n_entries]: by which number each entry's unit was dealt; SIZE_MAX: by none. */
static size_t *list_deals(const merge *m, const sah_expected *e)
{
    size_t *deals = sah_alloc(m->n_entries, sizeof *deals);
    for (size_t i = 0, last = 0; deals != NULL && i < m->n_entries; i++) {
        /* Both lists are sorted nearly alike: the next is near. */
        size_t at = last;
        while (at < e->n && sah_unit_compare(&e->units[at], &m->entries[i].unit) != 0) at++;
        if (at == e->n) at = expected_of(e, &m->entries[i].unit);
        deals[i] = at < e->n ? e->deals[at] : SIZE_MAX;
        if (at < e->n) last = at;
    }
    return deals;
}

static size_t greatest_common_divisor(size_t a, size_t b)
{
    while (b > 0) {
        const size_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* How many shards there are: what the numbers by which a file's units were dealt are apart is a multiple of it. 0:
 * cannot tell. shard_of[n_shards]: which shard each file is of; SIZE_MAX: it has no unit. */
static size_t guess_shards(const merge *m, const size_t *deals, size_t *shard_of)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_shards; i++) shard_of[i] = SIZE_MAX;
    for (size_t i = 0; i < m->n_entries; i++) {
        size_t *first = m->entries[i].file < m->n_shards ? &shard_of[m->entries[i].file] : NULL;
        if (first == NULL || deals[i] == SIZE_MAX) continue;
        if (*first == SIZE_MAX) *first = deals[i];
        n = greatest_common_divisor(n, *first > deals[i] ? *first - deals[i] : deals[i] - *first);
    }
    if (n < 2 || n > MOST_SHARDS) return 0;
    for (size_t i = 0; i < m->n_shards; i++)
        shard_of[i] = shard_of[i] == SIZE_MAX ? SIZE_MAX : shard_of[i] % n;
    return n;
}

static sah_status note_shard(merge *m, const size_t *shard_of, size_t shard, sah_error *error)
{
    sah_merge_report *r = m->report;
    char number[64];
    const char *file = "";
    for (size_t i = 0; i < m->n_shards && file[0] == '\0'; i++)
        file = shard_of[i] == shard ? m->paths[i] : "";
    snprintf(number, sizeof number, "%zu/%zu", shard, r->n_shards);
    sah_status status = sah_strings_add(&r->shards, number, strlen(number), error);
    return status == SAH_OK ? sah_strings_add(&r->shard_files, file, strlen(file), error) : status;
}

/* Which shards have to be run again: those that a missing unit was dealt to. missing [e->n] */
static sah_status find_shards(merge *m, const sah_expected *e, const bool *missing, sah_error *error)
{
    sah_status status = SAH_OK;
    size_t *deals = list_deals(m, e), *shard_of = sah_alloc(m->n_shards, sizeof *shard_of);
    bool *again = sah_alloc(MOST_SHARDS, sizeof *again);
    if (deals == NULL || shard_of == NULL || again == NULL) {
        status = sah_fail_memory(error, "the shards");
        goto done;
    }
    m->report->n_shards = guess_shards(m, deals, shard_of);
    if (m->report->n_shards == 0) goto done;
    for (size_t i = 0; i < e->n; i++) again[e->deals[i] % m->report->n_shards] |= missing[i];
    for (size_t shard = 0; shard < m->report->n_shards && status == SAH_OK; shard++) {
        if (again[shard]) status = note_shard(m, shard_of, shard, error);
    }
done:
    free(deals);
    free(shard_of);
    free(again);
    return status;
}

static sah_status find_missing(merge *m, sah_error *error)
{
    enum { SHOWN = 10 };
    sah_merge_report *r = m->report;
    sah_expected e;
    sah_unit last;
    sah_status status = sah_units_expected(m->header, &e, error);
    bool *missing = sah_alloc(e.n, sizeof *missing);
    if (status == SAH_OK && missing == NULL) status = sah_fail_memory(error, "the units");
    for (size_t i = 0; i < e.n && status == SAH_OK; i++) {
        char name[64];
        missing[i] = count_lines(m, &e.units[i]) < e.counts[i];
        if (!missing[i] || r->n_missing++ >= SHOWN) continue;
        sah_unit_name(m->header, &e.units[i], name);
        status = sah_strings_add(&r->missing, name, strlen(name), error);
    }
    r->n_expected = e.n;
    r->unfinished = sah_unit_last(m->header, &last) && count_lines(m, &last) == 0;
    if (status == SAH_OK && r->n_missing > 0 && e.dealt) status = find_shards(m, &e, missing, error);
    free(missing);
    sah_expected_free(&e);
    return status;
}

/* ---- All of it ----------------------------------------------------------------------------------------- */

/* A result that is there already is taken in, as one of an earlier merge; anything else is left alone. */
static bool is_there(const char *path)
{
    struct stat info;
    return path != NULL && stat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0;
}

sah_status sah_merge(const char *const *shards, size_t n, const char *path, sah_merge_report *report,
                     sah_error *error)
{
    merge m = {.n_shards = n, .report = report};
    const char **paths = sah_alloc(n + 1, sizeof *paths);
    *report = (sah_merge_report){0};
    m.data = sah_alloc(n + 1, sizeof *m.data);
    sah_status status = paths != NULL && m.data != NULL ? SAH_OK : sah_fail_memory(error, "the shards");
    if (status == SAH_OK) {
        memcpy(paths, shards, n * sizeof *paths);
        paths[n] = path;
        m.paths = paths;
        m.n = n + is_there(path);
    }
    for (size_t i = 0; i < m.n && status == SAH_OK; i++) status = read_file(&m, i, error);
    if (status == SAH_OK && m.header == NULL)
        status = sah_fail(error, SAH_FAILED, "%s: no shard has a complete line yet",
                          n > 0 ? shards[0] : "nothing");
    if (status == SAH_OK) status = put_units(&m, error);
    if (status == SAH_OK && m.out.failed) status = sah_fail_memory(error, "the result");
    if (status == SAH_OK) status = find_missing(&m, error);
    if (status == SAH_OK) status = sah_file_write(path, m.out.data, m.out.size, error);
    for (size_t i = 0; i < m.n; i++) free(m.data[i]);
    json_decref(m.header);
    free(m.data);
    free(m.entries);
    free(m.out.data);
    free(paths);
    if (status != SAH_OK) sah_merge_report_free(report);
    return status;
}

void sah_merge_report_free(sah_merge_report *report)
{
    sah_strings_free(&report->missing);
    sah_strings_free(&report->shards);
    sah_strings_free(&report->shard_files);
    *report = (sah_merge_report){0};
}
