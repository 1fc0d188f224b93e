/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention over a forest: a node sees its ancestors and itself. */
#ifndef SAH_ENGINE_CPU_ATTENTION_H
#define SAH_ENGINE_CPU_ATTENTION_H

#include "engine/forest.h"
#include "engine/cpu/product.h"

typedef struct sah_attention {
    int n_heads, n_kv_heads; /* query head h reads key/value head h / (n_heads / n_kv_heads) */
    int head_dim;
    float scale; /* of q kᵀ */
    float softcap; /* scores become cap tanh(score / cap); 0: none */
    const float *sinks; /* [n_heads] one more score of each head, whose weight nobody gets; or NULL */
    int window; /* sliding window: tokens seen, the own included; 0: all */
    const float *q; /* [rows, n_heads * head_dim] after RoPE, rows as the segments number them */
    int64_t q_stride;
    const float *k, *v; /* [nodes, n_kv_heads * head_dim] */
    int64_t k_stride, v_stride;
    float *z; /* [rows, n_heads * head_dim]: the heads' outputs; may lie on q */
    int64_t z_stride;
    const float *gate; /* [rows, n_heads * head_dim] outputs are times its sigmoid; or NULL */
    int64_t gate_stride;
    bool single; /* every segment is one row: keys and values are read in place, a copy would serve no other
                    row */
} sah_attention;

/* z = softmax(scale q kᵀ) v, gated, for every row of the segments. */
sah_status sah_attend(sah_workspace *workspace, const sah_attention *attention, const sah_segment *segments,
                      int32_t n_segments, sah_error *error);

#endif
