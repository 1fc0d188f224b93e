/* SPDX-License-Identifier: Apache-2.0 */
/* sahara ablate: a checkpoint in which heads are ablated, an adapter is merged, or both. */
#include "command.h"
#include "progress.h"

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_strings notes = {0};
    cli_progress progress;
    sah_surgery_options options = {.heads = o->n_arguments > 1 ? o->arguments[1] : NULL,
                                   .ablation = o->ablation,
                                   .adapter = o->adapter,
                                   .progress = progress_show,
                                   .user = &progress};
    if (o->output == NULL)
        return usage_error("ablate: -o OUT is missing: a checkpoint does not go to standard output");
    if (o->n_arguments < 2 && o->adapter == NULL)
        return usage_error("ablate: HEADS are missing; they may be left out with --adapter only");
    progress_init(&progress, o->quiet);
    progress_catch_signals();
    sah_status status = sah_surgery(o->arguments[0], &options, o->output, &notes, &error);
    progress_end(&progress);
    int code = report_checkpoint(o, status, &notes, &error);
    sah_strings_free(&notes);
    return code;
}

const cli_command command_ablate = {
    .name = "ablate",
    .arguments = "MODEL HEADS -o OUT",
    .summary = "surgery: a checkpoint whose weights have heads ablated",
    .details = "Writes a checkpoint whose ordinary forward pass is that of MODEL with HEADS ablated (as "
               "5-6,18-8), in the\n"
               "format MODEL has: a directory for a directory, a .gguf file for a .gguf file. Only the "
               "edited tensors\n"
               "change. With --adapter the adapter is merged first; HEADS may then be left out. OUT must not "
               "exist.\n",
    .options = {ABLATION_OPTIONS, OPT_ADAPTER, OPT_OUTPUT},
    .least = 1,
    .most = 2,
    .run = run,
};
