/* SPDX-License-Identifier: Apache-2.0 */
/* What the page's script draws from: scores by query, and steps of a search.
 *
 * 32 layers of 32 heads on 500 queries are half a million scores. Written as decimals they would be most of the page,
 * so a score is a code of three letters, 18 bits: the highest is its sign, the others are 0 for 0, else its logarithm's
 * place between that of the largest magnitude and that of the smallest, within 0.02 % for any twelve powers of ten. */
#include <math.h>
#include <stdlib.h>

#include "report/page_data.h"
#include "report/page_facts.h"
#include "util/json.h"

enum { NEGATIVE = 1 << 17, LAST = NEGATIVE - 1, MISSING = NEGATIVE }; /* -0 is free for what is missing */
static const double RANGE = 1e-12;

typedef struct coding {
    double least, most;
} coding;

static void widen(coding *c, double value)
{
    double magnitude = fabs(value);
    if (isnan(magnitude) || !(magnitude > 0)) return;
    c->most = fmax(c->most, magnitude);
    c->least = c->least > 0 ? fmin(c->least, magnitude) : magnitude;
}

static unsigned code_of(const coding *c, double value)
{
    if (isnan(value)) return MISSING;
    double magnitude = fabs(value);
    if (!(magnitude >= c->least) || !(c->most > 0)) return 0;
    double place = c->most > c->least ? log(magnitude / c->least) / log(c->most / c->least) : 1;
    return (value < 0 ? NEGATIVE : 0) | (1 + (unsigned)lround(place * (LAST - 1)));
}

static void add_code(sah_text *data, unsigned code)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char three[] = {letters[code >> 12], letters[code >> 6 & 63], letters[code & 63]};
    sah_text_add(data, three, 3);
}

void sah_page_number(sah_text *data, double value)
{
    char text[32];
    if (!isfinite(value)) {
        sah_text_adds(data, "null");
        return;
    }
    sah_format_double(value, text);
    sah_text_adds(data, text);
}

/* ---- Scores by query ------------------------------------------------------------------------------------- */

/* A column: a query, or a contrast query behind those. */
static double kl_at(const sah_result *r, size_t head, size_t column)
{
    const size_t n = r->info.n_queries, n_contrast = r->info.n_contrast;
    return column < n ? r->kl[head * n + column] : r->contrast_kl[head * n_contrast + column - n];
}

static void add_scores(sah_text *data, const sah_result *r, size_t n_columns)
{
    coding c = {0, 0};
    for (size_t h = 0; h < r->info.n_scored; h++)
        for (size_t q = 0; q < n_columns; q++) widen(&c, kl_at(r, h, q));
    c.least = fmax(c.least, c.most * RANGE);
    sah_text_adds(data, ",\"least\":");
    sah_page_number(data, c.least);
    sah_text_adds(data, ",\"most\":");
    sah_page_number(data, c.most);
    sah_text_adds(data, ",\"codes\":\"");
    for (size_t q = 0; q < n_columns; q++)
        for (size_t h = 0; h < r->info.n_scored; h++) add_code(data, code_of(&c, kl_at(r, h, q)));
    sah_text_adds(data, "\"");
}

static void add_queries(sah_text *data, const sah_result *r, size_t *room)
{
    const size_t all = r->info.n_queries + r->info.n_contrast, width = 3 * (r->info.n_scored + 1);
    const size_t n = all < *room / width ? all : *room / width;
    size_t column = 0;
    *room -= n * width;
    sah_text_addf(data, ",\"n_queries\":%zu,\"n_contrast\":%zu,\"heads_scored\":[", r->info.n_queries,
                  r->info.n_contrast);
    for (size_t h = 0; h < r->info.n_scored; h++)
        sah_text_addf(data, "%s%d", h > 0 ? "," : "", r->heads[h].layer * r->info.n_heads + r->heads[h].head);
    sah_text_adds(data, "],\"queries\":[");
    for (int contrast = 0; contrast < 2; contrast++) {
        for (size_t f = 0; f < r->n_files; f++) {
            const json_t *list =
                json_object_get(r->files[f].header, contrast ? "contrast_queries" : "queries");
            for (size_t i = 0; i < json_array_size(list) && column < n; i++, column++) {
                sah_text_adds(data, column > 0 ? "," : "");
                sah_page_json(data, json_array_get(list, i));
            }
        }
    }
    sah_text_adds(data, "]");
    add_scores(data, r, n);
}

/* ---- Steps of a search ----------------------------------------------------------------------------------- */

static void add_steps(sah_text *data, const sah_result *r)
{
    const sah_result_file *f = &r->files[0];
    sah_text_adds(data, ",\"steps\":[");
    for (size_t s = 0; s < f->n_steps && f->steps[s].finished; s++) {
        const sah_result_step *step = &f->steps[s];
        sah_text_addf(data, "%s{\"head\":\"%d-%d\",\"better\":%s,\"score\":", s > 0 ? "," : "",
                      step->chosen.head.layer, step->chosen.head.head,
                      r->info.n_screened > 0            ? "null"
                      : step->chosen.better_than_chance ? "true"
                                                        : "false");
        sah_page_number(data, step->score);
        sah_text_adds(data, ",\"random\":[");
        for (size_t i = 0; i < step->n_random; i++) {
            sah_text_adds(data, i > 0 ? "," : "");
            sah_page_number(data, step->random[i]);
        }
        sah_text_adds(data, "]}");
    }
    sah_text_adds(data, "]");
}

void sah_page_data(sah_text *data, const sah_result *r, size_t *room)
{
    sah_text_addf(data, "{\"command\":\"%s\",\"layers\":%d,\"heads\":%d,\"contrast\":%s", r->info.command,
                  r->info.n_layers, r->info.n_heads, r->info.n_contrast > 0 ? "true" : "false");
    if (r->kind == SAH_KIND_SHIPS) add_queries(data, r, room);
    if (r->kind == SAH_KIND_FIND) add_steps(data, r);
    sah_text_adds(data, "}");
}
