/* SPDX-License-Identifier: Apache-2.0 */
#include "model/checkpoint/layout.h"

/* GGUF's Llama files keep the two halves of a head interleaved, so that RoPE turns neighbours: half s, pair i of a
 * head, s D/2 + i in Hugging Face's order, lies at 2 i + s. */
static size_t in_halves(size_t i, size_t run)
{
    return 2 * (i % (run / 2)) + i / (run / 2);
}

size_t sah_layout_turn(size_t i, size_t groups, size_t each)
{
    return i % each * groups + i / each;
}

size_t sah_layout_row(const sah_layout *layout, size_t row)
{
    if (layout->run == 0) return row;
    size_t run = row / layout->run, i = row % layout->run;
    if (layout->halves) i = in_halves(i, layout->run);
    if (layout->groups > 0) run = sah_layout_turn(run, layout->groups, layout->each);
    return layout->first + run * layout->stride + i;
}

/* `rows` rows from `first` on. */
static sah_layout part(size_t first, size_t rows)
{
    return (sah_layout){.first = first, .run = rows, .stride = rows};
}

/* Rows `run` a value head, in GGUF's order where key heads take turns. */
static sah_layout value_heads(const sah_family *family, const sah_config *config, int layer, size_t run,
                              bool gguf)
{
    const size_t groups = (size_t)config->delta.key_heads;
    const size_t each = (size_t)sah_config_layer(config, layer).n_heads / groups;
    if (!gguf || !family->in_turns || each == 1) return (sah_layout){0};
    return (sah_layout){.run = run, .stride = run, .groups = groups, .each = each};
}

static sah_layout delta_qkv(const sah_family *family, const sah_config *config, int layer, sah_role role,
                            bool gguf)
{
    const size_t keys = sah_width_of(config, layer, SAH_WIDTH_DELTA_KEY);
    const size_t values = sah_width_of(config, layer, SAH_WIDTH_Q);
    if (role != SAH_ROLE_DELTA_V) return part(role == SAH_ROLE_DELTA_Q ? 0 : keys, keys);
    sah_layout v = value_heads(family, config, layer, sah_width_of(config, layer, SAH_WIDTH_HEAD), gguf);
    if (v.run == 0) return part(2 * keys, values);
    v.first = 2 * keys;
    return v;
}

/* Of each key head q, k, v of its value heads and their gates; or one row a value head, write and keep. */
static sah_layout delta_by_head(const sah_config *config, int layer, sah_role role, size_t *all)
{
    const size_t groups = (size_t)config->delta.key_heads, K = (size_t)config->delta.key_dim;
    const size_t heads = sah_width_of(config, layer, SAH_WIDTH_HEADS) / groups;
    const size_t V = sah_width_of(config, layer, SAH_WIDTH_Q) / groups;
    const bool rates = role == SAH_ROLE_DELTA_WRITE || role == SAH_ROLE_DELTA_KEEP;
    const size_t stride = rates ? 2 * heads : 2 * K + 2 * V;
    *all = groups * stride;
    switch (role) {
    case SAH_ROLE_DELTA_Q:
        return (sah_layout){.run = K, .stride = stride};
    case SAH_ROLE_DELTA_K:
        return (sah_layout){.first = K, .run = K, .stride = stride};
    case SAH_ROLE_DELTA_V:
        return (sah_layout){.first = 2 * K, .run = V, .stride = stride};
    case SAH_ROLE_DELTA_GATE:
        return (sah_layout){.first = 2 * K + V, .run = V, .stride = stride};
    case SAH_ROLE_DELTA_WRITE:
        return (sah_layout){.run = heads, .stride = stride};
    default:
        return (sah_layout){.first = heads, .run = heads, .stride = stride};
    }
}

sah_layout sah_layout_of(const sah_family *family, const sah_config *config, int layer, sah_role role,
                         sah_cut cut, bool gguf, size_t *all)
{
    const size_t q = sah_width_of(config, layer, SAH_WIDTH_Q), kv = sah_width_of(config, layer, SAH_WIDTH_KV),
                 D = sah_width_of(config, layer, SAH_WIDTH_HEAD);
    const size_t number = role == SAH_ROLE_Q ? 0 : role == SAH_ROLE_K ? 1 : 2;
    const bool q_or_k = role == SAH_ROLE_Q || role == SAH_ROLE_K;
    switch (cut) {
    case SAH_CUT_QKV:
        *all = q + 2 * kv;
        return part(number == 0 ? 0 : number == 1 ? q : q + kv, number == 0 ? q : kv);
    case SAH_CUT_QKV_BY_HEAD:
        *all = q + 2 * kv;
        return (sah_layout){.first = number * D, .run = D, .stride = 3 * D};
    case SAH_CUT_GATE_UP: {
        const size_t rows = sah_width_of(config, layer, sah_role_of(role)->rows);
        *all = 2 * rows;
        return part(role == SAH_ROLE_UP || role == SAH_ROLE_SHARED_UP ? rows : 0, rows);
    }
    case SAH_CUT_Q_GATE:
        *all = 2 * q;
        return (sah_layout){.first = role == SAH_ROLE_Q ? 0 : D, .run = D, .stride = 2 * D};
    case SAH_CUT_DELTA_QKV:
        *all = sah_width_of(config, layer, SAH_WIDTH_DELTA_ROWS);
        return delta_qkv(family, config, layer, role, gguf);
    case SAH_CUT_EXPERT_GATE_UP: {
        const size_t inner = sah_width_of(config, layer, SAH_WIDTH_EXPERT_FF);
        *all = 2 * sah_width_of(config, layer, SAH_WIDTH_EXPERTS_FF);
        return (sah_layout){
            .first = role == SAH_ROLE_EXPERT_UP ? inner : 0, .run = inner, .stride = 2 * inner};
    }
    case SAH_CUT_DELTA_BY_HEAD:
        return delta_by_head(config, layer, role, all);
    case SAH_CUT_EXPERT_TURNS:
        *all = sah_width_of(config, layer, sah_role_of(role)->rows) * (role == SAH_ROLE_EXPERT_DOWN ? 1 : 2);
        if (role == SAH_ROLE_EXPERT_DOWN) return (sah_layout){0};
        return (sah_layout){.first = role == SAH_ROLE_EXPERT_UP, .run = 1, .stride = 2};
    default:
        *all = sah_width_of(config, layer, sah_role_of(role)->rows);
    }
    if (gguf && family->permuted && q_or_k) return (sah_layout){.run = D, .stride = D, .halves = true};
    if (role == SAH_ROLE_DELTA_GATE) return value_heads(family, config, layer, D, gguf);
    if (role == SAH_ROLE_DELTA_WRITE || role == SAH_ROLE_DELTA_KEEP)
        return value_heads(family, config, layer, 1, gguf);
    return (sah_layout){0};
}

sah_layout sah_columns_layout_of(const sah_family *family, const sah_config *config, int layer, sah_role role,
                                 bool gguf)
{
    if (role != SAH_ROLE_DELTA_O) return (sah_layout){0};
    return value_heads(family, config, layer, sah_width_of(config, layer, SAH_WIDTH_HEAD), gguf);
}
