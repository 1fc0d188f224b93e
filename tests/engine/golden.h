/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files of tests/golden/models: prompts, ablations and the logits an independent program computed. */
#ifndef TESTS_ENGINE_GOLDEN_H
#define TESTS_ENGINE_GOLDEN_H

#include "engine/forest.h"
#include "engine/model.h"
#include "util/json.h"

typedef struct golden {
    json_t *json;
    size_t n_prompts, n_cases;
    sah_prompt *prompts;
} golden;

/* Where the folders lie: tests/golden/models, or what SAHARA_GOLDEN names. */
const char *golden_root(void);

/* Names of all folders there that have golden numbers; the caller frees each, and the list. */
char **golden_folders(size_t *n);

void golden_open(const char *directory, golden *out); /* fails the test */
void golden_close(golden *g);

/* The edits of a case; the caller frees. */
sah_edit *golden_edits(const golden *g, size_t index, size_t *n);

/* The same edits as far as the model has their heads, of v where a layer has no q and k that could be edited; *n is how
 * many there are, and then how many are left. The caller frees. */
sah_edit *golden_fitting(const sah_model *model, const sah_edit *edits, size_t *n);

/* Logits of a prompt in a case, and the largest magnitude among all logits of the case. */
double golden_logit(const golden *g, size_t index, size_t prompt, size_t token);
double golden_largest(const golden *g, size_t index);

/* Fails the test unless all logits [V] are within 1e-4 of the case's largest. */
void golden_compare(const golden *g, size_t index, size_t prompt, const double *logits, int n_vocab,
                    const char *what);
/* The same of all that the model computes, on its device. */
void golden_check(const golden *g, const sah_model *model, const char *what);

/* A model of tests/golden/models, `file` NULL for the directory; fails the test. */
sah_model *golden_model(const char *directory, const char *file, const sah_model_options *options);
/* The same on a device. */
sah_model *golden_model_on(const char *directory, const sah_device *device, const sah_model_options *options);

#endif
