/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of a search's first step from its lines alone: shards measure heads, and none of them sees all. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attribution/find_journal.h"
#include "program.h"
#include "run/merge_units.h"
#include "util/alloc.h"
#include "util/error.h"

enum { MOST_HEADS = 1 << 20 /* of all layers; more are taken for a damaged header */ };

static bool read_size(const json_t *value, int *out)
{
    const json_int_t size = json_integer_value(value);
    *out = (int)size;
    return json_is_integer(value) && size >= 0 && size <= SAH_MAX_HEADS;
}

/* What the lines are read by. False: the header lacks it. */
static bool read_model(const json_t *header, sah_model_info *info, sah_run_options *options)
{
    const json_t *model = json_object_get(header, "model"), *settings = json_object_get(header, "settings");
    const char *part = json_string_value(json_object_get(settings, "part"));
    return part != NULL && sah_parts_parse(part, &options->ablation.parts, NULL) == SAH_OK &&
           read_size(json_object_get(model, "layers"), &info->n_layers) &&
           read_size(json_object_get(model, "heads"), &info->n_heads) &&
           read_size(json_object_get(model, "kv_heads"), &info->n_kv_heads);
}

/* Whether the model that the header tells of has the heads that it tells of. */
static bool are_inside(const sah_find_run *f)
{
    const int n_heads = sah_run_heads_of_layer(f->info, &f->options->ablation);
    if ((int64_t)f->info->n_layers * n_heads > MOST_HEADS) return false;
    for (size_t i = 0; i < f->n_heads; i++) {
        if (f->heads[i].layer >= f->info->n_layers || f->heads[i].head >= n_heads) return false;
    }
    return f->n_heads > 0;
}

/* Chooses when every head has its line and none was chosen. */
static sah_status conclude(sah_find_run *f, bool *done, sah_error *error)
{
    size_t n = 0;
    *done = f->step > 0;
    if (*done) return SAH_OK;
    size_t *cells = sah_alloc(f->n_heads, sizeof *cells);
    if (cells == NULL) return sah_fail_memory(error, "the heads");
    for (size_t i = 0; i < f->n_heads; i++) {
        cells[n] = sah_find_cell(f, f->heads[i]);
        n += isnan(f->entries[cells[n]].score) ? 0 : 1;
    }
    *done = n > 0 && n == f->n_heads;
    sah_status status = *done ? sah_find_finish_step(f, cells, n, error) : SAH_OK;
    free(cells);
    return status;
}

sah_status sah_find_conclude(const char *path, bool *done, sah_error *error)
{
    json_t *header;
    sah_model_info info = {0};
    sah_run_options options = {0};
    sah_find_options find = {.steps = 1, .rank = 1};
    sah_find_run f = {.info = &info, .options = &options, .find = &find};
    *done = false;
    sah_status status = sah_journal_read_header(path, "find", &header, error);
    if (status != SAH_OK || header == NULL) return status;
    const json_t *settings = json_object_get(header, "settings");
    f.n_queries = json_array_size(json_object_get(header, "queries"));
    f.n_contrast = json_array_size(json_object_get(header, "contrast_queries"));
    /* Of a starting group no line tells the shift, and of a screened search none who is left out. */
    const bool alone = json_array_size(json_object_get(settings, "start")) == 0 &&
                       json_object_get(settings, "screen") == NULL;
    if (alone && f.n_queries > 0 && read_model(header, &info, &options)) {
        status = sah_units_heads(header, &f.heads, &f.n_heads, error);
        if (status == SAH_OK && !are_inside(&f)) goto done;
        if (status == SAH_OK) status = sah_find_run_init(&f, error);
        if (status == SAH_OK) status = sah_find_open_as(&f, header, path, error);
        if (status == SAH_OK) status = conclude(&f, done, error);
        sah_status closed = sah_journal_close(f.journal, status == SAH_OK ? error : NULL);
        if (status == SAH_OK) status = closed;
    }
done:
    sah_find_run_free(&f);
    json_decref(header);
    return status;
}
