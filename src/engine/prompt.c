/* SPDX-License-Identifier: Apache-2.0 */
/* A model's tokens, prompts and next-token logits: the public calls that need no run. */
#include <stdlib.h>
#include <string.h>

#include "engine/forward.h"
#include "model/template/template.h"
#include "util/alloc.h"
#include "util/error.h"

static sah_status need_tokenizer(const sah_model *model, sah_error *error)
{
    if (model->checkpoint->tokenizer) return SAH_OK;
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
    return model->checkpoint->tokenizer && sah_tokenizer_is_end(model->checkpoint->tokenizer, id);
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

sah_status sah_prompt_encode(const sah_model *model, const char *template_, const char *prompt, int32_t **ids,
                             size_t *n, sah_error *error)
{
    sah_status status = need_tokenizer(model, error);
    if (status != SAH_OK) return status;
    return sah_tokenizer_encode(model->checkpoint->tokenizer, prompt, strlen(prompt),
                                !sah_template_is_chat(template_), ids, n, error);
}

sah_status sah_logits(const sah_model *model, const int32_t *tokens, size_t n, const sah_edit *edits,
                      size_t n_edits, float *logits, sah_error *error)
{
    sah_forest *forest = NULL;
    sah_workspace *workspace = NULL;
    float *hidden = sah_alloc_aligned((size_t)model->config.d_model, sizeof *hidden);
    sah_status status = hidden ? SAH_OK : sah_fail_memory(error, "the forward pass");
    if (status == SAH_OK)
        status = sah_forest_new(&(sah_prompt){tokens, n}, 1, model->config.n_vocab, &forest, error);
    if (status == SAH_OK) status = sah_forward(model, forest, edits, n_edits, hidden, error);
    if (status == SAH_OK) status = sah_workspace_new(model->threads, &workspace, error);
    if (status == SAH_OK) status = sah_lm_head(model, workspace, hidden, 1, logits, error);
    sah_workspace_free(workspace);
    sah_forest_free(forest);
    free(hidden);
    return status;
}
