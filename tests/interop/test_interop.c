/* SPDX-License-Identifier: Apache-2.0 */
/* Edited checkpoints against the logits that other programs gave for them (golden.json, made by `run
 * --write`): those of the run-time ablation and of the checkpoint made anew must be the same. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edit/surgery.h"
#include "util/scratch.h"

static json_t *goldens;

static const char *text_of(const json_t *record, const char *key)
{
    return json_string_value(json_object_get(record, key));
}

static sah_side side_of(const json_t *record, const char *key)
{
    return strcmp(text_of(record, key), "B") == 0 ? SAH_SIDE_B : SAH_SIDE_A;
}

static const char *suffix_of(const char *model)
{
    const char *dot = strrchr(model, '.');
    return dot != NULL && strcmp(dot, ".gguf") == 0 ? ".gguf" : "";
}

/* Heads and how to ablate them, as the record has them; without any, part and factor are the default. */
static sah_ablation ablation_of(const json_t *record)
{
    sah_error error = {0};
    sah_ablation ablation = {SAH_PART_Q, SAH_OP_SCALE, 0};
    if (text_of(record, "heads") == NULL) return ablation;
    expect_ok(sah_parts_parse(text_of(record, "part"), &ablation.parts, &error), &error);
    if (strcmp(text_of(record, "op"), "mean") == 0) ablation.op = SAH_OP_MEAN;
    ablation.factor = (float)json_number_value(json_object_get(record, "scale"));
    return ablation;
}

/* A prompt of the golden file, in the form logits_of() takes. */
static golden tokens_of_goldens(sah_prompt *prompt)
{
    const json_t *list = json_object_get(goldens, "tokens");
    int32_t *tokens = calloc(json_array_size(list), sizeof *tokens);
    for (size_t i = 0; i < json_array_size(list); i++)
        tokens[i] = (int32_t)json_integer_value(json_array_get(list, i));
    *prompt = (sah_prompt){.tokens = tokens, .n = json_array_size(list)};
    return (golden){.n_prompts = 1, .prompts = prompt};
}

/* The logits of `model`, ablated at run time where `heads` names some, against the record's. */
static void compare(const json_t *record, const char *model, const char *adapter, const char *heads,
                    const char *what)
{
    size_t n;
    sah_prompt prompt;
    const golden g = tokens_of_goldens(&prompt);
    const sah_ablation ablation = ablation_of(record);
    const json_t *list = json_object_get(record, "logits");
    const double tolerance = json_number_value(json_object_get(record, "tolerance"));
    float *have = logits_of(model, adapter, &g, heads, ablation.parts, ablation.op, ablation.factor, &n);
    float *want = calloc(n, sizeof *want);
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++) want[i] = (float)json_number_value(json_array_get(list, i));
    const double off = distance(have, want, n);
    if (!(off <= tolerance)) {
        char *dump = json_dumps(record, JSON_COMPACT);
        fail_msg("%s off by %g of the largest logit: %.200s", what, off, dump);
    }
    free(have);
    free(want);
    free((void *)(uintptr_t)prompt.tokens);
}

static void surgery_of(const char *model, const char *adapter, const char *heads, sah_ablation ablation,
                       const char *out)
{
    sah_error error = {0};
    const sah_surgery_options options = {.heads = heads, .ablation = ablation, .adapter = adapter};
    if (sah_surgery(model, &options, out, NULL, &error) != SAH_OK) fail_msg("%s: %s", model, error.message);
}

static void check_ablation(const json_t *record)
{
    const char *model = text_of(record, "model"), *adapter = text_of(record, "adapter"),
               *heads = text_of(record, "heads");
    char *made = strdup(fresh(suffix_of(model)));
    compare(record, model, adapter, heads, "at run time");
    surgery_of(model, adapter, heads, ablation_of(record), made);
    compare(record, made, NULL, NULL, "the checkpoint");
    free(made);
}

static void check_graft(const json_t *record)
{
    sah_error error = {0};
    const json_t *models = json_object_get(record, "graft");
    const char *a = json_string_value(json_array_get(models, 0)),
               *b = json_string_value(json_array_get(models, 1)), *adapter = text_of(record, "adapter");
    char *second = strdup(adapter != NULL ? fresh(suffix_of(b)) : b), *made = strdup(fresh(suffix_of(a)));
    sah_graft_options options = {.attention = side_of(record, "attention"),
                                 .mlp = side_of(record, "mlp"),
                                 .rest = side_of(record, "rest")};
    if (adapter != NULL) surgery_of(b, adapter, NULL, (sah_ablation){0}, second);
    expect_ok(sah_graft(a, second, &options, made, NULL, &error), &error);
    compare(record, made, NULL, NULL, "the graft");
    if (adapter != NULL) {
        char *merging = strdup(fresh(suffix_of(a)));
        options.adapters[1] = adapter;
        expect_ok(sah_graft(a, b, &options, merging, NULL, &error), &error);
        compare(record, merging, NULL, NULL, "the graft that merges");
        free(merging);
    }
    free(second);
    free(made);
}

/* All records of one program. */
static void test_program(void **state)
{
    const json_t *record;
    size_t i, n = 0;
    json_array_foreach(json_object_get(goldens, "cases"), i, record)
    {
        if (strcmp(text_of(record, "program"), *state) != 0) continue;
        if (json_object_get(record, "graft") != NULL)
            check_graft(record);
        else
            check_ablation(record);
        n++;
    }
    assert_true(n > 0);
}

static int read_goldens(void **state)
{
    (void)state;
    sah_error error = {0};
    return sah_json_read("tests/interop/golden.json", 1u << 26, &goldens, &error) == SAH_OK ? 0 : -1;
}

static int free_goldens(void **state)
{
    (void)state;
    json_decref(goldens);
    return 0;
}

int main(void)
{
    static char programs[][16] = {"transformers", "llama.cpp", "peft"};
    const struct CMUnitTest tests[] = {
        {programs[0], test_program, NULL, NULL, programs[0]},
        {programs[1], test_program, NULL, NULL, programs[1]},
        {programs[2], test_program, NULL, NULL, programs[2]},
    };
    return cmocka_run_group_tests_name("other programs", tests, read_goldens, free_goldens);
}
