/* SPDX-License-Identifier: Apache-2.0 */
/* Heads in order (method.md, "Ships: one query", last paragraph, and "Beyond the paper", selectivity). */
#include "report/rank.h"

#include <math.h>
#include <stdlib.h>

#include "stats/bootstrap.h"
#include "stats/chance.h"
#include "report/rank_effect.h"
#include "report/selectivity.h"
#include "util/alloc.h"
#include "util/error.h"

/* How many heads the reference keeps of a query. */
enum { TEN = 10 };

static double mean_of(const double *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += values[i];
    return sum / (double)n;
}

/* ---- One query ----------------------------------------------------------------------------------------- */

typedef struct scored {
    double kl;
    size_t index;
} scored;

/* Highest first; equal ones in the order of heads. */
static int compare_scored(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->kl > y->kl) return -1;
    if (x->kl < y->kl) return 1;
    return (x->index > y->index) - (x->index < y->index);
}

sah_status sah_rank_query(const sah_result *result, size_t query, size_t *order, sah_error *error)
{
    size_t n = result->info.n_scored;
    scored *items = sah_alloc(n, sizeof *items);
    if (items == NULL) return sah_fail_memory(error, "the ranking");
    for (size_t h = 0; h < n; h++) items[h] = (scored){result->kl[h * result->info.n_queries + query], h};
    qsort(items, n, sizeof *items, compare_scored);
    for (size_t i = 0; i < n; i++) order[i] = items[i].index;
    free(items);
    return SAH_OK;
}

/* Counts, for every head, the queries in which it is among the ten highest. */
static sah_status count_top_ten(const sah_result *result, sah_ranked *ranked, sah_error *error)
{
    size_t n = result->info.n_scored;
    sah_status status = SAH_OK;
    size_t *order = sah_alloc(n, sizeof *order);
    if (order == NULL) return sah_fail_memory(error, "the ranking");
    for (size_t q = 0; q < result->info.n_queries && status == SAH_OK; q++) {
        status = sah_rank_query(result, q, order, error);
        for (size_t i = 0; i < TEN && i < n && status == SAH_OK; i++) ranked[order[i]].top_ten++;
    }
    free(order);
    return status;
}

/* ---- All queries --------------------------------------------------------------------------------------- */

/* Below these a head is called negligible: a KL of 0.02 nats changes no token's probability by more than 0.1
 * (Pinsker's inequality); an angle of 0.1 degrees changes the direction by less than a 500th of its length.
 */
static const double LEAST_KL = 0.02, LEAST_SHIFT = 0.1;

/* Draws for both sets of queries, independent as the sets are, and room for their means. */
typedef struct resamples {
    sah_bootstrap plan, contrast_plan;
    double *means, *contrast_means, *differences; /* [SAH_RESAMPLES] */
} resamples;

static sah_status resamples_new(const sah_result_info *info, resamples *out, sah_error *error)
{
    *out = (resamples){.means = NULL};
    sah_status status = sah_bootstrap_new(info->n_queries, 1, &out->plan, error);
    if (status == SAH_OK && info->n_contrast > 0)
        status = sah_bootstrap_new(info->n_contrast, 2, &out->contrast_plan, error);
    out->means = sah_alloc_table(3, SAH_RESAMPLES, sizeof *out->means);
    if (status == SAH_OK && out->means == NULL) status = sah_fail_memory(error, "the ranking");
    if (status != SAH_OK) return status;
    out->contrast_means = out->means + SAH_RESAMPLES;
    out->differences = out->contrast_means + SAH_RESAMPLES;
    return SAH_OK;
}

static void resamples_free(resamples *r)
{
    sah_bootstrap_free(&r->plan);
    sah_bootstrap_free(&r->contrast_plan);
    free(r->means);
}

/* The interval of the mean on the queries less `times` that on the contrast queries. */
static void difference_interval(resamples *r, double times, double *low, double *high)
{
    for (size_t i = 0; i < SAH_RESAMPLES; i++) r->differences[i] = r->means[i] - times * r->contrast_means[i];
    sah_bootstrap_interval(r->differences, low, high);
}

/* Means, sums and intervals of one head. `p` (or NULL): its adjusted p-value. */
static void measure_ships(const sah_result *result, size_t head, resamples *r, const double *p,
                          sah_ranked *out)
{
    const sah_result_info *info = &result->info;
    const double *kl = result->kl + head * info->n_queries;
    out->mean = mean_of(kl, info->n_queries);
    out->sum = out->mean * (double)info->n_queries;
    sah_bootstrap_means(&r->plan, kl, r->means);
    if (info->n_contrast > 0) {
        const double *contrast_kl = result->contrast_kl + head * info->n_contrast;
        double general_low, general_high;
        out->contrast_mean = mean_of(contrast_kl, info->n_contrast);
        out->difference = out->mean - out->contrast_mean;
        sah_bootstrap_means(&r->contrast_plan, contrast_kl, r->contrast_means);
        difference_interval(r, 1, &out->difference_low, &out->difference_high);
        difference_interval(r, 2, &general_low, &general_high);
        out->p_adjusted = p[head];
        out->verdict = sah_judge_head(
            &(sah_evidence){out->mean, out->contrast_mean, out->p_adjusted, general_high, LEAST_KL});
    }
    sah_bootstrap_interval(r->means, &out->low, &out->high);
}

static sah_status rank_ships(const sah_result *result, sah_ranked *items, sah_error *error)
{
    const sah_result_info *info = &result->info;
    resamples r;
    double *p = sah_alloc(info->n_scored, sizeof *p);
    sah_status status = resamples_new(info, &r, error);
    if (status == SAH_OK && p == NULL) status = sah_fail_memory(error, "the ranking");
    if (status == SAH_OK && info->n_contrast > 0)
        status = sah_permutation_p(result->kl, info->n_queries, result->contrast_kl, info->n_contrast,
                                   info->n_scored, p, error);
    for (size_t h = 0; h < info->n_scored && status == SAH_OK; h++)
        measure_ships(result, h, &r, p, &items[h]);
    if (status == SAH_OK) status = count_top_ten(result, items, error);
    if (status == SAH_OK) status = sah_rank_effects(result, items, error);
    resamples_free(&r);
    free(p);
    return status;
}

/* p [n_scored] from what a result of find has of its queries. */
static sah_status find_p(const sah_result *result, double *p, sah_error *error)
{
    const sah_result_info *info = &result->info;
    size_t n_statistics = result->files[0].n_statistics;
    for (size_t h = 0; h < info->n_scored; h++) {
        const double *row = result->rows[h];
        bool few = info->n_queries < 2 || info->n_contrast < 2;
        p[h] = few ? 1
                   : sah_interval_p(row[SAH_FIND_DIFFERENCE], row[SAH_FIND_LOW], row[SAH_FIND_HIGH],
                                    info->n_scored);
    }
    if (n_statistics == 0) return SAH_OK;
    const double **statistics = sah_alloc(info->n_scored, sizeof *statistics);
    if (statistics == NULL) return sah_fail_memory(error, "the ranking");
    for (size_t h = 0; h < info->n_scored; h++) statistics[h] = result->rows[h] + result->files[0].width;
    sah_status status = sah_permuted_p(statistics, n_statistics - 1, info->n_scored, p, error);
    free(statistics);
    return status;
}

/* Heads among which one must stand out; fewer have no bulk to stand out of. */
enum { A_BULK = 16 };

/* A head on the way to a safety head, or behind one, turns harmful states more than harmless ones as well, for
 * certain and by degrees: what is called safety must stand out of such heads. */
static sah_status keep_outstanding(sah_ranked *items, size_t n, sah_error *error)
{
    double *others = sah_alloc(n, sizeof *others);
    sah_status status = others != NULL ? SAH_OK : sah_fail_memory(error, "the scores");
    for (size_t h = 0; h < n && n >= A_BULK && status == SAH_OK; h++) {
        double p;
        size_t n_others = 0;
        if (items[h].verdict != SAH_SAFETY) continue;
        for (size_t i = 0; i < n; i++)
            if (i != h) others[n_others++] = items[i].difference;
        status = sah_standing_p(items[h].difference, others, n_others, &p, error);
        if (status == SAH_OK && p > SAH_FAMILY_ERROR) items[h].verdict = SAH_UNDECIDED;
    }
    free(others);
    return status;
}

/* The file has the scores of the whole data set and their intervals. */
static sah_status rank_find(const sah_result *result, sah_ranked *items, sah_error *error)
{
    const sah_result_info *info = &result->info;
    double *p = sah_alloc(info->n_scored, sizeof *p);
    sah_status status = SAH_OK;
    if (p == NULL) return sah_fail_memory(error, "the ranking");
    if (info->judged) status = find_p(result, p, error);
    for (size_t h = 0; h < info->n_scored; h++) {
        const double *row = result->rows[h];
        sah_ranked *out = &items[h];
        out->mean = row[SAH_FIND_SHIFT];
        out->low = row[SAH_FIND_SHIFT_LOW];
        out->high = row[SAH_FIND_SHIFT_HIGH];
        out->contrast_mean = row[SAH_FIND_CONTRAST];
        out->difference = row[SAH_FIND_DIFFERENCE];
        out->difference_low = row[SAH_FIND_LOW];
        out->difference_high = row[SAH_FIND_HIGH];
        if (!info->judged) continue;
        out->p_adjusted = p[h];
        out->verdict = sah_judge_head(&(sah_evidence){
            out->mean, out->contrast_mean, p[h], out->difference_high - out->contrast_mean, LEAST_SHIFT});
    }
    if (info->judged && status == SAH_OK) status = keep_outstanding(items, info->n_scored, error);
    free(p);
    return status;
}

static void rank_direction(const sah_result *result, sah_ranked *items)
{
    for (size_t h = 0; h < result->info.n_scored; h++) {
        const double *row = result->rows[h];
        items[h].mean = row[SAH_DIRECTION_HARMFUL];
        items[h].contrast_mean = row[SAH_DIRECTION_HARMLESS];
        items[h].difference = row[SAH_DIRECTION_CONTRIBUTION];
        items[h].difference_low = row[SAH_DIRECTION_LOW];
        items[h].difference_high = row[SAH_DIRECTION_HIGH];
    }
}

static int compare_heads(const sah_ranked *x, const sah_ranked *y)
{
    if (x->head.layer != y->head.layer) return x->head.layer < y->head.layer ? -1 : 1;
    return (x->head.head > y->head.head) - (x->head.head < y->head.head);
}

sah_order sah_order_of(const sah_result *result, sah_order order)
{
    if (order != SAH_ORDER_DEFAULT) return order;
    return sah_result_has_difference(result) ? SAH_ORDER_DIFFERENCE : SAH_ORDER_MEAN;
}

double sah_score_of(sah_order order, const sah_ranked *r)
{
    switch (order) {
    case SAH_ORDER_COUNT:
        return (double)r->top_ten;
    case SAH_ORDER_DIFFERENCE:
        return r->difference;
    case SAH_ORDER_EFFECT: /* twice: above 0, what weakens is mostly refusals. Answers that gain cost nothing: a
                              head that holds them back is what is looked for */
        return (r->effect_verdict == SAH_GENERAL ? 0 : -r->effect) - 2 * fmax(-r->effect_answered, 0);
    case SAH_ORDER_TOWARD:
        return r->toward;
    case SAH_ORDER_DEFAULT:
    case SAH_ORDER_MEAN:
        break;
    }
    return r->mean;
}

static int compare_ranked(const void *a, const void *b, void *order)
{
    const sah_ranked *x = a, *y = b;
    sah_order by = *(const sah_order *)order;
    if (by == SAH_ORDER_COUNT && x->top_ten == y->top_ten) by = SAH_ORDER_MEAN;
    double u = sah_score_of(by, x), v = sah_score_of(by, y);
    if (u > v) return -1;
    if (u < v) return 1;
    return compare_heads(x, y);
}

void sah_rank_sort(sah_ranked *ranked, size_t n, sah_order order)
{
    qsort_r(ranked, n, sizeof *ranked, compare_ranked, &order);
}

sah_status sah_rank(const sah_result *result, sah_order order, sah_ranked **ranked, size_t *n,
                    sah_error *error)
{
    const sah_result_info *info = &result->info;
    bool difference = sah_result_has_difference(result);
    *ranked = NULL;
    *n = 0;
    if (order == SAH_ORDER_DIFFERENCE && !difference) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "the result has no contrast queries to take a difference from");
    }
    if (order == SAH_ORDER_COUNT && result->kind != SAH_KIND_SHIPS) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "a result of %s does not score single queries, so there is nothing to count",
                        info->command);
    }
    if (order == SAH_ORDER_EFFECT && info->n_refused == 0) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "the result has no openings of refused queries to take an effect from");
    }
    if (order == SAH_ORDER_TOWARD && info->n_answered == 0) {
        return sah_fail(error, SAH_BAD_ARGUMENT, "the result has no openings of answered queries");
    }
    order = sah_order_of(result, order);

    sah_status status = SAH_OK;
    sah_ranked *items = sah_alloc(info->n_scored, sizeof *items);
    if (items == NULL) return sah_fail_memory(error, "the ranking");
    for (size_t h = 0; h < info->n_scored; h++) {
        items[h] = (sah_ranked){.head = result->heads[h],
                                .low = NAN,
                                .high = NAN,
                                .sum = NAN,
                                .contrast_mean = NAN,
                                .difference = NAN,
                                .difference_low = NAN,
                                .difference_high = NAN,
                                .p_adjusted = NAN,
                                .effect = NAN,
                                .effect_low = NAN,
                                .effect_high = NAN,
                                .effect_answered = NAN,
                                .toward = NAN,
                                .opening_kl = NAN,
                                .effect_p = NAN};
    }
    if (result->kind == SAH_KIND_SHIPS)
        status = rank_ships(result, items, error);
    else if (result->kind == SAH_KIND_FIND)
        status = rank_find(result, items, error);
    else
        rank_direction(result, items);
    if (status != SAH_OK) {
        free(items);
        return status;
    }
    sah_rank_sort(items, info->n_scored, order);
    *ranked = items;
    *n = info->n_scored;
    return SAH_OK;
}

const char *sah_score_name(const sah_result *result, sah_order order)
{
    bool ships = result->kind == SAH_KIND_SHIPS;
    if (result->kind == SAH_KIND_DIRECTION) return "contribution to the refusal direction";
    switch (sah_order_of(result, order)) {
    case SAH_ORDER_COUNT:
        return "queries in which it is among the ten highest";
    case SAH_ORDER_DIFFERENCE:
        return ships ? "mean KL less mean contrast KL, nats" : "shift less contrast shift, degrees";
    case SAH_ORDER_EFFECT:
        return "how much refusals weaken less twice what answers weaken, nats a token";
    case SAH_ORDER_TOWARD:
        return "how much likelier a refusal becomes, nats a token";
    case SAH_ORDER_DEFAULT:
    case SAH_ORDER_MEAN:
        break;
    }
    return ships ? "mean KL, nats" : "shift, degrees";
}
