/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of surgery and graft share: checkpoints made in the scratch folder, and their logits. */
#ifndef TESTS_EDIT_SURGERY_H
#define TESTS_EDIT_SURGERY_H

#include "engine/golden.h"

#define MODELS "tests/golden/models/"

/* A path in the scratch folder where nothing is yet. */
const char *fresh(const char *suffix);

/* Surgery that must succeed; the path of the result, good until the next call of fresh() + 3. */
const char *operate(const char *model, const char *heads, unsigned parts, sah_op op, float factor);

/* Next-token logits of every prompt of the golden file, [n_prompts, V] for free(); `heads` ablated at run
 * time (NULL: none). */
float *logits_of(const char *model, const char *adapter, const golden *g, const char *heads, unsigned parts,
                 sah_op op, float factor, size_t *n);

/* max |a - b| / max |b| */
double distance(const float *a, const float *b, size_t n);

/* Every tensor of checkpoint `b` that is not in `changed` (names, NULL-ended) has the type and the bytes it
 * has in `a`; those in it differ. */
void check_unedited(const char *a, const char *b, const char *const *changed);

#endif
