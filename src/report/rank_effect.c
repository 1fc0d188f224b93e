/* SPDX-License-Identifier: Apache-2.0 */
#include "report/rank_effect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/selectivity.h"
#include "stats/bootstrap.h"
#include "util/alloc.h"
#include "util/error.h"

/* Below this a head is called negligible: 0.05 nats a token make an opening of eight tokens a third less likely.
 * Heads of random models, which tell the words of the two kinds of query apart, reach it by chance alone: a safety
 * head's whole interval lies beyond it. */
static const double LEAST_EFFECT = 0.05;

/* How much every head weakens the openings of the queries that are refused, and of those that are answered:
 * -effect, so that what a safety head does is positive. */
typedef struct weakening {
    double *refused, *answered; /* [n_scored, n_refused], [n_scored, n_answered] */
    size_t n_refused, n_answered; /* queries that have an opening */
    sah_bootstrap plan, answered_plan;
    double *means, *answered_means, *differences; /* [SAH_RESAMPLES] */
    double *p; /* [n_scored] */
} weakening;

static void weakening_free(weakening *w)
{
    sah_bootstrap_free(&w->plan);
    sah_bootstrap_free(&w->answered_plan);
    free(w->refused);
    free(w->answered);
    free(w->means);
    free(w->p);
}

/* Mean of a head's values over the queries of a kind that have one; NaN: none. */
static double mean_where(const sah_effects *e, const double *values, sah_opening_kind kind)
{
    double sum = 0;
    size_t n = 0;
    for (size_t q = 0; q < e->n; q++) {
        if (e->kinds[q] != kind || isnan(values[q])) continue;
        sum += values[q];
        n++;
    }
    return n > 0 ? sum / (double)n : NAN;
}

static sah_status weakening_new(const sah_result *r, weakening *w, sah_error *error)
{
    const sah_effects *e = &r->effects;
    size_t n = r->info.n_scored, numbers;
    const double *first = e->values[SAH_EFFECT]; /* a query without an opening has none for any head */
    *w = (weakening){0};
    for (size_t q = 0; q < e->n && n > 0; q++) {
        if (isnan(first[q])) continue;
        w->n_refused += e->kinds[q] == SAH_OPENING_REFUSES;
        w->n_answered += e->kinds[q] == SAH_OPENING_ANSWERS;
    }
    w->refused = sah_mul(n, w->n_refused, &numbers) ? sah_alloc(numbers, sizeof *w->refused) : NULL;
    w->answered = sah_mul(n, w->n_answered, &numbers) ? sah_alloc(numbers, sizeof *w->answered) : NULL;
    w->means = sah_alloc_table(3, SAH_RESAMPLES, sizeof *w->means);
    w->p = sah_alloc(n, sizeof *w->p);
    if (w->refused == NULL || w->answered == NULL || w->means == NULL || w->p == NULL)
        return sah_fail_memory(error, "the effects");
    w->answered_means = w->means + SAH_RESAMPLES;
    w->differences = w->answered_means + SAH_RESAMPLES;
    for (size_t h = 0; h < n; h++) {
        double *refused = w->refused + h * w->n_refused, *answered = w->answered + h * w->n_answered;
        for (size_t q = 0; q < e->n; q++) {
            if (isnan(first[q])) continue;
            if (e->kinds[q] == SAH_OPENING_REFUSES) *refused++ = -first[h * e->n + q];
            if (e->kinds[q] == SAH_OPENING_ANSWERS) *answered++ = -first[h * e->n + q];
        }
    }
    sah_status status = SAH_OK;
    if (w->n_refused > 0) status = sah_bootstrap_new(w->n_refused, 4, &w->plan, error);
    if (status == SAH_OK && w->n_answered > 0)
        status = sah_bootstrap_new(w->n_answered, 5, &w->answered_plan, error);
    if (status == SAH_OK && r->info.effect_judged)
        status = sah_permutation_p(w->refused, w->n_refused, w->answered, w->n_answered, n, w->p, error);
    return status;
}

/* Interval of the mean effect on refused queries. */
static void interval(weakening *w, size_t head, sah_ranked *out)
{
    if (w->n_refused == 0) return;
    sah_bootstrap_means(&w->plan, w->refused + head * w->n_refused, w->means);
    for (size_t i = 0; i < SAH_RESAMPLES; i++) w->differences[i] = -w->means[i];
    sah_bootstrap_interval(w->differences, &out->effect_low, &out->effect_high);
}

/* Whether the head surely changes answers by more than is negligible; uses up the differences. */
static bool changes_answers(weakening *w)
{
    double low, high;
    memcpy(w->differences, w->answered_means, SAH_RESAMPLES * sizeof *w->differences);
    sah_bootstrap_interval(w->differences, &low, &high);
    return low > LEAST_EFFECT || high < -LEAST_EFFECT;
}

/* A head is about safety when its ablation weakens refusals beyond chance and leaves answers as they are: it surely
 * does less than half as much to them, in either direction, and no more than is negligible. A head that breaks both,
 * but refusals more, is general. */
static void judge(weakening *w, size_t head, sah_ranked *out)
{
    double low, high, times = out->effect_answered > 0 ? -2 : 2; /* the answered mean is -effect_answered */
    sah_bootstrap_means(&w->answered_plan, w->answered + head * w->n_answered, w->answered_means);
    for (size_t i = 0; i < SAH_RESAMPLES; i++) w->differences[i] = w->means[i] - times * w->answered_means[i];
    sah_bootstrap_interval(w->differences, &low, &high);
    out->effect_p = w->p[head];
    const sah_evidence evidence = {-out->effect, fabs(out->effect_answered), out->effect_p, high,
                                   LEAST_EFFECT};
    out->effect_verdict = sah_judge_head(&evidence);
    if (out->effect_verdict == SAH_SAFETY && (out->effect_high > -LEAST_EFFECT || low <= 0))
        out->effect_verdict = SAH_UNDECIDED;
    if (fabs(out->effect_answered) > LEAST_EFFECT && out->effect_verdict != SAH_GENERAL)
        out->effect_verdict = changes_answers(w) ? SAH_GENERAL : SAH_UNDECIDED;
}

sah_status sah_rank_effects(const sah_result *r, sah_ranked *items, sah_error *error)
{
    const sah_effects *e = &r->effects;
    weakening w;
    if (e->n == 0) return SAH_OK;
    sah_status status = weakening_new(r, &w, error);
    for (size_t h = 0; h < r->info.n_scored && status == SAH_OK; h++) {
        sah_ranked *out = &items[h];
        const double *kl = e->values[SAH_OPENING_KL] + h * e->n;
        double sum = 0;
        size_t n = 0;
        out->effect = mean_where(e, e->values[SAH_EFFECT] + h * e->n, SAH_OPENING_REFUSES);
        out->effect_answered = mean_where(e, e->values[SAH_EFFECT] + h * e->n, SAH_OPENING_ANSWERS);
        out->toward = mean_where(e, e->values[SAH_TOWARD] + h * e->n, SAH_OPENING_ANSWERS);
        for (size_t q = 0; q < e->n; q++) {
            sum += isnan(kl[q]) ? 0 : kl[q];
            if (!isnan(kl[q])) n++;
        }
        out->opening_kl = n > 0 ? sum / (double)n : NAN;
        interval(&w, h, out);
        if (r->info.effect_judged)
            judge(&w, h, out);
        else if (r->info.effect_reason[0] != '\0')
            out->effect_verdict = SAH_UNDECIDED;
    }
    weakening_free(&w);
    return status;
}
