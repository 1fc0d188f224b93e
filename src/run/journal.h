/* SPDX-License-Identifier: Apache-2.0 */
/* A run is a file: append-only JSON lines. First a header (what was asked of which model), then one line per
 * finished unit, written whole or not at all. The same command carries on from the last whole line; a header
 * that disagrees is an error that names the difference. docs/files.md has the fields. */
#ifndef SAH_RUN_JOURNAL_H
#define SAH_RUN_JOURNAL_H

#include "engine/model.h"
#include "util/json.h"
#include "util/strings.h"

typedef struct sah_journal sah_journal;

/* Called for every whole line behind the header when a run is resumed; `number` is the line's, the header
 * is 1. */
typedef sah_status (*sah_journal_line_fn)(void *ctx, const json_t *line, size_t number, sah_error *error);

/* Who gets every line besides the file; start from {0} for nobody. */
typedef struct sah_line_sink {
    sah_line_fn line; /* or NULL */
    void *user;
} sah_line_sink;

/* Opens `path` for appending, locked against other runs. A new or empty file gets `header` (an object) as its
 * first line. In a file that is there the header must equal `header`; a last line that was cut short is
 * removed; every other line goes to `each`. "-" is standard output, and a path that is not a regular file (a pipe,
 * /dev/null) is only written: nothing to resume there. NULL: no file, the sink alone. */
sah_status sah_journal_open(const char *path, const json_t *header, sah_journal_line_fn each, void *ctx,
                            sah_line_sink sink, sah_journal **out, sah_error *error);

/* The first line of a journal of `command`, for json_decref(). NULL where it is something else, or nothing that
 * can be read back: standard output, a pipe. */
sah_status sah_journal_read_header(const char *path, const char *command, json_t **out, sah_error *error);

/* Appends text[0..size) and a line end. On failure (a full disk) the file ends with its last whole line. Not
 * to be called from two threads at once. */
sah_status sah_journal_add(sah_journal *journal, const char *text, size_t size, sah_error *error);

/* Closes the file, which tells of errors that the disk reported late. NULL is allowed. */
sah_status sah_journal_close(sah_journal *journal, sah_error *error);

/* Appends ,"key":value, or ,"key":[values], to the text of a line, in digits that read back the same; in a list
 * NaN becomes null. */
void sah_line_number(sah_text *line, const char *key, double value);
void sah_line_numbers(sah_text *line, const char *key, const double *values, size_t n);

/* The first difference between two JSON values, written into `what`: its place, and both values shortened
 * ("settings.scale: 0.0001 there, 0.001 here"). False when they are equal. Numbers compare by value. */
bool sah_json_difference(const json_t *there, const json_t *here, char *what, size_t size);

/* What every header begins with: command, version, model. The caller adds "settings", "queries" and its own.
 * NULL when memory is out. */
json_t *sah_journal_header(const char *command, const sah_model *model);

#endif
