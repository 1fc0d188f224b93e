/* SPDX-License-Identifier: Apache-2.0 */
/* Hidden states and logits of many prompts at once, against the plain pass, one prompt after the other. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/model.h"
#include "engine/plain.h"
#include "util/scratch.h"

enum { N = 4 };
static const int32_t first[] = {5, 6, 7, 8}, second[] = {5, 6, 7, 8, 9, 300}, third[] = {42};
/* Prompts that begin alike, one that is there twice, one of a single token. */
static const sah_tokens prompts[N] = {{first, 4}, {second, 6}, {third, 1}, {first, 4}};

typedef struct plain {
    size_t d;
    double *residual; /* [L + 1, d] */
} plain;

static void see(void *ctx, sah_place place, int layer, const double *rows)
{
    plain *p = ctx;
    if (place == SAH_PLACE_INPUT) memcpy(p->residual + (size_t)layer * p->d, rows, p->d * sizeof *rows);
}

static void expect_close(const float *got, const double *want, size_t n)
{
    double largest = 0.0, worst = 0.0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(want[i]));
        worst = fmax(worst, fabs((double)got[i] - want[i]));
    }
    if (!(worst <= 2e-5 * largest)) fail_msg("off by %g of %g", worst, largest);
}

static void test_against_plain(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = NULL;
    const sah_edit edit = {1, 2, SAH_PART_Q, SAH_OP_SCALE, 1e-4F};
    expect_ok(sah_model_open("models/organism", NULL, &model, &error), &error);
    const size_t d = (size_t)model->config.d_model, L = (size_t)model->config.n_layers,
                 V = (size_t)model->config.n_vocab;
    float *residual = malloc(N * (L + 1) * d * sizeof *residual), *final = malloc(N * d * sizeof *final);
    float *logits = malloc(N * V * sizeof *logits), *one = malloc(V * sizeof *one);
    double *hidden = malloc(d * sizeof *hidden), *plain_logits = malloc(V * sizeof *plain_logits);
    plain p = {d, malloc((L + 1) * d * sizeof *p.residual)};
    for (size_t n_edits = 0; n_edits < 2; n_edits++) {
        expect_ok(sah_hidden_states(model, prompts, N, &edit, n_edits, residual, final, &error), &error);
        expect_ok(sah_logits_batch(model, prompts, N, &edit, n_edits, logits, &error), &error);
        for (size_t i = 0; i < N; i++) {
            const sah_observer observer = {see, &p};
            expect_ok(sah_plain_observe(model->checkpoint, prompts[i].ids, prompts[i].n, &edit, n_edits,
                                        &observer, &error),
                      &error);
            expect_ok(sah_plain_forward(model->checkpoint, prompts[i].ids, prompts[i].n, &edit, n_edits,
                                        hidden, plain_logits, &error),
                      &error);
            for (size_t l = 0; l <= L; l++)
                expect_close(residual + (i * (L + 1) + l) * d, p.residual + l * d, d);
            expect_close(final + i * d, hidden, d);
            expect_close(logits + i * V, plain_logits, V);
            expect_ok(sah_logits(model, prompts[i].ids, prompts[i].n, &edit, n_edits, one, &error), &error);
            expect_close(one, plain_logits, V);
        }
    }
    /* Either alone. */
    float *alone = malloc(N * (L + 1) * d * sizeof *alone);
    expect_ok(sah_hidden_states(model, prompts, N, &edit, 1, alone, NULL, &error), &error);
    assert_memory_equal(alone, residual, N * (L + 1) * d * sizeof *alone);
    expect_ok(sah_hidden_states(model, prompts, N, &edit, 1, NULL, alone, &error), &error);
    assert_memory_equal(alone, final, N * d * sizeof *alone);
    free(alone);
    free(residual);
    free(final);
    free(logits);
    free(one);
    free(hidden);
    free(plain_logits);
    free(p.residual);
    sah_model_close(model);
}

static void test_bad_prompts(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = NULL;
    float *out = malloc(1 << 20);
    const int32_t wild[] = {5, -1}, beyond[] = {1 << 20};
    expect_ok(sah_model_open("models/organism", NULL, &model, &error), &error);
    expect_failure(sah_logits_batch(model, prompts, 0, NULL, 0, out, &error), &error, "no prompt");
    expect_failure(sah_logits_batch(model, &(sah_tokens){first, 0}, 1, NULL, 0, out, &error), &error, "");
    expect_failure(sah_logits_batch(model, &(sah_tokens){wild, 2}, 1, NULL, 0, out, &error), &error,
                   "outside the vocabulary");
    expect_failure(sah_hidden_states(model, &(sah_tokens){beyond, 1}, 1, NULL, 0, out, NULL, &error), &error,
                   "outside the vocabulary");
    expect_failure(sah_hidden_states(model, prompts, N, &(sah_edit){99, 0, SAH_PART_Q, SAH_OP_SCALE, 0}, 1,
                                     out, NULL, &error),
                   &error, "99");
    free(out);
    sah_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_plain),
                                       cmocka_unit_test(test_bad_prompts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
