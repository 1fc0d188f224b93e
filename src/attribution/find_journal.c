/* SPDX-License-Identifier: Apache-2.0 */
#include "attribution/find_journal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attribution/find_judge.h"
#include "run/shard.h"
#include "util/alloc.h"
#include "util/error.h"

/* ---- Writing ------------------------------------------------------------------------------------------- */

static sah_status add_line(sah_find_run *f, sah_text *line, sah_error *error)
{
    sah_text_add(line, "}", 1);
    sah_status status = line->failed ? sah_fail_memory(error, "a line of the result")
                                     : sah_journal_add(f->journal, line->data, line->size, error);
    free(line->data);
    return status;
}

static void add_heads(sah_text *line, const char *key, const sah_head *heads, size_t n)
{
    sah_text_addf(line, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++)
        sah_text_addf(line, "%s\"%d-%d\"", i > 0 ? "," : "", heads[i].layer, heads[i].head);
    sah_text_add(line, "]", 1);
}

sah_status sah_find_write_head(sah_find_run *f, size_t cell, const sah_turn *turn, const double *angles,
                               const sah_turn_evidence *evidence, sah_error *error)
{
    sah_head head = sah_find_head(f, cell);
    sah_text line = {0};
    char number[32];
    sah_text_addf(&line, "{\"step\":%zu,\"head\":\"%d-%d\"", f->step, head.layer, head.head);
    sah_line_number(&line, "shift", turn->shift);
    sah_line_number(&line, "shift_low", evidence->shift_low);
    sah_line_number(&line, "shift_high", evidence->shift_high);
    sah_line_numbers(&line, "angles", angles, f->find->rank);
    if (f->n_contrast > 0) {
        sah_line_number(&line, "shift_contrast", turn->shift_contrast);
        sah_line_number(&line, "difference", turn->difference);
        sah_line_number(&line, "difference_low", evidence->difference_low);
        sah_line_number(&line, "difference_high", evidence->difference_high);
        sah_text_adds(&line, ",\"statistics\":[");
        for (size_t i = 0; i <= SAH_TURN_PERMUTATIONS; i++) {
            sah_format_float(evidence->statistics[i], number);
            sah_text_addf(&line, "%s%s", i > 0 ? "," : "", number);
        }
        sah_text_add(&line, "]", 1);
    }
    sah_status status = add_line(f, &line, error);
    return status == SAH_OK ? sah_find_note_head(f, cell, turn, evidence->statistics, error) : status;
}

static void add_turn(const sah_find_run *f, sah_text *line, const sah_turn *turn)
{
    sah_line_number(line, "shift", turn->shift);
    if (f->n_contrast == 0) return;
    sah_line_number(line, "shift_contrast", turn->shift_contrast);
    sah_line_number(line, "difference", turn->difference);
}

sah_status sah_find_write_random(sah_find_run *f, const sah_head *heads, size_t n, const sah_turn *turn,
                                 sah_error *error)
{
    sah_text line = {0};
    sah_text_addf(&line, "{\"step\":%zu", f->step);
    add_heads(&line, "random", heads, n);
    add_turn(f, &line, turn);
    sah_status status = add_line(f, &line, error);
    f->n_random_own += status == SAH_OK;
    return status == SAH_OK ? sah_find_note_random(f, turn, error) : status;
}

sah_status sah_find_write_sample(sah_find_run *f, size_t cell, size_t n, const sah_turn *turn,
                                 const sah_turn_evidence *evidence, sah_error *error)
{
    sah_head head = sah_find_head(f, cell);
    bool contrast = f->n_contrast > 0;
    sah_find_estimate estimate = {contrast ? evidence->difference_low : evidence->shift_low,
                                  contrast ? evidence->difference_high : evidence->shift_high};
    sah_text line = {0};
    sah_text_addf(&line, "{\"step\":0,\"sample\":%zu,\"of\":\"%d-%d\"", n, head.layer, head.head);
    add_turn(f, &line, turn);
    sah_line_number(&line, "low", estimate.low);
    sah_line_number(&line, "high", estimate.high);
    f->estimates[cell] = estimate;
    return add_line(f, &line, error);
}

/* ---- The end of a step --------------------------------------------------------------------------------- */

sah_status sah_find_finish_step(sah_find_run *f, const size_t *cells, size_t n, sah_error *error)
{
    size_t best = 0;
    sah_text line = {0};
    sah_find_judgement s;
    for (size_t i = 1; i < n; i++) {
        double score = f->entries[cells[i]].score, most = f->entries[cells[best]].score;
        if (score > most || (score == most && cells[i] < cells[best])) best = i;
    }
    sah_status status = sah_find_judge(f, cells, n, best, &s, error);
    if (status != SAH_OK) return status;
    const sah_find_entry *chosen = &f->entries[cells[best]];
    sah_head head = sah_find_head(f, cells[best]);
    sah_text_addf(&line, "{\"step\":%zu,\"chosen\":\"%d-%d\"", f->step, head.layer, head.head);
    add_turn(f, &line, &chosen->turn);
    sah_line_number(&line, "gain", chosen->score - f->group_score);
    sah_text_adds(&line, ",\"group\":[");
    for (size_t i = 0; i < f->n_group; i++)
        sah_text_addf(&line, "\"%d-%d\",", f->group[i].layer, f->group[i].head);
    sah_text_addf(&line, "\"%d-%d\"]", head.layer, head.head);
    bool judged = f->find->screen == 0; /* else the heads that might tell chance were left out */
    if (judged) sah_line_number(&line, "p_heads", s.heads);
    if (judged && s.random >= 0) sah_line_number(&line, "p_random", s.random);
    if (judged && s.labels >= 0) sah_line_number(&line, "p_labels", s.labels);
    if (judged) sah_text_addf(&line, ",\"better_than_chance\":%s", s.better ? "true" : "false");
    status = add_line(f, &line, error);
    return status == SAH_OK ? sah_find_note_chosen(f, cells[best], error) : status;
}

/* ---- Reading ------------------------------------------------------------------------------------------- */

static bool read_turn(const sah_find_run *f, const json_t *line, sah_turn *turn)
{
    const json_t *shift = json_object_get(line, "shift"), *contrast = json_object_get(line, "shift_contrast"),
                 *difference = json_object_get(line, "difference");
    *turn = (sah_turn){json_number_value(shift), json_number_value(contrast), json_number_value(difference)};
    return json_is_number(shift) &&
           (f->n_contrast == 0 || (json_is_number(contrast) && json_is_number(difference)));
}

static bool read_statistics(const json_t *line, float statistics[1 + SAH_TURN_PERMUTATIONS])
{
    const json_t *list = json_object_get(line, "statistics");
    if (json_array_size(list) != 1 + SAH_TURN_PERMUTATIONS) return false;
    for (size_t i = 0; i <= SAH_TURN_PERMUTATIONS; i++) {
        if (!json_is_number(json_array_get(list, i))) return false;
        statistics[i] = (float)json_number_value(json_array_get(list, i));
    }
    return true;
}

/* The head under `key` as a cell. */
static bool read_any_cell(const sah_find_run *f, const json_t *line, const char *key, size_t *cell)
{
    const char *name = json_string_value(json_object_get(line, key));
    int n_layers = f->info->n_layers;
    sah_head head;
    if (name == NULL || !sah_head_read(name, n_layers, f->heads_of_layer, &head)) return false;
    *cell = sah_find_cell(f, head);
    return true;
}

/* The same of a head outside the group. */
static bool read_cell(const sah_find_run *f, const json_t *line, const char *key, size_t *cell)
{
    return read_any_cell(f, line, key, cell) && !sah_find_in_group(f, sah_find_head(f, *cell));
}

/* A line of the sample. False: it is none. */
static bool take_sample(sah_find_run *f, const json_t *line)
{
    size_t cell;
    if (json_object_get(line, "sample") == NULL || !read_any_cell(f, line, "of", &cell)) return false;
    f->estimates[cell] = (sah_find_estimate){json_number_value(json_object_get(line, "low")),
                                             json_number_value(json_object_get(line, "high"))};
    return true;
}

/* A line of the step under way, from this journal or another's; `where` names it. */
static sah_status take(sah_find_run *f, const json_t *line, const char *where, sah_error *error)
{
    sah_turn turn;
    float statistics[1 + SAH_TURN_PERMUTATIONS];
    size_t cell;
    const json_t *step = json_object_get(line, "step");
    bool contrast = f->n_contrast > 0, there = read_turn(f, line, &turn);
    if (!json_is_integer(step) || json_integer_value(step) != (json_int_t)f->step || !there)
        return sah_fail(error, SAH_FAILED,
                        "%s does not belong to step %zu of this run; remove it to carry on", where, f->step);
    if (take_sample(f, line)) return SAH_OK;
    if (json_object_get(line, "random") != NULL) return sah_find_note_random(f, &turn, error);
    if (json_object_get(line, "chosen") != NULL && read_cell(f, line, "chosen", &cell) &&
        !isnan(f->entries[cell].score))
        return sah_find_note_chosen(f, cell, error);
    if (read_cell(f, line, "head", &cell) && isnan(f->entries[cell].score) &&
        (!contrast || read_statistics(line, statistics)))
        return sah_find_note_head(f, cell, &turn, statistics, error);
    return sah_fail(error, SAH_FAILED, "%s is not a shift of this run; remove it to carry on", where);
}

static sah_status take_line(void *ctx, const json_t *line, size_t number, sah_error *error)
{
    sah_find_run *f = ctx;
    char where[48];
    snprintf(where, sizeof where, "line %zu", number);
    f->n_random_own += json_object_get(line, "random") != NULL;
    /* The head that a step chose may have been measured by another shard. */
    sah_status status = SAH_OK;
    if (json_object_get(line, "chosen") != NULL && f->together != NULL)
        status = sah_find_read_others(f, error);
    return status == SAH_OK ? take(f, line, where, error) : status;
}

/* The other shards must have chosen as this one did. */
static sah_status check_chosen(const sah_find_run *f, const json_t *line, json_int_t step, sah_error *error)
{
    const char *chosen = json_string_value(json_object_get(line, "chosen"));
    const sah_head head = f->group[f->n_start + (size_t)step];
    char ours[32];
    snprintf(ours, sizeof ours, "%d-%d", head.layer, head.head);
    if (chosen == NULL || strcmp(chosen, ours) == 0) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "chose %.40s in step %lld, where this shard chose %s", chosen,
                    (long long)step, ours);
}

/* A line of another shard, which may be behind or ahead. */
static sah_status take_other(void *ctx, const json_t *line, bool *later, sah_error *error)
{
    sah_find_run *f = ctx;
    const json_t *number = json_object_get(line, "step");
    const json_int_t step = json_integer_value(number);
    size_t cell;
    if (!json_is_integer(number) || step < 0) return take(f, line, "a line", error);
    if (take_sample(f, line)) return SAH_OK; /* whatever step is under way here */
    if ((size_t)step < f->step) return check_chosen(f, line, step, error);
    *later = (size_t)step > f->step || json_object_get(line, "chosen") != NULL;
    if (*later) return SAH_OK;
    /* A shard that was dealt out anew may have measured what another had. */
    if (read_cell(f, line, "head", &cell) && !isnan(f->entries[cell].score)) return SAH_OK;
    return take(f, line, "a line", error);
}

sah_status sah_find_read_others(sah_find_run *f, sah_error *error)
{
    return sah_together_read(f->together, take_other, f, error);
}

static json_t *make_settings(const sah_find_run *f)
{
    static const char *const variants[] = {"subspace", "spectral", "right"};
    const sah_find_options *find = f->find;
    json_t *settings = sah_run_settings(f->model, f->options, SAH_FIND_TEMPLATE), *start = json_array();
    char name[32];
    for (size_t i = 0; i < f->n_start && start != NULL; i++) {
        snprintf(name, sizeof name, "%d-%d", f->group[i].layer, f->group[i].head);
        if (json_array_append_new(start, json_string(name)) != 0) {
            json_decref(start);
            start = NULL;
        }
    }
    json_t *own = json_pack("{s:I, s:s, s:o, s:o, s:I, s:I}", "rank", (json_int_t)find->rank, "variant",
                            variants[find->variant], "start", start, "shortlist",
                            find->shortlist > 0 ? json_integer((json_int_t)find->shortlist) : json_null(),
                            "random_groups", (json_int_t)find->random_groups, "seed", (json_int_t)find->seed);
    bool good = settings != NULL && own != NULL && json_object_update(settings, own) == 0 &&
                sah_run_note_products(f->differs, settings) &&
                sah_run_add_heads(settings, f->model, f->options);
    if (good && find->screen > 0)
        good = json_object_set_new(settings, "screen", json_integer((json_int_t)find->screen)) == 0;
    if (!good) {
        json_decref(settings);
        settings = NULL;
    }
    json_decref(own);
    return settings;
}

sah_status sah_find_open(sah_find_run *f, const sah_strings *queries, const sah_strings *contrast,
                         const char *path, sah_error *error)
{
    json_t *header = sah_journal_header("find", f->model);
    bool good = header != NULL && json_object_set_new(header, "settings", make_settings(f)) == 0 &&
                json_object_set_new(header, "queries", sah_run_strings(queries)) == 0 &&
                sah_run_add_refusal(header, f->options) &&
                sah_run_add_matching(header, &f->options->matching);
    if (good && contrast != NULL)
        good = json_object_set_new(header, "contrast_queries", sah_run_strings(contrast)) == 0;
    if (good)
        good = sah_interchange_note(header, &f->options->ablation, &f->options->interchange, queries->n);
    sah_status status =
        good ? sah_find_open_as(f, header, path, error)
             : sah_run_no_header(queries, contrast, f->options->template_, f->options->system, error);
    json_decref(header);
    return status;
}

sah_status sah_find_open_as(sah_find_run *f, json_t *header, const char *path, sah_error *error)
{
    sah_status status = SAH_OK;
    if (f->options->together != NULL && sah_shard_is_part(&f->options->shard))
        status = sah_together_open(f->options->together, path, header, &f->together, error);
    return status == SAH_OK
               ? sah_journal_open(path, header, take_line, f, sah_run_sink(f->options), &f->journal, error)
               : status;
}
