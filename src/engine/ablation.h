/* SPDX-License-Identifier: Apache-2.0 */
/* Ablations, layer by layer: edits checked against the model and looked up by head (docs/method.md,
 * "Ablations"). */
#ifndef SAH_ENGINE_ABLATION_H
#define SAH_ENGINE_ABLATION_H

#include "engine/donors.h"
#include "engine/pass.h"
#include "model/checkpoint/heads.h"

/* The edits of one layer. NULL: that part of that head stays as it is. */
typedef struct sah_plan {
    const sah_edit **q; /* [n_heads] */
    const sah_edit **k; /* [n_kv_heads] */
    const sah_edit **v; /* [n_heads] */
    int n_edits;
    int group; /* query heads that read one key/value head */
} sah_plan;

/* Plans for `edits` (checked; must outlive the plans), [n_layers] in *out. When two edits name the same part
 * of the same head, the first stands. */
sah_status sah_plans_new(const sah_config *config, const sah_edit *edits, size_t n, sah_plan **out,
                         sah_error *error);
void sah_plans_free(sah_plan *plans);

/* A plan of one layer with more edits added behind it; sah_plans_free() frees it. */
sah_status sah_plan_extend(const sah_config *config, const sah_plan *plan, const sah_edit *more, int n,
                           sah_plan **out, sah_error *error);

/* True when the plan changes the head's output z. */
bool sah_plan_touches(const sah_plan *plan, int head);

/* The head's output under the plan, out [rows, head_dim] without gaps, over all rows of the layer's view. `at`
 * holds the layer's unedited states after RoPE: scaling and means over heads commute with the rotation, so
 * editing behind it equals editing before it; a donor's states are turned from its position to the row's. at->z
 * must hold the unedited outputs of every head when the plan wants a mean of outputs or leaves q and k alone.
 * `kept`: keys and values are those that stay. `donor` may be NULL where no edit asks for one. */
sah_status sah_edited_head(const sah_pass *pass, int layer, const sah_plan *plan, const sah_donor *donor,
                           const sah_attention *at, int head, bool kept, float *out, sah_error *error);

#endif
