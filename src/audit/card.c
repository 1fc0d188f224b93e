/* SPDX-License-Identifier: Apache-2.0 */
/* card.json: the figures; card.md: a section for a model card; card.html: the same for the eye, with maps of heads and
 * curves as the page of a report has them. */
#include "audit/card.h"
#include "audit/answer.h"

#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"
#include "report/html.h"
#include "report/page_answers.h"
#include "report/page_document.h"
#include "report/page_heads.h"
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
    json_t *by_effect = s->effect_reason[0] != '\0' ? json_null() : json_integer((json_int_t)s->n_safety);
    return json_pack("{s:s,s:I,s:o,s:I,s:f,s:I,s:o}", "part", s->part, "heads", (json_int_t)s->n_heads,
                     "safety_by_effect", by_effect, "safety_by_kl", (json_int_t)s->n_safety_kl, "gini",
                     s->concentration.gini, "half_of_kl_in_heads", (json_int_t)s->concentration.half_heads,
                     "highest", top);
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
                            json_pack("{s:I,s:f,s:f,s:o}", "n_ablated", (json_int_t)c->perplexity_heads,
                                      "perplexity", c->base_perplexity, "perplexity_ablated", c->perplexity,
                                      "log_difference", json_share(&c->log_difference)));
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
        const sah_point *point = &c->points[i];
        sah_text name = {0};
        if (point->heads > 1) sah_text_addf(&name, "%zu: ", point->heads);
        if (point->heads == 0) sah_text_adds(&name, "none");
        sah_audit_add_names(&name, point);
        if (point->random) sah_text_adds(&name, " (at random)");
        if (name.failed)
            t->failed = true;
        else
            add_rate_row(t, name.data, &point->rate);
        free(name.data);
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
    sah_text_adds(t, "Perplexity of the model's own harmless answers with the first ");
    if (c->perplexity_heads > 1) sah_text_addf(t, "%zu ", c->perplexity_heads);
    sah_text_addf(t, "of them ablated: %.2f, without ablation %.2f.", c->perplexity, c->base_perplexity);
}

/* A card is written in one of two forms: Markdown, or the page. */
typedef struct card {
    sah_text text; /* of the page, what was not yet added to it */
    sah_page *page; /* NULL: Markdown */
} card;

static void add_heading(card *c, int level, const char *text)
{
    if (c->page != NULL) {
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
    if (c->page != NULL) {
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
    if (rows->data != NULL && c->page != NULL)
        sah_html_table(&c->text, rows->data);
    else if (rows->data != NULL)
        add_markdown_table(&c->text, rows->data);
    free(rows->data);
    *rows = (sah_text){0};
}

/* ---- The cards ------------------------------------------------------------------------------------------- */

/* A file of the audit. */
static sah_status file_of(const sah_found *f, const char *kind, const char *name, const char *ending,
                          sah_text *out, sah_error *error)
{
    sah_text_addf(out, "%s/%s-%s%s", f->directory, kind, name, ending);
    return out->failed ? sah_fail_memory(error, "the card") : SAH_OK;
}

/* The page's own text goes on where the card's ends. */
static void flush(card *c)
{
    if (c->text.data != NULL) sah_text_add(&c->page->html, c->text.data, c->text.size);
    c->page->html.failed = c->page->html.failed || c->text.failed;
    free(c->text.data);
    c->text = (sah_text){0};
}

/* The map of heads and their table. Queries stay out: a card is for everybody. */
static sah_status add_map(card *c, const sah_found *f, const sah_sweep_found *s, const char *title,
                          sah_error *error)
{
    size_t room = 0;
    sah_text path = {0};
    sah_status status = file_of(f, "ships", s->part, ".jsonl", &path, error);
    if (status == SAH_OK) {
        const sah_page_view view = {.title = title,
                                    .path = path.data + strlen(f->directory) + 1,
                                    .order = SAH_ORDER_EFFECT,
                                    .top = SAH_CARD_HEADS};
        flush(c);
        status = sah_page_result(c->page, path.data, &view, &room, error);
    }
    free(path.data);
    return status;
}

static sah_status add_sweep(card *c, const sah_found *f, const sah_sweep_found *s, sah_error *error)
{
    char title[64], heads[320], text[512];
    sah_text rows = {0};
    snprintf(title, sizeof title, "Heads by %s", s->part);
    if (s->effect_reason[0] != '\0')
        snprintf(heads, sizeof heads,
                 "No head has a verdict by its signed effect: %s. By divergence alone %zu of %zu heads are "
                 "about safety.",
                 s->effect_reason, s->n_safety_kl, s->n_heads);
    else
        snprintf(heads, sizeof heads,
                 "%zu of %zu heads are about safety by their signed effect (ablation weakens refusals and "
                 "leaves answers), %zu by divergence alone.",
                 s->n_safety, s->n_heads, s->n_safety_kl);
    snprintf(text, sizeof text, "%s Half of the divergence lies in %zu %s (Gini %.2f).", heads,
             s->concentration.half_heads, s->concentration.half_heads == 1 ? "head" : "heads",
             s->concentration.gini);
    if (c->page != NULL) {
        sah_status status = add_map(c, f, s, title, error);
        add_paragraph(c, "text", text);
        return status;
    }
    add_heading(c, 2, title);
    add_paragraph(c, "text", text);
    add_heads(&rows, s);
    add_table(c, &rows);
    return SAH_OK;
}

/* What the script draws of the curve and of what it costs: the verdicts, and the perplexity. */
static sah_status add_curve_data(card *c, const sah_found *f, const sah_curve *curve, sah_error *error)
{
    static const char *const kinds[][2] = {{"curve", "-judged.jsonl"}, {"perplexity", ".jsonl"}};
    sah_status status = SAH_OK;
    for (size_t i = 0; i < 1 + (size_t)curve->has_perplexity && status == SAH_OK; i++) {
        sah_text path = {0}, section = {0};
        bool taken;
        status = file_of(f, kinds[i][0], curve->name, kinds[i][1], &path, error);
        if (status == SAH_OK) status = sah_answers_add(c->page->answers, path.data, &section, &taken, error);
        free(section.data);
        free(path.data);
    }
    return status;
}

static sah_status add_curve(card *c, const sah_found *f, const sah_curve *curve, sah_error *error)
{
    char text[256];
    sah_text rows = {0}, cost = {0};
    sah_status status = SAH_OK;
    snprintf(text, sizeof text, "Without %s", curve->what);
    add_heading(c, 2, text);
    if (c->page != NULL) {
        sah_text_addf(&c->text, "<div class=\"pictures\" id=\"curve-%zu\"></div>\n",
                      sah_answers_files(c->page->answers));
        status = add_curve_data(c, f, curve, error);
    }
    add_curve_rows(&rows, curve);
    add_table(c, &rows);
    sah_text_adds(&cost, "");
    add_cost(&cost, curve);
    add_paragraph(c, "text", cost.data);
    c->text.failed = c->text.failed || cost.failed;
    free(cost.data);
    return status;
}

static sah_status add_body(card *c, const sah_found *f, sah_error *error)
{
    char text[640];
    sah_text rows = {0};
    sah_status status = SAH_OK;
    add_paragraph(c, "answer", f->sentence);
    for (size_t i = 0; i < f->doubts.n; i++) add_paragraph(c, "doubt", f->doubts.items[i]);
    add_heading(c, 2, "Refusal");
    add_rates(&rows, f);
    add_table(c, &rows);
    for (size_t i = 0; i < f->n_curves && status == SAH_OK; i++)
        status = add_curve(c, f, &f->curves[i], error);
    for (size_t i = 0; i < 2 && status == SAH_OK; i++)
        if (f->sweeps[i].done) status = add_sweep(c, f, &f->sweeps[i], error);
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
    size_t size =
        (size_t)snprintf(text, sizeof text,
                         "Sahara %s; model's hash (XXH3) %s; greedy responses of at most %d tokens, "
                         "judged by rule. ",
                         SAH_VERSION, f->model->checksum, f->max_new_tokens);
    if (f->answer == SAH_AUDIT_HARDLY_REFUSES)
        snprintf(
            text + size, sizeof text - size,
            "No heads were scored. Intervals are 95 %% (Wilson). The result files lie beside this card.");
    else
        snprintf(
            text + size, sizeof text - size,
            "Heads were chosen on %zu harmful and %zu harmless queries and tried on %zu other harmful ones. "
            "Intervals are 95 %% (Wilson; bootstrap over queries). The result files lie beside this card.",
            f->n_scored, f->n_scored_harmless, f->n_held);
    add_paragraph(c, "text", text);
    return status;
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
    sah_text_adds(&text, json != NULL ? json : "");
    sah_text_adds(&text, "\n");
    sah_status status = write_card(f, "card.json", &text, error);
    free(text.data);
    free(json);
    json_decref(object);
    return status;
}

static sah_status write_markdown(const sah_found *f, const char *title, sah_error *error)
{
    card md = {0};
    add_heading(&md, 1, title);
    sah_status status = add_body(&md, f, error);
    if (status == SAH_OK) status = write_card(f, "card.md", &md.text, error);
    free(md.text.data);
    return status;
}

static sah_status write_page(const sah_found *f, const char *title, sah_error *error)
{
    sah_page page;
    sah_text text;
    size_t no_responses = 0; /* nor these */
    card html = {.page = &page};
    sah_status status = sah_page_begin(&page, title, error);
    if (status == SAH_OK) status = add_body(&html, f, error);
    if (status == SAH_OK) {
        sah_text_adds(&html.text, "<section id=\"answers\" hidden></section>\n");
        flush(&html);
        sah_page_end(&page, &no_responses);
    }
    free(html.text.data);
    status = sah_page_take(&page, status, &text, error);
    if (status == SAH_OK) status = write_card(f, "card.html", &text, error);
    free(text.data);
    return status;
}

sah_status sah_audit_cards(const sah_found *f, sah_error *error)
{
    char title[640];
    snprintf(title, sizeof title, "Safety heads: %s", f->model->name);
    sah_status status = write_json(f, error);
    if (status == SAH_OK) status = write_markdown(f, title, error);
    if (status == SAH_OK) status = write_page(f, title, error);
    return status;
}
