/* SPDX-License-Identifier: Apache-2.0 */
/* Multiple choice and perplexity: against the LM Evaluation Harness (tests/golden/utility), against the
 * definition under an ablation, published intervals, the journal, and bad input. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/utility/continuations.h"
#include "eval/utility/utility_totals.h"
#include "stats/paired.h"
#include "util/json.h"
#include "util/scratch.h"

#define FOLDER "tests/golden/utility/"

static sah_model *open_model(const char *name)
{
    char path[128];
    sah_error error = {0};
    sah_model *model = NULL;
    snprintf(path, sizeof path, FOLDER "%s", name);
    expect_ok(sah_model_open(path, &(sah_model_options){.threads = 1}, &model, &error), &error);
    return model;
}

static sah_items read_items(void)
{
    sah_error error = {0};
    sah_items items;
    expect_ok(sah_items_read(FOLDER "items.jsonl", 0, &items, &error), &error);
    return items;
}

/* The lines of a result as an array. */
static json_t *read_lines(const char *path)
{
    size_t size;
    char *text = (char *)scratch_read(path, &size);
    json_t *lines = json_array();
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        assert_int_equal(json_array_append_new(lines, json_loads(line, 0, NULL)), 0);
    free(text);
    return lines;
}

static double number_at(const json_t *list, size_t i)
{
    return json_number_value(json_array_get(list, i));
}

static double number(const json_t *object, const char *key)
{
    assert_true(json_is_number(json_object_get(object, key)));
    return json_number_value(json_object_get(object, key));
}

/* ---- The harness --------------------------------------------------------------------------------------- */

static void check_golden(const char *name, const json_t *golden)
{
    sah_error error = {0};
    sah_model *model = open_model(name);
    sah_items items = read_items();
    sah_utility_totals totals;
    sah_utility_options options = {.items = &items, .text = FOLDER "text.txt"};
    const char *path = scratch(name);
    expect_ok(sah_utility(model, &options, path, &totals, &error), &error);
    json_t *lines = read_lines(path);
    const json_t *expected = json_object_get(golden, "loglikelihoods");
    double sum = 0;
    size_t n = json_array_size(lines);
    assert_int_equal(json_array_size(expected), items.n);
    for (size_t i = 0; i < items.n; i++) {
        const json_t *line = json_array_get(lines, i + 1), *values = json_object_get(line, "loglikelihood");
        assert_int_equal(json_array_size(values), json_array_size(json_array_get(expected, i)));
        for (size_t c = 0; c < json_array_size(values); c++)
            assert_true(fabs(number_at(values, c) - number_at(json_array_get(expected, i), c)) < 1e-4);
    }
    for (size_t i = items.n + 1; i < n - 1; i++) {
        const json_t *values = json_object_get(json_array_get(lines, i), "loglikelihood");
        assert_in_range(json_array_size(values), 1, 40);
        for (size_t t = 0; t < json_array_size(values); t++) sum += number_at(values, t);
    }
    const json_t *line = json_array_get(lines, n - 1);
    assert_true(fabs(number(line, "acc") - number(golden, "acc")) < 1e-12);
    assert_true(fabs(number(line, "acc_norm") - number(golden, "acc_bytes")) < 1e-12);
    assert_true(fabs(sum - number(golden, "loglikelihood")) < 1e-3);
    assert_true(fabs(number(line, "tokens") - number(golden, "tokens")) < 0.5);
    assert_true(fabs(log(number(line, "word_perplexity") / number(golden, "word_perplexity"))) < 1e-5);
    assert_true(fabs(log(number(line, "byte_perplexity") / number(golden, "byte_perplexity"))) < 1e-5);
    assert_true(fabs(number(line, "bits_per_byte") - number(golden, "bits_per_byte")) < 1e-5);
    assert_true(fabs(log(totals.score.perplexity) + sum / number(golden, "tokens")) < 1e-12);
    json_decref(lines);
    sah_items_free(&items);
    sah_model_close(model);
}

static void test_golden(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *golden = NULL;
    expect_ok(sah_json_read(FOLDER "golden.json", 1 << 20, &golden, &error), &error);
    check_golden("bytes", json_object_get(golden, "bytes"));
    check_golden("pieces", json_object_get(golden, "pieces"));
    json_decref(golden);
}

/* ---- The definition ------------------------------------------------------------------------------------ */

/* ln p of one sequence's scored tokens, a forward pass each. */
static double by_definition(const sah_model *model, const sah_continuation *c, const sah_edit *edits,
                            size_t n_edits)
{
    sah_error error = {0};
    size_t V = (size_t)sah_model_describe(model)->n_vocab;
    float *logits = malloc(V * sizeof *logits);
    double sum = 0;
    for (size_t i = c->from; i < c->n; i++) {
        double total = 0;
        expect_ok(sah_logits(model, c->tokens, i, edits, n_edits, logits, &error), &error);
        for (size_t v = 0; v < V; v++) total += exp((double)logits[v]);
        sum += (double)logits[c->tokens[i]] - log(total);
    }
    free(logits);
    return sum;
}

static void test_ablated(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = open_model("pieces");
    sah_items items = read_items();
    sah_head heads[] = {{0, 1}, {1, 3}};
    sah_ablation ablation = {SAH_PART_Q | SAH_PART_V, SAH_OP_SCALE, 0.0f};
    sah_edit *edits = NULL;
    size_t n_edits = 0;
    double largest = 0;
    sah_utility_totals totals;
    sah_utility_options options = {.items = &items,
                                   .text = FOLDER "text.txt",
                                   .heads = heads,
                                   .n_heads = 2,
                                   .run = {.ablation = ablation}};
    const char *path = scratch("ablated.jsonl");
    expect_ok(sah_utility(model, &options, path, &totals, &error), &error);
    expect_ok(sah_edits_new(sah_model_describe(model), heads, 2, &ablation, &edits, &n_edits, &error),
              &error);
    json_t *lines = read_lines(path);
    for (size_t i = 0; i < items.n; i++) {
        const json_t *line = json_array_get(lines, i + 1);
        for (size_t c = 0; c < items.items[i].choices.n; c++) {
            int32_t *tokens = NULL;
            sah_continuation sequence;
            expect_ok(sah_choice_tokens(model, "none", items.items[i].context,
                                        items.items[i].choices.items[c], &tokens, &sequence, &error),
                      &error);
            double asked = number_at(json_object_get(line, "loglikelihood"), c),
                   base = number_at(json_object_get(line, "base_loglikelihood"), c);
            assert_true(fabs(asked - by_definition(model, &sequence, edits, n_edits)) < 1e-4);
            assert_true(fabs(base - by_definition(model, &sequence, NULL, 0)) < 1e-4);
            largest = fmax(largest, fabs(asked - base));
            free(tokens);
        }
    }
    assert_true(largest > 0.1); /* the ablation does something */
    assert_true(totals.compared);
    double log_ratio = log(totals.score.perplexity / totals.base.perplexity);
    assert_true(fabs(totals.log_perplexity_difference.value - log_ratio) < 1e-9);
    assert_true(totals.log_perplexity_difference.low < log_ratio);
    assert_true(totals.log_perplexity_difference.high > log_ratio);
    assert_true(fabs(totals.acc_difference.value - (totals.score.acc.value - totals.base.acc.value)) < 1e-12);
    json_decref(lines);
    free(edits);
    sah_items_free(&items);
    sah_model_close(model);
}

/* By hand: 4 bytes each score -1, so "aaaa" and "é" (two bytes) are told apart by length alone. */
static void test_choice_by_bytes(void **state)
{
    (void)state;
    char *texts[] = {(char *)"aaaa", (char *)"\xC3\xA9", (char *)"b"};
    sah_item item = {.choices = {texts, 3, 3}};
    assert_int_equal(sah_best_choice(&item, (double[]){-4, -3, -5}, false), 1);
    assert_int_equal(sah_best_choice(&item, (double[]){-4, -3, -5}, true), 0); /* -1, -1.5, -5 a byte */
    assert_int_equal(sah_best_choice(&item, (double[]){-2, -2, -2}, false), 0); /* the first of equals */
    assert_int_equal(sah_best_choice(&item, (double[]){-9, -2.5, -2}, true),
                     1); /* by characters it were "b" */
}

static void test_words(void **state)
{
    (void)state;
    const struct {
        const char *text;
        size_t words;
    } cases[] = {{"", 1},
                 {"one", 1},
                 {"one two", 2},
                 {" a\n\tb  ", 4},
                 {"a\xC2\xA0"
                  "b\xE3\x80\x80"
                  "c",
                  3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(sah_count_words(cases[i].text, strlen(cases[i].text)), cases[i].words);
}

/* ---- Intervals ----------------------------------------------------------------------------------------- */

/* Examples of Newcombe's paper (method 10), four digits. */
static void test_newcombe(void **state)
{
    (void)state;
    sah_share first = sah_paired_difference(36, 12, 2, 50), second = sah_paired_difference(18, 12, 2, 50);
    assert_true(fabs(first.low - 0.0569) < 5e-5 && fabs(first.high - 0.3404) < 5e-5);
    assert_true(fabs(second.low - 0.0562) < 5e-5 && fabs(second.high - 0.3290) < 5e-5);
    assert_true(fabs(first.value - 0.2) < 1e-12);
    /* The other way round it is the mirror image. */
    sah_share mirrored = sah_paired_difference(36, 2, 12, 50);
    assert_true(fabs(mirrored.low + first.high) < 1e-12 && fabs(mirrored.high + first.low) < 1e-12);
    /* No item tells the two apart: still an interval, around 0. */
    sah_share equal = sah_paired_difference(54, 0, 0, 54);
    assert_true(equal.low < -0.05 && equal.high > 0.05 && fabs(equal.value) < 1e-12);
    sah_share none = sah_paired_difference(0, 0, 0, 0);
    assert_true(none.low < -0.99 && none.high > 0.99);
}

/* ---- The journal --------------------------------------------------------------------------------------- */

static void test_chunks_and_resume(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = open_model("bytes");
    sah_items items = read_items();
    sah_head head = {1, 2};
    sah_utility_options options = {.items = &items,
                                   .text = FOLDER "text.txt",
                                   .window = 10,
                                   .heads = &head,
                                   .n_heads = 1,
                                   .run = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f},
                                           .memory = 250 * sah_loglik_token_bytes(model)}};
    const char *path = scratch("resume.jsonl");
    sah_utility_totals totals;
    size_t whole, again;
    expect_ok(sah_utility(model, &options, path, &totals, &error), &error);
    uint8_t *before = scratch_read(path, &whole);
    const size_t cuts[] = {whole, whole - 20, whole - whole / 3, whole / 2};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        scratch_write(path, before, cuts[i]);
        expect_ok(sah_utility(model, &options, path, NULL, &error), &error);
        uint8_t *after = scratch_read(path, &again);
        assert_int_equal(again, whole);
        assert_memory_equal(after, before, whole);
        free(after);
    }
    /* Chunks of another size say the same. */
    const char *other = scratch("one.jsonl");
    sah_utility_totals one;
    options.run.memory = 0;
    expect_ok(sah_utility(model, &options, other, &one, &error), &error);
    assert_true(fabs(log(one.score.perplexity / totals.score.perplexity)) < 1e-6);
    assert_true(fabs(one.score.acc.value - totals.score.acc.value) < 1e-12);
    /* Another question of the same file is refused by what differs. */
    options.window = 20;
    expect_failure(sah_utility(model, &options, path, NULL, &error), &error, "settings.window");
    options.window = 10;
    items.items[0].label = 2;
    expect_failure(sah_utility(model, &options, path, NULL, &error), &error, "items.xxh3");
    /* Memory for less than one item. */
    options.run.memory = sah_loglik_token_bytes(model);
    expect_failure(sah_utility(model, &options, scratch("small.jsonl"), NULL, &error), &error, "memory: ");
    free(before);
    sah_items_free(&items);
    sah_model_close(model);
}

/* ---- Bad input ----------------------------------------------------------------------------------------- */

static void test_bad_items(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "no items"},
        {"\n \n", "no items"},
        {"{\"choices\":[\"a\"],\"label\":0}", "line 1: no \"context\""},
        {"{\"context\":\"\",\"label\":0}", "no \"choices\""},
        {"{\"context\":\"\",\"choices\":[\"a\"]}", "no \"label\""},
        {"{\"context\":\"\",\"choices\":[\"a\"],\"label\":0}\n{\"context\":\"\",\"choices\":[\"a\",\"b\"],"
         "\"label\":2}",
         "line 2: \"label\" must be the number of the right choice, 0 to 1"},
        {"{\"context\":\"\",\"choices\":[\"a\"],\"label\":-1}", "label"},
        {"{\"context\":\"\",\"choices\":[\"a\"],\"label\":\"0\"}", "label"},
        {"{\"context\":\"\",\"choices\":[\"a\"],\"label\":0.0}", "label"},
        {"{\"context\":\"\",\"choices\":[],\"label\":0}", "\"choices\" is empty"},
        {"{\"context\":\"\",\"choices\":\"a\",\"label\":0}", "list of texts"},
        {"{\"context\":\"\",\"choices\":[\"a\",\"\"],\"label\":0}", "choice 1 is empty"},
        {"{\"context\":\"\",\"choices\":[\"a\",3],\"label\":0}", "choice 1 is not a text"},
        {"{\"context\":7,\"choices\":[\"a\"],\"label\":0}", "\"context\" must be a string"},
        {"[1]", "item 0: not a JSON object"},
        {"[]", "no items"},
        {"[{\"context\":\"\",\"choices\":[\"a\"],\"label\":0}", "not valid JSON"},
        {" [{\"context\":\"\",\"choices\":[\"a\"],\"label\":0},\n{\"context\":\"\",\"choices\":[\"a\"],"
         "\"label\":1}]",
         "item 1: \"label\" must be"},
        {"{\"context\":\"a", "not valid JSON"},
        {"{\"context\":\"\xFF\",\"choices\":[\"a\"],\"label\":0}", "not valid JSON"},
        {"{\"context\":\"a\\u0000b\",\"choices\":[\"a\"],\"label\":0}", "NUL"},
    };
    const char *path = scratch("items.jsonl");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sah_error error = {0};
        sah_items items;
        scratch_write_text(path, cases[i].text);
        expect_failure(sah_items_read(path, 0, &items, &error), &error, cases[i].message);
        assert_null(items.items);
    }
    sah_error error = {0};
    sah_items items;
    scratch_write_text(
        path, "\xEF\xBB\xBF{\"context\":\"a\",\"choices\":[\"b\",\"c\"],\"label\":1,\"more\":[]}\r\n\n"
              "{\"context\":\"\",\"choices\":[\"d\"],\"label\":0}");
    expect_ok(sah_items_read(path, 0, &items, &error), &error);
    assert_int_equal(items.n, 2);
    assert_int_equal(items.items[0].label, 1);
    assert_string_equal(items.items[0].choices.items[1], "c");
    sah_items_free(&items);
    expect_ok(sah_items_read(path, 1, &items, &error), &error);
    assert_int_equal(items.n, 1);
    sah_items_free(&items);
    scratch_write_text(path, "\xEF\xBB\xBF\n[{\"context\":\"a\",\"choices\":[\"b\",\"c\"],\"label\":1},\n"
                             "{\"context\":\"\",\"choices\":[\"d\"],\"label\":0}]\n");
    expect_ok(sah_items_read(path, 0, &items, &error), &error);
    assert_int_equal(items.n, 2);
    assert_string_equal(items.items[0].choices.items[1], "c");
    sah_items_free(&items);
    expect_ok(sah_items_read(path, 1, &items, &error), &error);
    assert_int_equal(items.n, 1);
    sah_items_free(&items);
}

static void test_bad_runs(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = open_model("bytes");
    const char *path = scratch("bad.txt"), *out = scratch("bad.jsonl");
    sah_utility_options options = {.text = path};
    expect_failure(sah_utility(model, &(sah_utility_options){0}, out, NULL, &error), &error, "give items");
    scratch_write_text(path, "");
    expect_failure(sah_utility(model, &options, out, NULL, &error), &error, "no text in it");
    scratch_write(path, "a\xFF", 2);
    expect_failure(sah_utility(model, &options, out, NULL, &error), &error, "not UTF-8");
    scratch_write_text(path, "a text");
    options.window = 41;
    expect_failure(sah_utility(model, &options, out, NULL, &error), &error, "window 41: the model takes 40");
    sah_items items = read_items();
    free(items.items[3].choices.items[1]);
    items.items[3].choices.items[1] = strdup("a choice that is longer than the model a choice that is longer "
                                             "than the model a choice that is longer");
    options = (sah_utility_options){.items = &items};
    expect_failure(sah_utility(model, &options, out, NULL, &error), &error, "item 3: the choice");
    sah_items_free(&items);
    sah_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),          cmocka_unit_test(test_ablated),
        cmocka_unit_test(test_choice_by_bytes), cmocka_unit_test(test_words),
        cmocka_unit_test(test_newcombe),        cmocka_unit_test(test_chunks_and_resume),
        cmocka_unit_test(test_bad_items),       cmocka_unit_test(test_bad_runs),
    };
    return cmocka_run_group_tests_name("utility", tests, NULL, NULL);
}
