/* SPDX-License-Identifier: Apache-2.0 */
/* sahara report: results as a page, or as a picture. */
#include "command.h"
#include "ranking.h"

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_report_options options = {.order = options_order(o), .top = o->top, .step = o->step};
    if (o->output == NULL) return usage_error("report: -o FILE.html, FILE.svg or FILE.png is missing");
    sah_status status = sah_report(o->arguments, (size_t)o->n_arguments, &options, o->output, &error);
    return status == SAH_OK ? EXIT_DONE : report_error(&error);
}

const cli_command command_report = {
    .name = "report",
    .arguments = "RESULT... -o OUT",
    .summary = "results as one HTML page, or the heat map as SVG or PNG",
    .details = "OUT.html is one page that needs nothing else: for every result of ships, find and direction "
               "its settings, a heat\n"
               "map, the highest heads (--top), the steps of a search and the concentration; for one of "
               "judge the rates, by group\n"
               "of ablated heads; for several results how far they agree. OUT.svg and OUT.png are the heat "
               "map of one result\n"
               "(of several of ships that belong together: as rank takes them), of step --step.\n",
    .options = {OPT_OUTPUT, OPT_TOP, OPT_SORT, OPT_STEP},
    .least = 1,
    .most = -1,
    .run = run,
};
