/* SPDX-License-Identifier: Apache-2.0 */
/* What sahara.h promises of progress callbacks and threads: a callback may call the library, runs of two models
 * do not wait for each other, and several threads may search at once. A run that waits for ever is ended by a
 * signal after a minute. */
#include <omp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "util/mapfile.h"
#include "util/scratch.h"

#define ORGANISM "models/organism"

static sah_model *models[2];
static sah_strings queries, contrast;

static int open_all(void **state)
{
    (void)state;
    sah_error error = {0};
    const sah_model_options options = {.threads = 2};
    alarm(60);
    omp_set_num_threads(2);
    for (int i = 0; i < 2; i++) expect_ok(sah_model_open(ORGANISM, &options, &models[i], &error), &error);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, 8, &queries, &error), &error);
    expect_ok(sah_queries_read("data/harmless.csv", NULL, 8, &contrast, &error), &error);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) sah_model_close(models[i]);
    sah_strings_free(&queries);
    sah_strings_free(&contrast);
    return 0;
}

static sah_run_options run_options(sah_progress_fn progress, void *user)
{
    return (sah_run_options){.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4F},
                             .template_ = "ships",
                             .progress = progress,
                             .user = user};
}

/* ---- A callback that calls the library ------------------------------------------------------------------- */

typedef struct inner {
    const sah_model *model;
    int calls, within; /* within: a call that another has not left */
    bool overlapped, left; /* left: asked to stop, and called again */
    int stop_after;
    float logits[8];
} inner;

static bool call_library(void *user, const char *what, uint64_t done, uint64_t total)
{
    inner *in = user;
    sah_error error = {0};
    (void)what;
    if (__atomic_add_fetch(&in->within, 1, __ATOMIC_SEQ_CST) > 1) in->overlapped = true;
    assert_true(done <= total);
    if (in->calls == in->stop_after) in->left = true;
    if (in->calls++ == 0) {
        /* A sweep within the sweep, and a pass. */
        sah_strings one = {queries.items, 1, 1};
        sah_run_options options = run_options(NULL, NULL);
        const char *path = scratch("inner.jsonl");
        unlink(path);
        expect_ok(sah_ships(in->model, &one, NULL, &options, path, &error), &error);
        float *logits = malloc((size_t)sah_model_describe(in->model)->n_vocab * sizeof *logits);
        const int32_t tokens[] = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
        expect_ok(sah_logits(in->model, tokens, 10, NULL, 0, logits, &error), &error);
        memcpy(in->logits, logits, sizeof in->logits);
        free(logits);
    }
    __atomic_sub_fetch(&in->within, 1, __ATOMIC_SEQ_CST);
    return in->calls != in->stop_after;
}

static void test_callback_calls(void **state)
{
    (void)state;
    sah_error error = {0};
    float *plain = malloc((size_t)sah_model_describe(models[0])->n_vocab * sizeof *plain);
    const int32_t tokens[] = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    expect_ok(sah_logits(models[0], tokens, 10, NULL, 0, plain, &error), &error);
    for (int other = 0; other < 2; other++) {
        inner in = {.model = models[other]};
        sah_run_options options = run_options(call_library, &in), alone = run_options(NULL, NULL);
        sah_strings one = {queries.items, 1, 1};
        unlink(scratch("outer.jsonl"));
        expect_ok(sah_ships(models[0], &queries, &contrast, &options, scratch("outer.jsonl"), &error),
                  &error);
        assert_true(in.calls > 1 && !in.overlapped);
        unlink(scratch("alone.jsonl"));
        expect_ok(sah_ships(models[0], &one, NULL, &alone, scratch("alone.jsonl"), &error), &error);
        size_t sizes[2];
        free(scratch_read(scratch("inner.jsonl"), &sizes[0]));
        free(scratch_read(scratch("alone.jsonl"), &sizes[1]));
        assert_true(sizes[0] > 1000 && sizes[1] > 1000); /* lines come in any order */
        for (int i = 0; i < 8; i++)
            assert_true(in.logits[i] - plain[i] < 1e-4F && plain[i] - in.logits[i] < 1e-4F);
    }
    free(plain);
}

static void test_callback_of_find(void **state)
{
    (void)state;
    sah_error error = {0};
    inner in = {.model = models[0]};
    sah_run_options options = run_options(call_library, &in);
    const sah_find_options find = {.steps = 2, .rank = 1, .random_groups = 3};
    unlink(scratch("find.jsonl"));
    expect_ok(sah_find(models[0], &queries, &contrast, &options, &find, scratch("find.jsonl"), &error),
              &error);
    assert_true(in.calls > 1 && !in.overlapped);
}

static void test_callback_stops(void **state)
{
    (void)state;
    sah_error error = {0};
    inner in = {.model = models[0], .stop_after = 2};
    sah_run_options options = run_options(call_library, &in);
    unlink(scratch("stopped.jsonl"));
    assert_int_equal(sah_ships(models[0], &queries, NULL, &options, scratch("stopped.jsonl"), &error),
                     SAH_INTERRUPTED);
    assert_int_equal(error.status, SAH_INTERRUPTED);
    assert_false(in.left);
}

/* ---- Two models ------------------------------------------------------------------------------------------ */

/* The first run's callback comes back only when the second run has ended. */
typedef struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool waiting, ended;
} meeting;

static bool wait_for_other(void *user, const char *what, uint64_t done, uint64_t total)
{
    meeting *m = user;
    (void)what, (void)done, (void)total;
    pthread_mutex_lock(&m->lock);
    m->waiting = true;
    pthread_cond_broadcast(&m->changed);
    while (!m->ended) pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
    return true;
}

static bool go_on(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user, (void)what, (void)done, (void)total;
    return true;
}

static void *run_first(void *user)
{
    sah_error error = {0};
    sah_run_options options = run_options(wait_for_other, user);
    omp_set_num_threads(2);
    unlink(scratch("first.jsonl"));
    return (void *)(intptr_t)sah_ships(models[0], &queries, NULL, &options, scratch("first.jsonl"), &error);
}

static void test_models_do_not_wait(void **state)
{
    (void)state;
    meeting m = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    pthread_t thread;
    void *status;
    sah_error error = {0};
    sah_run_options options = run_options(go_on, NULL);
    char path[512];
    strcpy(path, scratch("second.jsonl"));
    unlink(path);
    assert_int_equal(pthread_create(&thread, NULL, run_first, &m), 0);
    pthread_mutex_lock(&m.lock);
    while (!m.waiting) pthread_cond_wait(&m.changed, &m.lock);
    pthread_mutex_unlock(&m.lock);
    expect_ok(sah_ships(models[1], &queries, NULL, &options, path, &error), &error);
    pthread_mutex_lock(&m.lock);
    m.ended = true;
    pthread_cond_broadcast(&m.changed);
    pthread_mutex_unlock(&m.lock);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, SAH_OK);
}

/* ---- Several searches at once ---------------------------------------------------------------------------- */

/* A BLAS keeps its threads for the whole process, so the library brings none. */
static void test_no_blas(void **state)
{
    (void)state;
    size_t size;
    char *maps;
    sah_error error = {0};
    expect_ok(sah_file_read("/proc/self/maps", 1 << 24, &maps, &size, &error), &error);
    assert_non_null(strstr(maps, "libjansson"));
    assert_null(strstr(maps, "blas"));
    assert_null(strstr(maps, "lapack"));
    free(maps);
}

enum { SEARCHES = 3 };

static void *search(void *user)
{
    sah_error error = {0};
    sah_run_options options = run_options(NULL, NULL);
    const sah_find_options find = {.steps = 2, .rank = 1, .random_groups = 3};
    omp_set_num_threads(1);
    sah_status status = sah_find(models[0], &queries, &contrast, &options, &find, user, &error);
    return (void *)(intptr_t)status;
}

/* The lines of a journal in order of their text. */
static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *sorted(const char *path)
{
    size_t size, n = 0;
    char *lines[4096], *text = (char *)scratch_read(path, &size), *out = calloc(size + 2, 1);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) lines[n++] = line;
    qsort(lines, n, sizeof *lines, by_text);
    for (size_t i = 0; i < n; i++) strcat(strcat(out, lines[i]), "\n");
    free(text);
    return out;
}

static void test_searches_at_once(void **state)
{
    (void)state;
    pthread_t threads[SEARCHES];
    char paths[SEARCHES][512];
    char *text[SEARCHES];
    for (int i = 0; i < SEARCHES; i++) {
        char name[32];
        snprintf(name, sizeof name, "search-%d.jsonl", i);
        strcpy(paths[i], scratch(name));
    }
    assert_int_equal((intptr_t)search(paths[0]), SAH_OK);
    for (int i = 1; i < SEARCHES; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, search, paths[i]), 0);
    for (int i = 1; i < SEARCHES; i++) {
        void *status;
        pthread_join(threads[i], &status);
        assert_int_equal((intptr_t)status, SAH_OK);
    }
    for (int i = 0; i < SEARCHES; i++) text[i] = sorted(paths[i]);
    for (int i = 1; i < SEARCHES; i++) assert_string_equal(text[0], text[i]);
    for (int i = 0; i < SEARCHES; i++) free(text[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callback_calls),   cmocka_unit_test(test_callback_of_find),
        cmocka_unit_test(test_callback_stops),   cmocka_unit_test(test_models_do_not_wait),
        cmocka_unit_test(test_searches_at_once), cmocka_unit_test(test_no_blas),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
