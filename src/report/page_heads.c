/* SPDX-License-Identifier: Apache-2.0 */
/* The section of one result: what to be careful about, the map, the heads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"
#include "report/concentration.h"
#include "report/heat_picture.h"
#include "report/html.h"
#include "report/page_facts.h"
#include "report/page_heads.h"
#include "report/rank.h"
#include "report/svg.h"
#include "util/error.h"
#include "util/json.h"

/* ---- Words ---------------------------------------------------------------------------------------------- */

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

static const char *meaning(const sah_result *result)
{
    switch (result->kind) {
    case SAH_KIND_SHIPS:
        return sah_result_has_difference(result) ? "KL (nats): how far the next-token distribution moves "
                                                   "when the head is ablated, on average "
                                                   "over the harmful queries. A high mean alone is not "
                                                   "safety: a head of general use has one "
                                                   "too. The difference to the harmless queries, and the "
                                                   "verdict it leads to, is the result."
                                                 : "KL (nats): how far the next-token distribution moves "
                                                   "when the head is ablated. It says that "
                                                   "the head matters for these queries, not that it matters "
                                                   "for safety: that takes harmless "
                                                   "queries beside them (--contrast).";
    case SAH_KIND_FIND:
        return "Shift (degrees): how far the space of the queries' hidden states turns when the head is "
               "ablated. A "
               "large shift says that the picture of the queries as a whole changes, not in which way.";
    case SAH_KIND_DIRECTION:
        break;
    }
    return "Contribution: how much of the difference between harmful and harmless queries the head itself "
           "writes, "
           "along the refusal direction. It tells what a head says, not what its ablation would change.";
}

/* ---- The table of heads --------------------------------------------------------------------------------- */

enum { SHIPS = 1 << SAH_KIND_SHIPS, FIND = 1 << SAH_KIND_FIND, DIRECTION = 1 << SAH_KIND_DIRECTION };

/* Places of numbers in sah_ranked. */
#define PLACE(member) offsetof(sah_ranked, member)
enum { NO_INTERVAL = 0 }; /* where the head stands */

static const struct column {
    unsigned kinds;
    const char *key; /* for the script */
    const char *name, *unit, *about;
    size_t value, low, high;
} columns[] = {
    {SHIPS, "mean", "KL", "nats", "mean over the queries", PLACE(mean), PLACE(low), PLACE(high)},
    {SHIPS, "contrast", "KL, harmless", "nats", "mean over the harmless queries", PLACE(contrast_mean),
     NO_INTERVAL, NO_INTERVAL},
    {FIND, "mean", "Shift", "degrees", "of the queries' space", PLACE(mean), PLACE(low), PLACE(high)},
    {FIND, "contrast", "Shift, harmless", "degrees", "of the harmless queries' space", PLACE(contrast_mean),
     NO_INTERVAL, NO_INTERVAL},
    {SHIPS, "difference", "Difference", "nats", "on the queries less on the harmless ones", PLACE(difference),
     PLACE(difference_low), PLACE(difference_high)},
    {FIND, "difference", "Difference", "degrees", "on the queries less on the harmless ones",
     PLACE(difference), PLACE(difference_low), PLACE(difference_high)},
    {DIRECTION, "difference", "Contribution", "residual's units", "to the refusal direction",
     PLACE(difference), PLACE(difference_low), PLACE(difference_high)},
    {DIRECTION, "mean", "Harmful", "residual's units", "mean projection on harmful queries", PLACE(mean),
     NO_INTERVAL, NO_INTERVAL},
    {DIRECTION, "contrast", "Harmless", "residual's units", "mean projection on harmless queries",
     PLACE(contrast_mean), NO_INTERVAL, NO_INTERVAL},
    {SHIPS | FIND, "p", "p", "", "of no difference upwards, adjusted for all heads", PLACE(p_adjusted),
     NO_INTERVAL, NO_INTERVAL},
    {SHIPS, "effect", "Effect", "nats a token", "on refusals: below 0 they weaken", PLACE(effect),
     PLACE(effect_low), PLACE(effect_high)},
    {SHIPS, "answered", "Effect, answers", "nats a token", "on answers: below 0 they weaken",
     PLACE(effect_answered), NO_INTERVAL, NO_INTERVAL},
    {SHIPS, "toward", "Toward refusing", "nats a token",
     "on answered queries: above 0 a refusal became likelier", PLACE(toward), NO_INTERVAL, NO_INTERVAL},
    {SHIPS, "opening_kl", "KL, openings", "nats a token", "mean over the openings", PLACE(opening_kl),
     NO_INTERVAL, NO_INTERVAL},
};
enum { N_COLUMNS = sizeof columns / sizeof *columns };

static double number_at(const sah_ranked *r, size_t place)
{
    double value;
    memcpy(&value, (const char *)r + place, sizeof value);
    return value;
}

typedef struct heads_table {
    const sah_result *result;
    const sah_ranked *ranked;
    size_t n;
    bool shown[N_COLUMNS];
    double from[N_COLUMNS], to[N_COLUMNS]; /* ends of the interval bars */
    bool verdicts, effect_verdicts;
} heads_table;

static void plan_table(heads_table *t)
{
    for (size_t c = 0; c < N_COLUMNS; c++) {
        const struct column *column = &columns[c];
        if (!(column->kinds & 1u << t->result->kind)) continue;
        for (size_t i = 0; i < t->n; i++) {
            t->shown[c] = t->shown[c] || !isnan(number_at(&t->ranked[i], column->value));
            if (column->low == NO_INTERVAL) continue;
            t->from[c] = fmin(t->from[c], number_at(&t->ranked[i], column->low)); /* and 0 */
            t->to[c] = fmax(t->to[c], number_at(&t->ranked[i], column->high));
        }
    }
    for (size_t i = 0; i < t->n; i++) {
        t->verdicts = t->verdicts || t->ranked[i].verdict != SAH_NOT_JUDGED;
        t->effect_verdicts = t->effect_verdicts || t->ranked[i].effect_verdict != SAH_NOT_JUDGED;
    }
}

static void add_names(sah_text *out, const heads_table *t)
{
    sah_text_adds(out, "<thead><tr><th scope=\"col\" data-key=\"rank\">Rank</th><th scope=\"col\" "
                       "data-key=\"head\">Head</th>");
    if (t->verdicts) sah_text_adds(out, "<th scope=\"col\" data-key=\"verdict\">Verdict</th>");
    if (t->effect_verdicts)
        sah_text_adds(
            out,
            "<th scope=\"col\" data-key=\"effect_verdict\" title=\"by the effect on refusals\">Verdict by "
            "effect</th>");
    for (size_t c = 0; c < N_COLUMNS; c++) {
        if (!t->shown[c]) continue;
        sah_text_addf(out, "<th scope=\"col\" data-key=\"%s\" data-unit=\"", columns[c].key);
        sah_add_escaped(out, columns[c].unit);
        sah_text_addf(out, "\" title=\"%s%s", columns[c].about, *columns[c].unit ? ", " : "");
        sah_add_escaped(out, columns[c].unit);
        sah_text_addf(out, "\">%s</th>", columns[c].name);
    }
    if (t->result->kind == SAH_KIND_SHIPS)
        sah_text_adds(
            out, "<th scope=\"col\" data-key=\"top10\" title=\"queries in which the head is among the ten "
                 "highest\">Top ten</th>");
    sah_text_adds(out, "</tr></thead>\n");
}

static void add_badge(sah_text *out, sah_selectivity verdict)
{
    const char *name = sah_selectivity_name(verdict);
    sah_text_addf(out, "<td><span class=\"badge %s\">%s</span></td>", name, name);
}

/* Three digits, all of them where the cell is pointed at; and the interval as a bar. */
static void add_number(sah_text *out, const heads_table *t, size_t c, const sah_ranked *r)
{
    const double value = number_at(r, columns[c].value);
    char text[32], low_text[32], high_text[32];
    if (isnan(value)) {
        sah_text_adds(out, "<td></td>");
        return;
    }
    sah_format_double(value, text);
    sah_text_addf(out, "<td title=\"%s", text);
    if (columns[c].low == NO_INTERVAL || isnan(number_at(r, columns[c].low))) {
        sah_text_adds(out, "\">");
        sah_html_number(out, value);
        sah_text_adds(out, "</td>");
        return;
    }
    const double low = number_at(r, columns[c].low), high = number_at(r, columns[c].high),
                 width = t->to[c] > t->from[c] ? t->to[c] - t->from[c] : 1, from = t->from[c];
    sah_format_double(low, low_text);
    sah_format_double(high, high_text);
    sah_text_addf(out, " (%s to %s)\">", low_text, high_text);
    sah_html_number(out, value);
    sah_text_addf(out, "<i style=\"--a:%.1f;--b:%.1f;--m:%.1f;--z:%.1f\"></i></td>",
                  100 * (low - from) / width, 100 * (high - low) / width, 100 * (value - from) / width,
                  100 * -from / width);
}

static void add_table(sah_text *out, heads_table *t, size_t top)
{
    plan_table(t);
    sah_text_addf(out, "<div class=\"scroll\"><table class=\"heads\" data-top=\"%zu\">\n", top);
    add_names(out, t);
    sah_text_adds(out, "<tbody>\n");
    for (size_t i = 0; i < t->n; i++) {
        const sah_ranked *r = &t->ranked[i];
        sah_text_addf(out, "<tr><td>%zu</td><th scope=\"row\">%d-%d</th>", i + 1, r->head.layer,
                      r->head.head);
        if (t->verdicts) add_badge(out, r->verdict);
        if (t->effect_verdicts) add_badge(out, r->effect_verdict);
        for (size_t c = 0; c < N_COLUMNS; c++)
            if (t->shown[c]) add_number(out, t, c, r);
        if (t->result->kind == SAH_KIND_SHIPS) sah_text_addf(out, "<td>%zu</td>", r->top_ten);
        sah_text_adds(out, "</tr>\n");
    }
    sah_text_adds(out, "</tbody></table></div>\n");
}

/* ---- Steps of a search ----------------------------------------------------------------------------------- */

static void add_steps(sah_text *out, const sah_result *result)
{
    sah_chosen chosen;
    sah_text table = {0};
    sah_text_adds(&table, "step\thead\tshift of the group, degrees\tgain\tbetter than chance\n");
    size_t n = 0;
    for (; sah_result_chosen(result, n, &chosen); n++)
        sah_text_addf(&table, "%zu\t%d-%d\t%.3g\t%.3g\t%s\n", n, chosen.head.layer, chosen.head.head,
                      chosen.shift, chosen.gain,
                      result->info.n_screened > 0 ? "not judged"
                      : chosen.better_than_chance ? "yes"
                                                  : "no");
    if (n > 0) {
        sah_text_adds(out, "<h3>The search</h3>\n");
        sah_html_paragraph(out, NULL,
                           "Each step adds the head that turns the states most beside those before it. A "
                           "step that is no better than "
                           "chance found the largest of many numbers, as there always is one.");
        sah_text_adds(out, "<figure class=\"steps\"></figure>\n");
        sah_html_table(out, table.data != NULL ? table.data : "");
    }
    out->failed = out->failed || table.failed;
    free(table.data);
}

/* ---- The section ----------------------------------------------------------------------------------------- */

static sah_status add_concentration(sah_text *out, const sah_result *result, sah_ranked *ranked, size_t n,
                                    sah_error *error)
{
    char *text = NULL;
    if (result->info.n_screened > 0) return SAH_OK;
    sah_status status = sah_concentration_ranked_text(result, SAH_FORMAT_TSV, ranked, n, &text, error);
    if (status == SAH_OK) {
        sah_text_adds(out, "<h3>Concentration</h3>\n");
        sah_html_paragraph(out, NULL,
                           "How few heads carry half of the score, and how much of the model they are.");
        sah_html_table(out, text);
    }
    free(text);
    return status;
}

sah_order sah_page_order(const sah_result *result, sah_order order)
{
    const sah_result_info *info = &result->info;
    const bool has = order == SAH_ORDER_EFFECT       ? info->n_refused > 0
                     : order == SAH_ORDER_TOWARD     ? info->n_answered > 0
                     : order == SAH_ORDER_COUNT      ? result->kind == SAH_KIND_SHIPS
                     : order == SAH_ORDER_DIFFERENCE ? sah_result_has_difference(result)
                                                     : true;
    return has ? order : SAH_ORDER_DEFAULT;
}

/* The column that an order goes by, which the map shows. */
static const char *key_of(const sah_result *result, sah_order order)
{
    static const char *const keys[] = {[SAH_ORDER_MEAN] = "mean",
                                       [SAH_ORDER_COUNT] = "top10",
                                       [SAH_ORDER_DIFFERENCE] = "difference",
                                       [SAH_ORDER_EFFECT] = "effect",
                                       [SAH_ORDER_TOWARD] = "toward"};
    return keys[sah_order_of(result, order)];
}

static const char *title_of(const sah_result *result)
{
    static const char *const titles[] = {"Ships", "Find", "Refusal direction"}; /* by sah_kind */
    return titles[result->kind];
}

sah_status sah_page_heads(sah_text *out, const sah_result *result, size_t id, const sah_page_view *view,
                          sah_error *error)
{
    const sah_order order = sah_page_order(result, view->order);
    sah_ranked *ranked = NULL;
    size_t n;
    sah_status status = sah_rank(result, order, &ranked, &n, error);
    if (status != SAH_OK) return status;
    const sah_map map = {.result = result, .order = order, .ranked = ranked, .n_ranked = n};
    heads_table table = {.result = result, .ranked = ranked, .n = n};
    sah_text_addf(out, "<section class=\"result\" id=\"result-%zu\">\n", id);
    if (view->title != NULL) {
        sah_text_adds(out, "<h2>");
        sah_add_escaped(out, view->title);
        sah_text_adds(out, "</h2>\n");
    } else {
        sah_page_heading(out, title_of(result), result->files[0].header);
    }
    add_warnings(out, result);
    sah_html_paragraph(out, NULL, meaning(result));
    sah_text_addf(out, "<figure class=\"map\" data-shown=\"%s\">\n", key_of(result, order));
    status = sah_map_svg(&map, true, out, error);
    sah_text_adds(out, "</figure>\n<div class=\"pictures\"></div>\n");
    if (result->kind == SAH_KIND_FIND) add_steps(out, result);
    sah_text_adds(out, "<h3>Heads</h3>\n");
    add_table(out, &table, view->top);
    if (status == SAH_OK) status = add_concentration(out, result, ranked, n, error);
    sah_page_facts(out, view->path, result->files[0].header);
    sah_text_adds(out, "</section>\n");
    free(ranked);
    return status;
}
