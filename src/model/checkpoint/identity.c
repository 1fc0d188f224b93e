/* SPDX-License-Identifier: Apache-2.0 */
#include "model/checkpoint/identity.h"

#include <stdlib.h>

void sah_parts_name(unsigned parts, char out[8])
{
    static const struct {
        unsigned part;
        char letter;
    } names[] = {{SAH_PART_Q, 'q'}, {SAH_PART_K, 'k'}, {SAH_PART_V, 'v'}};
    size_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!(parts & names[i].part)) continue;
        if (n > 0) out[n++] = ',';
        out[n++] = names[i].letter;
    }
    out[n] = '\0';
}

json_t *sah_model_record(const sah_model_info *info)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:I}", "name", info->name, "xxh3",
                     info->checksum, "family", info->family, "layers", info->n_layers, "heads", info->n_heads,
                     "kv_heads", info->n_kv_heads, "head_dim", info->head_dim, "d_model", info->d_model,
                     "vocab", info->n_vocab, "n_parameters", (json_int_t)info->n_parameters);
}
