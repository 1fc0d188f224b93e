/* SPDX-License-Identifier: Apache-2.0 */
#include "attribution/weighted_subspace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attribution/subspace.h"
#include "stats/singular.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/simd.h"

static const double DEGREES = 180.0 / 3.14159265358979323846;

static bool right(const sah_shape *shape)
{
    return shape->variant == SAH_VARIANT_RIGHT;
}

/* What is compared, [rank, width]. */
static const double *compared(const sah_shape *shape, const sah_space *space)
{
    return right(shape) ? space->v : space->u;
}

static size_t width(const sah_shape *shape)
{
    return right(shape) ? shape->d : shape->n;
}

sah_status sah_space_new(const sah_shape *shape, sah_space *out, sah_error *error)
{
    *out = (sah_space){.u = sah_alloc(shape->rank * shape->n, sizeof *out->u)};
    if (right(shape)) out->v = sah_alloc(shape->rank * shape->d, sizeof *out->v);
    return out->u != NULL && (out->v != NULL || !right(shape)) ? SAH_OK
                                                               : sah_fail_memory(error, "singular vectors");
}

void sah_space_free(sah_space *space)
{
    free(space->u);
    free(space->v);
}

size_t sah_space_scratch(const sah_shape *shape)
{
    return (shape->rank + 5) * shape->n + shape->d;
}

/* ---- Singular vectors ---------------------------------------------------------------------------------- */

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
        sah_status status = angles != NULL ? sah_principal_angles(u, rank, v, rank, n, angles, error)
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

/* Left vectors of W M by subspace iteration from u [rank, n], which it replaces, until what is left to turn
 * is less than `tolerance` times their way from `from` (absolutely, in degrees, without). When steps
 * shrink by a factor f, step / (1 - f) is left; the last two steps tell f, but early ones promise too much,
 * so it counts as 0.9 at least. scratch [(rank + 1) n]. */
static sah_status iterate(const double *gram, const double *w, size_t rank, size_t n, double tolerance,
                          const double *from, double *u, double *scratch, sah_error *error)
{
    enum { MOST = 500 };
    double *next = scratch, *weighed = scratch + rank * n, last = 0;
    for (int i = 0; i < MOST; i++) {
        double step, way = 1;
        for (size_t k = 0; k < rank; k++) apply(gram, w, u + k * n, n, weighed, next + k * n);
        sah_orthonormalise(next, rank, n);
        sah_status status = angle_between(u, next, rank, n, &step, error);
        memcpy(u, next, rank * n * sizeof *u);
        if (status == SAH_OK && from != NULL) status = angle_between(from, u, rank, n, &way, error);
        if (status != SAH_OK) return status;
        double left = step < last ? step * fmax(10, last / (last - step)) : INFINITY;
        if (left <= tolerance * way || step <= 1e-3 * SAH_SPACE_ROUNDING) break;
        last = step;
    }
    return SAH_OK;
}

sah_status sah_space_solve(const sah_shape *shape, const sah_states *states, const double *w,
                           const sah_space *from, sah_space *space, double *scratch, sah_error *error)
{
    size_t n = shape->n, rank = shape->rank;
    if (shape->variant == SAH_VARIANT_SPECTRAL) {
        for (size_t q = 0; q < n; q++) space->u[q] = w[q] * (double)states->m[q * shape->d];
        sah_orthonormalise(space->u, 1, n);
        return SAH_OK;
    }
    if (from != NULL) memcpy(space->u, from->u, rank * n * sizeof *space->u);
    sah_orthonormalise(space->u, rank, n);
    sah_status status = iterate(states->gram, w, rank, n, from != NULL ? 1e-3 : 1e-3 * SAH_SPACE_ROUNDING,
                                from != NULL ? from->u : NULL, space->u, scratch, error);
    if (status == SAH_OK && right(shape))
        sah_right_vectors(states->m, w, n, shape->d, space->u, rank, space->v);
    return status;
}

sah_status sah_space_shift(const sah_shape *shape, const sah_space *a, const sah_space *b, double *degrees,
                           sah_error *error)
{
    return angle_between(compared(shape, a), compared(shape, b), shape->rank, width(shape), degrees, error);
}

/* ---- Their error --------------------------------------------------------------------------------------- */

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

/* z [n]: the part of vector i of `basis` along the space of `other`, less what of it lies in the space of
 * `basis`: what half the sum of squared cosines changes by is its product with the vector's change. */
static void pull(const double *basis, const double *other, size_t i, size_t rank, size_t n, double *z)
{
    const double *mine = basis + i * n;
    memset(z, 0, n * sizeof *z);
    for (size_t k = 0; k < rank; k++) {
        const double *v = other + k * n;
        double along = 0;
        for (size_t q = 0; q < n; q++) along += mine[q] * v[q];
        for (size_t q = 0; q < n; q++) z[q] += along * v[q];
    }
    take_out(basis, rank, n, z);
}

/* out [n] = W M z, z [d]. */
SAH_SIMD static void project(const float *m, const double *w, const double *z, size_t n, size_t d,
                             double *out)
{
    for (size_t q = 0; q < n; q++) {
        double sum = 0;
        const float *row = m + q * d;
#pragma omp simd reduction(+ : sum)
        for (size_t k = 0; k < d; k++) sum += (double)row[k] * z[k];
        out[q] = w[q] * sum;
    }
}

/* Adds to changes [n] how vector i of the space `own`, turning as the weight of query q grows by a relative
 * step, changes half the sum of squared cosines with `other`. With A = W G W and c = s² its eigenvalue of the
 * vector, to first order the left vector u turns by u_q (c - A)^+ (c + A) e_q, where (c + A) / (c - A) = 1 +
 * 2 (A / c + A² / c² +
 * ...); the right one v by 2 s u_q (c - B)^+ Mᵀ W e_q with B = Mᵀ W² M, and M and W carry the inverse over to
 * A. Without a Gram matrix (first columns) only the 1 is left. scratch [4 n + d]. */
static void add_changes(const sah_shape *shape, const sah_states *states, const double *w,
                        const sah_space *own, const sah_space *other, size_t i, double *scratch,
                        double *changes)
{
    enum { MOST = 500 };
    size_t n = shape->n, rank = shape->rank;
    const double *u = own->u + i * n;
    double *z = scratch, *sum = z + n, *next = sum + n, *weighed = next + n, *wide = weighed + n, value = 0;
    if (states->gram != NULL) {
        apply(states->gram, w, u, n, weighed, next);
        for (size_t q = 0; q < n; q++) value += u[q] * next[q];
    }
    if (right(shape)) {
        pull(own->v, other->v, i, rank, shape->d, wide);
        project(states->m, w, wide, n, shape->d, z);
        for (size_t q = 0; q < n; q++) z[q] /= sqrt(value);
        take_out(own->u, rank, n, z); /* rounding */
        for (size_t q = 0; q < n; q++) sum[q] = 2 * z[q];
    } else {
        pull(own->u, other->u, i, rank, n, z);
        memcpy(sum, z, n * sizeof *sum);
    }
    for (int step = 0; step < MOST && value > 0; step++) {
        double square = 0, whole = 0;
        apply(states->gram, w, z, n, weighed, next);
        for (size_t q = 0; q < n; q++) z[q] = next[q] / value;
        take_out(own->u, rank, n, z);
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

double sah_space_squared_error(const sah_shape *shape, const sah_states *const states[2], const double *w,
                               const sah_space *const spaces[2], double shift, double *scratch)
{
    size_t n = shape->n, wide = width(shape);
    double sines = 0, squares = 0, drawn = 0, *changes = scratch, *rest = scratch + n;
    memset(changes, 0, n * sizeof *changes);
    for (size_t i = 0; i < shape->rank; i++)
        for (int side = 0; side < 2; side++)
            add_changes(shape, states[side], w, spaces[side], spaces[1 - side], i, scratch + n, changes);
    for (size_t q = 0; q < n; q++) {
        squares += changes[q] * changes[q];
        drawn += w[q] * w[q];
    }
    for (size_t i = 0; i < shape->rank; i++) {
        memcpy(rest, compared(shape, spaces[1]) + i * wide, wide * sizeof *rest);
        take_out(compared(shape, spaces[0]), shape->rank, wide, rest);
        for (size_t q = 0; q < wide; q++) sines += rest[q] * rest[q];
    }
    if (!(sines > 0)) return 0;
    /* More than the shift itself is rounding: no shift to speak of. */
    return shift * shift * fmin(1, squares / (4 * sines * sines) * drawn / (drawn - 1));
}
