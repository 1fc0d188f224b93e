/* SPDX-License-Identifier: Apache-2.0 */
/* Queries from a column of a table: CSV, TSV, or semicolons, as spreadsheets of some countries write. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "run/queries_table.h"
#include "util/csv.h"
#include "util/error.h"
#include "util/strings.h"

/* A place in the table, and the record that was read last. */
typedef struct table {
    const sah_query_source *s;
    char separator;
    size_t at, line, begin; /* the line of `at`; where the record began */
    sah_strings fields;
} table;

static sah_status next_record(table *t, sah_error *error)
{
    t->begin = t->line;
    return sah_csv_record(t->s->text, t->s->size, t->separator, &t->at, &t->line, &t->fields, t->s->where,
                          error);
}

/* Place of the first wanted column that is among the names of the header by `compare`, or -1; *again when it is there
 * twice. */
static int find_by(const sah_query_source *s, const sah_strings *header,
                   int (*compare)(const char *, const char *), bool *again)
{
    const char *wanted;
    *again = false;
    for (size_t c = 0; (wanted = sah_query_column(s, c)) != NULL; c++) {
        int found = -1;
        for (size_t i = 0; i < header->n; i++) {
            if (compare(header->items[i], wanted) != 0) continue;
            if (found >= 0) *again = true;
            if (found < 0) found = (int)i;
        }
        if (found >= 0) return found;
    }
    return -1;
}

/* A name that was asked for is that name alone; the usual ones may have capitals. */
static int find_column(const sah_query_source *s, const sah_strings *header, bool *again)
{
    const int found = find_by(s, header, strcmp, again);
    return found >= 0 || s->column != NULL ? found : find_by(s, header, strcasecmp, again);
}

/* To the first line that is not blank, which is the header. */
static void to_header(table *t)
{
    t->at = 0;
    t->line = 1;
    for (size_t i = 0; i < t->s->size && strchr(" \t\r\n", t->s->text[i]) != NULL; i++) {
        const bool pair = t->s->text[i] == '\r' && i + 1 < t->s->size && t->s->text[i + 1] == '\n';
        if (pair || (t->s->text[i] != '\n' && t->s->text[i] != '\r')) continue;
        t->at = i + 1;
        t->line++;
    }
}

/* Reads the header with the first of the separators that finds the column, else with the first of all.
 * *column -1: none does. */
static sah_status read_header(table *t, const char *separators, int *column, bool *again, sah_error *error)
{
    *column = -1;
    for (const char *c = separators; *column < 0 && *c != '\0'; c++) {
        to_header(t);
        t->separator = *c;
        sah_status status = next_record(t, error);
        if (status == SAH_OUT_OF_MEMORY) return status;
        if (status == SAH_OK) *column = find_column(t->s, &t->fields, again);
    }
    if (*column >= 0) return SAH_OK;
    to_header(t);
    t->separator = separators[0];
    return next_record(t, error);
}

sah_status sah_query_is_table(const sah_query_source *s, size_t least, bool *is_table, sah_error *error)
{
    table t = {.s = s};
    int column = -1;
    bool again;
    sah_status status = read_header(&t, SAH_SEPARATORS_CSV, &column, &again, error);
    *is_table = status == SAH_OK && column >= 0 && t.fields.n >= least;
    for (size_t i = 0; *is_table && i < t.fields.n; i++) {
        const char *name = t.fields.items[i];
        const size_t n = strlen(name);
        *is_table = n > 0 && !sah_query_is_blank(name, 1) && !sah_query_is_blank(name + n - 1, 1);
    }
    sah_strings_free(&t.fields);
    return status == SAH_OUT_OF_MEMORY ? status : SAH_OK; /* what is no table may be text */
}

/* A record may end early, but not before the query, and beyond the header only in empty fields: what else
 * stands there is the rest of a query with a separator and no quotes. */
static sah_status check_record(const table *t, size_t names, size_t column, sah_error *error)
{
    size_t n = t->fields.n;
    while (n > names && t->fields.items[n - 1][0] == '\0') n--;
    if (column < n && n <= names) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "%s: line %zu: %zu fields, but the header has %zu%s", t->s->where,
                    t->begin, n, names, n > names ? "; a field with a separator in it must be quoted" : "");
}

sah_status sah_query_read_table(const sah_query_source *s, const char *separators, sah_error *error)
{
    table t = {.s = s};
    int column;
    bool again = false;
    sah_status status = read_header(&t, separators, &column, &again, error);
    char place[40];
    snprintf(place, sizeof place, "line %zu", t.begin);
    if (status == SAH_OK && column < 0)
        status = sah_query_fail_column(s, place, "column", &t.fields, error);
    else if (status == SAH_OK && again)
        status = sah_fail(error, SAH_FAILED, "%s: %s: two columns are named \"%s\"", s->where, place,
                          t.fields.items[column]);
    const size_t names = t.fields.n;
    size_t partner = 0;
    while (partner < names && strcmp(t.fields.items[partner], SAH_COLUMN_PARTNER) != 0) partner++;
    if (status == SAH_OK && s->partners != NULL && partner == names)
        status = sah_fail(error, SAH_FAILED,
                          "%s: %s: no column \"" SAH_COLUMN_PARTNER "\", and no other list of partners",
                          s->where, place);
    while (status == SAH_OK && !sah_query_is_full(s)) {
        status = next_record(&t, error);
        if (status != SAH_OK || t.fields.n == 0) break;
        if (t.fields.n == 1 && sah_query_is_blank(t.fields.items[0], strlen(t.fields.items[0]))) continue;
        status = check_record(&t, names, (size_t)column, error);
        if (status != SAH_OK) break;
        const char *query = t.fields.items[column];
        snprintf(place, sizeof place, "line %zu", t.begin);
        status = sah_query_add(s, query, strlen(query), partner < t.fields.n ? t.fields.items[partner] : NULL,
                               place, error);
    }
    sah_strings_free(&t.fields);
    return status;
}
