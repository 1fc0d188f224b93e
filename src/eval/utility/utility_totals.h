/* SPDX-License-Identifier: Apache-2.0 */
/* From log-likelihoods to what is reported. */
#ifndef SAH_EVAL_UTILITY_UTILITY_TOTALS_H
#define SAH_EVAL_UTILITY_UTILITY_TOTALS_H

#include "sahara.h"
#include "util/strings.h"

/* The choice of the highest log-likelihood; `by_length`: divided by the choice's bytes. The first of equal
 * ones. */
size_t sah_best_choice(const sah_item *item, const double *loglikelihoods, bool by_length);

/* How many answers are right under the ablation, without it, and both times. */
typedef struct sah_rights {
    uint64_t asked, base, both;
} sah_rights;

/* What the totals are made of. */
typedef struct sah_utility_counts {
    bool compared; /* with an ablation */
    uint64_t n_items;
    sah_rights plain, by_length;
    const double *tokens,
        *tokens_base; /* [n_tokens] log-likelihoods of the text's tokens; base NULL: not compared */
    size_t n_tokens; /* 0: no text */
    uint64_t n_bytes, n_words;
} sah_utility_counts;

/* The right answers of an item: its choices' log-likelihoods, `base` NULL without an ablation. */
void sah_utility_add_item(const sah_item *item, const double *choices, const double *base,
                          sah_utility_counts *out);

sah_status sah_utility_total(const sah_utility_counts *counts, sah_utility_totals *out, sah_error *error);

/* The totals as one JSON object. */
void sah_utility_text(const sah_utility_totals *totals, sah_text *out);

#endif
