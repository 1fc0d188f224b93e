/* SPDX-License-Identifier: Apache-2.0 */
#include "run/prompts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint/heads.h"
#include "model/checkpoint/identity.h"
#include "model/template/thinking.h"
#include "run/interchange.h"
#include "run/journal.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/utf8.h"

/* ---- Queries to a forest ------------------------------------------------------------------------------- */

sah_status sah_run_prompt(const sah_model *model, const char *template_, const char *system,
                          const char *query, char **prompt, int32_t **tokens, size_t *n, sah_error *error)
{
    int limit = sah_model_describe(model)->max_positions;
    *prompt = NULL;
    *tokens = NULL;
    sah_status status = sah_prompt_wrap(model, template_, system, query, prompt, error);
    if (status == SAH_OK) status = sah_prompt_encode(model, template_, *prompt, tokens, n, error);
    if (status == SAH_OK && limit > 0 && *n > (size_t)limit) {
        status = sah_fail(error, SAH_FAILED, "the query \"%.60s\" makes %zu tokens, but the model takes %d",
                          query, *n, limit);
    }
    return status;
}

sah_status sah_run_prompts_new(const sah_model *model, const sah_strings *const *lists, size_t n_lists,
                               const char *template_, const char *system, sah_run_prompts *out,
                               sah_error *error)
{
    sah_status status = SAH_OK;
    size_t total = 0;
    *out = (sah_run_prompts){0};
    for (size_t l = 0; l < n_lists; l++) total += lists[l] != NULL ? lists[l]->n : 0;
    out->tokens = sah_alloc(total, sizeof *out->tokens);
    out->items = sah_alloc(total, sizeof *out->items);
    out->opened = sah_alloc(total, sizeof *out->opened);
    if (out->tokens == NULL || out->items == NULL || out->opened == NULL)
        return sah_fail_memory(error, "the prompts");
    for (size_t l = 0; l < n_lists && status == SAH_OK; l++) {
        for (size_t i = 0; lists[l] != NULL && i < lists[l]->n && status == SAH_OK; i++) {
            char *prompt;
            int32_t **tokens = &out->tokens[out->n];
            const char **opened = &out->opened[out->n];
            sah_prompt *item = &out->items[out->n++];
            status = sah_run_prompt(model, template_, system, lists[l]->items[i], &prompt, tokens, &item->n,
                                    error);
            item->tokens = *tokens;
            if (status == SAH_OK) *opened = sah_opens_thinking(prompt, strlen(prompt));
            free(prompt);
        }
    }
    return status;
}

void sah_run_prompts_free(sah_run_prompts *prompts)
{
    for (size_t i = 0; i < prompts->n; i++) free(prompts->tokens[i]);
    for (size_t i = 0; prompts->sources != NULL && i < prompts->n; i++) free(prompts->sources[i]);
    free(prompts->sources);
    free(prompts->tokens);
    free(prompts->items);
    free(prompts->opened);
    *prompts = (sah_run_prompts){0};
}

sah_status sah_run_forest(const sah_model *model, const sah_strings *const *lists, size_t n_lists,
                          const sah_run_options *options, const char *default_template,
                          const size_t *query_of, sah_donors **donors, sah_forest **out, sah_error *error)
{
    const char *template_ = options->template_ != NULL ? options->template_ : default_template;
    sah_run_prompts prompts;
    *out = NULL;
    *donors = NULL;
    sah_status status =
        sah_run_prompts_new(model, lists, n_lists, template_, options->system, &prompts, error);
    if (status == SAH_OK)
        status = sah_interchange_donors(model, &options->ablation, &options->interchange, template_,
                                        options->system, query_of, &prompts, donors, error);
    if (status == SAH_OK)
        status = sah_forest_new(prompts.items, prompts.n, model->config.n_vocab, out, error);
    if (status == SAH_OK) (*out)->donors = *donors;
    sah_run_prompts_free(&prompts);
    return status;
}

/* ---- Heads --------------------------------------------------------------------------------------------- */

sah_run_options sah_run_options_default(void)
{
    return (sah_run_options){.ablation = sah_ablation_default()};
}

sah_run_options sah_run_resolve(const sah_run_options *options)
{
    if (options == NULL) return sah_run_options_default();
    sah_run_options out = *options;
    out.ablation = sah_ablation_resolve(&options->ablation);
    return out;
}

sah_line_sink sah_run_sink(const sah_run_options *options)
{
    return (sah_line_sink){options->line, options->line_user};
}

int sah_run_heads_of_layer(const sah_model_info *info, const sah_ablation *ablation)
{
    return ablation->parts == SAH_PART_K ? info->n_kv_heads : info->n_heads;
}

/* [*from, *to) inside [0, n); 0:0 means all. */
static sah_status check_range(const char *name, int n, int *from, int *to, sah_error *error)
{
    if (*from == 0 && *to == 0) *to = n;
    if (*from >= 0 && *from < *to && *to <= n) return SAH_OK;
    return sah_fail_field(error, SAH_BAD_ARGUMENT, name, " %d:%d: the model has %s 0:%d", *from, *to, name,
                          n);
}

/* Heads of a layer that have the parts: q and k mean nothing where there is no attention. */
static int heads_here(const sah_model *model, unsigned parts, int layer)
{
    const sah_layer_kind kind = sah_config_layer(&model->config, layer);
    if (kind.mixer != SAH_MIXER_ATTENTION && parts != SAH_PART_V) return 0;
    return parts == SAH_PART_K ? kind.n_kv_heads : kind.n_heads;
}

sah_status sah_run_heads(const sah_model *model, const sah_run_options *options, sah_head **heads, size_t *n,
                         sah_error *error)
{
    const sah_model_info *info = sah_model_describe(model);
    int layer_from = options->layer_from, layer_to = options->layer_to;
    int head_from = options->head_from, head_to = options->head_to;
    *heads = NULL;
    *n = 0;
    if (options->ablation.parts == 0)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "part", ": no part to ablate");
    sah_status status = check_range("layers", info->n_layers, &layer_from, &layer_to, error);
    if (status == SAH_OK) {
        status = check_range("heads", sah_run_heads_of_layer(info, &options->ablation), &head_from, &head_to,
                             error);
    }
    if (status != SAH_OK) return status;
    *heads = sah_alloc_table((size_t)(layer_to - layer_from), (size_t)(head_to - head_from), sizeof **heads);
    if (*heads == NULL) return sah_fail_memory(error, "the heads");
    for (int l = layer_from; l < layer_to; l++) {
        const int most = heads_here(model, options->ablation.parts, l);
        for (int h = head_from; h < head_to && h < most; h++) (*heads)[(*n)++] = (sah_head){l, h};
    }
    if (*n > 0) return SAH_OK;
    free(*heads);
    *heads = NULL;
    return sah_fail(
        error, SAH_BAD_ARGUMENT,
        "none of these heads has what is to be ablated: layers without attention have only part v");
}

bool sah_run_note_products(bool differs, json_t *settings)
{
    return !differs || json_object_set_new(settings, "products", json_string("differences")) == 0;
}

bool sah_run_add_heads(json_t *settings, const sah_model *model, const sah_run_options *options)
{
    const sah_model_info *info = sah_model_describe(model);
    const int usual = sah_run_heads_of_layer(info, &options->ablation);
    json_t *list = json_array();
    bool differ = false, good = list != NULL;
    for (int l = 0; l < info->n_layers && good; l++) {
        const int n = heads_here(model, options->ablation.parts, l);
        differ = differ || n != usual;
        good = json_array_append_new(list, json_integer(n)) == 0;
    }
    if (good && differ) good = json_object_set(settings, "heads_of_layers", list) == 0;
    json_decref(list);
    return good;
}

bool sah_head_read(const char *text, int n_layers, int n_heads, sah_head *out)
{
    char again[32];
    if (sscanf(text, "%6d-%6d", &out->layer, &out->head) != 2) return false;
    if (out->layer < 0 || out->layer >= n_layers || out->head < 0 || out->head >= n_heads) return false;
    snprintf(again, sizeof again, "%d-%d", out->layer, out->head);
    return strcmp(again, text) == 0;
}

/* ---- Settings ------------------------------------------------------------------------------------------ */

bool sah_run_note_template(const sah_model *model, const char *template_, json_t *settings)
{
    return sah_template_note(&(sah_template){template_, &model->checkpoint->chat, &model->template_settings},
                             settings);
}

bool sah_run_note_device(const sah_model *model, json_t *settings)
{
    const char *device = sah_model_describe(model)->device;
    return model->device->host || json_object_set_new(settings, "device", json_string(device)) == 0;
}

json_t *sah_run_settings(const sah_model *model, const sah_run_options *options, const char *default_template)
{
    const sah_model_info *info = sah_model_describe(model);
    const sah_ablation *ablation = &options->ablation;
    bool scale = ablation->op == SAH_OP_SCALE;
    int heads = sah_run_heads_of_layer(info, ablation);
    bool all_layers = options->layer_from == 0 && options->layer_to == 0;
    bool all_heads = options->head_from == 0 && options->head_to == 0;
    const char *template_ = options->template_ != NULL ? options->template_ : default_template;
    char parts[8];
    sah_parts_name(ablation->parts, parts);
    json_t *settings =
        json_pack("{s:s, s:s, s:o, s:s, s:s?, s:s, s:[i,i], s:[i,i]}", "part", parts, "op",
                  sah_op_name(ablation->op), "scale", scale ? sah_json_float(ablation->factor) : json_null(),
                  "template", template_, "system", options->system, "precision", info->precision, "layers",
                  options->layer_from, all_layers ? info->n_layers : options->layer_to, "heads",
                  options->head_from, all_heads ? heads : options->head_to);
    if (sah_run_note_device(model, settings) && sah_run_note_template(model, template_, settings))
        return settings;
    json_decref(settings);
    return NULL;
}

bool sah_run_add_refusal(json_t *header, const sah_run_options *options)
{
    const sah_refusal_check *check = &options->refusal;
    if (check->sampled == 0) return true;
    json_t *record =
        json_pack("{s:I, s:I}", "sampled", (json_int_t)check->sampled, "refused", (json_int_t)check->refused);
    if (check->thinking > 0 && record != NULL &&
        json_object_set_new(record, "thinking", json_integer((json_int_t)check->thinking)) != 0) {
        json_decref(record);
        return false;
    }
    return json_object_set_new(header, "refusal_check", record) == 0;
}

bool sah_run_add_matching(json_t *header, const sah_matching *matching)
{
    if (matching->from == 0) return true;
    return json_object_set_new(header, "contrast_matched",
                               json_pack("{s:s, s:I, s:f, s:f}", "by", "tokens", "from",
                                         (json_int_t)matching->from, "tokens", matching->tokens,
                                         "contrast_tokens", matching->contrast_tokens)) == 0;
}

json_t *sah_run_strings(const sah_strings *strings)
{
    json_t *array = json_array();
    for (size_t i = 0; i < strings->n; i++) {
        if (json_array_append_new(array, json_string(strings->items[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

sah_status sah_run_no_header(const sah_strings *queries, const sah_strings *contrast, const char *template_,
                             const char *system, sah_error *error)
{
    const sah_strings *lists[] = {queries, contrast};
    const char *texts[] = {template_, system};
    for (int l = 0; l < 2; l++)
        for (size_t i = 0; lists[l] != NULL && i < lists[l]->n; i++)
            if (!sah_utf8_valid(lists[l]->items[i], strlen(lists[l]->items[i])))
                return sah_fail(error, SAH_BAD_ARGUMENT, "%s %zu is not UTF-8",
                                l == 0 ? "query" : "contrast query", i + 1);
    for (int i = 0; i < 2; i++)
        if (texts[i] != NULL && !sah_utf8_valid(texts[i], strlen(texts[i])))
            return sah_fail(error, SAH_BAD_ARGUMENT, "the %s is not UTF-8",
                            i == 0 ? "template" : "system prompt");
    return sah_fail_memory(error, "the header");
}
