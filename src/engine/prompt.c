/* SPDX-License-Identifier: Apache-2.0 */
/* A model's tokens, prompts and next-token logits: the public calls that need no run. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/block.h"
#include "engine/donors.h"
#include "engine/forward.h"
#include "model/template/template.h"
#include "util/alloc.h"
#include "util/error.h"

static sah_status need_tokenizer(const sah_model *model, sah_error *error)
{
    if (model->checkpoint->tokenizer != NULL) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "%s has no tokenizer (tokenizer.json or tokenizer.model)",
                    model->info.name);
}

sah_status sah_encode(const sah_model *model, const char *text, size_t length, int32_t **ids, size_t *n,
                      sah_error *error)
{
    sah_status status = need_tokenizer(model, error);
    return status == SAH_OK
               ? sah_tokenizer_encode(model->checkpoint->tokenizer, text, length, true, ids, n, error)
               : status;
}

sah_status sah_decode(const sah_model *model, const int32_t *ids, size_t n, bool skip_special, char **text,
                      sah_error *error)
{
    sah_status status = need_tokenizer(model, error);
    return status == SAH_OK
               ? sah_tokenizer_decode(model->checkpoint->tokenizer, ids, n, skip_special, text, error)
               : status;
}

sah_status sah_decode_response(const sah_model *model, const int32_t *ids, size_t n, char **text,
                               sah_error *error)
{
    sah_status status = need_tokenizer(model, error);
    return status == SAH_OK ? sah_tokenizer_decode_response(model->checkpoint->tokenizer, ids, n, text, error)
                            : status;
}

bool sah_is_end_token(const sah_model *model, int32_t id)
{
    return model->checkpoint->tokenizer != NULL && sah_tokenizer_is_end(model->checkpoint->tokenizer, id);
}

static sah_template template_of(const sah_model *model, const char *name)
{
    return (sah_template){name, &model->checkpoint->chat, &model->template_settings};
}

sah_status sah_prompt_wrap(const sah_model *model, const char *template_, const char *system,
                           const char *query, char **prompt, sah_error *error)
{
    const sah_template named = template_of(model, template_);
    return sah_template_wrap(&named, system, query, prompt, error);
}

sah_status sah_prompt_chat(const sah_model *model, const char *template_, const sah_message *messages,
                           size_t n, bool answer, char **prompt, sah_error *error)
{
    const sah_template named = template_of(model, template_);
    return sah_template_converse(&named, messages, n, answer, prompt, error);
}

/* "1 17 42" or "1,17,42" */
static sah_status read_ids(const char *text, int32_t **ids, size_t *n, sah_error *error)
{
    static const char BETWEEN[] = " \t,";
    int32_t *out = sah_alloc(strlen(text) / 2 + 1, sizeof *out);
    size_t count = 0;
    bool good = true;
    if (out == NULL) return sah_fail_memory(error, "the tokens");
    for (const char *at = text + strspn(text, BETWEEN); good && *at != '\0'; at += strspn(at, BETWEEN)) {
        char *end;
        errno = 0;
        const long value = strtol(at, &end, 10);
        good = *at >= '0' && *at <= '9' && errno == 0 && value <= INT32_MAX && strchr(BETWEEN, *end) != NULL;
        if (good) out[count++] = (int32_t)value;
        at = end;
    }
    if (good && count > 0) {
        *ids = out;
        *n = count;
        return SAH_OK;
    }
    free(out);
    return sah_fail(error, SAH_BAD_ARGUMENT,
                    "the prompt \"%.60s\" is not a list of token ids, such as 1 17 42", text);
}

sah_status sah_prompt_encode(const sah_model *model, const char *template_, const char *prompt, int32_t **ids,
                             size_t *n, sah_error *error)
{
    if (strcmp(template_, "tokens") == 0) return read_ids(prompt, ids, n, error);
    sah_status status = need_tokenizer(model, error);
    if (status != SAH_OK) return status;
    return sah_tokenizer_encode(model->checkpoint->tokenizer, prompt, strlen(prompt),
                                !sah_template_is_chat(template_), ids, n, error);
}

/* ---- Passes over prompts ------------------------------------------------------------------------------- */

static sah_status forest_of(const sah_model *model, const sah_tokens *prompts, size_t n, sah_forest **out,
                            sah_error *error)
{
    *out = NULL;
    if (n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no prompt");
    sah_prompt *list = sah_alloc(n, sizeof *list);
    if (list == NULL) return sah_fail_memory(error, "the prompts");
    for (size_t i = 0; i < n; i++) list[i] = (sah_prompt){.tokens = prompts[i].ids, .n = prompts[i].n};
    sah_status status = sah_forest_new(list, n, model->config.n_vocab, out, error);
    free(list);
    return status;
}

/* Next-token logits after each prompt of a forest. */
static sah_status logits_of(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                            size_t n_edits, float *logits, sah_error *error)
{
    enum { ROWS = 64 }; /* of the LM head at once */
    const size_t d = (size_t)model->config.d_model, V = (size_t)model->config.n_vocab,
                 n = (size_t)forest->n_prompts;
    sah_workspace *workspace = NULL;
    float *hidden = NULL;
    size_t numbers;
    if (sah_mul(n, d, &numbers)) hidden = sah_alloc_aligned(numbers, sizeof *hidden);
    sah_status status = hidden != NULL ? SAH_OK : sah_fail_memory(error, "the forward pass");
    if (status == SAH_OK) status = sah_forward(model, forest, edits, n_edits, hidden, error);
    if (status == SAH_OK) status = sah_workspace_new(model->device, model->threads, &workspace, error);
    for (size_t i = 0; i < n && status == SAH_OK; i += ROWS) {
        const size_t rows = n - i < ROWS ? n - i : ROWS;
        status = sah_lm_head_logits(model, workspace, hidden + i * d, (int64_t)rows, logits + i * V, error);
    }
    sah_workspace_free(workspace);
    free(hidden);
    return status;
}

sah_status sah_logits_batch(const sah_model *model, const sah_tokens *prompts, size_t n,
                            const sah_edit *edits, size_t n_edits, float *logits, sah_error *error)
{
    sah_forest *forest = NULL;
    sah_status status = forest_of(model, prompts, n, &forest, error);
    if (status == SAH_OK) status = logits_of(model, forest, edits, n_edits, logits, error);
    sah_forest_free(forest);
    return status;
}

sah_status sah_logits(const sah_model *model, const int32_t *tokens, size_t n, const sah_edit *edits,
                      size_t n_edits, float *logits, sah_error *error)
{
    return sah_logits_batch(model, &(sah_tokens){tokens, n}, 1, edits, n_edits, logits, error);
}

/* Where sah_hidden_states() puts what it sees. */
typedef struct seen {
    const sah_model *model;
    const sah_forest *forest;
    float *residual; /* [n_prompts, L + 1, d] or NULL */
    float *last; /* [n_ends, d] residual that leaves the last layer */
} seen;

static void see(void *ctx, sah_place place, int layer, const double *rows)
{
    seen *s = ctx;
    const size_t d = (size_t)s->model->config.d_model, L = (size_t)s->model->config.n_layers;
    if (place != SAH_PLACE_INPUT) return;
    for (size_t i = 0; i < (size_t)s->forest->n_prompts && s->residual != NULL; i++) {
        const double *row = rows + (size_t)s->forest->end_of[i] * d;
        float *to = s->residual + (i * (L + 1) + (size_t)layer) * d;
        for (size_t j = 0; j < d; j++) to[j] = (float)row[j];
    }
    for (size_t i = 0; i < (size_t)s->forest->n_ends * d && (size_t)layer == L; i++)
        s->last[i] = (float)rows[i];
}

/* hidden [n_prompts, d] of the residual of the ends behind the last layer. */
static sah_status norm_ends(const sah_model *model, const sah_forest *forest, const float *last,
                            float *hidden, sah_error *error)
{
    const size_t d = (size_t)model->config.d_model, numbers = (size_t)forest->n_ends * d;
    sah_workspace *workspace = NULL;
    float *ends = sah_device_alloc(model->device, numbers, sizeof *ends);
    sah_status status = ends != NULL ? sah_workspace_new(model->device, model->threads, &workspace, error)
                                     : sah_fail_memory(error, "the forward pass");
    if (status == SAH_OK) status = model->device->upload(last, numbers * sizeof *ends, ends, error);
    if (status == SAH_OK) {
        sah_final_norm(model, workspace, ends, forest->n_ends, ends);
        status = sah_spread_ends(model->device, forest, ends, (int64_t)d, hidden, error);
    }
    sah_workspace_free(workspace);
    sah_device_free(model->device, ends);
    return status;
}

sah_status sah_hidden_states(const sah_model *model, const sah_tokens *prompts, size_t n,
                             const sah_edit *edits, size_t n_edits, float *residual, float *final,
                             sah_error *error)
{
    const size_t d = (size_t)model->config.d_model;
    seen s = {.model = model, .residual = residual};
    sah_forest *forest = NULL;
    sah_status status = forest_of(model, prompts, n, &forest, error);
    if (status != SAH_OK) return status;
    s.forest = forest;
    s.last = sah_alloc_aligned((size_t)forest->n_ends * d, sizeof *s.last);
    if (s.last == NULL) status = sah_fail_memory(error, "the forward pass");
    if (status == SAH_OK)
        status = sah_forward_observe(model, forest, edits, n_edits, &(sah_observer){see, &s}, error);
    if (status == SAH_OK && final != NULL) status = norm_ends(model, forest, s.last, final, error);
    sah_forest_free(forest);
    free(s.last);
    return status;
}

/* What the edits' operation takes of the donors. */
static sah_status kind_of(const sah_edit *edits, size_t n_edits, const sah_donor_prompts *donors,
                          sah_donor_kind *kind, sah_error *error)
{
    bool swap = false;
    for (size_t i = 0; i < n_edits; i++) swap = swap || edits[i].op == SAH_OP_SWAP;
    *kind = swap ? SAH_DONOR_PARTNERS : donors->all_positions ? SAH_DONOR_MEAN : SAH_DONOR_MEANS;
    if (swap && donors->n != 1)
        return sah_fail(error, SAH_BAD_ARGUMENT, "a prompt has one partner, not %zu", donors->n);
    return SAH_OK;
}

sah_status sah_logits_interchanged(const sah_model *model, const int32_t *tokens, size_t n,
                                   const sah_edit *edits, size_t n_edits, const sah_donor_prompts *donors,
                                   float *logits, sah_error *error)
{
    sah_donors *made = NULL;
    sah_forest *forest = NULL;
    sah_donor_kind kind;
    if (n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "prompt 0 has no token");
    sah_prompt *prompts = sah_alloc(donors->n, sizeof *prompts);
    int32_t *source = sah_alloc(n, sizeof *source);
    sah_status status =
        prompts != NULL && source != NULL ? SAH_OK : sah_fail_memory(error, "the prompts that stand in");
    for (size_t i = 0; i < donors->n && status == SAH_OK; i++)
        prompts[i] = (sah_prompt){.tokens = donors->prompts[i].ids, .n = donors->prompts[i].n};
    if (status == SAH_OK) status = kind_of(edits, n_edits, donors, &kind, error);
    if (status == SAH_OK)
        status = sah_donors_new(kind, prompts, donors->n, model->config.n_vocab, &made, error);
    if (status == SAH_OK) {
        sah_donors_sources(made, 0, n, n, source);
        const sah_prompt prompt = {.tokens = tokens, .n = n, .source = source};
        status = sah_forest_new(&prompt, 1, model->config.n_vocab, &forest, error);
    }
    if (status == SAH_OK) {
        forest->donors = made;
        status = logits_of(model, forest, edits, n_edits, logits, error);
    }
    sah_forest_free(forest);
    sah_donors_free(made);
    free(prompts);
    free(source);
    return status;
}
