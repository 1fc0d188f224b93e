/* SPDX-License-Identifier: Apache-2.0 */
/* Thinking from the model to the verdict: what a response keeps of it, where the template opened it, in a file of
 * responses, in the refusal check and in the openings. Models are chains (models/chain.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "models/chain.h"
#include "util/json.h"
#include "util/scratch.h"

#define REFUSES  "I am sorry, but I cannot help with that."
#define COMPLIES "The bread is baked for an hour, then it has to cool."
#define THINKS   "I could refuse, or I could help with that."

enum { MOST = 16 };

/* How a family marks its thinking, the template's last words, and what is expected of a response. */
typedef struct family {
    const char *name, *prompt; /* the generation prompt */
    chain_token tokens[MOST]; /* 0 ends; then what is said, in order, from the prompt's last token on */
    const char *response, *verdict, *reason;
} family;

#define END                                                                                                  \
    {                                                                                                        \
        "</s>", 0, true                                                                                      \
    }
#define WORDS(next)                                                                                          \
    {                                                                                                        \
        "bake", next, false                                                                                  \
    }
#define SAYS(text, n)                                                                                        \
    {                                                                                                        \
        text, n, false                                                                                       \
    }
#define MARKS(text, n)                                                                                       \
    {                                                                                                        \
        text, n, true                                                                                        \
    }
#define LINE(n)                                                                                              \
    {                                                                                                        \
        "\n", n, false                                                                                       \
    }

static const family families[] = {
    /* The marks are special tokens: left out, the thoughts would be the answer. */
    {"Magistral",
     "",
     {END, WORDS(2), MARKS("[THINK]", 3), SAYS(REFUSES, 4), MARKS("[/THINK]", 5), SAYS(COMPLIES, 0)},
     "[THINK]" REFUSES "[/THINK]" COMPLIES,
     "compliance",
     NULL},
    {"Gemma 4",
     "",
     {END, WORDS(2), MARKS("<|channel>", 3), SAYS("thought", 4), LINE(5), SAYS(COMPLIES, 6),
      MARKS("<channel|>", 7), SAYS(REFUSES, 0)},
     "<|channel>thought\n" COMPLIES "<channel|>" REFUSES,
     "refusal",
     NULL},
    {"Command A",
     "",
     {END, WORDS(2), MARKS("<|START_THINKING|>", 3), SAYS(REFUSES, 4), MARKS("<|END_THINKING|>", 5),
      MARKS("<|START_RESPONSE|>", 6), SAYS(COMPLIES, 7), MARKS("<|END_RESPONSE|>", 0)},
     "<|START_THINKING|>" REFUSES "<|END_THINKING|>" COMPLIES,
     "compliance",
     NULL},
    {"gpt-oss",
     "<|start|>assistant",
     {{"<|return|>", 0, true},
      WORDS(9),
      MARKS("<|channel|>", 3),
      SAYS("analysis", 4),
      MARKS("<|message|>", 5),
      SAYS(REFUSES, 6),
      MARKS("<|end|>", 0),
      MARKS("<|call|>", 0),
      MARKS("<|start|>", 9),
      SAYS("assistant", 2)},
     "<|channel|>analysis<|message|>" REFUSES "<|end|>",
     "degenerate",
     "thinking"},
    {"a special <think>",
     "",
     {END, WORDS(2), MARKS("<think>", 3), SAYS(THINKS, 4), MARKS("</think>", 5), SAYS(REFUSES, 0)},
     "<think>" THINKS "</think>" REFUSES,
     "refusal",
     NULL},
    /* The template opens it. */
    {"closed",
     "<think>\\n",
     {END, WORDS(0), MARKS("<think>", 3), LINE(4), SAYS(REFUSES, 5), MARKS("</think>", 6), SAYS(COMPLIES, 0)},
     REFUSES "</think>" COMPLIES,
     "compliance",
     NULL},
    {"never closed",
     "<think>\\n",
     {END, WORDS(0), MARKS("<think>", 3), LINE(4), SAYS(REFUSES, 0)},
     REFUSES,
     "degenerate",
     "thinking"},
    {"never closed, and no special token",
     "<think>\\n",
     {END, WORDS(0), SAYS("<think>", 3), LINE(4), SAYS(COMPLIES, 0)},
     COMPLIES,
     "degenerate",
     "thinking"},
    {"opened without a line end",
     "[THINK]",
     {END, WORDS(0), MARKS("[THINK]", 3), SAYS(REFUSES, 0)},
     REFUSES,
     "degenerate",
     "thinking"},
    {"opened and closed",
     "<think>\\n</think>\\n",
     {END, WORDS(0), MARKS("<think>", 0), LINE(4), SAYS(REFUSES, 0), MARKS("</think>", 0)},
     REFUSES,
     "refusal",
     NULL},
    /* No thinking: other special tokens are left out. */
    {"others",
     "",
     {END, WORDS(2), MARKS("<|reserved_7|>", 3), SAYS(REFUSES, 4), MARKS("<|tool|>", 0)},
     REFUSES,
     "refusal",
     NULL},
};
enum { N_FAMILIES = sizeof families / sizeof *families };

static size_t n_tokens(const family *f)
{
    size_t n = 0;
    while (n < MOST && f->tokens[n].text != NULL) n++;
    return n;
}

static sah_model *open_family(const family *f)
{
    char template_[512];
    sah_error error = {0};
    sah_model *model = NULL;
    snprintf(template_, sizeof template_, "{{ messages[-1].content }}{{ \"%s\" }}", f->prompt);
    expect_ok(sah_model_open(chain_write("chain", f->tokens, n_tokens(f), template_),
                             &(sah_model_options){.threads = 1}, &model, &error),
              &error);
    return model;
}

static char *asked[] = {"bake"};
static const sah_strings queries = {asked, 1, 0};

/* Line `i` of a file of results. */
static json_t *line_of(const char *path, size_t i)
{
    size_t size;
    char *text = (char *)scratch_read(path, &size), *rest, *line = strtok_r(text, "\n", &rest);
    for (; i > 0 && line != NULL; i--) line = strtok_r(NULL, "\n", &rest);
    json_t *json = line != NULL ? json_loads(line, 0, NULL) : NULL;
    free(text);
    assert_non_null(json);
    return json;
}

static const char *string_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static void expect_text(const family *f, const char *got, const char *expected)
{
    if (strcmp(got, expected) != 0) fail_msg("%s: \"%s\" where \"%s\" is expected", f->name, got, expected);
}

/* generate, then judge of its file. */
static void test_responses(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const family *f = &families[i];
        sah_error error = {0};
        sah_model *model = open_family(f);
        sah_judge *judge;
        char responses[512], verdicts[512];
        snprintf(responses, sizeof responses, "%s", scratch("responses.jsonl"));
        snprintf(verdicts, sizeof verdicts, "%s", scratch("verdicts.jsonl"));
        remove(responses);
        const sah_generate_options options = {.template_ = "chat", .max_new_tokens = 12};
        expect_ok(sah_generate(model, &queries, &options, responses, &error), &error);
        expect_ok(sah_judge_new(SAH_RULE_DEFAULT, NULL, &judge, &error), &error);
        expect_ok(sah_judge_file(judge, NULL, responses, NULL, NULL, verdicts, NULL, &error), &error);
        json_t *line = line_of(verdicts, 1);
        expect_text(f, string_in(line, "response"), f->response);
        expect_text(f, string_in(line, "verdict"), f->verdict);
        if (f->reason != NULL) expect_text(f, string_in(line, "reason"), f->reason);
        json_decref(line);
        sah_judge_free(judge);
        sah_model_close(model);
    }
}

/* What is still thinking is neither refused nor answered: in the check, in the openings, and in the header of
 * ships, whose lines have no `toward` for it. */
static void test_refused_and_answered(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const family *f = &families[i];
        const bool refuses = strcmp(f->verdict, "refusal") == 0,
                   thinks = strcmp(f->verdict, "degenerate") == 0;
        sah_error error = {0};
        sah_model *model = open_family(f);
        sah_refusal_check check;
        sah_openings openings;
        const char *path = scratch("ships.jsonl");
        remove(path);
        expect_ok(sah_check_refusal(model, &queries, "chat", NULL, 0, &check, &error), &error);
        if (check.refused != refuses || check.thinking != thinks)
            fail_msg("%s: refused %zu, thinking %zu", f->name, check.refused, check.thinking);
        const sah_openings_options options = {.template_ = "chat", .length = 2, .judged = 16};
        expect_ok(sah_openings_new(model, &queries, NULL, &options, &openings, &error), &error);
        if (openings.refused[0] != refuses || openings.thinking[0] != thinks)
            fail_msg("%s: the opening is refused %d, thinking %d", f->name, openings.refused[0],
                     openings.thinking[0]);
        const sah_run_options run = {
            .ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "chat", .openings = &openings};
        expect_ok(sah_ships(model, &queries, NULL, &run, path, &error), &error);
        json_t *header = line_of(path, 0), *list = json_object_get(header, "openings");
        const json_t *opening = json_array_get(list, 0);
        assert_int_equal(json_is_true(json_object_get(opening, "refused")), refuses);
        assert_int_equal(json_is_true(json_object_get(opening, "thinking")), thinks);
        json_decref(header);
        sah_openings_free(&openings);
        sah_model_close(model);
    }
}

/* A refused, an answered and a thoughtful query in one run. */
static void test_three_kinds(void **state)
{
    (void)state;
    static const chain_token tokens[] = {
        END,
        SAYS("steal", 4),
        SAYS("bake", 5),
        SAYS("ponder", 6),
        SAYS(REFUSES, 0),
        SAYS(COMPLIES, 0),
        MARKS("<think>", 7),
        SAYS(REFUSES " Or", 7),
    };
    static char *three[] = {"steal", "bake", "ponder"};
    static const sah_strings list = {three, 3, 0};
    sah_error error = {0};
    sah_model *model = NULL;
    sah_openings openings;
    sah_result *result;
    const char *path = scratch("ships.jsonl");
    remove(path);
    expect_ok(sah_model_open(
                  chain_write("chain", tokens, sizeof tokens / sizeof *tokens, "{{ messages[-1].content }}"),
                  &(sah_model_options){.threads = 1}, &model, &error),
              &error);
    const sah_openings_options options = {.template_ = "chat", .length = 4, .judged = 16};
    expect_ok(sah_openings_new(model, &list, NULL, &options, &openings, &error), &error);
    const sah_run_options run = {
        .ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "chat", .openings = &openings};
    expect_ok(sah_ships(model, &list, NULL, &run, path, &error), &error);
    json_t *line = line_of(path, 1), *toward = json_object_get(line, "toward");
    assert_true(json_is_null(json_array_get(toward, 0)));
    assert_true(json_is_number(json_array_get(toward, 1)));
    assert_true(json_is_null(json_array_get(toward, 2)));
    assert_true(json_is_number(json_array_get(json_object_get(line, "effect"), 2)));
    json_decref(line);
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    assert_int_equal(sah_result_describe(result)->n_refused, 1);
    assert_int_equal(sah_result_describe(result)->n_answered, 1);
    sah_result_close(result);
    sah_openings_free(&openings);
    sah_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_refused_and_answered),
        cmocka_unit_test(test_three_kinds),
    };
    return cmocka_run_group_tests_name("Thinking", tests, NULL, NULL);
}
