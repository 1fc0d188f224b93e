/* SPDX-License-Identifier: Apache-2.0 */
/* Products by differences: y = y_base + W (x - x_base). What a base pass puts into the products of a layer, and
 * gets, is recorded; passes that hardly differ from it multiply only what they differ by, in bfloat16, whose
 * rounding is then a part of the difference and not of the whole. The base's products are float32's. In float32 where
 * a device makes products of pieces (sah_device.differs) differences need fewer of them.
 *
 * A record is of one layer at a time: 4 bytes for each node, and each input and output of the layer's matrices. */
#ifndef SAH_ENGINE_DIFFERENCE_H
#define SAH_ENGINE_DIFFERENCE_H

#include "engine/forest.h"
#include "engine/pass.h"

/* The products of a layer. */
typedef enum sah_site {
    SAH_SITE_QKV, /* of all nodes; k and v alone where q is apart */
    SAH_SITE_Q,
    SAH_SITE_OUTPUT,
    SAH_SITE_GATE_UP, /* outputs [gate | up], each as wide as the MLP */
    SAH_SITE_DOWN,
    SAH_SITE_INPUT_GATE, /* of what the layer is given of each token (inputs.h) */
    SAH_SITE_INPUT_OUT,
    SAH_N_SITES
} sah_site;

typedef struct sah_record {
    const sah_device *device;
    float *x[SAH_N_SITES], *y[SAH_N_SITES]; /* [nodes, width of the site in the layer] */
} sah_record;

/* Whether the sweeps of a model can work so: in its precision it gains by it, and no rows go by expert (one may meet an
 * expert that it did not meet in the base pass, where nothing is recorded of that). */
bool sah_model_differs(const sah_model *model);

/* Room for a record of any layer; the caller frees it, in either case. */
sah_status sah_record_new(const sah_model *model, const sah_forest *forest, sah_record *out,
                          sah_error *error);
void sah_record_free(sah_record *record);
uint64_t sah_record_bytes(const sah_config *config, const sah_forest *forest);

/* Rows [from, from + rows) of copies of a view, at a site; of these, columns from `column` on of the `all` that the
 * record has there. */
typedef struct sah_part {
    sah_site site;
    const sah_view *view;
    int64_t from, rows;
    int64_t column, all;
} sah_part;

/* y [rows, outputs] = x [rows, inputs] Wᵀ, or += with `add`, of rows [from, from + rows) of copies of the view. As
 * the pass has it: plainly, recorded, or by the difference from what is recorded, which x then becomes. */
sah_status sah_site_product(const sah_pass *pass, sah_site site, const sah_view *view, int64_t from,
                            int64_t rows, const sah_weights *weights, float *x, float *y, bool add,
                            sah_error *error);

/* The same in its parts, for products in slices, where there is a record. The weights that the pass multiplies with. */
const sah_weights *sah_site_weights(const sah_pass *pass, const sah_weights *weights);
/* x [rows, width] as products take it, having
 * been recorded or made a difference; NULL: no memory. */
const void *sah_site_input(const sah_pass *pass, sah_part part, sah_slot slot, const sah_weights *weights,
                           float *x, int64_t width);
/* y [rows, width], whose rows lie `stride` apart: to the record, or from it. */
void sah_site_outputs(const sah_pass *pass, sah_part part, int64_t width, float *y, int64_t stride);
/* y [rows, width] += what is recorded. */
void sah_site_add(const sah_pass *pass, sah_part part, int64_t width, float *y);

/* A view of the model in float32, whose layers come from the files and go again; the model outlives it. *out = NULL
 * where it is in float32 itself. */
sah_status sah_model_exact(const sah_model *model, sah_model **out, sah_error *error);
void sah_model_exact_free(sah_model *exact);
/* Bytes of weights that it holds at once. */
uint64_t sah_model_exact_bytes(const sah_model *model);

#endif
