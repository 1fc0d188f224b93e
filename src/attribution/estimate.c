/* SPDX-License-Identifier: Apache-2.0 */
/* How long a sweep will take: its operations, and how fast this machine does the largest product of the model. */
#include <stdlib.h>

#include "engine/candidate.h"
#include "engine/donors.h"
#include "engine/precision.h"
#include "program.h"
#include "run/prompts.h"
#include "util/error.h"

/* The forest of a run and its heads [*n]; the caller frees all, in either case. */
static sah_status prepare(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                          const char *default_template, const sah_run_options *run, sah_donors **donors,
                          sah_forest **forest, sah_head **heads, size_t *n, sah_error *error)
{
    const sah_strings *const lists[] = {queries, contrast};
    sah_status status = sah_run_forest(model, lists, 2, run, default_template, NULL, donors, forest, error);
    return status == SAH_OK ? sah_run_heads(model, run, heads, n, error) : status;
}

sah_status sah_sweep_check(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                           const char *default_template, const sah_run_options *options, sah_error *error)
{
    const sah_run_options run = sah_run_resolve(options);
    sah_forest *forest = NULL;
    sah_donors *donors = NULL;
    sah_head *heads = NULL;
    size_t n;
    sah_status status =
        prepare(model, queries, contrast, default_template, &run, &donors, &forest, &heads, &n, error);
    free(heads);
    sah_forest_free(forest);
    sah_donors_free(donors);
    return status;
}

sah_status sah_sweep_estimate(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                              const char *default_template, const sah_run_options *options, sah_estimate *out,
                              sah_error *error)
{
    enum { ROWS = 128 };
    /* Shares of products in a sweep, and what openings of 8 tokens add (docs/performance.md). */
    const double seconds_of_measuring = 0.01, share = 0.85, with_openings = 1.7;
    const sah_config *c = &model->config;
    const sah_run_options run = sah_run_resolve(options);
    sah_forest *forest = NULL;
    sah_donors *donors = NULL;
    sah_forest_size size;
    sah_operations sum = {0};
    sah_head *heads = NULL;
    double rate = 0;
    *out = (sah_estimate){.queries = queries->n + (contrast != NULL ? contrast->n : 0)};
    sah_status status = prepare(model, queries, contrast, default_template, &run, &donors, &forest, &heads,
                                &out->heads, error);
    if (status == SAH_OK)
        status = sah_product_rate(
            model->device, (c->gated ? 2 : 1) * (int64_t)(c->experts.n > 0 ? c->experts.width : c->d_ff),
            c->d_model, ROWS, model->precision, model->threads, seconds_of_measuring, &rate, error);
    if (status == SAH_OK) {
        sah_forest_measure(forest, c->sliding_window, &size);
        sah_operations_of_base(c, &size, &sum);
        for (size_t i = 0; i < out->heads; i++) {
            const sah_candidate candidate = sah_candidate_of(c, heads[i], &run.ablation);
            sah_operations_of_candidate(c, &size, &candidate, &sum);
            sah_operations_of_logits(c, &size, &sum);
        }
        out->operations = sah_operations_total(&sum) / (run.shard.count > 1 ? (double)run.shard.count : 1);
        out->seconds = out->operations / (share * rate) * (run.openings != NULL ? with_openings : 1);
    }
    free(heads);
    sah_forest_free(forest);
    sah_donors_free(donors);
    return status;
}
