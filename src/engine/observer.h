/* SPDX-License-Identifier: Apache-2.0 */
/* A look into a forward pass: states of the last tokens, layer by layer, as they come. The fast pass
 * (forward.h) and the plain one (plain.h) show the same, so that one can be held against the other. */
#ifndef SAH_ENGINE_OBSERVER_H
#define SAH_ENGINE_OBSERVER_H

#include "engine/device.h"

typedef enum sah_place {
    SAH_PLACE_INPUT = 0, /* [n_ends, d] residual that enters a layer; layer n_layers: that leaves the last */
    SAH_PLACE_HEADS, /* [n_ends, H D] the heads' outputs z, edits applied */
    SAH_PLACE_FACTOR, /* [n_ends, 1] what a head's write z Woᵀ is multiplied by on its way to the residual behind
                         the layer, beside the weights of a norm behind it (which is an RMS norm) */
    SAH_PLACE_MIDDLE, /* [n_ends, d] residual between attention and MLP; behind both where they are parallel */
    SAH_N_PLACES
} sah_place;

/* `see` is called from one thread, place by place and layer by layer; rows are those of forest->ends (the
 * plain pass: its last token) and valid during the call. */
typedef struct sah_observer {
    void (*see)(void *ctx, sah_place place, int layer, const double *rows);
    void *ctx;
} sah_observer;

/* Shows `width` numbers of each of n ends. No observer: nothing to do. */
sah_status sah_show(const sah_observer *observer, sah_workspace *workspace, sah_place place, int layer,
                    sah_rows ends, int32_t n, int64_t width, sah_error *error);

#endif
