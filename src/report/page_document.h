/* SPDX-License-Identifier: Apache-2.0 */
/* The page as a whole. */
#ifndef SAH_REPORT_PAGE_DOCUMENT_H
#define SAH_REPORT_PAGE_DOCUMENT_H

#include "report/page_answers.h"
#include "report/page_heads.h"

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
