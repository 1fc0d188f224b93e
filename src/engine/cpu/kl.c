/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cpu/kl.h"

#include <math.h>
#include <stdbool.h>

#include "engine/cpu/vector_exp.h"
#include "engine/cpu/elementwise.h"

/* Sums go block by block: a block's sum stays short, so that rounding grows with the number of blocks and not
 * of terms. */
enum { BLOCK = 512 };

static size_t block_end(size_t start, size_t n)
{
    return n - start < BLOCK ? n : start + BLOCK;
}

/* out[i] = e^(x[i] - top), x [n]; returns their sum. Differences below -708 count as -708: e^-708 is nothing
 * beside e = 1e-12. */
SAH_SIMD static double exponentials(const float *x, size_t n, float top, double *out)
{
    double total = 0;
    for (size_t start = 0; start < n; start = start + BLOCK) {
        double sum = 0;
        size_t end = block_end(start, n);
        /* In a loop of its own: inside the next one the compilers would branch on it, and a branch is not
         * vectorised. */
        for (size_t i = start; i < end; i++) {
            double difference = (double)x[i] - (double)top;
            out[i] = difference < -708.0 ? -708.0 : difference;
        }
#pragma omp simd reduction(+ : sum)
        for (size_t i = start; i < end; i++) {
            out[i] = sah_exp(out[i]);
            sum += out[i];
        }
        total += sum;
    }
    return total;
}

/* sum_i p[i] ln(q[i] * scale + e) */
SAH_SIMD static double weighted_logs(const double *p, const double *q, double scale, size_t n)
{
    double total = 0;
    for (size_t start = 0; start < n; start = start + BLOCK) {
        double sum = 0;
        size_t end = block_end(start, n);
#pragma omp simd reduction(+ : sum)
        for (size_t i = start; i < end; i++) sum += p[i] * sah_log(q[i] * scale + SAH_KL_EPSILON);
        total += sum;
    }
    return total;
}

bool sah_kl_prepare(const float *logits, size_t n, double *scratch, sah_kl_base *base)
{
    float top = sah_largest(logits, n);
    if (isnan(top)) return false;
    double scale = 1.0 / exponentials(logits, n, top, scratch);
    for (size_t i = 0; i < n; i++) base->p[i] = scratch[i] * scale + SAH_KL_EPSILON;
    base->log_p_sum = weighted_logs(base->p, scratch, scale, n);
    return true;
}

double sah_kl(const sah_kl_base *base, const float *logits, size_t n, double *scratch)
{
    float top = sah_largest(logits, n);
    if (isnan(top)) return NAN;
    double scale = 1.0 / exponentials(logits, n, top, scratch);
    return base->log_p_sum - weighted_logs(base->p, scratch, scale, n);
}

double sah_log_sum_exp(const float *logits, size_t n, double *scratch)
{
    float top = sah_largest(logits, n);
    return isnan(top) ? NAN : (double)top + log(exponentials(logits, n, top, scratch));
}

/* ln of the sum of exponentials of x [n]. */
static double log_sum_exp(const float *x, size_t n)
{
    float top = -INFINITY;
    double sum = 0;
    for (size_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)top);
    return (double)top + log(sum);
}

double sah_kl_plain(const float *base_logits, const float *logits, size_t n)
{
    double base_norm = log_sum_exp(base_logits, n), norm = log_sum_exp(logits, n), kl = 0;
    for (size_t i = 0; i < n; i++) {
        double p = exp((double)base_logits[i] - base_norm) + SAH_KL_EPSILON;
        double q = exp((double)logits[i] - norm) + SAH_KL_EPSILON;
        kl += p * log(p / q);
    }
    return kl;
}
