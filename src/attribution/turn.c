#include "attribution/turn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attribution/bootstrap.h"
#include "attribution/subspace.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/simd.h"
#include "util/splitmix.h"

static const double DEGREES = 180.0 / 3.14159265358979323846;

/* Degrees: no turn below is more than rounding. */
static const double ROUNDING = 1e-9;

/* Seeds of what is drawn: resamples of either set, permutations. */
enum { STREAM_HARMFUL = 1, STREAM_HARMLESS = 2, STREAM_LABELS = 3 };

/* Some of the queries, each with a weight: resample i drew a query w² times. Its states are W M, whose left
 * vectors come from the Gram matrix W M Mᵀ W. */
typedef struct weighted {
    double *w; /* [total] square roots of the counts */
    double *u; /* [rank, total] the unablated left vectors */
} weighted;

struct sah_turning {
    size_t n, n_contrast, total, d, rank;
    sah_variant variant;
    double *u, *u_contrast; /* [rank, n], [rank, n_contrast] unablated spaces */
    double *gram; /* [total, total] of the unablated states; NULL with first columns */
    weighted *sets; /* resamples of harmful, then of harmless; then the two sets as they are, and those of
                       every permutation */
    size_t n_sets;
};

/* ---- One set of weights
 * ------------------------------------------------------------------------------------------- */

/* Orthonormal rows v [rank, n], in order (modified Gram-Schmidt); a row that depends on those before it
 * becomes 0. */
static void orthonormalise(double *v, size_t rank, size_t n)
{
    for (size_t i = 0; i < rank; i++) {
        double *row = v + i * n, square = 0;
        for (size_t j = 0; j < i; j++) {
            const double *other = v + j * n;
            double along = 0;
            for (size_t q = 0; q < n; q++) along += row[q] * other[q];
            for (size_t q = 0; q < n; q++) row[q] -= along * other[q];
        }
        for (size_t q = 0; q < n; q++) square += row[q] * row[q];
        double scale = square > 1e-300 ? 1.0 / sqrt(square) : 0.0;
        for (size_t q = 0; q < n; q++) row[q] *= scale;
    }
}

/* out [n] = W G W v, over the queries whose weight is not 0. */
SAH_SIMD static void apply(const double *gram, const double *w, const double *v, size_t n, double *weighed,
                           double *out)
{
    for (size_t q = 0; q < n; q++) weighed[q] = w[q] * v[q];
    for (size_t q = 0; q < n; q++) {
        double sum = 0;
        if (w[q] == 0) {
            out[q] = 0;
            continue;
        }
        const double *row = gram + q * n;
#pragma omp simd reduction(+ : sum)
        for (size_t p = 0; p < n; p++) sum += row[p] * weighed[p];
        out[q] = w[q] * sum;
    }
}

/* Sum of the angles in degrees between the spaces of u and v [rank, n]. */
static sah_status angle_between(const double *u, const double *v, size_t rank, size_t n, double *sum,
                                sah_error *error)
{
    if (rank > 1) {
        double *angles = sah_alloc(rank, sizeof *angles);
        sah_status status = angles ? sah_principal_angles(u, rank, v, rank, n, angles, error)
                                   : sah_fail_memory(error, "principal angles");
        *sum = 0;
        for (size_t i = 0; i < rank && status == SAH_OK; i++) *sum += angles[i];
        free(angles);
        return status;
    }
    double cosine = 0, square = 0;
    for (size_t q = 0; q < n; q++) cosine += u[q] * v[q];
    for (size_t q = 0; q < n; q++) square += (v[q] - cosine * u[q]) * (v[q] - cosine * u[q]);
    *sum = DEGREES * atan2(sqrt(square), fabs(cosine));
    return SAH_OK;
}

/* Left vectors of W M by subspace iteration from v [rank, n], which it replaces, until what is left to turn
 * is less than `tolerance` times their way so far (absolutely, in degrees, with `absolute`). When steps
 * shrink by a factor f, step / (1 - f) is left; the last two steps tell f, but early ones promise too much,
 * so it counts as 0.9 at least. scratch [(rank + 1) n]. */
static sah_status iterate(const double *gram, const double *w, size_t rank, size_t n, double tolerance,
                          bool absolute, const double *from, double *v, double *scratch, sah_error *error)
{
    enum { MOST = 500 };
    double *next = scratch, *weighed = scratch + rank * n, last = 0;
    for (int i = 0; i < MOST; i++) {
        double step, way = 1;
        for (size_t k = 0; k < rank; k++) apply(gram, w, v + k * n, n, weighed, next + k * n);
        orthonormalise(next, rank, n);
        sah_status status = angle_between(v, next, rank, n, &step, error);
        memcpy(v, next, rank * n * sizeof *v);
        if (status == SAH_OK && !absolute) status = angle_between(from, v, rank, n, &way, error);
        if (status != SAH_OK) return status;
        double left = step < last ? step * fmax(10, last / (last - step)) : INFINITY;
        if (left <= tolerance * way || step <= 1e-3 * ROUNDING) break;
        last = step;
    }
    return SAH_OK;
}

/* Takes the part along the rows of basis [rank, n] out of z [n]. */
static void take_out(const double *basis, size_t rank, size_t n, double *z)
{
    for (size_t k = 0; k < rank; k++) {
        const double *row = basis + k * n;
        double along = 0;
        for (size_t q = 0; q < n; q++) along += z[q] * row[q];
        for (size_t q = 0; q < n; q++) z[q] -= along * row[q];
    }
}

/* Adds to changes [n] how vector i of `basis`, turning as the weight of query q grows by a relative step,
 * changes half the sum of squared cosines with `other`. To first order an eigenvector u of A = W G W with
 * eigenvalue c turns by u_q (c - A)^+ (c + A) e_q, and (c + A) / (c - A) = 1 + 2 (A / c + A² / c² + ...).
 * Without a Gram matrix (first columns) only the 1 is left. scratch [4 n]. */
static void add_changes(const double *gram, const double *w, const double *basis, const double *other,
                        size_t i, size_t rank, size_t n, double *scratch, double *changes)
{
    enum { MOST = 500 };
    const double *u = basis + i * n;
    double *z = scratch, *sum = z + n, *next = sum + n, *weighed = next + n, value = 0;
    memset(z, 0, n * sizeof *z);
    for (size_t k = 0; k < rank; k++) {
        const double *v = other + k * n;
        double along = 0;
        for (size_t q = 0; q < n; q++) along += u[q] * v[q];
        for (size_t q = 0; q < n; q++) z[q] += along * v[q];
    }
    take_out(basis, rank, n, z);
    memcpy(sum, z, n * sizeof *sum);
    if (gram) {
        apply(gram, w, u, n, weighed, next);
        for (size_t q = 0; q < n; q++) value += u[q] * next[q];
    }
    for (int step = 0; step < MOST && value > 0; step++) {
        double square = 0, whole = 0;
        apply(gram, w, z, n, weighed, next);
        for (size_t q = 0; q < n; q++) z[q] = next[q] / value;
        take_out(basis, rank, n, z);
        for (size_t q = 0; q < n; q++) {
            sum[q] += 2 * z[q];
            square += z[q] * z[q];
            whole += sum[q] * sum[q];
        }
        if (square <= 1e-12 * whole)
            break; /* what u and v change cancels, all but a part as small as the shift */
    }
    for (size_t q = 0; q < n; q++) changes[q] += u[q] * sum[q];
}

/* The squared standard error of a set's shift by the infinitesimal jackknife: the sum over queries of the
 * squared change of S, the sum of squared sines, with the query's weight; the shift changes by as large a
 * part as half of S does. grams: of the unablated and of the ablated states; v [rank, n] spans the latter.
 * scratch [5 n]. */
static double squared_error(const double *const grams[2], const weighted *set, const double *v, size_t rank,
                            size_t n, double shift, double *scratch)
{
    double sines = 0, squares = 0, drawn = 0, *changes = scratch;
    memset(changes, 0, n * sizeof *changes);
    for (size_t i = 0; i < rank; i++) {
        add_changes(grams[0], set->w, set->u, v, i, rank, n, scratch + n, changes);
        add_changes(grams[1], set->w, v, set->u, i, rank, n, scratch + n, changes);
    }
    for (size_t q = 0; q < n; q++) {
        squares += changes[q] * changes[q];
        drawn += set->w[q] * set->w[q];
    }
    for (size_t i = 0; i < rank; i++) {
        memcpy(changes, v + i * n, n * sizeof *changes);
        take_out(set->u, rank, n, changes);
        for (size_t q = 0; q < n; q++) sines += changes[q] * changes[q];
    }
    if (!(sines > 0)) return 0;
    /* More than the shift itself is rounding: no shift to speak of. */
    return shift * shift * fmin(1, squares / (4 * sines * sines) * drawn / (drawn - 1));
}

/* The variant by first columns: v [n] = W times the first column, normalised. */
static void first_column(const float *hidden, const double *w, size_t n, size_t d, double *v)
{
    for (size_t q = 0; q < n; q++) v[q] = w[q] * (double)hidden[q * d];
    orthonormalise(v, 1, n);
}

/* ---- The unablated states
 * ------------------------------------------------------------------------------------------- */

static sah_status space(const float *m, size_t n, size_t d, size_t rank, sah_variant variant,
                        const char *what, double *u, size_t *found, sah_error *error)
{
    return variant == SAH_VARIANT_SPECTRAL ? sah_first_column(m, n, d, what, u, found, error)
                                           : sah_subspace(m, n, d, rank, what, u, found, error);
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
    size_t *order = sah_alloc(t->total, sizeof *order);
    if (!order) return sah_fail_memory(error, "resamples");
    for (size_t i = 0; i < SAH_TURN_RESAMPLES; i++) resample(&harmful, 0, t->n, t->sets[i].w);
    for (size_t i = 0; i < SAH_TURN_RESAMPLES && t->n_contrast > 0; i++)
        resample(&harmless, t->n, t->n_contrast, t->sets[SAH_TURN_RESAMPLES + i].w);
    size_t first = 2 * SAH_TURN_RESAMPLES;
    for (size_t q = 0; q < t->total && t->n_contrast > 0; q++) t->sets[first + (q >= t->n)].w[q] = 1;
    for (size_t i = first + 2; i < t->n_sets; i += 2)
        permute(&labels, t->n, t->total, order, t->sets[i].w, t->sets[i + 1].w);
    free(order);
    return SAH_OK;
}

/* The unablated left vectors of every set of weights, to convergence. */
static sah_status solve_sets(sah_turning *t, const float *hidden, sah_error *error)
{
    size_t n = t->total, rank = t->rank;
    bool columns = t->variant == SAH_VARIANT_SPECTRAL;
    double *scratch = sah_alloc((rank + 1) * n, sizeof *scratch);
    t->gram = columns ? NULL : sah_alloc(n * n, sizeof *t->gram);
    sah_status status = scratch && (t->gram || columns) ? SAH_OK : sah_fail_memory(error, "resamples");
    if (status == SAH_OK && !columns) sah_gram_matrix(hidden, n, t->d, t->gram);
    for (size_t s = 0; s < t->n_sets && status == SAH_OK; s++) {
        weighted *set = &t->sets[s];
        if (columns) {
            first_column(hidden, set->w, n, t->d, set->u);
            continue;
        }
        for (size_t q = 0; q < n; q++)
            for (size_t k = 0; k < rank; k++)
                set->u[k * n + q] =
                    set->w[q] * (q < t->n ? t->u[k * t->n + q] : t->u_contrast[k * t->n_contrast + q - t->n]);
        orthonormalise(set->u, rank, n);
        status = iterate(t->gram, set->w, rank, n, 1e-3 * ROUNDING, true, NULL, set->u, scratch, error);
    }
    free(scratch);
    return status;
}

static sah_status span(const sah_turning *t, const float *m, size_t n, const char *name, double *u,
                       sah_error *error)
{
    size_t found = 0;
    char what[64];
    snprintf(what, sizeof what, "%s query", name);
    sah_status status = space(m, n, t->d, t->rank, t->variant, what, u, &found, error);
    if (status == SAH_OK && found < t->rank)
        status =
            sah_fail(error, SAH_FAILED,
                     "the hidden states of the %zu %s queries span %zu direction%s, fewer than the rank %zu; "
                     "take other queries or lower --rank",
                     n, name, found, found == 1 ? "" : "s", t->rank);
    return status;
}

sah_status sah_turning_new(const float *hidden, size_t n, size_t n_contrast, size_t d, size_t rank,
                           sah_variant variant, sah_turning **out, sah_error *error)
{
    sah_turning *t = sah_alloc(1, sizeof *t);
    *out = NULL;
    if (!t) return sah_fail_memory(error, "the unablated states");
    *t = (sah_turning){.n = n, .n_contrast = n_contrast, .total = n + n_contrast, .d = d, .rank = rank};
    t->variant = variant;
    t->n_sets = n_contrast > 0 ? 2 * (SAH_TURN_RESAMPLES + 1 + SAH_TURN_PERMUTATIONS) : SAH_TURN_RESAMPLES;
    sah_status status = SAH_OK;
    t->u = sah_alloc(rank * n, sizeof *t->u);
    t->u_contrast = sah_alloc(rank * n_contrast + 1, sizeof *t->u_contrast);
    t->sets = sah_alloc(t->n_sets, sizeof *t->sets);
    if (!t->u || !t->u_contrast || !t->sets) status = sah_fail_memory(error, "the unablated states");
    for (size_t i = 0; i < t->n_sets && status == SAH_OK; i++) {
        t->sets[i].w = sah_alloc(t->total, sizeof *t->sets[i].w);
        t->sets[i].u = sah_alloc(rank * t->total, sizeof *t->sets[i].u);
        if (!t->sets[i].w || !t->sets[i].u) status = sah_fail_memory(error, "resamples");
    }
    if (status == SAH_OK) status = span(t, hidden, n, n_contrast > 0 ? "harmful" : "given", t->u, error);
    if (status == SAH_OK && n_contrast > 0)
        status = span(t, hidden + n * d, n_contrast, "harmless", t->u_contrast, error);
    if (status == SAH_OK) status = draw_weights(t, error);
    if (status == SAH_OK) status = solve_sets(t, hidden, error);
    if (status != SAH_OK) {
        sah_turning_free(t);
        return status;
    }
    *out = t;
    return SAH_OK;
}

void sah_turning_free(sah_turning *t)
{
    if (!t) return;
    for (size_t i = 0; i < t->n_sets && t->sets; i++) {
        free(t->sets[i].w);
        free(t->sets[i].u);
    }
    free(t->sets);
    free(t->u);
    free(t->u_contrast);
    free(t->gram);
    free(t);
}

/* ---- Ablated states
 * ------------------------------------------------------------------------------------------- */

/* Principal angles of one set of queries, [rank], and their sum. */
static sah_status shift_of(const sah_turning *t, const float *m, size_t n, const double *u, const char *what,
                           double *angles, double *sum, sah_error *error)
{
    size_t found = 0;
    double *v = sah_alloc(t->rank * n, sizeof *v);
    sah_status status = v ? SAH_OK : sah_fail_memory(error, "principal angles");
    if (status == SAH_OK) status = space(m, n, t->d, t->rank, t->variant, what, v, &found, error);
    if (status == SAH_OK) status = sah_principal_angles(u, t->rank, v, found, n, angles, error);
    *sum = 0;
    for (size_t i = 0; i < t->rank && status == SAH_OK; i++) *sum += angles[i];
    free(v);
    return status;
}

/* A tenth of a per cent of a resample's shift is far below what an interval means. */
static const double RESAMPLE_TOLERANCE = 1e-3;

/* The shift under one set of weights. v [rank, total], scratch [(rank + 1) total]. */
static sah_status set_shift(const sah_turning *t, const weighted *set, const float *hidden,
                            const double *gram, double *v, double *scratch, double *shift, sah_error *error)
{
    size_t n = t->total;
    sah_status status = SAH_OK;
    if (t->variant == SAH_VARIANT_SPECTRAL) {
        first_column(hidden, set->w, n, t->d, v);
    } else {
        memcpy(v, set->u, t->rank * n * sizeof *v);
        status = iterate(gram, set->w, t->rank, n, RESAMPLE_TOLERANCE, false, set->u, v, scratch, error);
    }
    return status == SAH_OK ? angle_between(set->u, v, t->rank, n, shift, error) : status;
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
    double least = 1e-6 * (shifts[0] + shifts[1]) + ROUNDING;
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
    size_t n = t->total, rank = t->rank;
    double *gram = sah_alloc(n * n, sizeof *gram), *v = sah_alloc(rank * n, sizeof *v);
    double *scratch = sah_alloc((rank + 5) * n, sizeof *scratch);
    const double *grams[2] = {t->gram, t->gram ? gram : NULL};
    double *shifts = sah_alloc(t->n_sets, sizeof *shifts), *errors = sah_alloc(t->n_sets, sizeof *errors);
    sah_status status =
        gram && v && scratch && shifts && errors ? SAH_OK : sah_fail_memory(error, "resamples");
    if (status == SAH_OK && t->variant == SAH_VARIANT_SUBSPACE) sah_gram_matrix(hidden, n, t->d, gram);
    for (size_t i = 0; i < t->n_sets && status == SAH_OK; i++) {
        status = set_shift(t, &t->sets[i], hidden, gram, v, scratch, &shifts[i], error);
        if (status == SAH_OK && i >= 2 * SAH_TURN_RESAMPLES)
            errors[i] = squared_error(grams, &t->sets[i], v, rank, n, shifts[i], scratch);
    }
    if (status == SAH_OK) summarise(t, shifts, errors, out);
    free(gram);
    free(v);
    free(scratch);
    free(shifts);
    free(errors);
    return status;
}

sah_status sah_turn_measure(const sah_turning *t, const float *hidden, const char *what, sah_turn *turn,
                            double *angles, sah_turn_evidence *evidence, sah_error *error)
{
    *turn = (sah_turn){0};
    sah_status status = shift_of(t, hidden, t->n, t->u, what, angles, &turn->shift, error);
    if (status == SAH_OK && t->n_contrast > 0) {
        double *other = sah_alloc(t->rank, sizeof *other);
        status = other ? shift_of(t, hidden + t->n * t->d, t->n_contrast, t->u_contrast, what, other,
                                  &turn->shift_contrast, error)
                       : sah_fail_memory(error, "principal angles");
        free(other);
        turn->difference = turn->shift - turn->shift_contrast;
    }
    if (status == SAH_OK && evidence) status = measure_evidence(t, hidden, evidence, error);
    return status;
}
