/* SPDX-License-Identifier: Apache-2.0 */
/* The refusal direction: against PyTorch, against its own identities, and on the organism, whose refusal was
 * trained into known heads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attribution/direction.h"
#include "engine/plain.h"
#include "engine/golden.h"
#include "models/random_model.h"
#include "util/json.h"
#include "util/scratch.h"

/* ---- Against PyTorch ----------------------------------------------------------------------------------- */

typedef struct token_sets {
    sah_prompt prompts[16];
    size_t n, n_harmful;
} token_sets;

static void add_prompts(token_sets *sets, const json_t *lists)
{
    for (size_t i = 0; i < json_array_size(lists); i++) {
        const json_t *ids = json_array_get(lists, i);
        int32_t *tokens = calloc(json_array_size(ids), sizeof *tokens);
        for (size_t j = 0; j < json_array_size(ids); j++)
            tokens[j] = (int32_t)json_integer_value(json_array_get(ids, j));
        assert_true(sets->n < 16);
        sets->prompts[sets->n++] = (sah_prompt){.tokens = tokens, .n = json_array_size(ids)};
    }
}

static void compare(const json_t *head, const char *key, double ours, double scale, const char *what)
{
    double theirs = json_number_value(json_object_get(head, key));
    if (!(fabs(ours - theirs) <= 2e-5 * scale))
        fail_msg("%s %s %s: %.9g here, %.9g there", what, json_string_value(json_object_get(head, "head")),
                 key, ours, theirs);
}

static void check_case(const json_t *expected)
{
    const char *name = json_string_value(json_object_get(expected, "model"));
    const json_t *fixed = json_object_get(expected, "layer"), *heads = json_object_get(expected, "heads");
    const json_t *rows = json_object_get(expected, "directions");
    sah_error error = {0};
    sah_forest *forest = NULL;
    token_sets sets = {0};
    sah_model *model = golden_model(name, NULL, NULL);
    size_t L = (size_t)model->config.n_layers, H = (size_t)model->config.n_heads;
    size_t d = (size_t)model->config.d_model;
    sah_head_part *parts = calloc(L * H, sizeof *parts);
    double *directions = calloc((L + 1) * d, sizeof *directions), scale = 0.0;
    add_prompts(&sets, json_object_get(expected, "harmful"));
    sets.n_harmful = sets.n;
    add_prompts(&sets, json_object_get(expected, "harmless"));
    expect_ok(sah_forest_new(sets.prompts, sets.n, model->config.n_vocab, &forest, &error), &error);
    expect_ok(sah_direction_parts(model, forest, sets.n_harmful,
                                  json_is_null(fixed) ? -1 : (int)json_integer_value(fixed), parts,
                                  directions, &error),
              &error);

    for (size_t i = 0; i < L * H; i++)
        scale =
            fmax(scale, fabs(json_number_value(json_object_get(json_array_get(heads, i), "contribution"))));
    assert_true(scale > 0.1);
    assert_int_equal(json_array_size(heads), L * H);
    for (size_t i = 0; i < L * H; i++) {
        const json_t *head = json_array_get(heads, i);
        compare(head, "harmful", parts[i].harmful, scale, name);
        compare(head, "harmless", parts[i].harmless, scale, name);
        compare(head, "contribution", parts[i].contribution, scale, name);
        compare(head, "share", parts[i].share, 1.0, name);
        compare(head, "cosine", parts[i].cosine, 1.0, name);
        compare(head, "cosine_difference", parts[i].cosine_difference, 1.0, name);
        assert_true(parts[i].low <= parts[i].contribution && parts[i].contribution <= parts[i].high);
    }
    assert_int_equal(json_array_size(rows), L + 1);
    for (size_t i = 0; i < (L + 1) * d; i++) {
        double theirs = json_number_value(json_array_get(json_array_get(rows, i / d), i % d));
        if (!(fabs(directions[i] - theirs) <= 2e-5))
            fail_msg("%s: direction %zu, %zu: %.9g here, %.9g there", name, i / d, i % d, directions[i],
                     theirs);
    }
    for (size_t i = 0; i < sets.n; i++) free((void *)(uintptr_t)sets.prompts[i].tokens);
    sah_forest_free(forest);
    sah_model_close(model);
    free(parts);
    free(directions);
}

static void test_pytorch(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *cases = NULL;
    expect_ok(sah_json_read("tests/golden/directions.json", 1u << 24, &cases, &error), &error);
    assert_int_equal(json_array_size(cases), 14);
    for (size_t i = 0; i < json_array_size(cases); i++) check_case(json_array_get(cases, i));
    json_decref(cases);
}

/* ---- One query in each set ----------------------------------------------------------------------------- */

/* The attention block's write of a plain pass, layer by layer: write [n_layers, d]. */
typedef struct writes {
    size_t d;
    double *write;
} writes;

static void see_write(void *ctx, sah_place place, int layer, const double *row)
{
    writes *w = ctx;
    if (place != SAH_PLACE_INPUT && place != SAH_PLACE_MIDDLE) return;
    for (size_t j = 0; j < w->d; j++)
        w->write[(size_t)layer * w->d + j] += place == SAH_PLACE_MIDDLE ? row[j] : -row[j];
}

/* Nothing to resample: the interval is the number itself. And what the heads of a layer write along the
 * direction, with the projection's bias, is what the attention block writes along it. */
static void test_single_queries(void **state)
{
    (void)state;
    static const int32_t a[] = {1, 17, 42, 5}, b[] = {1, 9, 42, 5};
    const sah_prompt prompts[] = {{.tokens = a, .n = 4}, {.tokens = b, .n = 4}};
    sah_error error = {0};
    sah_forest *forest = NULL;
    sah_model *model = golden_model("llama-bias", NULL, NULL);
    size_t L = (size_t)model->config.n_layers, H = (size_t)model->config.n_heads;
    size_t d = (size_t)model->config.d_model;
    sah_head_part *parts = calloc(L * H, sizeof *parts);
    double *directions = calloc((L + 1) * d, sizeof *directions);
    expect_ok(sah_forest_new(prompts, 2, model->config.n_vocab, &forest, &error), &error);
    expect_ok(sah_direction_parts(model, forest, 1, -1, parts, directions, &error), &error);
    for (size_t i = 0; i < L * H; i++) {
        assert_true(fabs(parts[i].low - parts[i].contribution) < 1e-12);
        assert_true(fabs(parts[i].high - parts[i].contribution) < 1e-12);
        assert_true(fabs(parts[i].contribution - (parts[i].harmful - parts[i].harmless)) < 1e-12);
    }
    /* The same last token: embeddings do not differ. */
    for (size_t j = 0; j < d; j++) assert_true(directions[j] == 0.0);

    writes w = {d, calloc((L + 1) * d, sizeof(double))};
    float *bias = calloc(d, sizeof *bias);
    expect_ok(sah_plain_observe(model->checkpoint, a, 4, NULL, 0, &(sah_observer){see_write, &w}, &error),
              &error);
    for (size_t l = 0; l < L; l++) {
        const double *r = directions + (l + 1) * d;
        double length = 0.0, block = 0.0, heads = 0.0;
        assert_non_null(model->checkpoint->layers[l].o_bias);
        sah_vector_read(model->checkpoint->layers[l].o_bias, bias);
        for (size_t j = 0; j < d; j++) length += r[j] * r[j];
        length = sqrt(length);
        for (size_t j = 0; j < d; j++) {
            block += w.write[l * d + j] * r[j] / length;
            heads += (double)bias[j] * r[j] / length;
        }
        for (size_t h = 0; h < H; h++) heads += parts[l * H + h].harmful;
        assert_true(fabs(block) > 0.01);
        assert_true(fabs(heads - block) < 1e-5);
    }
    free(w.write);
    free(bias);
    sah_forest_free(forest);
    sah_model_close(model);
    free(parts);
    free(directions);
}

/* Norms behind attention, factors of branches and layers, heads of different widths and of the delta rule: what
 * the heads write is still what their layer adds. */
static void test_arrangements(void **state)
{
    (void)state;
    static const int32_t a[] = {1, 17, 42, 5}, b[] = {1, 9, 42, 5};
    const sah_prompt prompts[] = {{.tokens = a, .n = 4}, {.tokens = b, .n = 4}};
    random_shape shape = {
        .config = random_config(), .norms_behind = true, .scales = true, .kinds_differ = true};
    shape.config.residual_scale = 0.7f;
    shape.config.n_heads = 6;
    shape.config.n_kv_heads = 6;
    shape.config.delta = (sah_delta){.key_heads = 3, .key_dim = 10, .kernel = 4};
    for (int l = 0; l < RANDOM_LAYERS; l++)
        shape.kinds[l] = (sah_layer_kind){.n_heads = 4, .n_kv_heads = 2, .head_dim = 12};
    shape.kinds[1] = (sah_layer_kind){.mixer = SAH_MIXER_DELTA, .n_heads = 6, .n_kv_heads = 6, .head_dim = 8};
    sah_error error = {0};
    sah_forest *forest = NULL;
    sah_model *model = random_model(&shape, &(sah_model_options){.threads = 1}, 3);
    size_t L = RANDOM_LAYERS, H = (size_t)model->config.n_heads, d = (size_t)model->config.d_model;
    sah_head_part *parts = calloc(L * H, sizeof *parts);
    double *directions = calloc((L + 1) * d, sizeof *directions);
    writes w = {d, calloc((L + 1) * d, sizeof(double))};
    expect_ok(sah_forest_new(prompts, 2, model->config.n_vocab, &forest, &error), &error);
    expect_ok(sah_direction_parts(model, forest, 1, -1, parts, directions, &error), &error);
    expect_ok(sah_plain_observe(model->checkpoint, a, 4, NULL, 0, &(sah_observer){see_write, &w}, &error),
              &error);
    for (size_t l = 0; l < L; l++) {
        const double *r = directions + (l + 1) * d;
        double length = 0.0, block = 0.0, heads = 0.0;
        for (size_t j = 0; j < d; j++) length += r[j] * r[j];
        for (size_t j = 0; j < d; j++) block += w.write[l * d + j] * r[j] / sqrt(length);
        for (size_t h = 0; h < H; h++) heads += parts[l * H + h].harmful;
        block *= (double)model->layers[l].scale[0];
        if (!(fabs(block) > 0.01 && fabs(heads - block) < 1e-5))
            fail_msg("layer %zu: the heads write %g, attention %g", l, heads, block);
    }
    free(w.write);
    sah_forest_free(forest);
    sah_model_close(model);
    free(parts);
    free(directions);
}

/* ---- The organism -------------------------------------------------------------------------------------- */

static sah_status run(const char *harmful_path, const char *harmless_path, sah_direction_options options,
                      const char *path, sah_error *error)
{
    sah_model *model = NULL;
    sah_strings harmful = {0}, harmless = {0};
    sah_status status = sah_model_open("models/organism", NULL, &model, error);
    if (status == SAH_OK) status = sah_queries_read(harmful_path, NULL, 40, &harmful, error);
    if (status == SAH_OK) status = sah_queries_read(harmless_path, NULL, 40, &harmless, error);
    if (status == SAH_OK) status = sah_direction(model, &harmful, &harmless, &options, path, error);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_model_close(model);
    return status;
}

static void test_organism(void **state)
{
    (void)state;
    sah_error error = {0};
    const char *path = scratch("direction.jsonl"), *npy = scratch("direction.npy");
    size_t size;
    expect_ok(run("data/harmful.csv", "data/harmless.csv", (sah_direction_options){.layer = -1, .save = npy},
                  path, &error),
              &error);
    char *text = (char *)scratch_read(path, &size), *line = strchr(text, '\n') + 1;
    double planted = HUGE_VAL, others = 0.0; /* the least of the planted heads, the most of the others */
    int n = 0;
    for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1, n++) {
        json_t *head = json_loadb(line, (size_t)(end - line), 0, NULL);
        double contribution = json_number_value(json_object_get(head, "contribution"));
        const char *name = json_string_value(json_object_get(head, "head"));
        if (strcmp(name, "2-1") == 0 || strcmp(name, "2-6") == 0 || strcmp(name, "3-3") == 0) {
            planted = fmin(planted, contribution);
            assert_true(json_number_value(json_object_get(head, "low")) > 0.0);
        } else {
            others = fmax(others, contribution);
        }
        json_decref(head);
    }
    assert_int_equal(n, 32);
    assert_true(planted > 2.0 * others);
    free(text);

    uint8_t *array = scratch_read(npy, &size);
    assert_int_equal(size, 128 + 5 * 128 * 8);
    assert_memory_equal(array,
                        "\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, "
                        "'shape': (5, 128), }",
                        10 + 61);
    assert_int_equal(array[127], '\n');
    free(array);
}

static void test_resumes(void **state)
{
    (void)state;
    sah_error error = {0};
    const char *path = scratch("resume.jsonl");
    const sah_direction_options own = {.layer = -1}, last = {.layer = 3};
    size_t whole, again;
    expect_ok(run("data/harmful.csv", "data/harmless.csv", own, path, &error), &error);
    uint8_t *before = scratch_read(path, &whole);
    scratch_write(path, before, whole - whole / 5);
    expect_ok(run("data/harmful.csv", "data/harmless.csv", own, path, &error), &error);
    uint8_t *after = scratch_read(path, &again);
    assert_int_equal(whole, again);
    assert_memory_equal(before, after, whole);
    expect_failure(run("data/harmful.csv", "data/harmless.csv", last, path, &error), &error, "layer");
    free(before);
    free(after);
}

static void test_refuses(void **state)
{
    (void)state;
    sah_error error = {0};
    const char *path = scratch("none.jsonl");
    expect_failure(
        run("data/harmful.csv", "data/harmful.csv", (sah_direction_options){.layer = -1}, path, &error),
        &error, "the same mean residual");
    assert_null(fopen(path, "rb"));
    assert_int_equal(
        run("data/harmful.csv", "data/harmless.csv", (sah_direction_options){.layer = 4}, path, &error),
        SAH_BAD_ARGUMENT);
    expect_failure(error.status, &error, "layer 4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pytorch),  cmocka_unit_test(test_single_queries),
        cmocka_unit_test(test_organism), cmocka_unit_test(test_resumes),
        cmocka_unit_test(test_refuses),  cmocka_unit_test(test_arrangements),
    };
    return cmocka_run_group_tests_name("refusal direction", tests, NULL, NULL);
}
