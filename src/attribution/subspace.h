/* SPDX-License-Identifier: Apache-2.0 */
/* How far a matrix of hidden states moved: principal angles between the spaces of left (or right) singular
 * vectors (method.md, "Generalized Ships"; paper, equation 9), in float64 and accurate for tiny angles.
 *
 * A space is stored as its basis, [rank, n]: `rank` orthonormal vectors over the n queries;
 * of right vectors [rank, d], over the d components of a state. */
#ifndef SAH_ATTRIBUTION_SUBSPACE_H
#define SAH_ATTRIBUTION_SUBSPACE_H

#include "sahara.h"

/* g [n, n] = M Mᵀ of m [n, d]; products of float32 are exact in float64. */
void sah_gram_matrix(const float *m, size_t n, size_t d, double *g);

/* The space of the `rank` largest left singular vectors of m [n, d], 1 <= rank <= min(n, d), into u [rank,
 * n]. *found <= rank is how many of them the states determine: a singular value that float32 rounding of m
 * alone could make (at most 2^-23 of the Frobenius norm) carries no direction, and its vector is not filled
 * in. Fails on states that are not finite, naming the row (from 1), with `what` before it. */
sah_status sah_subspace(const float *m, size_t n, size_t d, size_t rank, const char *what, double *u,
                        size_t *found, sah_error *error);

/* The spectral-norm variant: the direction of m's first column, u [n]; *found is 0 when that is zero. */
sah_status sah_first_column(const float *m, size_t n, size_t d, const char *what, double *u, size_t *found,
                            sah_error *error);

/* The right singular vectors v [rank, d] that belong to left ones u [rank, n] of W M, m [n, d] and w [n]
 * (NULL: all 1). */
void sah_right_vectors(const float *m, const double *w, size_t n, size_t d, const double *u, size_t rank,
                       double *v);

/* Principal angles in degrees, ascending, [rank], between u [rank, n] and v [found, n], found <= rank. Below
 * 45 degrees from the sine, above from the cosine (Björck and Golub 1973). The rank - found directions that v
 * lost are at 90 degrees from everything. */
sah_status sah_principal_angles(const double *u, size_t rank, const double *v, size_t found, size_t n,
                                double *angles, sah_error *error);

#endif
