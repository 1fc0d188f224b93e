/* SPDX-License-Identifier: Apache-2.0 */
/* Ships of every head for every query (method.md, "Ships: one query"): queries in, scores to a journal. */
#include "attribution/ships.h"

#include <stdio.h>
#include <stdlib.h>

#include "run/interchange.h"
#include "run/journal.h"
#include "run/prompts.h"
#include "run/shard.h"
#include "attribution/ships_sweep.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

/* One result. */
typedef struct ships {
    const sah_model *model;
    sah_run_options options;
    const char *path;
    size_t n_queries, n_contrast;
    bool differs; /* by differences (engine/difference.h) */
    sah_head *heads; /* those still to do */
    size_t n_heads;
    bool *done; /* [n_layers * heads_of_layer] found in the journal */
    int heads_of_layer;
    uint64_t n_done;
    sah_journal *journal;
} ships;

/* Results of one sweep, which differ in the part that is ablated. */
enum { MOST_RESULTS = 3 };
typedef struct results {
    ships items[MOST_RESULTS];
    size_t n;
} results;

/* Appends a list of one number a query, and with contrast that of the contrast queries; NULL: nothing. */
static void add_lists(sah_text *line, const ships *s, const char *key, const double *values)
{
    char contrast_key[32];
    if (values == NULL) return;
    snprintf(contrast_key, sizeof contrast_key, "%s_contrast", key);
    sah_line_numbers(line, key, values, s->n_queries);
    if (s->n_contrast > 0) sah_line_numbers(line, contrast_key, values + s->n_queries, s->n_contrast);
}

/* A head's line in its journal; harmful queries come first. Heads of one result stand behind those of another. */
static sah_status write_head(void *ctx, size_t index, const sah_head_scores *scores, sah_error *error)
{
    ships *s = ((results *)ctx)->items;
    while (index >= s->n_heads) index -= s++->n_heads;
    sah_head head = s->heads[index];
    sah_text line = {0};
    sah_text_addf(&line, "{\"head\":\"%d-%d\"", head.layer, head.head);
    add_lists(&line, s, "kl", scores->kl);
    add_lists(&line, s, "effect", scores->effect);
    add_lists(&line, s, "toward", scores->toward);
    add_lists(&line, s, "opening_kl", scores->opening_kl);
    sah_text_add(&line, "}", 1);
    sah_status status = line.failed ? sah_fail_memory(error, "a line of the result")
                                    : sah_journal_add(s->journal, line.data, line.size, error);
    free(line.data);
    return status;
}

/* ---- Resuming ------------------------------------------------------------------------------------------ */

/* n numbers, or nulls where those may be. */
static bool is_list_of(const json_t *value, size_t n, bool nulls)
{
    if (json_array_size(value) != n) return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_number(item) && !(nulls && json_is_null(item))) return false;
    }
    return true;
}

/* A line of an earlier run: its head needs no second visit. */
static sah_status take_line(void *ctx, const json_t *line, size_t number, sah_error *error)
{
    ships *s = ctx;
    const char *name = json_string_value(json_object_get(line, "head"));
    sah_head head;
    if (name == NULL || !sah_head_read(name, s->model->config.n_layers, s->heads_of_layer, &head) ||
        !is_list_of(json_object_get(line, "kl"), s->n_queries, false) ||
        (s->n_contrast > 0 && !is_list_of(json_object_get(line, "kl_contrast"), s->n_contrast, false)) ||
        (s->options.openings != NULL && !is_list_of(json_object_get(line, "effect"), s->n_queries, true))) {
        return sah_fail(error, SAH_FAILED, "line %zu is not a score of this run; remove it to carry on",
                        number);
    }
    bool *done = &s->done[head.layer * s->heads_of_layer + head.head];
    s->n_done += *done ? 0 : 1;
    *done = true;
    return SAH_OK;
}

/* ---- The run ------------------------------------------------------------------------------------------- */

/* Keeps the heads of this shard that the journal does not have. */
static void keep_heads_left(ships *s)
{
    size_t left = 0;
    for (size_t i = 0; i < s->n_heads; i++)
        if (sah_shard_has(&s->options.shard, i) &&
            !s->done[s->heads[i].layer * s->heads_of_layer + s->heads[i].head])
            s->heads[left++] = s->heads[i];
    s->n_heads = left;
}

/* Sweeps the heads that are left of all results. */
static sah_status sweep_heads(results *r, const sah_probes *probes, sah_sweep_report *report,
                              sah_error *error)
{
    const sah_run_options *options = &r->items[0].options;
    size_t n = 0;
    uint64_t done = 0;
    for (size_t i = 0; i < r->n; i++) {
        keep_heads_left(&r->items[i]);
        n += r->items[i].n_heads;
        done += r->items[i].n_done;
    }
    const bool plainly = r->items[0].model->precision == SAH_PRECISION_BF16 && !r->items[0].differs;
    sah_sweep_options sweep = {
        .memory = options->memory,
        .progress = options->progress,
        .user = options->user,
        .what = plainly ? "ships, bf16 without differences: heads" : "ships: heads",
        .done = done,
        .total = done + n,
        .differences = r->items[0].differs,
        .report = report,
    };
    if (options->progress != NULL && !options->progress(options->user, sweep.what, done, sweep.total))
        return sah_fail(error, SAH_INTERRUPTED, "interrupted");
    if (n == 0) return SAH_OK;
    sah_target *targets = sah_alloc(n, sizeof *targets), *next = targets;
    if (targets == NULL) return sah_fail_memory(error, "the heads");
    for (size_t i = 0; i < r->n; i++)
        for (size_t h = 0; h < r->items[i].n_heads; h++)
            *next++ = (sah_target){r->items[i].heads[h], &r->items[i].options.ablation};
    sah_status status =
        sah_scores(r->items[0].model, probes, options->opening_kl, targets, n, &sweep, write_head, r, error);
    free(targets);
    return status;
}

/* The heads of a result, and its journal with what an earlier run left there. */
static sah_status open_result(ships *s, const sah_strings *const lists[2], sah_error *error)
{
    json_t *header = NULL;
    sah_status status = sah_run_heads(s->model, &s->options, &s->heads, &s->n_heads, error);
    s->heads_of_layer = sah_run_heads_of_layer(sah_model_describe(s->model), &s->options.ablation);
    s->done = sah_alloc((size_t)s->model->config.n_layers * (size_t)s->heads_of_layer, sizeof *s->done);
    if (status == SAH_OK && s->done == NULL) status = sah_fail_memory(error, "the heads");
    if (status == SAH_OK)
        status = sah_ships_header(s->model, lists, &s->options, 0, s->differs, &header, error);
    if (status == SAH_OK)
        status =
            sah_journal_open(s->path, header, take_line, s, sah_run_sink(&s->options), &s->journal, error);
    json_decref(header);
    return status;
}

static sah_status run(results *r, const sah_strings *const lists[2], sah_sweep_report *report,
                      sah_error *error)
{
    sah_probes probes = {0};
    const ships *first = &r->items[0];
    sah_status status =
        sah_probes_new(first->model, lists, &first->options, SAH_SHIPS_TEMPLATE, NULL, &probes, error);
    const bool differs =
        status == SAH_OK && sah_sweep_differs(first->model, probes.forest, first->options.memory);
    for (size_t i = 0; i < r->n; i++) r->items[i].differs = differs;
    for (size_t i = 0; i < r->n && status == SAH_OK; i++) status = open_result(&r->items[i], lists, error);
    if (status == SAH_OK) status = sweep_heads(r, &probes, report, error);
    for (size_t i = 0; i < r->n; i++) {
        sah_status closed = sah_journal_close(r->items[i].journal, status == SAH_OK ? error : NULL);
        if (status == SAH_OK) status = closed;
        free(r->items[i].heads);
        free(r->items[i].done);
    }
    sah_probes_free(&probes);
    return status;
}

/* What is known of n openings from `first` on, as the header lists it; NULL: no memory. */
static json_t *list_openings(const sah_model *model, const sah_openings *o, size_t first, size_t n)
{
    json_t *list = json_array();
    for (size_t i = first; i < first + n; i++) {
        char *text = NULL;
        bool good = sah_decode(model, o->tokens + i * o->length, o->lengths[i], false, &text, NULL) == SAH_OK;
        json_t *item = good ? json_pack("{s:b, s:s}", "refused", o->refused[i], "text", text) : NULL;
        if (item != NULL && o->thinking[i] && json_object_set_new(item, "thinking", json_true()) != 0) {
            json_decref(item);
            item = NULL;
        }
        free(text);
        if (json_array_append_new(list, item) == 0) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static sah_status add_openings(json_t *header, const sah_model *model, const sah_strings *const lists[2],
                               const sah_run_options *options, sah_error *error)
{
    const sah_openings *o = options->openings;
    json_t *settings = json_object_get(header, "settings");
    size_t n = lists[0]->n, n_contrast = lists[1] != NULL ? lists[1]->n : 0;
    char *text = NULL;
    if (o->n != n + n_contrast)
        return sah_fail(error, SAH_BAD_ARGUMENT, "%zu openings for %zu queries", o->n, n + n_contrast);
    bool good = json_object_set_new(settings, "opening", json_integer((json_int_t)o->length)) == 0 &&
                json_object_set_new(settings, "opening_judged", json_integer((json_int_t)o->judged)) == 0 &&
                json_object_set_new(header, "openings", list_openings(model, o, 0, n)) == 0;
    if (good && options->opening_kl) good = json_object_set_new(settings, "opening_kl", json_true()) == 0;
    if (good && n_contrast > 0)
        good = json_object_set_new(header, "contrast_openings", list_openings(model, o, n, n_contrast)) == 0;
    if (good && o->refusal != NULL)
        good = sah_decode(model, o->refusal, o->refusal_length, false, &text, error) == SAH_OK &&
               json_object_set_new(header, "refusal_opening", json_string(text)) == 0;
    free(text);
    return good ? SAH_OK : sah_fail_memory(error, "the header");
}

sah_status sah_ships_header(const sah_model *model, const sah_strings *const lists[2],
                            const sah_run_options *options, size_t screen, bool differs, json_t **out,
                            sah_error *error)
{
    json_t *header = sah_journal_header("ships", model),
           *settings = sah_run_settings(model, options, SAH_SHIPS_TEMPLATE);
    bool good = header != NULL && settings != NULL;
    if (good && screen > 0)
        good = json_object_set_new(settings, "screen", json_integer((json_int_t)screen)) == 0;
    if (good) good = sah_run_note_products(differs, settings) && sah_run_add_heads(settings, model, options);
    if (good) good = json_object_set(header, "settings", settings) == 0;
    json_decref(settings);
    if (good) good = json_object_set_new(header, "queries", sah_run_strings(lists[0])) == 0;
    if (good) good = sah_run_add_refusal(header, options) && sah_run_add_matching(header, &options->matching);
    if (good && lists[1] != NULL)
        good = json_object_set_new(header, "contrast_queries", sah_run_strings(lists[1])) == 0;
    if (good) good = sah_interchange_note(header, &options->ablation, &options->interchange, lists[0]->n);
    sah_status status = SAH_OK;
    if (good && options->openings != NULL) status = add_openings(header, model, lists, options, error);
    *out = header;
    if (good && status == SAH_OK) return SAH_OK;
    json_decref(header);
    *out = NULL;
    if (status != SAH_OK) return status;
    return sah_run_no_header(lists[0], lists[1], options->template_, options->system, error);
}

/* Results of a run, the i-th with parts[i] ablated and in the journal paths[i]. */
static sah_status start(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                        const sah_run_options *meant, const unsigned *parts, const char *const *paths,
                        size_t n, sah_sweep_report *report, sah_error *error)
{
    if (contrast != NULL && contrast->n == 0) contrast = NULL;
    const sah_strings *lists[2] = {queries, contrast};
    results r = {.n = n};
    for (size_t i = 0; i < n; i++) {
        r.items[i] = (ships){.model = model,
                             .options = *meant,
                             .path = paths[i],
                             .n_queries = queries->n,
                             .n_contrast = contrast != NULL ? contrast->n : 0};
        r.items[i].options.ablation.parts = parts[i];
    }
    if (queries->n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no query to score");
    sah_status status = sah_shard_check(&meant->shard, error);
    if (status == SAH_OK)
        status = sah_interchange_check(&meant->ablation, &meant->interchange,
                                       queries->n + r.items[0].n_contrast, error);
    return status == SAH_OK ? run(&r, lists, report, error) : status;
}

sah_status sah_ships_reported(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                              const sah_run_options *options, const char *path, sah_sweep_report *report,
                              sah_error *error)
{
    const sah_run_options meant = sah_run_resolve(options);
    return start(model, queries, contrast, &meant, &meant.ablation.parts, &path, 1, report, error);
}

sah_status sah_ships(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                     const sah_run_options *options, const char *path, sah_error *error)
{
    return sah_ships_reported(model, queries, contrast, options, path, NULL, error);
}

sah_status sah_ships_apart(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                           const sah_run_options *options, const char *const *paths, size_t n_paths,
                           sah_error *error)
{
    static const unsigned each[MOST_RESULTS] = {SAH_PART_Q, SAH_PART_K, SAH_PART_V};
    const sah_run_options meant = sah_run_resolve(options);
    unsigned parts[MOST_RESULTS];
    size_t n = 0;
    for (size_t i = 0; i < MOST_RESULTS; i++)
        if (meant.ablation.parts & each[i]) parts[n++] = each[i];
    if (n == 0 || n != n_paths)
        return sah_fail(error, SAH_BAD_ARGUMENT, "%zu results for %zu parts", n_paths, n);
    return start(model, queries, contrast, &meant, parts, paths, n, NULL, error);
}
