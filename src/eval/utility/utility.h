/* SPDX-License-Identifier: Apache-2.0 */
/* From log-likelihoods to what is reported. */
#ifndef SAH_EVAL_UTILITY_UTILITY_H
#define SAH_EVAL_UTILITY_UTILITY_H

#include "sahara.h"
#include "util/strings.h"

/* The choice of the highest log-likelihood; `by_length`: divided by the choice's bytes. The first of equal
 * ones. */
size_t sah_best_choice(const sah_item *item, const double *loglikelihoods, bool by_length);

/* Log-likelihoods of a model: of every choice, item behind item, and of every token of the text. `base` is
 * NULL without an ablation. */
typedef struct sah_likelihoods {
    const double *choices, *choices_base;
    const double *tokens, *tokens_base;
    size_t n_tokens;
} sah_likelihoods;

/* All totals, for items (or NULL) and text (or NULL). */
sah_status sah_utility_count(const sah_items *items, const char *text, size_t text_size,
                             const sah_likelihoods *likelihoods, sah_utility_totals *out, sah_error *error);

/* The totals as one JSON object. */
void sah_utility_text(const sah_utility_totals *totals, sah_text *out);

#endif
