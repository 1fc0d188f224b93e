/* SPDX-License-Identifier: Apache-2.0 */
/* What the unablated model was going to say: openings of its greedy responses, and which of them refuse. */
#include <stdlib.h>
#include <string.h>

#include "run/prompts.h"
#include "eval/generate/respond.h"
#include "eval/judge/judge.h"
#include "util/alloc.h"
#include "util/error.h"

typedef struct opener {
    const sah_model *model;
    const sah_judge *judge;
    const sah_run_prompts *prompts;
    sah_openings *out;
} opener;

static sah_status take_reply(void *ctx, const sah_reply *reply, sah_error *error)
{
    opener *o = ctx;
    char *text = NULL;
    sah_finding found;
    size_t n = reply->n < o->out->length ? reply->n : o->out->length;
    memcpy(o->out->tokens + reply->prompt * o->out->length, reply->tokens, n * sizeof *reply->tokens);
    o->out->lengths[reply->prompt] = n;
    sah_status status = sah_decode_response(o->model, reply->tokens, reply->n, &text, error);
    if (status == SAH_OK)
        status =
            sah_judge_find(o->judge, o->prompts->opened[reply->prompt], text, strlen(text), &found, error);
    if (status == SAH_OK) {
        o->out->refused[reply->prompt] = found.verdict == SAH_REFUSAL;
        o->out->thinking[reply->prompt] = strcmp(found.reason, SAH_REASON_THINKING) == 0;
    }
    free(text);
    return status;
}

static bool same_opening(const sah_openings *o, size_t a, size_t b)
{
    return o->lengths[a] == o->lengths[b] && memcmp(o->tokens + a * o->length, o->tokens + b * o->length,
                                                    o->lengths[a] * sizeof *o->tokens) == 0;
}

/* The opening that most refusals have; of equally common ones the first. */
static sah_status find_refusal(sah_openings *o, sah_error *error)
{
    size_t best = o->n, most = 0;
    for (size_t i = 0; i < o->n; i++) {
        size_t times = 0;
        if (!o->refused[i] || o->lengths[i] == 0) continue;
        for (size_t j = 0; j < o->n; j++) times += o->refused[j] && same_opening(o, i, j);
        if (times <= most) continue;
        most = times;
        best = i;
    }
    if (best == o->n) return SAH_OK;
    o->refusal = sah_alloc(o->lengths[best], sizeof *o->refusal);
    if (o->refusal == NULL) return sah_fail_memory(error, "the openings");
    o->refusal_length = o->lengths[best];
    memcpy(o->refusal, o->tokens + best * o->length, o->refusal_length * sizeof *o->refusal);
    return SAH_OK;
}

/* The commonest refusal of the queries that are to give one. */
static sah_status borrow_refusal(const sah_model *model, const sah_openings_options *options,
                                 sah_openings *out, sah_error *error)
{
    sah_openings theirs;
    sah_openings_options own = *options;
    own.refusing = NULL;
    sah_status status = sah_openings_new(model, options->refusing, NULL, &own, &theirs, error);
    if (status != SAH_OK) return status;
    out->refusal = theirs.refusal;
    out->refusal_length = theirs.refusal_length;
    theirs.refusal = NULL;
    sah_openings_free(&theirs);
    return SAH_OK;
}

/* Refusals stand at a response's beginning, if not always in its first words. */
enum { USUAL_LENGTH = 8, USUAL_JUDGED = 64 };

static sah_openings_options resolve(const sah_openings_options *options)
{
    sah_openings_options out = options != NULL ? *options : (sah_openings_options){0};
    if (out.template_ == NULL) out.template_ = "ships";
    if (out.length == 0) out.length = USUAL_LENGTH;
    if (out.judged == 0) out.judged = out.length > USUAL_JUDGED ? out.length : USUAL_JUDGED;
    return out;
}

sah_status sah_openings_new(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                            const sah_openings_options *given, sah_openings *out, sah_error *error)
{
    const sah_openings_options meant = resolve(given), *options = &meant;
    const sah_strings *const lists[2] = {queries, contrast};
    sah_run_prompts prompts = {0};
    sah_judge *judge = NULL;
    uint64_t done = 0, total;
    *out = (sah_openings){.length = options->length, .judged = options->judged};
    if (options->judged < options->length)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "judged", " %zu: less than the opening's length %zu",
                              options->judged, options->length);
    sah_status status =
        sah_run_prompts_new(model, lists, 2, options->template_, options->system, &prompts, error);
    if (status == SAH_OK) {
        size_t cells;
        out->n = prompts.n;
        total = out->n * options->judged;
        bool fits = sah_mul(out->n, out->length, &cells);
        out->tokens = fits ? sah_alloc(cells, sizeof *out->tokens) : NULL;
        out->lengths = sah_alloc(out->n, sizeof *out->lengths);
        out->refused = sah_alloc(out->n, sizeof *out->refused);
        out->thinking = sah_alloc(out->n, sizeof *out->thinking);
        if (out->tokens == NULL || out->lengths == NULL || out->refused == NULL || out->thinking == NULL)
            status = sah_fail_memory(error, "the openings");
    }
    if (status == SAH_OK) status = sah_judge_new(SAH_RULE_DEFAULT, NULL, &judge, error);
    opener o = {model, judge, &prompts, out};
    const sah_respond_options respond = {
        .sampling = {.top_p = 1.0},
        .most_tokens = options->judged,
        .memory = options->memory,
        .progress = options->progress,
        .user = options->user,
        .what = "openings: tokens",
        .done = &done,
        .total = &total,
        .take = take_reply,
        .ctx = &o,
    };
    if (status == SAH_OK && out->n > 0)
        status = sah_respond(model, prompts.items, prompts.n, NULL, 0, &respond, error);
    if (status == SAH_OK) status = find_refusal(out, error);
    if (status == SAH_OK && out->refusal == NULL && options->refusing != NULL)
        status = borrow_refusal(model, options, out, error);
    sah_judge_free(judge);
    sah_run_prompts_free(&prompts);
    if (status != SAH_OK) sah_openings_free(out);
    return status;
}

void sah_openings_free(sah_openings *openings)
{
    if (openings == NULL) return;
    free(openings->tokens);
    free(openings->lengths);
    free(openings->refused);
    free(openings->thinking);
    free(openings->refusal);
    *openings = (sah_openings){0};
}
