/* SPDX-License-Identifier: Apache-2.0 */
/* sahara merge: the results of shards become one. Of folders, which shards of an audit write, the files of one name. */
#include <stdio.h>
#include <sys/stat.h>

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

/* ---- Folders ---------------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int run_folders(const cli_options *o)
{
    sah_error error = {0};
    sah_strings notes = {0};
    for (int i = 0; i < o->n_arguments; i++)
        if (!is_folder(o->arguments[i]))
            return usage_error("merge: give either files or folders, all of one run");
    if (o->output == NULL) return usage_error("merge: -o OUT, the folder of the united results, is missing");
    sah_status status = sah_audit_merge(o->arguments, (size_t)o->n_arguments, o->output, &notes, &error);
    for (size_t i = 0; i < notes.n; i++) fprintf(stderr, "%s\n", notes.items[i]);
    if (status == SAH_OK)
        fprintf(stderr, "the shards' command without --shard, with -o %s, does what is left\n", o->output);
    sah_strings_free(&notes);
    return status == SAH_OK ? EXIT_DONE : report_error(&error);
}

/* ---- Files ------------------------------------------------------------------------------------------------ */

static int run(const cli_options *o)
{
    if (is_folder(o->arguments[0])) return run_folders(o);
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
    .summary = "unites the results of --shard runs into one",
    .details =
        "Each SHARD is a result of ships, find, direction, generate or utility that was run with --shard.\n"
        "Their headers must be equal; lines that occur more than once must be equal too, and are written\n"
        "once. Says what is missing and which command computes it. OUT may exist from an earlier merge. It\n"
        "is a result like any other: the same command without --shard carries it on. Where the SHARDs are\n"
        "the folders of an audit's shards, OUT is a folder, and files of the same name become one.\n",
    .options = {OPT_OUTPUT},
    .least = 1,
    .most = -1,
    .run = run,
};
