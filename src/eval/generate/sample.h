/* SPDX-License-Identifier: Apache-2.0 */
/* The next token from its logits: the likeliest, or drawn. */
#ifndef SAH_EVAL_GENERATE_SAMPLE_H
#define SAH_EVAL_GENERATE_SAMPLE_H

#include "sahara.h"

typedef struct sah_sampling {
    double temperature; /* logits are divided by it; 0: the likeliest token, the lowest id among equals */
    int top_k; /* only the k likeliest; 0: all */
    double top_p; /* of those, the likeliest until their share of the probability reaches p; 1: all */
} sah_sampling;

/* One token that may be drawn. */
typedef struct sah_choice {
    double weight;
    int32_t token;
} sah_choice;

/* The token, given `uniform` in [0, 1); -1 when a logit is not finite. `scratch` [n_vocab] is used only when
 * drawing. */
int32_t sah_sample(const sah_sampling *sampling, const float *logits, int32_t n_vocab, double uniform,
                   sah_choice *scratch);

#endif
