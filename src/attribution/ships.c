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

typedef struct ships {
    const sah_model *model;
    const sah_run_options *options;
    size_t n_queries, n_contrast;
    sah_head *heads; /* those still to do */
    size_t n_heads;
    bool *done; /* [n_layers * heads_of_layer] found in the journal */
    int heads_of_layer;
    uint64_t n_done;
    sah_journal *journal;
} ships;

/* Appends a list of one number a query, and with contrast that of the contrast queries; NULL: nothing. */
static void add_lists(sah_text *line, const ships *s, const char *key, const double *values)
{
    char contrast_key[32];
    if (values == NULL) return;
    snprintf(contrast_key, sizeof contrast_key, "%s_contrast", key);
    sah_line_numbers(line, key, values, s->n_queries);
    if (s->n_contrast > 0) sah_line_numbers(line, contrast_key, values + s->n_queries, s->n_contrast);
}

/* The head's line in the journal; harmful queries come first. */
static sah_status write_head(void *ctx, size_t index, const sah_head_scores *scores, sah_error *error)
{
    ships *s = ctx;
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
        (s->options->openings != NULL && !is_list_of(json_object_get(line, "effect"), s->n_queries, true))) {
        return sah_fail(error, SAH_FAILED, "line %zu is not a score of this run; remove it to carry on",
                        number);
    }
    bool *done = &s->done[head.layer * s->heads_of_layer + head.head];
    s->n_done += *done ? 0 : 1;
    *done = true;
    return SAH_OK;
}

/* ---- The run ------------------------------------------------------------------------------------------- */

/* Sweeps the heads of this shard that the journal does not have. */
static sah_status sweep_heads(ships *s, const sah_probes *probes, sah_sweep_report *report, sah_error *error)
{
    const sah_run_options *options = s->options;
    size_t left = 0;
    for (size_t i = 0; i < s->n_heads; i++)
        if (sah_shard_has(&options->shard, i) &&
            !s->done[s->heads[i].layer * s->heads_of_layer + s->heads[i].head])
            s->heads[left++] = s->heads[i];
    s->n_heads = left;
    sah_sweep_options sweep = {
        .memory = options->memory,
        .progress = options->progress,
        .user = options->user,
        .what = "ships: heads",
        .done = s->n_done,
        .total = s->n_done + left,
        .report = report,
    };
    if (options->progress != NULL && !options->progress(options->user, sweep.what, s->n_done, sweep.total))
        return sah_fail(error, SAH_INTERRUPTED, "interrupted");
    if (left == 0) return SAH_OK;
    return sah_scores(s->model, probes, &options->ablation, options->opening_kl, s->heads, left, &sweep,
                      write_head, s, error);
}

static sah_status run(ships *s, const sah_strings *const lists[2], const char *path, sah_sweep_report *report,
                      sah_error *error)
{
    sah_probes probes = {0};
    json_t *header = NULL;
    sah_status status = sah_run_heads(s->model, s->options, &s->heads, &s->n_heads, error);
    if (status == SAH_OK)
        status = sah_probes_new(s->model, lists, s->options, SAH_SHIPS_TEMPLATE, NULL, &probes, error);
    s->done = sah_alloc((size_t)s->model->config.n_layers * (size_t)s->heads_of_layer, sizeof *s->done);
    if (status == SAH_OK && s->done == NULL) status = sah_fail_memory(error, "the heads");
    if (status == SAH_OK) status = sah_ships_header(s->model, lists, s->options, 0, &header, error);
    if (status == SAH_OK)
        status = sah_journal_open(path, header, take_line, s, sah_run_sink(s->options), &s->journal, error);
    if (status == SAH_OK) status = sweep_heads(s, &probes, report, error);
    sah_status closed = sah_journal_close(s->journal, status == SAH_OK ? error : NULL);
    if (status == SAH_OK) status = closed;
    json_decref(header);
    sah_probes_free(&probes);
    free(s->heads);
    free(s->done);
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
                            const sah_run_options *options, size_t screen, json_t **out, sah_error *error)
{
    json_t *header = sah_journal_header("ships", model),
           *settings = sah_run_settings(model, options, SAH_SHIPS_TEMPLATE);
    bool good = header != NULL && settings != NULL;
    if (good && screen > 0)
        good = json_object_set_new(settings, "screen", json_integer((json_int_t)screen)) == 0;
    if (good) good = sah_run_add_heads(settings, model, options);
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

sah_status sah_ships_reported(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                              const sah_run_options *options, const char *path, sah_sweep_report *report,
                              sah_error *error)
{
    if (contrast != NULL && contrast->n == 0) contrast = NULL;
    const sah_strings *lists[2] = {queries, contrast};
    const sah_run_options meant = sah_run_resolve(options);
    ships s = {
        .model = model,
        .options = &meant,
        .n_queries = queries->n,
        .n_contrast = contrast != NULL ? contrast->n : 0,
        .heads_of_layer = sah_run_heads_of_layer(sah_model_describe(model), &meant.ablation),
    };
    if (queries->n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no query to score");
    sah_status status = sah_shard_check(&meant.shard, error);
    if (status == SAH_OK)
        status =
            sah_interchange_check(&meant.ablation, &meant.interchange, s.n_queries + s.n_contrast, error);
    return status == SAH_OK ? run(&s, lists, path, report, error) : status;
}

sah_status sah_ships(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                     const sah_run_options *options, const char *path, sah_error *error)
{
    return sah_ships_reported(model, queries, contrast, options, path, NULL, error);
}
