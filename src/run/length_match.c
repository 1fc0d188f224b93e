/* SPDX-License-Identifier: Apache-2.0 */
/* Harmless queries as long as the harmful ones, so that length does not pass for harm. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/length_match.h"
#include "run/prompts.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

static int compare_lengths(const void *a, const void *b)
{
    const sah_length *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* With both sides ascending a best matching keeps their order, so the best of the first i and j follows from
 * those of fewer: the j-th is left out, or it is the i-th's partner. */
sah_status sah_match(sah_length *wanted, size_t n, sah_length *from, size_t m, bool *chosen, sah_error *error)
{
    size_t cells;
    memset(chosen, 0, m * sizeof *chosen);
    if (m <= n) {
        memset(chosen, 1, m * sizeof *chosen);
        return SAH_OK;
    }
    qsort(wanted, n, sizeof *wanted, compare_lengths);
    qsort(from, m, sizeof *from, compare_lengths);
    bool *taken = sah_mul(n + 1, m + 1, &cells) ? sah_alloc(cells, sizeof *taken) : NULL;
    double *cost = sah_alloc(m + 1, sizeof *cost), *before = sah_alloc(m + 1, sizeof *before);
    if (taken == NULL || cost == NULL || before == NULL) {
        free(taken);
        free(cost);
        free(before);
        return sah_fail_memory(error, "matching lengths");
    }
    for (size_t i = 1; i <= n; i++) { /* `before` is of i - 1 wanted lengths, at first of none */
        for (size_t j = 0; j < i; j++) cost[j] = INFINITY;
        for (size_t j = i; j <= m; j++) {
            double with = before[j - 1] + fabs((double)wanted[i - 1].length - (double)from[j - 1].length);
            taken[i * (m + 1) + j] = !(cost[j - 1] <= with);
            cost[j] = fmin(cost[j - 1], with);
        }
        memcpy(before, cost, (m + 1) * sizeof *cost);
    }
    for (size_t i = n, j = m; i > 0; j--) {
        if (!taken[i * (m + 1) + j]) continue;
        chosen[from[j - 1].index] = true;
        i--;
    }
    free(taken);
    free(cost);
    free(before);
    return SAH_OK;
}

sah_status sah_measure_prompts(const sah_model *model, const sah_strings *queries, const char *template_,
                               const char *system, sah_length *out, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; i < queries->n && status == SAH_OK; i++) {
        char *prompt;
        int32_t *tokens;
        status = sah_run_prompt(model, template_, system, queries->items[i], &prompt, &tokens, &out[i].length,
                                error);
        out[i].index = i;
        free(prompt);
        free(tokens);
    }
    return status;
}

static double mean_of(const sah_length *lengths, size_t n, const bool *chosen)
{
    double sum = 0, count = 0;
    for (size_t i = 0; i < n; i++) {
        if (chosen != NULL && !chosen[lengths[i].index]) continue;
        sum += (double)lengths[i].length;
        count++;
    }
    return count > 0 ? sum / count : 0;
}

sah_status sah_match_lengths(const sah_model *model, const sah_strings *queries, const char *template_,
                             const char *system, sah_strings *contrast, sah_matching *out, sah_error *error)
{
    size_t n = queries->n, m = contrast->n;
    sah_strings kept = {0};
    sah_length *wanted = sah_alloc(n, sizeof *wanted), *from = sah_alloc(m, sizeof *from);
    bool *chosen = sah_alloc(m, sizeof *chosen);
    sah_status status = wanted != NULL && from != NULL && chosen != NULL
                            ? SAH_OK
                            : sah_fail_memory(error, "matching lengths");
    *out = (sah_matching){.from = m};
    if (status == SAH_OK) status = sah_measure_prompts(model, queries, template_, system, wanted, error);
    if (status == SAH_OK) status = sah_measure_prompts(model, contrast, template_, system, from, error);
    if (status == SAH_OK) status = sah_match(wanted, n, from, m, chosen, error);
    for (size_t i = 0; i < m && status == SAH_OK; i++)
        if (chosen[i]) status = sah_strings_add(&kept, contrast->items[i], strlen(contrast->items[i]), error);
    if (status == SAH_OK) {
        out->tokens = mean_of(wanted, n, NULL);
        out->contrast_tokens = mean_of(from, m, chosen);
        sah_strings_free(contrast);
        *contrast = kept;
    } else {
        sah_strings_free(&kept);
    }
    free(wanted);
    free(from);
    free(chosen);
    return status;
}
