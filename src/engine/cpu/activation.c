/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cpu/activation.h"

#include <math.h>

#include "engine/cpu/elementwise.h"
#include "engine/cpu/fast_exp.h"

SAH_INLINE float logistic(float x)
{
    return 1.0f / (1.0f + sah_fast_exp(-x));
}

/* Phi(x) = erfc(-x / sqrt(2)) / 2. erfc(z), z >= 0, is t exp(-z² + p(t)), t = 1 / (1 + z / 2), by the Chebyshev
 * fit of Press et al., Numerical Recipes, section 6.2 (relative error below 1.2e-7). */
SAH_INLINE float normal_share(float x)
{
    float z = fabsf(x) * 0.70710678f, t = 1.0f / (1.0f + 0.5f * z);
    float p = 0.17087277f;
    p = p * t - 0.82215223f;
    p = p * t + 1.48851587f;
    p = p * t - 1.13520398f;
    p = p * t + 0.27886807f;
    p = p * t - 0.18628806f;
    p = p * t + 0.09678418f;
    p = p * t + 0.37409196f;
    p = p * t + 1.00002368f;
    p = p * t - 1.26551223f;
    float tail = 0.5f * t * sah_fast_exp(p - z * z);
    return x < 0.0f ? tail : 1.0f - tail;
}

SAH_INLINE float activated(sah_activation kind, float x)
{
    float positive = x < 0.0f ? 0.0f : x; /* NaN stays NaN */
    switch (kind) {
    case SAH_ACT_GELU:
        return x * normal_share(x);
    case SAH_ACT_GELU_TANH: /* (1 + tanh u) / 2 is the logistic of 2 u */
        return x * logistic(1.59576912f * (x + 0.044715f * x * x * x));
    case SAH_ACT_RELU:
        return positive;
    case SAH_ACT_RELU_SQUARED:
        return positive * positive;
    default:
        return x / (1.0f + sah_fast_exp(-x));
    }
}

/* One loop for each kind, the kind a constant in it. */
SAH_INLINE void loop(sah_activation kind, const float *gate, const float *up, int n, float *out)
{
    if (up != NULL) {
#pragma omp simd
        for (int i = 0; i < n; i++) out[i] = activated(kind, gate[i]) * up[i];
    } else {
#pragma omp simd
        for (int i = 0; i < n; i++) out[i] = activated(kind, gate[i]);
    }
}

SAH_INLINE void clamped(float limit, float alpha, const float *gate, const float *up, int n, float *out)
{
#pragma omp simd
    for (int i = 0; i < n; i++) {
        float g = gate[i] > limit ? limit : gate[i], u = up[i] > limit ? limit : up[i];
        u = u < -limit ? -limit : u;
        out[i] = (u + 1.0f) * g * logistic(alpha * g);
    }
}

SAH_SIMD void sah_activate(const sah_config *c, const float *gate, const float *up, int n, float *out)
{
    switch (c->activation) {
    case SAH_ACT_GELU:
        loop(SAH_ACT_GELU, gate, up, n, out);
        break;
    case SAH_ACT_GELU_TANH:
        loop(SAH_ACT_GELU_TANH, gate, up, n, out);
        break;
    case SAH_ACT_RELU:
        loop(SAH_ACT_RELU, gate, up, n, out);
        break;
    case SAH_ACT_RELU_SQUARED:
        loop(SAH_ACT_RELU_SQUARED, gate, up, n, out);
        break;
    case SAH_ACT_CLAMPED_SWIGLU:
        clamped(c->activation_limit, c->activation_alpha, gate, up, n, out);
        break;
    default:
        loop(SAH_ACT_SILU, gate, up, n, out);
    }
}
