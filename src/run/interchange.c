/* SPDX-License-Identifier: Apache-2.0 */
#include "run/interchange.h"

#include <stdlib.h>

#include "util/alloc.h"
#include "util/error.h"

const char *sah_op_name(sah_op op)
{
    static const char *const NAMES[] = {[SAH_OP_SCALE] = "scale",
                                        [SAH_OP_MEAN] = "mean",
                                        [SAH_OP_SWAP] = "swap",
                                        [SAH_OP_MEAN_DATA] = "mean-data"};
    return NAMES[op];
}

sah_status sah_interchange_check(const sah_ablation *ablation, const sah_interchange *interchange,
                                 size_t n_queries, sah_error *error)
{
    if (ablation->op == SAH_OP_MEAN_DATA &&
        (interchange->reference == NULL || interchange->reference->n == 0))
        return sah_fail(error, SAH_BAD_ARGUMENT, "mean-data needs a reference list of queries");
    if (ablation->op != SAH_OP_SWAP) return SAH_OK;
    if (interchange->partners == NULL)
        return sah_fail(error, SAH_BAD_ARGUMENT, "swap needs a partner for each query");
    if (interchange->partners->n == n_queries) return SAH_OK;
    return sah_fail(error, SAH_BAD_ARGUMENT, "%zu partners for %zu queries", interchange->partners->n,
                    n_queries);
}

/* The texts that stand in, a partner for each prompt or the whole reference list; items are the lists' own. */
static sah_status list_texts(const sah_ablation *ablation, const sah_interchange *interchange,
                             const size_t *query_of, size_t n_prompts, sah_strings *out, sah_error *error)
{
    const bool swap = ablation->op == SAH_OP_SWAP;
    const sah_strings *from = swap ? interchange->partners : interchange->reference;
    const size_t n = swap ? n_prompts : from->n;
    *out = (sah_strings){.items = sah_alloc(n, sizeof *out->items), .n = n};
    if (out->items == NULL) return sah_fail_memory(error, "the prompts that stand in");
    for (size_t i = 0; i < n; i++) {
        const size_t at = swap && query_of != NULL ? query_of[i] : i;
        if (at >= from->n)
            return sah_fail(error, SAH_BAD_ARGUMENT, "%zu partners, none for query %zu", from->n, at + 1);
        out->items[i] = from->items[at];
    }
    return SAH_OK;
}

static sah_status fill_sources(const sah_donors *donors, sah_run_prompts *prompts, sah_error *error)
{
    prompts->sources = sah_alloc(prompts->n, sizeof *prompts->sources);
    if (prompts->sources == NULL) return sah_fail_memory(error, "the prompts that stand in");
    for (size_t i = 0; i < prompts->n; i++) {
        sah_prompt *prompt = &prompts->items[i];
        prompts->sources[i] = sah_alloc(prompt->n, sizeof **prompts->sources);
        if (prompts->sources[i] == NULL) return sah_fail_memory(error, "the prompts that stand in");
        sah_donors_sources(donors, i, prompt->n, prompt->n, prompts->sources[i]);
        prompt->source = prompts->sources[i];
    }
    return SAH_OK;
}

sah_status sah_interchange_donors(const sah_model *model, const sah_ablation *ablation,
                                  const sah_interchange *interchange, const char *template_,
                                  const char *system, const size_t *query_of, sah_run_prompts *prompts,
                                  sah_donors **donors, sah_error *error)
{
    sah_strings texts = {0};
    const sah_strings *const list[] = {&texts};
    sah_run_prompts theirs = {0};
    const sah_donor_kind kind = ablation->op == SAH_OP_SWAP  ? SAH_DONOR_PARTNERS
                                : interchange->all_positions ? SAH_DONOR_MEAN
                                                             : SAH_DONOR_MEANS;
    *donors = NULL;
    if (!sah_op_takes_donors(ablation->op)) return SAH_OK;
    sah_status status = sah_interchange_check(
        ablation, interchange, interchange->partners != NULL ? interchange->partners->n : 0, error);
    if (status == SAH_OK) status = list_texts(ablation, interchange, query_of, prompts->n, &texts, error);
    if (status == SAH_OK) status = sah_run_prompts_new(model, list, 1, template_, system, &theirs, error);
    if (status == SAH_OK)
        status = sah_donors_new(kind, theirs.items, theirs.n, model->config.n_vocab, donors, error);
    if (status == SAH_OK) status = fill_sources(*donors, prompts, error);
    sah_run_prompts_free(&theirs);
    free(texts.items);
    if (status == SAH_OK) return SAH_OK;
    sah_donors_free(*donors);
    *donors = NULL;
    return status;
}

/* Part of a list as a JSON array. */
static json_t *list_part(const sah_strings *list, size_t from, size_t n)
{
    const sah_strings part = {.items = list->items + from, .n = n};
    return sah_run_strings(&part);
}

bool sah_interchange_note(json_t *header, const sah_ablation *ablation, const sah_interchange *interchange,
                          size_t n_queries)
{
    json_t *settings = json_object_get(header, "settings");
    if (ablation->op == SAH_OP_MEAN_DATA)
        return json_object_set_new(header, "reference", sah_run_strings(interchange->reference)) == 0 &&
               json_object_set_new(settings, "positions",
                                   json_string(interchange->all_positions ? "all" : "end")) == 0;
    if (ablation->op != SAH_OP_SWAP) return true;
    const sah_strings *partners = interchange->partners;
    const char *pairing[2] = {interchange->pairing, interchange->contrast_pairing};
    bool good =
        json_object_set_new(header, "partners", list_part(partners, 0, n_queries)) == 0 &&
        json_object_set_new(settings, "pairing", json_string(pairing[0] != NULL ? pairing[0] : "given")) == 0;
    if (good && interchange->direction != NULL)
        good = json_object_set_new(settings, "direction", json_string(interchange->direction)) == 0;
    if (good && partners->n > n_queries)
        good = json_object_set_new(header, "contrast_partners",
                                   list_part(partners, n_queries, partners->n - n_queries)) == 0 &&
               json_object_set_new(settings, "contrast_pairing",
                                   json_string(pairing[1] != NULL ? pairing[1] : "given")) == 0;
    return good;
}
