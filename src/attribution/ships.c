/* Ships of every head for every query (method.md, "Ships: one query"): queries in, scores to a journal. */
#include "attribution/ships.h"

#include <stdlib.h>

#include "run/journal.h"
#include "run/prompts.h"
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

/* The head's line in the journal; kl [n_queries + n_contrast], harmful queries first. */
static sah_status write_head(void *ctx, size_t index, const double *kl, sah_error *error)
{
    ships *s = ctx;
    sah_head head = s->heads[index];
    sah_text line = {0};
    sah_text_addf(&line, "{\"head\":\"%d-%d\"", head.layer, head.head);
    sah_line_numbers(&line, "kl", kl, s->n_queries);
    if (s->n_contrast > 0) sah_line_numbers(&line, "kl_contrast", kl + s->n_queries, s->n_contrast);
    sah_text_add(&line, "}", 1);
    sah_status status = line.failed ? sah_fail_memory(error, "a line of the result")
                                    : sah_journal_add(s->journal, line.data, line.size, error);
    free(line.data);
    return status;
}

/* ---- Resuming ------------------------------------------------------------------------------------------ */

static bool is_list_of(const json_t *value, size_t n)
{
    if (json_array_size(value) != n) return false;
    for (size_t i = 0; i < n; i++) {
        if (!json_is_number(json_array_get(value, i))) return false;
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
        !is_list_of(json_object_get(line, "kl"), s->n_queries) ||
        (s->n_contrast > 0 && !is_list_of(json_object_get(line, "kl_contrast"), s->n_contrast))) {
        return sah_fail(error, SAH_FAILED, "line %zu is not a score of this run; remove it to carry on",
                        number);
    }
    bool *done = &s->done[head.layer * s->heads_of_layer + head.head];
    s->n_done += *done ? 0 : 1;
    *done = true;
    return SAH_OK;
}

/* ---- The run ------------------------------------------------------------------------------------------- */

/* Sweeps the heads that the journal does not have. */
static sah_status sweep_heads(ships *s, const sah_forest *forest, sah_sweep_report *report, sah_error *error)
{
    const sah_run_options *options = s->options;
    size_t left = 0;
    for (size_t i = 0; i < s->n_heads; i++)
        if (!s->done[s->heads[i].layer * s->heads_of_layer + s->heads[i].head])
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
    return sah_scores(s->model, forest, &options->ablation, s->heads, left, &sweep, write_head, s, error);
}

static sah_status run(ships *s, const sah_strings *const lists[2], const char *path, sah_sweep_report *report,
                      sah_error *error)
{
    sah_forest *forest = NULL;
    json_t *header = NULL;
    sah_status status =
        sah_run_heads(sah_model_describe(s->model), s->options, &s->heads, &s->n_heads, error);
    if (status == SAH_OK)
        status = sah_run_forest(s->model, lists, 2, s->options, SAH_SHIPS_TEMPLATE, &forest, error);
    s->done = sah_alloc((size_t)s->model->config.n_layers * (size_t)s->heads_of_layer, sizeof *s->done);
    if (status == SAH_OK && s->done == NULL) status = sah_fail_memory(error, "the heads");
    if (status == SAH_OK) status = sah_ships_header(s->model, lists, s->options, 0, &header, error);
    if (status == SAH_OK) status = sah_journal_open(path, header, take_line, s, &s->journal, error);
    if (status == SAH_OK) status = sweep_heads(s, forest, report, error);
    sah_status closed = sah_journal_close(s->journal, status == SAH_OK ? error : NULL);
    if (status == SAH_OK) status = closed;
    json_decref(header);
    sah_forest_free(forest);
    free(s->heads);
    free(s->done);
    return status;
}

sah_status sah_ships_header(const sah_model *model, const sah_strings *const lists[2],
                            const sah_run_options *options, size_t screen, json_t **out, sah_error *error)
{
    json_t *header = sah_journal_header("ships", model),
           *settings = sah_run_settings(model, options, SAH_SHIPS_TEMPLATE);
    bool good = header != NULL && settings != NULL;
    if (good && screen > 0)
        good = json_object_set_new(settings, "screen", json_integer((json_int_t)screen)) == 0;
    if (good) good = json_object_set(header, "settings", settings) == 0;
    json_decref(settings);
    if (good) good = json_object_set_new(header, "queries", sah_run_strings(lists[0])) == 0;
    if (good) good = sah_run_add_refusal(header, options) && sah_run_add_matching(header, &options->matching);
    if (good && lists[1] != NULL)
        good = json_object_set_new(header, "contrast_queries", sah_run_strings(lists[1])) == 0;
    *out = header;
    if (good) return SAH_OK;
    json_decref(header);
    *out = NULL;
    return sah_fail(error, SAH_FAILED,
                    "cannot write the header: no memory, or a query or template is not UTF-8");
}

sah_status sah_ships_reported(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                              const sah_run_options *options, const char *path, sah_sweep_report *report,
                              sah_error *error)
{
    if (contrast != NULL && contrast->n == 0) contrast = NULL;
    const sah_strings *lists[2] = {queries, contrast};
    ships s = {
        .model = model,
        .options = options,
        .n_queries = queries->n,
        .n_contrast = contrast != NULL ? contrast->n : 0,
        .heads_of_layer = sah_run_heads_of_layer(sah_model_describe(model), &options->ablation),
    };
    if (queries->n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no query to score");
    return run(&s, lists, path, report, error);
}

sah_status sah_ships(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                     const sah_run_options *options, const char *path, sah_error *error)
{
    return sah_ships_reported(model, queries, contrast, options, path, NULL, error);
}
