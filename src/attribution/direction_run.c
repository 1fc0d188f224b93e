/* SPDX-License-Identifier: Apache-2.0 */
/* `direction` as a run: queries in, a journal out. */
#include <stdlib.h>
#include <string.h>

#include "attribution/direction.h"
#include "run/journal.h"
#include "engine/donors.h"
#include "run/prompts.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/npy.h"
#include "util/strings.h"

typedef struct results {
    int n_layers, n_heads;
    sah_head_part *parts; /* [n_layers, n_heads] */
    double *directions; /* [n_layers + 1, d] */
    bool *done; /* [n_layers, n_heads] found in the journal */
} results;

static sah_status take_line(void *ctx, const json_t *line, size_t number, sah_error *error)
{
    results *r = ctx;
    const char *name = json_string_value(json_object_get(line, "head"));
    sah_head head;
    if (name == NULL || !sah_head_read(name, r->n_layers, r->n_heads, &head) ||
        !json_is_number(json_object_get(line, "contribution")))
        return sah_fail(error, SAH_FAILED, "line %zu is not a head of this run; remove it to carry on",
                        number);
    r->done[head.layer * r->n_heads + head.head] = true;
    return SAH_OK;
}

static sah_status write_head(sah_journal *journal, int layer, int head, const sah_head_part *part,
                             sah_error *error)
{
    sah_text line = {0};
    sah_text_addf(&line, "{\"head\":\"%d-%d\"", layer, head);
    sah_line_number(&line, "harmful", part->harmful);
    sah_line_number(&line, "harmless", part->harmless);
    sah_line_number(&line, "contribution", part->contribution);
    sah_line_number(&line, "low", part->low);
    sah_line_number(&line, "high", part->high);
    sah_line_number(&line, "share", part->share);
    sah_line_number(&line, "cosine", part->cosine);
    sah_line_number(&line, "cosine_difference", part->cosine_difference);
    sah_text_add(&line, "}", 1);
    sah_status status = line.failed ? sah_fail_memory(error, "a line of the result")
                                    : sah_journal_add(journal, line.data, line.size, error);
    free(line.data);
    return status;
}

static json_t *make_header(const sah_model *model, const sah_strings *harmful, const sah_strings *harmless,
                           const sah_direction_options *options, const char *template_)
{
    json_t *header = sah_journal_header("direction", model);
    json_t *settings = json_pack("{s:s, s:s?, s:s, s:o}", "template", template_, "system", options->system,
                                 "precision", sah_model_describe(model)->precision, "layer",
                                 options->layer >= 0 ? json_integer(options->layer) : json_null());
    bool good = header != NULL && sah_run_note_device(model, settings) &&
                sah_run_note_template(model, template_, settings) &&
                json_object_set(header, "settings", settings) == 0 &&
                json_object_set_new(header, "queries", sah_run_strings(harmful)) == 0 &&
                json_object_set_new(header, "contrast_queries", sah_run_strings(harmless)) == 0 &&
                sah_run_add_matching(header, &options->matching);
    json_decref(settings);
    if (good) return header;
    json_decref(header);
    return NULL;
}

static sah_status make_memory(results *r, size_t d_model, sah_error *error)
{
    size_t layers = (size_t)r->n_layers, heads = layers * (size_t)r->n_heads;
    r->parts = sah_alloc(heads, sizeof *r->parts);
    r->done = sah_alloc(heads, sizeof *r->done);
    r->directions = sah_alloc((layers + 1) * d_model, sizeof *r->directions);
    return r->parts != NULL && r->done != NULL && r->directions != NULL
               ? SAH_OK
               : sah_fail_memory(error, "the results");
}

sah_direction_options sah_direction_options_default(void)
{
    return (sah_direction_options){.layer = -1};
}

sah_status sah_direction(const sah_model *model, const sah_strings *harmful, const sah_strings *harmless,
                         const sah_direction_options *options, const char *path, sah_error *error)
{
    const sah_model_info *info = sah_model_describe(model);
    const sah_direction_options defaults = sah_direction_options_default();
    if (options == NULL) options = &defaults;
    bool chat = strcmp(info->chat_template, "none") != 0;
    const char *template_ = options->template_ != NULL ? options->template_ : chat ? "chat" : "ships";
    const sah_strings *lists[] = {harmful, harmless};
    const sah_run_options run = {.template_ = template_, .system = options->system};
    results r = {.n_layers = info->n_layers, .n_heads = info->n_heads};
    sah_donors *nobody = NULL; /* stands in: nothing is ablated */
    sah_forest *forest = NULL;
    sah_journal *journal = NULL;
    json_t *header = NULL;
    if (harmful->n == 0 || harmless->n == 0)
        return sah_fail(error, SAH_BAD_ARGUMENT, "a direction needs harmful and harmless queries");
    if (options->layer >= info->n_layers)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "layer", " %d: the model has layers 0 to %d",
                              options->layer, info->n_layers - 1);

    /* All is computed before the journal is touched: a run that fails leaves no file. */
    sah_status status = sah_run_forest(model, lists, 2, &run, template_, NULL, &nobody, &forest, error);
    if (status == SAH_OK) status = make_memory(&r, (size_t)info->d_model, error);
    if (status == SAH_OK)
        status = sah_direction_parts(model, forest, harmful->n, options->layer, r.parts, r.directions, error);
    if (status != SAH_OK) goto done;
    header = make_header(model, harmful, harmless, options, template_);
    if (header == NULL) {
        status = sah_run_no_header(harmful, harmless, template_, options->system, error);
        goto done;
    }
    status = sah_journal_open(path, header, take_line, &r, (sah_line_sink){options->line, options->line_user},
                              &journal, error);
    for (int i = 0; i < r.n_layers * r.n_heads && status == SAH_OK; i++)
        if (!r.done[i] && i % r.n_heads < sah_config_layer(&model->config, i / r.n_heads).n_heads)
            status = write_head(journal, i / r.n_heads, i % r.n_heads, &r.parts[i], error);
    if (status == SAH_OK && options->directions != NULL)
        memcpy(options->directions, r.directions,
               ((size_t)info->n_layers + 1) * (size_t)info->d_model * sizeof *r.directions);
    sah_status closed = sah_journal_close(journal, status == SAH_OK ? error : NULL);
    if (status == SAH_OK) status = closed;
    if (status == SAH_OK && options->save != NULL)
        status = sah_npy_write_doubles(options->save, r.directions, (size_t)info->n_layers + 1,
                                       (size_t)info->d_model, error);

done:
    json_decref(header);
    sah_forest_free(forest);
    free(r.parts);
    free(r.done);
    free(r.directions);
    return status;
}
