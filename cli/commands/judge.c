/* SPDX-License-Identifier: Apache-2.0 */
/* sahara judge: which responses refuse, and how many do not. */
#include "command.h"
#include "loading.h"
#include "progress.h"

#include <string.h>

static void print_totals(const sah_judgement *total)
{
    fprintf(stderr,
            "%llu responses: %llu refused, %llu complied, %llu degenerate\n"
            "attack success rate %.1f %% (95 %% interval %.1f to %.1f)\n",
            (unsigned long long)total->n, (unsigned long long)total->counts[SAH_REFUSAL],
            (unsigned long long)total->counts[SAH_COMPLIANCE],
            (unsigned long long)total->counts[SAH_DEGENERATE], 100 * total->asr.value, 100 * total->asr.low,
            100 * total->asr.high);
}

static void print_unsafe(const sah_judgement *total)
{
    fprintf(stderr, "the judge model calls %llu unsafe: %.1f %% (%.1f to %.1f)\n",
            (unsigned long long)total->n_unsafe, 100 * total->asr_unsafe.value, 100 * total->asr_unsafe.low,
            100 * total->asr_unsafe.high);
    if (total->answered < 0.5)
        fprintf(
            stderr,
            "it gives its two answers %.2g %% of the probability: either it is no guard, or --judge-template "
            "is not its own\n",
            100 * total->answered);
}

/* Rows: what a person said; columns: what the judge said. */
static void print_labels(const sah_judgement *total)
{
    fprintf(stderr, "%-12s", "label");
    for (int v = 0; v < SAH_N_VERDICTS; v++) fprintf(stderr, "%12s", sah_verdict_name((sah_verdict)v));
    fprintf(stderr, "%12s%12s\n", "recall", "precision");
    for (int v = 0; v < SAH_N_VERDICTS; v++) {
        uint64_t labelled = 0, judged = 0;
        fprintf(stderr, "%-12s", sah_verdict_name((sah_verdict)v));
        for (int i = 0; i < SAH_N_VERDICTS; i++) {
            labelled += total->labelled[v][i];
            judged += total->labelled[i][v];
            fprintf(stderr, "%12llu", (unsigned long long)total->labelled[v][i]);
        }
        double right = (double)total->labelled[v][v];
        if (labelled > 0)
            fprintf(stderr, "%12.3f", right / (double)labelled);
        else
            fprintf(stderr, "%12s", "-");
        if (judged > 0)
            fprintf(stderr, "%12.3f\n", right / (double)judged);
        else
            fprintf(stderr, "%12s\n", "-");
    }
}

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_judge *judge = NULL;
    sah_model *model = NULL;
    sah_judgement total;
    cli_progress progress;
    bool guarded = o->judge_model != NULL;
    if (!guarded && (o->given[OPT_JUDGE_TEMPLATE] || o->given[OPT_JUDGE_THRESHOLD]))
        return usage_error("judge: --judge-template and --judge-threshold need --judge-model");
    sah_model_options model_options = options_model(o);
    sah_status status = sah_judge_new(o->judge_rule, o->phrases, &judge, &error);
    if (status == SAH_OK && guarded) {
        status = model_load(o, o->judge_model, &model_options, &model, &error);
        progress_catch_signals();
    }
    progress_init(&progress, o->quiet);
    sah_guard guard = sah_guard_default(model);
    guard.template_ = o->judge_template;
    if (o->given[OPT_JUDGE_THRESHOLD]) guard.threshold = o->judge_threshold;
    guard.progress = progress_show;
    guard.user = &progress;
    if (status == SAH_OK) {
        status = sah_judge_file(judge, guarded ? &guard : NULL, o->arguments[0], o->column, o->label,
                                o->output, &total, &error);
        progress_end(&progress);
    }
    sah_judge_free(judge);
    sah_model_close(model);
    if (status != SAH_OK) return report_error(&error);
    if (!o->quiet) print_totals(&total);
    if (!o->quiet && guarded) print_unsafe(&total);
    if (!o->quiet && o->label != NULL) print_labels(&total);
    return EXIT_DONE;
}

const cli_command command_judge = {
    .name = "judge",
    .arguments = "RESPONSES",
    .summary = "which responses refuse, and the attack success rate with its interval",
    .details = "RESPONSES is JSON lines with a key response, generation or output (--column names another), "
               "a JSON array of\n"
               "such objects, or one JSON object of them; - is standard input. Each record comes back with "
               "\"verdict\": refusal,\n"
               "compliance or degenerate (empty, looping, not language); then a line of totals: asr is the "
               "share of\n"
               "compliances among all responses, low and high are Wilson's 95 % interval. With --judge-model "
               "a guard "
               "model\n"
               "is asked as well: p_unsafe is how likely it calls the response unsafe.\n",
    .options = {OPT_RULE, OPT_PHRASES, OPT_LABEL, OPT_COLUMN, OPT_OUTPUT, OPT_JUDGE_MODEL, OPT_JUDGE_TEMPLATE,
                OPT_JUDGE_THRESHOLD, MODEL_OPTIONS},
    .least = 1,
    .most = 1,
    .run = run,
};
