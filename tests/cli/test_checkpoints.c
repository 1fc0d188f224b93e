/* SPDX-License-Identifier: Apache-2.0 */
/* ablate and graft as commands, from end to end: what they say, and that a checkpoint's plain logits are
 * those of `logits --ablate`. Each case is a script in a folder of its own; the environment variable SAHARA
 * names the program. Numbers are the golden models' (tests/golden/). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "util/json.h"
#include "util/needs.h"
#include "util/scratch.h"

static const char prelude[] =
    "export OMP_NUM_THREADS=1 LC_ALL=C\n"
    "sahara() { \"$PROGRAM\" \"$@\"; }\n"
    "logits() { sahara logits \"$@\" --tokens-in '1 17 42 5 33 60 8 21 50 3 11 29'; }\n";

static char models[4096], program[4096], folder[512];

/* Runs the script, which must do well; what it writes to standard error, for free(). */
static char *run(const char *script)
{
    char command[4096];
    size_t size;
    snprintf(command, sizeof command, "exec 2> '%s/stderr' < /dev/null\nset -e\ncd '%s'\n%s%s", folder,
             folder, prelude, script);
    const int status = system(command);
    char *text = (char *)scratch_read(scratch("stderr"), &size);
    if (status != 0) fail_msg("%s\n  status %d: %s", script, status, text);
    return text;
}

/* Largest difference of the logits in two files, of the largest logit. */
static double distance(const char *a, const char *b)
{
    json_t *files[2], *logits[2];
    sah_error error = {0};
    double worst = 0, largest = 0;
    for (int i = 0; i < 2; i++) {
        expect_ok(sah_json_read(scratch(i ? b : a), 1u << 24, &files[i], &error), &error);
        logits[i] = json_object_get(files[i], "logits");
    }
    assert_true(json_array_size(logits[0]) > 0);
    assert_int_equal(json_array_size(logits[0]), json_array_size(logits[1]));
    for (size_t i = 0; i < json_array_size(logits[0]); i++) {
        const double x = json_number_value(json_array_get(logits[0], i)),
                     y = json_number_value(json_array_get(logits[1], i));
        worst = fmax(worst, fabs(x - y));
        largest = fmax(largest, fabs(y));
    }
    for (int i = 0; i < 2; i++) json_decref(files[i]);
    return worst / largest;
}

static int prepare(void **state)
{
    (void)state;
    const char *name = getenv("SAHARA");
    if (realpath(name != NULL ? name : "build/sahara", program) == NULL) return -1;
    if (realpath("tests/golden", models) == NULL) return -1;
    setenv("PROGRAM", program, 1);
    setenv("GOLDEN", models, 1);
    snprintf(folder, sizeof folder, "%s", scratch("x"));
    *strrchr(folder, '/') = '\0';
    return 0;
}

/* MODEL, HEADS, how, and an adapter for either: ablate, then logits, against logits --ablate. */
static void test_ablate(void **state)
{
    (void)state;
    static const struct {
        const char *model, *heads, *how;
    } CASES[] = {
        {"llama-gqa", "1-5,0-1", ""},
        {"llama-gqa/model-f32.gguf", "1-5,0-1", "--scale 0"},
        {"llama-gqa", "1-1,0-0", "--part k --op mean"},
        {"llama-gqa/model-f32.gguf", "1-5,0-1,2-2", "--part v --scale 2"},
        {"llama-gqa", "1-5,0-1", "--part q,k,v --scale 0.5"},
        {"llama-gqa", "1-5,0-1", "--adapter \"$GOLDEN/adapters/plain\""},
        {"llama-gqa/model-f32.gguf", "1-5", "--op mean --adapter \"$GOLDEN/adapters/patterns\""},
        {"llama-quantised/model-mixed.gguf", "1-1,0-2", "--scale 0"},
        {"qwen3/model-f32.gguf", "1-1,0-2", "--part v --scale 0"},
        {"llama-sharded", "1-1,0-2", "--op mean"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char script[1024];
        const char *out = strstr(CASES[i].model, ".gguf") != NULL ? "out.gguf" : "out";
        snprintf(script, sizeof script,
                 "rm -rf out out.gguf\nMODEL=\"$GOLDEN/models/%s\"\nsahara ablate \"$MODEL\" %s %s -q -o %s\n"
                 "logits %s > have\nlogits \"$MODEL\" --ablate %s %s > want\nlogits \"$MODEL\" > plain\n",
                 CASES[i].model, CASES[i].heads, CASES[i].how, out, out, CASES[i].heads, CASES[i].how);
        char *said = run(script);
        assert_string_equal(said, "");
        free(said);
        const double off = distance("have", "want"), moved = distance("want", "plain");
        if (!(off <= 1e-4 && moved > 1e-2)) fail_msg("%s\n  off by %g, moved %g", script, off, moved);
    }
}

/* The same on a real model whose weights are quantised, where scripts/get-smollm2 has put it. */
static void test_smollm2(void **state)
{
    (void)state;
    char path[4096];
    needs_smollm2();
    assert_non_null(realpath(SMOLLM2, path));
    setenv("SMOLLM2", path, 1);
    free(run(
        "rm -f out.gguf\nahead() { sahara logits \"$@\" --template chat --text 'How do I pick a lock?'; }\n"
        "sahara ablate \"$SMOLLM2\" 5-6,18-8 -q -o out.gguf\nahead out.gguf > have\n"
        "ahead \"$SMOLLM2\" --ablate 5-6,18-8 > want\nahead \"$SMOLLM2\" > plain\n"));
    const double off = distance("have", "want"), moved = distance("want", "plain");
    if (!(off <= 1e-4 && moved > 1e-2)) fail_msg("off by %g, moved %g", off, moved);
}

static void expect_line(const char *said, const char *line)
{
    if (strstr(said, line) == NULL) fail_msg("\"%s\" is not in \"%s\"", line, said);
}

/* What a person should know is said, and stays to be seen. */
static void test_what_is_told(void **state)
{
    (void)state;
    char *said = run("rm -rf out\nsahara ablate \"$GOLDEN/models/llama-f16\" 1-1,0-2 --scale 1e-7 -o out\n"
                     "sahara inspect out > shown\ngrep -q 'made by .*sahara ablate, from llama-f16' shown\n"
                     "grep -q '\"heads\":\\[\"1-1\",\"0-2\"\\]' shown\ngrep -q 'F16 F32' shown\n");
    expect_line(said, "model.layers.0.self_attn.q_proj.weight and 1 more tensor: F32 instead of F16, which "
                      "would lose the edit\n");
    free(said);
    said = run("rm -rf out\nsahara ablate \"$GOLDEN/models/llama-mha\" 1-1 --part v --op mean -o out\n"
               "grep -q '\"approximate\": true' out/sahara.json\n");
    expect_line(said, "v mean is an approximation");
    free(said);
    said = run(
        "rm -f out.gguf\nsahara ablate \"$GOLDEN/models/llama-quantised/model-mixed.gguf\" 1-1 -o out.gguf\n"
        "sahara inspect out.gguf --json > shown\ngrep -q '\"provenance\":{\"sahara\":\"ablate\"' shown\n");
    expect_line(said, "blk.1.attn_q.weight: F32 instead of Q");
    free(said);
}

/* The rest is the MLP's model unless it is named. B is A with a head's v turned off, so its attention alone
 * is new. */
static void test_graft(void **state)
{
    (void)state;
    static const char *const MODEL[] = {"llama-gqa", "llama-gqa/model-f32.gguf"};
    for (int i = 0; i < 2; i++) {
        char script[2048];
        const char *end = i ? ".gguf" : "";
        snprintf(
            script, sizeof script,
            "rm -rf b b.gguf out*\nA=\"$GOLDEN/models/%s\" E=%s\nsahara ablate \"$A\" 1-5 --part v --scale "
            "0 -q -o b$E\n"
            "sahara graft \"$A\" b$E --attention B --mlp A -q -o out1$E\n"
            "sahara graft \"$A\" b$E --attention A --mlp B -q -o out2$E\n"
            "sahara graft \"$A\" b$E --attention B --mlp A --rest B -q -o out3$E\n"
            "logits \"$A\" > la\nlogits b$E > lb\nfor i in 1 2 3; do logits out$i$E > logits$i; done\n"
            "cmp logits1 lb; cmp logits2 la; cmp logits3 lb\n"
            "sahara inspect out1$E --json > shown1\ngrep -q '\"rest\":\"A\"' shown1\n"
            "sahara inspect out2$E --json > shown2\ngrep -q '\"rest\":\"B\"' shown2\n"
            "sahara inspect out3$E | grep -q 'made by .*sahara graft'\n",
            MODEL[i], end);
        char *said = run(script);
        assert_string_equal(said, "");
        free(said);
        assert_true(distance("la", "lb") > 1e-2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ablate),
        cmocka_unit_test(test_smollm2),
        cmocka_unit_test(test_what_is_told),
        cmocka_unit_test(test_graft),
    };
    return cmocka_run_group_tests_name("checkpoints", tests, prepare, NULL);
}
