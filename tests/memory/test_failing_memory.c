/* SPDX-License-Identifier: Apache-2.0 */
/* An allocation that fails is reported as that, wherever it is: every call below runs again and again, and each
 * time a later one of its allocations fails. This program's malloc() and its like stand before the C library's
 * for everything that is linked. What the libraries of threads and products ask for never fails, as they end the
 * program then; nor what jansson's parser does, which loses characters without a word (2.14: strbuffer_append_byte()
 * of a string's bytes goes unchecked). */
#include <dlfcn.h>
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "util/needs.h"
#include "util/scratch.h"

#if !defined(__SANITIZE_ADDRESS__) && defined(__GLIBC__)
#define CAN_FAIL 1

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static __thread bool armed, inside; /* this thread's allocations count; one is being looked at */
static __thread bool parsing; /* JSON */
static __thread long countdown; /* allocations before the one that fails */
static __thread bool failed, coped; /* coped: in a library that can do without */

/* Whether this allocation is to fail; `caller` asked for it. */
static bool fails(const void *caller)
{
    static const char *const spared[] = {"libgomp", "libdnnl", "libstdc++", "ld-linux", "libcmocka"};
    Dl_info info = {0};
    if (!armed || inside || parsing) return false;
    inside = true;
    bool counts = dladdr(caller, &info) != 0 && info.dli_fname != NULL;
    for (size_t i = 0; counts && i < sizeof spared / sizeof *spared; i++)
        if (strstr(info.dli_fname, spared[i]) != NULL) counts = false;
    inside = false;
    if (!counts || countdown-- != 0) return false;
    failed = true;
    coped = strstr(info.dli_fname, "libc.so") != NULL || strstr(info.dli_fname, "libutf8proc") != NULL;
    errno = ENOMEM;
    return true;
}

#pragma GCC visibility push(default) /* for the shared libraries */
void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

json_t *json_loadb(const char *text, size_t size, size_t flags, json_error_t *error)
{
    json_t *(*parse)(const char *, size_t, size_t, json_error_t *);
    parsing = true;
    *(void **)(void *)&parse = dlsym(RTLD_NEXT, "json_loadb");
    json_t *value = parse(text, size, flags, error);
    parsing = false;
    return value;
}
#pragma GCC visibility pop
#else
#define CAN_FAIL 0
static bool armed, failed, coped;
static long countdown;
#endif

/* ---- What is tried --------------------------------------------------------------------------------------- */

#define ORGANISM "models/organism"
#define GOLDEN   "tests/golden/models/"

static sah_model *model;
static char paths[8][512];

static const char *fresh(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s", scratch(name));
    unlink(path);
    return path;
}

static sah_status try_queries(sah_error *error)
{
    sah_status status = SAH_OK;
    for (int i = 0; i < 4 && status == SAH_OK; i++) {
        sah_strings list;
        status = sah_queries_read(paths[i], NULL, 0, &list, error);
        sah_strings_free(&list);
    }
    return status;
}

static sah_status open_close(const char *path, const char *adapter, bool describe, sah_error *error)
{
    sah_model *opened = NULL;
    const sah_model_options options = {.threads = 1, .adapter = adapter, .describe_only = describe};
    sah_status status = sah_model_open(path, &options, &opened, error);
    sah_model_close(opened);
    return status;
}

static sah_status try_directory(sah_error *error)
{
    return open_close(GOLDEN "llama-gqa", "tests/golden/adapters/patterns", false, error);
}

static sah_status try_gguf(sah_error *error)
{
    return open_close(GOLDEN "llama-gqa/model-f32.gguf", NULL, false, error);
}

static sah_status try_torch(sah_error *error)
{
    return open_close("tests/golden/formats/llama-bin-sharded", NULL, false, error);
}

static sah_status try_tokenizer(sah_error *error)
{
    return open_close(ORGANISM, NULL, true, error);
}

static sah_status try_text(sah_error *error)
{
    char *prompt = NULL, *text = NULL;
    int32_t *ids = NULL;
    size_t n = 0, n_heads, n_edits = 0;
    sah_head *heads = NULL;
    sah_edit *edits = NULL;
    const sah_model_info *info = sah_model_describe(model);
    const sah_ablation ablation = {SAH_PART_Q | SAH_PART_V, SAH_OP_SCALE, 0};
    static float logits[100000];
    assert_true(info->n_vocab <= 100000);
    sah_status status = sah_prompt_wrap(model, "chat", NULL, "How to starve a goat?", &prompt, error);
    if (status == SAH_OK) status = sah_encode(model, prompt, strlen(prompt), &ids, &n, error);
    if (status == SAH_OK) status = sah_decode(model, ids, n, false, &text, error);
    if (status == SAH_OK) status = sah_heads_parse("2-6,2-1", info, SAH_PART_Q, &heads, &n_heads, error);
    if (status == SAH_OK) status = sah_edits_new(info, heads, n_heads, &ablation, &edits, &n_edits, error);
    if (status == SAH_OK) status = sah_logits(model, ids, n, edits, n_edits, logits, error);
    free(prompt);
    free(text);
    free(ids);
    free(heads);
    free(edits);
    return status;
}

static char *two[] = {"How to starve a goat?", "How to feed a goat?"};
static const sah_strings queries = {two, 2, 2};

static const sah_run_options run_options = {
    .ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4F}, .layer_to = 2, .head_to = 1, .template_ = "chat"};

static sah_status try_ships(sah_error *error)
{
    return sah_ships(model, &queries, &queries, &run_options, fresh("out.jsonl"), error);
}

static sah_status try_find(sah_error *error)
{
    const sah_find_options find = {.steps = 2, .rank = 1, .random_groups = 1};
    return sah_find(model, &queries, NULL, &run_options, &find, fresh("out.jsonl"), error);
}

static sah_status try_direction(sah_error *error)
{
    static char *other[] = {"What is a goat?", "Why?"};
    const sah_strings harmless = {other, 2, 2};
    const sah_direction_options options = {.layer = -1};
    return sah_direction(model, &queries, &harmless, &options, fresh("out.jsonl"), error);
}

static sah_status try_generate(sah_error *error)
{
    const sah_generate_options options = {.max_new_tokens = 3, .temperature = 1, .top_k = 5};
    return sah_generate(model, &queries, &options, fresh("out.jsonl"), error);
}

static sah_status try_judge(sah_error *error)
{
    sah_judge *judge = NULL;
    sah_judgement total;
    sah_status status = sah_judge_new(SAH_RULE_DEFAULT, NULL, &judge, error);
    if (status == SAH_OK)
        status = sah_judge_file(judge, NULL, paths[4], NULL, NULL, fresh("out.jsonl"), &total, error);
    sah_judge_free(judge);
    return status;
}

static sah_status try_result(sah_error *error)
{
    sah_result *result = NULL;
    const char *path = paths[5];
    char *text = NULL;
    const sah_rank_options options = {.format = SAH_FORMAT_JSON};
    sah_status status = sah_result_open(&path, 1, &result, error);
    if (status == SAH_OK) status = sah_rank_text(result, &options, &text, error);
    free(text);
    text = NULL;
    if (status == SAH_OK) status = sah_heat_map(result, SAH_ORDER_DEFAULT, false, 80, &text, error);
    free(text);
    sah_result_close(result);
    return status;
}

static sah_status try_report(sah_error *error)
{
    const char *path = paths[5];
    const sah_report_options options = {0};
    sah_status status = sah_report(&path, 1, &options, fresh("page.html"), error);
    return status;
}

/* ---- Each in turn ---------------------------------------------------------------------------------------- */

/* What a call wrote, for free(); NULL: nothing. */
static char *written(void)
{
    size_t size;
    return access(scratch("out.jsonl"), F_OK) == 0 ? (char *)scratch_read(scratch("out.jsonl"), &size) : NULL;
}

/* The C library sorts in place and writes without a buffer where it must, and so does jansson as it writes: a call
 * that bears a failure has written what it writes otherwise. Nothing else goes unseen. */
static void try_all(const char *name, sah_status (*call)(sah_error *))
{
    enum { EACH = 200, MORE = 120 };
    long n = 0;
    int wrong = 0, tries = 0;
    sah_error first = {0};
    unlink(scratch("out.jsonl"));
    expect_ok(call(&first), &first);
    char *usual = written();
    for (bool more = true; more; tries++) {
        sah_error error = {0};
        countdown = n;
        failed = false;
        armed = true;
        sah_status status = call(&error);
        armed = false;
        more = failed;
        if (!failed) expect_ok(status, &error);
        const bool right =
            status == SAH_OUT_OF_MEMORY && error.status == status &&
            (strstr(error.message, "not enough memory") || strstr(error.message, "Cannot allocate memory"));
        char *now = status == SAH_OK ? written() : NULL;
        const bool same = now != NULL && usual != NULL && strcmp(now, usual) == 0;
        free(now);
        if (failed && !right && !(status == SAH_OK && (coped || same)) && wrong++ < 12)
            print_error("%s: allocation %ld: status %d, \"%s\"\n", name, n, (int)status, error.message);
        n += n < EACH ? 1 : 1 + n / MORE;
    }
    free(usual);
    print_message("%s: each of %d allocations\n", name, tries - 1);
    assert_int_equal(wrong, 0);
}

#define TRY(name)                                                                                            \
    static void test_##name(void **state)                                                                    \
    {                                                                                                        \
        (void)state;                                                                                         \
        needs(CAN_FAIL, "glibc without the address sanitizer");                                              \
        try_all(#name, try_##name);                                                                          \
    }
TRY(queries)
TRY(directory)
TRY(gguf)
TRY(torch)
TRY(tokenizer)
TRY(text)
TRY(ships)
TRY(find)
TRY(direction)
TRY(generate)
TRY(judge)
TRY(result)
TRY(report)

static int prepare(void **state)
{
    (void)state;
    static const char *const files[][2] = {
        {"q.csv", "id,goal\n1,\"a, b\"\n2,c\n"},
        {"q.jsonl", "{\"goal\": \"a\", \"x\": [1, 2]}\n{\"goal\": \"b\"}\n"},
        {"q.json", "[\"a\", {\"goal\": \"b\"}]"},
        {"q.txt", "one\ntwo\n"},
        {"r.jsonl",
         "{\"response\": \"I cannot help with that.\"}\n{\"response\": \"Here is how: take a goat.\"}\n"},
        {"ships.jsonl", NULL},
    };
    sah_error error = {0};
    const sah_model_options options = {.threads = 1};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        strcpy(paths[i], scratch(files[i][0]));
        if (files[i][1] != NULL) scratch_write_text(paths[i], files[i][1]);
    }
    expect_ok(sah_model_open(ORGANISM, &options, &model, &error), &error);
    expect_ok(sah_ships(model, &queries, &queries, &run_options, paths[5], &error), &error);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    sah_model_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queries),  cmocka_unit_test(test_directory), cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_torch),    cmocka_unit_test(test_tokenizer), cmocka_unit_test(test_text),
        cmocka_unit_test(test_ships),    cmocka_unit_test(test_find),      cmocka_unit_test(test_direction),
        cmocka_unit_test(test_generate), cmocka_unit_test(test_judge),     cmocka_unit_test(test_result),
        cmocka_unit_test(test_report),
    };
    return cmocka_run_group_tests(tests, prepare, clean);
}
