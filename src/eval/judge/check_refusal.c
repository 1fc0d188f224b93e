/* SPDX-License-Identifier: Apache-2.0 */
/* Does the model refuse these queries at all? A few tokens of greedy response to a sample of them. */
#include <stdlib.h>
#include <string.h>

#include "run/prompts.h"
#include "eval/generate/respond.h"
#include "eval/judge/judge.h"
#include "model/template/thinking.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/splitmix.h"

/* Refusals stand in the first words. */
enum { MOST_QUERIES = 16, MOST_TOKENS = 16 };

typedef struct check {
    const sah_model *model;
    const sah_judge *judge;
    const char *opened[MOST_QUERIES]; /* the mark with which a prompt opens the thinking, or NULL */
    sah_refusal_check *out;
} check;

static sah_status take_reply(void *ctx, const sah_reply *reply, sah_error *error)
{
    check *c = ctx;
    char *text = NULL;
    sah_finding found;
    sah_status status = sah_decode_response(c->model, reply->tokens, reply->n, &text, error);
    if (status == SAH_OK)
        status = sah_judge_find(c->judge, c->opened[reply->prompt], text, strlen(text), &found, error);
    if (status == SAH_OK) c->out->refused += found.verdict == SAH_REFUSAL;
    if (status == SAH_OK) c->out->thinking += strcmp(found.reason, SAH_REASON_THINKING) == 0;
    free(text);
    return status;
}

/* The first n of `order` become a random choice of 0..total-1 (Fisher and Yates), always the same. */
static void choose(size_t *order, size_t total, size_t n)
{
    uint64_t state = 1;
    for (size_t i = 0; i < total; i++) order[i] = i;
    for (size_t i = 0; i < n; i++) {
        size_t j = i + sah_splitmix_below(&state, total - i), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

sah_status sah_check_refusal(const sah_model *model, const sah_strings *queries, const char *template_,
                             const char *system, uint64_t memory, sah_refusal_check *out, sah_error *error)
{
    size_t n = queries->n < MOST_QUERIES ? queries->n : MOST_QUERIES;
    uint64_t done = 0, total = n * MOST_TOKENS;
    int32_t *tokens[MOST_QUERIES] = {NULL};
    sah_prompt prompts[MOST_QUERIES] = {{0}};
    sah_judge *judge = NULL;
    check c = {.model = model, .out = out};
    size_t *order = sah_alloc(queries->n, sizeof *order);
    sah_status status = order != NULL ? SAH_OK : sah_fail_memory(error, "a sample of the queries");
    if (status == SAH_OK) status = sah_judge_new(SAH_RULE_DEFAULT, NULL, &judge, error);
    if (status == SAH_OK) choose(order, queries->n, n);
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        char *prompt;
        status = sah_run_prompt(model, template_, system, queries->items[order[i]], &prompt, &tokens[i],
                                &prompts[i].n, error);
        prompts[i].tokens = tokens[i];
        if (status == SAH_OK) c.opened[i] = sah_opens_thinking(prompt, strlen(prompt));
        free(prompt);
    }
    *out = (sah_refusal_check){.sampled = n};
    c.judge = judge;
    const sah_respond_options options = {
        .sampling = {.top_p = 1.0},
        .most_tokens = MOST_TOKENS,
        .memory = memory,
        .done = &done,
        .total = &total,
        .take = take_reply,
        .ctx = &c,
    };
    if (status == SAH_OK && n > 0) status = sah_respond(model, prompts, n, NULL, 0, &options, error);
    for (size_t i = 0; i < n; i++) free(tokens[i]);
    free(order);
    sah_judge_free(judge);
    return status;
}
