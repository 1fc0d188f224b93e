/* SPDX-License-Identifier: Apache-2.0 */
#include "model/checkpoint/layout.h"

/* `rows` rows from `first` on. */
static sah_layout part(size_t first, size_t rows)
{
    return (sah_layout){.first = first, .run = rows, .stride = rows};
}

sah_layout sah_layout_of(const sah_family *family, const sah_config *config, int layer, sah_role role,
                         sah_cut cut, bool gguf, size_t *all)
{
    const size_t q = sah_width_of(config, layer, SAH_WIDTH_Q), kv = sah_width_of(config, layer, SAH_WIDTH_KV),
                 ff = sah_width_of(config, layer, SAH_WIDTH_FF),
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
    case SAH_CUT_GATE_UP:
        *all = 2 * ff;
        return part(role == SAH_ROLE_UP ? ff : 0, ff);
    default:
        *all = sah_width_of(config, layer, sah_role_of(role)->rows);
    }
    if (gguf && family->permuted && q_or_k) return (sah_layout){.run = D, .stride = D, .halves = true};
    return (sah_layout){0};
}
