/* SPDX-License-Identifier: Apache-2.0 */
/* How long an audit will take, from short runs of what it spends its time on: a few tokens for a sample of the
 * queries, and a part of a sweep over two of them. */
#include <string.h>
#include <time.h>

#include "audit/audit.h"

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

sah_status sah_audit_estimate(const sah_model *model, const sah_strings *harmful, const sah_strings *harmless,
                              const sah_audit_options *options, double *seconds, sah_error *error)
{
    /* What sah_check_refusal() does; an opening of 8 tokens makes a sweep dearer by this (docs/method.md). */
    enum { SAMPLED = 16, SAMPLED_TOKENS = 16 };
    const double with_openings = 1.7;
    const sah_audit_plan plan = sah_audit_plan_of(options);
    const double scored = (double)(harmful->n / 2 + harmless->n / 2), held = (double)(harmful->n / 2);
    sah_refusal_check check;
    sah_bench_result bench = {0};
    *seconds = 0;
    const double begun = now();
    sah_status status = sah_check_refusal(model, harmful, sah_audit_template(model, options), options->system,
                                          options->memory, &check, error);
    const double sampled = now() - begun;
    sah_strings two = {.items = harmful->items, .n = harmful->n < 2 ? harmful->n : 2};
    sah_run_options run = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4F},
                           .template_ = sah_audit_template(model, options),
                           .system = options->system,
                           .memory = options->memory};
    if (status == SAH_OK) status = sah_bench(model, &two, &run, &bench, error);
    if (status != SAH_OK || two.n == 0 || check.sampled == 0) return status;
    const double token = sampled / (double)check.sampled / SAMPLED_TOKENS;
    const double responses =
        (double)(harmful->n + harmless->n) + held * (double)plan.curves * (double)(1 + 2 * plan.heads);
    const double query = bench.all_seconds / (double)two.n;
    *seconds = responses * plan.tokens * token + scored * 64 * token +
               scored * query * (with_openings * plan.parts + (plan.searches ? 1 : 0));
    return SAH_OK;
}
