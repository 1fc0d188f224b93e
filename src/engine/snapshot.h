/* SPDX-License-Identifier: Apache-2.0 */
/* What the candidates of one layer share: the base pass's states inside that layer. The base pass walks up
 * the layers as candidates ask for them; a snapshot lives until the last candidate of its layer has used it.
 */
#ifndef SAH_ENGINE_SNAPSHOT_H
#define SAH_ENGINE_SNAPSHOT_H

#include "engine/block.h"
#include "engine/candidate.h"
#include "engine/lent.h"

typedef struct sah_snapshot {
    int layer;
    const sah_view *view; /* the rows that go on above */
    sah_states states; /* of one copy; z_base and z below */
    float *z; /* [view, H D] unedited outputs of every head */
    float *z_base; /* the same under the base ablation; = z where that leaves the layer alone */
    float *middle; /* [view, d] residual between the halves of the layer, under the base ablation; without: */
    float *branch; /* [view, d] the attention's branch, where that does not join as it is; else NULL */
    const sah_lent *lent; /* what the base pass lends, up to this layer */
    sah_weights *
        *output; /* [H] slices of the output projection, [d, D] each; NULL for heads no candidate edits */
} sah_snapshot;

typedef struct sah_base sah_base;

/* The base pass over `forest` under `plans`; of `pass` everything but the workspace. `needed[l]` candidates
 * will take layer l's snapshot; `slice[l * H + h]`: whether one edits that head's output. All must outlive it. A pass
 * that records leaves the last layer made in its record. */
sah_status sah_base_new(const sah_pass *pass, const sah_forest *forest, const sah_plan *plans,
                        const int32_t *needed, const bool *slice, sah_base **out, sah_error *error);
void sah_base_free(sah_base *base);

/* The snapshot of a layer; several threads may ask. The thread that comes first does the work with its own
 * workspace, walking up from the last layer made; others that need the same wait for it. Layers are asked for
 * in any order, but none below one that was let go. */
sah_status sah_base_take(sah_base *base, sah_workspace *workspace, int layer, const sah_snapshot **out,
                         sah_error *error);
/* Makes the snapshots up to a layer unless another thread is at it, so that nobody has to wait for them
 * later. */
void sah_base_ahead(sah_base *base, sah_workspace *workspace, int layer);
/* The walk keeps what enters a layer above those made, to go back to it: sah_base_return(), while nobody takes or makes
 * any. Snapshots from there on are made again. */
sah_status sah_base_mark(sah_base *base, int layer, sah_error *error);
void sah_base_return(sah_base *base, sah_workspace *workspace);
/* `n` candidates of the layer are done with it. */
void sah_base_release(sah_base *base, int layer, int32_t n);

/* A candidate's residual y [view, d] between the halves of its own layer: the base's, plus what its heads now
 * write less what they wrote. `plan` is the base's of that layer, `donor` what stands in there (or NULL). */
sah_status sah_snapshot_candidate(const sah_snapshot *snapshot, const sah_pass *pass, const sah_plan *plan,
                                  const sah_candidate *candidate, const sah_donor *donor, float *y,
                                  sah_error *error);

/* Residual of the ends behind the last layer [n_ends, d]; only once the last layer's snapshot was taken. */
const float *sah_base_ends(const sah_base *base);

/* Bytes of one snapshot. */
uint64_t sah_snapshot_bytes(const sah_config *config, const sah_forest *forest);

#endif
