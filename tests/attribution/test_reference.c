/* Ships on SmolLM2-135M-Instruct against what the paper's public implementation computed for every
 * head and 20 queries. Both programs work in float32; where they differ by more than 1e-3 of a score, float64
 * decides (tests/golden/README.md, "smollm2-ships-float64.json"). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/json.h"
#include "util/scratch.h"

static const char model_path[] = "models/cache/SmolLM2-135M-Instruct.Q4_1.gguf";
static const char reference_path[] = "../shared/reference/smollm2-ships.json";
static const double AGREE = 1e-3; /* relative, */
static const double LEAST = 1e-4; /* of scores of at least so many nats */
static const double EXACT = 5e-4; /* of float64, where the reference is further off */

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

/* The float64 score of a pair, NaN when the golden has none. */
static double exact_score(const json_t *golden, const char *head, int query)
{
    const json_t *pair;
    size_t i;
    json_array_foreach(golden, i, pair)
    {
        if (strcmp(json_string_value(json_object_get(pair, "head")), head) == 0 &&
            json_integer_value(json_object_get(pair, "query")) == query)
            return json_number_value(json_object_get(pair, "kl"));
    }
    return NAN;
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
    expect_ok(sah_model_open(model_path, NULL, &model, &error), &error);
    expect_ok(sah_ships(model, &queries, NULL, &options, path, &error), &error);
    sah_strings_free(&queries);
    sah_model_close(model);
}

static void test_smollm2(void **state)
{
    (void)state;
    if (access(model_path, R_OK) != 0 || access(reference_path, R_OK) != 0) {
        print_message("needs %s (scripts/get-smollm2) and %s\n", model_path, reference_path);
        skip();
    }
    json_t *reference = read_json(reference_path),
           *golden = read_json("tests/golden/smollm2-ships-float64.json");
    char path[512], *line, *rest;
    size_t size, heads = 0, compared = 0, decided = 0;
    snprintf(path, sizeof path, "%s", scratch("smollm2.jsonl"));
    int layer_from = getenv("SAHARA_TEST_ALL") ? ALL_FROM : FEW_FROM;
    score(reference, layer_from, path);
    char *text = (char *)scratch_read(path, &size);
    strtok_r(text, "\n", &rest); /* the header */
    while ((line = strtok_r(NULL, "\n", &rest)) != NULL) {
        json_t *ours = json_loads(line, 0, NULL);
        const char *head = json_string_value(json_object_get(ours, "head"));
        const json_t *theirs = json_object_get(json_object_get(reference, "kl"), head);
        assert_non_null(theirs);
        for (int q = 0; q < QUERIES; q++) {
            double a = json_number_value(json_array_get(json_object_get(ours, "kl"), (size_t)q));
            double b = json_number_value(json_array_get(theirs, (size_t)q));
            double exact = exact_score(golden, head, q);
            if (!isnan(exact) && !(fabs(a - exact) <= EXACT * exact))
                fail_msg("%s, query %d: %.9g, %.9g in float64", head, q, a, exact);
            if (b < LEAST) continue;
            compared++;
            if (fabs(a - b) <= AGREE * b) continue;
            if (isnan(exact) || !(fabs(a - exact) < fabs(b - exact)))
                fail_msg("%s, query %d: %.9g, the reference has %.9g", head, q, a, b);
            decided++;
        }
        heads++;
        json_decref(ours);
    }
    free(text);
    assert_int_equal(heads, 9 * (LAYERS - layer_from));
    assert_true(compared > 0.9 * (double)heads * QUERIES);
    assert_true(decided <= json_array_size(golden));
    print_message("%zu heads, %zu scores; float64 decided %zu\n", heads, compared, decided);
    json_decref(reference);
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_smollm2)};
    return cmocka_run_group_tests_name("reference", tests, NULL, NULL);
}
