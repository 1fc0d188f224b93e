/* SPDX-License-Identifier: Apache-2.0 */
/* sahara compare: how far results agree on the heads. */
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "ranking.h"
#include "table.h"

/* Opens the result at `path` and looks at the step asked for, where it has steps. */
static sah_status open_result(const char *path, size_t step, sah_result **out, sah_error *error)
{
    sah_status status = sah_result_open(&path, 1, out, error);
    if (status == SAH_OK && strcmp(sah_result_describe(*out)->command, "find") == 0)
        status = sah_result_select(*out, step, error);
    return status;
}

/* Harmful against harmless: the ranking that --contrast would have given in one run. */
static sah_status write_contrast(const cli_options *o, char **text, sah_error *error)
{
    sah_result *harmful = NULL, *harmless = NULL;
    sah_rank_options options = options_rank(o);
    sah_status status = sah_result_open(o->arguments, (size_t)o->n_arguments, &harmful, error);
    if (status == SAH_OK) status = sah_result_open(&o->contrast, 1, &harmless, error);
    if (status == SAH_OK) status = sah_result_contrast(harmful, harmless, error);
    if (status == SAH_OK && !o->quiet) status = print_verdicts(harmful, error);
    if (status == SAH_OK) status = sah_rank_text(harmful, &options, text, error);
    sah_result_close(harmful);
    sah_result_close(harmless);
    return status;
}

static sah_status write_overlap(const cli_options *o, char **text, sah_error *error)
{
    size_t n = (size_t)o->n_arguments;
    sah_rank_options options = options_rank(o);
    sah_status status = SAH_OK;
    sah_result **results = calloc(n, sizeof(sah_result *));
    if (results == NULL) {
        *error = (sah_error){.status = SAH_OUT_OF_MEMORY, .message = "not enough memory"};
        return SAH_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < n && status == SAH_OK; i++)
        status = open_result(o->arguments[i], o->step, &results[i], error);
    if (status == SAH_OK)
        status = sah_compare_text((const sah_result *const *)results, n, options.order, options.format, text,
                                  error);
    for (size_t i = 0; i < n; i++) sah_result_close(results[i]);
    free(results);
    return status;
}

static int run(const cli_options *o)
{
    sah_error error = {0};
    char *text = NULL;
    if (o->contrast == NULL && o->n_arguments < 2)
        return usage_error(
            "compare: give two results or more, or one and --contrast RESULT, the harmless one");
    if (o->format != NULL && strcmp(o->format, "reference") == 0)
        return usage_error("compare: --format is tsv or json");
    sah_status status =
        o->contrast != NULL ? write_contrast(o, &text, &error) : write_overlap(o, &text, &error);
    int code = status == SAH_OK ? table_write(o, text, rank_spare) : report_error(&error);
    free(text);
    return code;
}

const cli_command command_compare = {
    .name = "compare",
    .arguments = "RESULT RESULT...",
    .summary = "how far results agree on the heads; harmful against harmless",
    .details =
        "For every pair of results of ships, find or direction: Spearman's correlation over the heads that "
        "both\n"
        "have, and how many of the highest 5, 10 and 20 they share, beside what two random choices would.\n"
        "With --contrast it ranks one result of ships against one of the same model and settings on "
        "harmless\n"
        "queries, with verdicts, as if both had been scored in one run.\n",
    .options = {OPT_CONTRAST, OPT_FORMAT, OPT_SORT, OPT_STEP, OPT_TOP, OPT_OUTPUT},
    .least = 1,
    .most = -1,
    .run = run,
};
