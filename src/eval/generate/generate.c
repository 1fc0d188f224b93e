/* SPDX-License-Identifier: Apache-2.0 */
/* Generating: queries to prompts to replies to lines of a journal, for one set of ablated heads or, for the
 * curve, for growing ones. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ablation.h"
#include "eval/generate/philox.h"
#include "eval/generate/respond.h"
#include "model/checkpoint/heads.h"
#include "run/interchange.h"
#include "run/journal.h"
#include "run/prompts.h"
#include "run/shard.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/json.h"

/* The heads ablated together; `random`: drawn, beside the set of as many given ones. */
typedef struct head_set {
    const sah_head *heads;
    size_t n;
    bool random;
} head_set;

typedef struct generate {
    const sah_model *model;
    const sah_generate_options *options;
    const sah_strings *queries;
    const char *template_;
    char **prompts; /* [n] texts, and their tokens: */
    int32_t **tokens;
    size_t *n_tokens;
    sah_run_prompts sources; /* the same tokens, with what stands in for their states */
    sah_donors *donors; /* of the ablation, or NULL */
    sah_head *drawn; /* [n_heads] random heads */
    head_set *sets;
    size_t n_sets;
    bool *done; /* [n_sets, n] */
    size_t set; /* under way */
    size_t *left; /* its queries still to do, and their number in the list */
    char **held; /* [n] lines that wait for an earlier query's */
    size_t written; /* queries of the set before this one are in the journal */
    sah_journal *journal;
} generate;

/* ---- Which heads --------------------------------------------------------------------------------------- */

/* Random heads, none of them given, in the order in which they are ablated. */
static sah_status draw_heads(generate *g, sah_error *error)
{
    const sah_generate_options *o = g->options;
    const sah_model_info *info = sah_model_describe(g->model);
    int per_layer = sah_run_heads_of_layer(info, &o->ablation);
    size_t all = (size_t)info->n_layers * (size_t)per_layer, n = 0;
    sah_head *others = sah_alloc(all, sizeof *others);
    if (others == NULL) return sah_fail_memory(error, "the heads");
    for (size_t i = 0; i < all; i++) {
        sah_head head = {(int)i / per_layer, (int)i % per_layer};
        bool given = false;
        for (size_t j = 0; j < o->n_heads && !given; j++)
            given = o->heads[j].layer == head.layer && o->heads[j].head == head.head;
        if (!given) others[n++] = head;
    }
    g->drawn = others;
    if (n < o->n_heads)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "random",
                              ": only %zu heads are left besides those given", n);
    for (size_t i = 0; i < o->n_heads; i++) { /* Fisher and Yates */
        size_t j = i + (size_t)(sah_uniform(o->random_seed, i, 0) * (double)(n - i));
        sah_head head = others[j];
        others[j] = others[i];
        others[i] = head;
    }
    return SAH_OK;
}

static sah_status make_sets(generate *g, sah_error *error)
{
    const sah_generate_options *o = g->options;
    sah_status status = o->curve && o->random ? draw_heads(g, error) : SAH_OK;
    g->sets = sah_alloc(2 * o->n_heads + 1, sizeof *g->sets);
    if (status == SAH_OK && g->sets == NULL) status = sah_fail_memory(error, "the heads");
    if (status != SAH_OK) return status;
    if (!o->curve) {
        g->sets[g->n_sets++] = (head_set){o->heads, o->n_heads, false};
        return SAH_OK;
    }
    const size_t steps = o->n_counts > 0 ? o->n_counts : o->n_heads;
    g->sets[g->n_sets++] = (head_set){o->heads, 0, false};
    for (size_t i = 0; i < steps; i++) {
        const size_t n = o->n_counts > 0 ? o->counts[i] : i + 1;
        g->sets[g->n_sets++] = (head_set){o->heads, n, false};
        if (g->drawn != NULL) g->sets[g->n_sets++] = (head_set){g->drawn, n, true};
    }
    return SAH_OK;
}

/* Heads that cannot be ablated are an error before there is a file. */
static sah_status check_heads(const generate *g, sah_error *error)
{
    sah_edit *edits = NULL;
    size_t n;
    sah_status status = sah_edits_new(sah_model_describe(g->model), g->options->heads, g->options->n_heads,
                                      &g->options->ablation, &edits, &n, error);
    if (status == SAH_OK) status = sah_edits_check(&g->model->config, edits, n, error);
    free(edits);
    return status;
}

static json_t *head_names(const sah_head *heads, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *name = json_sprintf("%d-%d", heads[i].layer, heads[i].head);
        if (json_array_append_new(array, name) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *count_list(const size_t *counts, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(array, json_integer((json_int_t)counts[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* ---- The header ---------------------------------------------------------------------------------------- */

static json_t *make_settings(const generate *g)
{
    const sah_generate_options *o = g->options;
    sah_run_options run = {.ablation = o->ablation, .template_ = g->template_, .system = o->system};
    json_t *settings = sah_run_settings(g->model, &run, g->template_);
    static const char *const not_here[] = {"layers", "heads", "part", "op", "scale"};
    for (size_t i = 0; i < (o->n_heads > 0 ? 2 : 5) && settings != NULL; i++)
        json_object_del(settings, not_here[i]);
    bool good = settings != NULL &&
                json_object_set_new(settings, o->curve ? "sweep_heads" : "ablate",
                                    head_names(o->heads, o->n_heads)) == 0 &&
                json_object_set_new(settings, "max_new_tokens", json_integer(o->max_new_tokens)) == 0 &&
                json_object_set_new(settings, "temperature", json_real(o->temperature)) == 0;
    if (good && o->curve && o->n_counts > 0)
        good = json_object_set_new(settings, "sweep_counts", count_list(o->counts, o->n_counts)) == 0;
    if (good && g->drawn != NULL)
        good = json_object_set_new(settings, "random_heads", head_names(g->drawn, o->n_heads)) == 0;
    if (good && o->temperature > 0.0)
        good = json_object_set_new(settings, "top_k", json_integer(o->top_k)) == 0 &&
               json_object_set_new(settings, "top_p", json_real(o->top_p > 0.0 ? o->top_p : 1.0)) == 0 &&
               json_object_set_new(settings, "seed", json_integer((json_int_t)o->seed)) == 0;
    if (good) return settings;
    json_decref(settings);
    return NULL;
}

/* Whether partners stand in, who belong to a line. */
static bool swaps(const generate *g)
{
    return g->options->ablation.op == SAH_OP_SWAP && g->options->n_heads > 0;
}

static json_t *make_header(const generate *g)
{
    const sah_generate_options *o = g->options;
    json_t *header = sah_journal_header("generate", g->model);
    if (header != NULL && json_object_set_new(header, "settings", make_settings(g)) == 0 &&
        json_object_set_new(header, "queries", sah_run_strings(g->queries)) == 0 &&
        (o->n_heads == 0 || sah_interchange_note(header, &o->ablation, &o->interchange, g->queries->n)))
        return header;
    json_decref(header);
    return NULL;
}

/* ---- Lines --------------------------------------------------------------------------------------------- */

/* Hands a response to the caller. */
static sah_status show_response(const generate *g, const sah_response *response, sah_error *error)
{
    const sah_generate_options *o = g->options;
    if (o->response == NULL || o->response(o->response_user, response)) return SAH_OK;
    return sah_fail(error, SAH_INTERRUPTED, "interrupted");
}

static sah_status show_line(const generate *g, const head_set *set, size_t query, const json_t *line,
                            sah_error *error)
{
    const char *text = json_string_value(json_object_get(line, "response")),
               *stop = json_string_value(json_object_get(line, "stop"));
    const sah_response response = {query,
                                   text != NULL ? text : "",
                                   (size_t)json_integer_value(json_object_get(line, "tokens")),
                                   stop != NULL && strcmp(stop, "eos") == 0,
                                   set->n,
                                   set->random};
    return show_response(g, &response, error);
}

/* A line of an earlier run: marks its query's first place that has none yet. */
static sah_status take_line(void *ctx, const json_t *line, size_t number, sah_error *error)
{
    generate *g = ctx;
    const char *query = json_string_value(json_object_get(line, "query"));
    const json_t *ablated = json_object_get(line, "ablated");
    const char *partner = json_string_value(json_object_get(line, "partner"));
    bool random = json_is_true(json_object_get(line, "random"));
    for (size_t s = 0; s < g->n_sets && query != NULL; s++) {
        const head_set *set = &g->sets[s];
        json_t *names = head_names(set->heads, set->n);
        bool this_set = !g->options->curve || (random == set->random && json_equal(names, ablated));
        json_decref(names);
        for (size_t i = 0; i < g->queries->n && this_set; i++) {
            bool *done = &g->done[s * g->queries->n + i];
            if (*done || strcmp(query, g->queries->items[i]) != 0) continue;
            if (swaps(g) &&
                (partner == NULL || strcmp(partner, g->options->interchange.partners->items[i]) != 0))
                continue;
            *done = true;
            return show_line(g, set, i, line, error);
        }
    }
    return sah_fail(error, SAH_FAILED, "line %zu answers no query of this run; remove it to carry on",
                    number);
}

static sah_status write_line(generate *g, size_t query, sah_error *error)
{
    char *line = g->held[query];
    sah_status status = sah_journal_add(g->journal, line, strlen(line), error);
    g->held[query] = NULL;
    free(line);
    if (status == SAH_OK) g->done[g->set * g->queries->n + query] = true;
    return status;
}

static char *make_line(const generate *g, size_t query, const sah_reply *reply, const char *text)
{
    const head_set *set = &g->sets[g->set];
    json_t *line =
        json_pack("{s:s, s:s, s:s, s:I, s:s}", "query", g->queries->items[query], "prompt", g->prompts[query],
                  "response", text, "tokens", (json_int_t)reply->n, "stop", reply->ended ? "eos" : "length");
    bool good = line != NULL;
    if (good && g->options->curve)
        good = json_object_set_new(line, "ablated", head_names(set->heads, set->n)) == 0;
    if (good && set->random) good = json_object_set_new(line, "random", json_true()) == 0;
    if (good && swaps(g))
        good = json_object_set_new(line, "partner",
                                   json_string(g->options->interchange.partners->items[query])) == 0;
    char *dumped = good ? sah_json_text(line, JSON_COMPACT) : NULL;
    json_decref(line);
    return dumped;
}

/* Lines wait for those of earlier queries, so that the file's order is the list's. */
static sah_status take_reply(void *ctx, const sah_reply *reply, sah_error *error)
{
    generate *g = ctx;
    size_t query = g->left[reply->prompt];
    const bool *done = g->done + g->set * g->queries->n;
    char *text = NULL;
    sah_status status = sah_decode_response(g->model, reply->tokens, reply->n, &text, error);
    if (status != SAH_OK) return status;
    const head_set *set = &g->sets[g->set];
    g->held[query] = make_line(g, query, reply, text);
    status =
        show_response(g, &(sah_response){query, text, reply->n, reply->ended, set->n, set->random}, error);
    free(text);
    if (status != SAH_OK) return status;
    if (g->held[query] == NULL) return sah_fail_memory(error, "a response");
    while (g->written < g->queries->n && status == SAH_OK) {
        if (g->held[g->written] != NULL)
            status = write_line(g, g->written, error);
        else if (!done[g->written])
            break;
        g->written++;
    }
    return status;
}

/* What waits when a run stops is written too, but for the lines that resuming would take for an equal earlier
 * query's. */
static void write_held(generate *g)
{
    for (size_t i = 0; i < g->queries->n; i++) {
        bool taken = g->held[i] == NULL;
        for (size_t j = 0; j < i && !taken; j++)
            taken = !g->done[g->set * g->queries->n + j] &&
                    strcmp(g->queries->items[i], g->queries->items[j]) == 0;
        if (!taken && write_line(g, i, NULL) != SAH_OK) return;
    }
}

/* ---- The run ------------------------------------------------------------------------------------------- */

static sah_status make_prompts(generate *g, sah_error *error)
{
    size_t n = g->queries->n;
    sah_status status = SAH_OK;
    g->prompts = sah_alloc(n, sizeof *g->prompts);
    g->tokens = sah_alloc(n, sizeof *g->tokens);
    g->n_tokens = sah_alloc(n, sizeof *g->n_tokens);
    g->left = sah_alloc(n, sizeof *g->left);
    g->held = sah_alloc(n, sizeof *g->held);
    g->done = sah_alloc(n * g->n_sets, sizeof *g->done);
    if (g->prompts == NULL || g->tokens == NULL || g->n_tokens == NULL || g->left == NULL ||
        g->held == NULL || g->done == NULL)
        return sah_fail_memory(error, "the queries");
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        status = sah_run_prompt(g->model, g->template_, g->options->system, g->queries->items[i],
                                &g->prompts[i], &g->tokens[i], &g->n_tokens[i], error);
        if (status == SAH_OK && g->n_tokens[i] == 0)
            status = sah_fail(error, SAH_FAILED, "query %zu makes no token", i + 1);
    }
    return status;
}

/* What stands in for the prompts' states. */
static sah_status find_donors(generate *g, sah_error *error)
{
    const sah_generate_options *o = g->options;
    sah_run_prompts *s = &g->sources;
    if (o->n_heads == 0) return SAH_OK;
    sah_status status = sah_interchange_check(&o->ablation, &o->interchange, g->queries->n, error);
    if (status != SAH_OK) return status;
    s->items = sah_alloc(g->queries->n, sizeof *s->items);
    if (s->items == NULL) return sah_fail_memory(error, "the prompts");
    for (size_t i = 0; i < g->queries->n; i++)
        s->items[s->n++] = (sah_prompt){.tokens = g->tokens[i], .n = g->n_tokens[i]};
    return sah_interchange_donors(g->model, &o->ablation, &o->interchange, g->template_, o->system, NULL, s,
                                  &g->donors, error);
}

static void free_memory(generate *g)
{
    for (size_t i = 0; g->sources.sources != NULL && i < g->sources.n; i++) free(g->sources.sources[i]);
    free(g->sources.sources);
    free(g->sources.items);
    sah_donors_free(g->donors);
    for (size_t i = 0; i < g->queries->n; i++) {
        if (g->prompts != NULL) free(g->prompts[i]);
        if (g->tokens != NULL) free(g->tokens[i]);
        if (g->held != NULL) free(g->held[i]);
    }
    free(g->prompts);
    free(g->tokens);
    free(g->n_tokens);
    free(g->left);
    free(g->held);
    free(g->done);
    free(g->drawn);
    free(g->sets);
}

static sah_status run_set(generate *g, sah_respond_options *respond, sah_error *error)
{
    const head_set *set = &g->sets[g->set];
    const bool *done = g->done + g->set * g->queries->n;
    size_t n = 0, n_edits = 0;
    sah_edit *edits = NULL;
    sah_prompt *prompts = sah_alloc(g->queries->n, sizeof *prompts);
    uint64_t *numbers = sah_alloc(g->queries->n, sizeof *numbers);
    sah_status status = prompts != NULL && numbers != NULL ? SAH_OK : sah_fail_memory(error, "the prompts");
    if (status == SAH_OK)
        status = sah_edits_new(sah_model_describe(g->model), set->heads, set->n, &g->options->ablation,
                               &edits, &n_edits, error);
    for (size_t i = 0; i < g->queries->n && status == SAH_OK; i++) {
        if (done[i]) continue;
        prompts[n] = (sah_prompt){.tokens = g->tokens[i],
                                  .n = g->n_tokens[i],
                                  .source = g->donors != NULL ? g->sources.sources[i] : NULL};
        numbers[n] = i;
        g->left[n++] = i;
    }
    g->written = 0;
    respond->numbers = numbers;
    if (status == SAH_OK && n > 0) status = sah_respond(g->model, prompts, n, edits, n_edits, respond, error);
    if (status != SAH_OK) write_held(g);
    free(edits);
    free(prompts);
    free(numbers);
    return status;
}

/* What other shards answer needs no answer here. Equal queries belong to one shard, for their lines look alike. */
static void leave_to_others(generate *g)
{
    const size_t n = g->queries->n;
    for (size_t i = 0; i < n && sah_shard_is_part(&g->options->shard); i++) {
        size_t first = 0;
        while (strcmp(g->queries->items[first], g->queries->items[i]) != 0) first++;
        for (size_t s = 0; s < g->n_sets; s++)
            if (!sah_shard_has(&g->options->shard, s * n + first)) g->done[s * n + i] = true;
    }
}

static sah_status run_sets(generate *g, sah_error *error)
{
    const sah_generate_options *o = g->options;
    uint64_t done = 0, total = 0;
    for (size_t i = 0; i < g->n_sets * g->queries->n; i++)
        total += g->done[i] ? 0 : (uint64_t)o->max_new_tokens;
    sah_respond_options respond = {
        .sampling = {o->temperature, o->top_k, o->top_p > 0.0 ? o->top_p : 1.0},
        .seed = o->seed,
        .most_tokens = (size_t)o->max_new_tokens,
        .donors = g->donors,
        .memory = o->memory,
        .progress = o->progress,
        .user = o->user,
        .what = "generate: tokens",
        .done = &done,
        .total = &total,
        .take = take_reply,
        .ctx = g,
    };
    sah_status status = SAH_OK;
    for (g->set = 0; g->set < g->n_sets && status == SAH_OK; g->set++) status = run_set(g, &respond, error);
    if (status == SAH_OK && o->progress != NULL && total > 0)
        (void)o->progress(o->user, respond.what, done, total);
    return status;
}

static sah_status check_options(const sah_generate_options *o, sah_error *error)
{
    if (o->max_new_tokens < 0)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "max_new_tokens", " %d: at least 1",
                              o->max_new_tokens);
    if (!(o->temperature >= 0.0) || !isfinite(o->temperature))
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "temperature", " %g: at least 0", o->temperature);
    if (o->top_k < 0) return sah_fail_field(error, SAH_BAD_ARGUMENT, "top_k", " %d: at least 1", o->top_k);
    if (!(o->top_p >= 0.0 && o->top_p <= 1.0))
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "top_p", " %g: above 0 and at most 1", o->top_p);
    for (size_t i = 0; i < o->n_counts; i++) {
        const size_t before = i > 0 ? o->counts[i - 1] : 0;
        if (!o->curve)
            return sah_fail_field(error, SAH_BAD_ARGUMENT, "counts", ": only a curve has numbers of heads");
        if (o->counts[i] <= before || o->counts[i] > o->n_heads)
            return sah_fail_field(error, SAH_BAD_ARGUMENT, "counts",
                                  " %zu: numbers of heads must ascend, from 1 to at most %zu", o->counts[i],
                                  o->n_heads);
    }
    return sah_shard_check(&o->shard, error);
}

sah_generate_options sah_generate_options_default(void)
{
    return (sah_generate_options){.max_new_tokens = 128, .top_p = 1.0, .ablation = sah_ablation_default()};
}

static sah_generate_options resolve(const sah_generate_options *options)
{
    const sah_generate_options defaults = sah_generate_options_default();
    if (options == NULL) return defaults;
    sah_generate_options out = *options;
    if (out.max_new_tokens == 0) out.max_new_tokens = defaults.max_new_tokens;
    out.ablation = sah_ablation_resolve(&options->ablation);
    return out;
}

sah_status sah_generate(const sah_model *model, const sah_strings *queries,
                        const sah_generate_options *options, const char *path, sah_error *error)
{
    const sah_model_info *info = sah_model_describe(model);
    const sah_generate_options meant = resolve(options);
    options = &meant;
    generate g = {.model = model, .options = options, .queries = queries};
    json_t *header = NULL;
    g.template_ = options->template_ != NULL                 ? options->template_
                  : strcmp(info->chat_template, "none") == 0 ? "none"
                                                             : "chat";
    if (queries->n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no query to answer");
    sah_status status = check_options(options, error);
    if (status == SAH_OK) status = check_heads(&g, error);
    if (status == SAH_OK) status = make_sets(&g, error);
    if (status == SAH_OK) status = make_prompts(&g, error);
    if (status == SAH_OK) status = find_donors(&g, error);
    if (status != SAH_OK) goto done;
    header = make_header(&g);
    if (header == NULL) {
        status = sah_run_no_header(queries, NULL, g.template_, options->system, error);
        goto done;
    }
    status = sah_journal_open(path, header, take_line, &g, (sah_line_sink){options->line, options->line_user},
                              &g.journal, error);
    leave_to_others(&g);
    if (status == SAH_OK) status = run_sets(&g, error);
    sah_status closed = sah_journal_close(g.journal, status == SAH_OK ? error : NULL);
    if (status == SAH_OK) status = closed;

done:
    json_decref(header);
    free_memory(&g);
    return status;
}
