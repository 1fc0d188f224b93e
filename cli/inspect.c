/* sahara inspect: what a model is, how it splits text, how it wraps a query. */
#include <stdlib.h>
#include <string.h>

#include "command.h"

static int print_tokens(const sah_model *model, const char *text)
{
    sah_error error = {0};
    int32_t *ids = NULL;
    size_t n;
    if (sah_encode(model, text, strlen(text), &ids, &n, &error) != SAH_OK) return report_error(&error);
    for (size_t i = 0; i < n; i++) printf("%s%d", i > 0 ? " " : "", (int)ids[i]);
    putchar('\n');
    free(ids);
    return EXIT_DONE;
}

static int print_prompt(const sah_model *model, const cli_options *options)
{
    sah_error error = {0};
    char *prompt = NULL;
    const char *name = options->template_ ? options->template_ : "chat";
    if (sah_prompt_wrap(model, name, options->system, options->prompt, &prompt, &error) != SAH_OK)
        return report_error(&error);
    puts(prompt);
    free(prompt);
    return EXIT_DONE;
}

static int run(const cli_options *options)
{
    sah_error error = {0};
    sah_model *model = NULL;
    sah_model_options model_options = {.adapter = options->adapter, .describe_only = true};
    char *text = NULL;
    if (sah_model_open(options->arguments[0], &model_options, &model, &error) != SAH_OK)
        return report_error(&error);
    int status = EXIT_DONE;
    if (options->tokens) status = print_tokens(model, options->tokens);
    if (options->prompt && status == EXIT_DONE) status = print_prompt(model, options);
    if (!options->tokens && !options->prompt) {
        if (sah_model_text(model, options->json, &text, &error) == SAH_OK)
            fputs(text, stdout);
        else
            status = report_error(&error);
    }
    free(text);
    sah_model_close(model);
    return status;
}

const cli_command command_inspect = {
    .name = "inspect",
    .arguments = "MODEL",
    .summary = "what a model is: family, shapes, types, template",
    .details =
        "Prints the model's family, shapes, tensor types, size and the chat template found, without loading\n"
        "weights. --tokens prints the ids of a text on one line (special tokens recognised, BOS only if the\n"
        "model asks for one), --prompt a text wrapped in the model's chat template.\n",
    .options = OPTION(OPT_TOKENS) | OPTION(OPT_PROMPT) | OPTION(OPT_TEMPLATE) | OPTION(OPT_SYSTEM) |
               OPTION(OPT_JSON) | OPTION(OPT_ADAPTER),
    .least = 1,
    .most = 1,
    .run = run,
};
