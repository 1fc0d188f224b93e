/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cpu/elementwise.h"

#include <math.h>
#include <string.h>

#include "engine/cpu/fast_exp.h"
#include "util/simd.h"

/* Sums by lane: each lane's stays short, so that float32 is enough for it, and the compilers vectorise what
 * they may not reorder themselves. */
enum { LANES = 32 };

SAH_INLINE double sum_of_squares(const float *x, int n)
{
    float lane[LANES] = {0};
    double sum = 0.0;
    int whole = n - n % LANES;
    for (int i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] += x[i + j] * x[i + j];
    for (int j = 0; j < LANES; j++) sum += (double)lane[j];
    for (int i = whole; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

SAH_SIMD void sah_rms_norm(const float *x, const float *weight, float eps, int n, float *y)
{
    float scale = (float)(1.0 / sqrt(sum_of_squares(x, n) / n + (double)eps));
    if (weight == NULL) {
#pragma omp simd
        for (int i = 0; i < n; i++) y[i] = x[i] * scale;
        return;
    }
#pragma omp simd
    for (int i = 0; i < n; i++) y[i] = x[i] * scale * weight[i];
}

SAH_SIMD float sah_rms(const float *x, float eps, int n)
{
    return (float)sqrt(sum_of_squares(x, n) / n + (double)eps);
}

SAH_INLINE double sum_of(const float *x, int n)
{
    float lane[LANES] = {0};
    double sum = 0.0;
    int whole = n - n % LANES;
    for (int i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] += x[i + j];
    for (int j = 0; j < LANES; j++) sum += (double)lane[j];
    for (int i = whole; i < n; i++) sum += (double)x[i];
    return sum;
}

SAH_SIMD void sah_layer_norm(const float *x, const float *weight, const float *bias, float eps, int n,
                             float *y)
{
    float mean = (float)(sum_of(x, n) / n);
#pragma omp simd
    for (int i = 0; i < n; i++) y[i] = x[i] - mean;
    float scale = (float)(1.0 / sqrt(sum_of_squares(y, n) / n + (double)eps));
#pragma omp simd
    for (int i = 0; i < n; i++) y[i] = y[i] * scale * weight[i];
    if (bias != NULL) sah_vector_add(bias, n, y);
}

SAH_SIMD void sah_rotate(float *x, const float *cosine, const float *sine, int width)
{
    int half = width / 2;
#pragma omp simd
    for (int i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i] + a * sine[i];
    }
}

SAH_SIMD void sah_rotate_neighbours(float *x, const float *cosine, const float *sine, int width)
{
    for (int i = 0; i < width / 2; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cosine[i] - b * sine[i];
        x[2 * i + 1] = b * cosine[i] + a * sine[i];
    }
}

SAH_SIMD void sah_silu_multiply(const float *gate, const float *up, int n, float *out)
{
#pragma omp simd
    for (int i = 0; i < n; i++) {
        float x = gate[i];
        out[i] = x / (1.0f + sah_fast_exp(-x)) * up[i];
    }
}

SAH_SIMD void sah_sigmoid_multiply(const float *gate, int n, float *out)
{
#pragma omp simd
    for (int i = 0; i < n; i++) out[i] /= 1.0f + sah_fast_exp(-gate[i]);
}

SAH_SIMD float sah_largest(const float *x, size_t n)
{
    float top[LANES], broken[LANES] = {0};
    for (size_t j = 0; j < LANES; j++) top[j] = x[0];
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            float value = x[i + j];
            top[j] = value > top[j] ? value : top[j];
            broken[j] += value - value; /* 0, or NaN for an infinity or NaN */
        }
    }
    for (size_t i = whole; i < n; i++) {
        top[0] = x[i] > top[0] ? x[i] : top[0];
        broken[0] += x[i] - x[i];
    }
    for (size_t j = 1; j < LANES; j++) {
        top[0] = top[j] > top[0] ? top[j] : top[0];
        broken[0] += broken[j];
    }
    return broken[0] == 0 ? top[0] : NAN;
}

SAH_SIMD void sah_softmax(float *scores, int n, float sink)
{
    enum { SOFTMAX_LANES = 16 };
    float lane[SOFTMAX_LANES], max = scores[0];
    double sum = 0.0;
    int whole = n - n % SOFTMAX_LANES;
    for (int j = 0; j < SOFTMAX_LANES; j++) lane[j] = max;
    for (int i = 0; i < whole; i += SOFTMAX_LANES)
        for (int j = 0; j < SOFTMAX_LANES; j++) lane[j] = scores[i + j] > lane[j] ? scores[i + j] : lane[j];
    for (int j = 0; j < SOFTMAX_LANES; j++) max = lane[j] > max ? lane[j] : max;
    for (int i = whole; i < n; i++) max = scores[i] > max ? scores[i] : max;
    max = sink > max ? sink : max;
    for (int j = 0; j < SOFTMAX_LANES; j++) lane[j] = 0.0f;
    for (int i = 0; i < whole; i += SOFTMAX_LANES)
        for (int j = 0; j < SOFTMAX_LANES; j++) {
            scores[i + j] = sah_fast_exp(scores[i + j] - max);
            lane[j] += scores[i + j];
        }
    for (int j = 0; j < SOFTMAX_LANES; j++) sum += (double)lane[j];
    for (int i = whole; i < n; i++) {
        scores[i] = sah_fast_exp(scores[i] - max);
        sum += (double)scores[i];
    }
    sum += (double)sah_fast_exp(sink - max);
    float scale = (float)(1.0 / sum);
#pragma omp simd
    for (int i = 0; i < n; i++) scores[i] *= scale;
}

/* tanh(y) by exp; where that would cancel, by the first five terms of its series (the sixth is below 9e-9 of
 * y). */
SAH_SIMD void sah_softcap(float *x, int n, float cap)
{
#pragma omp simd
    for (int i = 0; i < n; i++) {
        float y = x[i] / cap, s = y * y, series = 62.0f / 2835.0f;
        series = series * s - 17.0f / 315.0f;
        series = series * s + 2.0f / 15.0f;
        series = series * s - 1.0f / 3.0f;
        series = y + y * s * series;
        float whole = 1.0f - 2.0f / (sah_fast_exp(2.0f * y) + 1.0f);
        x[i] = cap * (s < 0.0625f ? series : whole);
    }
}

SAH_SIMD void sah_vector_add(const float *x, int n, float *y)
{
#pragma omp simd
    for (int i = 0; i < n; i++) y[i] += x[i];
}

SAH_SIMD void sah_vector_scale(float *x, int n, float factor)
{
#pragma omp simd
    for (int i = 0; i < n; i++) x[i] *= factor;
}

SAH_SIMD void sah_vector_add_scaled(const float *x, int n, float factor, float *y)
{
#pragma omp simd
    for (int i = 0; i < n; i++) y[i] += factor * x[i];
}

SAH_SIMD void sah_round_bf16(const float *x, uint16_t *y, int64_t n)
{
    uint32_t bits;
#pragma omp simd private(bits)
    for (int64_t i = 0; i < n; i++) {
        memcpy(&bits, &x[i], sizeof bits);
        uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
        /* a NaN keeps its sign and becomes quiet, rather than rounding up to infinity */
        y[i] = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded >> 16);
    }
}
