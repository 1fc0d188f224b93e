/* SPDX-License-Identifier: Apache-2.0 */
/* Ships of several parts in one run: each result is that of a run of the part alone, to the byte, also where the run
 * was interrupted, and the command writes it where it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "models/planted.h"
#include "util/scratch.h"

enum { N_QUERIES = 3, PARTS = 3, MOST_LINES = 64 };
static const unsigned parts[PARTS] = {SAH_PART_Q, SAH_PART_K, SAH_PART_V};

/* Grouped queries: fewer key heads than heads, so that results differ in length. */
static const planted subject = {PLANTED_ONE, {{2, 5}}, {0}, 8, 2, 41};

typedef struct run {
    sah_model *model;
    sah_strings queries, contrast;
    sah_openings openings;
    sah_run_options options;
} run;

static void run_new(run *r)
{
    sah_error error = {0};
    *r = (run){.model = planted_open(&subject),
               .queries = planted_queries(true, 0, N_QUERIES),
               .contrast = planted_queries(false, 3, N_QUERIES)};
    const sah_openings_options openings = {.template_ = "ships", .length = 4, .judged = 16};
    expect_ok(sah_openings_new(r->model, &r->queries, &r->contrast, &openings, &r->openings, &error), &error);
    r->options = (sah_run_options){
        .ablation = {0, SAH_OP_SCALE, 1e-4f}, .template_ = "ships", .openings = &r->openings};
}

static void run_free(run *r)
{
    sah_openings_free(&r->openings);
    sah_strings_free(&r->queries);
    sah_strings_free(&r->contrast);
    sah_model_close(r->model);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The same header, and the same lines in any order. */
static void expect_same(const char *path, const char *other)
{
    const char *const names[2] = {path, other};
    char *texts[2], *lines[2][MOST_LINES] = {{NULL}};
    size_t n[2] = {0}, size;
    for (int i = 0; i < 2; i++) {
        char *rest = NULL;
        texts[i] = (char *)scratch_read(names[i], &size);
        for (char *line = strtok_r(texts[i], "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
            assert_true(n[i] < MOST_LINES);
            lines[i][n[i]++] = line;
        }
        qsort(lines[i] + 1, n[i] - 1, sizeof *lines[i], compare_lines);
    }
    assert_int_equal(n[0], n[1]);
    for (size_t i = 0; i < n[0]; i++) assert_string_equal(lines[0][i], lines[1][i]);
    free(texts[0]);
    free(texts[1]);
}

/* Leaves `keep` whole lines of a file, and a piece of the next. */
static void cut(const char *path, int keep)
{
    size_t size, at = 0;
    uint8_t *text = scratch_read(path, &size);
    for (int i = 0; i < keep; i++) at = (size_t)((uint8_t *)memchr(text + at, '\n', size - at) - text) + 1;
    scratch_write(path, text, at + 9);
    free(text);
}

static void test_as_alone(void **state)
{
    (void)state;
    static char paths[PARTS][512], alone[PARTS][512];
    sah_error error = {0};
    run r;
    run_new(&r);
    const char *given[PARTS];
    for (int i = 0; i < PARTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "alone.%d.jsonl", i);
        snprintf(alone[i], sizeof alone[i], "%s", scratch(name));
        snprintf(name, sizeof name, "apart.%d.jsonl", i);
        snprintf(paths[i], sizeof paths[i], "%s", scratch(name));
        given[i] = paths[i];
        r.options.ablation.parts = parts[i];
        expect_ok(sah_ships(r.model, &r.queries, &r.contrast, &r.options, alone[i], &error), &error);
    }
    r.options.ablation.parts = SAH_PART_Q | SAH_PART_K | SAH_PART_V;
    expect_ok(sah_ships_apart(r.model, &r.queries, &r.contrast, &r.options, given, PARTS, &error), &error);
    for (int i = 0; i < PARTS; i++) expect_same(paths[i], alone[i]);

    /* Cut at different lines, one not at all and one gone, it carries on. */
    cut(paths[0], 5);
    remove(paths[2]);
    expect_ok(sah_ships_apart(r.model, &r.queries, &r.contrast, &r.options, given, PARTS, &error), &error);
    for (int i = 0; i < PARTS; i++) expect_same(paths[i], alone[i]);

    /* Two of them, of shards that take a third each. */
    r.options.ablation.parts = SAH_PART_Q | SAH_PART_V;
    r.options.shard = (sah_shard){1, 3};
    remove(paths[0]);
    remove(paths[1]);
    expect_ok(sah_ships_apart(r.model, &r.queries, &r.contrast, &r.options, given, 2, &error), &error);
    for (int i = 0; i < 2; i++) {
        remove(alone[0]);
        r.options.ablation.parts = i == 0 ? SAH_PART_Q : SAH_PART_V;
        expect_ok(sah_ships(r.model, &r.queries, &r.contrast, &r.options, alone[0], &error), &error);
        expect_same(paths[i], alone[0]);
    }
    r.options.ablation.parts = SAH_PART_Q | SAH_PART_V;
    expect_failure(sah_ships_apart(r.model, &r.queries, &r.contrast, &r.options, given, PARTS, &error),
                   &error, "3 results for 2 parts");
    run_free(&r);
}

static int command(const char *arguments)
{
    char line[2048];
    snprintf(line, sizeof line,
             "%s ships models/organism data/harmful.csv --limit 2 -q --layers 0:1 %s 2> /dev/null",
             getenv("SAHARA"), arguments);
    const int status = system(line);
    return status == -1 ? -1 : (status >> 8) & 255;
}

/* -o names both results, also where only a folder's name has a dot. */
static void test_command(void **state)
{
    (void)state;
    static char folder[512], arguments[1024], q[600], v[600], alone[600];
    if (getenv("SAHARA") == NULL) skip();
    snprintf(folder, sizeof folder, "%s", scratch("a.b"));
    snprintf(arguments, sizeof arguments, "mkdir '%s'", folder);
    assert_int_equal(system(arguments), 0);
    for (int dot = 0; dot < 2; dot++) {
        const char *ending = dot ? ".jsonl" : "";
        snprintf(arguments, sizeof arguments, "--part v,q --apart -o '%s/out%s'", folder, ending);
        snprintf(q, sizeof q, "%s/out.q%s", folder, ending);
        snprintf(v, sizeof v, "%s/out.v%s", folder, ending);
        snprintf(alone, sizeof alone, "%s/alone%s", folder, ending);
        assert_int_equal(command(arguments), 0);
        snprintf(arguments, sizeof arguments, "--part v -o '%s'", alone);
        assert_int_equal(command(arguments), 0);
        expect_same(v, alone);
        remove(alone);
        snprintf(arguments, sizeof arguments, "--part q -o '%s'", alone);
        assert_int_equal(command(arguments), 0);
        expect_same(q, alone);
    }
    assert_int_equal(command("--part q,v --apart"), 2);
    assert_int_equal(command("--part q,v --apart -o -"), 2);
    snprintf(arguments, sizeof arguments, "--part q,v --apart --screen -o '%s/screened'", folder);
    assert_int_equal(command(arguments), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_alone),
        cmocka_unit_test(test_command),
    };
    return cmocka_run_group_tests_name("Ships, parts apart", tests, NULL, NULL);
}
