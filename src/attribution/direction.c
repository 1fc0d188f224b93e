/* SPDX-License-Identifier: Apache-2.0 */
/* One observed forward pass over both sets, then linear algebra in float64. */
#include "attribution/direction.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/bootstrap.h"
#include "engine/cpu/elementwise.h"
#include "engine/forward.h"
#include "util/alloc.h"
#include "util/error.h"

enum { HARMFUL = 0, HARMLESS = 1, N_SETS = 2 };

/* Means that differ by less than this share of their length are the same mean, summed in another order. */
static const double SAME = 1e-12;

typedef struct direction {
    const sah_model *model;
    const sah_forest *forest;
    size_t n[N_SETS]; /* queries; the harmful ones are the forest's first prompts */
    size_t L, H, D, d; /* H and D of the layer at hand */
    size_t width, most; /* of rows of z, and heads of a layer: the largest */
    double *residual[N_SETS]; /* [L + 1, d] means: row 0 of the embeddings, row l + 1 behind layer l */
    float *z; /* [L, n_ends, width], each row times what comes through of its head's writes */
} direction;

/* What one layer's heads are told by. */
typedef struct layer_parts {
    double *unit; /* [d] the direction, of length 1 */
    double length; /* of the direction before */
    double *mean_z[N_SETS]; /* [H D] */
    double *onto; /* [H D] Woᵀ unit: z · onto is the projection of z Woᵀ */
    double *along, *along_difference; /* [H] unit · mean write (harmful); of the sets' difference */
    double *square, *square_difference; /* [H] squared lengths of the same writes */
    double *values[N_SETS]; /* [n] projections of one head, one per query */
    double *means[N_SETS]; /* [SAH_RESAMPLES] of those */
    float *row; /* [H D] of Wo */
    float *behind; /* [d] weights of the norm behind it */
} layer_parts;

/* ---- The pass ------------------------------------------------------------------------------------------ */

static void see(void *ctx, sah_place place, int layer, const double *rows)
{
    direction *a = ctx;
    size_t n_ends = (size_t)a->forest->n_ends;
    const sah_layer_kind kind = sah_config_layer(&a->model->config, layer < (int)a->L ? layer : 0);
    size_t HD = (size_t)kind.n_heads * (size_t)kind.head_dim;
    float *z = a->z + (size_t)layer * n_ends * a->width;
    if (place == SAH_PLACE_HEADS) {
        for (size_t i = 0; i < n_ends; i++)
            for (size_t j = 0; j < HD; j++) z[i * a->width + j] = (float)rows[i * HD + j];
    } else if (place == SAH_PLACE_FACTOR) {
        for (size_t i = 0; i < n_ends; i++)
            for (size_t j = 0; j < HD; j++) z[i * a->width + j] *= (float)rows[i];
    } else if (place == SAH_PLACE_INPUT) {
        for (size_t i = 0; i < a->n[HARMFUL] + a->n[HARMLESS]; i++) {
            int set = i < a->n[HARMFUL] ? HARMFUL : HARMLESS;
            double *mean = a->residual[set] + (size_t)layer * a->d;
            const double *row = rows + (size_t)a->forest->end_of[i] * a->d;
            for (size_t j = 0; j < a->d; j++) mean[j] += row[j] / (double)a->n[set];
        }
    }
}

/* The direction [d] at a row of the residual means, not normalised. */
static void direction_at(const direction *a, size_t row, double *out)
{
    for (size_t j = 0; j < a->d; j++)
        out[j] = a->residual[HARMFUL][row * a->d + j] - a->residual[HARMLESS][row * a->d + j];
}

static double length_of(const double *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

/* The unit direction behind `layer` and the length it had. */
static sah_status unit_behind(const direction *a, size_t layer, double *unit, double *length,
                              sah_error *error)
{
    direction_at(a, layer + 1, unit);
    *length = length_of(unit, a->d);
    double size = length_of(a->residual[HARMFUL] + (layer + 1) * a->d, a->d);
    if (!isfinite(*length) || !isfinite(size))
        return sah_fail(error, SAH_FAILED,
                        "the residual after layer %zu is not finite; the checkpoint may be damaged", layer);
    if (*length <= SAME * size)
        return sah_fail(error, SAH_FAILED,
                        "the harmful and the harmless queries have the same mean residual after layer %zu: "
                        "there is no direction between them",
                        layer);
    for (size_t j = 0; j < a->d; j++) unit[j] /= *length;
    return SAH_OK;
}

/* ---- The heads of a layer ------------------------------------------------------------------------------ */

static void mean_outputs(const direction *a, size_t layer, layer_parts *p)
{
    size_t HD = a->H * a->D;
    const float *z = a->z + layer * (size_t)a->forest->n_ends * a->width;
    for (int set = 0; set < N_SETS; set++) memset(p->mean_z[set], 0, HD * sizeof(double));
    for (size_t i = 0; i < a->n[HARMFUL] + a->n[HARMLESS]; i++) {
        int set = i < a->n[HARMFUL] ? HARMFUL : HARMLESS;
        const float *row = z + (size_t)a->forest->end_of[i] * a->width;
        for (size_t j = 0; j < HD; j++) p->mean_z[set][j] += (double)row[j] / (double)a->n[set];
    }
}

/* One walk over Wo [d, H D], row by row: what each head writes is a slice of its columns times z, times the
 * weights of the norm that may stand behind. */
static void read_output_weights(const direction *a, size_t layer, layer_parts *p)
{
    const sah_matrix *wo = &a->model->checkpoint->layers[layer].o;
    const sah_tensor *norm = a->model->checkpoint->layers[layer].attention_out_norm;
    size_t D = a->D;
    float *row = p->row;
    if (norm != NULL) sah_vector_read(norm, p->behind);
    memset(p->onto, 0, a->H * D * sizeof(double));
    for (size_t h = 0; h < a->H; h++)
        p->along[h] = p->along_difference[h] = p->square[h] = p->square_difference[h] = 0.0;
    for (size_t j = 0; j < a->d; j++) {
        sah_matrix_read(wo, j, 1, row);
        if (norm != NULL) sah_vector_scale(row, (int)(a->H * D), p->behind[j]);
        for (size_t h = 0; h < a->H; h++) {
            double write[N_SETS] = {0.0, 0.0};
            for (size_t i = h * D; i < (h + 1) * D; i++) {
                write[HARMFUL] += (double)row[i] * p->mean_z[HARMFUL][i];
                write[HARMLESS] += (double)row[i] * p->mean_z[HARMLESS][i];
                p->onto[i] += (double)row[i] * p->unit[j];
            }
            double difference = write[HARMFUL] - write[HARMLESS];
            p->along[h] += write[HARMFUL] * p->unit[j];
            p->along_difference[h] += difference * p->unit[j];
            p->square[h] += write[HARMFUL] * write[HARMFUL];
            p->square_difference[h] += difference * difference;
        }
    }
    sah_checkpoint_release(a->model->checkpoint, wo->tensor);
}

/* Projections of what head h writes, one per query of a set; returns their mean. */
static double project(const direction *a, size_t layer, const layer_parts *p, size_t h, int set, double *out)
{
    size_t first = set == HARMFUL ? 0 : a->n[HARMFUL];
    const float *z = a->z + layer * (size_t)a->forest->n_ends * a->width + h * a->D;
    const double *onto = p->onto + h * a->D;
    double sum = 0.0;
    for (size_t i = 0; i < a->n[set]; i++) {
        const float *row = z + (size_t)a->forest->end_of[first + i] * a->width;
        out[i] = 0.0;
        for (size_t j = 0; j < a->D; j++) out[i] += (double)row[j] * onto[j];
        sum += out[i];
    }
    return sum / (double)a->n[set];
}

/* Cosine from a projection and a squared length; a head that writes nothing has no direction: 0. */
static double cosine_of(double along, double square)
{
    return square > 0.0 ? along / sqrt(square) : 0.0;
}

/* Everything about head h; `plans` are the sets' resamples. */
static sah_status take_head(const direction *a, size_t layer, size_t h, const layer_parts *p,
                            const sah_bootstrap plans[N_SETS], sah_head_part *out, sah_error *error)
{
    double mean[N_SETS];
    for (int set = 0; set < N_SETS; set++) {
        mean[set] = project(a, layer, p, h, set, p->values[set]);
        if (!isfinite(mean[set]))
            return sah_fail(error, SAH_FAILED,
                            "the output of head %zu-%zu is not finite; the checkpoint may be damaged", layer,
                            h);
        sah_bootstrap_means(&plans[set], p->values[set], p->means[set]);
    }
    double contribution = mean[HARMFUL] - mean[HARMLESS];
    *out = (sah_head_part){
        .harmful = mean[HARMFUL],
        .harmless = mean[HARMLESS],
        .contribution = contribution,
        .share = contribution / p->length,
        .cosine = cosine_of(p->along[h], p->square[h]),
        .cosine_difference = cosine_of(p->along_difference[h], p->square_difference[h]),
    };
    for (size_t r = 0; r < SAH_RESAMPLES; r++) p->means[HARMFUL][r] -= p->means[HARMLESS][r];
    sah_bootstrap_interval(p->means[HARMFUL], &out->low, &out->high);
    return SAH_OK;
}

/* ---- All layers ---------------------------------------------------------------------------------------- */

static sah_status parts_new(const direction *a, layer_parts *p, sah_error *error)
{
    size_t HD = a->width;
    bool good = ((p->unit = sah_alloc(a->d, sizeof(double))) != NULL) &&
                ((p->onto = sah_alloc(HD, sizeof(double))) != NULL) &&
                ((p->along = sah_alloc(4 * a->most, sizeof(double))) != NULL) &&
                ((p->row = sah_alloc(HD, sizeof(float))) != NULL) &&
                ((p->behind = sah_alloc(a->d, sizeof(float))) != NULL);
    for (int set = 0; set < N_SETS && good; set++)
        good = ((p->mean_z[set] = sah_alloc(HD, sizeof(double))) != NULL) &&
               ((p->values[set] = sah_alloc(a->n[set], sizeof(double))) != NULL) &&
               ((p->means[set] = sah_alloc(SAH_RESAMPLES, sizeof(double))) != NULL);
    if (!good) return sah_fail_memory(error, "the heads of a layer");
    p->along_difference = p->along + a->most;
    p->square = p->along + 2 * a->most;
    p->square_difference = p->along + 3 * a->most;
    return SAH_OK;
}

static void parts_free(layer_parts *p)
{
    for (int set = 0; set < N_SETS; set++) {
        free(p->mean_z[set]);
        free(p->values[set]);
        free(p->means[set]);
    }
    free(p->unit);
    free(p->onto);
    free(p->along);
    free(p->row);
    free(p->behind);
}

static sah_status take_layers(direction *a, int fixed_layer, sah_head_part *out, sah_error *error)
{
    sah_bootstrap plans[N_SETS] = {{0}};
    layer_parts p = {0};
    sah_status status = parts_new(a, &p, error);
    for (int set = 0; set < N_SETS && status == SAH_OK; set++)
        status = sah_bootstrap_new(a->n[set], (uint64_t)set + 1, &plans[set], error);
    for (size_t l = 0; l < a->L && status == SAH_OK; l++) {
        status = unit_behind(a, fixed_layer >= 0 ? (size_t)fixed_layer : l, p.unit, &p.length, error);
        if (status != SAH_OK) break;
        const sah_layer_kind kind = sah_config_layer(&a->model->config, (int)l);
        a->H = (size_t)kind.n_heads;
        a->D = (size_t)kind.head_dim;
        mean_outputs(a, l, &p);
        read_output_weights(a, l, &p);
        for (size_t h = 0; h < a->H && status == SAH_OK; h++)
            status = take_head(a, l, h, &p, plans, &out[l * a->most + h], error);
    }
    for (int set = 0; set < N_SETS; set++) sah_bootstrap_free(&plans[set]);
    parts_free(&p);
    return status;
}

static sah_status make_memory(direction *a, sah_error *error)
{
    size_t n_z;
    if (sah_mul(a->L * a->width, (size_t)a->forest->n_ends, &n_z)) a->z = sah_alloc(n_z, sizeof *a->z);
    for (int set = 0; set < N_SETS; set++)
        a->residual[set] = sah_alloc((a->L + 1) * a->d, sizeof *a->residual[set]);
    if (a->z != NULL && a->residual[HARMFUL] != NULL && a->residual[HARMLESS] != NULL) return SAH_OK;
    return sah_fail_memory(error, "the states of all last tokens");
}

sah_status sah_direction_parts(const sah_model *model, const sah_forest *forest, size_t n_harmful, int layer,
                               sah_head_part *parts, double *directions, sah_error *error)
{
    const sah_config *c = &model->config;
    direction a = {
        .model = model,
        .forest = forest,
        .n = {n_harmful, (size_t)forest->n_prompts - n_harmful},
        .L = (size_t)c->n_layers,
        .width = (size_t)c->n_heads * (size_t)c->head_dim,
        .most = (size_t)c->n_heads,
        .d = (size_t)c->d_model,
    };
    const sah_observer observer = {see, &a};
    sah_status status = make_memory(&a, error);
    if (status == SAH_OK) status = sah_forward_observe(model, forest, NULL, 0, &observer, error);
    if (status == SAH_OK) status = take_layers(&a, layer, parts, error);
    for (size_t row = 0; row <= a.L && status == SAH_OK; row++) direction_at(&a, row, directions + row * a.d);
    for (int set = 0; set < N_SETS; set++) free(a.residual[set]);
    free(a.z);
    return status;
}
