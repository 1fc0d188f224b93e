/* SPDX-License-Identifier: Apache-2.0 */
/* Accuracy and perplexity from log-likelihoods, with their intervals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/utility/continuations.h"
#include "eval/utility/utility_totals.h"
#include "stats/bootstrap.h"
#include "stats/paired.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/json.h"

/* ---- Multiple choice ----------------------------------------------------------------------------------- */

size_t sah_best_choice(const sah_item *item, const double *loglikelihoods, bool by_length)
{
    size_t best = 0;
    double highest = -INFINITY;
    for (size_t i = 0; i < item->choices.n; i++) {
        double value = loglikelihoods[i];
        if (by_length) value /= (double)strlen(item->choices.items[i]);
        if (value <= highest) continue;
        highest = value;
        best = i;
    }
    return best;
}

static void add_rights(const sah_item *item, const double *choices, const double *base, bool by_length,
                       sah_rights *out)
{
    const bool right = sah_best_choice(item, choices, by_length) == item->label;
    const bool base_right = base != NULL && sah_best_choice(item, base, by_length) == item->label;
    out->asked += right;
    out->base += base_right;
    out->both += right && base_right;
}

void sah_utility_add_item(const sah_item *item, const double *choices, const double *base,
                          sah_utility_counts *out)
{
    out->n_items++;
    add_rights(item, choices, base, false, &out->plain);
    add_rights(item, choices, base, true, &out->by_length);
}

/* Shares of right answers, plain or by length, and their difference. */
static void set_shares(const sah_utility_counts *counts, const sah_rights *rights, sah_share *asked,
                       sah_share *base, sah_share *difference)
{
    *asked = sah_wilson(rights->asked, counts->n_items);
    if (!counts->compared) return;
    *base = sah_wilson(rights->base, counts->n_items);
    *difference = sah_paired_difference(rights->both, rights->asked - rights->both,
                                        rights->base - rights->both, counts->n_items);
}

/* ---- Perplexity ---------------------------------------------------------------------------------------- */

static void set_perplexity(const sah_utility_totals *totals, const double *tokens, sah_utility_score *out)
{
    double sum = 0;
    for (size_t i = 0; i < totals->n_tokens; i++) sum += tokens[i];
    out->perplexity = exp(-sum / (double)totals->n_tokens);
    out->byte_perplexity = exp(-sum / (double)totals->n_bytes);
    out->word_perplexity = exp(-sum / (double)totals->n_words);
    out->bits_per_byte = -sum / (double)totals->n_bytes / log(2);
}

/* Tokens near each other are surprising together, so that runs of tokens are resampled and not tokens: runs
 * of 32, shorter where that leaves fewer than 20 runs, longer where it makes more than 4096. */
static size_t run_length(size_t n)
{
    enum { USUAL = 32, FEWEST = 20, MOST = 4096 };
    size_t length = n / FEWEST < USUAL ? n / FEWEST : USUAL;
    if (length == 0) length = 1;
    return n / length < MOST ? length : (n + MOST - 1) / MOST;
}

/* How many nats a token costs more than under the base. */
static sah_status compare_texts(const sah_utility_counts *l, sah_share *out, sah_error *error)
{
    size_t n = l->n_tokens, length = run_length(n), runs = (n + length - 1) / length;
    sah_bootstrap plan = {0};
    double *sums = sah_alloc(2 * runs, sizeof *sums), *sizes = sums != NULL ? sums + runs : NULL;
    double *means = sah_alloc((size_t)2 * SAH_RESAMPLES, sizeof *means);
    double *mean_sizes = means != NULL ? means + SAH_RESAMPLES : NULL, total = 0;
    sah_status status = sums != NULL && means != NULL ? sah_bootstrap_new(runs, 1, &plan, error)
                                                      : sah_fail_memory(error, "the bootstrap");
    if (status == SAH_OK) {
        for (size_t i = 0; i < n; i++) {
            double difference = l->tokens_base[i] - l->tokens[i];
            total += difference;
            sums[i / length] += difference;
            sizes[i / length] += 1;
        }
        sah_bootstrap_means(&plan, sums, means);
        sah_bootstrap_means(&plan, sizes, mean_sizes);
        for (size_t r = 0; r < SAH_RESAMPLES; r++) means[r] /= mean_sizes[r];
        out->value = total / (double)n;
        sah_bootstrap_interval(means, &out->low, &out->high);
    }
    sah_bootstrap_free(&plan);
    free(sums);
    free(means);
    return status;
}

sah_status sah_utility_total(const sah_utility_counts *counts, sah_utility_totals *out, sah_error *error)
{
    *out = (sah_utility_totals){.n_items = counts->n_items, .compared = counts->compared};
    if (counts->n_items > 0) {
        set_shares(counts, &counts->plain, &out->score.acc, &out->base.acc, &out->acc_difference);
        set_shares(counts, &counts->by_length, &out->score.acc_norm, &out->base.acc_norm,
                   &out->acc_norm_difference);
    }
    if (counts->n_tokens == 0) return SAH_OK;
    out->n_tokens = counts->n_tokens;
    out->n_bytes = counts->n_bytes;
    out->n_words = counts->n_words;
    set_perplexity(out, counts->tokens, &out->score);
    if (!counts->compared) return SAH_OK;
    set_perplexity(out, counts->tokens_base, &out->base);
    return compare_texts(counts, &out->log_perplexity_difference, error);
}

/* ---- The line ------------------------------------------------------------------------------------------ */

/* A perplexity of a broken model may be beyond all numbers: null. */
static void add_number(sah_text *out, const char *prefix, const char *key, const char *suffix, double value)
{
    char number[32] = "null";
    if (isfinite(value)) sah_format_double(value, number);
    sah_text_addf(out, "%s\"%s%s%s\":%s", out->size > 1 ? "," : "", prefix, key, suffix, number);
}

static void add_count(sah_text *out, const char *key, uint64_t value)
{
    sah_text_addf(out, "%s\"%s\":%llu", out->size > 1 ? "," : "", key, (unsigned long long)value);
}

static void add_share(sah_text *out, const char *prefix, const char *key, sah_share share)
{
    add_number(out, prefix, key, "", share.value);
    add_number(out, prefix, key, "_low", share.low);
    add_number(out, prefix, key, "_high", share.high);
}

static void add_score(sah_text *out, const sah_utility_totals *totals, const char *prefix,
                      const sah_utility_score *score)
{
    if (totals->n_items > 0) {
        add_share(out, prefix, "acc", score->acc);
        add_share(out, prefix, "acc_norm", score->acc_norm);
    }
    if (totals->n_tokens > 0) {
        add_number(out, prefix, "perplexity", "", score->perplexity);
        add_number(out, prefix, "byte_perplexity", "", score->byte_perplexity);
        add_number(out, prefix, "word_perplexity", "", score->word_perplexity);
        add_number(out, prefix, "bits_per_byte", "", score->bits_per_byte);
    }
}

void sah_utility_text(const sah_utility_totals *totals, sah_text *out)
{
    sah_text_adds(out, "{");
    if (totals->n_items > 0) add_count(out, "n", totals->n_items);
    if (totals->n_tokens > 0) {
        add_count(out, "tokens", totals->n_tokens);
        add_count(out, "bytes", totals->n_bytes);
        add_count(out, "words", totals->n_words);
    }
    add_score(out, totals, "", &totals->score);
    if (totals->compared) {
        add_score(out, totals, "base_", &totals->base);
        if (totals->n_items > 0) {
            add_share(out, "", "acc_difference", totals->acc_difference);
            add_share(out, "", "acc_norm_difference", totals->acc_norm_difference);
        }
        if (totals->n_tokens > 0)
            add_share(out, "", "log_perplexity_difference", totals->log_perplexity_difference);
    }
    sah_text_adds(out, "}");
}
