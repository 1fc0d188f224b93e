/* SPDX-License-Identifier: Apache-2.0 */
/* sahara merge: the results of shards become one. */
#include <stdio.h>

#include "command.h"

static void print_missing(const cli_options *o, const sah_merge_report *r)
{
    const char *out = o->output != NULL ? o->output : "OUT";
    if (r->n_missing > 0) {
        fprintf(stderr, "%zu of %zu are missing:", r->n_missing, r->n_expected);
        for (size_t i = 0; i < r->missing.n; i++)
            fprintf(stderr, "%s %s", i > 0 ? "," : "", r->missing.items[i]);
        fprintf(stderr, "%s\n", r->n_missing > r->missing.n ? ", ..." : "");
    }
    for (size_t i = 0; i < r->shards.n; i++)
        fprintf(stderr, "  the shards' command with --shard %s -o %s\n", r->shards.items[i],
                r->shard_files.items[i][0] != '\0' ? r->shard_files.items[i] : "ANOTHER.jsonl");
    if (r->n_missing > 0)
        fprintf(stderr, "  %s their command without --shard, with -o %s, computes what is missing\n",
                r->shards.n > 0 ? "or" : "", out);
    else if (r->unfinished)
        fprintf(stderr,
                "every part is there; the shards' command without --shard, with -o %s, adds the last line\n",
                out);
}

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_merge_report report;
    bool done = false;
    sah_status status = sah_merge(o->arguments, (size_t)o->n_arguments, o->output, &report, &error);
    if (status != SAH_OK) return report_error(&error);
    if (report.unfinished && report.n_missing == 0) {
        status = sah_find_conclude(o->output, &done, &error);
        if (status == SAH_OK && !done) status = sah_utility_conclude(o->output, &done, &error);
        report.unfinished = !done;
    }
    if (status == SAH_OK) print_missing(o, &report);
    sah_merge_report_free(&report);
    return status == SAH_OK ? EXIT_DONE : report_error(&error);
}

const cli_command command_merge = {
    .name = "merge",
    .arguments = "SHARD... -o OUT",
    .summary = "one result of those of --shard runs",
    .details =
        "SHARD are the results of ships, find, direction, generate or utility that were run with --shard.\n"
        "Their headers must be equal; lines that are there more than once must be equal too, and are\n"
        "written once. Says what is missing and which command gives it. OUT may be there from an earlier\n"
        "merge. It is a result like any other: the same command without --shard carries it on.\n",
    .options = {OPT_OUTPUT},
    .least = 1,
    .most = -1,
    .run = run,
};
