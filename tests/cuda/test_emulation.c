/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA device on a card that the processor plays: what tests/engine/test_device.c cannot ask of every device. That
 * the emulation sees the faults it is there for; that a row's bits depend on nothing but the row; what products make of
 * each kind of weights; a card that is not there, too small, or lost; and the organism from end to end. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cuda/device.h"
#include "engine/alone.h"
#include "engine/cpu/cpu.h"
#include "engine/cuda/card.h"
#include "engine/cuda/plugin.h"
#include "engine/forward.h"
#include "engine/model.h"
#include "models/random_model.h"
#include "util/scratch.h"

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif
#else
enum { SANITIZED = 0 };
#endif

const sah_plugin *sah_plugin_get(void);

static const sah_device *(*const WAYS[])(void) = {emulated_by_pieces, emulated_by_float32};
enum { N_WAYS = 2 };

/* ---- A card that is not there: before any other test finds one --------------------------------------------- */

static void test_no_card(void **state)
{
    const sah_device *device;
    char description[160];
    sah_error error = {0};
    (void)state;
    emulated_card(0, 9, 0, 1 << 20);
    assert_int_equal(sah_plugin_get()->open(&device, description, sizeof description, &error),
                     SAH_NOT_SUPPORTED);
    assert_string_equal(error.message, "there is no graphics card that CUDA can use");
    emulated_card(-1, 9, 0, 1 << 20);
    assert_int_equal(sah_plugin_get()->open(&device, description, sizeof description, &error),
                     SAH_NOT_SUPPORTED);
    assert_non_null(strstr(error.message, "there is no NVIDIA driver"));
    emulated_card(1, 7, 0, 1 << 20);
    assert_int_equal(sah_plugin_get()->open(&device, description, sizeof description, &error),
                     SAH_NOT_SUPPORTED);
    assert_string_equal(error.message,
                        "emulated is too old: its compute capability is 7.0, and 7.5 is needed");
    assert_true(sah_plugin_fits(sah_plugin_get()));
    emulated_card(1, 8, 9, 1 << 20);
    assert_int_equal(sah_plugin_get()->open(&device, description, sizeof description, &error), SAH_OK);
    assert_string_equal(description, "cuda: emulated, cuBLAS 0, float32 products by float32");
    assert_false(sah_card_here()->pieces);
    assert_true(sah_card_here()->bf16);
}

/* ---- Faults ---------------------------------------------------------------------------------------------- */

enum { N = 40 };

/* The sum on a card, of N ones, in each place; false where one differs. */
static bool sums_up(planted fault, sah_status *status)
{
    const sah_device *device = sah_plugin_get() != NULL ? emulated_by_pieces() : NULL;
    sah_error error = {0};
    float ones[N], sums[N];
    for (int i = 0; i < N; i++) ones[i] = 1.0f;
    float *in = device->alloc(sizeof ones), *out = device->alloc(sizeof sums);
    *status = device->upload(ones, sizeof ones, in, &error);
    planted_sum(fault, in, N, out);
    if (*status == SAH_OK) *status = device->download(out, sizeof sums, sums, &error);
    device->free(in);
    device->free(out);
    bool right = *status == SAH_OK;
    for (int i = 0; i < N && right; i++) right = sums[i] > N - 0.5f && sums[i] < N + 0.5f;
    return right;
}

static void test_missing_barrier(void **state)
{
    static const emulated_order orders[] = {EMULATED_FORWARD, EMULATED_BACKWARD, EMULATED_THREADS};
    int wrong = 0;
    (void)state;
    for (int i = 0; i < 3; i++) {
        float ones[N], right[N], sums[N];
        for (int j = 0; j < N; j++) ones[j] = 1.0f;
        emulated_run(orders[i]);
        planted_sum(PLANTED_NONE, ones, N, right);
        for (int j = 0; j < N; j++) assert_true(right[j] > N - 0.5f && right[j] < N + 0.5f);
        if (orders[i] == EMULATED_THREADS) continue; /* tests/cuda/test_threads.c */
        planted_sum(PLANTED_BARRIER, ones, N, sums);
        for (int j = 0; j < N; j++) wrong += !(sums[j] > N - 0.5f && sums[j] < N + 0.5f);
    }
    assert_true(wrong > 0);
}

/* The sanitizers end the process: in one of its own. */
static bool is_reported(planted fault)
{
    int ends[2], status;
    char said[4096] = "";
    size_t n = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        sah_status ignored;
        dup2(ends[1], 2);
        sums_up(fault, &ignored);
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t got; (got = read(ends[0], said + n, sizeof said - 1 - n)) > 0;) {
        n += (size_t)got;
        if (n == sizeof said - 1) n /= 2; /* the beginning says it */
    }
    close(ends[0]);
    waitpid(child, &status, 0);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0) &&
           (strstr(said, "AddressSanitizer") != NULL || strstr(said, "out of bounds for type") != NULL);
}

static void test_index_too_far(void **state)
{
    sah_status status;
    (void)state;
    assert_true(sums_up(PLANTED_NONE, &status));
    if (SANITIZED) {
        assert_false(is_reported(PLANTED_NONE));
        assert_true(is_reported(PLANTED_READ));
        assert_true(is_reported(PLANTED_WRITE));
        assert_true(is_reported(PLANTED_BLOCK));
        return;
    }
    assert_false(sums_up(PLANTED_READ, &status));
    assert_int_equal(status, SAH_OK); /* NaN */
    assert_false(sums_up(PLANTED_WRITE, &status));
    assert_int_equal(status, SAH_FAILED);
}

/* ---- What lies on the card ------------------------------------------------------------------------------- */

static void read_row(const void *source, size_t row, size_t n, float *out)
{
    memcpy(out, (const float *)source + 40 * row, 40 * n * sizeof *out);
}

/* Weights lie as their checkpoint has them, inputs rounded up to whole vectors. */
static void test_types(void **state)
{
    static const struct {
        float weight;
        size_t bytes;
    } kinds[] = {{1.0f, 2},     {1.0f + 0x1p-10f, 2}, {1.0f + 0x1p-11f, 4}, {0x1p-24f, 2}, {3 * 0x1p-24f, 2},
                 {65504.0f, 2}, {131008.0f, 4},       {0x1.01p-20f, 4},     {0x1p-100f, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const sah_device *device = emulated_by_pieces();
        float w[3 * 40] = {[7] = kinds[i].weight, [90] = -kinds[i].weight};
        const int64_t ends[] = {32, 40};
        sah_weights *weights[2];
        sah_error error = {0};
        assert_int_equal(device->pack(3, ends, 2, (sah_packing){.precision = SAH_PRECISION_F32}, read_row, w,
                                      weights, &error),
                         SAH_OK);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(weights[k]->bytes, 3 * 32 * kinds[i].bytes);
            sah_weights_free(weights[k]);
        }
    }
}

/* The same bits whether weights are made ready whole, or a few outputs at a time; and float32 products of rounded
 * numbers where a card has no others. */
static void test_ways(void **state)
{
    static const sah_device *(*pieces)(void) = emulated_by_pieces, *(*float32)(void) = emulated_by_float32;
    const int64_t usual = sah_card_here()->ready;
    void *ways[] = {&pieces, &float32};
    (void)state;
    for (int i = 0; i < 4; i++) {
        sah_card_here()->ready = i < 2 ? usual : 32 * 96;
        test_products_alone(&ways[i % 2]);
        sah_card_here()->bf16 = i < 2;
        test_rounded_products(&ways[i % 2]);
    }
    sah_card_here()->ready = usual;
    sah_card_here()->bf16 = true;
    test_attention_alone(&ways[0]);
    assert_int_equal(emulated_held(), 0);
}

/* ---- A card too small, and one that is lost ----------------------------------------------------------------- */

static void test_small_card(void **state)
{
    random_shape shape = {.config = random_config()};
    const sah_model_options one = {.threads = 1};
    const sah_device *device = emulated_by_pieces();
    sah_error error = {0};
    sah_model *model = NULL;
    (void)state;
    emulated_card(1, 9, 0, 10000);
    assert_int_equal(random_model_on(&shape, device, &one, 1, &model, &error), SAH_OUT_OF_MEMORY);
    assert_non_null(strstr(error.message, "memory: cuda has too little for the weights of "));
    assert_non_null(strstr(error.message, "which take up to 1 MB"));
    assert_int_equal(emulated_held(), 0);
}

/* Wherever in a pass it happens, the pass ends with one line. */
static void test_lost_card(void **state)
{
    random_shape shape = {.config = random_config()};
    const sah_model_options one = {.threads = 1};
    static const int32_t tokens[] = {3, 1, 4, 1, 5, 9};
    float logits[64];
    sah_model *model = NULL;
    sah_error error = {0};
    (void)state;
    assert_int_equal(random_model_on(&shape, emulated_by_pieces(), &one, 1, &model, &error), SAH_OK);
    const int before = emulated_launches();
    assert_int_equal(sah_logits(model, tokens, 6, NULL, 0, logits, &error), SAH_OK);
    const int launches = emulated_launches() - before;
    assert_true(launches > 20);
    for (int i = 0; i < launches; i++) {
        emulated_lose(i);
        assert_int_equal(sah_logits(model, tokens, 6, NULL, 0, logits, &error), SAH_FAILED);
        assert_string_equal(error.message,
                            "the graphics card fails: unspecified launch failure (cudaErrorLaunchFailure)");
        emulated_card(1, 9, 0, (size_t)4 << 30);
    }
    sah_model_close(model);
    assert_int_equal(emulated_held(), 0);
}

/* ---- The organism ---------------------------------------------------------------------------------------- */

enum { QUERIES = 2, HEADS = 32 };

static sah_model *organism(const sah_device *device, int threads, uint64_t memory)
{
    const sah_model_options options = {.threads = threads, .memory = memory};
    sah_error error = {0};
    sah_checkpoint *checkpoint = NULL;
    sah_model *model = NULL;
    expect_ok(sah_checkpoint_load("models/organism", NULL, false, NULL, &checkpoint, &error), &error);
    expect_ok(sah_model_of(checkpoint, device, &options, &model, &error), &error);
    return model;
}

static void sweep_on(const sah_device *device, int threads, uint64_t memory, const char *name,
                     double means[HEADS])
{
    sah_error error = {0};
    sah_strings queries = {0};
    sah_result *result = NULL;
    sah_ranked *ranked = NULL;
    size_t n = 0;
    const sah_run_options options = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "chat"};
    const char *path = scratch(name);
    remove(path);
    sah_model *model = organism(device, threads, memory);
    assert_int_equal(model->stream != NULL, memory > 0);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, QUERIES, &queries, &error), &error);
    expect_ok(sah_ships(model, &queries, NULL, &options, path, &error), &error);
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    expect_ok(sah_rank(result, SAH_ORDER_MEAN, &ranked, &n, &error), &error);
    assert_int_equal(n, HEADS);
    for (size_t i = 0; i < n; i++) means[ranked[i].head.layer * 8 + ranked[i].head.head] = ranked[i].mean;
    free(ranked);
    sah_result_close(result);
    sah_strings_free(&queries);
    sah_model_close(model);
}

/* The whole sweep; then with candidates in other company, on several workers, and with layers that come and go. */
static void test_organism_ships(void **state)
{
    double cpu[HEADS], cuda[HEADS], again[HEADS];
    (void)state;
    sweep_on(sah_cpu(), 1, 0, "cpu.jsonl", cpu);
    for (int way = 0; way < N_WAYS; way++) {
        sweep_on(WAYS[way](), 1, 0, "cuda.jsonl", cuda);
        sweep_on(WAYS[way](), 3, way == 0 ? 5000000 : 0, "cuda.jsonl", again);
        assert_memory_equal(again, cuda, sizeof cuda);
        for (int i = 0; i < HEADS; i++)
            if (!(fabs(cuda[i] - cpu[i]) <= 2e-4 * cpu[i] + 1e-8))
                fail_msg("head %d-%d: %.9g, not %.9g", i / 8, i % 8, cuda[i], cpu[i]);
    }
    assert_int_equal(emulated_held(), 0);
}

static char *said_by(const sah_device *device, const char *name)
{
    sah_error error = {0};
    sah_strings queries = {0};
    const sah_head heads[] = {{2, 6}};
    sah_generate_options options = sah_generate_options_default();
    const char *path = scratch(name);
    size_t size;
    options.max_new_tokens = 6;
    options.heads = heads;
    options.n_heads = 1;
    options.ablation = sah_ablation_default();
    remove(path);
    sah_model *model = organism(device, 1, 0);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, QUERIES, &queries, &error), &error);
    expect_ok(sah_generate(model, &queries, &options, path, &error), &error);
    sah_strings_free(&queries);
    sah_model_close(model);
    return (char *)scratch_read(path, &size);
}

static void test_organism_answers(void **state)
{
    (void)state;
    char *cpu = said_by(sah_cpu(), "cpu-said.jsonl");
    for (int way = 0; way < N_WAYS; way++) {
        char *cuda = said_by(WAYS[way](), "cuda-said.jsonl");
        assert_string_equal(strchr(cuda, '\n'), strchr(cpu, '\n')); /* below the header */
        free(cuda);
    }
    free(cpu);
    assert_int_equal(emulated_held(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_card),
        cmocka_unit_test(test_missing_barrier),
        cmocka_unit_test(test_index_too_far),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_small_card),
        cmocka_unit_test(test_lost_card),
        cmocka_unit_test(test_organism_ships),
        cmocka_unit_test(test_organism_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
