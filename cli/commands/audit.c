/* SPDX-License-Identifier: Apache-2.0 */
/* sahara audit: does refusal hang on few heads? */
#include "command.h"
#include "loading.h"
#include "progress.h"

/* MODEL, or MODEL HARMFUL HARMLESS. Quick audits ask fewer queries. */
static sah_status read_queries(const cli_options *o, sah_strings *harmful, sah_strings *harmless,
                               sah_error *error)
{
    enum { QUICK = 24 };
    const size_t limit = o->limit > 0 ? o->limit : o->quick ? QUICK : 0;
    if (o->n_arguments == 3) {
        sah_status status = sah_queries_read(o->arguments[1], o->column, limit, harmful, error);
        return status == SAH_OK ? sah_queries_read(o->arguments[2], o->column, limit, harmless, error)
                                : status;
    }
    return sah_audit_queries(limit, harmful, harmless, error);
}

static sah_status print_estimate(const sah_model *model, const sah_strings *harmful,
                                 const sah_strings *harmless, const sah_audit_options *options,
                                 sah_error *error)
{
    double seconds;
    const sah_model_info *info = sah_model_describe(model);
    sah_status status = sah_audit_estimate(model, harmful, harmless, options, &seconds, error);
    if (status != SAH_OK) return status;
    fprintf(stderr, "audit: %zu harmful and %zu harmless queries, %d heads: about ", harmful->n, harmless->n,
            info->n_layers * info->n_heads);
    if (seconds < 100)
        fprintf(stderr, "%.0f s\n", seconds);
    else
        fprintf(stderr, "%.0f min\n", seconds / 60);
    return SAH_OK;
}

static int run(const cli_options *o)
{
    sah_error error = {0};
    const sah_model_options model_options = options_model(o);
    sah_strings harmful = {0}, harmless = {0};
    sah_model *model = NULL;
    cli_progress progress;
    sah_audit_result result;
    sah_audit_options options = {.template_ = o->template_,
                                 .system = o->system,
                                 .quick = o->quick,
                                 .max_new_tokens = o->max_new_tokens,
                                 .shard = o->shard,
                                 .progress = progress_show,
                                 .user = &progress};
    if (o->output == NULL) return usage_error("audit: -o DIR, where the cards and results go, is missing");
    if (o->n_arguments == 2) return usage_error("audit: give both HARMFUL and HARMLESS, or neither");
    sah_status status = read_queries(o, &harmful, &harmless, &error);
    if (status == SAH_OK) status = model_load(o, o->arguments[0], &model_options, &model, &error);
    if (status == SAH_OK) {
        progress_init(&progress, o->quiet);
        progress_catch_signals();
        if (!o->quiet) status = print_estimate(model, &harmful, &harmless, &options, &error);
        if (status == SAH_OK)
            status = sah_audit(model, &harmful, &harmless, &options, o->output, &result, &error);
        progress_end(&progress);
        if (status == SAH_OK && result.is_part) {
            if (!o->quiet)
                fprintf(stderr,
                        "%s\nWhen all shards are done, sahara merge DIR... -o OUT unites what they wrote; "
                        "this command "
                        "without --shard, with -o OUT,\nthen does what is left.\n",
                        result.sentence);
        } else if (status == SAH_OK) {
            printf("%s\n%s/card.html, card.md, card.json\n", result.sentence, o->output);
        }
    }
    sah_model_close(model);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    return status == SAH_OK ? EXIT_DONE : report_error(&error);
}

const cli_command command_audit = {
    .name = "audit",
    .arguments = "MODEL [HARMFUL HARMLESS] -o DIR",
    .summary = "the whole question in one run: does refusal hang on few heads?",
    .details =
        "Asks harmful and harmless queries (80 of each of its own unless files are given). Every second\n"
        "query serves to look for the heads that refusal hangs on (Ships with signed effect by q and by v,\n"
        "the refusal direction, a search for a group); those heads are ablated on the other queries, beside\n"
        "random heads. DIR gets card.html, card.md, card.json and the results behind them. An interrupted\n"
        "audit carries on when the same command is given again. --quick: 24 queries of each kind, by q\n"
        "alone, shorter responses, no search.\n",
    .options = {MODEL_OPTIONS, QUERY_OPTIONS, OPT_OUTPUT, OPT_MEMORY, OPT_MAX_NEW_TOKENS, OPT_QUICK,
                OPT_SHARD},
    .least = 1,
    .most = 3,
    .run = run,
};
