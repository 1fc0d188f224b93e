/* SPDX-License-Identifier: Apache-2.0 */
/* Models of random weights in memory, in any arrangement that a configuration can say: what one way of
 * computing is held against another on, without a file. */
#ifndef TESTS_MODELS_RANDOM_MODEL_H
#define TESTS_MODELS_RANDOM_MODEL_H

#include "engine/model.h"

enum { RANDOM_LAYERS = 4 };

typedef struct random_shape {
    sah_config config; /* sizes may be 0: random_config() has them */
    bool norms_behind; /* both branches are normed before they are added */
    bool no_norms_in_front;
    bool norm_biases; /* with layer norms */
    bool sinks, positions, scales; /* scales: of all that leaves a layer */
    bool kinds_differ; /* layers are `kinds`, else as the configuration says */
    sah_layer_kind kinds[RANDOM_LAYERS];
} random_shape;

/* RANDOM_LAYERS layers of 4 heads that share 2 key/value heads 12 wide, d 40, d_ff 56, 50 tokens. */
sah_config random_config(void);

/* The model of a shape on a device, for sah_model_close(). The seed decides all weights; of a model that is opened to
 * generate they have 16 significant bits, which two pieces of bfloat16 hold (engine/cpu/tiles.h). */
sah_status random_model_on(const random_shape *shape, const sah_device *device,
                           const sah_model_options *options, uint64_t seed, sah_model **out,
                           sah_error *error);
/* The same on the CPU; fails the test when it does not open. */
sah_model *random_model(const random_shape *shape, const sah_model_options *options, uint64_t seed);

#endif
