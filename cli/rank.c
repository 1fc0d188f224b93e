/* sahara rank: the heads of result files in order. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "command.h"

static int terminal_width(void)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static sah_rank_options rank_options(const cli_options *o)
{
    sah_rank_options options = {.by_query = o->by_query, .top = o->top};
    if (o->format)
        options.format = strcmp(o->format, "json") == 0        ? SAH_FORMAT_JSON
                         : strcmp(o->format, "reference") == 0 ? SAH_FORMAT_REFERENCE
                                                               : SAH_FORMAT_TSV;
    if (o->sort)
        options.order = strcmp(o->sort, "mean") == 0    ? SAH_ORDER_MEAN
                        : strcmp(o->sort, "count") == 0 ? SAH_ORDER_COUNT
                                                        : SAH_ORDER_DIFFERENCE;
    return options;
}

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_result *result = NULL;
    char *text = NULL;
    sah_rank_options options = rank_options(o);
    sah_status status = sah_result_open(o->arguments, (size_t)o->n_arguments, &result, &error);
    if (status == SAH_OK) {
        const sah_result_info *info = sah_result_describe(result);
        bool colour = isatty(STDOUT_FILENO) && !o->output && !getenv("NO_COLOR");
        if (info->n_scored < info->n_expected && !o->quiet)
            fprintf(stderr, "the run is not finished: %zu of %zu heads\n", info->n_scored, info->n_expected);
        status = o->heat ? sah_heat_map(result, colour, terminal_width(), &text, &error)
                         : sah_rank_text(result, &options, &text, &error);
    }
    int code = status == SAH_OK ? write_result(o->output, text) : report_error(&error);
    free(text);
    sah_result_close(result);
    return code;
}

const cli_command command_rank = {
    .name = "rank",
    .arguments = "RESULT...",
    .summary = "the heads of results in order, with counts and intervals",
    .details = "Heads in order of mean KL, or of harmful minus harmless where the result has contrast "
               "queries: mean,\n"
               "95 % bootstrap interval over queries, sum, and in how many queries the head is among the ten "
               "highest.\n"
               "Several results of one model and the same settings are taken together. --heat draws layers "
               "by heads.\n",
    .options = OPTION(OPT_TOP) | OPTION(OPT_BY_QUERY) | OPTION(OPT_FORMAT) | OPTION(OPT_SORT) |
               OPTION(OPT_HEAT) | OPTION(OPT_OUTPUT),
    .least = 1,
    .most = -1,
    .run = run,
};
