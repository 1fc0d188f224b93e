/* SPDX-License-Identifier: Apache-2.0 */
/* Spaces of singular vectors of hidden states M [n, d] whose queries have weights W (a diagonal of square
 * roots: a resample that drew a query w² times): those of W M, how far apart two of them are, and how sure
 * that is. */
#ifndef SAH_ATTRIBUTION_WEIGHTED_SUBSPACE_H
#define SAH_ATTRIBUTION_WEIGHTED_SUBSPACE_H

#include "sahara.h"

typedef struct sah_shape {
    size_t n, d, rank;
    sah_variant variant;
} sah_shape;

typedef struct sah_states {
    const float *m; /* [n, d] */
    const double *gram; /* [n, n] = M Mᵀ; NULL for first columns */
} sah_states;

/* Rows are orthonormal, in order of their singular values. */
typedef struct sah_space {
    double *u; /* [rank, n] left singular vectors of W M, or its first column */
    double *v; /* [rank, d] right ones where they are compared, else NULL */
} sah_space;

sah_status sah_space_new(const sah_shape *shape, sah_space *out, sah_error *error);
void sah_space_free(sah_space *space);

/* Doubles that the functions below need for themselves. */
size_t sah_space_scratch(const sah_shape *shape);

/* The space of W M. With `from` it starts from that space and ends when what is left to turn is less than a
 * thousandth of the way so far: a tenth of a per cent of a resample's shift is far below what an interval
 * means. Without, it starts from space->u and ends at rounding. */
sah_status sah_space_solve(const sah_shape *shape, const sah_states *states, const double *w,
                           const sah_space *from, sah_space *space, double *scratch, sah_error *error);

/* Degrees: no shift below is more than rounding. */
#define SAH_SPACE_ROUNDING 1e-9

/* Sum of the principal angles between two spaces, in degrees. */
sah_status sah_space_shift(const sah_shape *shape, const sah_space *a, const sah_space *b, double *degrees,
                           sah_error *error);

/* The squared standard error of the shift between spaces[0] of states[0] and spaces[1] of states[1], both
 * under W, by the infinitesimal jackknife: the sum over queries of the squared change of S, the sum of
 * squared sines, with the query's weight; the shift changes by as large a part as half of S does. */
double sah_space_squared_error(const sah_shape *shape, const sah_states *const states[2], const double *w,
                               const sah_space *const spaces[2], double shift, double *scratch);

#endif
