/* SPDX-License-Identifier: Apache-2.0 */
/* The same question gives the same bytes: on 1, 2, 3, 8 and 64 threads, with rows and layers in pieces of any size, in
 * one piece or in shards of other numbers of threads (docs/files.md; lines in any order). scripts/check-threads runs
 * this under the thread sanitizer. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/scratch.h"

enum { MOST_LINES = 512, SHARDS = 3 };

static sah_strings harmful, harmless;
static sah_items items;
static const sah_ablation Q = {SAH_PART_Q, SAH_OP_SCALE, 1e-4F};

static int read_all(void **state)
{
    (void)state;
    sah_error error = {0};
    expect_ok(sah_queries_read("data/harmful.csv", NULL, 4, &harmful, &error), &error);
    expect_ok(sah_queries_read("data/harmless.csv", NULL, 4, &harmless, &error), &error);
    expect_ok(sah_items_read("data/utility-organism.jsonl", 12, &items, &error), &error);
    return 0;
}

static int free_all(void **state)
{
    (void)state;
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_items_free(&items);
    return 0;
}

/* How a question is asked: the numbers that may not matter. */
typedef struct how {
    int threads;
    uint64_t model_memory, rows; /* bytes; 0: no bound */
    sah_shard shard;
} how;

typedef sah_status ask_fn(const sah_model *model, const how *h, const char *path, sah_error *error);

static sah_run_options run_options(const how *h)
{
    return (sah_run_options){.ablation = Q, .template_ = "chat", .memory = h->rows, .shard = h->shard};
}

static sah_status ships(const sah_model *model, const how *h, const char *path, sah_error *error)
{
    const sah_run_options options = run_options(h);
    return sah_ships(model, &harmful, &harmless, &options, path, error);
}

static sah_status find(const sah_model *model, const how *h, const char *path, sah_error *error)
{
    const sah_run_options options = run_options(h);
    /* A shard by itself chooses no head. */
    const sah_find_options two = {.steps = h->shard.count > 1 ? 1 : 2, .rank = 1, .random_groups = 3};
    return sah_find(model, &harmful, &harmless, &options, &two, path, error);
}

static sah_status direction(const sah_model *model, const how *h, const char *path, sah_error *error)
{
    (void)h;
    return sah_direction(model, &harmful, &harmless, NULL, path, error);
}

static sah_status generate(const sah_model *model, const how *h, const char *path, sah_error *error)
{
    const sah_generate_options options = {.max_new_tokens = 4,
                                          .temperature = 1,
                                          .top_k = 20,
                                          .template_ = "chat",
                                          .memory = h->rows,
                                          .shard = h->shard};
    return sah_generate(model, &harmful, &options, path, error);
}

static sah_status utility(const sah_model *model, const how *h, const char *path, sah_error *error)
{
    const sah_head head = {3, 3};
    const sah_utility_options options = {
        .items = &items, .heads = &head, .n_heads = 1, .run = run_options(h)};
    return sah_utility(model, &options, path, NULL, error);
}

static void ask(ask_fn *question, const how *h, const char *path)
{
    sah_error error = {0};
    sah_model *model = NULL;
    const sah_model_options options = {.threads = h->threads, .memory = h->model_memory};
    unlink(path);
    expect_ok(sah_model_open("models/organism", &options, &model, &error), &error);
    expect_ok(question(model, h, path, &error), &error);
    sah_model_close(model);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of a file in the order of their texts, joined; for free(). */
static char *sorted(const char *path)
{
    size_t size, n = 0;
    char *rest, *lines[MOST_LINES], *text = (char *)scratch_read(path, &size), *out = calloc(1, size + 2),
                                    *end = out;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        assert_true(n < MOST_LINES);
        lines[n++] = line;
    }
    qsort(lines, n, sizeof *lines, by_text);
    for (size_t i = 0; i < n; i++) end += sprintf(end, "%s\n", lines[i]);
    free(text);
    assert_true(n > 2);
    return out;
}

static void same(const char *usual, const char *path, const how *h)
{
    char *now = sorted(path);
    size_t at = 0;
    while (usual[at] != '\0' && usual[at] == now[at]) at++;
    if (usual[at] != now[at])
        fail_msg("%d threads, model in %llu bytes, rows in %llu: \"%.80s\" in place of \"%.80s\"", h->threads,
                 (unsigned long long)h->model_memory, (unsigned long long)h->rows,
                 now + (at > 40 ? at - 40 : 0), usual + (at > 40 ? at - 40 : 0));
    free(now);
}

/* The question in shards, each on another number of threads, united. */
static void in_shards(ask_fn *question, const char *path)
{
    char shards[SHARDS][512];
    const char *paths[SHARDS];
    sah_error error = {0};
    sah_merge_report told = {0};
    for (int i = 0; i < SHARDS; i++) {
        char name[32];
        const how h = {.threads = 1 + 2 * i, .shard = {(size_t)i, SHARDS}};
        snprintf(name, sizeof name, "shard-%d.jsonl", i);
        paths[i] = strcpy(shards[i], scratch(name));
        ask(question, &h, paths[i]);
    }
    unlink(path);
    expect_ok(sah_merge(paths, SHARDS, path, &told, &error), &error);
    sah_merge_report_free(&told);
}

/* `model_memory` and `rows` are little more than the least that will do, with which layers come and go and rows are
 * many small pieces; 0: not asked so. */
static void check(ask_fn *question, int most_threads, uint64_t model_memory, uint64_t rows, bool shards)
{
    char path[512];
    const how alone = {.threads = 1};
    snprintf(path, sizeof path, "%s", scratch("out.jsonl"));
    ask(question, &alone, path);
    char *usual = sorted(path);
    const how others[] = {{.threads = 2},
                          {.threads = 3},
                          {.threads = 8},
                          {.threads = 64},
                          {.threads = 2, .model_memory = model_memory},
                          {.threads = 3, .rows = rows}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (others[i].threads > most_threads) continue;
        if (i >= 4 && others[i].model_memory + others[i].rows == 0) continue;
        ask(question, &others[i], path);
        same(usual, path, &others[i]);
    }
    if (shards) {
        const how united = {.threads = 0};
        in_shards(question, path);
        same(usual, path, &united);
    }
    free(usual);
}

static void test_ships(void **state)
{
    (void)state;
    check(ships, 64, 6 << 20, 2 << 20, true);
}

static void test_find(void **state)
{
    (void)state;
    check(find, 8, 6 << 20, 2 << 20, false);
}

static void test_direction(void **state)
{
    (void)state;
    check(direction, 8, 5 << 20, 0, false);
}

static void test_generate(void **state)
{
    (void)state;
    check(generate, 64, 5 << 20, 1 << 20, true);
}

static void test_utility(void **state)
{
    (void)state;
    check(utility, 8, 5 << 20, 0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ships),    cmocka_unit_test(test_find),    cmocka_unit_test(test_direction),
        cmocka_unit_test(test_generate), cmocka_unit_test(test_utility),
    };
    return cmocka_run_group_tests(tests, read_all, free_all);
}
