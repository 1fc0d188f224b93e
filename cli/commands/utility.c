/* SPDX-License-Identifier: Apache-2.0 */
/* sahara utility: what a model can still do, with heads ablated and without. */
#include <math.h>
#include <stdlib.h>

#include "command.h"
#include "loading.h"
#include "progress.h"

static void print_share(const char *name, sah_share base, sah_share score, sah_share difference,
                        bool compared)
{
    fprintf(stderr, "%-12s", name);
    if (compared) fprintf(stderr, "%6.1f %%  ->  ", 100 * base.value);
    fprintf(stderr, "%6.1f %%", 100 * score.value);
    if (compared)
        fprintf(stderr, "  difference %+.1f (95 %% interval %+.1f to %+.1f)\n", 100 * difference.value,
                100 * difference.low, 100 * difference.high);
    else
        fprintf(stderr, "  (95 %% interval %.1f to %.1f)\n", 100 * score.low, 100 * score.high);
}

static void print_perplexity(const char *name, double base, double score, bool compared)
{
    fprintf(stderr, "%-12s", name);
    if (compared) fprintf(stderr, "%8.4g  ->  ", base);
    fprintf(stderr, "%8.4g", score);
}

static void print_totals(const sah_utility_totals *t)
{
    if (t->n_items > 0) {
        fprintf(stderr, "%llu items%s\n", (unsigned long long)t->n_items,
                t->compared ? ", unablated -> ablated" : "");
        print_share("acc", t->base.acc, t->score.acc, t->acc_difference, t->compared);
        print_share("acc_norm", t->base.acc_norm, t->score.acc_norm, t->acc_norm_difference, t->compared);
    }
    if (t->n_tokens > 0) {
        sah_share log = t->log_perplexity_difference;
        fprintf(stderr, "%llu tokens, %llu words\n", (unsigned long long)t->n_tokens,
                (unsigned long long)t->n_words);
        print_perplexity("perplexity", t->base.perplexity, t->score.perplexity, t->compared);
        if (t->compared)
            fprintf(stderr, "  times %.4g (95 %% interval %.4g to %.4g)", exp(log.value), exp(log.low),
                    exp(log.high));
        fputc('\n', stderr);
        print_perplexity("of a word", t->base.word_perplexity, t->score.word_perplexity, t->compared);
        fputc('\n', stderr);
    }
}

static sah_status measure(const cli_options *o, const sah_model *model, const sah_items *items,
                          sah_utility_totals *totals, sah_error *error)
{
    const sah_model_info *info = sah_model_describe(model);
    sah_head *heads = NULL;
    size_t n_heads = 0;
    cli_progress progress;
    sah_status status =
        sah_heads_parse(o->ablate != NULL ? o->ablate : "", info, o->ablation.parts, &heads, &n_heads, error);
    if (status != SAH_OK) return status;
    sah_utility_options options = {
        .items = items,
        .delimiter = o->delimiter,
        .text = o->perplexity,
        .window = o->window,
        .heads = heads,
        .n_heads = n_heads,
        .run = options_run(o),
    };
    progress_init(&progress, o->quiet);
    progress_catch_signals();
    options.run.progress = progress_show;
    options.run.user = &progress;
    status = sah_utility(model, &options, options_output(o), totals, error);
    progress_end(&progress);
    free(heads);
    return status;
}

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_model_options model_options = options_model(o);
    sah_model *model = NULL;
    sah_items items = {0};
    sah_utility_totals totals;
    bool has_items = o->n_arguments > 1;
    if (!has_items && o->perplexity == NULL)
        return usage_error("utility: give ITEMS, --perplexity FILE or both; see sahara utility --help");
    sah_status status = SAH_OK;
    if (has_items) status = sah_items_read(o->arguments[1], o->limit, &items, &error);
    if (status == SAH_OK) status = model_load(o, o->arguments[0], &model_options, &model, &error);
    if (status == SAH_OK) status = measure(o, model, has_items ? &items : NULL, &totals, &error);
    sah_model_close(model);
    sah_items_free(&items);
    if (status != SAH_OK) return report_error(&error);
    if (!o->quiet && totals.n_items + totals.n_tokens > 0) print_totals(&totals);
    return EXIT_DONE;
}

const cli_command command_utility = {
    .name = "utility",
    .arguments = "MODEL [ITEMS] [--perplexity FILE] [--ablate HEADS]",
    .summary = "multiple-choice accuracy and perplexity, with heads ablated and without",
    .details =
        "ITEMS is JSON lines {\"context\":\"...\",\"choices\":[\"...\",\"...\"],\"label\":0}, or an array of "
        "them. A choice's\n"
        "score is the sum of its tokens' log-likelihoods after the context, as in the LM Evaluation "
        "Harness: acc\n"
        "takes the highest, acc_norm the highest per byte of the choice. --perplexity scores a text in "
        "windows.\n"
        "With --ablate the unablated model runs beside it, and the differences come with 95 % intervals. "
        "The\n"
        "result is a journal of JSON lines; an interrupted run carries on where it stopped.\n",
    .options = {MODEL_OPTIONS, ABLATION_OPTIONS, OPT_ABLATE, OPT_PERPLEXITY, OPT_WINDOW, OPT_DELIMITER,
                TEMPLATE_OPTIONS, OPT_LIMIT, OPT_MEMORY, OPT_OUTPUT, OPT_SHARD},
    .least = 1,
    .most = 2,
    .run = run,
};
