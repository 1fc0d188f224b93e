/* SPDX-License-Identifier: Apache-2.0 */
/* sahara logits: next-token logits of one prompt, for checking against other programs. */
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "interchange.h"
#include "loading.h"

static sah_status no_memory(sah_error *error)
{
    snprintf(error->message, sizeof error->message, "not enough memory for the tokens");
    return error->status = SAH_OUT_OF_MEMORY;
}

static sah_status text_tokens(const sah_model *model, const cli_options *o, const char *option,
                              const char *text, int32_t **ids, size_t *n, sah_error *error)
{
    char *prompt = NULL;
    const char *template_ = o->template_ != NULL ? o->template_ : "none";
    sah_status status = sah_prompt_wrap(model, template_, o->system, text, &prompt, error);
    if (status == SAH_OK) status = sah_prompt_encode(model, template_, prompt, ids, n, error);
    if (status == SAH_OK && *n == 0) {
        snprintf(error->message, sizeof error->message, "--%s \"%.60s\" holds no token", option, text);
        status = error->status = SAH_BAD_ARGUMENT;
    }
    free(prompt);
    return status;
}

static sah_status tokens_of(const sah_model *model, const cli_options *o, int32_t **ids, size_t *n,
                            sah_error *error)
{
    if (o->tokens_in == NULL) return text_tokens(model, o, "text", o->text, ids, n, error);
    if (sah_prompt_encode(model, "tokens", o->tokens_in, ids, n, error) != SAH_BAD_ARGUMENT)
        return error->status;
    snprintf(error->message, sizeof error->message,
             "--tokens-in: expected token ids separated by blanks or commas");
    return error->status = SAH_BAD_ARGUMENT;
}

/* ---- What stands in ------------------------------------------------------------------------------------ */

typedef struct donor_tokens {
    int32_t **ids;
    sah_tokens *prompts; /* the same */
    size_t n;
} donor_tokens;

static void donors_free(donor_tokens *donors)
{
    for (size_t i = 0; i < donors->n; i++) free(donors->ids[i]);
    free(donors->ids);
    free(donors->prompts);
}

/* The partner, which is the first of its file, or the reference list. Beside --tokens-in a line of ids is ids. */
static sah_status read_donors(const sah_model *model, const cli_options *o, donor_tokens *out,
                              sah_error *error)
{
    sah_strings texts = {0};
    const char *option = o->ablation.op == SAH_OP_SWAP ? "partners" : "reference";
    sah_status status = o->ablation.op == SAH_OP_SWAP
                            ? sah_partners_read(o->partners, NULL, 1, &texts, error)
                            : sah_queries_read(o->reference, NULL, 0, &texts, error);
    if (status != SAH_OK) return status;
    out->ids = calloc(texts.n, sizeof *out->ids);
    out->prompts = calloc(texts.n, sizeof *out->prompts);
    if (out->ids == NULL || out->prompts == NULL) status = no_memory(error);
    for (size_t i = 0; i < texts.n && status == SAH_OK; i++) {
        int32_t **ids = &out->ids[i];
        size_t *n = &out->prompts[i].n;
        out->n++;
        if (o->tokens_in != NULL &&
            sah_prompt_encode(model, "tokens", texts.items[i], ids, n, error) == SAH_OK)
            continue;
        *error = (sah_error){0};
        status = text_tokens(model, o, option, texts.items[i], ids, n, error);
    }
    for (size_t i = 0; i < out->n; i++) out->prompts[i].ids = out->ids[i];
    sah_strings_free(&texts);
    return status;
}

static sah_status compute(const sah_model *model, const cli_options *o, const int32_t *ids, size_t n,
                          const sah_edit *edits, size_t n_edits, float *logits, sah_error *error)
{
    donor_tokens donors = {0};
    if (n_edits == 0 || (o->ablation.op != SAH_OP_SWAP && o->ablation.op != SAH_OP_MEAN_DATA))
        return sah_logits(model, ids, n, edits, n_edits, logits, error);
    sah_status status = read_donors(model, o, &donors, error);
    const sah_donor_prompts prompts = {donors.prompts, donors.n, o->positions == 1};
    if (status == SAH_OK)
        status = sah_logits_interchanged(model, ids, n, edits, n_edits, &prompts, logits, error);
    donors_free(&donors);
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
    int usage = interchange_usage(o, "logits");
    if (usage != EXIT_DONE) return usage;
    if (o->ablation.op == SAH_OP_SWAP && o->partners == NULL)
        return usage_error("logits: --op swap needs --partners FILE");

    sah_status status = model_load(o, o->arguments[0], &model_options, &model, &error);
    if (status != SAH_OK) return report_error(&error);
    const sah_model_info *info = sah_model_describe(model);
    status = sah_heads_parse(o->ablate != NULL ? o->ablate : "", info, o->ablation.parts, &heads, &n_heads,
                             &error);
    if (status == SAH_OK)
        status = sah_edits_new(info, heads, n_heads, &o->ablation, &edits, &n_edits, &error);
    if (status == SAH_OK) status = tokens_of(model, o, &ids, &n, &error);
    if (status == SAH_OK) logits = malloc((size_t)info->n_vocab * sizeof *logits);
    if (status == SAH_OK && logits != NULL)
        status = compute(model, o, ids, n, edits, n_edits, logits, &error);
    if (status == SAH_OK && logits != NULL)
        status = sah_logits_text(ids, n, logits, (size_t)info->n_vocab, &text, &error);
    int result = status != SAH_OK ? report_error(&error)
                 : logits != NULL ? write_result(o->output, text)
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
        "otherwise. --ablate names heads to ablate as --part, --op and --scale say; with --op swap the first "
        "of\n"
        "--partners is the prompt's partner.\n",
    .options = {MODEL_OPTIONS, ABLATION_OPTIONS, OPT_PARTNERS, OPT_REFERENCE, OPT_POSITIONS, OPT_TEXT,
                OPT_TOKENS_IN, OPT_ABLATE, TEMPLATE_OPTIONS, OPT_MEMORY, OPT_OUTPUT},
    .least = 1,
    .most = 1,
    .run = run,
};
