/* SPDX-License-Identifier: Apache-2.0 */
#include "model/family/shape.h"

#include <math.h>
#include <stdlib.h>

#include "util/alloc.h"

sah_config sah_config_neutral(void)
{
    return (sah_config){.gated = true,
                        .embedding_scale = 1,
                        .residual_scale = 1,
                        .logit_scale = 1,
                        .ropes = {{.attention_factor = 1}, {.attention_factor = 1}},
                        .n_ropes = 1};
}

void sah_config_free(sah_config *config)
{
    free(config->layer_kind);
    free(config->rope_factors);
    config->layer_kind = NULL;
    config->rope_factors = NULL;
}

sah_layer_kind sah_config_layer(const sah_config *config, int layer)
{
    if (config->layer_kind != NULL) {
        sah_layer_kind kind = config->layer_kind[layer];
        if (kind.n_heads == 0) kind.n_heads = config->n_heads;
        if (kind.d_ff == 0) kind.d_ff = config->d_ff;
        return kind;
    }
    return (sah_layer_kind){.n_heads = config->n_heads,
                            .window = config->sliding_window,
                            .rope = config->n_ropes > 0 ? 0 : -1,
                            .head_dim = config->head_dim,
                            .n_kv_heads = config->n_kv_heads,
                            .d_ff = config->d_ff,
                            .experts = config->experts.n > 0};
}

bool sah_config_by_layer(sah_config *config)
{
    if (config->layer_kind != NULL) return true;
    sah_layer_kind *kinds = sah_alloc((size_t)config->n_layers, sizeof *kinds);
    for (int l = 0; kinds != NULL && l < config->n_layers; l++) kinds[l] = sah_config_layer(config, l);
    config->layer_kind = kinds;
    return kinds != NULL;
}

/* ---- Rotary frequencies -------------------------------------------------------------------------------- */

/* Llama 3.1's stretch: waves longer than original / low positions are slowed by `factor`, those shorter than
 * original / high are kept, and in between the two are blended linearly in the number of turns. */
static double llama3_frequency(const sah_rope *rope, double frequency)
{
    const double turns = rope->original_positions * frequency / (2 * M_PI);
    const double blend = (turns - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    const double keep = fmin(fmax(blend, 0), 1);
    return keep * frequency + (1 - keep) * frequency / rope->factor;
}

/* The pair (as a real number) whose wave makes so many turns over the original positions (arXiv 2309.00071,
 * equation 17 solved for the pair). */
static double pair_of_turns(const sah_rope *rope, double turns)
{
    return rope->dims * log(rope->original_positions / (turns * 2 * M_PI)) / (2 * log(rope->theta));
}

/* YaRN: pairs below the first bound are kept, those above the second slowed by `factor`, in between blended. */
static double yarn_frequency(const sah_rope *rope, int pair, double frequency)
{
    double low = pair_of_turns(rope, rope->beta_fast), high = pair_of_turns(rope, rope->beta_slow);
    if (rope->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, rope->dims - 1);
    if (!(high < low) && !(high > low)) high += 0.001;
    const double slow = fmin(fmax((pair - low) / (high - low), 0), 1);
    return slow * frequency / rope->factor + (1 - slow) * frequency;
}

void sah_rope_frequencies(const sah_rope *rope, double *out)
{
    for (int i = 0; i < rope->dims / 2; i++) {
        out[i] = pow(rope->theta, -2.0 * i / rope->dims);
        if (rope->scaling == SAH_ROPE_LINEAR) out[i] /= rope->factor;
        if (rope->scaling == SAH_ROPE_LLAMA3) out[i] = llama3_frequency(rope, out[i]);
        if (rope->scaling == SAH_ROPE_YARN) out[i] = yarn_frequency(rope, i, out[i]);
        if (rope->factors != NULL) out[i] /= (double)rope->factors[i];
        if (rope->share > 0 && i >= (int)(rope->share * rope->dims / 2)) out[i] = 0;
    }
}
