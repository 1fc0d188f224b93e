/* SPDX-License-Identifier: Apache-2.0 */
/* sahara inspect: what a model is, how it splits text, how it wraps a query. */
#include <stdlib.h>
#include <string.h>

#include "command.h"

static sah_status add_tokens(const sah_model *model, const char *text, FILE *out, sah_error *error)
{
    int32_t *ids = NULL;
    size_t n;
    sah_status status = sah_encode(model, text, strlen(text), &ids, &n, error);
    if (status != SAH_OK) return status;
    for (size_t i = 0; i < n; i++) fprintf(out, "%s%d", i > 0 ? " " : "", (int)ids[i]);
    fputc('\n', out);
    free(ids);
    return SAH_OK;
}

static sah_status add_prompt(const sah_model *model, const cli_options *options, FILE *out, sah_error *error)
{
    char *prompt = NULL;
    const char *name = options->template_ != NULL ? options->template_ : "chat";
    sah_status status = sah_prompt_wrap(model, name, options->system, options->prompt, &prompt, error);
    if (status == SAH_OK) fprintf(out, "%s\n", prompt);
    free(prompt);
    return status;
}

static sah_status add_description(const sah_model *model, bool json, FILE *out, sah_error *error)
{
    char *text = NULL;
    sah_status status = sah_model_text(model, json, &text, error);
    if (status == SAH_OK) fputs(text, out);
    free(text);
    return status;
}

/* 1 where something is not supported: a script can ask. */
static int run_check(const cli_options *options)
{
    sah_error error = {0};
    sah_checks checks;
    const sah_model_options model_options = options_model(options);
    char *text = NULL;
    bool good = true;
    if (options->tokens != NULL || options->prompt != NULL)
        return usage_error("--check cannot be combined with --tokens or --prompt");
    sah_status status = sah_check(options->arguments[0], &model_options, &checks, &error);
    if (status == SAH_OK) status = sah_checks_text(&checks, options->json, &text, &error);
    if (status != SAH_OK) return report_error(&error);
    for (size_t i = 0; i < checks.n; i++) good = good && checks.lines[i].support != SAH_UNSUPPORTED;
    int code = write_result(options->output, text);
    free(text);
    return code == EXIT_DONE && !good ? EXIT_FAILED : code;
}

static int run(const cli_options *options)
{
    if (options->check) return run_check(options);
    sah_error error = {0};
    sah_model *model = NULL;
    sah_model_options model_options = options_model(options);
    model_options.describe_only = true;
    char *text = NULL;
    size_t size = 0;
    sah_status status = sah_model_open(options->arguments[0], &model_options, &model, &error);
    if (status != SAH_OK) return report_error(&error);
    FILE *out = open_memstream(&text, &size);
    if (out != NULL && options->tokens != NULL) status = add_tokens(model, options->tokens, out, &error);
    if (out != NULL && options->prompt != NULL && status == SAH_OK)
        status = add_prompt(model, options, out, &error);
    if (out != NULL && options->tokens == NULL && options->prompt == NULL)
        status = add_description(model, options->json, out, &error);
    bool written = out != NULL && !ferror(out);
    written = out != NULL && fclose(out) == 0 && written && text != NULL;
    int code = status != SAH_OK ? report_error(&error)
               : written        ? write_result(options->output, text)
                                : out_of_memory();
    free(text);
    sah_model_close(model);
    return code;
}

const cli_command command_inspect = {
    .name = "inspect",
    .arguments = "MODEL",
    .summary = "what a model is: family, shapes, types, template",
    .details =
        "Prints the model's family, shapes, tensor types, size and the chat template found, without loading\n"
        "weights. --tokens prints the ids of a text on one line (special tokens recognised, BOS only if the\n"
        "model asks for one), --prompt a text wrapped in the model's chat template. --check loads the "
        "model,\n"
        "runs a prompt, and says for each part whether it is supported: yes, partly, no or none, with "
        "reasons;\n"
        "the exit status is 1 where one is not.\n",
    .options = {OPT_CHECK, OPT_TOKENS, OPT_PROMPT, TEMPLATE_OPTIONS, OPT_JSON, MODEL_OPTIONS, OPT_OUTPUT},
    .least = 1,
    .most = 1,
    .run = run,
};
