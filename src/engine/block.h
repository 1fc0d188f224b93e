/* SPDX-License-Identifier: Apache-2.0 */
/* One transformer layer over rows of residual, and the one place that knows its order. Rows come as a view:
 * x [copies * nodes, d] enters, y [copies * view, d] leaves, sah_pass_view() of the layer. y may be x where
 * all rows go on.
 *
 *     attention half:    y  = the rows of x that go on
 *                        q, k, v = RoPE(norms of heads(norm(x) Wq,k,vᵀ))     q of y, k and v of x
 *                        z  = attention(q, k, v), edited     attention.h or delta.h; ablation.h
 *                        y += norm behind(z Woᵀ)
 *     finishing half:    y += norm behind((act(g) * u) Wdownᵀ),  g, u = norm(y) Wgate,upᵀ     or experts.h
 *                        y += what the layer is given of the token     inputs.h
 *
 * Which norms there are, and a factor of both branches, is the model's matter. Where its residual is parallel
 * the MLP reads y as it entered, so that it belongs to the first half, and nothing is left to finish.
 *
 * A candidate of a sweep joins between the halves: its branch is the base's plus (z' - z) Woᵀ of the heads that
 * it edits (snapshot.h). */
#ifndef SAH_ENGINE_BLOCK_H
#define SAH_ENGINE_BLOCK_H

#include "engine/ablation.h"
#include "engine/projection.h"

/* Where a layer puts its states, of as many copies as it is given. */
typedef struct sah_states {
    float
        *qkv; /* [copies * nodes, qkv width of the layer]; in the last one, which packs q apart, [.., 2 Hkv D]
                   of the same memory */
    float *q; /* [copies * ends, q width]: q, and z on it, of the last layer */
    float *z; /* [view, H D] outputs of the heads, edited; NULL: on q, wherever that lies */
    float *unedited; /* [view, H D] the same without edits, or NULL: not wanted. z may be it without edits */
    float *
        kept; /* [copies, pass->kept.n, 2 Hkv D] keys and values that stay, the row of a view's `node`, read from
                    here, where a layer that borrows finds them; or [sequences, kept] states of the delta rule, the
                    row of a view's `sequence`, with one copy, as z and unedited are. NULL: none stay */
} sah_states;

/* Where a copy's states lie in a layer, for attention. */
sah_attention sah_block_states(const sah_pass *pass, int layer, const sah_states *states, int64_t copy);

/* The attention half, under the layer's plan. With `branch` [copies * view, d], NULL unless
 * sah_block_branches(), the attention's branch goes there and has yet to join y. */
sah_status sah_block_attend(const sah_pass *pass, int layer, const sah_plan *plan, int64_t copies,
                            const sah_states *states, const float *x, float *y, float *branch,
                            sah_error *error);

/* True where the attention's branch joins the residual through a norm or a factor: what changes it must do so
 * before. Else a change may be added to y. */
bool sah_block_branches(const sah_pass *pass, int layer);
/* y += the branch, which may be changed. */
void sah_block_join(const sah_pass *pass, int layer, int64_t rows, float *branch, float *y);

/* The finishing half, of rows of y. */
sah_status sah_block_finish(const sah_pass *pass, int layer, int64_t rows, float *y, sah_error *error);

/* Both, of one copy. */
sah_status sah_block(const sah_pass *pass, int layer, const sah_plan *plan, const sah_states *states,
                     const float *x, float *y, sah_error *error);

#endif
