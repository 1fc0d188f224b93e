/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/scratch.h"

const char *fresh(const char *suffix)
{
    static int n;
    char name[64];
    snprintf(name, sizeof name, "made-%d%s", n++, suffix);
    return scratch(name);
}

const char *operate(const char *model, const char *heads, unsigned parts, sah_op op, float factor)
{
    sah_error error = {0};
    size_t n = strlen(model);
    const char *out = fresh(n > 5 && strcmp(model + n - 5, ".gguf") == 0 ? ".gguf" : "");
    const sah_surgery_options options = {.heads = heads, .ablation = {parts, op, factor}};
    if (sah_surgery(model, &options, out, NULL, &error) != SAH_OK) fail_msg("%s: %s", model, error.message);
    return out;
}

float *logits_of(const char *model, const char *adapter, const golden *g, const char *heads, unsigned parts,
                 sah_op op, float factor, size_t *n)
{
    sah_error error = {0};
    sah_model *opened = NULL;
    sah_head *list = NULL;
    sah_edit *edits = NULL;
    size_t n_heads, n_edits;
    const sah_ablation ablation = {parts, op, factor};
    expect_ok(sah_model_open(model, &(sah_model_options){.adapter = adapter, .threads = 1}, &opened, &error),
              &error);
    const sah_model_info *info = sah_model_describe(opened);
    expect_ok(sah_heads_parse(heads != NULL ? heads : "", info, parts, &list, &n_heads, &error), &error);
    expect_ok(sah_edits_new(info, list, n_heads, &ablation, &edits, &n_edits, &error), &error);
    const size_t V = (size_t)info->n_vocab;
    float *logits = calloc(g->n_prompts * V, sizeof *logits);
    *n = g->n_prompts * V;
    for (size_t p = 0; p < g->n_prompts; p++) {
        expect_ok(
            sah_logits(opened, g->prompts[p].tokens, g->prompts[p].n, edits, n_edits, logits + p * V, &error),
            &error);
    }
    free(edits);
    free(list);
    sah_model_close(opened);
    return logits;
}

double distance(const float *a, const float *b, size_t n)
{
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
        if (isnan(a[i])) return INFINITY;
    }
    return worst / largest;
}

void check_unedited(const char *a, const char *b, const char *const *changed)
{
    sah_error error = {0};
    sah_checkpoint *before, *after;
    expect_ok(sah_checkpoint_open(a, NULL, true, &before, &error), &error);
    expect_ok(sah_checkpoint_open(b, NULL, true, &after, &error), &error);
    assert_int_equal(before->tensors->n, after->tensors->n);
    for (size_t i = 0; i < before->tensors->n; i++) {
        const sah_tensor *x = &before->tensors->items[i], *y = &after->tensors->items[i];
        bool edited = false;
        for (size_t c = 0; changed[c] != NULL; c++) edited = edited || strcmp(changed[c], x->name) == 0;
        assert_string_equal(x->name, y->name);
        assert_int_equal(x->file, y->file);
        bool same = x->type == y->type && x->bytes == y->bytes && memcmp(x->data, y->data, x->bytes) == 0;
        if (same == edited) fail_msg("%s: tensor %s is %s", b, x->name, same ? "as it was" : "changed");
    }
    sah_checkpoint_close(before);
    sah_checkpoint_close(after);
}
