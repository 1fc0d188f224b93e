/* SPDX-License-Identifier: Apache-2.0 */
/* One result file: its header, and the numbers of every line. Fields and lines that are not known are left
 * out, so that results with more in them can be read. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/result_file.h"
#include "run/prompts.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/mapfile.h"

/* Bounds on what a file may claim, far above any model or search. */
enum { MOST_LAYERS = 4096, MOST_HEADS = 4096, MOST_STEPS = 65536 };
static const size_t LARGEST_RESULT = (size_t)16 << 30;

static const char *const commands[] = {"ships", "find", "direction"}; /* by sah_kind */
static const char *const find_keys[] = {"shift",          "shift_low",       "shift_high", "shift_contrast",
                                        "difference_low", "difference_high", "difference"};
static const char *const direction_keys[] = {"contribution", "harmful", "harmless", "low", "high"};

/* The lists of a line of ships; the others are there with openings, the last only when it was asked for. */
static const char *const list_keys[1 + SAH_N_EFFECTS] = {"kl", "effect", "toward", "opening_kl"};

/* ---- Header -------------------------------------------------------------------------------------------- */

static bool all_strings(const json_t *array)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (!json_is_string(json_array_get(array, i))) return false;
    }
    return true;
}

/* B - A of a range [A, B] in the settings, `all` where there is none. */
static size_t range_size(const json_t *settings, const char *key, int all)
{
    const json_t *range = json_object_get(settings, key);
    json_int_t from = json_integer_value(json_array_get(range, 0)),
               to = json_integer_value(json_array_get(range, 1));
    return from >= 0 && from < to && to <= all ? (size_t)(to - from) : (size_t)all;
}

static sah_status read_kind(sah_result_file *f, sah_error *error)
{
    const char *command = json_string_value(json_object_get(f->header, "sahara"));
    for (f->kind = SAH_KIND_SHIPS; f->kind <= SAH_KIND_DIRECTION; f->kind++) {
        if (strcmp(commands[f->kind], command) == 0) return SAH_OK;
    }
    return sah_fail(error, SAH_FAILED,
                    "%s: a result of `%.20s`; only those of `ships`, `find` and `direction` score heads",
                    f->path, command);
}

static sah_status read_shape(sah_result_file *f, const json_t *model, const json_t *settings,
                             sah_error *error)
{
    int64_t layers, heads, key_heads;
    sah_status status = sah_json_int(model, "layers", 0, 1, MOST_LAYERS, &layers, f->path, error);
    if (status == SAH_OK) status = sah_json_int(model, "heads", 0, 1, MOST_HEADS, &heads, f->path, error);
    if (status == SAH_OK)
        status = sah_json_int(model, "kv_heads", heads, 1, MOST_HEADS, &key_heads, f->path, error);
    if (status != SAH_OK) return status;
    if (layers == 0 || heads == 0)
        return sah_fail(error, SAH_FAILED, "%s: the header lacks layers or heads", f->path);

    const char *parts = json_string_value(json_object_get(settings, "part"));
    f->n_layers = (int)layers;
    f->n_heads = (int)(parts != NULL && strcmp(parts, "k") == 0 ? key_heads : heads);
    f->n_expected = range_size(settings, "layers", f->n_layers) * range_size(settings, "heads", f->n_heads);
    return SAH_OK;
}

/* Which queries are refused, and which are neither that nor answered, from the lists of openings. */
static sah_status read_openings(sah_result_file *f, sah_error *error)
{
    const json_t *lists[2] = {json_object_get(f->header, "openings"),
                              json_object_get(f->header, "contrast_openings")};
    size_t n[2] = {f->n_queries, f->n_contrast}, at = 0;
    if (f->kind != SAH_KIND_SHIPS || lists[0] == NULL) return SAH_OK;
    f->openings = sah_alloc(n[0] + n[1], sizeof *f->openings);
    if (f->openings == NULL) return sah_fail_memory(error, f->path);
    for (int l = 0; l < 2; l++) {
        for (size_t i = 0; i < n[l]; i++) {
            const json_t *opening = json_array_get(lists[l], i),
                         *refused = json_object_get(opening, "refused");
            if (!json_is_boolean(refused))
                return sah_fail(error, SAH_FAILED,
                                "%s: the header does not say for every query whether it is refused", f->path);
            f->openings[at++] = json_is_true(refused)                                ? SAH_OPENING_REFUSES
                                : json_is_true(json_object_get(opening, "thinking")) ? SAH_OPENING_THINKS
                                                                                     : SAH_OPENING_ANSWERS;
        }
    }
    f->width = (n[0] + n[1]) * (1 + SAH_N_EFFECTS);
    return SAH_OK;
}

static sah_status read_header(sah_result_file *f, const char *text, size_t size, sah_error *error)
{
    if (sah_json_parse(text, size, f->path, &f->header, NULL) != SAH_OK ||
        !json_is_string(json_object_get(f->header, "sahara"))) {
        return sah_fail(error, SAH_FAILED, "%s: not a result file: its first line is not a header", f->path);
    }
    sah_status status = read_kind(f, error);
    if (status != SAH_OK) return status;
    const json_t *model = json_object_get(f->header, "model"),
                 *settings = json_object_get(f->header, "settings");
    const json_t *queries = json_object_get(f->header, "queries"),
                 *contrast = json_object_get(f->header, "contrast_queries");
    if (!json_is_object(model) || !json_is_object(settings) || json_array_size(queries) == 0 ||
        !all_strings(queries) || !all_strings(contrast)) {
        return sah_fail(error, SAH_FAILED, "%s: the header lacks its model, settings or queries", f->path);
    }
    f->n_queries = json_array_size(queries);
    f->n_contrast = json_array_size(contrast);
    f->width = f->kind == SAH_KIND_SHIPS       ? f->n_queries + f->n_contrast
               : f->kind == SAH_KIND_DIRECTION ? SAH_DIRECTION_N
                                               : SAH_FIND_N;
    status = read_openings(f, error);
    return status == SAH_OK ? read_shape(f, model, settings, error) : status;
}

/* ---- Lines --------------------------------------------------------------------------------------------- */

static bool read_number(const json_t *value, double *out)
{
    *out = json_number_value(value);
    return json_is_number(value) && isfinite(*out);
}

/* n finite numbers of an array. */
static bool read_numbers(const json_t *array, size_t n, double *out)
{
    if (json_array_size(array) != n) return false;
    for (size_t i = 0; i < n; i++) {
        if (!read_number(json_array_get(array, i), &out[i])) return false;
    }
    return true;
}

/* The same where nulls may stand for numbers, and the whole array may be missing: NaN. */
static bool read_some(const json_t *array, size_t n, double *out)
{
    if (array != NULL && json_array_size(array) != n) return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(array, i);
        if (item == NULL || json_is_null(item))
            out[i] = NAN;
        else if (!read_number(item, &out[i]))
            return false;
    }
    return true;
}

/* A head's lists of ships. */
static bool read_lists(const sah_result_file *f, const json_t *line, double *row)
{
    char key[32];
    size_t n = f->n_queries, n_contrast = f->n_contrast;
    bool good = read_numbers(json_object_get(line, "kl"), n, row) &&
                read_numbers(json_object_get(line, "kl_contrast"), n_contrast, row + n);
    for (int l = 1; l <= SAH_N_EFFECTS && f->openings != NULL && good; l++) {
        double *list = row + (size_t)l * (n + n_contrast);
        const json_t *own = json_object_get(line, list_keys[l]);
        snprintf(key, sizeof key, "%s_contrast", list_keys[l]);
        good = (own != NULL || l == 1 + SAH_OPENING_KL) && read_some(own, n, list) &&
               read_some(json_object_get(line, key), n_contrast, list + n);
    }
    return good;
}

/* Whether a line must have its number i. */
static bool is_needed(const sah_result_file *f, size_t i)
{
    if (f->kind == SAH_KIND_DIRECTION) return i <= SAH_DIRECTION_HARMLESS;
    return i == SAH_FIND_SHIFT || (i >= SAH_FIND_CONTRAST && f->n_contrast > 0);
}

/* The numbers of a head's line into row [f->width + f->n_statistics]. */
static sah_status read_row(const sah_result_file *f, const json_t *line, size_t number, double *row,
                           sah_error *error)
{
    if (f->kind == SAH_KIND_SHIPS) {
        if (read_lists(f, line, row)) return SAH_OK;
        return sah_fail(error, SAH_FAILED, "%s: line %zu is not a head's score for every query", f->path,
                        number);
    }
    const char *const *keys = f->kind == SAH_KIND_FIND ? find_keys : direction_keys;
    for (size_t i = 0; i < f->width; i++) {
        if (read_number(json_object_get(line, keys[i]), &row[i])) continue;
        if (json_object_get(line, keys[i]) != NULL || is_needed(f, i))
            return sah_fail(error, SAH_FAILED, "%s: line %zu lacks the number \"%s\"", f->path, number,
                            keys[i]);
        row[i] = NAN;
    }
    if (!read_numbers(json_object_get(line, "statistics"), f->n_statistics, row + f->width))
        return sah_fail(error, SAH_FAILED, "%s: line %zu does not have %zu statistics", f->path, number,
                        f->n_statistics);
    return SAH_OK;
}

/* The step that a line belongs to, which is made when it is not there yet; 0 for commands without steps. */
static sah_status find_step(sah_result_file *f, const json_t *line, size_t number, sah_result_step **out,
                            sah_error *error)
{
    json_t *value = json_object_get(line, "step");
    json_int_t step = f->kind == SAH_KIND_FIND ? json_integer_value(value) : 0;
    if (step < 0 || step >= MOST_STEPS || (f->kind == SAH_KIND_FIND && !json_is_integer(value)))
        return sah_fail(error, SAH_FAILED, "%s: line %zu names no step", f->path, number);
    while (f->n_steps <= (size_t)step) {
        if (!sah_grow(&f->steps, &f->step_capacity, f->n_steps + 1, sizeof *f->steps))
            return sah_fail_memory(error, f->path);
        f->steps[f->n_steps++] = (sah_result_step){.rows = NULL};
    }
    *out = &f->steps[step];
    return SAH_OK;
}

static sah_status read_head(const sah_result_file *f, const json_t *line, size_t number, sah_head *out,
                            sah_error *error)
{
    const char *name = json_string_value(json_object_get(line, "head"));
    if (name != NULL && sah_head_read(name, f->n_layers, f->n_heads, out)) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "%s: line %zu names no head of the model", f->path, number);
}

static sah_status add_row(sah_result_file *f, const json_t *line, size_t number, sah_error *error)
{
    sah_result_step *step;
    sah_head head;
    if (f->kind == SAH_KIND_FIND && f->n_contrast > 0 && f->n_steps == 0) /* the first line of a head */
        f->n_statistics = json_array_size(json_object_get(line, "statistics"));
    double *row = sah_alloc(f->width + f->n_statistics, sizeof *row);
    if (row == NULL) return sah_fail_memory(error, f->path);
    sah_status status = read_head(f, line, number, &head, error);
    if (status == SAH_OK) status = find_step(f, line, number, &step, error);
    if (status == SAH_OK && step->rows == NULL) {
        step->rows = sah_alloc_table((size_t)f->n_layers, (size_t)f->n_heads, sizeof *step->rows);
        if (step->rows == NULL) status = sah_fail_memory(error, f->path);
    }
    if (status == SAH_OK) status = read_row(f, line, number, row, error);
    if (status == SAH_OK) {
        double **place = &step->rows[head.layer * f->n_heads + head.head];
        if (*place == NULL) {
            *place = row;
            step->n_rows++;
            return SAH_OK;
        }
        status = sah_fail(error, SAH_FAILED, "%s: line %zu names head %d-%d again", f->path, number,
                          head.layer, head.head);
    }
    free(row);
    return status;
}

/* A line that says which head was chosen ends its step. */
static sah_status finish_step(sah_result_file *f, const json_t *line, size_t number, sah_error *error)
{
    sah_result_step *step;
    sah_status status = find_step(f, line, number, &step, error);
    if (status != SAH_OK) return status;
    const char *name = json_string_value(json_object_get(line, "chosen"));
    sah_chosen *chosen = &step->chosen;
    if (name == NULL || !sah_head_read(name, f->n_layers, f->n_heads, &chosen->head) ||
        !read_number(json_object_get(line, "shift"), &chosen->shift))
        return sah_fail(error, SAH_FAILED, "%s: line %zu names no chosen head of the model", f->path, number);
    if (!read_number(json_object_get(line, f->n_contrast > 0 ? "difference" : "shift"), &step->score))
        step->score = chosen->shift;
    chosen->gain = json_number_value(json_object_get(line, "gain"));
    chosen->better_than_chance = json_is_true(json_object_get(line, "better_than_chance"));
    step->finished = true;
    return SAH_OK;
}

/* What a random group of the step's size comes to. */
static sah_status add_random(sah_result_file *f, const json_t *line, size_t number, sah_error *error)
{
    sah_result_step *step;
    double score;
    if (!read_number(json_object_get(line, f->n_contrast > 0 ? "difference" : "shift"), &score))
        return SAH_OK;
    sah_status status = find_step(f, line, number, &step, error);
    if (status != SAH_OK) return status;
    if (!sah_grow(&step->random, &step->random_capacity, step->n_random + 1, sizeof *step->random))
        return sah_fail_memory(error, f->path);
    step->random[step->n_random++] = score;
    return SAH_OK;
}

static sah_status read_line(sah_result_file *f, const char *text, size_t size, size_t number,
                            sah_error *error)
{
    json_t *line = NULL;
    sah_status status = SAH_OK;
    if (sah_json_parse(text, size, f->path, &line, NULL) != SAH_OK || !json_is_object(line))
        status = sah_fail(error, SAH_FAILED, "%s: line %zu is damaged (not a JSON object)", f->path, number);
    else if (f->kind == SAH_KIND_SHIPS && json_object_get(line, "round") != NULL)
        status = SAH_OK; /* of a race; what it came to follows */
    else if (f->kind == SAH_KIND_SHIPS && json_is_false(json_object_get(line, "exact")))
        f->n_screened++;
    else if (f->kind == SAH_KIND_FIND && json_object_get(line, "chosen") != NULL)
        status = finish_step(f, line, number, error);
    else if (f->kind == SAH_KIND_FIND && json_object_get(line, "random") != NULL)
        status = add_random(f, line, number, error);
    else if (f->kind == SAH_KIND_SHIPS || json_object_get(line, "head") != NULL)
        status = add_row(f, line, number, error);
    json_decref(line);
    return status;
}

sah_status sah_result_file_open(const char *path, sah_result_file *out, sah_error *error)
{
    char *data = NULL;
    size_t size;
    *out = (sah_result_file){0};
    sah_status status = sah_file_read(path, LARGEST_RESULT, &data, &size, error);
    if (status == SAH_OK) status = sah_result_file_parse(data, size, path, out, error);
    free(data);
    return status;
}

sah_status sah_result_file_parse(const char *data, size_t size, const char *path, sah_result_file *out,
                                 sah_error *error)
{
    size_t at = 0, number = 0;
    const char *end;
    *out = (sah_result_file){.path = strdup(path)};
    if (out->path == NULL) return sah_fail_memory(error, "a path");
    sah_status status = SAH_OK;
    while (status == SAH_OK && at < size && (end = memchr(data + at, '\n', size - at)) != NULL) {
        size_t length = (size_t)(end - (data + at));
        number++;
        status = number == 1 ? read_header(out, data + at, length, error)
                             : read_line(out, data + at, length, number, error);
        at += length + 1;
    }
    if (status == SAH_OK && number == 0)
        status = sah_fail(error, SAH_FAILED, "%s: not a result file: no whole line", path);
    return status;
}

void sah_result_file_close(sah_result_file *f)
{
    for (size_t s = 0; s < f->n_steps; s++) {
        double **rows = f->steps[s].rows;
        for (int i = 0; rows != NULL && i < f->n_layers * f->n_heads; i++) free(rows[i]);
        free(rows);
        free(f->steps[s].random);
    }
    free(f->steps);
    free(f->openings);
    free(f->path);
    json_decref(f->header);
    *f = (sah_result_file){0};
}
