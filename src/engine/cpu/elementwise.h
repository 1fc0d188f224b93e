/* SPDX-License-Identifier: Apache-2.0 */
/* The element-wise steps of a layer, one row at a time, vectorised by the compiler. Each stands next to its
 * plain form in plain.c, against which it is tested. */
#ifndef SAH_ENGINE_CPU_ELEMENTWISE_H
#define SAH_ENGINE_CPU_ELEMENTWISE_H

#include <stddef.h>
#include <stdint.h>

/* y = x / sqrt(mean(x²) + eps) * weight, all [n]; without weight where that is NULL. y may be x. */
void sah_rms_norm(const float *x, const float *weight, float eps, int n, float *y);

/* sqrt(mean(x²) + eps). */
float sah_rms(const float *x, float eps, int n);

/* y = (x - mean) / sqrt(variance + eps) * weight + bias, all [n]; bias may be NULL, and y may be x. */
void sah_layer_norm(const float *x, const float *weight, const float *bias, float eps, int n, float *y);

/* Rotates the pairs (i, i + width/2) of x [width] by angles whose cosines and sines are given, [width/2] each
 * (Su et al. 2021, in Hugging Face's order of pairs). */
void sah_rotate(float *x, const float *cosine, const float *sine, int width);

/* The same of the pairs (2i, 2i + 1), the order of GPT-J and GLM. */
void sah_rotate_neighbours(float *x, const float *cosine, const float *sine, int width);

/* out[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + exp(-x)). */
void sah_silu_multiply(const float *gate, const float *up, int n, float *out);

/* out[i] *= 1 / (1 + exp(-gate[i])). */
void sah_sigmoid_multiply(const float *gate, int n, float *out);

/* The largest of x [n], n > 0; NaN when one is not finite. */
float sah_largest(const float *x, size_t n);

/* In place: weights[i] = exp(scores[i] - max) / sum. n > 0; a score of -infinity gets 0. `sink` is one more
 * score, whose weight nobody gets; -infinity: none. Fastest where n is a multiple of 16. */
void sah_softmax(float *scores, int n, float sink);

/* x = cap tanh(x / cap), in place. */
void sah_softcap(float *x, int n, float cap);

void sah_vector_add(const float *x, int n, float *y); /* y += x */
void sah_vector_scale(float *x, int n, float factor); /* x *= factor */
void sah_vector_add_scaled(const float *x, int n, float factor, float *y); /* y += factor * x */

/* float32 to bfloat16, to nearest, ties to even. */
void sah_round_bf16(const float *x, uint16_t *y, int64_t n);

#endif
