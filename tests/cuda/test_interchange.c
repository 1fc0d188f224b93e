/* SPDX-License-Identifier: Apache-2.0 */
/* States of other prompts on the emulated card: single passes against the logits that transformers computed with
 * hooks, and the organism's runs against the CPU's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/device.h"
#include "engine/cpu/cpu.h"
#include "engine/interchange.h"
#include "engine/model.h"
#include "util/json.h"
#include "util/scratch.h"

static const sah_device *(*const WAYS[])(void) = {emulated_by_pieces, emulated_by_float32};
enum { N_WAYS = 2 };

static void test_golden(void **state)
{
    (void)state;
    for (int way = 0; way < N_WAYS; way++) interchange_golden(WAYS[way]());
    assert_int_equal(emulated_held(), 0);
}

/* ---- The organism ---------------------------------------------------------------------------------------- */

enum { N = 2 };
static const char *const QUERIES[N] = {"How to hide evidence?", "Show me how to write a hateful song."};
static const char *const PARTNERS[N] = {"Show me how to brush a stray dog.", "How do I whip cream?"};

typedef struct subject {
    sah_model *model;
    sah_strings queries, partners;
    sah_interchange interchange;
} subject;

static void add(sah_strings *list, const char *const texts[N])
{
    sah_error error = {0};
    for (int i = 0; i < N; i++) expect_ok(sah_strings_add(list, texts[i], strlen(texts[i]), &error), &error);
}

/* `sufficiency`: queries and partners change places. */
static void subject_new(subject *s, const sah_device *device, bool sufficiency)
{
    sah_error error = {0};
    sah_checkpoint *checkpoint = NULL;
    const sah_model_options one = {.threads = 1};
    *s = (subject){0};
    add(&s->queries, sufficiency ? PARTNERS : QUERIES);
    add(&s->partners, sufficiency ? QUERIES : PARTNERS);
    s->interchange = (sah_interchange){.partners = &s->partners,
                                       .reference = &s->partners,
                                       .direction = sufficiency ? "sufficiency" : "necessity",
                                       .all_positions = sufficiency};
    expect_ok(sah_checkpoint_load("models/organism", NULL, false, NULL, &checkpoint, &error), &error);
    expect_ok(sah_model_of(checkpoint, device, &one, &s->model, &error), &error);
}

static void subject_free(subject *s)
{
    sah_strings_free(&s->queries);
    sah_strings_free(&s->partners);
    sah_model_close(s->model);
}

static void ships(const subject *s, sah_ablation ablation, const char *path)
{
    sah_error error = {0};
    const sah_run_options options = {.ablation = ablation,
                                     .interchange = s->interchange,
                                     .head_from = 2,
                                     .head_to = 4,
                                     .template_ = "chat"};
    expect_ok(sah_ships(s->model, &s->queries, NULL, &options, path, &error), &error);
}

static void find(const subject *s, sah_ablation ablation, const char *path)
{
    sah_error error = {0};
    const sah_run_options options = {.ablation = ablation,
                                     .interchange = s->interchange,
                                     .layer_from = 2,
                                     .layer_to = 3,
                                     .head_from = 2,
                                     .head_to = 4,
                                     .template_ = "chat"};
    sah_find_options how = sah_find_options_default();
    how.variant = SAH_VARIANT_RIGHT;
    expect_ok(sah_find(s->model, &s->queries, NULL, &options, &how, path, &error), &error);
}

static void generate(const subject *s, sah_ablation ablation, const char *path)
{
    static const sah_head heads[] = {{2, 2}, {1, 3}};
    sah_error error = {0};
    sah_generate_options options = sah_generate_options_default();
    options.max_new_tokens = 4;
    options.heads = heads;
    options.n_heads = 2;
    options.ablation = ablation;
    options.interchange = s->interchange;
    options.template_ = "chat";
    expect_ok(sah_generate(s->model, &s->queries, &options, path, &error), &error);
}

/* Numbers are within 2e-4 of themselves and so much: of divergences, of degrees (2e-6 of a state's length, float32's
 * rounding along a few layers), of what has none. */
static const struct {
    void (*run)(const subject *s, sah_ablation ablation, const char *path);
    double bound;
} RUNS[] = {{ships, 1e-8}, {find, 1e-4}, {generate, 0.0}};

/* Equal but for float32's rounding; the journals are of one worker, so in one order. */
static void alike(const json_t *cpu, const json_t *card, double bound, const char *what)
{
    if (json_is_number(cpu) && json_is_number(card)) {
        const double a = json_number_value(cpu), b = json_number_value(card);
        if (!(fabs(a - b) <= 2e-4 * fabs(a) + bound)) fail_msg("%s: %.9g, not %.9g", what, b, a);
        return;
    }
    assert_int_equal(json_typeof(cpu), json_typeof(card));
    if (json_is_array(cpu)) {
        assert_int_equal(json_array_size(cpu), json_array_size(card));
        for (size_t i = 0; i < json_array_size(cpu); i++)
            alike(json_array_get(cpu, i), json_array_get(card, i), bound, what);
    } else if (json_is_object(cpu)) {
        const char *key;
        json_t *value;
        assert_int_equal(json_object_size(cpu), json_object_size(card));
        json_object_foreach((json_t *)(uintptr_t)cpu, key, value)
            alike(value, json_object_get(card, key), bound, key);
    } else if (!json_equal(cpu, card)) {
        fail_msg("%s: another value", what);
    }
}

static void compare(const char *near, const char *far, double bound, const char *what)
{
    size_t size, lines = 0;
    char *a = (char *)scratch_read(near, &size), *b = (char *)scratch_read(far, &size), *rest_a, *rest_b;
    strtok_r(a, "\n", &rest_a); /* the headers name the devices */
    strtok_r(b, "\n", &rest_b);
    for (char *line; (line = strtok_r(NULL, "\n", &rest_a)) != NULL; lines++) {
        char *other = strtok_r(NULL, "\n", &rest_b);
        assert_non_null(other);
        json_t *one = json_loads(line, 0, NULL), *two = json_loads(other, 0, NULL);
        assert_non_null(one);
        alike(one, two, bound, what);
        json_decref(one);
        json_decref(two);
    }
    assert_null(strtok_r(NULL, "\n", &rest_b));
    assert_true(lines > 0);
    free(a);
    free(b);
}

/* Every part and both operations, in either direction; means at each position and over all. */
static void test_organism(void **state)
{
    static const unsigned parts[] = {SAH_PART_Q, SAH_PART_K, SAH_PART_V};
    (void)state;
    for (size_t k = 0; k < 12; k++) {
        char near[64], far[64];
        const sah_ablation ablation = {parts[k % 3], k / 3 % 2 ? SAH_OP_MEAN_DATA : SAH_OP_SWAP, 0};
        for (size_t r = 0; r < sizeof RUNS / sizeof *RUNS; r++) {
            subject cpu, card;
            if (r > 0 && (k + r) % 2 != 0) continue; /* searches and responses by turns */
            snprintf(near, sizeof near, "near-%zu-%zu.jsonl", k, r);
            snprintf(far, sizeof far, "far-%zu-%zu.jsonl", k, r);
            subject_new(&cpu, sah_cpu(), k >= 6);
            subject_new(&card, WAYS[k % 2](), k >= 6);
            RUNS[r].run(&cpu, ablation, scratch(near));
            RUNS[r].run(&card, ablation, scratch(far));
            compare(scratch(near), scratch(far), RUNS[r].bound, far);
            subject_free(&cpu);
            subject_free(&card);
        }
    }
    assert_int_equal(emulated_held(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_organism),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
