#include "engine/cpu/elementwise.h"

#include <math.h>
#include <string.h>

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
#pragma omp simd
    for (int i = 0; i < n; i++) y[i] = x[i] * scale * weight[i];
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

/* exp(x) to about one unit in the last place, for x <= 88: 2^k times a polynomial in r, x = k ln 2 + r, |r|
 * <= ln 2 / 2 (Cody and Waite's two-part ln 2; coefficients of the Taylor series to the seventh power, error
 * below 2e-8). Below -87 it is 0; NaN stays NaN. */
SAH_INLINE float fast_exp(float x)
{
    float clamped =
        x > -87.0f ? x : -87.0f; /* NaN too: its bits must not reach the conversion to an integer */
    clamped = clamped < 88.0f ? clamped : 88.0f;
    float shifted = clamped * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to the nearest integer */
    float k = shifted - 12582912.0f;
    float r = clamped - k * 0.693359375f;
    r = r - k * -2.12194440e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits = (uint32_t)((int32_t)k + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return x < -87.0f ? 0.0f : x == x ? p * power : x;
}

SAH_SIMD void sah_silu_multiply(const float *gate, const float *up, int n, float *out)
{
#pragma omp simd
    for (int i = 0; i < n; i++) {
        float x = gate[i];
        out[i] = x / (1.0f + fast_exp(-x)) * up[i];
    }
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

SAH_SIMD void sah_softmax(float *scores, int n)
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
    for (int j = 0; j < SOFTMAX_LANES; j++) lane[j] = 0.0f;
    for (int i = 0; i < whole; i += SOFTMAX_LANES)
        for (int j = 0; j < SOFTMAX_LANES; j++) {
            scores[i + j] = fast_exp(scores[i + j] - max);
            lane[j] += scores[i + j];
        }
    for (int j = 0; j < SOFTMAX_LANES; j++) sum += (double)lane[j];
    for (int i = whole; i < n; i++) {
        scores[i] = fast_exp(scores[i] - max);
        sum += (double)scores[i];
    }
    float scale = (float)(1.0 / sum);
#pragma omp simd
    for (int i = 0; i < n; i++) scores[i] *= scale;
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
