/* SPDX-License-Identifier: Apache-2.0 */
/* The Ships score of one query from next-token logits (method.md, "Ships: one query"; paper, equation 6):
 *
 *     KL(p || p') = sum_i (p_i + e) ln((p_i + e) / (p'_i + e)),   e = 1e-12, natural logarithm, float64
 *
 * The unablated side is prepared once per query, since every head is compared with it. */
#ifndef SAH_ENGINE_CPU_KL_H
#define SAH_ENGINE_CPU_KL_H

#include <stddef.h>

#include "engine/device.h"

#define SAH_KL_EPSILON 1e-12

/* Fills base->p [n], p_i + e, from logits [n] (all finite) and the sum beside it. `scratch` [n]. Returns false when a
 * logit is not finite. */
_Bool sah_kl_prepare(const float *logits, size_t n, double *scratch, sah_kl_base *base);

/* KL(base || softmax(logits)) in nats; NaN when a logit is not finite. Equal logits give exactly 0. `scratch`
 * [n]. */
double sah_kl(const sah_kl_base *base, const float *logits, size_t n, double *scratch);

/* The same number as the definition reads, with the C library's exp and log. */
double sah_kl_plain(const float *base_logits, const float *logits, size_t n);

/* ln of the sum of exponentials of logits [n]: what log-softmax takes off. NaN when a logit is not finite.
 * `scratch` [n]. */
double sah_log_sum_exp(const float *logits, size_t n, double *scratch);

#endif
