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
    const sah_device *device = sah_plugin_get() ? emulated_by_pieces() : NULL;
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

/* ---- Products -------------------------------------------------------------------------------------------- */

enum { OUTPUTS = 70, INPUTS = 75, ROWS = 50 };

static uint64_t seed = 5;

static float number(void) /* in [-1, 1] */
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(seed >> 40) * 0x1p-23 - 1.0);
}

static float kept(float x, int bits) /* the leading bits of it */
{
    int exponent;
    double part = frexp((double)x, &exponent);
    return (float)ldexp(rint(ldexp(part, bits)), exponent - bits);
}

static void read_rows(const void *source, size_t row, size_t n, float *out)
{
    memcpy(out, (const float *)source + row * INPUTS, n * INPUTS * sizeof *out);
}

/* y [rows, OUTPUTS] of rows [from, + rows) of x; y begins `off` numbers behind a boundary. */
static void multiply(const sah_device *device, const sah_weights *weights, const float *x, int from, int rows,
                     int off, bool add, float *y)
{
    sah_error error = {0};
    sah_workspace *ws = NULL;
    const size_t in = (size_t)(rows * INPUTS) * sizeof *x, out = (size_t)(rows * OUTPUTS) * sizeof *y;
    assert_int_equal(sah_workspace_new(device, 1, &ws, &error), SAH_OK);
    float *x_there = device->alloc(in), *y_there = device->alloc(out + (size_t)off * sizeof *y);
    assert_int_equal(device->upload(x + from * INPUTS, in, x_there, &error), SAH_OK);
    assert_int_equal(device->upload(y, out, y_there + off, &error), SAH_OK);
    if (sah_product(ws, weights, rows, x_there, y_there + off, add, &error) != SAH_OK)
        fail_msg("%s", error.message);
    assert_int_equal(device->download(y_there + off, out, y, &error), SAH_OK);
    device->free(x_there);
    device->free(y_there);
    sah_workspace_free(ws);
}

/* The whole error of a product, as a share of the sum of what is added up. */
static double error_of(const float *x, const float *w, const float *y)
{
    double worst = 0;
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUTPUTS; o++) {
            double sum = 0, size = 0;
            for (int i = 0; i < INPUTS; i++) {
                const double product = (double)x[r * INPUTS + i] * (double)w[o * INPUTS + i];
                sum += product;
                size += fabs(product);
            }
            worst = fmax(worst, fabs((double)y[r * OUTPUTS + o] - sum) / size);
        }
    return worst;
}

/* Weights with so many bits: those of bfloat16, of float16 and of float32 lie as they are and lose nothing. */
static void test_products(void **state)
{
    static const struct {
        int bits;
        size_t bytes;
    } kinds[] = {{8, 2}, {11, 2}, {24, 4}};
    static float w[OUTPUTS * INPUTS], x[ROWS * INPUTS], all[ROWS * OUTPUTS], some[ROWS * OUTPUTS],
        before[ROWS * OUTPUTS];
    (void)state;
    for (int kind = 0; kind < 3 * N_WAYS; kind++) {
        const sah_device *device = WAYS[kind % N_WAYS]();
        const int64_t inputs = INPUTS;
        sah_weights *weights = NULL;
        sah_error error = {0};
        sah_card_here()->ready = kind < 3 ? (int64_t)16 << 20 : 32 * 96; /* whole, or 32 outputs at a time */
        for (int i = 0; i < OUTPUTS * INPUTS; i++) w[i] = kept(number(), kinds[kind / N_WAYS].bits);
        w[3] = kept(3e-6f, kinds[kind / N_WAYS].bits == 11 ? 6 : 8); /* below float16's normal range */
        for (int i = 0; i < ROWS * INPUTS; i++) x[i] = number();
        assert_int_equal(device->pack(OUTPUTS, &inputs, 1, (sah_packing){.precision = SAH_PRECISION_F32},
                                      read_rows, w, &weights, &error),
                         SAH_OK);
        assert_int_equal(weights->bytes, OUTPUTS * 96 * kinds[kind / N_WAYS].bytes);
        multiply(device, weights, x, 0, ROWS, 0, false, all);
        assert_true(error_of(x, w, all) < 1.5e-7);
        for (int i = 0; i < ROWS * OUTPUTS; i++) before[i] = number();
        memcpy(all, before, sizeof all);
        multiply(device, weights, x, 0, ROWS, 0, true, all);
        for (int from = 0, n = 1, off = 0; from < ROWS; from += n, n = n % 23 + 6, off = (off + 1) % 5) {
            if (n > ROWS - from) n = ROWS - from;
            memcpy(some, before + from * OUTPUTS, (size_t)(n * OUTPUTS) * sizeof *some);
            multiply(device, weights, x, from, n, off, true, some);
            assert_memory_equal(some, all + from * OUTPUTS, (size_t)(n * OUTPUTS) * sizeof *some);
        }
        sah_weights_free(weights);
    }
    assert_int_equal(emulated_held(), 0);
}

/* Both sides rounded to bfloat16 once, whatever the card multiplies. */
static void test_rounded_products(void **state)
{
    static float w[OUTPUTS * INPUTS], x[ROWS * INPUTS], y[2][ROWS * OUTPUTS];
    (void)state;
    for (int i = 0; i < OUTPUTS * INPUTS; i++) w[i] = number();
    for (int i = 0; i < ROWS * INPUTS; i++) x[i] = number();
    for (int way = 0; way < 2; way++) {
        const sah_device *device = emulated_by_pieces();
        const int64_t inputs = INPUTS;
        sah_weights *weights = NULL;
        sah_error error = {0};
        sah_card_here()->bf16 = way == 0;
        assert_int_equal(device->pack(OUTPUTS, &inputs, 1, (sah_packing){.precision = SAH_PRECISION_BF16},
                                      read_rows, w, &weights, &error),
                         SAH_OK);
        multiply(device, weights, x, 0, ROWS, 0, false, y[way]);
        sah_weights_free(weights);
    }
    sah_card_here()->bf16 = true;
    for (int i = 0; i < OUTPUTS * INPUTS; i++) w[i] = kept(w[i], 8);
    for (int i = 0; i < ROWS * INPUTS; i++) x[i] = kept(x[i], 8);
    assert_true(error_of(x, w, y[0]) < 1.5e-7 && error_of(x, w, y[1]) < 1.5e-7);
}

/* ---- Attention ------------------------------------------------------------------------------------------- */

/* Nodes of one path, all in one segment or each in one of its own: the same bits. */
static void test_attention_alone(void **state)
{
    enum { NODES = 75, HEADS = 4, KV = 2, D = 12, ROW = (HEADS + 2 * KV) * D };
    static float x[NODES * ROW], z[2][NODES * HEADS * D];
    int32_t path[NODES];
    sah_segment alone[NODES];
    const sah_device *device = emulated_by_pieces();
    sah_error error = {0};
    sah_workspace *ws = NULL;
    (void)state;
    assert_int_equal(sah_workspace_new(device, 1, &ws, &error), SAH_OK);
    for (int i = 0; i < NODES * ROW; i++) x[i] = 3.0f * number();
    for (int32_t i = 0; i < NODES; i++) {
        path[i] = NODES - 1 - i;
        alone[i] = (sah_segment){i, 1, i, path};
    }
    const sah_segment whole = {0, NODES, 0, path};
    float *x_there = device->alloc(sizeof x), *z_there = device->alloc(sizeof z[0]);
    assert_int_equal(device->upload(x, sizeof x, x_there, &error), SAH_OK);
    for (int window = 0; window < 40; window += 39) {
        for (int way = 0; way < 2; way++) {
            sah_attention at = {
                .n_heads = HEADS, .n_kv_heads = KV, .head_dim = D, .scale = 0.3f, .window = window};
            sah_view view = {.n = NODES, .n_segments = way ? NODES : 1, .single = way};
            at.q = x_there;
            at.k = x_there + HEADS * D;
            at.v = at.k + KV * D;
            at.q_stride = at.k_stride = at.v_stride = ROW;
            at.z = z_there;
            at.z_stride = HEADS * D;
            assert_int_equal(sah_device_lend_segments(device, way ? alone : &whole, view.n_segments,
                                                      &view.segments, &error),
                             SAH_OK);
            assert_int_equal(device->attend(ws, &at, &view, &error), SAH_OK);
            assert_int_equal(device->download(z_there, sizeof z[way], z[way], &error), SAH_OK);
            sah_device_forget(device, view.segments);
        }
        assert_memory_equal(z[0], z[1], sizeof z[0]);
    }
    device->free(x_there);
    device->free(z_there);
    sah_workspace_free(ws);
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
    assert_non_null(strstr(error.message,
                           "not enough memory on the graphics card for the weights: 0.0 MB more are needed"));
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

static sah_model *organism(const sah_device *device)
{
    const sah_model_options one = {.threads = 1};
    sah_error error = {0};
    sah_checkpoint *checkpoint = NULL;
    sah_model *model = NULL;
    expect_ok(sah_checkpoint_load("models/organism", NULL, false, NULL, &checkpoint, &error), &error);
    expect_ok(sah_model_of(checkpoint, device, &one, &model, &error), &error);
    return model;
}

static void sweep_on(const sah_device *device, const char *name, double means[HEADS])
{
    sah_error error = {0};
    sah_strings queries = {0};
    sah_result *result = NULL;
    sah_ranked *ranked = NULL;
    size_t n = 0;
    const sah_run_options options = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "chat"};
    const char *path = scratch(name);
    remove(path);
    sah_model *model = organism(device);
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

/* The whole sweep. */
static void test_organism_ships(void **state)
{
    double cpu[HEADS], cuda[HEADS];
    (void)state;
    sweep_on(sah_cpu(), "cpu.jsonl", cpu);
    for (int way = 0; way < N_WAYS; way++) {
        sweep_on(WAYS[way](), "cuda.jsonl", cuda);
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
    sah_model *model = organism(device);
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
        cmocka_unit_test(test_no_card),          cmocka_unit_test(test_missing_barrier),
        cmocka_unit_test(test_index_too_far),    cmocka_unit_test(test_products),
        cmocka_unit_test(test_rounded_products), cmocka_unit_test(test_attention_alone),
        cmocka_unit_test(test_small_card),       cmocka_unit_test(test_lost_card),
        cmocka_unit_test(test_organism_ships),   cmocka_unit_test(test_organism_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
