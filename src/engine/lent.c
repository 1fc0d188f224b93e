/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/lent.h"

#include <stdlib.h>

#include "util/alloc.h"
#include "util/error.h"

int sah_lent_from(const sah_config *config, int layer)
{
    return layer - sah_config_layer(config, layer).borrows;
}

int64_t sah_lent_width(const sah_config *config, int layer)
{
    const sah_layer_kind kind = sah_config_layer(config, layer);
    if (config->layer_kind == NULL || kind.borrows > 0) return 0;
    for (int l = layer + 1; l < config->n_layers; l++)
        if (sah_lent_from(config, l) == layer) return 2 * (int64_t)kind.n_kv_heads * kind.head_dim;
    return 0;
}

int64_t sah_lent_widths(const sah_config *config)
{
    int64_t sum = 0;
    for (int l = 0; l < config->n_layers && config->layer_kind != NULL; l++) sum += sah_lent_width(config, l);
    return sum;
}

sah_status sah_lent_new(const sah_device *device, const sah_config *config, size_t rows, sah_lent *out,
                        sah_error *error)
{
    *out = (sah_lent){.device = device, .n_layers = config->n_layers};
    if (sah_lent_widths(config) == 0) return SAH_OK;
    out->kv = sah_alloc((size_t)config->n_layers, sizeof *out->kv);
    if (out->kv == NULL) return sah_fail_memory(error, "keys and values that layers share");
    for (int l = 0; l < config->n_layers; l++) {
        const size_t width = (size_t)sah_lent_width(config, l);
        if (width == 0) continue;
        out->kv[l] = sah_device_alloc(device, rows * width, sizeof **out->kv);
        if (out->kv[l] == NULL) return sah_fail_memory(error, "keys and values that layers share");
    }
    return SAH_OK;
}

void sah_lent_free(sah_lent *lent)
{
    for (int l = 0; lent->kv != NULL && l < lent->n_layers; l++) sah_device_free(lent->device, lent->kv[l]);
    free(lent->kv);
    *lent = (sah_lent){0};
}

float *sah_lent_kv(const sah_lent *lent, const sah_config *config, int layer)
{
    return lent->kv != NULL ? lent->kv[sah_lent_from(config, layer)] : NULL;
}

void sah_lent_copy(sah_workspace *workspace, const sah_lent *from, const sah_config *config, int layer,
                   int64_t to_row, int64_t rows, sah_lent *to)
{
    for (int l = 0; from->kv != NULL && l <= layer; l++) {
        const int64_t width = from->kv[l] != NULL ? sah_lent_width(config, l) : 0;
        if (width > 0)
            workspace->device->copy(workspace, (sah_rows){from->kv[l], width, NULL}, rows, width,
                                    to->kv[l] + to_row * width, width, NULL);
    }
}
