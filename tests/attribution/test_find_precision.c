/* SPDX-License-Identifier: Apache-2.0 */
/* find in bfloat16, which works by differences: every shift it writes, of heads beside no group and beside one and of
 * random groups, against states of the plain pass in float64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attribution/shift.h"
#include "engine/candidate.h"
#include "engine/cpu/product.h"
#include "engine/model.h"
#include "engine/plain.h"
#include "util/json.h"
#include "util/needs.h"
#include "util/scratch.h"

enum { QUERIES = 6, STEPS = 2, RANDOM = 3, FROM = 4, TO = 6, MOST = 64 };
static const sah_ablation Q = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f};

typedef struct measured {
    sah_head heads[STEPS];
    size_t n;
    double shift;
} measured;

typedef struct run {
    sah_model *model;
    int32_t *tokens[QUERIES];
    size_t n_tokens[QUERIES];
    sah_strings queries;
    sah_head chosen[STEPS];
    bool differs; /* the header says so */
    measured all[MOST];
    size_t n;
} run;

static bool take_line(void *user, const char *line, size_t length)
{
    run *r = user;
    json_t *json = json_loadb(line, length, 0, NULL);
    const json_t *settings = json_object_get(json, "settings"), *random = json_object_get(json, "random");
    const char *head = json_string_value(json_object_get(json, "head")),
               *chosen = json_string_value(json_object_get(json, "chosen"));
    const size_t step = (size_t)json_integer_value(json_object_get(json, "step"));
    measured *m = &r->all[r->n];
    if (settings != NULL) {
        const char *products = json_string_value(json_object_get(settings, "products"));
        r->differs = products != NULL && strcmp(products, "differences") == 0;
    }
    if (chosen != NULL)
        assert_int_equal(sscanf(chosen, "%d-%d", &r->chosen[step].layer, &r->chosen[step].head), 2);
    if (head != NULL || random != NULL) {
        assert_true(r->n < MOST && step < STEPS);
        memcpy(m->heads, r->chosen, step * sizeof *m->heads);
        m->n = step + 1;
        for (size_t i = 0; i < json_array_size(random); i++)
            assert_int_equal(sscanf(json_string_value(json_array_get(random, i)), "%d-%d", &m->heads[i].layer,
                                    &m->heads[i].head),
                             2);
        if (head != NULL)
            assert_int_equal(sscanf(head, "%d-%d", &m->heads[step].layer, &m->heads[step].head), 2);
        m->shift = json_number_value(json_object_get(json, "shift"));
        r->n++;
    }
    json_decref(json);
    return true;
}

/* Final-norm states of all queries in float64, rounded once. */
static void states_of(const run *r, const sah_head *heads, size_t n, float *out)
{
    const size_t d = (size_t)r->model->config.d_model;
    double *hidden = calloc(d, sizeof *hidden);
    sah_edit edits[3 * STEPS];
    size_t n_edits = 0;
    sah_error error = {0};
    for (size_t i = 0; i < n; i++) {
        const sah_candidate one = sah_candidate_of(&r->model->config, heads[i], &Q);
        for (int e = 0; e < one.n_edits; e++) edits[n_edits++] = one.edits[e];
    }
    for (size_t q = 0; q < QUERIES; q++, out += d) {
        expect_ok(sah_plain_forward(r->model->checkpoint, r->tokens[q], r->n_tokens[q], edits, n_edits,
                                    hidden, NULL, &error),
                  &error);
        for (size_t i = 0; i < d; i++) out[i] = (float)hidden[i];
    }
    free(hidden);
}

static void open_run(run *r)
{
    sah_error error = {0};
    const sah_model_options options = {.precision = SAH_PRECISION_BF16};
    *r = (run){0};
    expect_ok(sah_model_open("models/organism", &options, &r->model, &error), &error);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, QUERIES, &r->queries, &error), &error);
    for (size_t q = 0; q < QUERIES; q++) {
        char *prompt;
        expect_ok(sah_prompt_wrap(r->model, "chat", NULL, r->queries.items[q], &prompt, &error), &error);
        expect_ok(sah_prompt_encode(r->model, "chat", prompt, &r->tokens[q], &r->n_tokens[q], &error),
                  &error);
        free(prompt);
    }
}

static void close_run(run *r)
{
    for (size_t q = 0; q < QUERIES; q++) free(r->tokens[q]);
    sah_strings_free(&r->queries);
    sah_model_close(r->model);
}

static int compare_numbers(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void search(run *r, uint64_t memory, const char *states)
{
    sah_error error = {0};
    const sah_run_options options = {.ablation = Q,
                                     .head_from = FROM,
                                     .head_to = TO,
                                     .template_ = "chat",
                                     .memory = memory,
                                     .line = take_line,
                                     .line_user = r};
    sah_find_options find = sah_find_options_default();
    find.steps = STEPS;
    find.variant = SAH_VARIANT_RIGHT;
    find.random_groups = RANDOM;
    find.save_states = states;
    r->n = 0;
    expect_ok(sah_find(r->model, &r->queries, NULL, &options, &find, NULL, &error), &error);
}

/* Relative errors of all shifts, in order. */
static void errors_of(const run *r, double errors[MOST])
{
    const size_t d = (size_t)r->model->config.d_model;
    float *base = calloc(QUERIES * d, sizeof *base), *states = calloc(QUERIES * d, sizeof *states);
    sah_turning *turning = NULL;
    sah_error error = {0};
    states_of(r, NULL, 0, base);
    expect_ok(sah_turning_new(base, QUERIES, 0, d, 1, SAH_VARIANT_RIGHT, &turning, &error), &error);
    for (size_t i = 0; i < r->n; i++) {
        sah_turn turn;
        double angle;
        states_of(r, r->all[i].heads, r->all[i].n, states);
        expect_ok(sah_turn_measure(turning, states, "a head, query", &turn, &angle, NULL, &error), &error);
        errors[i] = fabs(r->all[i].shift / turn.shift - 1);
    }
    qsort(errors, r->n, sizeof *errors, compare_numbers);
    sah_turning_free(turning);
    free(base);
    free(states);
}

/* The saved states: of the unablated model float32's. */
static void check_states(const run *r, const char *path)
{
    const size_t n = QUERIES * (size_t)r->model->config.d_model;
    size_t size;
    uint8_t *file = scratch_read(path, &size);
    float *want = calloc(n, sizeof *want), *got = calloc((1 + STEPS) * n, sizeof *got);
    const size_t header = 10 + file[8] + 256u * file[9]; /* of NumPy's format, version 1 */
    assert_int_equal(size, header + (1 + STEPS) * n * sizeof *got);
    memcpy(got, file + header, (1 + STEPS) * n * sizeof *got);
    for (size_t step = 0; step <= STEPS; step++) {
        double off = 0, largest = 0;
        states_of(r, r->chosen, step, want);
        for (size_t i = 0; i < n; i++) {
            largest = fmax(largest, fabs((double)want[i]));
            off = fmax(off, fabs((double)got[step * n + i] - (double)want[i]));
        }
        if (!(off <= (step == 0 ? 1e-5 : 2e-3) * largest))
            fail_msg("states of %zu heads are off by %g of %g", step, off, largest);
    }
    free(want);
    free(got);
    free(file);
}

static void test_shifts(void **state)
{
    run r;
    double errors[MOST];
    char states[512];
    (void)state;
    needs(sah_product_has_bf16(), "a processor with bfloat16 products");
    snprintf(states, sizeof states, "%s", scratch("states.npy"));
    open_run(&r);
    search(&r, 0, states);
    assert_true(r.differs);
    assert_int_equal(r.n, 2 * (4 * (TO - FROM)) - 1 + RANDOM);
    errors_of(&r, errors);
    print_message("shifts are off by %.2g of themselves (median; %.2g the largest)\n", errors[r.n / 2],
                  errors[r.n - 1]);
    assert_true(errors[r.n / 2] < 3e-4); /* of whole states it would be 0.0018 and 0.0071 */
    assert_true(errors[r.n - 1] < 3e-3);
    check_states(&r, states);
    search(&r, 1 << 20, NULL); /* too little memory for differences */
    assert_false(r.differs);
    close_run(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shifts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
