/* SPDX-License-Identifier: Apache-2.0 */
/* The whole question in one run: does the model refuse, which heads does refusal hang on, and does that hold on
 * queries that the choice did not see. Every stage is a run of the library with a journal of its own in the
 * directory, so that an interrupted audit carries on in the middle of a stage. Heads are chosen on the first,
 * third, ... query and tried on the others (docs/audit.md). */
#include "audit/audit.h"
#include "audit/answer.h"
#include "audit/card.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "run/shard.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/mapfile.h"
#include "util/wholefile.h"

enum {
    TOKENS = 128,
    QUICK_TOKENS = 48,
    OPENING = 8,
    JUDGED = 64,
    GROUP = 3, /* steps of the search */
    SHORTLIST = 16,
    SEED = 1,
    LARGEST = 1 << 30 /* bytes of a file of responses */
};

typedef struct audit {
    const sah_model *model;
    const sah_audit_options *options;
    sah_audit_plan plan;
    const char *directory, *template_;
    sah_strings harmful, harmless; /* on which heads are chosen */
    sah_strings held; /* harmful ones on which they are tried */
    sah_openings openings;
    sah_judge *judge;
    char *own_text; /* path of the model's own harmless answers */
    const char *stage; /* for the progress */
    size_t n_stage;
    sah_found *found;
} audit;

sah_audit_plan sah_audit_plan_of(const sah_audit_options *o)
{
    const sah_audit_plan quick = {QUICK_TOKENS, 1, false, 1, 5}, whole = {TOKENS, 2, true, 3, 10};
    sah_audit_plan plan = o->quick ? quick : whole;
    if (o->max_new_tokens > 0) plan.tokens = o->max_new_tokens;
    return plan;
}

size_t sah_audit_counts(size_t n_heads, size_t counts[SAH_MOST_COUNTS])
{
    const size_t most = n_heads / 16 > 4 ? n_heads / 16 : 4;
    size_t n = 0;
    for (size_t heads = 1; heads <= most && heads <= n_heads / 2 && n < SAH_MOST_COUNTS; heads *= 2)
        counts[n++] = heads;
    return n;
}

const char *sah_audit_template(const sah_model *model, const sah_audit_options *options)
{
    if (options->template_ != NULL) return options->template_;
    const char *own = sah_model_describe(model)->chat_template;
    return strcmp(own, "none") == 0 || strcmp(own, "unsupported") == 0 ? "ships" : "chat";
}

/* ---- Files and progress ---------------------------------------------------------------------------------- */

static sah_status path_of(const audit *a, const char *name, const char *ending, char **out, sah_error *error)
{
    sah_text text = {0};
    sah_text_addf(&text, "%s/%s%s", a->directory, name, ending);
    *out = text.data;
    if (!text.failed) return SAH_OK;
    free(text.data);
    *out = NULL;
    return sah_fail_memory(error, "a path");
}

static bool show(void *user, const char *what, uint64_t done, uint64_t total)
{
    const audit *a = user;
    char text[128];
    if (a->options->progress == NULL) return true;
    snprintf(text, sizeof text, "%zu/%zu %s: %s", a->n_stage, a->plan.stages, a->stage, what);
    return a->options->progress(a->options->user, text, done, total);
}

static void begin(audit *a, const char *stage)
{
    a->stage = stage;
    a->n_stage++;
}

static sah_status add_query(sah_strings *list, const char *query, sah_error *error)
{
    return sah_strings_add(list, query, strlen(query), error);
}

/* Every second query from the first on to `a`, the others to `b` (or NULL). */
static sah_status split(const sah_strings *all, sah_strings *a, sah_strings *b, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; i < all->n && status == SAH_OK; i++) {
        if (i % 2 == 0)
            status = add_query(a, all->items[i], error);
        else if (b != NULL)
            status = add_query(b, all->items[i], error);
    }
    return status;
}

/* ---- Responses ------------------------------------------------------------------------------------------- */

static sah_generate_options generation(audit *a)
{
    return (sah_generate_options){
        .template_ = a->template_,
        .system = a->options->system,
        .max_new_tokens = a->found->max_new_tokens,
        .memory = a->options->memory,
        .shard = a->options->shard,
        .progress = show,
        .user = a,
    };
}

static bool is_part(const audit *a)
{
    return sah_shard_is_part(&a->options->shard);
}

/* Responses in DIR/NAME.jsonl, verdicts in DIR/NAME-judged.jsonl; of a shard's there are none. */
static sah_status respond(audit *a, const sah_strings *queries, const sah_generate_options *options,
                          const char *name, sah_judgement *judgement, char **judged, sah_error *error)
{
    char *responses = NULL;
    *judged = NULL;
    sah_status status = path_of(a, name, ".jsonl", &responses, error);
    if (status == SAH_OK) status = path_of(a, name, "-judged.jsonl", judged, error);
    if (status == SAH_OK) status = sah_generate(a->model, queries, options, responses, error);
    if (status == SAH_OK && !is_part(a))
        status = sah_judge_file(a->judge, NULL, responses, NULL, NULL, *judged, judgement, error);
    free(responses);
    return status;
}

static sah_status rate_of(audit *a, const sah_strings *queries, const char *name, sah_rate *out,
                          char **judged, sah_error *error)
{
    sah_judgement judgement = {0};
    const sah_generate_options options = generation(a);
    sah_status status = respond(a, queries, &options, name, &judgement, judged, error);
    *out = sah_rate_of(judgement.counts[SAH_REFUSAL], judgement.counts[SAH_COMPLIANCE],
                       judgement.counts[SAH_DEGENERATE]);
    return status;
}

/* Calls `each` with the lines of a JSON lines file that the library wrote. */
static sah_status each_line(const char *path,
                            sah_status (*each)(void *ctx, const json_t *line, sah_error *error), void *ctx,
                            sah_error *error)
{
    char *data = NULL;
    size_t size = 0;
    sah_status status = sah_file_read(path, LARGEST, &data, &size, error);
    for (char *line = data, *end; status == SAH_OK && line < data + size; line = end + 1) {
        json_t *object = NULL;
        end = memchr(line, '\n', (size_t)(data + size - line));
        if (end == NULL) end = data + size;
        status = sah_json_parse(line, (size_t)(end - line), path, &object, error);
        if (status == SAH_OK) status = each(ctx, object, error);
        json_decref(object);
    }
    free(data);
    return status;
}

/* The texts of the answers that are compliances. */
static sah_status add_answer(void *ctx, const json_t *line, sah_error *error)
{
    sah_text *text = ctx;
    const char *verdict = json_string_value(json_object_get(line, "verdict")),
               *response = json_string_value(json_object_get(line, "response"));
    (void)error;
    if (verdict != NULL && response != NULL && strcmp(verdict, sah_verdict_name(SAH_COMPLIANCE)) == 0) {
        sah_text_adds(text, response);
        sah_text_adds(text, "\n\n");
    }
    return SAH_OK;
}

/* DIR/harmless.txt: what the model writes when it answers, to measure what an ablation costs. */
static sah_status write_own_text(audit *a, const char *judged, sah_error *error)
{
    sah_text text = {0};
    char *path = NULL;
    sah_status status = each_line(judged, add_answer, &text, error);
    if (status == SAH_OK && text.failed) status = sah_fail_memory(error, "the model's answers");
    if (status == SAH_OK && text.size > 0) {
        status = path_of(a, "harmless", ".txt", &path, error);
        if (status == SAH_OK) status = sah_file_write(path, text.data, text.size, error);
        if (status == SAH_OK)
            a->own_text = path;
        else
            free(path);
    }
    free(text.data);
    return status;
}

/* ---- Heads ----------------------------------------------------------------------------------------------- */

static sah_run_options run_options(audit *a, sah_ablation ablation)
{
    return (sah_run_options){
        .ablation = ablation,
        .template_ = a->template_,
        .system = a->options->system,
        .memory = a->options->memory,
        .shard = a->options->shard,
        .progress = show,
        .user = a,
    };
}

static sah_status open_openings(audit *a, sah_error *error)
{
    const sah_openings_options options = {.template_ = a->template_,
                                          .system = a->options->system,
                                          .length = OPENING,
                                          .judged = JUDGED,
                                          .memory = a->options->memory,
                                          .progress = show,
                                          .user = a};
    return sah_openings_new(a->model, &a->harmful, &a->harmless, &options, &a->openings, error);
}

/* "5-6,18-8" of the first n heads. */
static sah_status name_heads(const sah_head *heads, size_t n, char **out, sah_error *error)
{
    sah_text text = {0};
    sah_text_adds(&text, "");
    for (size_t i = 0; i < n; i++)
        sah_text_addf(&text, "%s%d-%d", i > 0 ? "," : "", heads[i].layer, heads[i].head);
    *out = text.data;
    if (!text.failed) return SAH_OK;
    free(text.data);
    *out = NULL;
    return sah_fail_memory(error, "a list of heads");
}

static sah_status add_point(void *ctx, const json_t *line, sah_error *error)
{
    sah_curve *curve = ctx;
    const json_t *ablated = json_object_get(line, "ablated"), *head;
    size_t i;
    if (json_object_get(line, "asr") == NULL || ablated == NULL || json_object_get(line, "verdict") != NULL ||
        curve->n == SAH_MOST_POINTS) {
        return SAH_OK;
    }
    sah_point *point = &curve->points[curve->n++];
    sah_text names = {0};
    sah_text_adds(&names, "");
    json_array_foreach(ablated, i, head)
    {
        sah_text_addf(&names, "%s%s", i > 0 ? "," : "",
                      json_string_value(head) != NULL ? json_string_value(head) : "?");
    }
    *point =
        (sah_point){.heads = json_array_size(ablated),
                    .random = json_is_true(json_object_get(line, "random")),
                    .names = names.data,
                    .rate = sah_rate_of((uint64_t)json_integer_value(json_object_get(line, "refusal")),
                                        (uint64_t)json_integer_value(json_object_get(line, "compliance")),
                                        (uint64_t)json_integer_value(json_object_get(line, "degenerate")))};
    return names.failed ? sah_fail_memory(error, "a point of a curve") : SAH_OK;
}

/* What the ablation of the first n heads of a curve does to text that the model itself wrote. */
static sah_status cost_of(audit *a, sah_curve *curve, const sah_head *heads, size_t n, sah_ablation ablation,
                          const char *name, sah_error *error)
{
    char *path = NULL, file[64];
    sah_utility_totals totals = {0};
    sah_utility_options options = {
        .text = a->own_text, .heads = heads, .n_heads = n, .run = run_options(a, ablation)};
    options.run.template_ = NULL;
    options.run.system = NULL;
    if (a->own_text == NULL) return SAH_OK;
    snprintf(file, sizeof file, "perplexity-%s", name);
    sah_status status = path_of(a, file, ".jsonl", &path, error);
    if (status == SAH_OK) status = sah_utility(a->model, &options, path, &totals, error);
    if (status == SAH_OK) {
        curve->has_perplexity = true;
        curve->perplexity_heads = n;
        curve->perplexity = totals.score.perplexity;
        curve->base_perplexity = totals.base.perplexity;
        curve->log_difference = totals.log_perplexity_difference;
    }
    free(path);
    return status;
}

/* How refusal falls when so many of the heads go (counts NULL: one after another), beside as many random ones, and
 * what it costs. */
static sah_status measure_curve(audit *a, const sah_head *heads, size_t n, const size_t *counts,
                                size_t n_counts, sah_ablation ablation, const char *name, const char *what,
                                sah_error *error)
{
    char file[64], *judged = NULL;
    sah_judgement judgement;
    sah_generate_options options = generation(a);
    sah_curve *curve = &a->found->curves[a->found->n_curves++];
    *curve = (sah_curve){.name = name, .what = what};
    options.ablation = ablation;
    options.heads = heads;
    options.n_heads = n;
    options.curve = true;
    options.counts = counts;
    options.n_counts = n_counts;
    options.random = true;
    options.random_seed = SEED;
    snprintf(file, sizeof file, "curve-%s", name);
    sah_status status = name_heads(heads, n, &curve->heads, error);
    if (status == SAH_OK) status = respond(a, &a->held, &options, file, &judgement, &judged, error);
    if (status == SAH_OK) status = each_line(judged, add_point, curve, error);
    const size_t fewest = status == SAH_OK ? sah_audit_fewest(curve) : 0;
    if (status == SAH_OK) status = cost_of(a, curve, heads, fewest > 0 ? fewest : n, ablation, name, error);
    free(judged);
    return status;
}

/* All heads by one part: who moves what the model says, by signed effect and divergence; then the curve of the
 * first. */
static sah_status sweep(audit *a, const char *part, sah_ablation ablation, const char *what, sah_error *error)
{
    char file[64], *path = NULL;
    sah_result *result = NULL;
    sah_ranked *ranked = NULL;
    sah_head heads[1 << (SAH_MOST_COUNTS - 1)];
    size_t n = 0, counts[SAH_MOST_COUNTS];
    sah_sweep_found *found = &a->found->sweeps[strcmp(part, "v") == 0];
    sah_run_options options = run_options(a, ablation);
    options.openings = &a->openings;
    snprintf(file, sizeof file, "ships-%s", part);
    found->part = part;
    begin(a, strcmp(part, "v") == 0 ? "ships by v" : "ships by q");
    sah_status status = path_of(a, file, ".jsonl", &path, error);
    if (status == SAH_OK) status = sah_ships(a->model, &a->harmful, &a->harmless, &options, path, error);
    if (status != SAH_OK || is_part(a)) {
        free(path);
        return status;
    }
    const char *paths[] = {path};
    if (status == SAH_OK) status = sah_result_open(paths, 1, &result, error);
    if (status == SAH_OK) status = sah_rank(result, SAH_ORDER_EFFECT, &ranked, &n, error);
    if (status == SAH_OK) status = sah_concentrate(result, SAH_ORDER_MEAN, &found->concentration, error);
    if (status == SAH_OK) {
        found->done = true;
        found->n_heads = n;
        memcpy(found->effect_reason, sah_result_describe(result)->effect_reason, sizeof found->effect_reason);
        for (size_t i = 0; i < n; i++) {
            found->n_safety += ranked[i].effect_verdict == SAH_SAFETY;
            found->n_safety_kl += ranked[i].verdict == SAH_SAFETY;
            if (i < SAH_CARD_HEADS) found->top[found->n_top++] = ranked[i];
        }
        const size_t n_counts = sah_audit_counts(n, counts), most = n_counts > 0 ? counts[n_counts - 1] : 0;
        for (size_t i = 0; i < most; i++) heads[i] = ranked[i].head;
        begin(a, strcmp(part, "v") == 0 ? "without the first by v" : "without the first by q");
        status = measure_curve(a, heads, most, counts, n_counts, ablation, part, what, error);
    }
    free(ranked);
    sah_result_close(result);
    free(path);
    return status;
}

static sah_status find_direction(audit *a, sah_error *error)
{
    char *path = NULL;
    const sah_direction_options options = {
        .template_ = a->template_, .system = a->options->system, .layer = -1};
    begin(a, "refusal direction");
    sah_status status = path_of(a, "direction", ".jsonl", &path, error);
    if (status == SAH_OK) status = sah_direction(a->model, &a->harmful, &a->harmless, &options, path, error);
    free(path);
    return status;
}

static sah_status find_group(audit *a, sah_ablation ablation, sah_error *error)
{
    char *path = NULL;
    sah_result *result = NULL;
    sah_head heads[GROUP];
    sah_run_options options = run_options(a, ablation);
    const sah_find_options find = {.steps = is_part(a) ? 1 : GROUP,
                                   .rank = 1,
                                   .variant = SAH_VARIANT_RIGHT,
                                   .shortlist = SHORTLIST,
                                   .random_groups = 100};
    begin(a, "search for a group");
    sah_status status = path_of(a, "find", ".jsonl", &path, error);
    if (status == SAH_OK)
        status = sah_find(a->model, &a->harmful, &a->harmless, &options, &find, path, error);
    if (status != SAH_OK || is_part(a)) {
        free(path);
        return status;
    }
    const char *paths[] = {path};
    if (status == SAH_OK) status = sah_result_open(paths, 1, &result, error);
    for (size_t i = 0; i < GROUP && status == SAH_OK; i++) {
        sah_chosen *chosen = &a->found->group[a->found->n_group];
        if (!sah_result_chosen(result, i, chosen)) break;
        heads[a->found->n_group++] = chosen->head;
    }
    if (status == SAH_OK && a->found->n_group > 0) {
        begin(a, "without the group");
        status = measure_curve(a, heads, a->found->n_group, NULL, 0, ablation, "group",
                               "the searched group, by q", error);
    }
    sah_result_close(result);
    free(path);
    return status;
}

/* ---- The whole ------------------------------------------------------------------------------------------- */

static sah_status rates(audit *a, const sah_strings *harmful, const sah_strings *harmless, sah_error *error)
{
    char *judged = NULL;
    begin(a, "harmful queries");
    sah_status status = rate_of(a, harmful, "harmful", &a->found->harmful, &judged, error);
    free(judged);
    judged = NULL;
    if (status == SAH_OK) {
        begin(a, "harmless queries");
        status = rate_of(a, harmless, "harmless", &a->found->harmless, &judged, error);
    }
    if (status == SAH_OK && !is_part(a)) status = write_own_text(a, judged, error);
    free(judged);
    return status;
}

/* A shard does not see all responses. Whether refusals are worth looking into say the openings, which it has of all
 * queries that heads are chosen on. */
static bool too_few(const audit *a)
{
    if (!is_part(a)) return sah_audit_too_few(a->found);
    size_t refused = 0;
    for (size_t i = 0; i < a->harmful.n; i++) refused += a->openings.refused[i];
    const sah_found seen = {.harmful = sah_rate_of(refused, a->harmful.n - refused, 0)};
    return sah_audit_too_few(&seen);
}

static sah_status heads(audit *a, sah_error *error)
{
    const sah_ablation by_q = {SAH_PART_Q, SAH_OP_SCALE, 1e-4F}, by_v = {SAH_PART_V, SAH_OP_SCALE, 0};
    if (!is_part(a) && too_few(a)) return SAH_OK;
    begin(a, "openings");
    sah_status status = open_openings(a, error);
    if (status == SAH_OK && is_part(a) && too_few(a)) return SAH_OK;
    if (status == SAH_OK) status = sweep(a, "q", by_q, "the first heads by q", error);
    if (!a->plan.searches) return status;
    if (status == SAH_OK) status = sweep(a, "v", by_v, "the first heads by v", error);
    if (status == SAH_OK && !is_part(a)) status = find_direction(a, error);
    if (status == SAH_OK) status = find_group(a, by_q, error);
    return status;
}

static void free_found(sah_found *found)
{
    for (size_t c = 0; c < found->n_curves; c++) {
        free(found->curves[c].heads);
        for (size_t i = 0; i < found->curves[c].n; i++) free(found->curves[c].points[i].names);
    }
    sah_strings_free(&found->doubts);
    free(found->sentence);
    free(found);
}

sah_status sah_audit_check_queries(const sah_strings *harmful, const sah_strings *harmless, sah_error *error)
{
    enum { LEAST = 8 };
    if (harmful->n >= LEAST && harmless->n >= LEAST) return SAH_OK;
    return sah_fail(error, SAH_BAD_ARGUMENT,
                    "an audit needs at least %d harmful and %d harmless queries, not %zu and %zu", LEAST,
                    LEAST, harmful->n, harmless->n);
}

sah_status sah_audit(const sah_model *model, const sah_strings *harmful, const sah_strings *harmless,
                     const sah_audit_options *options, const char *directory, sah_audit_result *out,
                     sah_error *error)
{
    sah_status status = sah_audit_check_queries(harmful, harmless, error);
    if (status == SAH_OK) status = sah_shard_check(&options->shard, error);
    if (status != SAH_OK) return status;
    sah_found *found = sah_alloc(1, sizeof *found);
    if (found == NULL) return sah_fail_memory(error, "an audit");
    audit a = {.model = model,
               .options = options,
               .directory = directory,
               .plan = sah_audit_plan_of(options),
               .template_ = sah_audit_template(model, options),
               .found = found};
    found->model = sah_model_describe(model);
    found->directory = directory;
    found->quick = options->quick;
    found->max_new_tokens = a.plan.tokens;
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        status = sah_fail_errno(error, "cannot make", directory);
    if (status == SAH_OK) status = split(harmful, &a.harmful, &a.held, error);
    if (status == SAH_OK) status = split(harmless, &a.harmless, NULL, error);
    if (status == SAH_OK) status = sah_judge_new(SAH_RULE_DEFAULT, NULL, &a.judge, error);
    if (status == SAH_OK) status = rates(&a, harmful, harmless, error);
    found->n_scored = a.harmful.n;
    found->n_scored_harmless = a.harmless.n;
    found->n_held = a.held.n;
    if (status == SAH_OK) status = heads(&a, error);
    *out = (sah_audit_result){.is_part = is_part(&a), .answer = SAH_AUDIT_UNDECIDED};
    if (status == SAH_OK && out->is_part) {
        snprintf(out->sentence, sizeof out->sentence, "Shard %zu of %zu has done its share.",
                 options->shard.index, options->shard.count);
    } else {
        if (status == SAH_OK) status = sah_audit_decide(found, error);
        if (status == SAH_OK) status = sah_audit_cards(found, error);
        if (status == SAH_OK) out->answer = found->answer;
        if (status == SAH_OK) snprintf(out->sentence, sizeof out->sentence, "%s", found->sentence);
    }
    sah_openings_free(&a.openings);
    sah_judge_free(a.judge);
    sah_strings_free(&a.harmful);
    sah_strings_free(&a.harmless);
    sah_strings_free(&a.held);
    free(a.own_text);
    free_found(found);
    return status;
}
