/* SPDX-License-Identifier: Apache-2.0 */
/* Chat templates: what transformers renders (tests/golden/make-templates.py), bare templates, strings, system
 * prompts, variables and dates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/template/guard_template.h"
#include "model/template/template.h"
#include "util/json.h"
#include "util/mapfile.h"

#define TEMPLATES "tests/golden/templates.txt"
#define GOLDEN    "tests/golden/templates.json"

/* ---- Goldens ------------------------------------------------------------------------------------------- */

typedef struct goldens {
    json_t *conversations, *rendered, *common;
    size_t templates, rows, refused;
} goldens;

static sah_chat chat_of(const char *jinja, size_t size, const json_t *tokens)
{
    sah_chat chat = {0};
    sah_error error = {0};
    if (sah_chat_set(&chat, jinja, size, &error) != SAH_OK) fail_msg("%s", error.message);
    chat.tokens = json_deep_copy(tokens);
    return chat;
}

/* NULL where the template gave none. */
static char *converse(const sah_chat *chat, const json_t *conversation, json_t *variables, sah_error *error)
{
    sah_message messages[8];
    char *prompt = NULL;
    const sah_template_settings settings = {.variables = variables};
    const size_t n = json_array_size(conversation);
    for (size_t i = 0; i < n; i++) {
        const json_t *turn = json_array_get(conversation, i);
        messages[i] = (sah_message){json_string_value(json_object_get(turn, "role")),
                                    json_string_value(json_object_get(turn, "content"))};
    }
    const sah_template own = {"chat", chat, &settings};
    const sah_status status = sah_template_converse(&own, messages, n, true, &prompt, error);
    assert_true((status == SAH_OK) == (prompt != NULL));
    assert_true(status == SAH_OK || error->message[0] != '\0');
    return prompt;
}

static void check_row(const goldens *g, const char *name, const sah_chat *chat, const json_t *variables,
                      const json_t *row)
{
    const char *conversation = json_string_value(json_array_get(row, 0));
    const json_int_t set = json_integer_value(json_array_get(row, 1));
    const char *wanted = json_string_value(json_array_get(row, 2));
    sah_error error = {0};
    json_t *values = json_array_get(variables, (size_t)set);
    char *prompt = converse(chat, json_object_get(g->conversations, conversation), values, &error);
    if (wanted == NULL && prompt != NULL)
        fail_msg("%s (%s): rendered where transformers refuses: \"%s\"", name, conversation, prompt);
    if (wanted != NULL && prompt == NULL) fail_msg("%s (%s): %s", name, conversation, error.message);
    if (wanted != NULL && strcmp(prompt, wanted) != 0)
        fail_msg("%s (%s, %d)\n  expected \"%s\"\n     found \"%s\"", name, conversation, (int)set, wanted,
                 prompt);
    free(prompt);
}

static json_t *json_of(const char *line, size_t size)
{
    json_t *json;
    sah_error error = {0};
    if (sah_json_parse(line, size, TEMPLATES, &json, &error) != SAH_OK) fail_msg("%s", error.message);
    return json;
}

/* "NAME\ntokens {...}\nvars {...}\n-----\nTEMPLATE" */
static void check_section(goldens *g, const char *text, size_t size)
{
    char name[64];
    json_t *tokens = NULL, *variables = json_array();
    const char *end = text + size, *line = memchr(text, '\n', size);
    snprintf(name, sizeof name, "%.*s", (int)(line - text), text);
    for (line++; strncmp(line, "-----\n", 6) != 0;) {
        const char *behind = memchr(line, '\n', (size_t)(end - line));
        if (strncmp(line, "tokens ", 7) == 0) tokens = json_of(line + 7, (size_t)(behind - line) - 7);
        if (strncmp(line, "vars ", 5) == 0)
            json_array_append_new(variables, json_of(line + 5, (size_t)(behind - line) - 5));
        line = behind + 1;
    }
    line += 6;
    if (strcmp(name, "common") == 0) {
        g->common = tokens;
        json_decref(variables);
        return;
    }
    const bool feature =
        strncmp(name, "expr-", 5) == 0 || strncmp(name, "stmt-", 5) == 0 || strncmp(name, "fail-", 5) == 0;
    sah_chat chat = chat_of(line, (size_t)(end - line), feature ? g->common : tokens);
    const json_t *rows = json_object_get(g->rendered, name), *row;
    size_t i;
    if (json_array_size(rows) == 0) fail_msg("%s has no rows in " GOLDEN, name);
    json_array_foreach(rows, i, row)
    {
        check_row(g, name, &chat, variables, row);
        g->refused += json_is_null(json_array_get(row, 2));
    }
    g->templates++;
    g->rows += json_array_size(rows);
    sah_chat_free(&chat);
    json_decref(tokens);
    json_decref(variables);
}

static void rendered_as_transformers_does(void **state)
{
    (void)state;
    goldens g = {0};
    json_t *golden;
    char *text;
    size_t size;
    sah_error error = {0};
    if (sah_json_read(GOLDEN, 1u << 20, &golden, &error) != SAH_OK) fail_msg("%s", error.message);
    if (sah_file_read(TEMPLATES, 1u << 20, &text, &size, &error) != SAH_OK) fail_msg("%s", error.message);
    g.conversations = json_object_get(golden, "conversations");
    g.rendered = json_object_get(golden, "rendered");
    if (size > 0 && text[size - 1] == '\n') size--;
    static const char mark[] = "\n===== ";
    for (char *at = memmem(text, size, mark, 7), *next; at != NULL; at = next) {
        char *begin = at + 7;
        next = memmem(begin, (size_t)(text + size - begin), mark, 7);
        check_section(&g, begin, (size_t)((next != NULL ? next : text + size) - begin));
    }
    assert_int_equal(g.templates, json_object_size(g.rendered));
    assert_true(g.templates >= 150 && g.rows >= 500 && g.refused >= 50);
    print_message("%zu templates, %zu conversations, %zu of them refused\n", g.templates, g.rows, g.refused);
    json_decref(g.common);
    json_decref(golden);
    free(text);
}

/* ---- Families by name ---------------------------------------------------------------------------------- */

static void check_wrap(const sah_template *t, const char *system, const char *query, const char *expected)
{
    sah_error error = {0};
    char *prompt = NULL;
    if (sah_template_wrap(t, system, query, &prompt, &error) != SAH_OK)
        fail_msg("%s: %s", t->name, error.message);
    assert_string_equal(prompt, expected);
    free(prompt);
}

static void families(void **state)
{
    (void)state;
    json_t *tokens = json_pack("{s:s, s:s}", "bos_token", "<s>", "eos_token", "</s>");
    const sah_chat chat = {.tokens = tokens};
#define VICUNA                                                                                               \
    "<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives "        \
    "helpful, detailed, and polite answers to the user's questions. USER:  q \n ASSISTANT:"
#define HEAD(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define DATES      "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    static const struct {
        const char *name, *without, *with;
    } wanted[] = {
        {"chatml", "<|im_start|>user\n q \n<|im_end|>\n<|im_start|>assistant\n",
         "<|im_start|>system\n s <|im_end|>\n<|im_start|>user\n q \n<|im_end|>\n<|im_start|>assistant\n"},
        {"llama2", "<s>[INST] q [/INST]", "<s>[INST] <<SYS>>\n s \n<</SYS>>\n\n q [/INST]"},
        {"llama3", "<s>" HEAD("user") "q<|eot_id|>" HEAD("assistant"),
         "<s>" HEAD("system") "s<|eot_id|>" HEAD("user") "q<|eot_id|>" HEAD("assistant")},
        {"llama3.1", "<s>" HEAD("system") DATES "<|eot_id|>" HEAD("user") "q<|eot_id|>" HEAD("assistant"),
         "<s>" HEAD("system") DATES "s<|eot_id|>" HEAD("user") "q<|eot_id|>" HEAD("assistant")},
        {"mistral", "<s>[INST]  q \n [/INST]", "<s>[INST]  s \n\n q \n [/INST]"},
        {"vicuna", VICUNA, "<s> s  USER:  q \n ASSISTANT:"},
        {"zephyr", "<|user|>\n q \n</s>\n<|assistant|>\n",
         "<|system|>\n s </s>\n<|user|>\n q \n</s>\n<|assistant|>\n"},
        {"organism", "<|user|>\n q \n<|end|>\n<|assistant|>\n",
         "<|system|>\n s <|end|>\n<|user|>\n q \n<|end|>\n<|assistant|>\n"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const sah_template t = {wanted[i].name, &chat, NULL};
        check_wrap(&t, NULL, " q \n", wanted[i].without);
        check_wrap(&t, " s ", " q \n", wanted[i].with);
        assert_true(sah_template_is_chat(wanted[i].name));
    }
    json_decref(tokens);
    /* Without tokens they are nothing, but for Zephyr's EOS, which must be known. */
    check_wrap(&(sah_template){"llama2", NULL, NULL}, NULL, "q", "[INST] q [/INST]");
}

static const char *recognise(const char *jinja)
{
    sah_chat chat = chat_of(jinja, strlen(jinja), NULL);
    const char *name;
    assert_int_equal(sah_template_recognise(&chat, &name, NULL), SAH_OK);
    sah_chat_free(&chat);
    return name;
}

static void recognised_by_their_prompts(void **state)
{
    (void)state;
    const char *name;
    assert_int_equal(sah_template_recognise(&(sah_chat){0}, &name, NULL), SAH_OK);
    assert_string_equal(name, "none");
    assert_string_equal(
        recognise(
            "{% for m in messages %}<|im_start|>{{ m.role ~ '\\n' ~ m.content }}<|im_end|>\n{% endfor %}"
            "<|im_start|>assistant\n\n"),
        "chatml");
    assert_string_equal(
        recognise("{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
                  "[INST] {{ messages[0].content }} [/INST]"),
        "llama2");
    assert_string_equal(recognise("{{ messages[0].content }}"), "own");
    assert_string_equal(recognise("{{ raise_exception('never') }}"), "own");
    assert_string_equal(recognise("{% include 'a' %}"), "unsupported");
}

/* ---- System prompts, variables, dates ------------------------------------------------------------------ */

static void check_refused(const sah_template *t, const char *system, sah_status status, const char *message)
{
    sah_error error = {0};
    char *prompt = (char *)t->name;
    assert_int_equal(sah_template_wrap(t, system, "Q", &prompt, &error), status);
    assert_null(prompt);
    if (strstr(error.message, message) == NULL) fail_msg("%s: %s", t->name, error.message);
}

static void own_refused(const char *jinja, const char *system, sah_status status, const char *message)
{
    sah_chat chat = chat_of(jinja, strlen(jinja), NULL);
    check_refused(&(sah_template){"chat", &chat, NULL}, system, status, message);
    sah_chat_free(&chat);
}

static void system_prompts(void **state)
{
    (void)state;
    static const char gemma[] =
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system!') }}{% endif %}"
        "{{ messages[0]['content'] }}";
    own_refused(gemma, "S", SAH_BAD_ARGUMENT, "takes no system prompt: \"No system!\"");
    own_refused("{{ raise_exception('Never') }}", "S", SAH_FAILED, "refuses the conversation: \"Never\"");
    own_refused("{{ raise_exception('Never') }}", NULL, SAH_FAILED, "refuses the conversation: \"Never\"");
    own_refused("{{ messages[-1].content }}", "S", SAH_BAD_ARGUMENT, "no place for a system prompt");
    own_refused("{{ 1 / 0 }}", NULL, SAH_FAILED, "cannot be rendered: line 1: division by zero");
    own_refused("a\n{{ 'b' | pprint }}", NULL, SAH_FAILED, "line 2: the filter 'pprint' is not supported");
    own_refused("{{ '\\0' }}", NULL, SAH_FAILED, "U+0000");
    own_refused("{% include 'x' %}", NULL, SAH_NOT_SUPPORTED,
                "line 1: the tag {% include %} is not supported");
    sah_chat chat = chat_of(gemma, strlen(gemma), NULL);
    check_wrap(&(sah_template){"chat", &chat, NULL}, NULL, "Q\xff", "Q\xef\xbf\xbd");
    sah_chat_free(&chat);
    /* An empty text that was joined, one that is repeated, characters of several bytes, the widest field. */
    static const char joined[] = "[{{ (x ~ y)[:0] }}{{ (x ~ y).split('a') }}]{{ 'abc' * 5 }} "
                                 "{{ ('a\u00e9\u20ac\U0001F600' * 5)|length }} {{ ('%10000d' % 7)|length }}";
    chat = chat_of(joined, strlen(joined), NULL);
    check_wrap(&(sah_template){"chat", &chat, NULL}, NULL, "Q", "[['']]abcabcabcabcabc 20 10000");
    sah_chat_free(&chat);
    /* Changed is not left out. */
    static const char upper[] = "{{ messages[0].content | upper }}";
    chat = chat_of(upper, strlen(upper), NULL);
    check_wrap(&(sah_template){"chat", &chat, NULL}, "be kind", "Q", "BE KIND");
    sah_chat_free(&chat);
}

static void check_setting(const char *variable, const char *date, const char *jinja, const char *expected)
{
    sah_template_settings settings;
    sah_error error = {0};
    sah_chat chat = chat_of(jinja, strlen(jinja), NULL);
    if (sah_template_settings_new(&variable, variable != NULL, date, &settings, &error) != SAH_OK)
        fail_msg("%s", error.message);
    check_wrap(&(sah_template){"chat", &chat, &settings}, NULL, "Q", expected);
    sah_template_settings_free(&settings);
    sah_chat_free(&chat);
}

static void bad_setting(const char *variable, const char *date, const char *message)
{
    sah_template_settings settings;
    sah_error error = {0};
    assert_int_equal(sah_template_settings_new(&variable, variable != NULL, date, &settings, &error),
                     SAH_BAD_ARGUMENT);
    if (strstr(error.message, message) == NULL) fail_msg("%s", error.message);
    sah_template_settings_free(&settings);
}

static void variables_and_dates(void **state)
{
    (void)state;
    check_setting("x=false", NULL, "{{ x is false }}", "True");
    check_setting("x=3", NULL, "{{ x + 1 }}", "4");
    check_setting("x={\"a\": [1.5, null]}", NULL, "{{ x.a }}", "[1.5, None]");
    check_setting("x=26 May", NULL, "{{ x }}", "26 May");
    check_setting("x=\"3\"", NULL, "{{ x is string }}", "True");
    check_setting("x=", NULL, "[{{ x }}]", "[]");
    check_setting("add_generation_prompt=false", NULL, "{{ add_generation_prompt }}", "False");
    check_setting("bos_token=<b>", NULL, "{{ bos_token }}", "<b>");
    check_setting("tools=[{\"a\": 1}]", NULL, "{{ tools | tojson }}", "[{\"a\": 1}]");
    check_setting(NULL, NULL, "{{ strftime_now('%d %b %Y, %A') }}", "26 Jul 2024, Friday");
    check_setting(NULL, "2000-02-29", "{{ strftime_now('%Y-%m-%d %j %H') }}", "2000-02-29 060 00");
    bad_setting("x", NULL, "NAME=VALUE");
    bad_setting("=3", NULL, "NAME=VALUE");
    bad_setting("1x=3", NULL, "NAME=VALUE");
    bad_setting("a b=3", NULL, "NAME=VALUE");
    bad_setting("x={", NULL, "not JSON");
    bad_setting("x=\xff", NULL, "not UTF-8");
    bad_setting("messages=[]", NULL, "the conversation");
    bad_setting(NULL, "yesterday", "YYYY-MM-DD");
    bad_setting(NULL, "2023-02-29", "YYYY-MM-DD");
    bad_setting(NULL, "2023-2-9", "YYYY-MM-DD");
    bad_setting(NULL, "2023-02-090", "YYYY-MM-DD");

    sah_template_settings settings;
    sah_error error = {0};
    const char *variable = "thinking=1";
    assert_int_equal(sah_template_settings_new(&variable, 1, "today", &settings, &error), SAH_OK);
    assert_int_equal(strlen(settings.date), 10);
    sah_chat chat = chat_of("{{ enable_thinking }}", 21, NULL);
    check_refused(&(sah_template){"chat", &chat, &settings}, NULL, SAH_BAD_ARGUMENT,
                  "no variable \"thinking\"");
    check_refused(&(sah_template){"ships", &chat, &settings}, NULL, SAH_BAD_ARGUMENT, "takes no variables");
    sah_chat_free(&chat);
    sah_template_settings_free(&settings);
}

/* What a result's header says. */
static void notes(void **state)
{
    (void)state;
    sah_template_settings settings;
    sah_error error = {0};
    const char *variable = "x=1";
    json_t *header = json_object();
    sah_chat plain = chat_of("{{ x }}", 7, NULL), dated = chat_of("{{ strftime_now('%d') }}", 24, NULL);
    assert_int_equal(sah_template_settings_new(&variable, 1, "2025-01-02", &settings, &error), SAH_OK);
    assert_true(sah_template_note(&(sah_template){"chat", &plain, NULL}, header));
    assert_true(sah_template_note(&(sah_template){"ships", &dated, NULL}, header));
    assert_int_equal(json_object_size(header), 0);
    assert_true(sah_template_note(&(sah_template){"chat", &dated, NULL}, header));
    assert_string_equal(json_string_value(json_object_get(header, "template_date")), "2024-07-26");
    assert_true(sah_template_note(&(sah_template){"chat", &dated, &settings}, header));
    assert_string_equal(json_string_value(json_object_get(header, "template_date")), "2025-01-02");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(header, "template_vars"), "x")), 1);
    assert_false(sah_template_note(&(sah_template){"chat", &plain, &settings}, NULL));
    sah_template_settings_free(&settings);
    sah_chat_free(&plain);
    sah_chat_free(&dated);
    json_decref(header);
}

/* ---- Bounds -------------------------------------------------------------------------------------------- */

static void bounds(void **state)
{
    (void)state;
    static const char *const endless[][2] = {
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps"},
        {"{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", "too deeply"},
        {"{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
         "steps"},
        {"{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
         "more than"},
        {"{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l "
         "}}",
         ""},
        {"{% set n = namespace(l=1) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}",
         "too deeply"},
        {"{% set n = namespace(l=[1]) %}{% for i in range(9999) %}{% set n.l = n.l|map('abs') %}{% endfor "
         "%}{{ n.l|list }}",
         "too deeply"},
        {"{{ 'a' * 999999999999 }}", ""},
        {"{{ ('a' * 999999).rfind('b' + 'a' * 99999) }}", "steps"},
        {"{% set s = ' ' * 999999 %}{% for i in range(99999) %}{% if s.strip() %}{% endif %}{% endfor %}",
         "steps"},
        {"{% set s = 'a' * 999999 %}{% for i in range(99999) %}{% if s < s + 'b' %}{% endif %}{% endfor %}",
         ""},
        {"{% set s = 'é ' * 99999 %}{% for i in range(999) %}{% if s.split() %}{% endif %}{% endfor %}", ""},
        {"{{ 'x'.center(99999999999) }}", ""},
        {"{{ '%10001d' % 7 }}", "10000 characters"},
        {"{{ '{:99999999999}'.format('a') }}", "10000 characters"},
        {"{{ range(999999) }}", "a range of more than"},
        {"{{ 2 ** 99 }}", "64 bits"},
        {"{{ 9223372036854775807|round(-3) }}", "64 bits"},
        {"{{ -9223372036854775807|round(-19) }}", "64 bits"},
        {"{{ 9223372036854775807 + 1 }}", "64 bits"},
        {"{{ 99999999999999999999 }}", "64 bits"},
    };
    enum { N_ENDLESS = sizeof endless / sizeof *endless }; /* the last cannot even be read */
    for (size_t i = 0; i < N_ENDLESS; i++)
        own_refused(endless[i][0], NULL, i + 1 < N_ENDLESS ? SAH_FAILED : SAH_NOT_SUPPORTED, endless[i][1]);

    /* Nesting is bounded where a template is read. */
    static const char *const parts[][2] = {{"(", "1"},
                                           {"[", "1"},
                                           {"not ", "1"},
                                           {"-", "1"},
                                           {"{% if 1 %}", ""},
                                           {"a.", "b"},
                                           {"{% for a in b %}", ""},
                                           {"1+", "1"},
                                           {"a|", "e"},
                                           {"a if ", "b"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        sah_text text = {0};
        sah_chat chat = {0};
        sah_error error = {0};
        const bool block = parts[i][0][0] == '{';
        if (!block) sah_text_adds(&text, "{{ ");
        for (int n = 0; n < 100000; n++) sah_text_adds(&text, parts[i][0]);
        sah_text_adds(&text, parts[i][1]);
        if (!block) sah_text_adds(&text, " }}");
        assert_int_equal(sah_chat_set(&chat, text.data, text.size, &error), SAH_OK);
        assert_null(chat.jinja);
        assert_non_null(chat.problem);
        sah_chat_free(&chat);
        free(text.data);
    }
}

/* ---- Bare templates and strings ------------------------------------------------------------------------ */

static void bare_templates(void **state)
{
    (void)state;
    static const struct {
        const char *name, *query, *wanted;
    } cases[] = {{"ships", "Q\\n{}", "## Query:Q\\n{} \n## Answer:"},
                 {"sahara", "Q", "## Query:Q\n## Answer:"},
                 {"none", " Q ", " Q "},
                 {"none", "", ""},
                 {"{}", "Q\\n", "Q\\n"},
                 {"a\\n\\t\\\\n{}\\x\\", "Q", "a\n\t\\nQ\\x\\"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_wrap(&(sah_template){cases[i].name, NULL, NULL}, NULL, cases[i].query, cases[i].wanted);
        assert_false(sah_template_is_chat(cases[i].name));
    }
}

static void refusals(void **state)
{
    (void)state;
    const sah_message turn = {"user", "Q"};
    sah_error error = {0};
    char *prompt;
    check_refused(&(sah_template){"shipps", NULL, NULL}, NULL, SAH_BAD_ARGUMENT, "holds no {}");
    check_refused(&(sah_template){"", NULL, NULL}, NULL, SAH_BAD_ARGUMENT, "holds no {}");
    check_refused(&(sah_template){"{} and {}", NULL, NULL}, NULL, SAH_BAD_ARGUMENT, "more than one {}");
    check_refused(&(sah_template){"ships", NULL, NULL}, "S", SAH_BAD_ARGUMENT,
                  "no place for a system prompt");
    check_refused(&(sah_template){"Q: {}", NULL, NULL}, "S", SAH_BAD_ARGUMENT,
                  "no place for a system prompt");
    check_refused(&(sah_template){"chat", NULL, NULL}, NULL, SAH_FAILED, "no chat template");
    assert_int_equal(
        sah_template_converse(&(sah_template){"ships", NULL, NULL}, &turn, 1, true, &prompt, &error),
        SAH_BAD_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rendered_as_transformers_does),
        cmocka_unit_test(families),
        cmocka_unit_test(recognised_by_their_prompts),
        cmocka_unit_test(system_prompts),
        cmocka_unit_test(variables_and_dates),
        cmocka_unit_test(notes),
        cmocka_unit_test(bounds),
        cmocka_unit_test(bare_templates),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
