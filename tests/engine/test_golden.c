/* The forward pass, fast and plain, against the logits PyTorch computed for tiny models of every family and
 * file type, unedited and under every part and operation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/forward.h"
#include "engine/plain.h"
#include "golden.h"

typedef struct source {
    const char *directory, *file;
} source;

static const source sources[] = {
    {"llama-mha", NULL},
    {"llama-mha", "model-f32.gguf"},
    {"llama-gqa", NULL},
    {"llama-gqa", "model-f32.gguf"},
    {"llama-gqa", "model-f32-v2.gguf"},
    {"llama-tied", NULL},
    {"llama-tied", "model-f32.gguf"},
    {"llama-headdim", NULL},
    {"llama-headdim", "model-f32.gguf"},
    {"llama-headdim-odd-count", NULL},
    {"llama-headdim-odd-count", "model-f32.gguf"},
    {"llama3-rope", NULL},
    {"llama3-rope", "model-f32.gguf"},
    {"llama3-rope-old", NULL},
    {"llama-rope-linear", NULL},
    {"llama-rope-linear", "model-f32.gguf"},
    {"llama-rope-linear-new", NULL},
    {"llama-bias", NULL},
    {"llama-bias", "model-f32.gguf"},
    {"llama-old-config", NULL},
    {"llama-sharded", NULL},
    {"llama-f16", NULL},
    {"llama-bf16", NULL},
    {"llama-fp8", NULL},
    {"llama-fp8-channels", NULL},
    {"mistral-swa", NULL},
    {"mistral-full", NULL},
    {"qwen2", NULL},
    {"qwen2", "model-f32.gguf"},
    {"qwen3", NULL},
    {"qwen3", "model-f32.gguf"},
    {"llama-quantised", "model-mixed.gguf"},
};

/* The issue of every number: within 1e-4 of the case's largest logit. */
static void compare(const golden *g, size_t index, size_t prompt, const double *logits, int n_vocab,
                    const char *what)
{
    double largest = golden_largest(g, index), worst = 0.0;
    for (int i = 0; i < n_vocab; i++)
        worst = fmax(worst, fabs(logits[i] - golden_logit(g, index, prompt, (size_t)i)));
    if (!(worst <= 1e-4 * largest))
        fail_msg("%s: case %zu, prompt %zu: off by %.3g of %.3g", what, index, prompt, worst, largest);
}

static void check_fast(const golden *g, const sah_model *model, const char *what)
{
    sah_error error = {0};
    sah_forest *forest = NULL;
    sah_workspace *workspace = NULL;
    size_t d = (size_t)model->config.d_model, V = (size_t)model->config.n_vocab;
    float *hidden = calloc(g->n_prompts * d, sizeof *hidden),
          *logits = calloc(g->n_prompts * V, sizeof *logits);
    double *wide = calloc(V, sizeof *wide);
    assert_int_equal(sah_workspace_new(1, &workspace, &error), SAH_OK);
    assert_int_equal(sah_forest_new(g->prompts, g->n_prompts, model->config.n_vocab, &forest, &error),
                     SAH_OK);
    for (size_t c = 0; c < g->n_cases; c++) {
        size_t n;
        sah_edit *edits = golden_edits(g, c, &n);
        if (sah_forward(model, forest, edits, n, hidden, &error) != SAH_OK)
            fail_msg("%s: %s", what, error.message);
        assert_int_equal(sah_lm_head(model, workspace, hidden, (int64_t)g->n_prompts, logits, &error),
                         SAH_OK);
        for (size_t p = 0; p < g->n_prompts; p++) {
            for (size_t i = 0; i < V; i++) wide[i] = (double)logits[p * V + i];
            compare(g, c, p, wide, model->config.n_vocab, what);
        }
        free(edits);
    }
    sah_forest_free(forest);
    sah_workspace_free(workspace);
    free(hidden);
    free(logits);
    free(wide);
}

static void check_plain(const golden *g, const sah_model *model, const char *what)
{
    sah_error error = {0};
    double *hidden = calloc((size_t)model->config.d_model, sizeof *hidden);
    double *logits = calloc((size_t)model->config.n_vocab, sizeof *logits);
    for (size_t c = 0; c < g->n_cases; c++) {
        size_t n;
        sah_edit *edits = golden_edits(g, c, &n);
        for (size_t p = 0; p < g->n_prompts; p++) {
            assert_int_equal(sah_plain_forward(model->checkpoint, g->prompts[p].tokens, g->prompts[p].n,
                                               edits, n, hidden, logits, &error),
                             SAH_OK);
            compare(g, c, p, logits, model->config.n_vocab, what);
        }
        free(edits);
    }
    free(hidden);
    free(logits);
}

static void test_logits(void **state)
{
    const source *s = *state;
    char what[256];
    golden g;
    golden_open(s->directory, &g);
    sah_model *model = golden_model(s->directory, s->file, NULL);
    snprintf(what, sizeof what, "fast, %s %s", s->directory, s->file ? s->file : "");
    check_fast(&g, model, what);
    memcpy(what, "slow", 4);
    check_plain(&g, model, what);
    sah_model_close(model);
    golden_close(&g);
}

int main(void)
{
    enum { N = sizeof sources / sizeof *sources };
    struct CMUnitTest tests[N];
    char names[N][128];
    for (size_t i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "%s %s", sources[i].directory,
                 sources[i].file ? sources[i].file : "safetensors");
        tests[i] = (struct CMUnitTest){names[i], test_logits, NULL, NULL, (void *)(uintptr_t)&sources[i]};
    }
    return cmocka_run_group_tests_name("golden logits", tests, NULL, NULL);
}
