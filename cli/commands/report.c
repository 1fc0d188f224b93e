/* SPDX-License-Identifier: Apache-2.0 */
/* sahara report: results as a page, or as a picture. */
#include "command.h"
#include "ranking.h"

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_report_options options = {
        .top = o->top, .step = o->step, .order = options_order(o), .width_mm = o->width};
    if (o->output == NULL)
        return usage_error("report: -o FILE.html, FILE.svg, FILE.png or FILE.tsv is missing");
    sah_status status = sah_report(o->arguments, (size_t)o->n_arguments, &options, o->output, &error);
    return status == SAH_OK ? EXIT_DONE : report_error(&error);
}

const cli_command command_report = {
    .name = "report",
    .arguments = "RESULT... -o OUT",
    .summary = "results as one HTML page, or the heat map as SVG or PNG",
    .details = "OUT.html is one page that needs nothing else: for every result of ships, find and direction "
               "a heat map to\n"
               "point at, for all queries or one, heads to sort and filter, harmful against harmless, the "
               "steps of a\n"
               "search; of judge and utility the curves of refusal and perplexity as heads are ablated; "
               "responses before\n"
               "and after; how far results agree; settings, and the commands to repeat it all.\n"
               "OUT.svg and OUT.png are the heat map of one result (of several of ships that belong "
               "together: as rank\n"
               "takes them), of step --step, for a paper: sizes in millimetres, at most --width. OUT.tsv "
               "holds its numbers.\n",
    .options = {OPT_OUTPUT, OPT_TOP, OPT_STEP, OPT_SORT, OPT_WIDTH},
    .least = 1,
    .most = -1,
    .run = run,
};
