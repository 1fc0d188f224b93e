/* SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/forward.h"

const char *golden_root(void)
{
    const char *other = getenv("SAHARA_GOLDEN");
    return other != NULL ? other : "tests/golden/models";
}

char **golden_folders(size_t *n)
{
    struct dirent **found;
    char path[512];
    *n = 0;
    int all = scandir(golden_root(), &found, NULL, alphasort);
    char **names = calloc(all > 0 ? (size_t)all : 1, sizeof *names);
    for (int i = 0; i < all; i++) {
        snprintf(path, sizeof path, "%s/%s/golden.json", golden_root(), found[i]->d_name);
        if (found[i]->d_name[0] != '.' && access(path, F_OK) == 0) names[(*n)++] = strdup(found[i]->d_name);
        free(found[i]);
    }
    if (all >= 0) free(found);
    return names;
}

void golden_open(const char *directory, golden *out)
{
    char path[512];
    sah_error error = {0};
    snprintf(path, sizeof path, "%s/%s/golden.json", golden_root(), directory);
    if (sah_json_read(path, 1u << 26, &out->json, &error) != SAH_OK) fail_msg("%s", error.message);
    json_t *prompts = json_object_get(out->json, "prompts");
    out->n_prompts = json_array_size(prompts);
    out->n_cases = json_array_size(json_object_get(out->json, "cases"));
    assert_true(out->n_prompts > 0 && out->n_cases > 0);
    out->prompts = calloc(out->n_prompts, sizeof *out->prompts);
    for (size_t i = 0; i < out->n_prompts; i++) {
        json_t *ids = json_array_get(prompts, i);
        int32_t *tokens = calloc(json_array_size(ids), sizeof *tokens);
        for (size_t j = 0; j < json_array_size(ids); j++)
            tokens[j] = (int32_t)json_integer_value(json_array_get(ids, j));
        out->prompts[i] = (sah_prompt){.tokens = tokens, .n = json_array_size(ids)};
    }
}

void golden_close(golden *g)
{
    for (size_t i = 0; i < g->n_prompts; i++) free((void *)(uintptr_t)g->prompts[i].tokens);
    free(g->prompts);
    json_decref(g->json);
}

static json_t *get_case(const golden *g, size_t index)
{
    return json_array_get(json_object_get(g->json, "cases"), index);
}

sah_edit *golden_edits(const golden *g, size_t index, size_t *n)
{
    json_t *list = json_object_get(get_case(g, index), "edits");
    *n = json_array_size(list);
    sah_edit *edits = calloc(*n + 1, sizeof *edits);
    for (size_t i = 0; i < *n; i++) {
        json_t *edit = json_array_get(list, i);
        const char *part = json_string_value(json_object_get(edit, "part"));
        const char *op = json_string_value(json_object_get(edit, "op"));
        edits[i].layer = (int)json_integer_value(json_object_get(edit, "layer"));
        edits[i].head = (int)json_integer_value(json_object_get(edit, "head"));
        edits[i].part = *part == 'q' ? SAH_PART_Q : *part == 'k' ? SAH_PART_K : SAH_PART_V;
        edits[i].op = strcmp(op, "mean") == 0 ? SAH_OP_MEAN : SAH_OP_SCALE;
        edits[i].factor = (float)json_number_value(json_object_get(edit, "factor"));
    }
    return edits;
}

sah_edit *golden_fitting(const sah_model *model, const sah_edit *edits, size_t *n)
{
    sah_edit *out = calloc(*n + 1, sizeof *out);
    size_t left = 0;
    for (size_t i = 0; i < *n; i++) {
        if (edits[i].layer >= model->config.n_layers) continue;
        const sah_layer_kind kind = sah_config_layer(&model->config, edits[i].layer);
        out[left] = edits[i];
        if (kind.mixer != SAH_MIXER_ATTENTION) out[left].part = SAH_PART_V;
        left += edits[i].head < (out[left].part == SAH_PART_K ? kind.n_kv_heads : kind.n_heads);
    }
    *n = left;
    return out;
}

double golden_logit(const golden *g, size_t index, size_t prompt, size_t token)
{
    return json_number_value(
        json_array_get(json_array_get(json_object_get(get_case(g, index), "logits"), prompt), token));
}

double golden_largest(const golden *g, size_t index)
{
    double largest = 0.0;
    json_t *logits = json_object_get(get_case(g, index), "logits");
    for (size_t p = 0; p < json_array_size(logits); p++)
        for (size_t i = 0; i < json_array_size(json_array_get(logits, p)); i++)
            largest = fmax(largest, fabs(golden_logit(g, index, p, i)));
    return largest;
}

void golden_compare(const golden *g, size_t index, size_t prompt, const double *logits, int n_vocab,
                    const char *what)
{
    double largest = golden_largest(g, index), worst = 0.0;
    for (int i = 0; i < n_vocab; i++) {
        double off = fabs(logits[i] - golden_logit(g, index, prompt, (size_t)i));
        if (!(off <= worst)) worst = off; /* NaN too */
    }
    if (!(worst <= 1e-4 * largest))
        fail_msg("%s: case %zu, prompt %zu: off by %.3g of %.3g", what, index, prompt, worst, largest);
}

void golden_check(const golden *g, const sah_model *model, const char *what)
{
    sah_error error = {0};
    sah_forest *forest = NULL;
    sah_workspace *workspace = NULL;
    size_t d = (size_t)model->config.d_model, V = (size_t)model->config.n_vocab;
    float *hidden = calloc(g->n_prompts * d, sizeof *hidden),
          *logits = calloc(g->n_prompts * V, sizeof *logits);
    double *wide = calloc(V, sizeof *wide);
    assert_int_equal(sah_workspace_new(model->device, 1, &workspace, &error), SAH_OK);
    assert_int_equal(sah_forest_new(g->prompts, g->n_prompts, model->config.n_vocab, &forest, &error),
                     SAH_OK);
    for (size_t c = 0; c < g->n_cases; c++) {
        size_t n;
        sah_edit *edits = golden_edits(g, c, &n);
        if (sah_forward(model, forest, edits, n, hidden, &error) != SAH_OK)
            fail_msg("%s: %s", what, error.message);
        assert_int_equal(sah_lm_head_logits(model, workspace, hidden, (int64_t)g->n_prompts, logits, &error),
                         SAH_OK);
        for (size_t p = 0; p < g->n_prompts; p++) {
            for (size_t i = 0; i < V; i++) wide[i] = (double)logits[p * V + i];
            golden_compare(g, c, p, wide, model->config.n_vocab, what);
        }
        free(edits);
    }
    sah_forest_free(forest);
    sah_workspace_free(workspace);
    free(hidden);
    free(logits);
    free(wide);
}

sah_model *golden_model(const char *directory, const char *file, const sah_model_options *options)
{
    char path[512];
    sah_error error = {0};
    sah_model *model = NULL;
    snprintf(path, sizeof path, "%s/%s%s%s", golden_root(), directory, file != NULL ? "/" : "",
             file != NULL ? file : "");
    if (sah_model_open(path, options, &model, &error) != SAH_OK) fail_msg("%s: %s", path, error.message);
    return model;
}

sah_model *golden_model_on(const char *directory, const sah_device *device, const sah_model_options *options)
{
    char path[512];
    sah_error error = {0};
    sah_checkpoint *checkpoint = NULL;
    sah_model *model = NULL;
    snprintf(path, sizeof path, "%s/%s", golden_root(), directory);
    if (sah_checkpoint_load(path, NULL, false, NULL, &checkpoint, &error) != SAH_OK ||
        sah_model_of(checkpoint, device, options, &model, &error) != SAH_OK)
        fail_msg("%s: %s", directory, error.message);
    return model;
}
