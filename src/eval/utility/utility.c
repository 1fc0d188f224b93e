/* SPDX-License-Identifier: Apache-2.0 */
/* The utility run: items and windows of a text in chunks that fit in memory, each through the model with and
 * without the ablation, one line of the journal for each; the totals when all is done. */
#include "eval/utility/utility_totals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "engine/donors.h"
#include "eval/utility/continuations.h"
#include "run/journal.h"
#include "run/prompts.h"
#include "run/shard.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/mapfile.h"
#include "util/utf8.h"

/* A chunk is long enough for tall products at this many tokens; longer ones would only hide progress. */
enum { CHUNK_TOKENS = 8192 };
static const uint64_t MEMORY = (uint64_t)256 << 20;
static const size_t LONGEST_TEXT = (size_t)1 << 30;

/* Units are the items, then the windows of the text. */
typedef struct run {
    const sah_model *model;
    const sah_utility_options *options;
    char *text; /* of the file, or NULL */
    size_t text_size;
    size_t n_items, n_units;
    int32_t **tokens; /* [choices of all items] */
    size_t n_choices;
    sah_windows windows;
    sah_continuation *continuations; /* a choice each, then a window each */
    size_t n_continuations;
    size_t *first; /* [n_units + 1] a unit's first continuation */
    size_t *value; /* [n_units + 1] its first value: a choice each, or a scored token each */
    double *asked, *base; /* [values] log-likelihoods with and without the ablation */
    sah_edit *edits;
    size_t n_edits;
    bool *done; /* [n_units] in the journal */
    bool finished; /* the journal has the totals too */
    uint64_t n_done;
    sah_journal *journal;
} run;

static void run_free(run *r)
{
    for (size_t i = 0; i < r->n_choices && r->tokens != NULL; i++) free(r->tokens[i]);
    free(r->tokens);
    sah_windows_free(&r->windows);
    free(r->continuations);
    free(r->first);
    free(r->value);
    free(r->asked);
    free(r->base);
    free(r->edits);
    free(r->done);
    free(r->text);
}

/* ---- Texts to units ------------------------------------------------------------------------------------ */

static sah_status item_tokens(run *r, size_t index, sah_error *error)
{
    const sah_utility_options *o = r->options;
    const sah_item *item = &o->items->items[index];
    const char *template_ = o->run.template_ != NULL ? o->run.template_ : "none";
    char *context = NULL, where[48];
    sah_text choice = {0};
    sah_status status = sah_prompt_wrap(r->model, template_, o->run.system, item->context, &context, error);
    for (size_t i = 0; i < item->choices.n && status == SAH_OK; i++) {
        size_t at = r->first[index] + i;
        choice.size = 0;
        sah_text_adds(&choice, o->delimiter != NULL ? o->delimiter : "");
        sah_text_adds(&choice, item->choices.items[i]);
        if (choice.failed) status = sah_fail_memory(error, "a choice");
        if (status == SAH_OK)
            status = sah_choice_tokens(r->model, template_, context, choice.data, &r->tokens[at],
                                       &r->continuations[at], error);
    }
    if (status != SAH_OK) {
        snprintf(where, sizeof where, "item %zu", index);
        sah_fail_in(error, where);
    }
    free(choice.data);
    free(context);
    return status;
}

static sah_status make_units(run *r, sah_error *error)
{
    const sah_utility_options *o = r->options;
    sah_status status = SAH_OK;
    r->n_items = o->items != NULL ? o->items->n : 0;
    for (size_t i = 0; i < r->n_items; i++) r->n_choices += o->items->items[i].choices.n;
    if (r->text != NULL)
        status = sah_windows_new(r->model, r->text, r->text_size, o->window, &r->windows, error);
    if (status != SAH_OK) return status;
    r->n_units = r->n_items + r->windows.n;
    r->n_continuations = r->n_choices + r->windows.n;
    r->tokens = sah_alloc(r->n_choices, sizeof *r->tokens);
    r->continuations = sah_alloc(r->n_continuations, sizeof *r->continuations);
    r->first = sah_alloc(r->n_units + 1, sizeof *r->first);
    r->value = sah_alloc(r->n_units + 1, sizeof *r->value);
    r->done = sah_alloc(r->n_units, sizeof *r->done);
    r->asked = sah_alloc(r->n_choices + r->windows.n_tokens, sizeof *r->asked);
    r->base = sah_alloc(r->n_choices + r->windows.n_tokens, sizeof *r->base);
    if (r->tokens == NULL || r->continuations == NULL || r->first == NULL || r->value == NULL ||
        r->done == NULL || r->asked == NULL || r->base == NULL)
        return sah_fail_memory(error, "the items");
    for (size_t u = 0; u < r->n_units && status == SAH_OK; u++) {
        if (u < r->n_items) {
            size_t n = o->items->items[u].choices.n;
            status = item_tokens(r, u, error);
            r->first[u + 1] = r->first[u] + n;
            r->value[u + 1] = r->value[u] + n;
        } else {
            const sah_continuation *window = &r->windows.windows[u - r->n_items];
            r->continuations[r->first[u]] = *window;
            r->first[u + 1] = r->first[u] + 1;
            r->value[u + 1] = r->value[u] + window->n - window->from;
        }
    }
    return status;
}

/* ---- Lines --------------------------------------------------------------------------------------------- */

static void add_list(sah_text *line, const char *key, const double *values, size_t n)
{
    char number[32];
    sah_text_addf(line, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++) {
        sah_format_double(values[i], number);
        if (i > 0) sah_text_adds(line, ",");
        sah_text_adds(line, number);
    }
    sah_text_adds(line, "]");
}

static void add_values(const run *r, sah_text *line, size_t unit, const char *prefix, const double *values)
{
    char key[32];
    snprintf(key, sizeof key, "%sloglikelihood", prefix);
    add_list(line, key, values + r->value[unit], r->value[unit + 1] - r->value[unit]);
    if (unit >= r->n_items) return;
    const sah_item *item = &r->options->items->items[unit];
    sah_text_addf(line, ",\"%schoice\":%zu,\"%schoice_norm\":%zu", prefix,
                  sah_best_choice(item, values + r->value[unit], false), prefix,
                  sah_best_choice(item, values + r->value[unit], true));
}

static sah_status write_unit(run *r, size_t unit, sah_error *error)
{
    sah_text line = {0};
    if (unit < r->n_items)
        sah_text_addf(&line, "{\"item\":%zu,\"label\":%zu", unit, r->options->items->items[unit].label);
    else
        sah_text_addf(&line, "{\"window\":%zu", unit - r->n_items);
    add_values(r, &line, unit, "", r->asked);
    if (r->n_edits > 0) add_values(r, &line, unit, "base_", r->base);
    sah_text_adds(&line, "}");
    sah_status status = line.failed ? sah_fail_memory(error, "a line of the result")
                                    : sah_journal_add(r->journal, line.data, line.size, error);
    free(line.data);
    return status;
}

/* Takes a list back into values; false when it is none, or of another length. */
static bool read_list(const json_t *line, const char *key, size_t n, double *values)
{
    const json_t *list = json_object_get(line, key);
    if (json_array_size(list) != n) return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_number(value)) return false;
        values[i] = json_number_value(value);
    }
    return true;
}

/* A line of an earlier run. */
static sah_status take_line(void *ctx, const json_t *line, size_t number, sah_error *error)
{
    run *r = ctx;
    const json_t *item = json_object_get(line, "item"), *window = json_object_get(line, "window");
    if (item == NULL && window == NULL &&
        json_object_get(line, r->n_items > 0 ? "acc" : "perplexity") != NULL) {
        r->finished = true;
        return SAH_OK;
    }
    const json_t *index = item != NULL ? item : window;
    size_t limit = item != NULL ? r->n_items : r->windows.n;
    bool good = json_is_integer(index) && json_integer_value(index) >= 0 &&
                (uint64_t)json_integer_value(index) < limit;
    size_t unit = good ? (size_t)json_integer_value(index) + (item != NULL ? 0 : r->n_items) : 0;
    if (good) {
        size_t n = r->value[unit + 1] - r->value[unit];
        good = read_list(line, "loglikelihood", n, r->asked + r->value[unit]) &&
               (r->n_edits == 0 || read_list(line, "base_loglikelihood", n, r->base + r->value[unit]));
    }
    if (!good)
        return sah_fail(error, SAH_FAILED, "line %zu is not a line of this run; remove it to carry on",
                        number);
    r->n_done += !r->done[unit];
    r->done[unit] = true;
    return SAH_OK;
}

/* ---- Header -------------------------------------------------------------------------------------------- */

static void digest(XXH64_hash_t hash, char out[17])
{
    snprintf(out, 17, "%016llx", (unsigned long long)hash);
}

/* The items' choices and labels; the contexts stand in the header in full. */
static json_t *describe_items(const sah_items *items)
{
    char hash[17];
    sah_text all = {0};
    for (size_t i = 0; i < items->n; i++) {
        const sah_item *item = &items->items[i];
        sah_text_addf(&all, "%zu", item->label);
        for (size_t c = 0; c < item->choices.n; c++)
            sah_text_add(&all, item->choices.items[c], strlen(item->choices.items[c]) + 1);
        sah_text_add(&all, "", 1);
    }
    digest(XXH3_64bits(all.data, all.size), hash);
    json_t *described = all.failed ? NULL : json_pack("{s:I, s:s}", "n", (json_int_t)items->n, "xxh3", hash);
    free(all.data);
    return described;
}

static json_t *contexts_of(const sah_items *items)
{
    json_t *list = json_array();
    for (size_t i = 0; items != NULL && i < items->n; i++) {
        if (json_array_append_new(list, json_string(items->items[i].context)) == 0) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

/* The run's settings: those of every ablation, less the ranges of candidates, and its own. */
static json_t *make_settings(const run *r)
{
    const sah_utility_options *o = r->options;
    json_t *settings = sah_run_settings(r->model, &o->run, "none");
    sah_text heads = {0};
    for (size_t i = 0; i < o->n_heads; i++)
        sah_text_addf(&heads, "%s%d-%d", i > 0 ? "," : "", o->heads[i].layer, o->heads[i].head);
    json_t *own = heads.failed
                      ? NULL
                      : json_pack("{s:s?, s:s, s:o}", "ablate", heads.data, "delimiter",
                                  o->delimiter != NULL ? o->delimiter : "", "window",
                                  o->text == NULL ? json_null()
                                  : o->window > 0 ? json_integer((json_int_t)o->window)
                                                  : json_integer((json_int_t)sah_longest_input(r->model)));
    bool good = settings != NULL && own != NULL && json_object_update(settings, own) == 0;
    json_decref(own);
    free(heads.data);
    if (good) {
        json_object_del(settings, "layers");
        json_object_del(settings, "heads");
        return settings;
    }
    json_decref(settings);
    return NULL;
}

static json_t *make_header(const run *r)
{
    const sah_utility_options *o = r->options;
    char hash[17];
    json_t *header = sah_journal_header("utility", r->model);
    bool good = header != NULL && json_object_set_new(header, "settings", make_settings(r)) == 0;
    if (good && o->items != NULL) good = json_object_set_new(header, "items", describe_items(o->items)) == 0;
    if (good && r->text != NULL) {
        digest(XXH3_64bits(r->text, r->text_size), hash);
        json_t *text = json_pack("{s:I, s:I, s:I, s:s}", "bytes", (json_int_t)r->text_size, "words",
                                 (json_int_t)sah_count_words(r->text, r->text_size), "windows",
                                 (json_int_t)r->windows.n, "xxh3", hash);
        good = json_object_set_new(header, "text", text) == 0;
    }
    if (good) good = json_object_set_new(header, "queries", contexts_of(o->items)) == 0;
    if (good) return header;
    json_decref(header);
    return NULL;
}

/* ---- The run ------------------------------------------------------------------------------------------- */

/* Per-token scores of units from..to-1 to their values: summed for a choice, as they are for a window. */
static void keep_scores(const run *r, size_t from, size_t to, const double *scores, double *values)
{
    for (size_t u = from; u < to; u++) {
        double *value = values + r->value[u];
        for (size_t c = r->first[u]; c < r->first[u + 1]; c++) {
            size_t n = r->continuations[c].n - r->continuations[c].from;
            if (u < r->n_items) {
                *value = 0;
                for (size_t i = 0; i < n; i++) *value += scores[i];
                value++;
            } else {
                memcpy(value, scores, n * sizeof *scores);
            }
            scores += n;
        }
    }
}

/* Units from..to-1 through the model, and the lines that the journal lacks. Units that it has are computed
 * again: a chunk gives the same bytes however the run was cut. */
static sah_status run_chunk(run *r, size_t from, size_t to, sah_error *error)
{
    sah_loglik *loglik = NULL;
    double *scores = NULL;
    sah_status status = sah_loglik_new(r->model, r->continuations + r->first[from],
                                       r->first[to] - r->first[from], &loglik, error);
    if (status == SAH_OK) {
        scores = sah_alloc(sah_loglik_size(loglik), sizeof *scores);
        if (scores == NULL) status = sah_fail_memory(error, "the scores");
    }
    if (status == SAH_OK) status = sah_loglik_run(loglik, NULL, 0, scores, error);
    if (status == SAH_OK) keep_scores(r, from, to, scores, r->n_edits > 0 ? r->base : r->asked);
    if (status == SAH_OK && r->n_edits > 0) {
        status = sah_loglik_run(loglik, r->edits, r->n_edits, scores, error);
        if (status == SAH_OK) keep_scores(r, from, to, scores, r->asked);
    }
    for (size_t u = from; u < to && status == SAH_OK; u++) {
        if (r->done[u]) continue;
        status = write_unit(r, u, error);
        r->done[u] = true;
        r->n_done++;
    }
    sah_loglik_free(loglik);
    free(scores);
    return status;
}

static size_t unit_tokens(const run *r, size_t unit)
{
    size_t tokens = 0;
    for (size_t c = r->first[unit]; c < r->first[unit + 1]; c++) tokens += r->continuations[c].n;
    return tokens;
}

static sah_status show_progress(const run *r, sah_error *error)
{
    const sah_run_options *o = &r->options->run;
    const char *what = r->n_items == 0     ? "utility: windows"
                       : r->windows.n == 0 ? "utility: items"
                                           : "utility: items and windows";
    if (o->progress == NULL || o->progress(o->user, what, r->n_done, r->n_units)) return SAH_OK;
    return sah_fail(error, SAH_INTERRUPTED, "interrupted");
}

/* Chunks depend on the units and the memory alone, not on what is done. Shards deal out chunks, not units: where
 * products depend on the number of rows (bfloat16) a chunk still gives the same bytes. */
static sah_status run_chunks(run *r, sah_error *error)
{
    const sah_shard *shard = &r->options->run.shard;
    size_t chunk = 0;
    uint64_t bound = r->options->run.memory > 0 ? r->options->run.memory : sah_model_rows_memory(r->model);
    uint64_t memory = bound > 0 ? bound : MEMORY;
    uint64_t each = sah_loglik_token_bytes(r->model), most = memory / each;
    if (most > CHUNK_TOKENS) most = CHUNK_TOKENS;
    sah_status status = show_progress(r, error);
    for (size_t from = 0, to = 0; from < r->n_units && status == SAH_OK; from = to) {
        uint64_t tokens = 0;
        bool all_done = true;
        while (to < r->n_units && (to == from || tokens + unit_tokens(r, to) <= most)) {
            tokens += unit_tokens(r, to);
            all_done = all_done && r->done[to++];
        }
        if (bound > 0 && tokens * each > memory)
            return sah_fail_field(error, SAH_FAILED, "memory",
                                  ": %llu MB are needed for one %s of %llu tokens",
                                  (unsigned long long)(tokens * each >> 20) + 1,
                                  from < r->n_items ? "item" : "window", (unsigned long long)tokens);
        if (!sah_shard_has(shard, chunk++) || all_done) continue;
        status = run_chunk(r, from, to, error);
        if (status == SAH_OK) status = show_progress(r, error);
    }
    return status;
}

static sah_status write_totals(run *r, sah_utility_totals *totals, sah_error *error)
{
    const sah_utility_options *o = r->options;
    bool compared = r->n_edits > 0;
    sah_text line = {0};
    sah_utility_counts counts = {
        .compared = compared,
        .tokens = r->asked + r->n_choices,
        .tokens_base = compared ? r->base + r->n_choices : NULL,
        .n_tokens = r->windows.n_tokens,
        .n_bytes = r->text_size,
        .n_words = r->text != NULL ? sah_count_words(r->text, r->text_size) : 0,
    };
    for (size_t i = 0; i < r->n_items; i++)
        sah_utility_add_item(&o->items->items[i], r->asked + r->value[i],
                             compared ? r->base + r->value[i] : NULL, &counts);
    sah_status status = sah_utility_total(&counts, totals, error);
    if (status != SAH_OK || r->finished) return status;
    sah_utility_text(totals, &line);
    status = line.failed ? sah_fail_memory(error, "the totals")
                         : sah_journal_add(r->journal, line.data, line.size, error);
    free(line.data);
    return status;
}

/* The text for perplexity. */
static sah_status read_text(run *r, sah_error *error)
{
    const char *path = r->options->text;
    if (path == NULL) return SAH_OK;
    sah_status status = sah_file_read(path, LONGEST_TEXT, &r->text, &r->text_size, error);
    if (status != SAH_OK) return status;
    if (!sah_utf8_valid(r->text, r->text_size)) return sah_fail(error, SAH_FAILED, "%s: not UTF-8", path);
    return r->text_size > 0 ? SAH_OK : sah_fail(error, SAH_FAILED, "%s: no text in it", path);
}

static sah_status no_header(const sah_utility_options *options, sah_error *error)
{
    for (size_t i = 0; options->items != NULL && i < options->items->n; i++) {
        const char *context = options->items->items[i].context;
        if (!sah_utf8_valid(context, strlen(context)))
            return sah_fail(error, SAH_BAD_ARGUMENT, "the context of item %zu is not UTF-8", i + 1);
    }
    return sah_run_no_header(NULL, NULL, options->run.template_, options->run.system, error);
}

sah_status sah_utility(const sah_model *model, const sah_utility_options *options, const char *path,
                       sah_utility_totals *out, sah_error *error)
{
    sah_utility_options meant = *options;
    meant.run = sah_run_resolve(&options->run);
    options = &meant;
    run r = {.model = model, .options = options};
    sah_utility_totals totals = {0};
    json_t *header = NULL;
    if (options->text == NULL && (options->items == NULL || options->items->n == 0))
        return sah_fail(error, SAH_BAD_ARGUMENT, "give items, a text for perplexity, or both");
    sah_status status = sah_shard_check(&options->run.shard, error);
    if (status == SAH_OK && options->n_heads > 0 && sah_op_takes_donors(options->run.ablation.op))
        status = sah_fail(
            error, SAH_BAD_ARGUMENT,
            "swap and mean-data take states from the prompts of queries, and there are no queries here");
    if (status == SAH_OK) status = read_text(&r, error);
    if (status == SAH_OK && options->n_heads > 0)
        status = sah_edits_new(&model->info, options->heads, options->n_heads, &options->run.ablation,
                               &r.edits, &r.n_edits, error);
    if (status == SAH_OK) status = make_units(&r, error);
    if (status == SAH_OK && (header = make_header(&r)) == NULL) status = no_header(options, error);
    if (status == SAH_OK)
        status =
            sah_journal_open(path, header, take_line, &r, sah_run_sink(&options->run), &r.journal, error);
    if (status == SAH_OK) status = run_chunks(&r, error);
    if (status == SAH_OK && r.n_done == r.n_units) status = write_totals(&r, &totals, error);
    sah_status closed = sah_journal_close(r.journal, status == SAH_OK ? error : NULL);
    if (status == SAH_OK) status = closed;
    if (status == SAH_OK && out != NULL) *out = totals;
    json_decref(header);
    run_free(&r);
    return status;
}
