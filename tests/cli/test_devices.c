/* SPDX-License-Identifier: Apache-2.0 */
/* A device in a plugin at the command line: found, opened only when it is asked for, named in results, which go on on
 * no other; and what is said of plugins, cards and memory that are not there. The plugin is tests/models/far_plugin.c,
 * whose device computes as the CPU does, so that results must be the CPU's to the last bit.
 *
 * The environment variable SAHARA names the program; its folder holds tests/far/. */
#include <dlfcn.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/needs.h"
#include "util/scratch.h"

#define PLUGIN "libsahara-cuda.so"
#define SHIPS  "ships models/organism data/harmful.csv --contrast data/harmless.csv --limit 3 --opening 2 -q"

/* The program in a folder of its own, beside which no plugin lies, and the folder of the plugin. */
static char program[512], far_folder[PATH_MAX];

/* ---- The program --------------------------------------------------------------------------------------- */

static char *read_text(const char *path)
{
    size_t size;
    return (char *)scratch_read(path, &size);
}

/* Runs the command in an environment ("A=B C=D"), in which SAHARA_DEVICE_PATH leads to the plugin. Its exit status;
 * what it says goes to "said". */
static int run_in(const char *environment, const char *command)
{
    char line[3 * PATH_MAX];
    snprintf(
        line, sizeof line,
        "OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=AVX512_CORE SAHARA_DEVICE_PATH=/nowhere::%s %s %s %s 2> %s",
        far_folder, environment, program, command, scratch("said"));
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static void run(const char *environment, const char *command)
{
    int status = run_in(environment, command);
    if (status != 0) fail_msg("%s %s: %d: %s", environment, command, status, read_text(scratch("said")));
}

/* The command must fail with one line that has `part` in it. */
static void expect(const char *environment, const char *command, const char *part)
{
    assert_int_equal(run_in(environment, command), 1);
    char *said = read_text(scratch("said"));
    const char *end = strchr(said, '\n');
    if (strstr(said, part) == NULL || end == NULL || end[1] != '\0')
        fail_msg("%s %s says \"%s\", not \"%s\"", environment, command, said, part);
    free(said);
}

static void expect_in(const char *file, const char *part)
{
    char *text = read_text(scratch(file));
    if (strstr(text, part) == NULL) fail_msg("%s is \"%s\", without \"%s\"", file, text, part);
    free(text);
}

static const char *with(const char *command, const char *more, const char *out)
{
    static char text[2048];
    snprintf(text, sizeof text, "%s %s -o %s", command, more, scratch(out));
    return text;
}

/* ---- Files --------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The header of a result, for free(), and its other lines in order. */
static char *read_result(const char *name, char **lines)
{
    enum { MOST = 256 };
    char *text = read_text(scratch(name)), *rest, *found[MOST];
    size_t n = 0, length = strlen(text);
    assert_true(length > 0 && text[length - 1] == '\n');
    char *header = strdup(strtok_r(text, "\n", &rest));
    for (char *line; (line = strtok_r(NULL, "\n", &rest)) != NULL; found[n++] = line) assert_true(n < MOST);
    qsort(found, n, sizeof *found, by_text);
    *lines = calloc(1, length + 1);
    for (size_t i = 0; i < n; i++) strcat(strcat(*lines, found[i]), "\n");
    free(text);
    return header;
}

/* Results with the same lines; headers are alike but for the device, which `b` names. */
static void same_results(const char *a, const char *b)
{
    static const char DEVICE[] = ",\"device\":\"cuda: far\"";
    char *lines_a, *lines_b, *header_a = read_result(a, &lines_a), *header_b = read_result(b, &lines_b);
    assert_null(strstr(header_a, "\"device\""));
    char *named = strstr(header_b, DEVICE);
    assert_non_null(named);
    memmove(named, named + strlen(DEVICE), strlen(named + strlen(DEVICE)) + 1);
    assert_string_equal(header_a, header_b);
    assert_string_equal(lines_a, lines_b);
    assert_true(strlen(lines_a) > 0);
    free(lines_a);
    free(lines_b);
    free(header_a);
    free(header_b);
}

static void copy_program(const char *to)
{
    const char *from = getenv("SAHARA") != NULL ? getenv("SAHARA") : "build/sahara";
    size_t size;
    uint8_t *data = scratch_read(from, &size);
    scratch_write(to, data, size);
    assert_int_equal(chmod(to, 0700), 0);
    free(data);
}

static int make_program(void **state)
{
    char folder[512];
    const char *name = getenv("SAHARA") != NULL ? getenv("SAHARA") : "build/sahara";
    (void)state;
    snprintf(folder, sizeof folder, "%.*s/tests/far", (int)(strrchr(name, '/') - name), name);
    assert_non_null(realpath(folder, far_folder));
    mkdir(scratch("bin"), 0700);
    snprintf(program, sizeof program, "%s", scratch("bin/sahara"));
    copy_program(program);
    return 0;
}

/* ---- Tests --------------------------------------------------------------------------------------------- */

static void test_same_results(void **state)
{
    static const char *const COMMANDS[] = {
        SHIPS,
        "find models/organism data/harmful.csv --contrast data/harmless.csv --limit 6 --layers 2:4 --steps 2 "
        "-q",
        "direction models/organism data/harmful.csv data/harmless.csv --limit 6 -q",
        "generate models/organism data/harmful.csv --template chat --ablate 2-6 --limit 6 --max-new-tokens "
        "12 -q",
        "utility models/organism data/utility-organism.jsonl --template chat --ablate 3-3 --limit 8 -q",
        SHIPS " --op swap --partners data/harmless.csv --match --part q,v",
        SHIPS
        " --op swap --partners data/harmless.csv --match words --direction sufficiency --part k --heads "
        "0:4",
        "find models/organism data/harmful.csv --limit 6 --layers 1:3 --steps 2 --op mean-data --reference "
        "data/harmless.csv --part k --heads 0:4 -q",
        "generate models/organism data/harmful.csv --template chat --ablate 2-6,1-3 --limit 6 "
        "--max-new-tokens "
        "12 --op swap --partners data/harmless.csv --match --part v -q",
        "generate models/organism data/harmful.csv --template chat --ablate 2-3 --limit 6 --max-new-tokens "
        "12 --op mean-data --reference data/harmless.csv --positions all --part k -q",
    };
    (void)state;
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        char near[32], far[32];
        snprintf(near, sizeof near, "near-%zu.jsonl", i);
        snprintf(far, sizeof far, "far-%zu.jsonl", i);
        run("", with(COMMANDS[i], "", near));
        run("", with(COMMANDS[i], "--device cuda", far));
        same_results(near, far);
    }
    static const char *const LOGITS[] = {
        "logits models/organism --text Hello --ablate 2-6",
        "logits models/organism --text Hello --ablate 2-6 --op swap --partners data/harmless.csv --part q,v",
        "logits models/organism --text Hello --ablate 2-3 --op mean-data --reference data/harmless.csv "
        "--part "
        "k"};
    for (size_t i = 0; i < sizeof LOGITS / sizeof *LOGITS; i++) {
        run("", with(LOGITS[i], "--device cpu", "near"));
        run("", with(LOGITS[i], "--device cuda", "far"));
        char *near = read_text(scratch("near"));
        expect_in("far", near);
        free(near);
    }
    run("", with("inspect models/organism --check", "--device cuda", "checks"));
    expect_in("checks", "cuda: far");
}

/* Weights and rows beside one another, or layers that come and go: the device has room for little. */
static void test_memory(void **state)
{
    (void)state;
    run("", with(SHIPS, "", "near.jsonl"));
    expect("FAR_MEMORY=200000", with(SHIPS, "--device cuda", "little.jsonl"),
           "sahara: --memory: far has too little for the weights of organism, which take up to 5 MB");
    expect("FAR_MEMORY=7500000", with(SHIPS, "--device cuda", "few.jsonl"),
           "sahara: --memory: far has too little for the sweep, whose rows take ");
    run("FAR_MEMORY=7500000", with(SHIPS, "--device cuda --memory 5M", "far.jsonl"));
    same_results("near.jsonl", "far.jsonl");
}

/* In bfloat16 the sweeps of a device work by differences as the CPU's do. */
static void test_differences(void **state)
{
    static const char *const COMMANDS[] = {
        SHIPS " --layers 1:4 --precision bf16",
        "find models/organism data/harmful.csv --limit 6 --layers 2:4 --steps 2 -q --precision bf16"};
    (void)state;
    const bool there = run_in("", with(COMMANDS[0], "", "bf16-0.jsonl")) == 0;
    if (!there) expect("", with(COMMANDS[0], "", "bf16-0.jsonl"), "has no bfloat16 products");
    needs(there, "a processor with bfloat16 products");
    run("", with(COMMANDS[1], "", "bf16-1.jsonl"));
    for (int i = 0; i < 2; i++) {
        char near[32], far[32];
        snprintf(near, sizeof near, "bf16-%d.jsonl", i);
        snprintf(far, sizeof far, "far-bf16-%d.jsonl", i);
        run("", with(COMMANDS[i], "--device cuda", far));
        expect_in(far, "\"products\":\"differences\"");
        same_results(near, far);
    }
}

static void test_choice(void **state)
{
    char environment[600];
    struct stat info;
    (void)state;
    snprintf(environment, sizeof environment, "FAR_LOADED=%s", scratch("loaded"));
    run("", with(SHIPS, "", "plain.jsonl"));
    run(environment, with(SHIPS, "--device cpu", "cpu.jsonl"));
    assert_int_not_equal(stat(scratch("loaded"), &info), 0);
    run(environment, with("inspect models/organism", "--device cuda", "about")); /* computes nothing */
    assert_int_not_equal(stat(scratch("loaded"), &info), 0);
    run(environment, with(SHIPS, "--device cuda", "cuda.jsonl"));
    assert_int_equal(stat(scratch("loaded"), &info), 0);
    same_results("cpu.jsonl", "cuda.jsonl");

    static const char LOUD[] = "direction models/organism data/harmful.csv data/harmless.csv --limit 2";
    run("", with(LOUD, "--device auto", "auto.jsonl"));
    expect_in("said", "device cuda: far\n");
    run("FAR_IS=absent", with(LOUD, "--device auto", "absent.jsonl"));
    expect_in("said", "device cpu: there is no card\n");
    same_results("absent.jsonl", "auto.jsonl");
}

static void test_wrong_plugins(void **state)
{
    char link[600], library[PATH_MAX], environment[1024];
    Dl_info cmocka;
    const char *command = with(SHIPS, "--device cuda", "none.jsonl");
    struct stat info;
    (void)state;
    expect("FAR_IS=absent", command, "sahara: --device cuda: there is no card\n");
    expect("FAR_IS=abi", command,
           "/tests/far/" PLUGIN " belongs to another version (its interface is 10, not 4); install");
    expect("FAR_IS=version", command, "/tests/far/" PLUGIN " belongs to version 9.9.9; install the one of ");
    expect("FAR_IS=bytes", command, "/tests/far/" PLUGIN " was built from other sources of ");
    expect("FAR_IS=name", command, "/tests/far/" PLUGIN " is the plugin of abacus\n");

    mkdir(scratch("broken"), 0700);
    scratch_write_text(scratch("broken/" PLUGIN), "no library\n");
    snprintf(environment, sizeof environment, "SAHARA_DEVICE_PATH=%s", scratch("broken"));
    expect(environment, command, "sahara: --device cuda: the plugin does not load: ");

    /* A library, but no plugin. */
    mkdir(scratch("other"), 0700);
    assert_int_not_equal(dladdr((void *)(uintptr_t)_cmocka_run_group_tests, &cmocka), 0);
    assert_non_null(realpath(cmocka.dli_fname, library));
    snprintf(link, sizeof link, "%s", scratch("other/" PLUGIN));
    assert_int_equal(symlink(library, link), 0);
    snprintf(environment, sizeof environment, "SAHARA_DEVICE_PATH=%s", scratch("other"));
    expect(environment, command, "/other/" PLUGIN " is no plugin of Sahara's: it has no sah_plugin_get()\n");
    assert_int_not_equal(stat(scratch("none.jsonl"), &info), 0);
}

static void test_own_folder(void **state)
{
    char was[512], plugin[PATH_MAX + 32], link[600];
    (void)state;
    snprintf(was, sizeof was, "%s", program);
    mkdir(scratch("beside"), 0700);
    snprintf(program, sizeof program, "%s", scratch("beside/sahara"));
    assert_int_equal(rename(was, program), 0);
    snprintf(plugin, sizeof plugin, "%s/" PLUGIN, far_folder);
    snprintf(link, sizeof link, "%s", scratch("beside/" PLUGIN));
    assert_int_equal(symlink(plugin, link), 0);
    run("SAHARA_DEVICE_PATH=/nowhere", with(SHIPS, "--opening 0 --device cuda", "beside.jsonl"));
    /* It goes before others. */
    mkdir(scratch("dead"), 0700);
    scratch_write_text(scratch("dead/" PLUGIN), "no library\n");
    snprintf(plugin, sizeof plugin, "SAHARA_DEVICE_PATH=%s", scratch("dead"));
    run(plugin, with(SHIPS, "--opening 0 --device cuda", "beside-2.jsonl"));
    assert_int_equal(rename(program, was), 0);
    snprintf(program, sizeof program, "%s", was);
}

static void test_no_plugin(void **state)
{
    (void)state;
    needs(dlopen(PLUGIN, RTLD_LAZY) == NULL, "a system without " PLUGIN);
    expect("SAHARA_DEVICE_PATH=", with(SHIPS, "--device cuda", "none.jsonl"),
           "sahara: --device cuda: there is no plugin " PLUGIN ", neither in /");
}

/* The device goes away while a sweep runs: the journal is whole, and goes on on such a device alone. */
static void test_lost(void **state)
{
    char *lines, *header;
    (void)state;
    run("", with(SHIPS, "", "all.jsonl"));
    expect("FAR_PRODUCTS=450", with(SHIPS, "--device cuda", "lost.jsonl"),
           "sahara: the far device is lost\n");
    header = read_result("lost.jsonl", &lines);
    assert_true(strlen(lines) > 0);
    free(lines);
    free(header);
    expect("", with(SHIPS, "--device cpu", "lost.jsonl"),
           "lost.jsonl: holds another run: settings.device: \"cuda: far\" there, \"cpu\" here; choose");
    expect("FAR_IS=absent", with(SHIPS, "--device auto", "lost.jsonl"),
           "lost.jsonl: holds another run: settings.device: \"cuda: far\" there, \"cpu\" here; choose");
    expect("FAR_IS=other", with(SHIPS, "--device cuda", "lost.jsonl"),
           "settings.device: \"cuda: far\" there, \"cuda: far, of another kind\" here");
    run("", with(SHIPS, "--device cuda", "lost.jsonl"));
    same_results("all.jsonl", "lost.jsonl");
    expect("", with(SHIPS, "--device cuda", "all.jsonl"),
           "all.jsonl: holds another run: settings.device: \"cpu\" there, \"cuda: far\" here; choose");
}

static void test_shards(void **state)
{
    static const char MERGE[] = "merge";
    char files[1200];
    (void)state;
    run("", with(SHIPS, "", "whole.jsonl"));
    run("", with(SHIPS, "--device cuda --shard 0/2", "part-0.jsonl"));
    run("", with(SHIPS, "--device cuda --shard 1/2", "part-1.jsonl"));
    run("", with(SHIPS, "--shard 1/2", "strange.jsonl"));
    snprintf(files, sizeof files, "%s %s", scratch("part-0.jsonl"), scratch("part-1.jsonl"));
    run("", with(MERGE, files, "merged.jsonl"));
    same_results("whole.jsonl", "merged.jsonl");
    snprintf(files, sizeof files, "%s %s", scratch("part-0.jsonl"), scratch("strange.jsonl"));
    expect("", with(MERGE, files, "mixed.jsonl"), "settings.device: \"cuda: far\" there, \"cpu\" here");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_results),  cmocka_unit_test(test_memory),
        cmocka_unit_test(test_differences),   cmocka_unit_test(test_choice),
        cmocka_unit_test(test_wrong_plugins), cmocka_unit_test(test_own_folder),
        cmocka_unit_test(test_no_plugin),     cmocka_unit_test(test_lost),
        cmocka_unit_test(test_shards),
    };
    return cmocka_run_group_tests(tests, make_program, NULL);
}
