/* SPDX-License-Identifier: Apache-2.0 */
#include "attribution/shift.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stats/bootstrap.h"
#include "attribution/subspace.h"
#include "attribution/weighted_subspace.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/splitmix.h"

/* Seeds of what is drawn: resamples of either set, permutations. */
enum { STREAM_HARMFUL = 1, STREAM_HARMLESS = 2, STREAM_LABELS = 3 };

/* Some of the queries, each with a weight. */
typedef struct weighted {
    double *w; /* [total] square roots of the counts */
    sah_space space; /* of the unablated states */
} weighted;

struct sah_turning {
    size_t n, n_contrast;
    sah_shape shape; /* of all queries */
    sah_space space, space_contrast; /* of the unablated states of either set, as they are */
    float *m; /* [total, d] the unablated states, and their Gram matrix unless first columns are compared */
    double *gram;
    weighted *sets; /* resamples of harmful, then of harmless; then the two sets as they are, and those of
                       every permutation */
    size_t n_sets;
};

/* ---- The unablated states ------------------------------------------------------------------------------ */

static sah_shape shape_of_set(const sah_turning *t, bool contrast)
{
    sah_shape shape = t->shape;
    shape.n = contrast ? t->n_contrast : t->n;
    return shape;
}

/* The space of the states as they are; *found of its vectors are determined. */
static sah_status space(const float *m, const sah_shape *shape, const char *what, sah_space *out,
                        size_t *found, sah_error *error)
{
    if (shape->variant == SAH_VARIANT_SPECTRAL)
        return sah_first_column(m, shape->n, shape->d, what, out->u, found, error);
    sah_status status = sah_subspace(m, shape->n, shape->d, shape->rank, what, out->u, found, error);
    if (status == SAH_OK && shape->variant == SAH_VARIANT_RIGHT)
        sah_right_vectors(m, NULL, shape->n, shape->d, out->u, *found, out->v);
    return status;
}

/* Draws n of the queries [from, from + n) with replacement. */
static void resample(uint64_t *state, size_t from, size_t n, double *w)
{
    for (size_t i = 0; i < n; i++) w[from + sah_splitmix_below(state, n)] += 1;
    for (size_t i = 0; i < n; i++) w[from + i] = sqrt(w[from + i]);
}

/* Deals the labels out anew: a [total] gets n ones, b the rest. */
static void permute(uint64_t *state, size_t n, size_t total, size_t *order, double *a, double *b)
{
    for (size_t i = 0; i < total; i++) order[i] = i;
    for (size_t i = 0; i < total; i++) {
        size_t j = i + sah_splitmix_below(state, total - i), query = order[j];
        order[j] = order[i];
        order[i] = query;
        (i < n ? a : b)[query] = 1;
    }
}

static sah_status draw_weights(sah_turning *t, sah_error *error)
{
    uint64_t harmful = STREAM_HARMFUL, harmless = STREAM_HARMLESS, labels = STREAM_LABELS;
    size_t *order = sah_alloc(t->shape.n, sizeof *order);
    if (order == NULL) return sah_fail_memory(error, "resamples");
    for (size_t i = 0; i < SAH_TURN_RESAMPLES; i++) resample(&harmful, 0, t->n, t->sets[i].w);
    for (size_t i = 0; i < SAH_TURN_RESAMPLES && t->n_contrast > 0; i++)
        resample(&harmless, t->n, t->n_contrast, t->sets[SAH_TURN_RESAMPLES + i].w);
    size_t first = 2 * SAH_TURN_RESAMPLES;
    for (size_t q = 0; q < t->shape.n && t->n_contrast > 0; q++) t->sets[first + (q >= t->n)].w[q] = 1;
    for (size_t i = first + 2; i < t->n_sets; i += 2)
        permute(&labels, t->n, t->shape.n, order, t->sets[i].w, t->sets[i + 1].w);
    free(order);
    return SAH_OK;
}

/* The unablated spaces of every set of weights, to convergence. */
static sah_status solve_sets(sah_turning *t, sah_error *error)
{
    size_t total = t->shape.n;
    double *scratch = sah_alloc(sah_space_scratch(&t->shape), sizeof *scratch);
    sah_status status = scratch != NULL ? SAH_OK : sah_fail_memory(error, "resamples");
    const sah_states states = {t->m, t->gram};
    for (size_t s = 0; s < t->n_sets && status == SAH_OK; s++) {
        weighted *set = &t->sets[s];
        for (size_t q = 0; q < total; q++)
            for (size_t k = 0; k < t->shape.rank; k++)
                set->space.u[k * total + q] =
                    set->w[q] *
                    (q < t->n ? t->space.u[k * t->n + q] : t->space_contrast.u[k * t->n_contrast + q - t->n]);
        status = sah_space_solve(&t->shape, &states, set->w, NULL, &set->space, scratch, error);
    }
    free(scratch);
    return status;
}

static sah_status span(const sah_turning *t, bool contrast, const char *name, sah_space *out,
                       sah_error *error)
{
    size_t found = 0;
    char what[64];
    sah_shape shape = shape_of_set(t, contrast);
    snprintf(what, sizeof what, "%s query", name);
    sah_status status = space(t->m + (contrast ? t->n * shape.d : 0), &shape, what, out, &found, error);
    if (status == SAH_OK && found < shape.rank)
        status =
            sah_fail(error, SAH_FAILED,
                     "the hidden states of the %zu %s queries span %zu direction%s, fewer than the rank %zu; "
                     "take other queries or a lower rank",
                     shape.n, name, found, found == 1 ? "" : "s", shape.rank);
    return status;
}

static sah_status allocate(sah_turning *t, sah_error *error)
{
    size_t total = t->shape.n;
    sah_shape harmful = shape_of_set(t, false), harmless = shape_of_set(t, true);
    t->m = sah_alloc(total * t->shape.d, sizeof *t->m);
    if (t->shape.variant != SAH_VARIANT_SPECTRAL) t->gram = sah_alloc(total * total, sizeof *t->gram);
    t->sets = sah_alloc(t->n_sets, sizeof *t->sets);
    if (t->m == NULL || t->sets == NULL || (t->gram == NULL && t->shape.variant != SAH_VARIANT_SPECTRAL))
        return sah_fail_memory(error, "the unablated states");
    sah_status status = sah_space_new(&harmful, &t->space, error);
    if (status == SAH_OK && t->n_contrast > 0) status = sah_space_new(&harmless, &t->space_contrast, error);
    for (size_t i = 0; i < t->n_sets && status == SAH_OK; i++) {
        t->sets[i].w = sah_alloc(total, sizeof *t->sets[i].w);
        status = t->sets[i].w != NULL ? sah_space_new(&t->shape, &t->sets[i].space, error)
                                      : sah_fail_memory(error, "resamples");
    }
    return status;
}

sah_status sah_turning_new(const float *hidden, size_t n, size_t n_contrast, size_t d, size_t rank,
                           sah_variant variant, sah_turning **out, sah_error *error)
{
    sah_turning *t = sah_alloc(1, sizeof *t);
    *out = NULL;
    if (t == NULL) return sah_fail_memory(error, "the unablated states");
    *t = (sah_turning){.n = n, .n_contrast = n_contrast, .shape = {n + n_contrast, d, rank, variant}};
    t->n_sets = n_contrast > 0 ? 2 * (SAH_TURN_RESAMPLES + 1 + SAH_TURN_PERMUTATIONS) : SAH_TURN_RESAMPLES;
    sah_status status = allocate(t, error);
    if (status == SAH_OK) {
        memcpy(t->m, hidden, t->shape.n * d * sizeof *t->m);
        status = span(t, false, n_contrast > 0 ? "harmful" : "given", &t->space, error);
    }
    if (status == SAH_OK && n_contrast > 0) status = span(t, true, "harmless", &t->space_contrast, error);
    if (status == SAH_OK && t->gram != NULL) sah_gram_matrix(t->m, t->shape.n, d, t->gram);
    if (status == SAH_OK) status = draw_weights(t, error);
    if (status == SAH_OK) status = solve_sets(t, error);
    if (status != SAH_OK) {
        sah_turning_free(t);
        return status;
    }
    *out = t;
    return SAH_OK;
}

void sah_turning_free(sah_turning *t)
{
    if (t == NULL) return;
    for (size_t i = 0; i < t->n_sets && t->sets != NULL; i++) {
        free(t->sets[i].w);
        sah_space_free(&t->sets[i].space);
    }
    free(t->sets);
    sah_space_free(&t->space);
    sah_space_free(&t->space_contrast);
    free(t->m);
    free(t->gram);
    free(t);
}

/* ---- Ablated states ------------------------------------------------------------------------------------ */

/* Principal angles of one set of queries, [rank], and their sum. */
static sah_status shift_of(const sah_turning *t, const float *hidden, bool contrast, const char *what,
                           double *angles, double *sum, sah_error *error)
{
    size_t found = 0;
    sah_space now = {0};
    sah_shape shape = shape_of_set(t, contrast);
    const sah_space *before = contrast ? &t->space_contrast : &t->space;
    const float *m = hidden + (contrast ? t->n * shape.d : 0);
    bool right = shape.variant == SAH_VARIANT_RIGHT;
    sah_status status = sah_space_new(&shape, &now, error);
    if (status == SAH_OK) status = space(m, &shape, what, &now, &found, error);
    if (status == SAH_OK)
        status = sah_principal_angles(right ? before->v : before->u, shape.rank, right ? now.v : now.u, found,
                                      right ? shape.d : shape.n, angles, error);
    *sum = 0;
    for (size_t i = 0; i < shape.rank && status == SAH_OK; i++) *sum += angles[i];
    sah_space_free(&now);
    return status;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void interval(double values[SAH_TURN_RESAMPLES], double *low, double *high)
{
    qsort(values, SAH_TURN_RESAMPLES, sizeof *values, compare_doubles);
    *low = sah_percentile(values, SAH_TURN_RESAMPLES, 0.025);
    *high = sah_percentile(values, SAH_TURN_RESAMPLES, 0.975);
}

/* The difference of two shifts over its standard error, which is taken for no smaller than a millionth of
 * them and than rounding: a number in any case. */
static double statistic(const double shifts[2], const double squared_errors[2])
{
    double least = 1e-6 * (shifts[0] + shifts[1]) + SAH_SPACE_ROUNDING;
    double error = sqrt(squared_errors[0] + squared_errors[1] + least * least);
    return (shifts[0] - shifts[1]) / error;
}

static void summarise(const sah_turning *t, const double *shifts, const double *squared_errors,
                      sah_turn_evidence *out)
{
    double values[SAH_TURN_RESAMPLES];
    memcpy(values, shifts, sizeof values);
    interval(values, &out->shift_low, &out->shift_high);
    if (t->n_contrast == 0) return;
    for (size_t i = 0; i < SAH_TURN_RESAMPLES; i++) values[i] = shifts[i] - shifts[SAH_TURN_RESAMPLES + i];
    interval(values, &out->difference_low, &out->difference_high);
    shifts += 2 * SAH_TURN_RESAMPLES;
    squared_errors += 2 * SAH_TURN_RESAMPLES;
    for (size_t i = 0; i <= SAH_TURN_PERMUTATIONS; i++)
        out->statistics[i] = (float)statistic(shifts + 2 * i, squared_errors + 2 * i);
}

static sah_status measure_evidence(const sah_turning *t, const float *hidden, sah_turn_evidence *out,
                                   sah_error *error)
{
    size_t total = t->shape.n;
    sah_space now = {0};
    double *gram = t->gram != NULL ? sah_alloc(total * total, sizeof *gram) : NULL;
    double *scratch = sah_alloc(sah_space_scratch(&t->shape), sizeof *scratch);
    double *shifts = sah_alloc(t->n_sets, sizeof *shifts), *errors = sah_alloc(t->n_sets, sizeof *errors);
    sah_status status =
        scratch != NULL && shifts != NULL && errors != NULL && (gram != NULL || t->gram == NULL)
            ? SAH_OK
            : sah_fail_memory(error, "resamples");
    if (status == SAH_OK) status = sah_space_new(&t->shape, &now, error);
    if (status == SAH_OK && gram != NULL) sah_gram_matrix(hidden, total, t->shape.d, gram);
    const sah_states before = {t->m, t->gram}, after = {hidden, gram}, *const states[2] = {&before, &after};
    for (size_t i = 0; i < t->n_sets && status == SAH_OK; i++) {
        const weighted *set = &t->sets[i];
        const sah_space *const spaces[2] = {&set->space, &now};
        status = sah_space_solve(&t->shape, &after, set->w, &set->space, &now, scratch, error);
        if (status == SAH_OK) status = sah_space_shift(&t->shape, &set->space, &now, &shifts[i], error);
        if (status == SAH_OK && i >= 2 * SAH_TURN_RESAMPLES)
            errors[i] = sah_space_squared_error(&t->shape, states, set->w, spaces, shifts[i], scratch);
    }
    if (status == SAH_OK) summarise(t, shifts, errors, out);
    sah_space_free(&now);
    free(gram);
    free(scratch);
    free(shifts);
    free(errors);
    return status;
}

sah_status sah_turn_measure(const sah_turning *t, const float *hidden, const char *what, sah_turn *turn,
                            double *angles, sah_turn_evidence *evidence, sah_error *error)
{
    *turn = (sah_turn){0};
    sah_status status = shift_of(t, hidden, false, what, angles, &turn->shift, error);
    if (status == SAH_OK && t->n_contrast > 0) {
        double *other = sah_alloc(t->shape.rank, sizeof *other);
        status = other != NULL ? shift_of(t, hidden, true, what, other, &turn->shift_contrast, error)
                               : sah_fail_memory(error, "principal angles");
        free(other);
        turn->difference = turn->shift - turn->shift_contrast;
    }
    if (status == SAH_OK && evidence != NULL) status = measure_evidence(t, hidden, evidence, error);
    return status;
}
