/* SPDX-License-Identifier: Apache-2.0 */
/* sahara bench: how fast, against what this machine can do. */
#include <stdlib.h>

#include "command.h"
#include "loading.h"
#include "progress.h"

static sah_status measure(const cli_options *o, const sah_model *model, const sah_strings *queries,
                          char **text, sah_error *error)
{
    sah_run_options options = options_run(o);
    sah_bench_result result;
    cli_progress progress;
    progress_init(&progress, o->quiet);
    progress_catch_signals();
    options.progress = progress_show;
    options.user = &progress;
    sah_status status = sah_bench(model, queries, &options, &result, error);
    progress_end(&progress);
    return status == SAH_OK ? sah_bench_text(&result, o->json, text, error) : status;
}

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_model_options model_options = options_model(o);
    sah_model *model = NULL;
    sah_strings queries = {0};
    char *text = NULL;
    bool given = o->n_arguments > 1;
    if (!given && (o->given[OPT_COLUMN] || o->given[OPT_LIMIT]))
        return usage_error("bench: --column and --limit need QUERIES");
    sah_status status = SAH_OK;
    if (given) status = sah_queries_read(o->arguments[1], o->column, o->limit, &queries, &error);
    if (status == SAH_OK) status = model_load(o, o->arguments[0], &model_options, &model, &error);
    if (status == SAH_OK) status = measure(o, model, given ? &queries : NULL, &text, &error);
    int code = status == SAH_OK ? write_result(o->output, text) : report_error(&error);
    free(text);
    sah_model_close(model);
    sah_strings_free(&queries);
    return code;
}

const cli_command command_bench = {
    .name = "bench",
    .arguments = "MODEL [QUERIES]",
    .summary = "how fast the sweep runs, against what this machine can do",
    .details =
        "Runs Ships of two heads of every layer (or of --layers and --heads) on QUERIES, or on a dozen that "
        "are\n"
        "built in, and reports the useful operations a second as a share of what the matrix products alone "
        "reach\n"
        "here, where the rest of the time goes, what sharing saves, and memory.\n",
    .options = {MODEL_OPTIONS, ABLATION_OPTIONS, QUERY_OPTIONS, SWEEP_OPTIONS, OPT_OUTPUT, OPT_JSON},
    .least = 1,
    .most = 2,
    .run = run,
};
