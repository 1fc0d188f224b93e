/* SPDX-License-Identifier: Apache-2.0 */
/* sahara rank: the heads of result files in order. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "ranking.h"
#include "table.h"

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_result *result = NULL;
    char *text = NULL;
    sah_rank_options options = options_rank(o);
    sah_status status = sah_result_open(o->arguments, (size_t)o->n_arguments, &result, &error);
    if (status == SAH_OK) status = sah_result_select(result, o->step, &error);
    if (status == SAH_OK) {
        const sah_result_info *info = sah_result_describe(result);
        bool colour = isatty(STDOUT_FILENO) && o->output == NULL && getenv("NO_COLOR") == NULL;
        if (info->n_screened > 0 && !o->quiet)
            fprintf(stderr, "screened: %zu of %zu heads are scored exactly; the others come after them\n",
                    info->n_scored, info->n_expected);
        else if (info->n_scored < info->n_expected && !o->quiet)
            fprintf(stderr, "the run is not finished: %zu of %zu heads\n", info->n_scored, info->n_expected);
        status = o->concentration ? sah_concentration_text(result, options.format, &text, &error)
                 : o->heat ? sah_heat_map(result, options.order, colour, terminal_width(), &text, &error)
                           : sah_rank_text(result, &options, &text, &error);
        if (status == SAH_OK && !o->by_query && !o->concentration && !o->quiet)
            status = print_verdicts(result, &error);
    }
    int code = status != SAH_OK ? report_error(&error)
               : o->heat        ? write_result(o->output, text)
                                : table_write(o, text, rank_spare);
    free(text);
    sah_result_close(result);
    return code;
}

const cli_command command_rank = {
    .name = "rank",
    .arguments = "RESULT...",
    .summary = "the heads of results in order, with counts and intervals",
    .details =
        "Reads results of ships, find and direction. Heads in order of mean KL (ships) or shift (find), "
        "or of harmful\n"
        "minus harmless where the result has contrast queries; then each with a verdict: safety, general, "
        "undecided, or\n"
        "negligible. Intervals are 95 % bootstrap intervals over queries. Several results of ships, of one "
        "model and\n"
        "the same settings, are taken together. --heat draws layers by heads,\n"
        "--concentration says how few heads carry half of the score. Results of ships with openings also "
        "have the\n"
        "signed effect, nats a token, on refused and on answered queries, and a verdict by it; --sort effect "
        "puts\n"
        "the heads first whose ablation weakens refusals most, less twice what it does to answers.\n",
    .options = {OPT_TOP, OPT_BY_QUERY, OPT_FORMAT, OPT_SORT, OPT_HEAT, OPT_STEP, OPT_CONCENTRATION,
                OPT_OUTPUT},
    .least = 1,
    .most = -1,
    .run = run,
};
