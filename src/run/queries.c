/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of queries: which form a file has, and plain text. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "run/queries_json.h"
#include "run/queries_table.h"
#include "util/error.h"
#include "util/filekind.h"
#include "util/mapfile.h"
#include "util/strings.h"
#include "util/utf8.h"

enum { MAX_FILE = 256 << 20 };

static size_t line_length(const char *text, size_t size)
{
    size_t n = 0;
    while (n < size && text[n] != '\n' && text[n] != '\r') n++;
    return n;
}

/* ---- Plain text ---------------------------------------------------------------------------------------- */

static sah_status read_lines(const sah_query_source *s, sah_error *error)
{
    if (s->partners != NULL)
        return sah_fail(
            error, SAH_FAILED,
            "%s: no column \"" SAH_COLUMN_PARTNER "\": it is read as plain text, one query a line", s->where);
    if (s->column != NULL) {
        return sah_fail(error, SAH_FAILED,
                        "%s: no column \"%s\": it is read as plain text, one query a line, as its first line "
                        "names no such column",
                        s->where, s->column);
    }
    for (size_t at = 0, length; at < s->size && !sah_query_is_full(s);) {
        length = line_length(s->text + at, s->size - at);
        sah_status status = sah_query_add(s, s->text + at, length, NULL, "", error);
        if (status != SAH_OK) return status;
        at += length;
        at += sah_query_line_end(s->text, s->size, at);
    }
    return SAH_OK;
}

/* ---- Which form ---------------------------------------------------------------------------------------- */

/* The ending of the file's name with its dot, or "". */
static const char *ending(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return dot != NULL && dot != name ? dot : "";
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcasecmp(word, *words) == 0) return true;
    }
    return false;
}

/* A list of mappings or of texts, as far as its first line shows it. */
static bool looks_like_yaml(const sah_query_source *s)
{
    size_t at = 0;
    while (at < s->size && sah_query_is_blank(s->text + at, 1)) at++;
    const char *line = s->text + at;
    const size_t length = line_length(line, s->size - at);
    if (length >= 5 && memcmp(line, "%YAML", 5) == 0) return true;
    if (length >= 3 && memcmp(line, "---", 3) == 0 && sah_query_is_blank(line + 3, length - 3)) return true;
    const size_t dash = length >= 2 && memcmp(line, "- ", 2) == 0 ? 2 : 0;
    const char *name;
    for (size_t i = 0; (name = sah_query_column(s, i)) != NULL; i++) {
        const size_t n = dash + strlen(name);
        if (length <= n || strncmp(line + dash, name, n - dash) != 0 || line[n] != ':') continue;
        if (sah_query_is_blank(line + n + 1, length - n - 1) || (dash > 0 && line[n + 1] == ' ')) return true;
    }
    return false;
}

static const char advice[] =
    "not supported as a list of queries: write CSV, TSV, JSON or a text with one query a line";

/* Forms that a name tells, and that are not read. (sah_expect_text() knows those that are not text.) */
static sah_status refuse_name(const char *where, const char *end, sah_error *error)
{
    static const char *const yaml[] = {".yaml", ".yml", NULL};
    static const char *const other[] = {".parquet", ".arrow",   ".feather", ".avro", ".orc", ".xlsx", ".xls",
                                        ".ods",     ".numbers", ".pkl",     ".toml", ".xml", NULL};
    if (is_one_of(end, yaml)) return sah_fail(error, SAH_FAILED, "%s: YAML is %s", where, advice);
    if (is_one_of(end, other)) return sah_fail(error, SAH_FAILED, "%s: %s is %s", where, end, advice);
    return SAH_OK;
}

/* One that the first line tells. */
static sah_status refuse_form(const sah_query_source *s, const char *end, sah_error *error)
{
    static const char *const text[] = {".txt", ".csv", ".tsv", ".tab", NULL};
    if (!is_one_of(end, text) && looks_like_yaml(s))
        return sah_fail(error, SAH_FAILED, "%s: YAML is %s", s->where, advice);
    return SAH_OK;
}

static sah_status read_any(const char *path, const sah_query_source *s, sah_error *error)
{
    static const char *const json[] = {".json", ".jsonl", ".ndjson", NULL};
    static const char *const tabs[] = {".tsv", ".tab", NULL};
    static const char *const commas[] = {".csv", NULL};
    const char *end = ending(path);
    bool found = is_one_of(end, json);
    sah_status status = found ? SAH_OK : sah_query_is_json(s, &found, error);
    if (status == SAH_OK && found) return sah_query_read_json(s, error);
    if (status == SAH_OK) status = refuse_form(s, end, error);
    if (status != SAH_OK) return status;
    if (is_one_of(end, tabs)) return sah_query_read_table(s, SAH_SEPARATORS_TSV, error);
    /* Where a name says text, one word in its first line is a query, unless it is asked for as a column. */
    const size_t least = s->column == NULL && end[0] != '\0' ? 2 : 1;
    found = is_one_of(end, commas);
    if (!found) status = sah_query_is_table(s, least, &found, error);
    if (status != SAH_OK) return status;
    return found ? sah_query_read_table(s, SAH_SEPARATORS_CSV, error) : read_lines(s, error);
}

/* Text is UTF-8 and has no NUL, which would end a query early. */
static sah_status check_text(const sah_query_source *s, sah_error *error)
{
    size_t line = 1;
    for (size_t at = 0, length; at < s->size; line++) {
        length = line_length(s->text + at, s->size - at);
        if (!sah_utf8_valid(s->text + at, length))
            return sah_fail(error, SAH_FAILED, "%s: line %zu is not UTF-8: save the file as UTF-8", s->where,
                            line);
        if (memchr(s->text + at, '\0', length) != NULL)
            return sah_fail(error, SAH_FAILED, "%s: line %zu holds a NUL byte", s->where, line);
        at += length;
        at += sah_query_line_end(s->text, s->size, at);
    }
    return SAH_OK;
}

/* What the source says, of the file's text. */
static sah_status read_file(const char *path, sah_query_source s, sah_error *error)
{
    static const char MARK[] = "\xEF\xBB\xBF"; /* the byte order mark some editors put in front */
    char *data;
    size_t size;
    *s.out = (sah_strings){0};
    if (s.partners != NULL) *s.partners = (sah_strings){0};
    sah_status status = sah_file_read(path, MAX_FILE, &data, &size, error);
    if (status != SAH_OK) return status;
    size_t skip = size >= 3 && memcmp(data, MARK, 3) == 0 ? 3 : 0;
    s.text = data + skip;
    s.size = size - skip;
    s.where = strcmp(path, "-") == 0 ? "standard input" : path;
    status = sah_expect_text(s.where, data, size, "a list of queries", error);
    if (status == SAH_OK && s.size > 0) status = refuse_name(s.where, ending(path), error);
    if (status == SAH_OK) status = check_text(&s, error);
    if (status == SAH_OK && !sah_query_is_blank(s.text, s.size)) status = read_any(path, &s, error);
    if (status == SAH_OK && s.out->n == 0)
        status = sah_fail(error, SAH_FAILED, "%s: no queries in it", s.where);
    if (status != SAH_OK) {
        sah_strings_free(s.out);
        if (s.partners != NULL) sah_strings_free(s.partners);
    } else {
        sah_error_clear(error); /* of the forms that the text does not have */
    }
    free(data);
    return status;
}

sah_status sah_queries_read(const char *path, const char *column, size_t limit, sah_strings *out,
                            sah_error *error)
{
    return read_file(path, (sah_query_source){.column = column, .limit = limit, .out = out}, error);
}

sah_status sah_pairs_read(const char *path, const char *column, size_t limit, sah_strings *queries,
                          sah_strings *partners, sah_error *error)
{
    return read_file(
        path, (sah_query_source){.column = column, .limit = limit, .out = queries, .partners = partners},
        error);
}

sah_status sah_partners_read(const char *path, const char *column, size_t limit, sah_strings *out,
                             sah_error *error)
{
    return read_file(path,
                     (sah_query_source){.column = column, .limit = limit, .partners_first = true, .out = out},
                     error);
}
