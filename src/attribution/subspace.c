/* SPDX-License-Identifier: Apache-2.0 */
#include "attribution/subspace.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/singular.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/simd.h"

/* Eigenvectors of the Gram matrix M Mᵀ are off by a few 2^-53 l_1 / (l_r - l_r+1) radians, l its
 * eigenvalues: about 1e-8 degrees when the gap is this share of l_1. With a smaller gap the singular value
 * decomposition of M itself is worth its price (a hundred times as much for 100 x 576). */
static const double LEAST_GAP = 1e-6;

static sah_status check_finite(const float *m, size_t n, size_t d, const char *what, sah_error *error)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < d; k++) {
            if (!isfinite(m[i * d + k])) {
                return sah_fail(error, SAH_FAILED,
                                "the hidden state of %s %zu is not finite; the checkpoint may be damaged",
                                what, i + 1);
            }
        }
    }
    return SAH_OK;
}

/* ---- Left singular vectors ----------------------------------------------------------------------------- */

SAH_SIMD void sah_gram_matrix(const float *m, size_t n, size_t d, double *g)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++) {
            double sum = 0;
#pragma omp simd reduction(+ : sum)
            for (size_t k = 0; k < d; k++) sum += (double)m[i * d + k] * (double)m[j * d + k];
            g[i * n + j] = g[j * n + i] = sum;
        }
    }
}

/* From the Gram matrix. *good is false when the gap behind the rank-th value is too small for it. */
static sah_status from_gram(const float *m, size_t n, size_t d, size_t rank, double *values, double *u,
                            bool *good, sah_error *error)
{
    const size_t wanted = rank < n ? rank + 1 : n; /* one more, for the gap */
    double *g = sah_alloc(n * n, sizeof *g), *squares = sah_alloc(wanted, sizeof *squares),
           *vectors = sah_alloc(wanted * n, sizeof *vectors);
    sah_status status = SAH_OK;
    if (g == NULL || squares == NULL || vectors == NULL) {
        status = sah_fail_memory(error, "singular vectors");
        goto done;
    }
    sah_gram_matrix(m, n, d, g);
    status = sah_leading_eigenvectors(g, n, wanted, rank, squares, vectors, good, error);
    if (status != SAH_OK) goto done;
    for (size_t i = 0; i < rank; i++) values[i] = sqrt(squares[i]);
    memcpy(u, vectors, rank * n * sizeof *u);
    *good = *good && (wanted == rank || squares[rank - 1] - squares[rank] >= LEAST_GAP * squares[0]);

done:
    free(g);
    free(squares);
    free(vectors);
    return status;
}

/* From M itself, along its shorter side: with fewer queries than components the columns of A are M's rows, and
 * M's left vectors are A's right ones; else they are its columns, and M's left vectors are A's. */
static sah_status from_matrix(const float *m, size_t n, size_t d, size_t rank, double *values, double *u,
                              sah_error *error)
{
    const bool wide = n <= d;
    const size_t columns = wide ? n : d, rows = wide ? d : n;
    double *a = sah_alloc(n * d, sizeof *a), *s = sah_alloc(columns, sizeof *s), *v = NULL;
    if (wide) v = sah_alloc(n * n, sizeof *v);
    sah_status status = SAH_OK;
    if (a == NULL || s == NULL || (wide && v == NULL)) {
        status = sah_fail_memory(error, "singular vectors");
        goto done;
    }
    for (size_t q = 0; q < n; q++)
        for (size_t k = 0; k < d; k++) a[wide ? q * d + k : k * n + q] = (double)m[q * d + k];
    status = sah_singular_values(a, rows, columns, s, v, error);
    for (size_t i = 0; i < rank && status == SAH_OK; i++) {
        values[i] = s[i];
        for (size_t q = 0; q < n; q++)
            u[i * n + q] = wide ? v[i * n + q] : s[i] > 0 ? a[i * n + q] / s[i] : 0;
    }

done:
    free(a);
    free(s);
    free(v);
    return status;
}

sah_status sah_subspace(const float *m, size_t n, size_t d, size_t rank, const char *what, double *u,
                        size_t *found, sah_error *error)
{
    bool good = false;
    double squares = 0;
    sah_status status = check_finite(m, n, d, what, error);
    if (status != SAH_OK) return status;
    double *values = sah_alloc(rank, sizeof *values);
    if (values == NULL) return sah_fail_memory(error, "singular vectors");
    for (size_t i = 0; i < n * d; i++) squares += (double)m[i] * (double)m[i];

    if (n <= d) status = from_gram(m, n, d, rank, values, u, &good, error);
    if (status == SAH_OK && !good) status = from_matrix(m, n, d, rank, values, u, error);
    for (*found = 0; status == SAH_OK && *found < rank; (*found)++)
        if (values[*found] <= (double)FLT_EPSILON * sqrt(squares)) break;
    free(values);
    return status;
}

sah_status sah_first_column(const float *m, size_t n, size_t d, const char *what, double *u, size_t *found,
                            sah_error *error)
{
    double squares = 0;
    sah_status status = check_finite(m, n, d, what, error);
    if (status != SAH_OK) return status;
    for (size_t i = 0; i < n; i++) squares += (double)m[i * d] * (double)m[i * d];
    *found = squares > 0 ? 1 : 0;
    for (size_t i = 0; i < n && *found == 1; i++) u[i] = (double)m[i * d] / sqrt(squares);
    return SAH_OK;
}

SAH_SIMD void sah_right_vectors(const float *m, const double *w, size_t n, size_t d, const double *u,
                                size_t rank, double *v)
{
    for (size_t i = 0; i < rank; i++) {
        double *out = v + i * d;
        for (size_t k = 0; k < d; k++) out[k] = 0;
        for (size_t q = 0; q < n; q++) {
            double share = u[i * n + q] * (w != NULL ? w[q] : 1);
            const float *row = m + q * d;
            if (share == 0) continue;
            for (size_t k = 0; k < d; k++) out[k] += share * (double)row[k];
        }
    }
    sah_orthonormalise(v, rank, d);
}

/* ---- Angles -------------------------------------------------------------------------------------------- */

sah_status sah_principal_angles(const double *u, size_t rank, const double *v, size_t found, size_t n,
                                double *angles, sah_error *error)
{
    const double degrees = 180.0 / 3.14159265358979323846;
    double *c = sah_alloc(found * rank, sizeof *c), *rest = sah_alloc(found * n, sizeof *rest);
    double *cosines = sah_alloc(found, sizeof *cosines), *sines = sah_alloc(found, sizeof *sines);
    sah_status status = SAH_OK;
    if (c == NULL || rest == NULL || cosines == NULL || sines == NULL) {
        status = sah_fail_memory(error, "principal angles");
        goto done;
    }
    /* c = Uᵀ V; rest = V - U c, what of V lies outside span(U). */
    for (size_t j = 0; j < found; j++) {
        for (size_t q = 0; q < n; q++) rest[j * n + q] = v[j * n + q];
        for (size_t i = 0; i < rank; i++) {
            double sum = 0;
            for (size_t q = 0; q < n; q++) sum += u[i * n + q] * v[j * n + q];
            c[j * rank + i] = sum;
        }
        for (size_t i = 0; i < rank; i++)
            for (size_t q = 0; q < n; q++) rest[j * n + q] -= c[j * rank + i] * u[i * n + q];
    }
    if (found > 0) status = sah_singular_values(c, rank, found, cosines, NULL, error);
    if (status == SAH_OK && found > 0) status = sah_singular_values(rest, n, found, sines, NULL, error);
    for (size_t i = 0; i < rank && status == SAH_OK; i++) {
        if (i >= found) {
            angles[i] = 90;
            continue;
        }
        double cosine = fmin(cosines[i], 1), sine = fmin(sines[found - 1 - i], 1);
        angles[i] = degrees * (cosine > sine ? asin(sine) : acos(cosine));
    }

done:
    free(c);
    free(rest);
    free(cosines);
    free(sines);
    return status;
}
