/* SPDX-License-Identifier: Apache-2.0 */
/* One HTML page about results: what was run, the heads as picture and as table, the steps of a search, rates
 * of judged responses, and how far results agree. Nothing outside of the page is needed to read it. */
#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"
#include "report/html.h"
#include "report/rank.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/json.h"
#include "util/mapfile.h"
#include "util/wholefile.h"

static const char STYLE[] =
    "body{font:16px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:1em 0;font-variant-numeric:tabular-nums}"
    "th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid #bbb}th{font-weight:600}"
    "td:first-child,th:first-child{text-align:left}.scroll{overflow-x:auto}"
    ".note{border-left:4px solid #b06000;padding-left:.8em}section{margin-top:3em}dt{font-weight:600}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}th,td{border-color:#555}}"
    "@media print{body{max-width:none;margin:0}section{break-inside:avoid-page}}";

/* Bytes of a file of responses. */
static const size_t LARGEST_FILE = (size_t)1 << 31;

/* ---- Pieces -------------------------------------------------------------------------------------------- */

/* A member of the settings as text, whatever it is. */
static void add_fact(sah_text *out, const char *name, const json_t *value)
{
    char *text = json_is_string(value) ? strdup(json_string_value(value))
                 : value != NULL
                     ? sah_json_text(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9))
                     : NULL;
    if (text == NULL) {
        out->failed |= value != NULL;
        return;
    }
    sah_text_adds(out, "<dt>");
    sah_add_escaped(out, name);
    sah_text_adds(out, "</dt><dd>");
    sah_add_escaped(out, text);
    sah_text_adds(out, "</dd>\n");
    free(text);
}

static void add_facts(sah_text *out, const char *path, const json_t *header)
{
    const json_t *model = json_object_get(header, "model"), *value;
    const char *name;
    sah_text_adds(out, "<details><summary>Settings</summary><dl>\n<dt>file</dt><dd>");
    sah_add_escaped(out, path);
    sah_text_adds(out, "</dd>\n");
    add_fact(out, "version", json_object_get(header, "version"));
    add_fact(out, "model", json_object_get(model, "name"));
    add_fact(out, "model's hash (XXH3)", json_object_get(model, "xxh3"));
    json_object_foreach((json_t *)(uintptr_t)json_object_get(header, "settings"), name, value)
        add_fact(out, name, value);
    sah_text_adds(out, "</dl></details>\n");
}

static void add_heading(sah_text *out, const char *command, const json_t *header)
{
    const char *name = json_string_value(json_object_get(json_object_get(header, "model"), "name"));
    sah_text_addf(out, "<section>\n<h2>%s: ", command);
    sah_add_escaped(out, name ? name : "responses");
    sah_text_adds(out, "</h2>\n");
}

/* ---- Heads --------------------------------------------------------------------------------------------- */

static void add_warnings(sah_text *out, const sah_result *result)
{
    const json_t *check = json_object_get(result->files[0].header, "refusal_check");
    const sah_result_info *info = &result->info;
    char text[256];
    if (check != NULL) {
        json_int_t sampled = json_integer_value(json_object_get(check, "sampled")),
                   refused = json_integer_value(json_object_get(check, "refused")),
                   thinking = json_integer_value(json_object_get(check, "thinking"));
        const bool hardly = 2 * refused < sampled && thinking == 0;
        snprintf(text, sizeof text, "The model refused %lld of %lld sampled queries.%s", (long long)refused,
                 (long long)sampled,
                 hardly ? " Where it hardly refuses, what a head's ablation changes says little about safety."
                        : "");
        sah_html_paragraph(out, hardly ? "note" : NULL, text);
        if (thinking > 0) {
            snprintf(text, sizeof text,
                     "%lld of these responses were still thinking: whether they refuse is not known.",
                     (long long)thinking);
            sah_html_paragraph(out, "note", text);
        }
    }
    if (info->n_screened > 0) {
        snprintf(text, sizeof text, "Screened: %zu of %zu heads have all scores; the others left the race.",
                 info->n_scored, info->n_expected);
        sah_html_paragraph(out, "note", text);
    } else if (info->n_scored < info->n_expected) {
        snprintf(text, sizeof text, "The run is not finished: %zu of %zu heads.", info->n_scored,
                 info->n_expected);
        sah_html_paragraph(out, "note", text);
    }
    if (info->effect_reason[0] != '\0') {
        snprintf(text, sizeof text, "By the signed effect all heads are undecided: %s.", info->effect_reason);
        sah_html_paragraph(out, "note", text);
    }
}

/* The order, where the result has such scores; else the default. */
static sah_order order_for(const sah_result *result, sah_order order)
{
    const sah_result_info *info = &result->info;
    const bool has = order == SAH_ORDER_EFFECT       ? info->n_refused > 0
                     : order == SAH_ORDER_TOWARD     ? info->n_answered > 0
                     : order == SAH_ORDER_COUNT      ? result->kind == SAH_KIND_SHIPS
                     : order == SAH_ORDER_DIFFERENCE ? sah_result_has_difference(result)
                                                     : true;
    return has ? order : SAH_ORDER_DEFAULT;
}

static const char *meaning(const sah_result *result)
{
    switch (result->kind) {
    case SAH_KIND_SHIPS:
        return sah_result_has_difference(result)
                   ? "Mean KL (nats): how far the next-token distribution moves when the head is ablated, "
                     "over the harmful "
                     "queries. A high mean alone is not safety: a head of general use has one too. The "
                     "difference to the "
                     "harmless queries, and the verdict it leads to, is the result."
                   : "Mean KL (nats): how far the next-token distribution moves when the head is ablated. It "
                     "says that the "
                     "head matters for these queries, not that it matters for safety: that takes harmless "
                     "queries beside "
                     "them (--contrast).";
    case SAH_KIND_FIND:
        return "Shift (degrees): how far the space of the queries' hidden states turns when the head is "
               "ablated. A large "
               "shift says that the picture of the queries as a whole changes, not in which way.";
    case SAH_KIND_DIRECTION:
        break;
    }
    return "Contribution: how much of the difference between harmful and harmless queries the head itself "
           "writes, along the "
           "refusal direction. It tells what a head says, not what its ablation would change.";
}

static void add_steps(sah_text *out, const sah_result *result)
{
    sah_chosen chosen;
    sah_text table = {0};
    sah_text_adds(&table, "step\thead\tshift of the group\tgain\tbetter than chance\n");
    size_t n = 0;
    for (; sah_result_chosen(result, n, &chosen); n++)
        sah_text_addf(&table, "%zu\t%d-%d\t%.4g\t%.4g\t%s\n", n, chosen.head.layer, chosen.head.head,
                      chosen.shift, chosen.gain,
                      result->info.n_screened > 0 ? "not judged"
                      : chosen.better_than_chance ? "yes"
                                                  : "no");
    if (n > 0) {
        sah_html_paragraph(
            out, NULL,
            "The greedy search: each step adds the head that turns the states most beside those before it. A "
            "step "
            "that is no better than chance found the largest of many numbers, as there always is one.");
        sah_html_table(out, table.data ? table.data : "");
    }
    out->failed = out->failed || table.failed;
    free(table.data);
}

static sah_status add_heads(sah_text *out, const sah_result *result, const sah_report_options *shown,
                            sah_error *error)
{
    const sah_rank_options options = {.format = SAH_FORMAT_TSV,
                                      .order = order_for(result, shown->order),
                                      .top = shown->top > 0 ? shown->top : 20};
    char *table = NULL, *concentration = NULL;
    add_heading(out, result->info.command, result->files[0].header);
    add_facts(out, result->files[0].path, result->files[0].header);
    add_warnings(out, result);
    sah_text_adds(out, "<figure class=\"scroll\">\n");
    sah_status status = sah_map_svg(result, options.order, true, out, error);
    sah_text_adds(out, "</figure>\n");
    if (status == SAH_OK && result->kind == SAH_KIND_FIND) add_steps(out, result);
    if (status == SAH_OK) status = sah_rank_text(result, &options, &table, error);
    if (status == SAH_OK) {
        sah_html_paragraph(out, NULL, meaning(result));
        sah_html_table(out, table);
        if (result->info.n_screened == 0)
            status = sah_concentration_text(result, SAH_FORMAT_TSV, &concentration, error);
    }
    if (concentration != NULL && status == SAH_OK) {
        sah_html_paragraph(
            out, NULL,
            "Concentration: how few heads carry half of the score, and how much of the model they are.");
        sah_html_table(out, concentration);
    }
    sah_text_adds(out, "</section>\n");
    free(table);
    free(concentration);
    return status;
}

/* ---- Judged responses ---------------------------------------------------------------------------------- */

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void add_rates_row(sah_text *table, const json_t *line)
{
    const json_t *ablated = json_object_get(line, "ablated"), *head;
    size_t i;
    if (ablated == NULL)
        sah_text_adds(table, "all");
    else if (json_array_size(ablated) == 0)
        sah_text_adds(table, "none");
    json_array_foreach(ablated, i, head)
    {
        const char *name = json_string_value(head);
        sah_text_addf(table, "%s%s", i > 0 ? ", " : "", name ? name : "?");
    }
    if (json_is_true(json_object_get(line, "random"))) sah_text_adds(table, " (at random)");
    sah_text_addf(table, "\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f %%\t%.1f to %.1f %%\n", number(line, "n"),
                  number(line, "refusal"), number(line, "compliance"), number(line, "degenerate"),
                  100 * number(line, "asr"), 100 * number(line, "low"), 100 * number(line, "high"));
}

/* A file that `judge` wrote: its lines of totals. *is_judged is false when it is another file. */
static sah_status add_judged(sah_text *out, const char *path, bool *is_judged, sah_error *error)
{
    sah_text table = {0};
    char *data = NULL;
    size_t size = 0;
    *is_judged = false;
    sah_status status = sah_file_read(path, LARGEST_FILE, &data, &size, error);
    if (status != SAH_OK) return status;
    sah_text_adds(
        &table,
        "ablated\tresponses\trefusals\tcompliances\tdegenerate\tattack success rate\t95 % interval\n");
    for (char *line = data, *end; line < data + size; line = end + 1) {
        end = memchr(line, '\n', (size_t)(data + size - line));
        if (end == NULL) end = data + size;
        json_t *object = json_loadb(line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);
        const char *command = json_string_value(json_object_get(object, "sahara"));
        if (line == data && command != NULL && strcmp(command, "judge") == 0) {
            *is_judged = true;
            add_heading(out, "judge", object);
            add_facts(out, path, object);
        } else if (*is_judged && json_object_get(object, "verdict") == NULL &&
                   json_object_get(object, "asr") != NULL) {
            add_rates_row(&table, object);
        }
        json_decref(object);
        if (!*is_judged) break;
    }
    if (*is_judged) {
        sah_html_paragraph(
            out, NULL,
            "Attack success rate: compliances among all responses, by the judge's rule. Degenerate responses "
            "are "
            "neither refusal nor compliance: many of them mean that the ablation broke more than safety.");
        sah_html_table(out, table.data ? table.data : "");
        sah_text_adds(out, "</section>\n");
    }
    out->failed = out->failed || table.failed;
    free(table.data);
    free(data);
    return SAH_OK;
}

/* ---- The page ------------------------------------------------------------------------------------------ */

/* Results that cannot be compared are no failure: the page says why. */
static sah_status add_comparison(sah_text *out, const sah_result *const *results, size_t n, sah_order order,
                                 sah_error *error)
{
    sah_error refused = {0};
    char *table = NULL;
    sah_text_adds(out, "<section>\n<h2>Agreement</h2>\n");
    for (size_t i = 0; i < n; i++)
        if (order_for(results[i], order) != order) order = SAH_ORDER_DEFAULT;
    sah_status status = sah_compare_text(results, n, order, SAH_FORMAT_TSV, &table, &refused);
    if (status == SAH_OUT_OF_MEMORY) return sah_fail_memory(error, "the page");
    if (status == SAH_OK) {
        sah_html_paragraph(out, NULL,
                           "Rank correlation (Spearman) over the heads that both have, and how many of the "
                           "highest heads they share, "
                           "beside what two random choices would. Models of one base share general heads, "
                           "whatever they refuse.");
        sah_html_table(out, table);
    } else {
        sah_html_paragraph(out, "note", refused.message);
    }
    sah_text_adds(out, "</section>\n");
    free(table);
    return SAH_OK;
}

static sah_status make_page(const char *const *paths, size_t n, const sah_report_options *options,
                            sah_text *out, sah_error *error)
{
    sah_status status = SAH_OK;
    size_t n_results = 0;
    sah_result **results = sah_alloc(n, sizeof *results);
    if (results == NULL) return sah_fail_memory(error, "the page");
    sah_text_addf(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
        "content=\"width=device-width\">\n<title>Sahara: attention "
        "heads</title>\n<style>%s</style>\n</head>\n<body>\n"
        "<h1>Attention heads and safety</h1>\n",
        STYLE);
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        bool judged = false;
        status = add_judged(out, paths[i], &judged, error);
        if (judged || status != SAH_OK) continue;
        status = sah_result_open(&paths[i], 1, &results[n_results], error);
        if (status == SAH_OK) status = add_heads(out, results[n_results++], options, error);
    }
    if (status == SAH_OK && n_results > 1)
        status = add_comparison(out, (const sah_result *const *)results, n_results, options->order, error);
    sah_text_addf(
        out,
        "<footer><p>Made by Sahara %s. What the words mean: docs/method.md.</p></footer>\n</body>\n</html>\n",
        SAH_VERSION);
    for (size_t i = 0; i < n_results; i++) sah_result_close(results[i]);
    free(results);
    return status == SAH_OK && out->failed ? sah_fail_memory(error, "the page") : status;
}

static bool ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    return n > m && strcmp(path + n - m, end) == 0;
}

sah_status sah_report(const char *const *paths, size_t n, const sah_report_options *options,
                      const char *output, sah_error *error)
{
    sah_text text = {0};
    sah_result *result = NULL;
    unsigned char *pixels = NULL;
    size_t size = 0;
    bool page = ends_with(output, ".html"), png = ends_with(output, ".png");
    sah_status status = SAH_OK;
    if (n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no result to report");
    if (!page && !png && !ends_with(output, ".svg"))
        return sah_fail(error, SAH_BAD_ARGUMENT, "%s: the name must end in .html, .svg or .png", output);
    for (size_t i = 0; i < n; i++)
        if (strcmp(paths[i], output) == 0)
            return sah_fail(error, SAH_BAD_ARGUMENT, "%s is one of the results; write to another file",
                            output);
    if (page) {
        status = make_page(paths, n, options, &text, error);
    } else {
        status = sah_result_open(paths, n, &result, error);
        if (status == SAH_OK) status = sah_result_select(result, options->step, error);
        if (status == SAH_OK)
            status = png ? sah_map_png(result, options->order, &pixels, &size, error)
                         : sah_map_svg(result, options->order, false, &text, error);
    }
    if (status == SAH_OK)
        status = png ? sah_file_write(output, pixels, size, error)
                     : sah_file_write(output, text.data, text.size, error);
    sah_result_close(result);
    free(pixels);
    free(text.data);
    return status;
}
