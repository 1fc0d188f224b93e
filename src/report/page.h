/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of the page. HTML holds everything that is to be read: maps, tables, settings. What page_script.js draws from
 * more than the tables it takes from `data`, JSON in a script element. */
#ifndef SAH_REPORT_PAGE_H
#define SAH_REPORT_PAGE_H

#include "report/result.h"
#include "util/strings.h"

/* ---- Settings (page_facts.c) ---------------------------------------------------------------------------- */

/* A JSON value, or a number; null where there is none. */
void sah_page_json(sah_text *out, const json_t *value);
void sah_page_number(sah_text *out, double value);

void sah_page_heading(sah_text *out, const char *command, const json_t *header);
/* Version, checksum, all settings, and the command that gives the file again. */
void sah_page_facts(sah_text *out, const char *path, const json_t *header);

/* ---- A result (page_heads.c, page_data.c) ---------------------------------------------------------------- */

/* The order, where the result has such scores; else the default. */
sah_order sah_page_order(const sah_result *result, sah_order order);

/* How a result is shown. */
typedef struct sah_page_view {
    const char *title; /* of the section; NULL: by command and model */
    const char *path; /* the file, as a reader is told */
    sah_order order; /* as sah_page_order() has it */
    size_t top; /* heads that the table shows until a reader asks for more */
} sah_page_view;

/* Its section, number `id` of the page. */
sah_status sah_page_heads(sah_text *out, const sah_result *result, size_t id, const sah_page_view *view,
                          sah_error *error);

/* One JSON object: queries, scores by query as far as *room characters hold them, steps of a search. Takes what it uses
 * from *room. */
void sah_page_data(sah_text *data, const sah_result *result, size_t *room);

/* ---- Responses (page_answers.c) -------------------------------------------------------------------------- */

/* The files of generate, judge and utility. */
typedef struct sah_answers sah_answers;

sah_answers *sah_answers_new(void);
void sah_answers_free(sah_answers *answers);
/* Takes a file, and adds its section; *taken is false when it is of another command. */
sah_status sah_answers_add(sah_answers *answers, const char *path, sah_text *out, bool *taken,
                           sah_error *error);
size_t sah_answers_files(
    const sah_answers *answers); /* that were taken: the next one's curve is drawn in #curve-N */
/* One JSON object: queries, and for every group of ablated heads rates, perplexity and responses, whole groups as far
 * as *room characters hold them; queries where there are responses. Null when there are no files. */
void sah_answers_data(const sah_answers *answers, sah_text *data, size_t *room);

/* ---- The document (page_document.c) ---------------------------------------------------------------------- */

/* A page on its way: its text, and the data of the results so far. */
typedef struct sah_page {
    sah_text html, data;
    sah_answers *answers;
    sah_result **results; /* [n_results] */
    size_t n_results, capacity;
} sah_page;

/* A page of which sah_page_take() must be called, whatever this says; the title is its first heading too. */
sah_status sah_page_begin(sah_page *p, const char *title, sah_error *error);
/* Opens a result, and adds its section and data. */
sah_status sah_page_result(sah_page *p, const char *path, const sah_page_view *view, size_t *room,
                           sah_error *error);
/* Adds what is behind the last section. `room` is for responses. */
void sah_page_end(sah_page *p, size_t *room);
/* Frees the page but for its text, which *out takes for free(), and passes `status` on where that is whole. */
sah_status sah_page_take(sah_page *p, sah_status status, sah_text *out, sah_error *error);

#endif
