/* SPDX-License-Identifier: Apache-2.0 */
/* A result's section of the page: everything that is to be read, as HTML. */
#ifndef SAH_REPORT_PAGE_HEADS_H
#define SAH_REPORT_PAGE_HEADS_H

#include "report/result.h"
#include "util/strings.h"

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

#endif
