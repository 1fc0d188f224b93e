/* SPDX-License-Identifier: Apache-2.0 */
/* How long an audit will take: a few tokens for a sample of the queries, measured, and what its sweeps have to do. */
#include <time.h>

#include "audit/audit.h"
#include "program.h"

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The first half: as many as heads are chosen on. */
static sah_strings half_of(const sah_strings *all)
{
    return (sah_strings){.items = all->items, .n = (all->n + 1) / 2};
}

sah_status sah_audit_estimate(const sah_model *model, const sah_strings *harmful, const sah_strings *harmless,
                              const sah_audit_options *options, double *seconds, sah_error *error)
{
    /* What sah_check_refusal() does; an opening of 8 tokens makes a sweep dearer by this (docs/method.md). */
    enum { SAMPLED_TOKENS = 16 };
    const double with_openings = 1.7;
    const sah_audit_plan plan = sah_audit_plan_of(options);
    const char *template_ = sah_audit_template(model, options);
    const sah_strings chosen = half_of(harmful), chosen_harmless = half_of(harmless);
    const double scored = (double)(chosen.n + chosen_harmless.n), held = (double)(harmful->n - chosen.n);
    const sah_run_options run = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4F},
                                 .template_ = template_,
                                 .system = options->system,
                                 .memory = options->memory,
                                 .shard = options->shard};
    sah_refusal_check check;
    sah_estimate sweep;
    *seconds = 0;
    sah_status status = sah_audit_check_queries(harmful, harmless, error);
    if (status != SAH_OK) return status;
    const double begun = now();
    status = sah_check_refusal(model, harmful, template_, options->system, options->memory, &check, error);
    const double sampled = now() - begun;
    if (status == SAH_OK)
        status = sah_sweep_estimate(model, &chosen, &chosen_harmless, template_, &run, &sweep, error);
    if (status != SAH_OK || check.sampled == 0) return status;
    const double token = sampled / (double)check.sampled / SAMPLED_TOKENS;
    const sah_model_info *info = sah_model_describe(model);
    size_t counts[SAH_MOST_COUNTS];
    const size_t n_counts = sah_audit_counts((size_t)info->n_layers * (size_t)info->n_heads, counts);
    const double responses =
        (double)(harmful->n + harmless->n) + held * (double)plan.curves * (double)(1 + 2 * n_counts);
    const double sweeps = sweep.seconds * (with_openings * plan.parts + (plan.searches ? 1 : 0));
    if (options->shard.count > 1)
        *seconds = (double)(harmful->n + harmless->n) / (double)options->shard.count * plan.tokens * token;
    else
        *seconds = responses * plan.tokens * token;
    *seconds += scored * 64 * token + sweeps;
    return SAH_OK;
}
