/* SPDX-License-Identifier: Apache-2.0 */
/* sahara logits: next-token logits of one prompt, for checking against other programs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

/* "1 17 42" or "1,17,42" to ids, for which there is room; false when anything else is there. */
static bool read_ids(const char *text, int32_t *ids, size_t *n)
{
    for (const char *at = text + strspn(text, " ,"); *at; at += strspn(at, " ,")) {
        char *end;
        errno = 0;
        long value = strtol(at, &end, 10);
        if (end == at || errno != 0 || value < 0 || value > INT32_MAX || !strchr(" ,", *end)) return false;
        ids[(*n)++] = (int32_t)value;
        at = end;
    }
    return *n > 0;
}

static sah_status tokens_of(const sah_model *model, const cli_options *o, int32_t **ids, size_t *n,
                            sah_error *error)
{
    if (o->tokens_in) {
        *ids = malloc((strlen(o->tokens_in) + 1) * sizeof **ids);
        if (*ids == NULL) {
            snprintf(error->message, sizeof error->message, "not enough memory for the tokens");
            return error->status = SAH_OUT_OF_MEMORY;
        }
        if (read_ids(o->tokens_in, *ids, n)) return SAH_OK;
        snprintf(error->message, sizeof error->message,
                 "--tokens-in: expected token ids separated by blanks or commas");
        return error->status = SAH_BAD_ARGUMENT;
    }
    char *prompt = NULL;
    const char *template_ = o->template_ ? o->template_ : "none";
    sah_status status = sah_prompt_wrap(model, template_, o->system, o->text, &prompt, error);
    if (status == SAH_OK) status = sah_prompt_encode(model, template_, prompt, ids, n, error);
    if (status == SAH_OK && *n == 0) {
        snprintf(error->message, sizeof error->message, "--text holds no token");
        status = error->status = SAH_BAD_ARGUMENT;
    }
    free(prompt);
    return status;
}

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_model_options model_options = options_model(o);
    sah_model *model = NULL;
    sah_head *heads = NULL;
    sah_edit *edits = NULL;
    int32_t *ids = NULL;
    float *logits = NULL;
    char *text = NULL;
    size_t n_heads = 0, n_edits = 0, n = 0;
    if ((o->text != NULL) == (o->tokens_in != NULL))
        return usage_error("logits: give either --text or --tokens-in");

    sah_status status = sah_model_open(o->arguments[0], &model_options, &model, &error);
    if (status != SAH_OK) return report_error(&error);
    const sah_model_info *info = sah_model_describe(model);
    status = sah_heads_parse(o->ablate ? o->ablate : "", info, o->ablation.parts, &heads, &n_heads, &error);
    if (status == SAH_OK)
        status = sah_edits_new(info, heads, n_heads, &o->ablation, &edits, &n_edits, &error);
    if (status == SAH_OK) status = tokens_of(model, o, &ids, &n, &error);
    if (status == SAH_OK) logits = malloc((size_t)info->n_vocab * sizeof *logits);
    if (status == SAH_OK && logits) status = sah_logits(model, ids, n, edits, n_edits, logits, &error);
    if (status == SAH_OK && logits)
        status = sah_logits_text(ids, n, logits, (size_t)info->n_vocab, &text, &error);
    int result = status != SAH_OK ? report_error(&error)
                 : logits         ? write_result(o->output, text)
                                  : out_of_memory();
    free(text);
    free(logits);
    free(ids);
    free(edits);
    free(heads);
    sah_model_close(model);
    return result;
}

const cli_command command_logits = {
    .name = "logits",
    .arguments = "MODEL --text TEXT | --tokens-in \"IDS\"",
    .summary = "next-token logits of one prompt, with heads ablated if asked",
    .details =
        "Prints {\"tokens\":[...],\"logits\":[...]}: the prompt's token ids and a logit for every token of "
        "the\n"
        "vocabulary, for checking against other programs. --text is taken as it is unless --template says\n"
        "otherwise. --ablate names heads to ablate as --part, --op and --scale say.\n",
    .options = {MODEL_OPTIONS, ABLATION_OPTIONS, OPT_TEXT, OPT_TOKENS_IN, OPT_ABLATE, TEMPLATE_OPTIONS,
                OPT_MEMORY, OPT_OUTPUT},
    .least = 1,
    .most = 1,
    .run = run,
};
