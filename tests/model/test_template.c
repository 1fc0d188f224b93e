/* Chat templates: what transformers renders (tests/golden/templates.json), bare templates, strings, and
 * templates that must stay unknown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/template/jinja.h"
#include "model/template/template.h"

#define GOLDEN "tests/golden/templates.json"

static const char *member(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

/* ---- Goldens ------------------------------------------------------------------------------------------- */

static void check_row(const json_t *row)
{
    const char *wanted = member(row, "rendered"), *bos = member(row, "bos_token");
    sah_error error = {0};
    char *prompt = NULL;
    const sah_status status = sah_template_wrap("chat", member(row, "template"), bos != NULL ? bos : "",
                                                member(row, "system"), member(row, "user"), &prompt, &error);
    if (wanted == NULL) {
        assert_int_equal(status, SAH_BAD_ARGUMENT);
        assert_non_null(strstr(error.message, "no place for a system prompt"));
        return;
    }
    if (status != SAH_OK) fail_msg("%s: %s", member(row, "name"), error.message);
    if (strcmp(prompt, wanted) != 0)
        fail_msg("%s\n  expected \"%s\"\n     found \"%s\"", member(row, "name"), wanted, prompt);
    free(prompt);
}

static void goldens(void **state)
{
    (void)state;
    json_error_t at;
    const json_t *row;
    size_t i;
    if (access(GOLDEN, F_OK) != 0) {
        print_message("skipped: " GOLDEN " is not there\n");
        skip();
    }
    json_t *rows = json_load_file(GOLDEN, 0, &at);
    if (rows == NULL) fail_msg("%s: %s", GOLDEN, at.text);
    assert_true(json_array_size(rows) >= 78);
    json_array_foreach(rows, i, row) check_row(row);
    json_decref(rows);
}

static void goldens_name_their_family(void **state)
{
    (void)state;
    static const char *const families[][2] = {
        {"chatml", "chatml"},        {"chatml-smollm2", "chatml"},
        {"qwen2", "chatml"},         {"qwen2.5", "chatml"},
        {"llama-2", "llama2"},       {"llama-3", "llama3"},
        {"llama-3.1", "llama3.1"},   {"mistral-v0.1", "mistral"},
        {"mistral-v0.3", "mistral"}, {"mistral-v0.2-system", "mistral"},
        {"vicuna", "vicuna"},        {"vicuna-bare", "vicuna"},
        {"zephyr", "zephyr"},
    };
    json_error_t at;
    const json_t *row;
    size_t i, found = 0;
    if (access(GOLDEN, F_OK) != 0) {
        print_message("skipped: " GOLDEN " is not there\n");
        skip();
    }
    json_t *rows = json_load_file(GOLDEN, 0, &at);
    assert_non_null(rows);
    json_array_foreach(rows, i, row)
    {
        for (size_t j = 0; j < sizeof families / sizeof *families; j++) {
            if (strcmp(member(row, "name"), families[j][0]) != 0) continue;
            assert_string_equal(sah_template_recognise(member(row, "template")), families[j][1]);
            found++;
        }
    }
    assert_int_equal(found, json_array_size(rows));
    json_decref(rows);
}

/* ---- Forms of our own ---------------------------------------------------------------------------------- */

#define CHATML_LOOP                                                                                          \
    "{%- for m in messages %}{%- set message = m %}"                                                         \
    "{{- \"<|im_start|>\" + message.role + \"\\n\" + message['content'] + '<|im_end|>\\n' }}{%- endfor %}"
#define CHATML_ANSWER "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
#define TOOLS         "{%- if tools %}{{- '<|im_start|>system\\n' }}{{- '# Tools' }}{%- else %}"
#define DEFAULT(text) "{{- '<|im_start|>system\\n" text "<|im_end|>\\n' }}"

static void spellings_of_chatml(void **state)
{
    (void)state;
    sah_error error = {0};
    char *prompt = NULL;
    /* A branch for tools does not matter; a comment and line ends between stripping tags neither. */
    static const char jinja[] =
        TOOLS "\n  {%- if messages[0]['role'] == 'system' %}\n"
              "{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}"
              "{%- else %}" DEFAULT("It\\'s us.") "{%- endif %}{%- endif %}{#- a note -#}\n\n" CHATML_LOOP
                                                  "\n" CHATML_ANSWER "\n";
    assert_string_equal(sah_template_recognise(jinja), "chatml");
    assert_int_equal(sah_template_wrap("chat", jinja, "", NULL, "Hi", &prompt, &error), SAH_OK);
    assert_string_equal(prompt, "<|im_start|>system\nIt's us.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                                "<|im_start|>assistant\n");
    free(prompt);
    /* The family by name takes the model's own default too; another family takes nothing from it. */
    assert_int_equal(sah_template_wrap("chatml", jinja, "", NULL, "Hi", &prompt, &error), SAH_OK);
    assert_non_null(strstr(prompt, "It's us."));
    free(prompt);
    assert_int_equal(sah_template_wrap("vicuna", jinja, "<s>", "S", "Hi", &prompt, &error), SAH_OK);
    assert_string_equal(prompt, "<s>S USER: Hi ASSISTANT:");
    free(prompt);
    assert_int_equal(sah_template_wrap("chatml", NULL, "", NULL, "Hi", &prompt, &error), SAH_OK);
    assert_string_equal(prompt, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    free(prompt);
    assert_int_equal(sah_template_wrap("chat", "{{ bos_token }}" CHATML_LOOP CHATML_ANSWER, "<s>", NULL, "Hi",
                                       &prompt, &error),
                     SAH_OK);
    assert_string_equal(prompt, "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    free(prompt);
}

static void unknown_stays_unknown(void **state)
{
    (void)state;
    static const char *const templates[] = {
        "",
        "{{ messages }}",
        "<|im_start|>user",
        CHATML_LOOP, /* no place for the answer */
        CHATML_LOOP "{{ '<|im_start|>assistant\\n' }}{{ 'Sure' }}", /* words put in the model's mouth */
        CHATML_LOOP "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}",
        "A preface. " CHATML_LOOP CHATML_ANSWER,
        "{{ 'A preface.' }}" CHATML_LOOP CHATML_ANSWER,
        "{{ '' }}" CHATML_LOOP "{{ bos_token }}" CHATML_ANSWER,
        "\n{{ '' }}" CHATML_LOOP CHATML_ANSWER,
        CHATML_LOOP "\n{{ '' }}" CHATML_ANSWER,
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | "
        "trim + "
        "'<|im_end|>' + '\\n' }}{% endfor %}" CHATML_ANSWER,
        "{% if messages[0].role != 'system' %}" DEFAULT("One") "{% else %}" DEFAULT(
            "Two") "{% endif %}" CHATML_LOOP CHATML_ANSWER,
        "{{ strftime_now('%d') }}" CHATML_LOOP CHATML_ANSWER,
        ("{{ bos_token }}{% for message in messages %}{{ '[INST]' + message['content'] + '[/INST]' }}"
         "{{ '[SYSTEM_PROMPT]' }}{% endfor %}"),
        "{% for message in messages %}{{ '<|im_start|>",
        "{# never ends",
        "{{ '\001' }}",
    };
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        sah_error error = {0};
        char *prompt = NULL;
        if (strcmp(sah_template_recognise(templates[i]), "unknown") != 0)
            fail_msg("taken for %s: %s", sah_template_recognise(templates[i]), templates[i]);
        assert_int_equal(sah_template_wrap("chat", templates[i], "", NULL, "Hi", &prompt, &error),
                         SAH_FAILED);
        assert_null(prompt);
        assert_non_null(strstr(error.message, "no known family"));
    }
}

static void organism_family(void **state)
{
    (void)state;
    static const char jinja[] =
        "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + "
        "'<|end|>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";
    sah_error error = {0};
    char *prompt = NULL;
    assert_string_equal(sah_template_recognise(jinja), "organism");
    assert_int_equal(sah_template_wrap("chat", jinja, "", "S", "Hi", &prompt, &error), SAH_OK);
    assert_string_equal(prompt, "<|system|>\nS<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n");
    free(prompt);
}

/* ---- Spelling ------------------------------------------------------------------------------------------ */

static void check_spelling(const char *source, const char *expected)
{
    sah_jinja jinja;
    assert_true(sah_jinja_spell(source, &jinja));
    assert_string_equal(jinja.text.data, expected);
    sah_jinja_free(&jinja);
}

/* White space outside of tags as Jinja treats it with trim_blocks and lstrip_blocks, which transformers sets.
 */
static void spelling(void **state)
{
    (void)state;
    check_spelling("{{ 'a' + \"b\\n\" }}", "{{\001ab\n\002}}");
    check_spelling("{{ x['y'][\"z\"][0] }}", "{{x.y.z[0]}}");
    check_spelling("{{ '}}' }}", "{{\001}}\002}}");
    check_spelling("{% if a %}\n\nb\n  {% endif %}\nc\n", "{%ifa%}\nb\n{%endif%}c");
    check_spelling("{{ a }}\n {{- b -}} \n c", "{{a}}{{b}}c");
    check_spelling("  {% a %} {{ b }} {# c #}\nd", "{%a%} {{b}} d");
    check_spelling("{{ a }}  {% b %}", "{{a}}  {%b%}");
}

/* ---- Bare templates and strings ------------------------------------------------------------------------ */

static void check_wrap(const char *name, const char *query, const char *expected)
{
    sah_error error = {0};
    char *prompt = NULL;
    if (sah_template_wrap(name, NULL, "<s>", NULL, query, &prompt, &error) != SAH_OK)
        fail_msg("%s: %s", name, error.message);
    assert_string_equal(prompt, expected);
    free(prompt);
}

static void bare_templates(void **state)
{
    (void)state;
    check_wrap("ships", "Q\\n{}", "## Query:Q\\n{} \n## Answer:");
    check_wrap("sahara", "Q", "## Query:Q\n## Answer:");
    check_wrap("none", " Q ", " Q ");
    check_wrap("none", "", "");
    check_wrap("{}", "Q\\n", "Q\\n");
    check_wrap("a\\n\\t\\\\n{}\\x\\", "Q", "a\n\t\\nQ\\x\\");
}

static void check_refused(const char *name, const char *system, sah_status status, const char *message)
{
    sah_error error = {0};
    char *prompt = (char *)name;
    assert_int_equal(sah_template_wrap(name, NULL, "", system, "Q", &prompt, &error), status);
    assert_null(prompt);
    if (strstr(error.message, message) == NULL) fail_msg("%s: %s", name, error.message);
}

static void refusals(void **state)
{
    (void)state;
    check_refused("shipps", NULL, SAH_BAD_ARGUMENT, "holds no {}");
    check_refused("", NULL, SAH_BAD_ARGUMENT, "holds no {}");
    check_refused("{} and {}", NULL, SAH_BAD_ARGUMENT, "more than one {}");
    check_refused("ships", "S", SAH_BAD_ARGUMENT, "no place for a system prompt");
    check_refused("Q: {}", "S", SAH_BAD_ARGUMENT, "no place for a system prompt");
    check_refused("chat", NULL, SAH_FAILED, "no chat template");
    assert_string_equal(sah_template_recognise(NULL), "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens),
        cmocka_unit_test(goldens_name_their_family),
        cmocka_unit_test(spellings_of_chatml),
        cmocka_unit_test(unknown_stays_unknown),
        cmocka_unit_test(organism_family),
        cmocka_unit_test(spelling),
        cmocka_unit_test(bare_templates),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
