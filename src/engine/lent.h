/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values that a layer lends to layers above it, which make none (sah_layer_kind.borrows). They outlive the
 * layer that made them, so they lie apart from its other states. */
#ifndef SAH_ENGINE_LENT_H
#define SAH_ENGINE_LENT_H

#include "sahara.h"

#include "engine/device.h"

typedef struct sah_lent {
    const sah_device *device;
    float **kv; /* [n_layers] of [rows, 2 Hkv D]; NULL where a layer lends nothing */
    int n_layers;
} sah_lent;

/* Memory for so many rows of every layer that lends. */
sah_status sah_lent_new(const sah_device *device, const sah_config *config, size_t rows, sah_lent *out,
                        sah_error *error);
void sah_lent_free(sah_lent *lent);

/* Where keys and values are that a layer reads: its own, or those that it borrows. */
int sah_lent_from(const sah_config *config, int layer);
/* The memory there; NULL: they are lent to nobody and lie among the layer's states. */
float *sah_lent_kv(const sah_lent *lent, const sah_config *config, int layer);

/* Numbers that a layer lends of a row, and all layers together. */
int64_t sah_lent_width(const sah_config *config, int layer);
int64_t sah_lent_widths(const sah_config *config);

/* The first `rows` rows of what the layers up to `layer` lend, to row `to_row` of another memory. */
void sah_lent_copy(sah_workspace *workspace, const sah_lent *from, const sah_config *config, int layer,
                   int64_t to_row, int64_t rows, sah_lent *to);

#endif
