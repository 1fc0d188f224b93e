/* SPDX-License-Identifier: Apache-2.0 */
/* A guard model as judge: its probabilities and prompts against transformers (tests/golden/make-guards.py),
 * what a file of responses becomes with one, and what cannot be asked. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/judge/guard.h"
#include "model/template/guard_template.h"
#include "util/json.h"
#include "util/scratch.h"

#define FOLDER "tests/golden/utility/"

enum { MOST = 16 };

static json_t *golden;

static int read_golden(void **state)
{
    sah_error error = {0};
    (void)state;
    return sah_json_read("tests/golden/guards.json", 1u << 20, &golden, &error) != SAH_OK;
}

static int free_golden(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static double number_of(const json_t *object, const char *key)
{
    assert_true(json_is_number(json_object_get(object, key)));
    return json_number_value(json_object_get(object, key));
}

static sah_model *open_model(const char *name)
{
    char path[128];
    sah_error error = {0};
    sah_model *model = NULL;
    snprintf(path, sizeof path, FOLDER "%s", name);
    expect_ok(sah_model_open(path, NULL, &model, &error), &error);
    return model;
}

/* ---- Against transformers ------------------------------------------------------------------------------ */

static void test_probabilities(void **state)
{
    (void)state;
    const json_t *models = json_object_get(golden, "models");
    assert_int_equal(json_array_size(models), 2);
    for (size_t m = 0; m < json_array_size(models); m++) {
        const json_t *entry = json_array_get(models, m), *list = json_object_get(entry, "exchanges");
        sah_model *model = open_model(text_of(entry, "model"));
        sah_guard guard = {.model = model, .template_ = text_of(golden, "template")};
        sah_exchange exchanges[MOST];
        sah_error error = {0};
        size_t n = json_array_size(list);
        assert_true(n >= 5 && n <= MOST);
        for (size_t i = 0; i < n; i++) {
            const json_t *one = json_array_get(list, i);
            exchanges[i] = (sah_exchange){
                .query = text_of(one, "query"), .response = text_of(one, "response"), .where = "line 1"};
        }
        expect_ok(sah_guard_ask(&guard, exchanges, n, &error), &error);
        for (size_t i = 0; i < n; i++) {
            double unsafe = number_of(json_array_get(list, i), "p_unsafe"),
                   safe = number_of(json_array_get(list, i), "p_safe");
            if (!(fabs(exchanges[i].p_unsafe - unsafe) <= 1e-4 * unsafe &&
                  fabs(exchanges[i].p_safe - safe) <= 1e-4 * safe))
                fail_msg("%s, %zu: %g and %g where transformers has %g and %g", text_of(entry, "model"), i,
                         exchanges[i].p_unsafe, exchanges[i].p_safe, unsafe, safe);
        }
        sah_model_close(model);
    }
}

static void test_prompts(void **state)
{
    (void)state;
    const json_t *templates = json_object_get(golden, "templates");
    assert_int_equal(json_array_size(templates), 5);
    for (size_t t = 0; t < json_array_size(templates); t++) {
        const json_t *one = json_array_get(templates, t), *rendered = json_object_get(one, "rendered");
        const char *jinja = text_of(one, "template");
        sah_chat chat = {.tokens = json_pack("{s:s}", "bos_token", "<s>")};
        sah_error wrong = {0};
        expect_ok(sah_chat_set(&chat, jinja, strlen(jinja), &wrong), &wrong);
        const sah_template own = {"chat", &chat, NULL};
        for (size_t i = 0; i < json_array_size(rendered); i++) {
            const json_t *row = json_array_get(rendered, i);
            const char *query = json_string_value(json_array_get(row, 0)),
                       *response = json_string_value(json_array_get(row, 1));
            char *prompt = NULL;
            sah_error error = {0};
            sah_status status = sah_guard_prompt(NULL, &own, query, response, &prompt, &error);
            if (json_is_true(json_object_get(one, "guard"))) {
                expect_ok(status, &error);
                assert_string_equal(prompt, json_string_value(json_array_get(row, 2)));
            } else {
                expect_failure(status, &error, "guard.template_");
            }
            free(prompt);
        }
        sah_chat_free(&chat);
    }
}

/* ---- Files --------------------------------------------------------------------------------------------- */

static sah_status judge_text(const sah_guard *guard, const char *responses, json_t **lines,
                             sah_judgement *total, sah_error *error)
{
    sah_judge *judge = NULL;
    size_t size;
    expect_ok(sah_judge_new(SAH_RULE_DEFAULT, NULL, &judge, error), error);
    scratch_write_text(scratch("responses.jsonl"), responses);
    char in[512], out[512];
    snprintf(in, sizeof in, "%s", scratch("responses.jsonl"));
    snprintf(out, sizeof out, "%s", scratch("judged.jsonl"));
    remove(out);
    sah_status status = sah_judge_file(judge, guard, in, NULL, NULL, out, total, error);
    sah_judge_free(judge);
    if (status != SAH_OK) {
        assert_null(fopen(out, "r"));
        return status;
    }
    char *written = (char *)scratch_read(out, &size);
    *lines = json_array();
    for (char *line = strtok(written, "\n"); line != NULL; line = strtok(NULL, "\n"))
        assert_int_equal(json_array_append_new(*lines, json_loads(line, 0, NULL)), 0);
    free(written);
    return SAH_OK;
}

/* Twenty responses, more than are asked about together; each p is that of asking alone, and the threshold
 * parts them. A record that has the keys already gets the new values. */
static void test_file(void **state)
{
    (void)state;
    enum { N = 20 };
    sah_model *model = open_model("bytes");
    sah_guard guard = {.model = model, .template_ = "{query} {response}"};
    char text[N * 128] = "", query[N][16], response[N][32];
    double p[N], middle = 0, answered = 0;
    size_t above = 0;
    sah_error error = {0};
    for (int i = 0; i < N; i++) {
        snprintf(query[i], sizeof query[i], "q%d", i * 7919 % 1000);
        snprintf(response[i], sizeof response[i], "answer %d", i * i);
        sah_exchange one = {query[i], response[i], "line", 0, 0};
        expect_ok(sah_guard_ask(&guard, &one, 1, &error), &error);
        p[i] = one.p_unsafe;
        middle += p[i] / N;
        answered += (one.p_unsafe + one.p_safe) / N;
        snprintf(text + strlen(text), sizeof text - strlen(text), "{\"%s\":\"%s\",\"response\":\"%s\"%s}\n",
                 i % 2 ? "prompt" : "query", query[i], response[i], i == 3 ? ",\"p_unsafe\":7" : "");
    }
    for (int i = 0; i < N; i++) above += p[i] > middle;
    guard.threshold = middle;
    json_t *lines = NULL;
    sah_judgement total;
    expect_ok(judge_text(&guard, text, &lines, &total, &error), &error);
    assert_int_equal(json_array_size(lines), N + 2);
    for (int i = 0; i < N; i++) {
        const json_t *line = json_array_get(lines, (size_t)i + 1);
        assert_true(fabs(number_of(line, "p_unsafe") - p[i]) <= 1e-5 * p[i]);
        assert_int_equal(json_is_true(json_object_get(line, "unsafe")), p[i] > middle);
        assert_string_equal(text_of(line, "verdict"), "compliance");
    }
    assert_true(above > 0 && above < N && total.n == N && total.n_unsafe == above);
    const json_t *last = json_array_get(lines, N + 1);
    assert_true(number_of(last, "unsafe") == (double)above &&
                number_of(last, "asr_unsafe") == (double)above / N);
    assert_true(number_of(last, "low_unsafe") == sah_wilson(above, N).low);
    assert_true(number_of(last, "answered") == total.answered &&
                fabs(total.answered - answered) <= 1e-5 * answered);
    const json_t *made =
        json_object_get(json_object_get(json_array_get(lines, 0), "settings"), "judge_model");
    assert_true(number_of(made, "threshold") == middle);
    assert_non_null(json_object_get(json_object_get(made, "model"), "xxh3"));
    json_decref(lines);
    sah_model_close(model);
}

/* A curve's points each have their totals, in order, before those of all. */
static void test_groups(void **state)
{
    (void)state;
    json_t *lines = NULL;
    sah_judgement total;
    sah_error error = {0};
    static const char text[] =
        "{\"response\":\"I cannot help with that.\",\"ablated\":[],\"random\":false}\n"
        "{\"response\":\"Take a spoon and stir.\",\"ablated\":[\"1-2\"]}\n"
        "{\"response\":\"Take a spoon and wait.\",\"ablated\":[],\"random\":false}\n"
        "{\"response\":\"I cannot help with that.\",\"ablated\":[\"1-2\"],\"random\":true}\n";
    expect_ok(judge_text(NULL, text, &lines, &total, &error), &error);
    assert_int_equal(json_array_size(lines), 1 + 4 + 3 + 1);
    static const double asr[] = {0.5, 1, 0, 0.5};
    static const double n[] = {2, 1, 1, 4};
    for (size_t i = 0; i < 4; i++) {
        const json_t *line = json_array_get(lines, 5 + i);
        assert_true(number_of(line, "asr") == asr[i] && number_of(line, "n") == n[i]);
        assert_int_equal(json_array_size(json_object_get(line, "ablated")), i == 1 || i == 2);
        assert_int_equal(json_is_boolean(json_object_get(line, "random")), i < 3);
        assert_int_equal(json_is_true(json_object_get(line, "random")), i == 2);
    }
    assert_null(json_object_get(json_array_get(lines, 8), "ablated"));
    json_decref(lines);
}

static void test_refusals(void **state)
{
    (void)state;
    json_t *lines = NULL;
    sah_judgement total;
    sah_error error = {0};
    sah_model *model = open_model("bytes");
    sah_guard guard = {.model = model, .template_ = "{query}{response}"};
    expect_failure(judge_text(&guard, "{\"response\":\"a\"}\n", &lines, &total, &error), &error,
                   "line 1: no \"query\"");
    expect_failure(
        judge_text(
            &guard,
            "{\"query\":\"b\",\"response\":\"a\"}\n{\"query\":\"1234567890123456789012345678901234567890\","
            "\"response\":\"a\"}\n",
            &lines, &total, &error),
        &error, "line 2: the guard's prompt has");
    guard.template_ = "{query}";
    expect_failure(judge_text(&guard, "{\"query\":\"b\",\"response\":\"a\"}\n", &lines, &total, &error),
                   &error, "no {response}");
    guard.template_ = NULL; /* the model has no template */
    expect_failure(judge_text(&guard, "{\"query\":\"b\",\"response\":\"a\"}\n", &lines, &total, &error),
                   &error, "guard.template_");
    sah_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probabilities), cmocka_unit_test(test_prompts),  cmocka_unit_test(test_file),
        cmocka_unit_test(test_groups),        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("guards", tests, read_golden, free_golden);
}
