/* SPDX-License-Identifier: Apache-2.0 */
#include "attribution/subspace.h"

#include <dlfcn.h>
#include <float.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/simd.h"

/* Eigenvectors of the Gram matrix M Mᵀ are off by a few 2^-53 l_1 / (l_r - l_r+1) radians, l its
 * eigenvalues: about 1e-8 degrees when the gap is this share of l_1. With a smaller gap the singular value
 * decomposition of M itself is worth its price (forty times as much for 100 x 576). */
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

static sah_status lapack_failed(int info, sah_error *error)
{
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return sah_fail_memory(error, "singular vectors");
    return sah_fail(error, SAH_FAILED, "singular vectors of the hidden states did not converge (LAPACK %d)",
                    info);
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
    size_t wanted = rank < n ? rank + 1 : n; /* one more, for the gap */
    double *g = sah_alloc(n * n, sizeof *g), *w = sah_alloc(n, sizeof *w),
           *z = sah_alloc(n * wanted, sizeof *z);
    lapack_int *support = sah_alloc(2 * n, sizeof *support), got = 0, order = (lapack_int)n;
    sah_status status = SAH_OK;
    if (g == NULL || w == NULL || z == NULL || support == NULL) {
        status = sah_fail_memory(error, "singular vectors");
        goto done;
    }
    sah_gram_matrix(m, n, d, g);
    int info = LAPACKE_dsyevr(LAPACK_COL_MAJOR, 'V', 'I', 'U', order, g, order, 0, 0,
                              order - (lapack_int)wanted + 1, order, 0, &got, w, z, order, support);
    if (info != 0 || (size_t)got != wanted) {
        status = lapack_failed(info, error);
        goto done;
    }
    for (size_t i = 0; i < rank; i++) {
        size_t from = wanted - 1 - i; /* ascending there */
        values[i] = sqrt(fmax(w[from], 0));
        for (size_t q = 0; q < n; q++) u[i * n + q] = z[from * n + q];
    }
    *good = wanted == rank || w[1] - w[0] >= LEAST_GAP * w[wanted - 1];

done:
    free(g);
    free(w);
    free(z);
    free(support);
    return status;
}

/* From M itself. In memory M is Mᵀ by columns, and M's left vectors are that one's right vectors. */
static sah_status from_matrix(const float *m, size_t n, size_t d, size_t rank, double *values, double *u,
                              sah_error *error)
{
    size_t least = n < d ? n : d;
    double *a = sah_alloc(n * d, sizeof *a), *s = sah_alloc(least, sizeof *s),
           *vt = sah_alloc(least * n, sizeof *vt), *super = sah_alloc(least, sizeof *super);
    sah_status status = SAH_OK;
    if (a == NULL || s == NULL || vt == NULL || super == NULL) {
        status = sah_fail_memory(error, "singular vectors");
        goto done;
    }
    for (size_t i = 0; i < n * d; i++) a[i] = (double)m[i];
    int info = LAPACKE_dgesvd(LAPACK_COL_MAJOR, 'N', 'S', (lapack_int)d, (lapack_int)n, a, (lapack_int)d, s,
                              NULL, 1, vt, (lapack_int)least, super);
    if (info != 0) {
        status = lapack_failed(info, error);
        goto done;
    }
    for (size_t i = 0; i < rank; i++) {
        values[i] = s[i];
        for (size_t q = 0; q < n; q++) u[i * n + q] = vt[q * least + i];
    }

done:
    free(a);
    free(s);
    free(vt);
    free(super);
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

void sah_orthonormalise(double *v, size_t rank, size_t n)
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

SAH_SIMD void sah_right_vectors(const float *m, const double *w, size_t n, size_t d, const double *u,
                                size_t rank, double *v)
{
    for (size_t i = 0; i < rank; i++) {
        double *out = v + i * d;
        for (size_t k = 0; k < d; k++) out[k] = 0;
        for (size_t q = 0; q < n; q++) {
            double share = u[i * n + q] * (w ? w[q] : 1);
            const float *row = m + q * d;
            if (share == 0) continue;
            for (size_t k = 0; k < d; k++) out[k] += share * (double)row[k];
        }
    }
    sah_orthonormalise(v, rank, d);
}

/* ---- Angles -------------------------------------------------------------------------------------------- */

/* Singular values of a [columns, rows] by columns, descending; overwrites a. */
static sah_status singular_values(double *a, size_t rows, size_t columns, double *values, sah_error *error)
{
    double *super = sah_alloc(columns, sizeof *super);
    if (super == NULL) return sah_fail_memory(error, "singular values");
    int info = LAPACKE_dgesvd(LAPACK_COL_MAJOR, 'N', 'N', (lapack_int)rows, (lapack_int)columns, a,
                              (lapack_int)rows, values, NULL, 1, NULL, 1, super);
    free(super);
    return info == 0 ? SAH_OK : lapack_failed(info, error);
}

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
    if (found > 0) status = singular_values(c, rank, found, cosines, error);
    if (status == SAH_OK && found > 0) status = singular_values(rest, n, found, sines, error);
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

int sah_lapack_threads(int n)
{
    /* Looked up by name: which LAPACK stands behind liblapacke is the system's choice. */
    int (*get)(void);
    void (*set)(int);
    *(void **)(void *)&get = dlsym(RTLD_DEFAULT, "openblas_get_num_threads");
    *(void **)(void *)&set = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
    if (get == NULL || set == NULL) return 0;
    int before = get();
    if (n > 0) set(n);
    return before;
}
