/* SPDX-License-Identifier: Apache-2.0 */
/* The refusal direction and each head's part in it (method.md, "Refusal direction"). */
#ifndef SAH_ATTRIBUTION_DIRECTION_H
#define SAH_ATTRIBUTION_DIRECTION_H

#include "engine/forest.h"
#include "engine/model.h"

/* One head's writing at the last prompt token, against a direction; docs/files.md names the fields. */
typedef struct sah_head_part {
    double harmful, harmless; /* mean projections on the unit direction, in units of the residual stream */
    double contribution, low, high; /* their difference, and its bootstrap interval over queries */
    double share; /* contribution / length of the direction */
    double cosine, cosine_difference; /* with the mean write on harmful queries; with the sets' difference */
} sah_head_part;

/* The forest's first n_harmful prompts are the harmful ones, the others harmless; 1 <= n_harmful < n_prompts.
 * `parts` [n_layers, n_heads]: each head against the direction behind `layer`, or with -1 behind its own.
 * `directions` [n_layers + 1, d], not normalised: row 0 of the embeddings, row l + 1 behind layer l. Memory:
 * the heads' outputs of all layers for the forest's ends. */
sah_status sah_direction_parts(const sah_model *model, const sah_forest *forest, size_t n_harmful, int layer,
                               sah_head_part *parts, double *directions, sah_error *error);

#endif
