/* SPDX-License-Identifier: Apache-2.0 */
/* A pass: what all its layers share, and the rows that they work on. */
#ifndef SAH_ENGINE_PASS_H
#define SAH_ENGINE_PASS_H

#include "engine/model.h"
#include "engine/observer.h"

struct sah_donor;
struct sah_record;

typedef struct sah_pass {
    const sah_model *model;
    sah_workspace *workspace; /* of the calling thread; everything else may be shared */
    sah_angles angles[SAH_MAX_ROPES]; /* each in one allocation, at cosine */
    sah_view nodes, ends; /* their arrays lie in the device's memory */
    sah_view
        kept; /* n, positions and sources of the rows of keys that stay (sah_states.kept), where some do */
    const struct sah_donor *const
        *donors; /* [n_layers] what stands in for heads that the plans edit, NULL: nothing
                                              in that layer; or NULL */
    float
        *given; /* [nodes, layers * P] what layers are given of each token (inputs.h), or NULL; freed with the
                     angles */
    int32_t *branch; /* the nodes', where their device reads it in the host's memory; freed with the angles */
    const sah_observer *observer; /* or NULL: nobody looks */
    const struct sah_record *record; /* of the base pass's products in the layer (difference.h), or NULL */
    bool records; /* this is that pass */
} sah_pass;

/* A pass over positions 0 .. n_positions - 1, without views and workspace; sah_pass_end() frees what it has,
 * whatever came of it. More positions than the model has are refused. */
sah_status sah_pass_begin(const sah_model *model, int64_t n_positions, sah_pass *out, sah_error *error);
void sah_pass_end(sah_pass *pass);
/* The same with the views of a forest, whose ends' states are kept where `end_sequence` [n_ends] says (NULL:
 * nowhere). */
sah_status sah_pass_over(const sah_model *model, const sah_forest *forest, const int32_t *end_sequence,
                         sah_pass *out, sah_error *error);

/* The rows that leave a layer. In the last one the prompts' last tokens alone go past keys and values. */
const sah_view *sah_pass_view(const sah_pass *pass, int layer);

/* How many of `rows` rows go through a chain of products at once, so that what they need stays in the cache. */
int64_t sah_pass_block(const sah_pass *pass, int64_t rows);

/* Rows in the host's memory become a view that the device reads; it stands as long as `rows` does, or until the views
 * are forgotten, whatever came of it. */
sah_status sah_view_lend(const sah_model *model, const sah_view *rows, sah_view *out, sah_error *error);
void sah_view_forget(const sah_model *model, sah_view *view);

/* x [n, d] = embeddings of tokens at their positions. */
sah_status sah_embed(const sah_model *model, const int32_t *tokens, const int32_t *positions, int64_t n,
                     float *x, sah_error *error);

/* y [rows, d] = the model's kind of norm of x, or x where there is none; y may be x. */
void sah_norm_rows(const sah_pass *pass, const float *x, const sah_norm *norm, int64_t rows, float *y);

/* y [rows, d] += a branch as the residual takes it: normed where `norm` stands behind it, and scaled. `branch`
 * may be changed. */
void sah_join_rows(const sah_pass *pass, const sah_norm *norm, int64_t rows, float *branch, float *y);
/* True where it takes it as it is, so that products may add to y at once. */
bool sah_joins_plainly(const sah_model *model, const sah_norm *norm);

/* x [rows, width] += bias, unless that is NULL. */
void sah_add_bias(const sah_pass *pass, const float *bias, int width, int64_t rows, float *x);

/* z = attention(q, k, v) of the rows of a view. */
sah_status sah_attend(const sah_pass *pass, const sah_attention *attention, const sah_view *view,
                      sah_error *error);

/* to [rows, width] = from. */
void sah_copy_rows(const sah_pass *pass, sah_rows from, int64_t rows, int64_t width, float *to);

/* hidden [rows, d] = final norm of x. */
void sah_final_norm(const sah_model *model, sah_workspace *workspace, const float *x, int64_t rows,
                    float *hidden);

#endif
