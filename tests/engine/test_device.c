/* SPDX-License-Identifier: Apache-2.0 */
/* Every operation of every device against plain loops in float64; and passes on a device whose memory the host cannot
 * touch against the CPU's, to the last bit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/device.h"
#include "engine/beside.h"
#include "engine/cpu/cpu.h"
#include "engine/cpu/product.h"
#include "engine/decode.h"
#include "engine/difference.h"
#include "engine/donors.h"
#include "engine/forward.h"
#include "engine/operations.h"
#include "engine/sweep.h"
#include "models/arrangements.h"
#include "models/far.h"
#include "util/splitmix.h"

/* ---- Passes -------------------------------------------------------------------------------------------- */

enum { N_PROMPTS = 4, STEPS = 3 };
static const int32_t TOKENS[][9] = {
    {3, 1, 4, 1, 5, 9}, {3, 1, 4, 7, 8}, {3, 1}, {20, 21, 22, 23, 24, 25, 26, 27, 28}};
static const sah_prompt PROMPTS[N_PROMPTS] = {{.tokens = TOKENS[0], .n = 6},
                                              {.tokens = TOKENS[1], .n = 5},
                                              {.tokens = TOKENS[2], .n = 2},
                                              {.tokens = TOKENS[3], .n = 9}};
static const sah_edit BASE[] = {{1, 2, SAH_PART_Q, SAH_OP_SCALE, 0.3f},
                                {2, 0, SAH_PART_K, SAH_OP_MEAN, 0},
                                {3, 1, SAH_PART_V, SAH_OP_SCALE, 0.0f}};
enum { N_BASE = sizeof BASE / sizeof *BASE };

typedef struct record {
    float *numbers;
    size_t n, room;
} record;

static void keep(record *r, const float *x, size_t n)
{
    assert_true(r->n + n <= r->room);
    memcpy(r->numbers + r->n, x, n * sizeof *x);
    r->n += n;
}

static void see(void *ctx, sah_place place, int layer, const double *rows)
{
    record *r = ctx;
    (void)layer;
    if (place == SAH_PLACE_HEADS) return; /* whose width the layers may differ in */
    float first = (float)rows[0];
    keep(r, &first, 1);
}

typedef struct taken {
    record *record;
    size_t width; /* of a candidate */
} taken;

static sah_status take_base(void *ctx, const float *hidden, sah_error *error)
{
    taken *t = ctx;
    (void)error;
    keep(t->record, hidden, t->width);
    return SAH_OK;
}

static sah_status take(void *ctx, int thread, sah_workspace *ws, const int32_t *which, int32_t n,
                       const float *hidden, sah_error *error)
{
    taken *t = ctx;
    (void)thread, (void)ws, (void)which, (void)error;
    keep(t->record, hidden, (size_t)n * t->width);
    return SAH_OK;
}

/* Logits beside those of a base, in float32. */
static void keep_logits(const sah_model *model, record *r)
{
    const size_t d = (size_t)model->config.d_model, V = (size_t)model->config.n_vocab;
    sah_error error = {0};
    sah_workspace *ws = NULL;
    float *hidden = calloc(2 * d, sizeof *hidden), *out = calloc(2 * V, sizeof *out);
    assert_int_equal(sah_workspace_new(model->device, 1, &ws, &error), SAH_OK);
    float *logits = sah_device_alloc(model->device, 2 * V, sizeof *logits);
    for (size_t i = 0; i < 2 * d; i++) hidden[i] = sinf((float)i);
    assert_int_equal(sah_lm_head_exact(model, ws, hidden, 2, logits, &error), SAH_OK);
    assert_int_equal(sah_lm_head_beside(model, ws, hidden, 2, logits, &error), SAH_OK);
    assert_int_equal(model->device->download(logits, 2 * V * sizeof *out, out, &error), SAH_OK);
    keep(r, out, 2 * V);
    sah_device_free(model->device, logits);
    sah_workspace_free(ws);
    free(hidden);
    free(out);
}

/* BASE, as far as a model's layers take it. */
static void base_of(const sah_config *c, sah_edit out[N_BASE])
{
    memcpy(out, BASE, sizeof BASE);
    for (int i = 0; i < N_BASE; i++) {
        const sah_layer_kind kind = sah_config_layer(c, out[i].layer);
        if (kind.mixer != SAH_MIXER_ATTENTION) out[i].part = SAH_PART_V;
        out[i].head %= kind.n_heads;
    }
}

/* ---- States of other prompts ---------------------------------------------------------------------------- */

static const int32_t OTHERS[][8] = {
    {3, 1, 8, 14}, {3, 1, 4, 30, 31, 32, 33}, {20, 40, 41}, {3, 1, 8, 14, 15, 9, 2, 6}};
static const size_t N_OTHERS[N_PROMPTS] = {4, 7, 3, 8};

static int all_heads(const sah_config *c, sah_ablation ablation, sah_candidate *out)
{
    int n = 0;
    for (int l = 0; l < c->n_layers; l++)
        for (int h = 0; h < sah_config_layer(c, l).n_heads; h++) {
            sah_ablation own = ablation;
            own.parts = 1u << n % 3;
            if (sah_config_layer(c, l).mixer != SAH_MIXER_ATTENTION) own.parts = SAH_PART_V;
            if (own.parts == SAH_PART_K && h >= sah_config_layer(c, l).n_kv_heads) own.parts |= SAH_PART_Q;
            out[n++] = sah_candidate_of(c, (sah_head){l, h}, &own);
        }
    return n;
}

/* A pass, a sweep and steps in which such states stand in. */
static void interchanged_passes(const sah_model *model, sah_donor_kind kind, bool differences, record *r)
{
    const sah_config *c = &model->config;
    const size_t d = (size_t)c->d_model;
    const sah_op op = kind == SAH_DONOR_PARTNERS ? SAH_OP_SWAP : SAH_OP_MEAN_DATA;
    sah_error error = {0};
    sah_prompt others[N_PROMPTS], prompts[N_PROMPTS];
    int32_t sources[N_PROMPTS][9 + STEPS];
    sah_donors *donors = NULL;
    sah_forest *forest = NULL;
    sah_decoding *decoding = NULL;
    sah_edit base[N_BASE];
    base_of(c, base);
    for (int i = 0; i < N_BASE; i++) base[i].op = op;
    for (size_t i = 0; i < N_PROMPTS; i++) others[i] = (sah_prompt){.tokens = OTHERS[i], .n = N_OTHERS[i]};
    assert_int_equal(sah_donors_new(kind, others, N_PROMPTS, c->n_vocab, &donors, &error), SAH_OK);
    for (size_t i = 0; i < N_PROMPTS; i++) {
        sah_donors_sources(donors, i, PROMPTS[i].n, PROMPTS[i].n + STEPS, sources[i]);
        prompts[i] = (sah_prompt){.tokens = PROMPTS[i].tokens, .n = PROMPTS[i].n, .source = sources[i]};
    }
    assert_int_equal(sah_forest_new(prompts, N_PROMPTS, c->n_vocab, &forest, &error), SAH_OK);
    forest->donors = donors;

    float *hidden = calloc(N_PROMPTS * d, sizeof *hidden);
    if (sah_forward(model, forest, base, N_BASE, hidden, &error) != SAH_OK) fail_msg("%s", error.message);
    keep(r, hidden, N_PROMPTS * d);
    free(hidden);

    sah_candidate candidates[64];
    const int n = all_heads(c, (sah_ablation){.op = op}, candidates);
    taken t = {r, N_PROMPTS * d};
    const sah_sweep_options options = {.what = "heads", .differences = differences};
    if (sah_sweep(model, forest, base, N_BASE, candidates, (size_t)n, &options,
                  &(sah_sink){&t, take_base, take}, &error) != SAH_OK)
        fail_msg("%s", error.message);
    sah_forest_free(forest);

    assert_int_equal(
        sah_decoding_new(model, prompts, N_PROMPTS, STEPS, base, N_BASE, donors, &decoding, &error), SAH_OK);
    for (int i = 0; i < STEPS; i++) {
        int32_t live;
        const int32_t next[N_PROMPTS] = {5, 6, 7, 8};
        sah_decoding_live(decoding, &live);
        keep(r, sah_decoding_hidden(decoding), (size_t)live * d);
        assert_int_equal(sah_decoding_step(decoding, next, &error), SAH_OK);
    }
    keep(r, sah_decoding_hidden(decoding), N_PROMPTS * d);
    sah_decoding_free(decoding);
    sah_donors_free(donors);
}

/* ---- All of them ---------------------------------------------------------------------------------------- */

/* Everything that a model computes, one behind the other. */
static record all_passes(const sah_model *model, sah_donor_kind kind, bool differences)
{
    const sah_config *c = &model->config;
    const size_t d = (size_t)c->d_model, V = (size_t)c->n_vocab;
    sah_error error = {0};
    record r = {.room = 1 << 18};
    sah_edit base[N_BASE];
    base_of(c, base);
    r.numbers = calloc(r.room, sizeof *r.numbers);
    float *hidden = calloc(N_PROMPTS * d, sizeof *hidden), *logits = calloc(N_PROMPTS * V, sizeof *logits);
    sah_forest *forest = NULL;
    assert_int_equal(sah_forest_new(PROMPTS, N_PROMPTS, c->n_vocab, &forest, &error), SAH_OK);
    assert_int_equal(sah_forward(model, forest, base, N_BASE, hidden, &error), SAH_OK);
    keep(&r, hidden, N_PROMPTS * d);
    assert_int_equal(sah_forward_ends(model, forest, NULL, 0, hidden, &error), SAH_OK);
    keep(&r, hidden, (size_t)forest->n_ends * d);
    assert_int_equal(sah_forward_observe(model, forest, base, N_BASE, &(sah_observer){see, &r}, &error),
                     SAH_OK);

    const sah_tokens tokens = {TOKENS[0], 6};
    float *residual = calloc((size_t)(c->n_layers + 1) * d, sizeof *residual);
    assert_int_equal(sah_hidden_states(model, &tokens, 1, base, N_BASE, residual, hidden, &error), SAH_OK);
    keep(&r, residual, (size_t)(c->n_layers + 1) * d);
    keep(&r, hidden, d);
    free(residual);
    assert_int_equal(sah_logits(model, TOKENS[3], 9, base, N_BASE, logits, &error), SAH_OK);
    keep(&r, logits, V);

    sah_candidate candidates[64];
    int n = 0;
    for (int l = 0; l < c->n_layers; l++)
        for (int h = 0; h < sah_config_layer(c, l).n_heads; h++) {
            sah_ablation ablation = {h % 2 ? SAH_PART_Q | SAH_PART_V : SAH_PART_Q,
                                     l % 2 ? SAH_OP_MEAN : SAH_OP_SCALE, 0.1f};
            if (sah_config_layer(c, l).mixer != SAH_MIXER_ATTENTION) ablation.parts = SAH_PART_V;
            candidates[n++] = sah_candidate_of(c, (sah_head){l, h}, &ablation);
        }
    taken t = {&r, N_PROMPTS * d};
    const sah_sweep_options options = {.what = "heads", .differences = differences};
    assert_int_equal(sah_sweep(model, forest, base, N_BASE, candidates, (size_t)n, &options,
                               &(sah_sink){&t, take_base, take}, &error),
                     SAH_OK);
    keep_logits(model, &r);
    const sah_edit_list lists[] = {{base, N_BASE}, {NULL, 0}};
    float *beside = calloc(2 * N_PROMPTS * d, sizeof *beside);
    for (size_t i = 0; i < 2 && !differences; i++)
        assert_int_equal(
            sah_forward(model, forest, lists[i].edits, lists[i].n, beside + i * N_PROMPTS * d, &error),
            SAH_OK);
    if (differences) assert_int_equal(sah_forward_beside(model, forest, lists, 2, beside, &error), SAH_OK);
    keep(&r, beside, 2 * N_PROMPTS * d);
    free(beside);
    sah_forest_free(forest);

    sah_decoding *decoding = NULL;
    assert_int_equal(
        sah_decoding_new(model, PROMPTS, N_PROMPTS, STEPS, base, N_BASE, NULL, &decoding, &error), SAH_OK);
    for (int i = 0; i < STEPS; i++) {
        int32_t live;
        int32_t next[N_PROMPTS] = {5, 6, i == 1 ? -1 : 7, 8};
        sah_decoding_live(decoding, &live);
        keep(&r, sah_decoding_hidden(decoding), (size_t)live * d);
        if (live < N_PROMPTS) next[2] = 9;
        assert_int_equal(sah_decoding_step(decoding, next, &error), SAH_OK);
    }
    sah_decoding_free(decoding);
    free(hidden);
    free(logits);
    interchanged_passes(model, kind, differences, &r);
    return r;
}

static random_shape plain_shape(void)
{
    return (random_shape){.config = random_config()};
}

static random_shape
gemma_shape(void) /* all norms, caps, scales, a window in every other layer, tied scales of logits */
{
    random_shape s = plain_shape();
    s.norms_behind = true;
    s.config.qk_norm = SAH_QK_NORM_HEAD;
    s.config.attention_softcap = 2;
    s.config.final_softcap = 1.5f;
    s.config.logit_scale = 0.5f;
    s.config.embedding_scale = 6.25f;
    s.config.activation = SAH_ACT_GELU_TANH;
    s.kinds_differ = true;
    for (int l = 0; l < RANDOM_LAYERS; l++)
        s.kinds[l] = (sah_layer_kind){.window = l % 2 ? 0 : 4, .head_dim = 12, .n_kv_heads = 2};
    return s;
}

static random_shape
neox_shape(void) /* layer norms, biases, a parallel residual, nothing gated, part of a head rotated */
{
    random_shape s = plain_shape();
    s.config.norm = SAH_NORM_LAYER;
    s.norm_biases = true;
    s.config.qkv_bias = s.config.o_bias = s.config.mlp_bias = true;
    s.config.gated = false;
    s.config.activation = SAH_ACT_GELU;
    s.config.residual = SAH_RESIDUAL_PARALLEL;
    s.config.ropes[0].dims = 8;
    s.sinks = true;
    return s;
}

static random_shape (*const SHAPES[])(void) = {plain_shape, gemma_shape, neox_shape};
/* And arrangements that ask a device for more than attention and an MLP. */
static const char *const ARRANGED[] = {"experts: one shared",
                                       "experts: gpt-oss",
                                       "experts: groups",
                                       "experts: beside the MLP",
                                       "experts: beside, no norm behind",
                                       "gemma 4",
                                       "delta rule",
                                       "delta rule with experts",
                                       "convolutions"};
enum { N_PLAIN = sizeof SHAPES / sizeof *SHAPES, N_SHAPES = N_PLAIN + sizeof ARRANGED / sizeof *ARRANGED };

/* `differences`: the sweeps go by them, where the model can. */
static record passes_on(const sah_device *device, sah_precision precision, size_t shape, bool differences)
{
    const random_shape made =
        shape < N_PLAIN ? SHAPES[shape]() : arranged(arrangement_called(ARRANGED[shape - N_PLAIN]));
    const sah_model_options one = {.threads = 1, .precision = precision};
    sah_error error = {0};
    sah_model *model = NULL;
    if (random_model_on(&made, device, &one, 11, &model, &error) != SAH_OK) fail_msg("%s", error.message);
    record r = all_passes(model, (sah_donor_kind)(shape % 3), differences && sah_model_differs(model));
    sah_model_close(model);
    assert_int_equal(far_held() + emulated_held(), 0);
    return r;
}

static void test_passes(void **state)
{
    const int precisions = sah_product_has_bf16() ? 2 : 1; /* in bfloat16 the sweep goes by differences */
    (void)state;
    for (size_t i = 0; i < (size_t)precisions * N_SHAPES; i++) {
        const sah_precision precision = i < N_SHAPES ? SAH_PRECISION_F32 : SAH_PRECISION_BF16;
        record a = passes_on(sah_cpu(), precision, i % N_SHAPES, true),
               b = passes_on(far_device(), precision, i % N_SHAPES, true);
        assert_int_equal(a.n, b.n);
        for (size_t k = 0; k < a.n; k++)
            if (memcmp(&a.numbers[k], &b.numbers[k], sizeof(float)) != 0)
                fail_msg("shape %zu: number %zu of %zu is %.9g, not %.9g", i, k, a.n, (double)b.numbers[k],
                         (double)a.numbers[k]);
        free(a.numbers);
        free(b.numbers);
    }
}

/* Sums in another order: as near to the CPU's as float32 is to itself; and by differences, of which 16 bits count,
 * where ablations change as much as they do here. */
static void test_passes_on_cuda(void **state)
{
    static const struct {
        const sah_device *(*of)(void);
        bool differences;
        double share;
    } ways[] = {{emulated_by_pieces, false, 1e-5},
                {emulated_by_float32, false, 1e-5},
                {emulated_by_pieces, true, 6e-5}};
    enum { WAYS = sizeof ways / sizeof *ways };
    (void)state;
    for (size_t i = 0; i < WAYS * N_SHAPES; i++) {
        const double share = ways[i % WAYS].share;
        record a = passes_on(sah_cpu(), SAH_PRECISION_F32, i / WAYS, false),
               b = passes_on(ways[i % WAYS].of(), SAH_PRECISION_F32, i / WAYS, ways[i % WAYS].differences);
        double largest = 0;
        assert_int_equal(a.n, b.n);
        for (size_t k = 0; k < a.n; k++) largest = fmax(largest, fabs((double)a.numbers[k]));
        for (size_t k = 0; k < a.n; k++)
            if (!(fabs((double)a.numbers[k] - (double)b.numbers[k]) <= share * largest))
                fail_msg("shape %zu, way %zu: number %zu of %zu is %.9g, not %.9g (the largest %.3g)",
                         i / WAYS, i % WAYS, k, a.n, (double)b.numbers[k], (double)a.numbers[k], largest);
        free(a.numbers);
        free(b.numbers);
    }
}

/* ---- A device that has little left ------------------------------------------------------------------------ */

static uint64_t hardly_any(void)
{
    return 1;
}

static bool gains(void)
{
    return true;
}

/* The sweep of all heads by differences on a device of the CPU's operations, and the bytes of its rows. */
static uint64_t sweep_in(uint64_t (*room)(void), record *r)
{
    const random_shape shape = plain_shape();
    const sah_model_options one = {.threads = 1};
    sah_device device = *sah_cpu();
    sah_candidate candidates[64];
    sah_sweep_report report;
    sah_error error = {0};
    sah_model *model = NULL;
    sah_forest *forest = NULL;
    device.room = room;
    device.differs = gains;
    if (random_model_on(&shape, &device, &one, 11, &model, &error) != SAH_OK) fail_msg("%s", error.message);
    assert_int_equal(sah_forest_new(PROMPTS, N_PROMPTS, model->config.n_vocab, &forest, &error), SAH_OK);
    assert_true(sah_sweep_differs(model, forest, 0));
    const int n = all_heads(&model->config, (sah_ablation){.op = SAH_OP_MEAN}, candidates);
    taken t = {r, N_PROMPTS * (size_t)model->config.d_model};
    const sah_sweep_options options = {.what = "heads", .differences = true, .report = &report};
    if (sah_sweep(model, forest, NULL, 0, candidates, (size_t)n, &options, &(sah_sink){&t, take_base, take},
                  &error) != SAH_OK)
        fail_msg("%s", error.message);
    sah_forest_free(forest);
    sah_model_close(model);
    return report.rows_bytes;
}

/* Fewer heads go up together there, in float32 as well, and come to the same bits. */
static void test_little_room(void **state)
{
    record all = {.room = 1 << 16}, few = {.room = 1 << 16};
    all.numbers = calloc(all.room, sizeof *all.numbers);
    few.numbers = calloc(few.room, sizeof *few.numbers);
    (void)state;
    assert_true(sweep_in(hardly_any, &few) < sweep_in(sah_cpu()->room, &all));
    assert_int_equal(few.n, all.n);
    assert_memory_equal(few.numbers, all.numbers, all.n * sizeof *all.numbers);
    free(all.numbers);
    free(few.numbers);
}

static int held(void)
{
    return far_held() + emulated_held();
}

int main(void)
{
    static const sah_device *(*cpu)(void) = sah_cpu, *(*far)(void) = far_device,
                            *(*pieces)(void) = emulated_by_pieces, *(*float32)(void) = emulated_by_float32;
    const struct CMUnitTest tests[] = {
#define ON_ALL(test)                                                                                         \
    {#test " on cpu", test, NULL, NULL, &cpu}, {#test " on far", test, NULL, NULL, &far},                    \
        {#test " on cuda by pieces", test, NULL, NULL, &pieces},                                             \
        {#test " on cuda by float32", test, NULL, NULL, &float32}
        ON_ALL(test_copy_add_scale),
        ON_ALL(test_scatter_weigh_clear),
        ON_ALL(test_norm_join),
        ON_ALL(test_rotate),
        ON_ALL(test_attend),
        ON_ALL(test_convolve),
        ON_ALL(test_recur),
        ON_ALL(test_edit),
        ON_ALL(test_stand_in),
        ON_ALL(test_activate),
        ON_ALL(test_give),
        ON_ALL(test_memory),
        ON_ALL(test_product),
        ON_ALL(test_scores),
        cmocka_unit_test(test_passes),
        cmocka_unit_test(test_passes_on_cuda),
        cmocka_unit_test(test_little_room),
    };
    operations_held = held;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
