/* SPDX-License-Identifier: Apache-2.0 */
/* What passes show on their way: the fast one against the plain one, and both against the equation
 * middle = input + Σ_h z_h Woᵀ + bias. */
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

/* Everything a pass shows: of each place [n_layers + 1, n_ends, width]. */
typedef struct record {
    size_t n_layers, n_ends, width[SAH_N_PLACES];
    double *states[SAH_N_PLACES];
    int seen[SAH_N_PLACES];
} record;

static void see(void *ctx, sah_place place, int layer, const double *rows)
{
    record *r = ctx;
    size_t size = r->n_ends * r->width[place];
    assert_int_equal(layer, r->seen[place]++);
    memcpy(r->states[place] + (size_t)layer * size, rows, size * sizeof *rows);
}

static record record_new(const sah_config *c, size_t n_ends)
{
    size_t d = (size_t)c->d_model, z = (size_t)(c->n_heads * c->head_dim);
    record r = {.n_layers = (size_t)c->n_layers, .n_ends = n_ends, .width = {d, z, 1, d}};
    for (int p = 0; p < SAH_N_PLACES; p++)
        r.states[p] = calloc((r.n_layers + 1) * n_ends * r.width[p], sizeof(double));
    return r;
}

static const double *row_of(const record *r, sah_place place, size_t layer, size_t end)
{
    return r->states[place] + (layer * r->n_ends + end) * r->width[place];
}

static void record_free(record *r)
{
    for (int p = 0; p < SAH_N_PLACES; p++) free(r->states[p]);
}

static void compare_rows(const double *a, const double *b, size_t n, double tolerance, const char *what)
{
    double largest = 0.0, worst = 0.0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(b[i]));
        worst = fmax(worst, fabs(a[i] - b[i]));
    }
    if (!(worst <= tolerance * largest)) fail_msg("%s: off by %.3g of %.3g", what, worst, largest);
}

/* The heads' writes must make up the step from input to middle. */
static void check_sum(const sah_model *model, const record *r, double tolerance, const char *what)
{
    size_t d = r->width[SAH_PLACE_INPUT], HD = r->width[SAH_PLACE_HEADS];
    float *wo = calloc(d * HD, sizeof *wo), *bias = calloc(d, sizeof *bias);
    double *sum = calloc(d, sizeof *sum);
    for (size_t l = 0; l < r->n_layers; l++) {
        const sah_layer_files *files = &model->checkpoint->layers[l];
        sah_matrix_read(&files->o, 0, d, wo);
        if (files->o_bias != NULL) sah_vector_read(files->o_bias, bias);
        for (size_t e = 0; e < r->n_ends; e++) {
            const double *z = row_of(r, SAH_PLACE_HEADS, l, e), *x = row_of(r, SAH_PLACE_INPUT, l, e);
            for (size_t j = 0; j < d; j++) {
                sum[j] = x[j] + (double)bias[j];
                for (size_t i = 0; i < HD; i++) sum[j] += (double)wo[j * HD + i] * z[i];
            }
            compare_rows(sum, row_of(r, SAH_PLACE_MIDDLE, l, e), d, tolerance, what);
        }
    }
    free(wo);
    free(bias);
    free(sum);
}

static void check_case(const golden *g, const sah_model *model, size_t index, const char *what)
{
    sah_error error = {0};
    sah_forest *forest = NULL;
    size_t n;
    sah_edit *edits = golden_edits(g, index, &n);
    assert_int_equal(sah_forest_new(g->prompts, g->n_prompts, model->config.n_vocab, &forest, &error),
                     SAH_OK);
    record fast = record_new(&model->config, (size_t)forest->n_ends);
    const sah_observer observer = {see, &fast};
    assert_int_equal(sah_forward_observe(model, forest, edits, n, &observer, &error), SAH_OK);
    assert_int_equal(fast.seen[SAH_PLACE_INPUT], fast.n_layers + 1);
    assert_int_equal(fast.seen[SAH_PLACE_HEADS], fast.n_layers);
    assert_int_equal(fast.seen[SAH_PLACE_MIDDLE], fast.n_layers);
    check_sum(model, &fast, 1e-5, what);
    for (size_t p = 0; p < g->n_prompts; p++) {
        record plain = record_new(&model->config, 1);
        const sah_observer observe_plain = {see, &plain};
        assert_int_equal(sah_plain_observe(model->checkpoint, g->prompts[p].tokens, g->prompts[p].n, edits, n,
                                           &observe_plain, &error),
                         SAH_OK);
        assert_int_equal(plain.seen[SAH_PLACE_INPUT], plain.n_layers + 1);
        check_sum(model, &plain, 1e-12, what);
        for (size_t l = 0; l <= plain.n_layers; l++)
            for (int place = 0; place < SAH_N_PLACES; place++)
                if (place == SAH_PLACE_INPUT || l < plain.n_layers)
                    compare_rows(row_of(&fast, (sah_place)place, l, (size_t)forest->end_of[p]),
                                 row_of(&plain, (sah_place)place, l, 0), plain.width[place], 2e-5, what);
        record_free(&plain);
    }
    record_free(&fast);
    sah_forest_free(forest);
    free(edits);
}

static void test_states(void **state)
{
    const char *name = *state;
    golden g;
    golden_open(name, &g);
    sah_model *model = golden_model(name, NULL, NULL);
    for (size_t c = 0; c < g.n_cases; c++) check_case(&g, model, c, name);
    sah_model_close(model);
    golden_close(&g);
}

int main(void)
{
    static const char *const names[] = {
        "llama-mha", "llama-gqa", "llama-headdim-odd-count", "llama-bias", "mistral-swa", "qwen2", "qwen3"};
    enum { N = sizeof names / sizeof *names };
    struct CMUnitTest tests[N];
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){names[i], test_states, NULL, NULL, (void *)(uintptr_t)names[i]};
    return cmocka_run_group_tests_name("observed passes", tests, NULL, NULL);
}
