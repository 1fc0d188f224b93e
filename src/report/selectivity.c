/* SPDX-License-Identifier: Apache-2.0 */
#include "report/selectivity.h"

#include <math.h>
#include <stdlib.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/splitmix.h"

/* ---- Permutations -------------------------------------------------------------------------------------- */

/* masks [SAH_PERMUTATIONS + 1, n]: which n_a of the n queries count as harmful; the first row as it is. */
static void draw_masks(size_t n_a, size_t n, uint8_t *masks)
{
    uint64_t state = 3;
    for (size_t i = 0; i < n; i++) masks[i] = i < n_a;
    for (size_t r = 1; r <= SAH_PERMUTATIONS; r++) {
        uint8_t *mask = masks + r * n;
        for (size_t i = 0; i < n; i++) mask[i] = i < n_a;
        for (size_t i = n - 1; i > 0; i--) { /* Fisher and Yates */
            size_t j = sah_splitmix_below(&state, i + 1);
            uint8_t held = mask[i];
            mask[i] = mask[j];
            mask[j] = held;
        }
    }
}

/* Welch's statistic of the masked against the other values, which have mean 0 together. */
static double welch(const double *values, const uint8_t *mask, size_t n, double n_a, double square_sum)
{
    double sum = 0, squares = 0, n_b = (double)n - n_a;
#pragma omp simd reduction(+ : sum, squares)
    for (size_t i = 0; i < n; i++) {
        double x = mask[i] * values[i];
        sum += x;
        squares += x * x;
    }
    double mean_a = sum / n_a, mean_b = -sum / n_b, difference = mean_a - mean_b;
    double about_a = squares - n_a * mean_a * mean_a; /* sums of squares about the means */
    double about_b = square_sum - squares - n_b * mean_b * mean_b;
    double variance = fmax(about_a, 0) / (n_a - 1) / n_a + fmax(about_b, 0) / (n_b - 1) / n_b;
    if (variance > 0) return difference / sqrt(variance);
    return difference > 0 ? INFINITY : difference < 0 ? -INFINITY : 0;
}

/* One head's values of both sets, less their common mean; all 0 when they are equal. Returns the sum of
 * squares. */
static double centre(const double *a, size_t n_a, const double *b, size_t n_b, double *out)
{
    double sum = 0, squares = 0;
    bool equal = true;
    for (size_t i = 0; i < n_a + n_b; i++) {
        out[i] = i < n_a ? a[i] : b[i - n_a];
        sum += out[i];
        equal = equal && !(out[i] > out[0]) && !(out[i] < out[0]);
    }
    double mean = sum / (double)(n_a + n_b);
    for (size_t i = 0; i < n_a + n_b; i++) {
        out[i] = equal ? 0 : out[i] - mean;
        squares += out[i] * out[i];
    }
    return squares;
}

sah_status sah_permutation_p(const double *a, size_t n_a, const double *b, size_t n_b, size_t n_heads,
                             double *p, sah_error *error)
{
    size_t n = n_a + n_b, cells;
    for (size_t h = 0; h < n_heads; h++) p[h] = 1;
    if (n_a < 2 || n_b < 2) return SAH_OK;
    sah_status status = SAH_OK;
    uint8_t *masks = sah_alloc(SAH_PERMUTATIONS + 1, n);
    double *values = sah_mul(n_heads, n, &cells) ? sah_alloc(cells, sizeof *values) : NULL;
    double *squares = sah_alloc(n_heads, sizeof *squares);
    double *most = sah_alloc(SAH_PERMUTATIONS + 1, sizeof *most); /* of all heads, by permutation */
    if (masks == NULL || values == NULL || squares == NULL || most == NULL) {
        status = sah_fail_memory(error, "the permutations");
        goto done;
    }
    draw_masks(n_a, n, masks);
    for (size_t h = 0; h < n_heads; h++)
        squares[h] = centre(a + h * n_a, n_a, b + h * n_b, n_b, values + h * n);
#pragma omp parallel for schedule(static)
    for (size_t r = 1; r <= SAH_PERMUTATIONS; r++) {
        most[r] = -INFINITY;
        for (size_t h = 0; h < n_heads; h++)
            most[r] = fmax(most[r], welch(values + h * n, masks + r * n, n, (double)n_a, squares[h]));
    }
    for (size_t h = 0; h < n_heads; h++) {
        double own = welch(values + h * n, masks, n, (double)n_a, squares[h]);
        size_t reached = 1; /* the sets as they are, one of the permutations */
        for (size_t r = 1; r <= SAH_PERMUTATIONS; r++) reached += most[r] >= own;
        p[h] = (double)reached / (SAH_PERMUTATIONS + 1);
    }

done:
    free(masks);
    free(values);
    free(squares);
    free(most);
    return status;
}

double sah_interval_p(double difference, double low, double high, size_t n_heads)
{
    double width = high - low; /* 2 * 1.96 standard errors */
    if (!(width > 0)) return 1; /* no variation seen: nothing to judge by */
    double z = difference * 2 * 1.959963984540054 / width;
    return fmin(1, (double)n_heads * 0.5 * erfc(z / sqrt(2)));
}

/* ---- Verdict ------------------------------------------------------------------------------------------- */

sah_selectivity sah_judge_head(const sah_evidence *e)
{
    if (fmax(e->score, e->contrast) < e->least) return SAH_NEGLIGIBLE;
    if (e->score >= e->least && e->score > 2 * e->contrast && e->p_adjusted <= SAH_FAMILY_ERROR)
        return SAH_SAFETY;
    return e->general_high < 0 ? SAH_GENERAL : SAH_UNDECIDED;
}

const char *sah_selectivity_name(sah_selectivity verdict)
{
    static const char *const names[] = {"", "safety", "general", "undecided", "negligible"};
    return names[verdict];
}
