/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MOST_COLUMNS = 64, MOST_DIGITS = 32 };

/* A table: lines of cells. Cells point into a text and end at a tab or a line's end. */
typedef struct table {
    const char *text, *end;
    size_t n_columns;
    bool shown[MOST_COLUMNS], number[MOST_COLUMNS]; /* number: in every line but the first, or empty */
    int width[MOST_COLUMNS];
} table;

int terminal_width(void)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* The text of a cell of n bytes as it is shown: numbers that are no integers with three significant digits. Returns its
 * length in `shown`, which is the cell itself or `digits`. */
static int show(const char *cell, size_t n, char digits[MOST_DIGITS], const char **shown, bool *number)
{
    char *end = digits;
    *shown = cell;
    *number = false;
    if (n == 0 || n >= MOST_DIGITS) return (int)n;
    memcpy(digits, cell, n);
    digits[n] = '\0';
    const double value = strtod(digits, &end);
    *number = *end == '\0' && strchr("+-0123456789.", cell[0]) != NULL;
    if (!*number || strpbrk(digits, ".e") == NULL) return (int)n;
    *shown = digits;
    return snprintf(digits, MOST_DIGITS, "%.3g", value);
}

/* Calls `visit` for every cell of the table. */
static void each_cell(table *t,
                      void (*visit)(table *, size_t line, size_t column, const char *, size_t, void *),
                      void *user)
{
    size_t line = 0, column = 0;
    for (const char *at = t->text; at < t->end; column++) {
        const size_t n = strcspn(at, "\t\n");
        if (column < MOST_COLUMNS) visit(t, line, column, at, n, user);
        at += n + 1;
        if (at[-1] == '\n') {
            line++;
            column = SIZE_MAX;
        }
    }
}

static void measure(table *t, size_t line, size_t column, const char *cell, size_t n, void *user)
{
    char digits[MOST_DIGITS];
    const char *shown;
    bool number;
    (void)user;
    const int length = show(cell, n, digits, &shown, &number);
    if (line == 0) {
        t->n_columns = column + 1;
        t->number[column] = t->shown[column] = true;
        t->width[column] = 0;
    } else if (n > 0 && !number) {
        t->number[column] = false;
    }
    if (length > t->width[column]) t->width[column] = length;
}

static void write_cell(table *t, size_t line, size_t column, const char *cell, size_t n, void *user)
{
    char digits[MOST_DIGITS];
    const char *shown;
    bool number;
    FILE *out = user;
    (void)line;
    if (column >= t->n_columns || t->shown[column]) {
        const int length = show(cell, n, digits, &shown, &number);
        const int padding = column < t->n_columns ? t->width[column] - length : 0;
        const bool last = cell[n] == '\n';
        fprintf(out, "%s%*s%.*s%*s", column > 0 ? "  " : "", t->number[column] ? padding : 0, "", length,
                shown, t->number[column] || last ? 0 : padding, "");
    }
    if (cell[n] == '\n') fputc('\n', out);
}

static int total_width(const table *t)
{
    int total = -2;
    for (size_t c = 0; c < t->n_columns; c++) total += t->shown[c] ? t->width[c] + 2 : 0;
    return total;
}

/* The column of this name; n_columns: none. */
static size_t find_column(const table *t, const char *name)
{
    const char *at = t->text;
    for (size_t c = 0; c < t->n_columns; c++) {
        const size_t n = strcspn(at, "\t\n");
        if (n == strlen(name) && memcmp(at, name, n) == 0) return c;
        at += n + 1;
    }
    return t->n_columns;
}

/* `text` with its columns aligned; `*left_out` is how many of `spare` are left out. NULL when memory is out. */
static char *align(const char *text, int width, const char *const *spare, int *left_out)
{
    char *aligned = NULL;
    size_t size;
    table t = {.text = text, .end = text + strlen(text)};
    FILE *out = open_memstream(&aligned, &size);
    *left_out = 0;
    if (out == NULL) return NULL;
    each_cell(&t, measure, NULL);
    for (size_t s = 0; spare[s] != NULL && total_width(&t) > width; s++) {
        const size_t c = find_column(&t, spare[s]);
        if (c < t.n_columns) {
            t.shown[c] = false;
            ++*left_out;
        }
    }
    each_cell(&t, write_cell, out);
    const bool good = !ferror(out);
    if (fclose(out) == 0 && good && aligned != NULL) return aligned;
    free(aligned);
    return NULL;
}

int table_write(const cli_options *o, const char *text, const char *const *spare)
{
    const bool tsv = o->format == NULL || strcmp(o->format, "tsv") == 0;
    const size_t n = strlen(text);
    if (!tsv || o->output != NULL || !isatty(STDOUT_FILENO) || n == 0 || text[n - 1] != '\n')
        return write_result(o->output, text);
    int left_out;
    char *aligned = align(text, terminal_width(), spare, &left_out);
    if (aligned == NULL) return out_of_memory();
    const int code = write_result(NULL, aligned);
    free(aligned);
    if (left_out > 0 && !o->quiet)
        fprintf(stderr, "%d columns left out; a file (-o FILE) or a wider terminal has them all\n", left_out);
    return code;
}
