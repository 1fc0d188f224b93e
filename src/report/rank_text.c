/* SPDX-License-Identifier: Apache-2.0 */
/* Rankings as text: TSV, JSON lines, and the lines that the paper's own programs write and read. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "report/fields.h"
#include "report/rank.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

/* How many heads the reference keeps of a query. */
enum { TEN = 10 };

/* ---- Over all queries ---------------------------------------------------------------------------------- */

/* A column of the table: a number of sah_ranked (8 bytes each), or one of the fields that are not. */
typedef struct column {
    const char *name;
    enum { NUMBER, TOP_TEN, VERDICT, EFFECT_VERDICT, EFFECT_REASON } holds;
    size_t offset;
} column;

#define NUMBER_OF(member) NUMBER, offsetof(sah_ranked, member)
static const column ships_columns[] = {{"mean", NUMBER_OF(mean)},
                                       {"low", NUMBER_OF(low)},
                                       {"high", NUMBER_OF(high)},
                                       {"sum", NUMBER_OF(sum)},
                                       {"top10", TOP_TEN, 0}};
static const column find_columns[] = {
    {"shift", NUMBER_OF(mean)}, {"shift_low", NUMBER_OF(low)}, {"shift_high", NUMBER_OF(high)}};
static const column direction_columns[] = {{"contribution", NUMBER_OF(difference)},
                                           {"low", NUMBER_OF(difference_low)},
                                           {"high", NUMBER_OF(difference_high)},
                                           {"harmful", NUMBER_OF(mean)},
                                           {"harmless", NUMBER_OF(contrast_mean)}};
static const column difference_columns[] = {{"difference", NUMBER_OF(difference)},
                                            {"difference_low", NUMBER_OF(difference_low)},
                                            {"difference_high", NUMBER_OF(difference_high)}};
static const column verdict_columns[] = {{"p_adjusted", NUMBER_OF(p_adjusted)}, {"verdict", VERDICT, 0}};
static const column effect_columns[] = {{"effect", NUMBER_OF(effect)},
                                        {"effect_low", NUMBER_OF(effect_low)},
                                        {"effect_high", NUMBER_OF(effect_high)},
                                        {"effect_answered", NUMBER_OF(effect_answered)},
                                        {"toward", NUMBER_OF(toward)}};
static const column opening_columns[] = {{"opening_kl", NUMBER_OF(opening_kl)}};
static const column effect_verdict_columns[] = {{"effect_p", NUMBER_OF(effect_p)},
                                                {"effect_verdict", EFFECT_VERDICT, 0}};
static const column effect_reason_columns[] = {{"effect_reason", EFFECT_REASON, 0}};
enum { MOST_COLUMNS = 24 };
#define COUNT(array) (sizeof(array) / sizeof *(array))

typedef struct columns {
    column items[MOST_COLUMNS];
    size_t n;
} columns;

static void add_columns(columns *out, const column *more, size_t n)
{
    for (size_t i = 0; i < n; i++) out->items[out->n++] = more[i];
}

/* The columns that a result has. */
static columns columns_of(const sah_result *result)
{
    columns out = {.n = 0};
    if (result->kind == SAH_KIND_DIRECTION) {
        add_columns(&out, direction_columns, COUNT(direction_columns));
        return out;
    }
    bool ships = result->kind == SAH_KIND_SHIPS;
    if (ships)
        add_columns(&out, ships_columns, COUNT(ships_columns));
    else
        add_columns(&out, find_columns, COUNT(find_columns));
    if (result->info.n_contrast > 0) {
        column contrast = {ships ? "contrast_mean" : "shift_contrast", NUMBER_OF(contrast_mean)};
        add_columns(&out, &contrast, 1);
        add_columns(&out, difference_columns, COUNT(difference_columns));
    }
    if (result->info.judged) add_columns(&out, verdict_columns, COUNT(verdict_columns));
    if (result->effects.n > 0) add_columns(&out, effect_columns, COUNT(effect_columns));
    if (sah_result_has_opening_kl(result)) add_columns(&out, opening_columns, COUNT(opening_columns));
    const bool few = result->info.effect_reason[0] != '\0';
    if (result->info.effect_judged || few)
        add_columns(&out, effect_verdict_columns, COUNT(effect_verdict_columns));
    if (few) add_columns(&out, effect_reason_columns, COUNT(effect_reason_columns));
    return out;
}

static void add_value(sah_text *text, const sah_result *result, const column *c, const sah_ranked *r,
                      bool tsv)
{
    if (c->holds == TOP_TEN) {
        sah_text_addf(text, "%zu", r->top_ten);
    } else if (c->holds == VERDICT || c->holds == EFFECT_VERDICT) {
        sah_selectivity verdict = c->holds == VERDICT ? r->verdict : r->effect_verdict;
        sah_text_addf(text, tsv ? "%s" : "\"%s\"", sah_selectivity_name(verdict));
    } else if (c->holds == EFFECT_REASON) {
        sah_text_addf(text, tsv ? "%s" : "\"%s\"", result->info.effect_reason);
    } else {
        double value;
        memcpy(&value, (const char *)r + c->offset, sizeof value);
        sah_cell_number(text, value, tsv);
    }
}

static void add_row(sah_text *text, const sah_result *result, size_t rank, const sah_ranked *r,
                    const columns *shown, bool tsv)
{
    sah_text_addf(text, tsv ? "%zu\t%d-%d" : "{\"rank\":%zu,\"head\":\"%d-%d\"", rank, r->head.layer,
                  r->head.head);
    for (size_t i = 0; i < shown->n; i++) {
        sah_text_adds(text, tsv ? "\t" : ",");
        if (!tsv) sah_text_addf(text, "\"%s\":", shown->items[i].name);
        add_value(text, result, &shown->items[i], r, tsv);
    }
    sah_text_adds(text, tsv ? "\n" : "}\n");
}

static sah_status write_table(const sah_result *result, const sah_rank_options *options, sah_text *text,
                              sah_error *error)
{
    bool tsv = options->format == SAH_FORMAT_TSV;
    columns shown = columns_of(result);
    sah_ranked *ranked;
    size_t n;
    sah_status status = sah_rank(result, options->order, &ranked, &n, error);
    if (status != SAH_OK) return status;
    if (options->top > 0 && options->top < n) n = options->top;
    if (tsv) {
        sah_text_adds(text, "rank\thead");
        for (size_t i = 0; i < shown.n; i++) sah_text_addf(text, "\t%s", shown.items[i].name);
        sah_text_adds(text, "\n");
    }
    for (size_t i = 0; i < n; i++) add_row(text, result, i + 1, &ranked[i], &shown, tsv);
    free(ranked);
    return SAH_OK;
}

/* ---- Query by query ------------------------------------------------------------------------------------ */

static void add_query(const sah_result *result, size_t query, const size_t *order, size_t n,
                      sah_rank_format format, sah_text *text)
{
    const char *words = result->queries.items[query];
    if (format != SAH_FORMAT_TSV) {
        sah_text_adds(text, format == SAH_FORMAT_JSON ? "{\"query\":" : "{");
        sah_cell_json(text, words);
        sah_text_adds(text, format == SAH_FORMAT_JSON ? ",\"heads\":[" : ": {");
    }
    for (size_t i = 0; i < n; i++) {
        const sah_head *head = &result->heads[order[i]];
        double kl = result->kl[order[i] * result->info.n_queries + query];
        if (format == SAH_FORMAT_TSV) {
            sah_text_addf(text, "%zu\t", query + 1);
            sah_cell_tsv(text, words);
            sah_text_addf(text, "\t%zu\t%d-%d\t%.6g\n", i + 1, head->layer, head->head, kl);
        } else if (format == SAH_FORMAT_JSON) {
            sah_text_addf(text, "%s{\"head\":\"%d-%d\",\"kl\":", i > 0 ? "," : "", head->layer, head->head);
            sah_cell_number(text, kl, false);
            sah_text_adds(text, "}");
        } else {
            sah_text_addf(text, "%s\"%d-%d\": ", i > 0 ? ", " : "", head->layer, head->head);
            sah_cell_number(text, kl, false);
        }
    }
    if (format == SAH_FORMAT_JSON) sah_text_adds(text, "]}\n");
    if (format == SAH_FORMAT_REFERENCE) sah_text_adds(text, "}}\n");
}

static sah_status write_queries(const sah_result *result, const sah_rank_options *options, sah_text *text,
                                sah_error *error)
{
    if (result->kind != SAH_KIND_SHIPS)
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "a result of %s scores the whole data set, not single queries", result->info.command);
    size_t n = options->top > 0 ? options->top : TEN;
    if (n > result->info.n_scored) n = result->info.n_scored;
    sah_status status = SAH_OK;
    size_t *order = sah_alloc(result->info.n_scored, sizeof *order);
    if (order == NULL) return sah_fail_memory(error, "the ranking");
    if (options->format == SAH_FORMAT_TSV) sah_text_adds(text, "query\ttext\trank\thead\tkl\n");
    for (size_t q = 0; q < result->info.n_queries && status == SAH_OK; q++) {
        status = sah_rank_query(result, q, order, error);
        if (status == SAH_OK) add_query(result, q, order, n, options->format, text);
    }
    free(order);
    return status;
}

sah_status sah_rank_text(const sah_result *result, const sah_rank_options *options, char **text,
                         sah_error *error)
{
    sah_text out = {0};
    *text = NULL;
    sah_text_adds(&out, "");
    sah_status status = options->by_query || options->format == SAH_FORMAT_REFERENCE
                            ? write_queries(result, options, &out, error)
                            : write_table(result, options, &out, error);
    if (status == SAH_OK && out.failed) status = sah_fail_memory(error, "the ranking");
    if (status == SAH_OK)
        *text = out.data;
    else
        free(out.data);
    return status;
}
