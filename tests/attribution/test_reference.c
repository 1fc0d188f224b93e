/* SPDX-License-Identifier: Apache-2.0 */
/* Ships on SmolLM2-135M-Instruct, for every head and 20 queries: against float64, and beside what the paper's
 * public implementation computed (tests/golden/README.md, "reference/").
 *
 * How far float32 may be off follows from the score. Noise of at most d in the ablated model's logits moves
 * KL(p, p') by no more than d |p - p'|_1 <= d sqrt(2 KL) (Pinsker's inequality), in the other's by about as
 * much. So the relative error grows as scores fall, and one number a program, its noise, is held for all. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/json.h"
#include "util/needs.h"
#include "util/scratch.h"

static const char reference_path[] = "tests/golden/reference/smollm2-ships.json";
static const char exact_path[] = "tests/golden/smollm2-ships-float64.json";
/* Nats, the largest and the root of the mean square: of our logits, about twice what they are here, and of the
 * reference's, as they are in the file. */
static const double NOISE = 3e-5, NOISE_ON_THE_WHOLE = 6e-6;
static const double THEIR_NOISE = 5.2e-5;

/* All layers with SAHARA_TEST_ALL in the environment (scripts/test sets it: about a minute on two idle
 * cores), else the last three, where the scores are small and the two programs differ most. */
#ifdef __SANITIZE_ADDRESS__
enum { LAYERS = 30, FEW_FROM = 29, ALL_FROM = 28, QUERIES = 4 };
#else
enum { LAYERS = 30, FEW_FROM = 27, ALL_FROM = 0, QUERIES = 20 };
#endif

static json_t *read_json(const char *path)
{
    sah_error error = {0};
    json_t *json;
    expect_ok(sah_json_read(path, 1u << 24, &json, &error), &error);
    return json;
}

static void score(const json_t *reference, int layer_from, const char *path)
{
    sah_error error = {0};
    sah_model *model = NULL;
    sah_strings queries = {0};
    sah_run_options options = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f},
                               .template_ = "ships",
                               .layer_from = layer_from,
                               .layer_to = LAYERS};
    char *text = calloc(1, 1 << 16);
    for (size_t i = 0; i < QUERIES; i++) {
        const char *query = json_string_value(json_array_get(json_object_get(reference, "queries"), i));
        assert_null(strchr(query, '\n'));
        strcat(strcat(text, query), "\n");
    }
    scratch_write_text(scratch("queries.txt"), text);
    free(text);
    expect_ok(sah_queries_read(scratch("queries.txt"), NULL, 0, &queries, &error), &error);
    expect_ok(sah_model_open(SMOLLM2, NULL, &model, &error), &error);
    expect_ok(sah_ships(model, &queries, NULL, &options, path, &error), &error);
    sah_strings_free(&queries);
    sah_model_close(model);
}

/* What a program's scores are off by: the most in units of sqrt(2 KL), and of the score itself. */
typedef struct distance {
    double noise, share, share_at; /* share_at: the score where it is that */
    char where[32]; /* of the largest noise */
    double square_sum; /* of the noise */
} distance;

static void add_distance(distance *d, double score, double exact, const char *head, size_t query)
{
    double off = fabs(score - exact), noise = off / sqrt(2 * exact);
    d->square_sum += noise * noise;
    if (!(noise <= d->noise)) {
        d->noise = noise;
        snprintf(d->where, sizeof d->where, "%s, query %zu", head, query);
    }
    if (off / exact > d->share) d->share = off / exact, d->share_at = exact;
}

static void say(const char *whose, const distance *d, size_t n)
{
    print_message("%s: noise up to %.2g (%s), %.2g on the whole; a score of %.2g is off by %.2g %%\n", whose,
                  d->noise, d->where, sqrt(d->square_sum / (double)n), d->share_at, 100 * d->share);
}

static double at(const json_t *table, const char *head, size_t query)
{
    return json_number_value(json_array_get(json_object_get(json_object_get(table, "kl"), head), query));
}

static void test_smollm2(void **state)
{
    (void)state;
    needs_smollm2();
    json_t *reference = read_json(reference_path), *exact = read_json(exact_path);
    char path[512], *line, *rest;
    size_t size, heads = 0;
    distance ours = {0}, theirs = {0};
    snprintf(path, sizeof path, "%s", scratch("smollm2.jsonl"));
    int layer_from = getenv("SAHARA_TEST_ALL") != NULL ? ALL_FROM : FEW_FROM;
    score(reference, layer_from, path);
    char *text = (char *)scratch_read(path, &size);
    strtok_r(text, "\n", &rest); /* the header */
    for (; (line = strtok_r(NULL, "\n", &rest)) != NULL; heads++) {
        json_t *row = json_loads(line, 0, NULL);
        const char *head = json_string_value(json_object_get(row, "head"));
        for (size_t q = 0; q < QUERIES; q++) {
            double truth = at(exact, head, q);
            assert_true(truth > 0);
            add_distance(&ours, json_number_value(json_array_get(json_object_get(row, "kl"), q)), truth, head,
                         q);
            add_distance(&theirs, at(reference, head, q), truth, head, q);
        }
        json_decref(row);
    }
    free(text);
    assert_int_equal(heads, 9 * (LAYERS - layer_from));
    size_t n = heads * QUERIES;
    say("ours", &ours, n);
    say("the reference", &theirs, n);
    assert_true(ours.noise <= NOISE);
    assert_true(sqrt(ours.square_sum / (double)n) <= NOISE_ON_THE_WHOLE);
    assert_true(theirs.noise <= THEIR_NOISE);
    json_decref(reference);
    json_decref(exact);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_smollm2)};
    return cmocka_run_group_tests_name("reference", tests, NULL, NULL);
}
