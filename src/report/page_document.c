/* SPDX-License-Identifier: Apache-2.0 */
/* A page as one file: what stands around its sections, the data and the scripts. */
#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"
#include "report/colour.h"
#include "report/html.h"
#include "report/page_answers.h"
#include "report/page_data.h"
#include "report/page_document.h"
#include "report/page_heads.h"
#include "util/alloc.h"
#include "util/embedded.h"
#include "util/error.h"

/* ---- Pieces of the file ---------------------------------------------------------------------------------- */

static void add_embedded(sah_text *out, const sah_embedded_text *text)
{
    sah_text_add(out, (const char *)text->data, text->size);
}

/* JSON inside a script element: what could end the element, or a line in older readers, is escaped. */
static void add_json(sah_text *out, const char *json)
{
    for (const char *c = json; *c != '\0'; c++) {
        if (*c == '<')
            sah_text_adds(out, "\\u003c");
        else if (strncmp(c, "\xE2\x80\xA8", 3) == 0 || strncmp(c, "\xE2\x80\xA9", 3) == 0) {
            sah_text_adds(out, c[2] == '\xA8' ? "\\u2028" : "\\u2029");
            c += 2;
        } else {
            sah_text_add(out, c, 1);
        }
    }
}

static void add_script(sah_text *out, const sah_embedded_text *text)
{
    sah_text_adds(out, "<script>");
    add_embedded(out, text);
    sah_text_adds(out, "</script>\n");
}

static void add_head(sah_text *out, const char *title)
{
    sah_text_adds(
        out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
             "content=\"width=device-width\">\n<meta http-equiv=\"Content-Security-Policy\" content=\""
             "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n"
             "<title>");
    sah_add_escaped(out, title);
    sah_text_adds(out, "</title>\n<style>");
    add_embedded(out, &sah_text_page_style);
    sah_text_adds(out, "</style>\n<script>document.documentElement.className = "
                       "\"scripted\";</script>\n</head>\n<body>\n<h1>");
    sah_add_escaped(out, title);
    sah_text_adds(out,
                  "</h1>\n"
                  "<noscript><p class=\"note\">Scripts are off: maps and tables are here, but no curves, no "
                  "responses and no single queries.</p></noscript>\n");
}

/* Colours from -1 to 1, in steps that no eye tells apart. */
static void add_colours(sah_text *data)
{
    enum { STEPS = 128 };
    sah_text_adds(data, "\"colours\":[");
    for (int i = -STEPS; i <= STEPS; i++)
        sah_text_addf(data, "%s\"#%06x\"", i > -STEPS ? "," : "", sah_colour((double)i / STEPS));
    sah_text_adds(data, "]");
}

static void add_tail(sah_text *out, const sah_text *data)
{
    sah_text_addf(out, "<footer><p>Made by Sahara %s. What the words mean: docs/method.md.</p></footer>\n",
                  SAH_VERSION);
    sah_text_adds(out, "<script type=\"application/json\" id=\"data\">");
    add_json(out, data->data != NULL ? data->data : "{}");
    sah_text_adds(out, "</script>\n");
    add_script(out, &sah_text_d3_min);
    add_script(out, &sah_text_plot_umd_min);
    add_script(out, &sah_text_page_script);
    sah_text_adds(out, "</body>\n</html>\n");
}

/* ---- The page -------------------------------------------------------------------------------------------- */

sah_status sah_page_begin(sah_page *p, const char *title, sah_error *error)
{
    *p = (sah_page){.answers = sah_answers_new()};
    if (p->answers == NULL) return sah_fail_memory(error, "the page");
    add_head(&p->html, title);
    sah_text_adds(&p->data, "{");
    add_colours(&p->data);
    sah_text_adds(&p->data, ",\"results\":[");
    return SAH_OK;
}

sah_status sah_page_result(sah_page *p, const char *path, const sah_page_view *view, size_t *room,
                           sah_error *error)
{
    if (!sah_grow(&p->results, &p->capacity, p->n_results + 1, sizeof *p->results))
        return sah_fail_memory(error, "the page");
    sah_status status = sah_result_open(&path, 1, &p->results[p->n_results], error);
    if (status != SAH_OK) return status;
    const sah_result *result = p->results[p->n_results];
    sah_text_adds(&p->data, p->n_results > 0 ? "," : "");
    sah_page_data(&p->data, result, room);
    status = sah_page_heads(&p->html, result, p->n_results, view, error);
    p->n_results++;
    return status;
}

void sah_page_end(sah_page *p, size_t *room)
{
    sah_text_adds(&p->data, "],\"answers\":");
    sah_answers_data(p->answers, &p->data, room);
    sah_text_adds(&p->data, "}");
    add_tail(&p->html, &p->data);
}

sah_status sah_page_take(sah_page *p, sah_status status, sah_text *out, sah_error *error)
{
    for (size_t i = 0; i < p->n_results; i++) sah_result_close(p->results[i]);
    free(p->results);
    sah_answers_free(p->answers);
    if (status == SAH_OK && (p->html.failed || p->data.failed)) status = sah_fail_memory(error, "the page");
    free(p->data.data);
    *out = p->html;
    *p = (sah_page){0};
    return status;
}
