/* Lists of queries from CSV, JSON lines or plain text. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "util/csv.h"
#include "util/error.h"
#include "util/json.h"
#include "util/mapfile.h"
#include "util/strings.h"
#include "util/utf8.h"

enum { MAX_FILE = 256 << 20 };

static const char *const COLUMNS[] = {"input", "goal", "query", "prompt"};
enum { N_COLUMNS = sizeof COLUMNS / sizeof *COLUMNS };

/* What a reader needs to know: the text, and what is wanted of it. */
typedef struct source {
    const char *text;
    size_t size;
    const char *where;
    const char *column; /* or NULL: the first of COLUMNS that is there */
    size_t limit; /* 0: none */
    sah_strings *out;
} source;

static bool is_blank(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (strchr(" \t\r\n\v\f", text[i]) == NULL) return false;
    }
    return true;
}

static bool is_full(const source *s)
{
    return s->limit > 0 && s->out->n >= s->limit;
}

static sah_status add(const source *s, const char *query, size_t length, sah_error *error)
{
    return is_blank(query, length) ? SAH_OK : sah_strings_add(s->out, query, length, error);
}

static sah_status fail_column(const source *s, const char *kind, size_t line, sah_error *error)
{
    if (s->column != NULL) {
        return sah_fail(error, SAH_FAILED, "%s: line %zu: no %s \"%s\"", s->where, line, kind, s->column);
    }
    return sah_fail(error, SAH_FAILED,
                    "%s: line %zu: no %s input, goal, query or prompt; name the one to read (--column)",
                    s->where, line, kind);
}

/* Index of the wanted column in a header, or -1. */
static int column_index(const sah_strings *header, const char *column)
{
    for (size_t c = 0; c < (column != NULL ? 1 : N_COLUMNS); c++) {
        const char *wanted = column != NULL ? column : COLUMNS[c];
        for (size_t i = 0; i < header->n; i++) {
            if (strcmp(header->items[i], wanted) == 0) return (int)i;
        }
    }
    return -1;
}

static sah_status read_csv(const source *s, sah_error *error)
{
    size_t at = 0, line = 1;
    sah_strings fields = {0};
    sah_status status = sah_csv_record(s->text, s->size, &at, &line, &fields, s->where, error);
    if (status != SAH_OK) goto done;
    int index = column_index(&fields, s->column);
    if (index < 0) {
        status = fail_column(s, "column", 1, error);
        goto done;
    }
    while (!is_full(s)) {
        size_t begin = line;
        status = sah_csv_record(s->text, s->size, &at, &line, &fields, s->where, error);
        if (status != SAH_OK || fields.n == 0) break;
        if (fields.n == 1 && fields.items[0][0] == '\0') continue; /* a blank line */
        if ((size_t)index >= fields.n) {
            status = sah_fail(error, SAH_FAILED, "%s: line %zu: %zu fields, the query is in field %d",
                              s->where, begin, fields.n, index + 1);
            break;
        }
        status = add(s, fields.items[index], strlen(fields.items[index]), error);
        if (status != SAH_OK) break;
    }
done:
    sah_strings_free(&fields);
    return status;
}

/* An object with one of the keys, or, in an array, a bare string. */
static sah_status add_json(const source *s, const json_t *item, size_t line, sah_error *error)
{
    const json_t *value = json_is_string(item) ? item : NULL;
    for (size_t c = 0; value == NULL && c < (s->column != NULL ? 1 : N_COLUMNS); c++) {
        value = json_object_get(item, s->column != NULL ? s->column : COLUMNS[c]);
    }
    if (value == NULL) return fail_column(s, "key", line, error);
    if (!json_is_string(value)) {
        return sah_fail(error, SAH_FAILED, "%s: line %zu: the query is not a string", s->where, line);
    }
    return add(s, json_string_value(value), json_string_length(value), error);
}

static size_t line_length(const char *text, size_t size)
{
    const char *end = memchr(text, '\n', size);
    return end != NULL ? (size_t)(end - text) : size;
}

static sah_status read_json_lines(const source *s, sah_error *error)
{
    size_t line = 0, length;
    for (size_t at = 0; at < s->size && !is_full(s); at += length + 1) {
        json_t *item;
        length = line_length(s->text + at, s->size - at);
        line++;
        if (is_blank(s->text + at, length)) continue;
        sah_status status = sah_json_parse(s->text + at, length, s->where, &item, error);
        if (status != SAH_OK) {
            return sah_fail(error, SAH_FAILED, "%s: line %zu is not a JSON value on a line of its own",
                            s->where, line);
        }
        status = add_json(s, item, line, error);
        json_decref(item);
        if (status != SAH_OK) return status;
    }
    return SAH_OK;
}

/* A whole file that is one JSON array, as .json files often are. */
static sah_status read_json_array(const source *s, sah_error *error)
{
    json_t *array;
    sah_status status = sah_json_parse(s->text, s->size, s->where, &array, error);
    if (status != SAH_OK) return status;
    for (size_t i = 0; status == SAH_OK && i < json_array_size(array) && !is_full(s); i++) {
        status = add_json(s, json_array_get(array, i), i + 1, error);
    }
    json_decref(array);
    return status;
}

static sah_status read_lines(const source *s, sah_error *error)
{
    size_t length;
    for (size_t at = 0; at < s->size && !is_full(s); at += length + 1) {
        length = line_length(s->text + at, s->size - at);
        bool carriage_return = length > 0 && s->text[at + length - 1] == '\r';
        sah_status status = add(s, s->text + at, length - carriage_return, error);
        if (status != SAH_OK) return status;
    }
    return SAH_OK;
}

static bool ends_in(const char *path, const char *suffix)
{
    size_t n = strlen(path), m = strlen(suffix);
    return n >= m && strcasecmp(path + n - m, suffix) == 0;
}

/* Without a telling name: a first line with one of the column names among its fields is a CSV header. */
static bool looks_like_csv(const source *s)
{
    size_t at = 0, line = 1;
    sah_strings fields = {0};
    bool found = sah_csv_record(s->text, s->size, &at, &line, &fields, s->where, NULL) == SAH_OK &&
                 column_index(&fields, s->column) >= 0;
    sah_strings_free(&fields);
    return found;
}

static sah_status read_any(const char *path, const source *s, sah_error *error)
{
    size_t first = 0;
    while (first < s->size && is_blank(s->text + first, 1)) first++;
    bool named_json = ends_in(path, ".jsonl") || ends_in(path, ".json");
    if (ends_in(path, ".csv")) return read_csv(s, error);
    if (first < s->size && s->text[first] == '[' && ends_in(path, ".json")) return read_json_array(s, error);
    if (named_json || (first < s->size && s->text[first] == '{')) return read_json_lines(s, error);
    return looks_like_csv(s) ? read_csv(s, error) : read_lines(s, error);
}

/* Text is UTF-8 and has no NUL, which would end a query early. */
static sah_status check_text(const source *s, sah_error *error)
{
    size_t line = 0, length;
    for (size_t at = 0; at < s->size; at += length + 1) {
        length = line_length(s->text + at, s->size - at);
        line++;
        if (!sah_utf8_valid(s->text + at, length)) {
            return sah_fail(error, SAH_FAILED, "%s: line %zu is not UTF-8", s->where, line);
        }
        if (memchr(s->text + at, '\0', length) != NULL) {
            return sah_fail(error, SAH_FAILED, "%s: line %zu holds a NUL byte", s->where, line);
        }
    }
    return SAH_OK;
}

sah_status sah_queries_read(const char *path, const char *column, size_t limit, sah_strings *out,
                            sah_error *error)
{
    static const char MARK[] = "\xEF\xBB\xBF"; /* the byte order mark some editors put in front */
    char *data;
    size_t size;
    *out = (sah_strings){0};
    sah_status status = sah_file_read(path, MAX_FILE, &data, &size, error);
    if (status != SAH_OK) return status;
    size_t skip = size >= 3 && memcmp(data, MARK, 3) == 0 ? 3 : 0;
    source s = {data + skip, size - skip, strcmp(path, "-") == 0 ? "standard input" : path,
                column,      limit,       out};
    status = check_text(&s, error);
    if (status == SAH_OK) status = read_any(path, &s, error);
    if (status == SAH_OK && out->n == 0)
        status = sah_fail(error, SAH_FAILED, "%s: no queries in it", s.where);
    if (status != SAH_OK) sah_strings_free(out);
    free(data);
    return status;
}
