/* SPDX-License-Identifier: Apache-2.0 */
/* Chat templates on the command line: variables, dates, system prompts, what headers of results say of them,
 * and that prompts are tokenised as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/json.h"
#include "util/scratch.h"

static char program[4096], folder[512], root[1024];

/* The script's exit status; what it writes to standard output and error is left in files of these names. */
static int run(const char *script)
{
    char command[16384];
    snprintf(command, sizeof command,
             "exec > '%s/stdout' 2> '%s/stderr' < /dev/null\ncd '%s'\nexport OMP_NUM_THREADS=1\n"
             "sahara() { '%s' \"$@\"; }\n%s",
             folder, folder, folder, program, script);
    const int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *output(const char *name)
{
    size_t size;
    return (char *)scratch_read(scratch(name), &size);
}

static void expect_prompt(const char *arguments, const char *wanted)
{
    char script[1024];
    snprintf(script, sizeof script, "sahara inspect model --prompt Hi %s", arguments);
    const int status = run(script);
    char *text = output(status == 0 ? "stdout" : "stderr");
    if (status != 0) fail_msg("%s: %s", arguments, text);
    assert_string_equal(text, wanted);
    free(text);
}

static void expect_refused(const char *arguments, int status, const char *part)
{
    char script[1024];
    snprintf(script, sizeof script, "sahara inspect model --prompt Hi %s", arguments);
    assert_int_equal(run(script), status);
    char *text = output("stderr");
    if (strstr(text, part) == NULL || strchr(text, '\n') != text + strlen(text) - 1)
        fail_msg("%s: %s", arguments, text);
    free(text);
}

/* A golden model with a template in the place of its own. */
static void set_template(const char *jinja)
{
    char script[2048];
    snprintf(script, sizeof script,
             "rm -rf model && cp -r '%s/tests/golden/utility/pieces' model && chmod -R u+w model", root);
    if (run(script) != 0) fail_msg("no model: %s", output("stderr"));
    scratch_write_text(scratch("model/chat_template.jinja"), jinja);
}

static void variables_and_dates(void **state)
{
    (void)state;
    set_template(
        "{{ messages[-1].content }} {{ thinking is false }} {{ strftime_now('%d.%m.%y') }} {{ who }}");
    expect_prompt("", "Hi False 26.07.24 \n");
    expect_prompt("--template-var thinking=false --template-var 'who=a b' --template-date 2025-01-31",
                  "Hi True 31.01.25 a b\n");
    expect_refused("--template-var thnking=false", 2, "no variable \"thnking\"");
    expect_refused("--template-var thinking", 2, "NAME=VALUE");
    expect_refused("--template-date soon", 2, "YYYY-MM-DD");
    expect_refused("--template ships --template-var who=x", 2, "takes no variables");
    expect_refused("--system S", 2, "no place for a system prompt");
}

static void refusals(void **state)
{
    (void)state;
    set_template("{% if messages[0].role == 'system' %}{{ raise_exception('None here.') }}{% endif %}q");
    expect_prompt("", "q\n");
    expect_refused("--system S", 2, "takes no system prompt: \"None here.\"");
    set_template("{% extends 'x' %}");
    expect_refused("", 1, "line 1: the tag {% extends %} is not supported");
    assert_int_equal(run("sahara inspect model"), 0); /* all but that template is there */
    char *text = output("stdout");
    assert_non_null(strstr(text, "chat template  unsupported\n"));
    free(text);
    assert_int_equal(run("sahara inspect model --prompt Hi --template chatml"), 0);
}

static void headers(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *header;
    set_template("{{ strftime_now('%d') }} {{ x }} {{ messages[-1].content }}");
    scratch_write_text(scratch("q.txt"), "one\n");
    if (run("sahara generate model q.txt --max-new-tokens 1 -q -o out.jsonl --template chat --template-var "
            "'x=[1]' &&"
            "head -n 1 out.jsonl > header.json") != 0)
        fail_msg("%s", output("stderr"));
    expect_ok(sah_json_read(scratch("header.json"), 1u << 20, &header, &error), &error);
    const json_t *settings = json_object_get(header, "settings"),
                 *vars = json_object_get(settings, "template_vars");
    assert_string_equal(json_string_value(json_object_get(settings, "template_date")), "2024-07-26");
    assert_int_equal(json_integer_value(json_array_get(json_object_get(vars, "x"), 0)), 1);
    json_decref(header);
    /* Another day is another run. */
    assert_int_equal(run("sahara generate model q.txt --max-new-tokens 1 -q -o out.jsonl --template chat "
                         "--template-var 'x=[1]' --template-date 2024-07-27"),
                     1);
    char *text = output("stderr");
    assert_non_null(strstr(text, "template_date"));
    free(text);
}

static void tokens(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *chat, *bare;
    /* This tokenizer puts BOS in front of a text, but not of a chat prompt. */
    set_template("{{ messages[-1].content }}");
    if (run("sahara logits model --text Hi --template chat > chat.json && sahara logits model --text Hi > "
            "bare.json") != 0)
        fail_msg("%s", output("stderr"));
    expect_ok(sah_json_read(scratch("chat.json"), 1u << 20, &chat, &error), &error);
    expect_ok(sah_json_read(scratch("bare.json"), 1u << 20, &bare, &error), &error);
    const json_t *without = json_object_get(chat, "tokens"), *with = json_object_get(bare, "tokens");
    assert_int_equal(json_array_size(with), json_array_size(without) + 1);
    for (size_t i = 0; i < json_array_size(without); i++)
        assert_true(json_equal(json_array_get(with, i + 1), json_array_get(without, i)));
    json_decref(chat);
    json_decref(bare);
}

static int prepare(void **state)
{
    (void)state;
    const char *name = getenv("SAHARA");
    if (realpath(name != NULL ? name : "build/sahara", program) == NULL) return -1;
    if (getcwd(root, sizeof root) == NULL) return -1;
    snprintf(folder, sizeof folder, "%s", scratch("x"));
    *strrchr(folder, '/') = '\0';
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables_and_dates),
        cmocka_unit_test(refusals),
        cmocka_unit_test(headers),
        cmocka_unit_test(tokens),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
