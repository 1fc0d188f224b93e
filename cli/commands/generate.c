/* SPDX-License-Identifier: Apache-2.0 */
/* sahara generate: responses, with heads ablated if asked. */
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "interchange.h"
#include "loading.h"
#include "progress.h"

/* The first --sweep-heads heads of the result file: those that a search of so many steps chose, else in the
 * order of `sahara rank`. */
static sah_status heads_of_result(const cli_options *o, const sah_model_info *model, sah_head **heads,
                                  size_t *n, sah_error *error)
{
    sah_result *result = NULL;
    sah_ranked *ranked = NULL;
    size_t n_ranked = 0;
    int per_layer = o->ablation.parts == SAH_PART_K ? model->n_kv_heads : model->n_heads;
    sah_status status = sah_result_open(&o->from, 1, &result, error);
    if (status != SAH_OK) return status;
    const sah_result_info *info = sah_result_describe(result);
    if (info->n_layers != model->n_layers || info->n_heads != per_layer) {
        snprintf(error->message, sizeof error->message,
                 "--from %.200s: %d layers of %d heads there, %d of %d here; is --part the same?", o->from,
                 info->n_layers, info->n_heads, model->n_layers, per_layer);
        status = error->status = SAH_BAD_ARGUMENT;
    }
    if (status == SAH_OK && info->parts != 0 && info->parts != o->ablation.parts && !o->quiet)
        fprintf(stderr,
                "warning: %s chose its heads by another part than is ablated here; is --part the same?\n",
                o->from);
    if (status == SAH_OK) status = sah_rank(result, SAH_ORDER_DEFAULT, &ranked, &n_ranked, error);
    if (status == SAH_OK && n_ranked < o->sweep_heads.most) {
        snprintf(error->message, sizeof error->message,
                 "--sweep-heads %zu: %.200s has scores of only %zu heads", o->sweep_heads.most, o->from,
                 n_ranked);
        status = error->status = SAH_BAD_ARGUMENT;
    }
    if (status == SAH_OK && (*heads = calloc(o->sweep_heads.most, sizeof **heads)) == NULL) {
        *error = (sah_error){.status = SAH_OUT_OF_MEMORY, .message = "not enough memory for the heads"};
        status = SAH_OUT_OF_MEMORY;
    }
    sah_chosen chosen;
    bool searched = status == SAH_OK && sah_result_chosen(result, o->sweep_heads.most - 1, &chosen);
    for (size_t i = 0; status == SAH_OK && i < o->sweep_heads.most; i++)
        (*heads)[(*n)++] = searched && sah_result_chosen(result, i, &chosen) ? chosen.head : ranked[i].head;
    free(ranked);
    sah_result_close(result);
    return status;
}

static sah_generate_options options_generate(const cli_options *o)
{
    bool drawn = o->given[OPT_TOP_K] || o->given[OPT_TOP_P];
    sah_generate_options options = sah_generate_options_default();
    options.template_ = o->template_;
    options.system = o->system;
    if (o->max_new_tokens > 0) options.max_new_tokens = o->max_new_tokens;
    options.temperature = o->given[OPT_TEMPERATURE] ? o->temperature : drawn ? 1.0 : 0.0;
    options.top_k = o->top_k;
    options.top_p = o->top_p;
    options.seed = o->seed;
    options.ablation = o->ablation;
    options.curve = o->sweep_heads.most > 0;
    options.counts = o->sweep_heads.items;
    options.n_counts = o->sweep_heads.n;
    options.random = o->given[OPT_RANDOM_HEADS];
    options.random_seed = o->random_seed;
    options.shard = o->shard;
    return options;
}

static int run(const cli_options *o)
{
    sah_error error = {0};
    sah_model_options model_options = options_model(o);
    model_options.generates = true;
    sah_generate_options options = options_generate(o);
    sah_model *model = NULL;
    sah_strings queries = {0};
    sah_head *heads = NULL;
    cli_progress progress;
    cli_interchange interchange;
    int usage = interchange_usage(o, "generate");
    if (usage != EXIT_DONE) return usage;
    if ((o->sweep_heads.most > 0) != (o->from != NULL))
        return usage_error("generate: --sweep-heads N and --from RESULT need each other");
    if (o->sweep_heads.most > 0 && o->ablate != NULL)
        return usage_error("generate: give either --ablate or --sweep-heads");
    if (options.random && !options.curve) return usage_error("generate: --random-heads needs --sweep-heads");

    sah_status status = interchange_read(o, o->arguments[1], &queries, &interchange, &error);
    if (status == SAH_OK) status = model_load(o, o->arguments[0], &model_options, &model, &error);
    if (status == SAH_OK) {
        const sah_model_info *info = sah_model_describe(model);
        status = options.curve ? heads_of_result(o, info, &heads, &options.n_heads, &error)
                               : sah_heads_parse(o->ablate != NULL ? o->ablate : "", info, o->ablation.parts,
                                                 &heads, &options.n_heads, &error);
    }
    if (status == SAH_OK) {
        bool chat = strcmp(sah_model_describe(model)->chat_template, "none") != 0;
        status = interchange_pair(o, model, chat ? "chat" : "none", &queries, NULL, &interchange, &error);
    }
    if (status == SAH_OK) {
        options.interchange = interchange.options;
        progress_init(&progress, o->quiet);
        progress_catch_signals();
        options.heads = heads;
        options.progress = progress_show;
        options.user = &progress;
        status = sah_generate(model, &queries, &options, options_output(o), &error);
        progress_end(&progress);
    }
    free(heads);
    sah_model_close(model);
    sah_strings_free(&queries);
    interchange_close(&interchange);
    return status == SAH_OK ? EXIT_DONE : report_error(&error);
}

const cli_command command_generate = {
    .name = "generate",
    .arguments = "MODEL QUERIES -o OUT",
    .summary = "responses to queries, with heads ablated if asked",
    .details = "Greedy unless --temperature, --top-k or --top-p ask for drawn tokens. All queries decode "
               "together; a response\n"
               "ends at one of the model's end tokens or after --max-new-tokens. The template is the model's "
               "chat template\n"
               "where it has one, else none. OUT is a journal of JSON lines; an interrupted run carries on "
               "where it stopped.\n"
               "--sweep-heads N --from RESULT answers with 0, 1, ... N of the first heads of a result "
               "ablated.\n",
    .options = {MODEL_OPTIONS, ABLATION_OPTIONS, PARTNER_OPTIONS, QUERY_OPTIONS, OPT_OUTPUT, OPT_MEMORY,
                OPT_ABLATE, OPT_MAX_NEW_TOKENS, OPT_TEMPERATURE, OPT_TOP_K, OPT_TOP_P, OPT_SEED,
                OPT_SWEEP_HEADS, OPT_FROM, OPT_RANDOM_HEADS, OPT_SHARD},
    .least = 2,
    .most = 2,
    .run = run,
};
