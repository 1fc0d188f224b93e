/* SPDX-License-Identifier: Apache-2.0 */
/* How few heads carry the score, and how much of the model they are (docs/method.md, "Concentration"). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/concentration.h"
#include "report/rank.h"
#include "report/fields.h"
#include "stats/rankings.h"
#include "util/alloc.h"
#include "util/error.h"

/* Sizes of a header's model, in parameters; 0 where it does not say. */
typedef struct sizes {
    uint64_t head; /* rows of one head's projection, D * d */
    uint64_t model;
    int group; /* query heads of a key head */
} sizes;

static uint64_t positive(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 ? (uint64_t)value : 0;
}

static sizes sizes_of(const sah_result *result)
{
    const json_t *model = json_object_get(result->files[0].header, "model");
    uint64_t heads = positive(model, "heads"), key_heads = positive(model, "kv_heads");
    uint64_t width = positive(model, "head_dim"), d = positive(model, "d_model");
    if (width > UINT16_MAX || d > UINT32_MAX) width = 0; /* nothing a model has */
    return (sizes){.head = width * d,
                   .model = positive(model, "n_parameters"),
                   .group = key_heads > 0 && heads % key_heads == 0 ? (int)(heads / key_heads) : 1};
}

/* Key heads that serve the heads of ranked[0..n), each counted once. */
static size_t count_groups(const sah_ranked *ranked, size_t n, int group)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++)
            seen = ranked[i].head.layer == ranked[j].head.layer &&
                   ranked[i].head.head / group == ranked[j].head.head / group;
        count += !seen;
    }
    return count;
}

static void count_parameters(const sah_result *result, const sah_ranked *ranked, size_t n,
                             sah_concentration *out)
{
    sizes size = sizes_of(result);
    const unsigned parts = result->info.parts;
    bool key_heads = parts == SAH_PART_K;
    size_t groups = key_heads ? n : count_groups(ranked, n, size.group);
    size_t query_heads = key_heads ? n * (size_t)size.group : n;
    size_t edited =
        (parts & SAH_PART_Q ? n : 0) + (parts & SAH_PART_K ? groups : 0) + (parts & SAH_PART_V ? n : 0);
    out->edited_parameters = edited * size.head;
    out->head_parameters = (2 * query_heads + 2 * groups) * size.head;
    out->model_parameters = size.model;
}

static double value_of(const sah_ranked *r, sah_order order)
{
    return fmax(0, sah_score_of(order, r));
}

sah_status sah_concentrate_ranked(const sah_result *result, sah_order order, sah_ranked *ranked, size_t n,
                                  sah_concentration *out, sah_error *error)
{
    double *values = sah_alloc(n, sizeof *values), carried = 0;
    if (values == NULL) return sah_fail_memory(error, "the concentration");
    sah_rank_sort(ranked, n, order);
    *out = (sah_concentration){.n_heads = n};
    for (size_t i = 0; i < n; i++) out->total += values[i] = value_of(&ranked[i], order);
    while (out->half_heads < n && carried < out->total / 2) carried += values[out->half_heads++];
    count_parameters(result, ranked, out->half_heads, out);
    out->gini = sah_gini(values, n);
    free(values);
    return SAH_OK;
}

static sah_status refuse_screened(const sah_result *result, sah_error *error)
{
    return sah_fail(error, SAH_BAD_ARGUMENT,
                    "%s: a screened result has scores of only %zu heads; concentration needs all",
                    result->files[0].path, result->info.n_scored);
}

sah_status sah_concentrate(const sah_result *result, sah_order order, sah_concentration *out,
                           sah_error *error)
{
    sah_ranked *ranked;
    size_t n;
    if (result->info.n_screened > 0) return refuse_screened(result, error);
    order = sah_order_of(result, order);
    sah_status status = sah_rank(result, order, &ranked, &n, error);
    if (status == SAH_OK) status = sah_concentrate_ranked(result, order, ranked, n, out, error);
    free(ranked);
    return status;
}

/* ---- As text ------------------------------------------------------------------------------------------- */

static void add_share(sah_text *text, uint64_t part, uint64_t whole, bool tsv)
{
    sah_cell_number(text, part > 0 && whole > 0 ? (double)part / (double)whole : NAN, tsv);
}

static void add_line(sah_text *text, const char *score, const sah_concentration *c, bool tsv)
{
    sah_text_addf(text, tsv ? "%s\t%zu\t" : "{\"score\":\"%s\",\"heads\":%zu,\"total\":", score, c->n_heads);
    sah_cell_number(text, c->total, tsv);
    sah_text_addf(text, tsv ? "\t%zu\t" : ",\"half_heads\":%zu,\"gini\":", c->half_heads);
    sah_cell_number(text, c->gini, tsv);
    sah_text_addf(text, tsv ? "\t%llu\t" : ",\"edited_parameters\":%llu,\"edited_share\":",
                  (unsigned long long)c->edited_parameters);
    add_share(text, c->edited_parameters, c->model_parameters, tsv);
    sah_text_addf(text, tsv ? "\t%llu\t" : ",\"head_parameters\":%llu,\"head_share\":",
                  (unsigned long long)c->head_parameters);
    add_share(text, c->head_parameters, c->model_parameters, tsv);
    sah_text_adds(text, tsv ? "\n" : "}\n");
}

sah_status sah_concentration_ranked_text(const sah_result *result, sah_rank_format format, sah_ranked *ranked,
                                         size_t n, char **text, sah_error *error)
{
    static const char *const means[] = {"mean", "shift", NULL};
    bool tsv = format == SAH_FORMAT_TSV;
    const char *mean = means[result->kind];
    sah_text out = {0};
    sah_concentration c;
    sah_status status = SAH_OK;
    *text = NULL;
    sah_text_adds(&out, tsv ? "score\theads\ttotal\thalf_heads\tgini\tedited_parameters\tedited_share\t"
                              "head_parameters\thead_share\n"
                            : "");
    if (mean != NULL) {
        status = sah_concentrate_ranked(result, SAH_ORDER_MEAN, ranked, n, &c, error);
        if (status == SAH_OK) add_line(&out, mean, &c, tsv);
    }
    if (status == SAH_OK && sah_result_has_difference(result)) {
        status = sah_concentrate_ranked(result, SAH_ORDER_DIFFERENCE, ranked, n, &c, error);
        if (status == SAH_OK) add_line(&out, mean != NULL ? "difference" : "contribution", &c, tsv);
    }
    if (status == SAH_OK && out.failed) status = sah_fail_memory(error, "the concentration");
    if (status == SAH_OK)
        *text = out.data;
    else
        free(out.data);
    return status;
}

sah_status sah_concentration_text(const sah_result *result, sah_rank_format format, char **text,
                                  sah_error *error)
{
    sah_ranked *ranked;
    size_t n;
    *text = NULL;
    if (result->info.n_screened > 0) return refuse_screened(result, error);
    sah_status status = sah_rank(result, SAH_ORDER_DEFAULT, &ranked, &n, error);
    if (status == SAH_OK) status = sah_concentration_ranked_text(result, format, ranked, n, text, error);
    free(ranked);
    return status;
}
