/* SPDX-License-Identifier: Apache-2.0 */
/* sahara direction: the refusal direction, and each head's part in it. */
#include <string.h>

#include "loading.h"
#include "scoring.h"

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_model_options model_options = options_model(o);
    sah_direction_options options = {
        .template_ = o->template_, .system = o->system, .layer = o->layer, .save = o->save_directions};
    sah_model *model = NULL;
    sah_strings harmful = {0}, harmless = {0};

    sah_status status = sah_queries_read(o->arguments[1], o->column, o->limit, &harmful, &error);
    if (status == SAH_OK) status = read_contrast(o, o->arguments[2], &harmless, &error);
    if (status == SAH_OK) status = model_load(o, o->arguments[0], &model_options, &model, &error);
    if (status == SAH_OK) {
        const sah_model_info *info = sah_model_describe(model);
        bool chat = strcmp(info->chat_template, "none") != 0;
        status =
            match_length(o, model, &harmful, chat ? "chat" : "ships", &harmless, &options.matching, &error);
    }
    if (status == SAH_OK)
        status = sah_direction(model, &harmful, &harmless, &options, options_output(o), &error);
    sah_model_close(model);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    return status == SAH_OK ? EXIT_DONE : report_error(&error);
}

const cli_command command_direction = {
    .name = "direction",
    .arguments = "MODEL HARMFUL HARMLESS -o OUT",
    .summary = "the refusal direction, and each head's part in it",
    .details =
        "At the last prompt token: the mean residual over harmful queries less that over harmless ones is a "
        "direction;\n"
        "what a head writes, projected on it, is the head's part. One forward pass, no ablation. The "
        "template is the\n"
        "model's chat template where it has one, else ships. OUT is a journal of JSON lines.\n",
    .options = {MODEL_OPTIONS, QUERY_OPTIONS, OPT_MEMORY, OPT_OUTPUT, OPT_LAYER, OPT_MATCH_LENGTH,
                OPT_SAVE_DIRECTIONS},
    .least = 3,
    .most = 3,
    .run = run,
};
