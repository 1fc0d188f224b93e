/* SPDX-License-Identifier: Apache-2.0 */
/* card.json: the figures; card.md: a section for a model card; card.html: the same for the eye, with the curves
 * drawn. */
#include "audit/audit.h"

#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"
#include "report/html.h"
#include "util/error.h"
#include "util/wholefile.h"

/* ---- JSON ------------------------------------------------------------------------------------------------ */

static json_t *json_share(const sah_share *share)
{
    return json_pack("[f,f,f]", share->value, share->low, share->high);
}

static json_t *json_rate(const sah_rate *rate)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:o}", "n", (json_int_t)rate->n, "refused", (json_int_t)rate->refused,
                     "complied", (json_int_t)rate->complied, "degenerate", (json_int_t)rate->degenerate,
                     "refusal", json_share(&rate->refusal));
}

static json_t *json_head(const sah_ranked *r)
{
    char name[32];
    snprintf(name, sizeof name, "%d-%d", r->head.layer, r->head.head);
    json_t *object = json_pack("{s:s,s:f,s:f}", "head", name, "kl", r->mean, "kl_harmless", r->contrast_mean);
    /* Without refused queries there is no effect on them; JSON has no NaN. */
    if (object != NULL && r->effect == r->effect) {
        json_object_set_new(object, "effect", json_pack("[f,f,f]", r->effect, r->effect_low, r->effect_high));
        json_object_set_new(object, "verdict", json_string(sah_selectivity_name(r->effect_verdict)));
    }
    return object;
}

static json_t *json_sweep(const sah_sweep_found *s)
{
    json_t *top = json_array();
    for (size_t i = 0; i < s->n_top; i++) json_array_append_new(top, json_head(&s->top[i]));
    return json_pack("{s:s,s:I,s:I,s:I,s:f,s:I,s:o}", "part", s->part, "heads", (json_int_t)s->n_heads,
                     "safety_by_effect", (json_int_t)s->n_safety, "safety_by_kl", (json_int_t)s->n_safety_kl,
                     "gini", s->concentration.gini, "half_of_kl_in_heads",
                     (json_int_t)s->concentration.half_heads, "highest", top);
}

static json_t *json_curve(const sah_curve *c)
{
    json_t *points = json_array();
    for (size_t i = 0; i < c->n; i++) {
        json_t *point = json_rate(&c->points[i].rate);
        json_object_set_new(point, "ablated", json_string(c->points[i].names));
        json_object_set_new(point, "random", json_boolean(c->points[i].random));
        json_array_append_new(points, point);
    }
    json_t *object = json_pack("{s:s,s:s,s:o}", "list", c->name, "heads", c->heads, "points", points);
    if (c->has_perplexity)
        json_object_set_new(object, "own_text",
                            json_pack("{s:f,s:f,s:o}", "perplexity", c->base_perplexity, "perplexity_ablated",
                                      c->perplexity, "log_difference", json_share(&c->log_difference)));
    return object;
}

static const char *answer_name(sah_audit_answer answer)
{
    static const char *const names[] = {"hardly refuses", "few heads", "not these heads", "undecided"};
    return names[answer];
}

static json_t *json_card(const sah_found *f)
{
    json_t *sweeps = json_array(), *curves = json_array(), *group = json_array(), *doubts = json_array();
    for (size_t i = 0; i < 2; i++)
        if (f->sweeps[i].done) json_array_append_new(sweeps, json_sweep(&f->sweeps[i]));
    for (size_t i = 0; i < f->n_curves; i++) json_array_append_new(curves, json_curve(&f->curves[i]));
    for (size_t i = 0; i < f->n_group; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d-%d", f->group[i].head.layer, f->group[i].head.head);
        json_array_append_new(group, json_pack("{s:s,s:f,s:b}", "head", name, "shift", f->group[i].shift,
                                               "better_than_chance", f->group[i].better_than_chance));
    }
    for (size_t i = 0; i < f->doubts.n; i++) json_array_append_new(doubts, json_string(f->doubts.items[i]));
    return json_pack(
        "{s:s,s:s,s:{s:s,s:s,s:s,s:i,s:i},s:s,s:s,s:o,s:b,s:i,s:{s:I,s:I,s:I},s:o,s:o,s:o,s:o,s:o}", "sahara",
        "audit", "version", SAH_VERSION, "model", "name", f->model->name, "xxh3", f->model->checksum,
        "family", f->model->family, "layers", f->model->n_layers, "heads", f->model->n_heads, "answer",
        answer_name(f->answer), "sentence", f->sentence, "doubts", doubts, "quick", f->quick,
        "max_new_tokens", f->max_new_tokens, "queries", "chosen_on_harmful", (json_int_t)f->n_scored,
        "chosen_on_harmless", (json_int_t)f->n_scored_harmless, "tried_on", (json_int_t)f->n_held, "harmful",
        json_rate(&f->harmful), "harmless", json_rate(&f->harmless), "sweeps", sweeps, "group", group,
        "curves", curves);
}

/* ---- Text shared by both cards: rows of tables, cells between tabs --------------------------------------- */

static void add_rate_row(sah_text *t, const char *name, const sah_rate *r)
{
    sah_text_addf(t, "%s\t%llu of %llu\t%.0f %%\t%.0f to %.0f %%\t%llu\n", name,
                  (unsigned long long)r->refused, (unsigned long long)r->n, 100 * r->refusal.value,
                  100 * r->refusal.low, 100 * r->refusal.high, (unsigned long long)r->degenerate);
}

static void add_rates(sah_text *t, const sah_found *f)
{
    sah_text_adds(t, "queries\trefused\tshare\t95 % interval\tno language\n");
    add_rate_row(t, "harmful", &f->harmful);
    add_rate_row(t, "harmless", &f->harmless);
}

static void add_curve_rows(sah_text *t, const sah_curve *c)
{
    sah_text_adds(t, "ablated\trefused\tshare\t95 % interval\tno language\n");
    for (size_t i = 0; i < c->n; i++) {
        char name[1024];
        snprintf(name, sizeof name, "%s%s", c->points[i].heads == 0 ? "none" : c->points[i].names,
                 c->points[i].random ? " (at random)" : "");
        add_rate_row(t, name, &c->points[i].rate);
    }
}

static void add_heads(sah_text *t, const sah_sweep_found *s)
{
    sah_text_adds(
        t, "head\teffect on refusals, nats a token\t95 % interval\tverdict\tKL, harmful\tKL, harmless\n");
    for (size_t i = 0; i < s->n_top; i++) {
        const sah_ranked *r = &s->top[i];
        sah_text_addf(t, "%d-%d\t", r->head.layer, r->head.head);
        if (r->effect == r->effect)
            sah_text_addf(t, "%.3g\t%.3g to %.3g\t%s\t", r->effect, r->effect_low, r->effect_high,
                          sah_selectivity_name(r->effect_verdict));
        else
            sah_text_adds(t, "\t\t\t");
        sah_text_addf(t, "%.3g\t%.3g\n", r->mean, r->contrast_mean);
    }
}

static void add_cost(sah_text *t, const sah_curve *c)
{
    if (!c->has_perplexity) return;
    sah_text_addf(t,
                  "Perplexity of the model's own harmless answers with all of them ablated: %.2f, without "
                  "ablation %.2f.",
                  c->perplexity, c->base_perplexity);
}

/* A card is written in one of two forms. */
typedef struct card {
    sah_text text;
    bool html;
} card;

static void add_heading(card *c, int level, const char *text)
{
    if (c->html) {
        sah_text_addf(&c->text, "<h%d>", level);
        sah_add_escaped(&c->text, text);
        sah_text_addf(&c->text, "</h%d>\n", level);
    } else {
        sah_text_addf(&c->text, "%.*s %s\n\n", level + 1, "######", text);
    }
}

static void add_paragraph(card *c, const char *class_, const char *text)
{
    if (text == NULL || *text == '\0') return;
    if (c->html) {
        sah_html_paragraph(&c->text, class_, text);
    } else {
        sah_text_addf(&c->text, strcmp(class_, "answer") == 0 ? "**%s**\n\n" : "%s\n\n", text);
    }
}

/* The lines, the first one names, as a table in Markdown. */
static void add_markdown_table(sah_text *out, const char *tsv)
{
    for (const char *line = tsv; *line != '\0';) {
        size_t columns = 1;
        sah_text_adds(out, "| ");
        for (; *line != '\0' && *line != '\n'; line++) {
            if (*line == '\t') {
                sah_text_adds(out, " | ");
                columns++;
            } else {
                sah_text_add(out, line, 1);
            }
        }
        sah_text_adds(out, " |\n");
        if (tsv != NULL) {
            sah_text_adds(out, "|");
            for (size_t i = 0; i < columns; i++) sah_text_adds(out, "---|");
            sah_text_adds(out, "\n");
            tsv = NULL; /* once, under the names */
        }
        line += *line == '\n';
    }
    sah_text_adds(out, "\n");
}

/* Takes the lines, the first one names. */
static void add_table(card *c, sah_text *rows)
{
    c->text.failed = c->text.failed || rows->failed;
    if (rows->data != NULL && c->html)
        sah_html_table(&c->text, rows->data);
    else if (rows->data != NULL)
        add_markdown_table(&c->text, rows->data);
    free(rows->data);
    *rows = (sah_text){0};
}

/* ---- The curve as a picture ------------------------------------------------------------------------------ */

enum { WIDTH = 520, HEIGHT = 240, LEFT = 56, BOTTOM = 36, TOP = 12, RIGHT = 12 };

static double x_of(size_t heads, size_t most)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (double)heads / (double)(most > 0 ? most : 1);
}

static double y_of(double share)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share);
}

/* Line and interval bars of one kind of points; the point of no heads belongs to both. */
static void add_series(sah_text *t, const sah_curve *c, size_t most, bool random)
{
    const double shift = random ? 3 : -3;
    sah_text_addf(t, "<g class=\"%s\"><polyline points=\"", random ? "random" : "chosen");
    for (size_t i = 0; i < c->n; i++)
        if (c->points[i].random == random || c->points[i].heads == 0)
            sah_text_addf(t, "%.1f,%.1f ", x_of(c->points[i].heads, most) + shift,
                          y_of(c->points[i].rate.refusal.value));
    sah_text_adds(t, "\"/>");
    for (size_t i = 0; i < c->n; i++) {
        const sah_point *p = &c->points[i];
        if (p->random != random && p->heads != 0) continue;
        const double x = x_of(p->heads, most) + shift;
        sah_text_addf(t, "<path d=\"M%.1f %.1fV%.1f\"/><circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>", x,
                      y_of(p->rate.refusal.high), y_of(p->rate.refusal.low), x, y_of(p->rate.refusal.value));
        sah_add_escaped(t, p->heads == 0 ? "none" : p->names);
        sah_text_addf(t, ": %.1f %% refused (%.1f to %.1f)</title></circle>", 100 * p->rate.refusal.value,
                      100 * p->rate.refusal.low, 100 * p->rate.refusal.high);
    }
    sah_text_adds(t, "</g>\n");
}

static void add_picture(sah_text *t, const sah_curve *c)
{
    size_t most = 0;
    for (size_t i = 0; i < c->n; i++)
        if (c->points[i].heads > most) most = c->points[i].heads;
    sah_text_addf(t,
                  "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Refusal as heads are ablated; the "
                  "table below has "
                  "the figures\">\n<g class=\"axis\">",
                  WIDTH, HEIGHT);
    for (int share = 0; share <= 100; share += 25)
        sah_text_addf(t,
                      "<path d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%d %%</text>",
                      LEFT, y_of(share / 100.0), WIDTH - RIGHT, LEFT - 8, y_of(share / 100.0) + 4, share);
    for (size_t i = 0; i <= most; i++)
        sah_text_addf(t, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%zu</text>", x_of(i, most),
                      HEIGHT - 16, i);
    sah_text_addf(t, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">heads ablated</text></g>\n",
                  (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 2);
    add_series(t, c, most, true);
    add_series(t, c, most, false);
    sah_text_adds(
        t, "</svg>\n<p class=\"key\"><span class=\"chosen\">●</span> refused with the first heads ablated "
           "<span class=\"random\">●</span> with as many random heads</p>\n");
}

/* ---- The cards ------------------------------------------------------------------------------------------- */

static const char STYLE[] =
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 sans-serif;max-width:52em;margin:2em auto;padding:0 "
    "1em;color:#1d1d1f;background:#fff}"
    ".answer{font-size:1.35em;line-height:1.4}.doubt{border-left:4px solid #8a6d00;padding-left:.8em}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;margin:1em 0;font-variant-numeric:tabular-nums}"
    "th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid #88888c}"
    "td:first-child,th:first-child{text-align:left}"
    "svg{width:100%;max-width:560px;height:auto;font:12px sans-serif}svg text{fill:currentColor}"
    ".axis path{stroke:#88888c}polyline{fill:none;stroke-width:2}circle{fill:currentColor}"
    ".chosen{color:#0a5fb4}.random{color:#8a6d00}g.chosen *,g.random *{stroke:currentColor}"
    ".random polyline{stroke-dasharray:5 4}"
    "@media(prefers-color-scheme:dark){body{color:#e4e4e7;background:#18181b}.chosen{color:#6cb2ff}"
    ".random{color:#e0b94a}}"
    "@media print{body{max-width:none;margin:0}svg,table{break-inside:avoid}}";

static void add_sweeps(card *c, const sah_found *f)
{
    char text[512];
    for (size_t i = 0; i < 2; i++) {
        const sah_sweep_found *s = &f->sweeps[i];
        sah_text rows = {0};
        if (!s->done) continue;
        snprintf(text, sizeof text, "Heads by %s", s->part);
        add_heading(c, 2, text);
        snprintf(text, sizeof text,
                 "%zu of %zu heads are about safety by their signed effect (ablation weakens refusals and "
                 "leaves answers), "
                 "%zu by divergence alone. Half of the divergence lies in %zu %s (Gini %.2f).",
                 s->n_safety, s->n_heads, s->n_safety_kl, s->concentration.half_heads,
                 s->concentration.half_heads == 1 ? "head" : "heads", s->concentration.gini);
        add_paragraph(c, "text", text);
        add_heads(&rows, s);
        add_table(c, &rows);
    }
}

static void add_curves(card *c, const sah_found *f)
{
    for (size_t i = 0; i < f->n_curves; i++) {
        const sah_curve *curve = &f->curves[i];
        char text[256];
        sah_text rows = {0}, cost = {0};
        snprintf(text, sizeof text, "Without %s", curve->what);
        add_heading(c, 2, text);
        if (c->html) add_picture(&c->text, curve);
        add_curve_rows(&rows, curve);
        add_table(c, &rows);
        sah_text_adds(&cost, "");
        add_cost(&cost, curve);
        add_paragraph(c, "text", cost.data);
        c->text.failed = c->text.failed || cost.failed;
        free(cost.data);
    }
}

static void add_body(card *c, const sah_found *f)
{
    char text[640];
    sah_text rows = {0};
    snprintf(text, sizeof text, "Safety heads: %s", f->model->name);
    add_heading(c, 1, text);
    add_paragraph(c, "answer", f->sentence);
    for (size_t i = 0; i < f->doubts.n; i++) add_paragraph(c, "doubt", f->doubts.items[i]);
    add_heading(c, 2, "Refusal");
    add_rates(&rows, f);
    add_table(c, &rows);
    add_curves(c, f);
    add_sweeps(c, f);
    if (f->n_group > 0) {
        sah_text_adds(&rows, "step\thead\tturned by, degrees\tbetter than chance\n");
        for (size_t i = 0; i < f->n_group; i++)
            sah_text_addf(&rows, "%zu\t%d-%d\t%.3g\t%s\n", i + 1, f->group[i].head.layer,
                          f->group[i].head.head, f->group[i].shift,
                          f->group[i].better_than_chance ? "yes" : "no");
        add_heading(c, 2, "The searched group");
        add_table(c, &rows);
    }
    add_heading(c, 2, "How this was measured");
    snprintf(text, sizeof text,
             "Sahara %s; model's hash (XXH3) %s; greedy responses of at most %d tokens, judged by rule. "
             "Heads were chosen on "
             "%zu harmful and %zu harmless queries and tried on %zu other harmful ones. Intervals are 95 %% "
             "(Wilson; bootstrap "
             "over queries). The result files lie beside this card.",
             SAH_VERSION, f->model->checksum, f->max_new_tokens, f->n_scored, f->n_scored_harmless,
             f->n_held);
    add_paragraph(c, "text", text);
}

static sah_status write_card(const sah_found *f, const char *name, const sah_text *text, sah_error *error)
{
    sah_text path = {0};
    sah_text_addf(&path, "%s/%s", f->directory, name);
    sah_status status = text->failed || path.failed
                            ? sah_fail_memory(error, "the card")
                            : sah_file_write(path.data, text->data, text->size, error);
    free(path.data);
    return status;
}

static sah_status write_json(const sah_found *f, sah_error *error)
{
    json_t *object = json_card(f);
    char *json = object != NULL ? sah_json_text(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    sah_text text = {0};
    if (json == NULL) text.failed = true;
    sah_text_adds(&text, json ? json : "");
    sah_text_adds(&text, "\n");
    sah_status status = write_card(f, "card.json", &text, error);
    free(text.data);
    free(json);
    json_decref(object);
    return status;
}

sah_status sah_audit_cards(const sah_found *f, sah_error *error)
{
    card md = {0}, html = {.html = true};
    sah_status status = write_json(f, error);
    if (status == SAH_OK) {
        add_body(&md, f);
        status = write_card(f, "card.md", &md.text, error);
    }
    if (status == SAH_OK) {
        sah_text_adds(&html.text,
                      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
        sah_add_escaped(&html.text, f->model->name);
        sah_text_addf(&html.text, ": safety heads</title><style>%s</style></head><body>\n", STYLE);
        add_body(&html, f);
        sah_text_adds(&html.text, "</body></html>\n");
        status = write_card(f, "card.html", &html.text, error);
    }
    free(md.text.data);
    free(html.text.data);
    return status;
}
