/* SPDX-License-Identifier: Apache-2.0 */
/* What inspect --check says, part by part, of models that have everything, something and nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sahara.h"
#include "util/scratch.h"
#include "program.h"

#define GOLDEN "tests/golden/models/"

static sah_checks check(const char *model, const char *adapter)
{
    sah_error error = {0};
    sah_checks checks;
    const sah_model_options options = {.threads = 1, .adapter = adapter};
    expect_ok(sah_check(model, &options, &checks, &error), &error);
    return checks;
}

/* The line of a part says `support`, and why in words that hold `note`. */
static void expect(const sah_checks *checks, const char *part, sah_support support, const char *note)
{
    for (size_t i = 0; i < checks->n; i++) {
        const sah_check_line *line = &checks->lines[i];
        if (strcmp(line->part, part) != 0) continue;
        if (line->support != support || strstr(line->note, note) == NULL)
            fail_msg("%s: %d, %s", part, (int)line->support, line->note);
        return;
    }
    fail_msg("no line about %s", part);
}

static void test_whole(void **state)
{
    (void)state;
    static const char *const parts[] = {"tokenizer",  "ablation q", "ablation k",
                                        "ablation v", "surgery q",  "surgery k"};
    const sah_checks checks = check("models/organism", NULL);
    expect(&checks, "weights", SAH_SUPPORTED, "llama");
    expect(&checks, "adapter", SAH_ABSENT, "");
    expect(&checks, "template", SAH_SUPPORTED, "zephyr");
    expect(&checks, "prompt", SAH_SUPPORTED, "tokens");
    expect(&checks, "surgery v", SAH_PARTLY, "scales alone");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) expect(&checks, parts[i], SAH_SUPPORTED, "");
}

static void test_surgery(void **state)
{
    (void)state;
    sah_checks checks = check(GOLDEN "llama-mha", NULL);
    expect(&checks, "surgery v", SAH_SUPPORTED, "");
    expect(&checks, "tokenizer", SAH_ABSENT, "");
    expect(&checks, "template", SAH_ABSENT, "");
    checks = check(GOLDEN "qwen3", NULL);
    expect(&checks, "surgery q", SAH_PARTLY, "the scale 0 alone");
    checks = check(GOLDEN "family-phi3", NULL);
    expect(&checks, "ablation q", SAH_SUPPORTED, "");
    expect(&checks, "surgery q", SAH_SUPPORTED, "");
    checks = check(GOLDEN "family-olmo2", NULL);
    expect(&checks, "surgery q", SAH_PARTLY, "scales alone");
    expect(&checks, "surgery v", SAH_PARTLY, "scales alone");
}

static void test_adapter(void **state)
{
    (void)state;
    sah_checks checks = check(GOLDEN "llama-mha", "tests/golden/adapters/none-such");
    expect(&checks, "weights", SAH_SUPPORTED, "");
    expect(&checks, "adapter", SAH_UNSUPPORTED, "none-such");
    expect(&checks, "prompt", SAH_UNSUPPORTED, "none-such");
}

/* A golden model with one more file beside it. */
static const char *model_with(const char *folder, const char *name, const char *text)
{
    static const char *const files[] = {"config.json", "model.safetensors"};
    char command[2048];
    const char *directory = scratch(folder);
    for (size_t i = 0; i < 2; i++) {
        snprintf(command, sizeof command, "mkdir -p '%s' && cp '" GOLDEN "qwen3/%s' '%s'", directory,
                 files[i], directory);
        assert_int_equal(system(command), 0);
    }
    snprintf(command, sizeof command, "%s/%s", directory, name);
    scratch_write_text(command, text);
    return directory;
}

static void test_text(void **state)
{
    (void)state;
    sah_checks checks =
        check(model_with("bad-template", "chat_template.jinja", "{{ messages | conjure }}"), NULL);
    expect(&checks, "template", SAH_UNSUPPORTED, "conjure");
    expect(&checks, "prompt", SAH_SUPPORTED, "8 tokens");
    checks =
        check(model_with("bad-tokenizer", "tokenizer.json", "{\"model\":{\"type\":\"Divination\"}}"), NULL);
    expect(&checks, "weights", SAH_SUPPORTED, "");
    expect(&checks, "tokenizer", SAH_UNSUPPORTED, "Divination");
    expect(&checks, "prompt", SAH_UNSUPPORTED, "Divination");
    checks =
        check(model_with("no-model", "config.json", "{\"architectures\":[\"DivinationForCausalLM\"]}"), NULL);
    expect(&checks, "weights", SAH_UNSUPPORTED, "DivinationForCausalLM");
    expect(&checks, "template", SAH_ABSENT, "");
}

static void test_print(void **state)
{
    (void)state;
    sah_error error = {0};
    char *text;
    const sah_checks checks = check(scratch("nowhere"), NULL);
    expect(&checks, "weights", SAH_UNSUPPORTED, "nowhere");
    expect_ok(sah_checks_text(&checks, false, &text, &error), &error);
    assert_non_null(strstr(text, "weights        no      cannot open"));
    assert_non_null(strstr(text, "adapter        none\n"));
    free(text);
    expect_ok(sah_checks_text(&checks, true, &text, &error), &error);
    assert_non_null(strstr(text, "{\"part\":\"adapter\",\"supported\":\"none\",\"note\":\"\"}"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole), cmocka_unit_test(test_surgery), cmocka_unit_test(test_adapter),
        cmocka_unit_test(test_text),  cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
