/* SPDX-License-Identifier: Apache-2.0 */
/* sahara graft: attention of one checkpoint, MLP of another. */
#include "command.h"
#include "progress.h"

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_strings notes = {0};
    cli_progress progress;
    sah_graft_options options = {.attention = o->attention,
                                 .mlp = o->mlp,
                                 .rest = o->given[OPT_REST] ? o->rest : o->mlp,
                                 .adapters = {o->adapter, o->adapter_b},
                                 .progress = progress_show,
                                 .user = &progress};
    if (o->output == NULL)
        return usage_error("graft: -o OUT is missing: a checkpoint does not go to standard output");
    if (!o->given[OPT_ATTENTION] || !o->given[OPT_MLP])
        return usage_error("graft: say whose weights to take: --attention A|B --mlp A|B");
    progress_init(&progress, o->quiet);
    progress_catch_signals();
    sah_status status = sah_graft(o->arguments[0], o->arguments[1], &options, o->output, &notes, &error);
    progress_end(&progress);
    int code = report_checkpoint(o, status, &notes, &error);
    sah_strings_free(&notes);
    return code;
}

const cli_command command_graft = {
    .name = "graft",
    .arguments = "MODEL_A MODEL_B -o OUT --attention A|B --mlp A|B",
    .summary = "a checkpoint with the attention of one model and the MLP of another",
    .details = "Writes a checkpoint whose attention weights (q, k, v, o, their biases, the norms of q and k) "
               "and MLP weights come\n"
               "from the models named; everything else (embedding, norms, LM head, configuration, tokenizer) "
               "comes from\n"
               "the model of --rest. Both must have the same shape and format; adapters are "
               "merged first, --adapter into A and\n"
               "--adapter-b into B. OUT must not exist.\n",
    .options = {OPT_ATTENTION, OPT_MLP, OPT_REST, OPT_ADAPTER, OPT_ADAPTER_B, OPT_OUTPUT},
    .least = 2,
    .most = 2,
    .run = run,
};
