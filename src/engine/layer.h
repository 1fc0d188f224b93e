/* One transformer layer over rows of residual, in two halves. Rows are nodes of a forest, or several copies
 * of it stacked: row r is node r % n_nodes.
 *
 *     project:  qkv = norm(x) Wqkvᵀ, QK-norm, RoPE          [rows, (H + 2 Hkv) D], q then k then v
 *     attend:   z   = attention(q, k, v), edits             (attention.h, ablation.h)
 *     finish:   x  += z Woᵀ;  x += (silu(g) * u) Wdownᵀ,  g, u = norm(x) Wgate,upᵀ
 *
 * Rows go in blocks, so that what a block needs stays in the cache. */
#ifndef SAH_ENGINE_LAYER_H
#define SAH_ENGINE_LAYER_H

#include "engine/ablation.h"
#include "engine/model.h"

/* What all layers of a pass share. */
typedef struct sah_pass {
    const sah_model *model;
    sah_workspace *workspace;
    const float *cosine, *sine; /* [positions, D / 2] */
} sah_pass;

/* Angles of RoPE for positions 0..n-1: cosine and sine [n, D / 2] in one allocation at *cosine, for free().
 */
sah_status sah_angles_new(const sah_model *model, int64_t n, float **cosine, float **sine, sah_error *error);

int64_t sah_qkv_width(const sah_config *config); /* (H + 2 Hkv) D */

/* qkv of x [rows, d]; position[r % n_nodes] is a row's. In the last layer, which packs q apart, k and v
 * alone: [rows, 2 Hkv D]. */
sah_status sah_layer_project(const sah_pass *pass, int layer, const float *x, int64_t rows,
                             const int32_t *position, int64_t n_nodes, float *qkv, sah_error *error);

/* The last layer's q [rows, H D] of chosen rows x [rows, d]. */
sah_status sah_last_project_q(const sah_pass *pass, const float *x, int64_t rows, const int32_t *position,
                              int64_t n_nodes, float *q, sah_error *error);

/* Attention with a plan's edits; z in at->z, which may lie on at->q. */
sah_status sah_layer_attend(const sah_pass *pass, const sah_plan *plan, const sah_attention *at,
                            const sah_segment *segments, int32_t n_segments, int64_t rows, int64_t nodes,
                            sah_error *error);

/* x += z Woᵀ; the rows of z [rows, H D] may have gaps. */
sah_status sah_layer_output(const sah_pass *pass, int layer, const float *z, int64_t z_stride, int64_t rows,
                            float *x, sah_error *error);

/* x += MLP(norm(x)). */
sah_status sah_layer_mlp(const sah_pass *pass, int layer, int64_t rows, float *x, sah_error *error);

/* hidden [rows, d] = final norm of x. */
void sah_final_norm(const sah_model *model, const float *x, int64_t rows, float *hidden);

/* The attention of one forest copy in a layer, reading qkv rows; z lies on q. */
sah_attention sah_attention_of(const sah_config *config, float *qkv);

#endif
