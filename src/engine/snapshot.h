/* What the candidates of one layer share: the base pass's states inside that layer. The base pass walks up
 * the layers as candidates ask for them; a snapshot lives until the last candidate of its layer has used it.
 */
#ifndef SAH_ENGINE_SNAPSHOT_H
#define SAH_ENGINE_SNAPSHOT_H

#include "engine/layer.h"

typedef struct sah_snapshot {
    int layer;
    int64_t rows; /* rows that go on above: all nodes, or the ends in the last layer */
    float *qkv; /* [n_nodes, qkv width], behind RoPE; in the last layer [n_nodes, 2 Hkv D], without q: */
    float *q; /* [rows, H D]: q apart in the last layer, else NULL */
    float *z; /* [rows, H D] unedited outputs of every head */
    float *z_base; /* the same under the base ablation; = z where that leaves the layer alone */
    float *middle; /* [rows, d] residual behind attention, before the MLP, under the base ablation */
    sah_attention at; /* reads the above, z on z */
    const sah_segment *segments;
    int32_t n_segments;
    sah_weights *
        *output; /* [H] slices of the output projection, [d, D] each; NULL for heads no candidate edits */
} sah_snapshot;

typedef struct sah_base sah_base;

/* The base pass over `forest` under `plans`. `needed[l]` candidates will take layer l's snapshot; `slice[l *
 * H + h]`: whether one edits that head's output. All must outlive it. */
sah_status sah_base_new(const sah_model *model, const sah_forest *forest, const sah_plan *plans,
                        const int32_t *needed, const bool *slice, const float *cosine, const float *sine,
                        sah_base **out, sah_error *error);
void sah_base_free(sah_base *base);

/* The snapshot of a layer; several threads may ask. The thread that comes first does the work with its own
 * workspace, walking up from the last layer made; others that need the same wait for it. Layers are asked for
 * in any order, but none below one that was let go. */
sah_status sah_base_take(sah_base *base, sah_workspace *workspace, int layer, const sah_snapshot **out,
                         sah_error *error);
/* Makes the snapshots up to a layer unless another thread is at it, so that nobody has to wait for them
 * later. */
void sah_base_ahead(sah_base *base, sah_workspace *workspace, int layer);
/* `n` candidates of the layer are done with it. */
void sah_base_release(sah_base *base, int layer, int32_t n);

/* Residual of the ends behind the last layer [n_ends, d]; only once the last layer's snapshot was taken. */
const float *sah_base_ends(const sah_base *base);

/* Bytes of one snapshot. */
uint64_t sah_snapshot_bytes(const sah_config *config, const sah_forest *forest);

#endif
