/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/singular.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/simd.h"
#include "util/splitmix.h"

/* ---- Vectors ------------------------------------------------------------------------------------------- */

SAH_SIMD static double product(const double *x, const double *y, size_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* x, y become c x - s y, s x + c y. */
SAH_SIMD static void rotate(double *restrict x, double *restrict y, size_t n, double c, double s)
{
    for (size_t i = 0; i < n; i++) {
        const double old = x[i];
        x[i] = c * old - s * y[i];
        y[i] = s * old + c * y[i];
    }
}

static void exchange(double *x, double *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double old = x[i];
        x[i] = y[i];
        y[i] = old;
    }
}

void sah_orthonormalise(double *v, size_t rank, size_t n)
{
    for (size_t i = 0; i < rank; i++) {
        double *row = v + i * n;
        for (size_t j = 0; j < i; j++) {
            const double *other = v + j * n;
            double along = 0;
            for (size_t q = 0; q < n; q++) along += row[q] * other[q];
            for (size_t q = 0; q < n; q++) row[q] -= along * other[q];
        }
        double square = 0;
        for (size_t q = 0; q < n; q++) square += row[q] * row[q];
        double scale = square > 1e-300 ? 1.0 / sqrt(square) : 0.0;
        for (size_t q = 0; q < n; q++) row[q] *= scale;
    }
}

/* ---- Jacobi rotations ---------------------------------------------------------------------------------- */

/* Turns columns p and q until they are at right angles, the longer one first. True when there was something
 * to do. */
static bool turn(double *a, size_t rows, size_t columns, double *v, size_t p, size_t q)
{
    double *x = a + p * rows, *y = a + q * rows;
    const double xx = product(x, x, rows), yy = product(y, y, rows), xy = product(x, y, rows);
    if (yy > xx) {
        exchange(x, y, rows);
        if (v != NULL) exchange(v + p * columns, v + q * columns, columns);
    }
    /* Beside a column this much longer, a short one is the rounding of turns before. */
    const double tolerance = DBL_EPSILON * sqrt((double)rows);
    const double more = sqrt(fmax(xx, yy)), less = sqrt(fmin(xx, yy));
    if (less <= tolerance * more || fabs(xy) <= tolerance * more * less) return yy > xx;
    const double zeta = (fmin(xx, yy) - fmax(xx, yy)) / (2 * xy);
    const double t = copysign(1, zeta) / (fabs(zeta) + sqrt(1 + zeta * zeta)), c = 1 / sqrt(1 + t * t);
    rotate(x, y, rows, c, c * t);
    if (v != NULL) rotate(v + p * columns, v + q * columns, columns, c, c * t);
    return true;
}

sah_status sah_singular_values(double *a, size_t rows, size_t columns, double *values, double *v,
                               sah_error *error)
{
    enum { MOST = 60 }; /* sweeps; ten are many */
    bool changed = true;
    for (size_t i = 0; v != NULL && i < columns * columns; i++) v[i] = i % (columns + 1) == 0;
    for (int sweep = 0; changed && sweep < MOST; sweep++) {
        changed = false;
        for (size_t p = 0; p + 1 < columns; p++)
            for (size_t q = p + 1; q < columns; q++) changed |= turn(a, rows, columns, v, p, q);
    }
    if (changed) return sah_fail(error, SAH_FAILED, "the singular values of a matrix did not converge");
    for (size_t i = 0; i < columns; i++) values[i] = sqrt(product(a + i * rows, a + i * rows, rows));
    return SAH_OK;
}

/* ---- Subspace iteration -------------------------------------------------------------------------------- */

/* Vectors beside the wanted ones: the first comes nearer each step by the ratio of its value to that behind
 * the last. */
enum { BESIDE = 8 };

enum { MOST_STEPS = 200 };

/* size vectors y, and G times them, made of size vectors q, each [size, n]. */
typedef struct block {
    size_t n, size;
    double *q, *gq, *y, *gy;
    double *ritz, *turns; /* [size, size] */
    double *values; /* [size] */
} block;

static void free_block(block *b)
{
    free(b->q);
    free(b->gq);
    free(b->y);
    free(b->gy);
    free(b->ritz);
    free(b->turns);
    free(b->values);
}

static sah_status new_block(block *b, size_t n, size_t size, sah_error *error)
{
    uint64_t state = 0;
    *b = (block){.n = n, .size = size};
    b->q = sah_alloc(size * n, sizeof *b->q);
    b->gq = sah_alloc(size * n, sizeof *b->gq);
    b->y = sah_alloc(size * n, sizeof *b->y);
    b->gy = sah_alloc(size * n, sizeof *b->gy);
    b->ritz = sah_alloc(size * size, sizeof *b->ritz);
    b->turns = sah_alloc(size * size, sizeof *b->turns);
    b->values = sah_alloc(size, sizeof *b->values);
    if (b->q == NULL || b->gq == NULL || b->y == NULL || b->gy == NULL || b->ritz == NULL ||
        b->turns == NULL || b->values == NULL)
        return sah_fail_memory(error, "eigenvectors");
    for (size_t i = 0; i < size * n; i++)
        b->gy[i] = (double)sah_splitmix_below(&state, 2000001) / 1000000 - 1; /* any start will do */
    return SAH_OK;
}

/* out [size, n]: row i is the sum of rows j, turns[i, j] of each. */
SAH_SIMD static void combine(const double *turns, const double *rows, size_t size, size_t n, double *out)
{
    memset(out, 0, size * n * sizeof *out);
    for (size_t i = 0; i < size; i++) {
        double *to = out + i * n;
        for (size_t j = 0; j < size; j++) {
            const double factor = turns[i * size + j], *row = rows + j * n;
            for (size_t k = 0; k < n; k++) to[k] += factor * row[k];
        }
    }
}

/* One step: from G y to new vectors y that are at right angles within their space, and G y. */
static sah_status step(block *b, const double *g, sah_error *error)
{
    const size_t n = b->n, size = b->size;
    memcpy(b->q, b->gy, size * n * sizeof *b->q);
    for (int twice = 0; twice < 2; twice++) sah_orthonormalise(b->q, size, n);
    for (size_t i = 0; i < size; i++)
        for (size_t k = 0; k < n; k++) b->gq[i * n + k] = product(g + k * n, b->q + i * n, n);
    for (size_t i = 0; i < size; i++)
        for (size_t j = 0; j <= i; j++)
            b->ritz[i * size + j] = b->ritz[j * size + i] = product(b->q + i * n, b->gq + j * n, n);
    sah_status status = sah_singular_values(b->ritz, size, size, b->values, b->turns, error);
    if (status != SAH_OK) return status;
    combine(b->turns, b->q, size, n, b->y);
    combine(b->turns, b->gq, size, n, b->gy);
    return SAH_OK;
}

/* The largest |G y - value y| of the first `exact` vectors. */
static double residual(const block *b, size_t exact)
{
    double most = 0;
    for (size_t i = 0; i < exact; i++) {
        double square = 0;
        for (size_t k = 0; k < b->n; k++) {
            const double rest = b->gy[i * b->n + k] - b->values[i] * b->y[i * b->n + k];
            square += rest * rest;
        }
        most = fmax(most, sqrt(square));
    }
    return most;
}

sah_status sah_leading_eigenvectors(const double *g, size_t n, size_t k, size_t exact, double *values,
                                    double *vectors, bool *converged, sah_error *error)
{
    block b;
    *converged = false;
    sah_status status = new_block(&b, n, k + BESIDE < n ? k + BESIDE : n, error);
    double last = INFINITY;
    for (int i = 0; status == SAH_OK && !*converged && i < MOST_STEPS; i++) {
        status = step(&b, g, error);
        const double left = residual(&b, exact);
        /* On the level of rounding, and no longer shrinking as it does above that. */
        *converged = left <= DBL_EPSILON * (8 + sqrt((double)n)) * b.values[0] && left > 0.5 * last;
        *converged |= left <= 0;
        last = left;
    }
    if (status == SAH_OK) {
        memcpy(values, b.values, k * sizeof *values);
        memcpy(vectors, b.y, k * n * sizeof *vectors);
    }
    free_block(&b);
    return status;
}
