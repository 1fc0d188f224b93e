/* SPDX-License-Identifier: Apache-2.0 */
/* A pass: what all its layers share, and the rows that they work on. */
#ifndef SAH_ENGINE_PASS_H
#define SAH_ENGINE_PASS_H

#include "engine/model.h"
#include "engine/observer.h"

/* Rows of one copy of a forest: all its nodes, or the ends alone. Several copies may be stacked; then row r
 * is row r % n of its copy. */
typedef struct sah_view {
    int64_t n;
    const int32_t *position; /* [n] */
    const int32_t
        *source; /* [n] the donors' row that stands in for a row of edited heads (donors.h), -1: none;
                              NULL: none at all */
    const int32_t *node; /* [n] the node that a row is; NULL: row r is node r */
    const sah_segment *segments; /* where attention finds the rows, and what they see */
    int32_t n_segments;
    bool single; /* every segment is one row */
    const int32_t *given; /* [n] which row of the pass's `given` is the row's token's; NULL: row r is row r */
    const int32_t *sequence; /* [n] where a row's state is kept of layers whose states run along a path
                                (delta.h), or NULL */
} sah_view;

/* Rotary angles of one of the model's settings, [positions, dims / 2] in one allocation at cosine. */
typedef struct sah_angles {
    float *cosine, *sine;
} sah_angles;

struct sah_donor;

typedef struct sah_pass {
    const sah_model *model;
    sah_workspace *workspace; /* of the calling thread; everything else may be shared */
    sah_angles angles[SAH_MAX_ROPES];
    sah_view nodes, ends;
    sah_view
        kept; /* n, positions and sources of the rows of keys that stay (sah_states.kept), where some do */
    const struct sah_donor *const
        *donors; /* [n_layers] what stands in for heads that the plans edit, NULL: nothing
                                              in that layer; or NULL */
    float
        *given; /* [nodes, layers * P] what layers are given of each token (inputs.h), or NULL; freed with the
                     angles */
    const sah_observer *observer; /* or NULL: nobody looks */
} sah_pass;

/* A pass over positions 0 .. n_positions - 1, without views and workspace; sah_pass_end() frees its angles,
 * whatever came of it. More positions than the model has are refused. */
sah_status sah_pass_begin(const sah_model *model, int64_t n_positions, sah_pass *out, sah_error *error);
void sah_pass_end(sah_pass *pass);
/* The same with the views of a forest. */
sah_status sah_pass_over(const sah_model *model, const sah_forest *forest, sah_pass *out, sah_error *error);

/* The rows that leave a layer. In the last one the prompts' last tokens alone go past keys and values. */
const sah_view *sah_pass_view(const sah_pass *pass, int layer);

/* How many of `rows` rows go through a chain of products at once, so that what they need stays in the cache. */
int64_t sah_pass_block(const sah_pass *pass, int64_t rows);

/* x [n, d] = embeddings of tokens at their positions. */
void sah_embed(const sah_model *model, const int32_t *tokens, const int32_t *positions, int64_t n, float *x);

/* y [rows, d] = the model's kind of norm of x, or x where there is none; y may be x. */
void sah_norm_rows(const sah_pass *pass, const float *x, const sah_norm *norm, int64_t rows, float *y);

/* y [rows, d] += a branch as the residual takes it: normed where `norm` stands behind it, and scaled. `branch`
 * may be changed. */
void sah_join_rows(const sah_pass *pass, const sah_norm *norm, int64_t rows, float *branch, float *y);
/* True where it takes it as it is, so that products may add to y at once. */
bool sah_joins_plainly(const sah_model *model, const sah_norm *norm);

/* x [rows, width] += bias, unless that is NULL. */
void sah_add_bias(const sah_pass *pass, const float *bias, int width, int64_t rows, float *x);

/* hidden [rows, d] = final norm of x, in the calling thread alone. */
void sah_final_norm(const sah_model *model, const float *x, int64_t rows, float *hidden);

#endif
