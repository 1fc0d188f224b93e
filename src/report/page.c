/* SPDX-License-Identifier: Apache-2.0 */
/* One HTML page about results: what was run, the heads as picture and as table, the steps of a search, rates of judged
 * responses, and how far results agree. Nothing outside of the page is needed to read it. */
#include "report/page_answers.h"
#include "report/page_document.h"
#include "report/page_heads.h"

#include <stdlib.h>
#include <string.h>

#include "report/heat_picture.h"
#include "report/html.h"
#include "report/png.h"
#include "report/svg.h"
#include "util/error.h"
#include "util/wholefile.h"

/* Characters of scores by query, and of responses: with the drawing library's half million a page stays under 5 MB. */
static const size_t ROOM = 3200 * 1000, RESPONSES_ROOM = 800 * 1000;

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

static sah_status add_file(sah_page *p, const char *path, const sah_report_options *options, size_t *room,
                           sah_error *error)
{
    const sah_page_view view = {
        .order = options->order, .top = options->top > 0 ? options->top : 20, .path = path};
    bool taken = false;
    sah_status status = sah_answers_add(p->answers, path, &p->html, &taken, error);
    return status != SAH_OK || taken ? status : sah_page_result(p, path, &view, room, error);
}

static sah_status make_page(const char *const *paths, size_t n, const sah_report_options *options,
                            sah_text *out, sah_error *error)
{
    sah_page p;
    size_t room = ROOM, responses_room = RESPONSES_ROOM;
    sah_status status = sah_page_begin(&p, "Attention heads and safety", error);
    for (size_t i = 0; i < n && status == SAH_OK; i++) status = add_file(&p, paths[i], options, &room, error);
    if (status == SAH_OK) {
        sah_text_adds(&p.html, "<section id=\"answers\" hidden></section>\n");
        if (p.n_results > 1)
            status = add_comparison(&p.html, (const sah_result *const *)p.results, p.n_results,
                                    options->order, error);
        sah_page_end(&p, &responses_room);
    }
    return sah_page_take(&p, status, out, error);
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
        out->size = out->data != NULL ? strlen(out->data) : 0;
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
