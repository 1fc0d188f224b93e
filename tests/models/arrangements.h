/* SPDX-License-Identifier: Apache-2.0 */
/* Every arrangement of a layer that a configuration can say, as shapes of random models. */
#ifndef TESTS_MODELS_ARRANGEMENTS_H
#define TESTS_MODELS_ARRANGEMENTS_H

#include "models/random_model.h"

typedef struct arrangement {
    const char *name;
    void (*set)(random_shape *shape);
} arrangement;

enum { N_ARRANGEMENTS = 31 };
extern const arrangement ARRANGEMENTS[N_ARRANGEMENTS];

/* NULL: the plainest. */
random_shape arranged(const arrangement *a);
/* Fails the test where there is none. */
const arrangement *arrangement_called(const char *name);

#endif
