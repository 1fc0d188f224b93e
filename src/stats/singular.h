/* SPDX-License-Identifier: Apache-2.0 */
/* Singular values and leading eigenvectors of small matrices, in float64. Written here because of what LAPACK
 * brings along: the one that systems have runs on threads of its own, whose number is a setting of the whole
 * process, and spaces are made on all threads of a sweep at once, in a program that is not ours. */
#ifndef SAH_STATS_SINGULAR_H
#define SAH_STATS_SINGULAR_H

#include "sahara.h"

/* The singular value decomposition A V = U S of a [columns, rows], stored by columns, by Hestenes' one-sided
 * Jacobi rotations, which find small values to as many digits as large ones (Demmel and Veselić 1992). `a`
 * becomes U S by columns; values [columns] descend; v [columns, columns] (or NULL) gets V by columns. */
sah_status sah_singular_values(double *a, size_t rows, size_t columns, double *values, double *v,
                               sah_error *error);

/* The k largest eigenvalues (descending) and eigenvectors [k, n] of the symmetric, positive semidefinite g [n,
 * n], by subspace iteration with Rayleigh-Ritz steps (Stewart 1969), until rounding alone is left of the first
 * `exact` vectors; the others are on their way. *converged is false where they are so close that it takes too
 * long. */
sah_status sah_leading_eigenvectors(const double *g, size_t n, size_t k, size_t exact, double *values,
                                    double *vectors, bool *converged, sah_error *error);

/* Makes rows v [rank, n] orthonormal, in order (modified Gram-Schmidt); a row that depends on those before it
 * becomes 0. */
void sah_orthonormalise(double *v, size_t rank, size_t n);

#endif
