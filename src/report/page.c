/* SPDX-License-Identifier: Apache-2.0 */
/* One HTML page about results: what was run, the heads as picture and as table, the steps of a search, rates of judged
 * responses, and how far results agree. Nothing outside of the page is needed to read it. */
#include "report/page.h"

#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"
#include "report/colour.h"
#include "report/html.h"
#include "report/rank.h"
#include "util/alloc.h"
#include "util/embedded.h"
#include "util/error.h"
#include "util/wholefile.h"

/* Characters of scores by query, and of responses: with the drawing library's half million a page stays under 5 MB. */
static const size_t ROOM = 3200 * 1000, RESPONSES_ROOM = 800 * 1000;

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

static void add_head(sah_text *out)
{
    sah_text_adds(
        out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
             "content=\"width=device-width\">\n<meta http-equiv=\"Content-Security-Policy\" content=\""
             "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n"
             "<title>Sahara: attention heads and safety</title>\n<style>");
    add_embedded(out, &sah_text_page_style);
    sah_text_adds(out,
                  "</style>\n<script>document.documentElement.className = "
                  "\"scripted\";</script>\n</head>\n<body>\n<h1>Attention heads and safety</h1>\n"
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
    add_json(out, data->data ? data->data : "{}");
    sah_text_adds(out, "</script>\n");
    add_script(out, &sah_text_d3_min);
    add_script(out, &sah_text_plot_umd_min);
    add_script(out, &sah_text_page_script);
    sah_text_adds(out, "</body>\n</html>\n");
}

/* ---- The page -------------------------------------------------------------------------------------------- */

/* Results that cannot be compared are no failure: the page says why. */
static sah_status add_comparison(sah_text *out, const sah_result *const *results, size_t n, sah_order order,
                                 sah_error *error)
{
    sah_error refused = {0};
    char *table = NULL;
    sah_text_adds(out, "<section id=\"agreement\">\n<h2>Agreement</h2>\n");
    for (size_t i = 0; i < n; i++)
        if (sah_page_order(results[i], order) != order) order = SAH_ORDER_DEFAULT;
    sah_status status = sah_compare_text(results, n, order, SAH_FORMAT_TSV, &table, &refused);
    if (status == SAH_OUT_OF_MEMORY) return sah_fail_memory(error, "the page");
    if (status == SAH_OK) {
        sah_html_paragraph(
            out, NULL,
            "Rank correlation (Spearman) over the heads that both have, and how many of the highest heads "
            "they share, beside what two random choices would. Models of one base share general heads, "
            "whatever they refuse.");
        sah_text_adds(out, "<figure class=\"overlap\"></figure>\n");
        sah_html_table(out, table);
    } else {
        sah_html_paragraph(out, "note", refused.message);
    }
    sah_text_adds(out, "</section>\n");
    free(table);
    return SAH_OK;
}

/* A page on its way: its text, and the data of the results so far. */
typedef struct page {
    sah_text html, data;
    sah_answers *answers;
    sah_result **results; /* [n_results] */
    size_t n_results;
    size_t room;
} page;

static sah_status add_file(page *p, const char *path, const sah_report_options *options, sah_error *error)
{
    bool taken = false;
    sah_status status = sah_answers_add(p->answers, path, &p->html, &taken, error);
    if (status != SAH_OK || taken) return status;
    status = sah_result_open(&path, 1, &p->results[p->n_results], error);
    if (status != SAH_OK) return status;
    const sah_result *result = p->results[p->n_results];
    sah_text_adds(&p->data, p->n_results > 0 ? "," : "");
    sah_page_data(&p->data, result, &p->room);
    status = sah_page_heads(&p->html, result, p->n_results, sah_page_order(result, options->order),
                            options->top > 0 ? options->top : 20, error);
    p->n_results++;
    return status;
}

static sah_status make_page(const char *const *paths, size_t n, const sah_report_options *options,
                            sah_text *out, sah_error *error)
{
    page p = {.answers = sah_answers_new(), .results = sah_alloc(n, sizeof *p.results), .room = ROOM};
    size_t room = RESPONSES_ROOM;
    sah_status status = SAH_OK;
    if (p.answers == NULL || p.results == NULL) status = sah_fail_memory(error, "the page");
    add_head(&p.html);
    sah_text_adds(&p.data, "{");
    add_colours(&p.data);
    sah_text_adds(&p.data, ",\"results\":[");
    for (size_t i = 0; i < n && status == SAH_OK; i++) status = add_file(&p, paths[i], options, error);
    if (status == SAH_OK) {
        sah_text_adds(&p.data, "],\"answers\":");
        sah_answers_data(p.answers, &p.data, &room);
        sah_text_adds(&p.data, "}");
        sah_text_adds(&p.html, "<section id=\"answers\" hidden></section>\n");
        if (p.n_results > 1)
            status = add_comparison(&p.html, (const sah_result *const *)p.results, p.n_results,
                                    options->order, error);
        add_tail(&p.html, &p.data);
    }
    for (size_t i = 0; i < p.n_results; i++) sah_result_close(p.results[i]);
    free(p.results);
    sah_answers_free(p.answers);
    if (status == SAH_OK && (p.html.failed || p.data.failed)) status = sah_fail_memory(error, "the page");
    free(p.data.data);
    *out = p.html;
    return status;
}

/* ---- What is asked for ----------------------------------------------------------------------------------- */

static bool ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    return n > m && strcmp(path + n - m, end) == 0;
}

/* The heat map, or its numbers. */
static sah_status make_picture(const sah_result *result, const sah_report_options *options,
                               const char *output, sah_text *out, sah_error *error)
{
    const sah_map map = {.result = result, .order = options->order, .width_mm = options->width_mm};
    const sah_rank_options table = {.format = SAH_FORMAT_TSV, .order = options->order, .top = options->top};
    unsigned char *pixels = NULL;
    size_t size = 0;
    if (ends_with(output, ".svg")) return sah_map_svg(&map, false, out, error);
    if (ends_with(output, ".tsv")) {
        sah_status status = sah_rank_text(result, &table, &out->data, error);
        out->size = out->data ? strlen(out->data) : 0;
        return status;
    }
    sah_status status = sah_map_png(&map, &pixels, &size, error);
    out->data = (char *)pixels;
    out->size = size;
    return status;
}

sah_status sah_report(const char *const *paths, size_t n, const sah_report_options *options,
                      const char *output, sah_error *error)
{
    sah_text text = {0};
    sah_result *result = NULL;
    sah_status status = SAH_OK;
    bool html = ends_with(output, ".html");
    if (n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no result to report");
    if (!html && !ends_with(output, ".png") && !ends_with(output, ".svg") && !ends_with(output, ".tsv"))
        return sah_fail(error, SAH_BAD_ARGUMENT, "%s: the name must end in .html, .svg, .png or .tsv",
                        output);
    for (size_t i = 0; i < n; i++)
        if (strcmp(paths[i], output) == 0)
            return sah_fail(error, SAH_BAD_ARGUMENT, "%s is one of the results; write to another file",
                            output);
    if (html) {
        status = make_page(paths, n, options, &text, error);
    } else {
        status = sah_result_open(paths, n, &result, error);
        if (status == SAH_OK) status = sah_result_select(result, options->step, error);
        if (status == SAH_OK) status = make_picture(result, options, output, &text, error);
    }
    if (status == SAH_OK) status = sah_file_write(output, text.data, text.size, error);
    sah_result_close(result);
    free(text.data);
    return status;
}
