/* SPDX-License-Identifier: Apache-2.0 */
/* Every arrangement of a layer that a configuration can say, on random weights: the forward pass, the sweep,
 * decoding and the observer against the plain pass, unedited and under every part and operation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "models/arrangements.h"
#include "engine/cpu/cpu.h"
#include "engine/cpu/product.h"
#include "engine/ablation.h"
#include "engine/decode.h"
#include "engine/difference.h"
#include "engine/forward.h"
#include "engine/plain.h"
#include "engine/sweep.h"

/* Hidden states are of order 1 (they are normed): float32 rounding through four layers stays below this. */
static const double BOUND = 2e-4;

/* Three share a beginning, and two of those more of it; two are equal, one is a beginning of others, one is longer
 * than any window here. */
static const int32_t TOKENS[][14] = {{3, 1, 4, 1, 5, 9},
                                     {3, 1, 4, 7, 8},
                                     {3, 1},
                                     {20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33},
                                     {3, 1, 6}};
static const sah_prompt PROMPTS[] = {{.tokens = TOKENS[0], .n = 6}, {.tokens = TOKENS[1], .n = 5},
                                     {.tokens = TOKENS[2], .n = 2}, {.tokens = TOKENS[3], .n = 14},
                                     {.tokens = TOKENS[0], .n = 6}, {.tokens = TOKENS[4], .n = 3}};
enum { N_PROMPTS = 6, STEPS = 5 };

/* ---- Arrangements -------------------------------------------------------------------------------------- */

/* In several slices, of another number in float32 than in bfloat16 (for test_differences() alone). */
static void wide_mlp(random_shape *s)
{
    s->config.d_ff = 11008;
    for (int l = 0; l < RANDOM_LAYERS; l++) s->kinds[l].d_ff = s->config.d_ff;
}

static sah_model *open_arrangement(const arrangement *a, const sah_model_options *options)
{
    const random_shape shape = arranged(a);
    const bool listed = a >= ARRANGEMENTS && a < ARRANGEMENTS + N_ARRANGEMENTS;
    return random_model(&shape, options, listed ? (uint64_t)(a - ARRANGEMENTS) + 1 : 1);
}

/* ---- Against the plain pass ---------------------------------------------------------------------------- */

static const sah_ablation ABLATIONS[] = {
    {SAH_PART_Q, SAH_OP_SCALE, 1e-4f},
    {SAH_PART_K, SAH_OP_SCALE, 1e-4f},
    {SAH_PART_V, SAH_OP_SCALE, 0.0f},
    {SAH_PART_Q, SAH_OP_MEAN, 0.0f},
    {SAH_PART_K, SAH_OP_MEAN, 0.0f},
    {SAH_PART_V, SAH_OP_MEAN, 0.0f},
    {SAH_PART_Q | SAH_PART_K | SAH_PART_V, SAH_OP_MEAN, 0.0f},
    {SAH_PART_Q | SAH_PART_V, SAH_OP_SCALE, 0.5f},
};
enum { N_ABLATIONS = sizeof ABLATIONS / sizeof *ABLATIONS };

static const sah_edit BASE[] = {
    {0, 1, SAH_PART_Q, SAH_OP_SCALE, 1e-4f},
    {1, 0, SAH_PART_K, SAH_OP_SCALE, 0.5f},
    {3, 1, SAH_PART_V, SAH_OP_MEAN, 0.0f},
};
enum { N_BASE = sizeof BASE / sizeof *BASE };

/* BASE, as far as a model's layers take it. */
static void base_of(const sah_model *model, sah_edit out[N_BASE])
{
    memcpy(out, BASE, sizeof BASE);
    for (int i = 0; i < N_BASE; i++) {
        const sah_layer_kind kind = sah_config_layer(&model->config, out[i].layer);
        if (kind.mixer != SAH_MIXER_ATTENTION) out[i].part = SAH_PART_V;
        out[i].head %= kind.n_heads;
    }
}

static double distance(const float *a, const double *b, size_t n)
{
    double worst = 0.0;
    for (size_t i = 0; i < n; i++) {
        double off = fabs((double)a[i] - b[i]);
        if (!(off <= worst)) worst = off; /* NaN too */
    }
    return worst;
}

static void check_forward(const sah_model *model, const sah_edit *edits, size_t n)
{
    sah_error error = {0};
    sah_forest *forest = NULL;
    sah_workspace *ws = NULL;
    size_t d = (size_t)model->config.d_model, V = (size_t)model->config.n_vocab;
    float hidden[N_PROMPTS * 64], logits[N_PROMPTS * 64];
    double plain_hidden[64], plain_logits[64];
    assert_true(d <= 64 && V <= 64);
    assert_int_equal(sah_workspace_new(sah_cpu(), 1, &ws, &error), SAH_OK);
    assert_int_equal(sah_forest_new(PROMPTS, N_PROMPTS, (int32_t)V, &forest, &error), SAH_OK);
    assert_int_equal(sah_forward(model, forest, edits, n, hidden, &error), SAH_OK);
    assert_int_equal(sah_lm_head(model, ws, hidden, N_PROMPTS, logits, &error), SAH_OK);
    for (size_t p = 0; p < N_PROMPTS; p++) {
        assert_int_equal(sah_plain_forward(model->checkpoint, PROMPTS[p].tokens, PROMPTS[p].n, edits, n,
                                           plain_hidden, plain_logits, &error),
                         SAH_OK);
        double off =
            fmax(distance(hidden + p * d, plain_hidden, d), distance(logits + p * V, plain_logits, V));
        if (!(off < BOUND)) fail_msg("forward, %zu edits, prompt %zu: off by %g", n, p, off);
    }
    sah_forest_free(forest);
    sah_workspace_free(ws);
}

typedef struct collected {
    size_t d;
    float *hidden; /* [candidates, N_PROMPTS, d] */
} collected;

static sah_status take_base(void *ctx, const float *hidden, sah_error *error)
{
    (void)ctx;
    (void)hidden;
    (void)error;
    return SAH_OK;
}

static sah_status take(void *ctx, int thread, sah_workspace *workspace, const int32_t *which, int32_t n,
                       const float *hidden, sah_error *error)
{
    collected *c = ctx;
    size_t each = N_PROMPTS * c->d;
    (void)thread;
    (void)workspace;
    (void)error;
    for (int32_t i = 0; i < n; i++)
        memcpy(c->hidden + (size_t)which[i] * each, hidden + (size_t)i * each, each * sizeof *hidden);
    return SAH_OK;
}

/* The operations counted by formula are those of the products done. (The base pass runs twice. Experts' rows are
 * rounded up, so that more is done.) */
static void check_operations(const sah_config *c, const sah_sweep_report *report,
                             const sah_candidate *candidates, size_t n)
{
    sah_operations expected = {0};
    if (candidates[n - 1].layer < c->n_layers - 1)
        return; /* the second base pass ends at the last candidate */
    for (int twice = 0; twice < 2; twice++) sah_operations_of_base(c, &report->forest, &expected);
    for (size_t i = 0; i < n; i++) sah_operations_of_candidate(c, &report->forest, &candidates[i], &expected);
    double done = report->books.operations[SAH_STAGE_PRODUCT];
    double wanted = sah_operations_total(&expected) - expected.attention;
    if (c->experts.n > 0 ? done < wanted : fabs(done - wanted) > 1e-9 * wanted)
        fail_msg("%.0f operations done, %.0f counted", done, wanted);
}

static void check_sweep(const sah_model *model, const sah_edit *base, size_t n_base,
                        const sah_ablation *ablation)
{
    const sah_config *c = &model->config;
    sah_error error = {0};
    sah_forest *forest = NULL;
    sah_candidate candidates[RANDOM_LAYERS * 6];
    double hidden[64];
    size_t n = 0, d = (size_t)c->d_model;
    for (int l = 0; l < c->n_layers; l++) {
        const sah_layer_kind kind = sah_config_layer(c, l);
        int heads = ablation->parts == SAH_PART_K ? kind.n_kv_heads : kind.n_heads;
        if (kind.mixer != SAH_MIXER_ATTENTION && ablation->parts != SAH_PART_V) continue;
        for (int h = 0; h < heads; h++) candidates[n++] = sah_candidate_of(c, (sah_head){l, h}, ablation);
    }
    collected got = {.d = d, .hidden = calloc(n * N_PROMPTS * d, sizeof *got.hidden)};
    sah_sink sink = {&got, take_base, take};
    assert_int_equal(sah_forest_new(PROMPTS, N_PROMPTS, c->n_vocab, &forest, &error), SAH_OK);
    sah_sweep_report report;
    const sah_sweep_options options = {.what = "heads", .report = &report};
    if (sah_sweep(model, forest, base, n_base, candidates, n, &options, &sink, &error) != SAH_OK)
        fail_msg("%s", error.message);
    check_operations(c, &report, candidates, n);
    for (size_t i = 0; i < n; i++)
        for (size_t p = 0; p < N_PROMPTS; p++) {
            sah_edit edits[8];
            if (n_base > 0) memcpy(edits, base, n_base * sizeof *base);
            memcpy(edits + n_base, candidates[i].edits, (size_t)candidates[i].n_edits * sizeof *edits);
            assert_int_equal(sah_plain_forward(model->checkpoint, PROMPTS[p].tokens, PROMPTS[p].n, edits,
                                               n_base + (size_t)candidates[i].n_edits, hidden, NULL, &error),
                             SAH_OK);
            double off = distance(got.hidden + (i * N_PROMPTS + p) * d, hidden, d);
            if (!(off < BOUND))
                fail_msg("head %d-%d, parts %u, op %d, %zu base edits, prompt %zu: off by %g",
                         candidates[i].layer, candidates[i].edits[0].head, ablation->parts, (int)ablation->op,
                         n_base, p, off);
        }
    free(got.hidden);
    sah_forest_free(forest);
}

static void check_decoding(const sah_model *model, const sah_edit *edits, size_t n_edits)
{
    sah_error error = {0};
    sah_decoding *decoding = NULL;
    int32_t text[N_PROMPTS][32];
    size_t d = (size_t)model->config.d_model;
    double hidden[64];
    for (size_t p = 0; p < N_PROMPTS; p++) memcpy(text[p], PROMPTS[p].tokens, PROMPTS[p].n * sizeof(int32_t));
    assert_int_equal(
        sah_decoding_new(model, PROMPTS, N_PROMPTS, STEPS, edits, n_edits, NULL, &decoding, &error), SAH_OK);
    for (size_t step = 0; step <= STEPS; step++) {
        int32_t n, next[N_PROMPTS];
        sah_decoding_live(decoding, &n);
        assert_int_equal(n, N_PROMPTS);
        for (size_t p = 0; p < N_PROMPTS; p++) {
            size_t length = PROMPTS[p].n + step;
            assert_int_equal(
                sah_plain_forward(model->checkpoint, text[p], length, edits, n_edits, hidden, NULL, &error),
                SAH_OK);
            double off = distance(sah_decoding_hidden(decoding) + p * d, hidden, d);
            if (!(off < BOUND)) fail_msg("prompt %zu, step %zu: off by %g", p, step, off);
            text[p][length] = next[p] = (int32_t)((p * 7 + step * 13) % 50);
        }
        if (step < STEPS) assert_int_equal(sah_decoding_step(decoding, next, &error), SAH_OK);
    }
    sah_decoding_free(decoding);
}

/* ---- What an observer sees ----------------------------------------------------------------------------- */

typedef struct seen {
    int layer; /* the one that counts: widths differ between layers */
    size_t width[SAH_N_PLACES], n_rows;
    double rows[SAH_N_PLACES][RANDOM_LAYERS + 1][N_PROMPTS * 64];
} seen;

static void see(void *ctx, sah_place place, int layer, const double *rows)
{
    seen *s = ctx;
    if (layer == s->layer) memcpy(s->rows[place][layer], rows, s->n_rows * s->width[place] * sizeof *rows);
}

static void check_observer(const sah_model *model, const sah_edit base[N_BASE])
{
    static seen fast, plain;
    const sah_config *c = &model->config;
    sah_error error = {0};
    sah_forest *forest = NULL;
    assert_int_equal(sah_forest_new(PROMPTS, N_PROMPTS, c->n_vocab, &forest, &error), SAH_OK);
    fast = (seen){.n_rows = (size_t)forest->n_ends};
    plain = (seen){.n_rows = 1};
    for (int l = 0; l <= c->n_layers; l++) {
        fast.layer = plain.layer = l;
        const sah_layer_kind kind = sah_config_layer(c, l < c->n_layers ? l : 0);
        size_t heads = (size_t)(kind.n_heads * kind.head_dim);
        const size_t widths[SAH_N_PLACES] = {(size_t)c->d_model, heads, 1, (size_t)c->d_model};
        memcpy(fast.width, widths, sizeof widths);
        memcpy(plain.width, widths, sizeof widths);
        assert_int_equal(
            sah_forward_observe(model, forest, base, N_BASE, &(sah_observer){see, &fast}, &error), SAH_OK);
        for (size_t p = 0; p < N_PROMPTS; p++) {
            assert_int_equal(sah_plain_observe(model->checkpoint, PROMPTS[p].tokens, PROMPTS[p].n, base,
                                               N_BASE, &(sah_observer){see, &plain}, &error),
                             SAH_OK);
            for (int place = 0; place < (l < c->n_layers ? SAH_N_PLACES : 1); place++)
                for (size_t i = 0; i < widths[place]; i++) {
                    double want = plain.rows[place][l][i];
                    double got = fast.rows[place][l][(size_t)forest->end_of[p] * widths[place] + i];
                    if (!(fabs(got - want) < BOUND * (1 + fabs(want))))
                        fail_msg("layer %d, place %d, prompt %zu: %g, not %g", l, place, p, got, want);
                }
        }
    }
    sah_forest_free(forest);
}

/* ---- Layers that come and go --------------------------------------------------------------------------- */

static const sah_ablation STREAMED[] = {{SAH_PART_V, SAH_OP_SCALE, 0.0f}, {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}};
enum { N_STREAMED = 2, MOST_CANDIDATES = RANDOM_LAYERS * 6 };

/* What a model gives: a pass, the steps of a decoding, and every candidate of two sweeps. */
typedef struct given {
    float forward[N_PROMPTS * 64], decoded[STEPS][N_PROMPTS * 64];
    float swept[N_STREAMED][MOST_CANDIDATES * N_PROMPTS * 64];
} given;

static void decode_all(const sah_model *model, const sah_edit base[N_BASE], given *out)
{
    sah_error error = {0};
    sah_decoding *decoding = NULL;
    size_t d = (size_t)model->config.d_model;
    if (sah_decoding_new(model, PROMPTS, N_PROMPTS, STEPS, base, N_BASE, NULL, &decoding, &error) != SAH_OK)
        fail_msg("%s", error.message);
    for (int step = 0; step < STEPS; step++) {
        int32_t next[N_PROMPTS];
        for (int p = 0; p < N_PROMPTS; p++) next[p] = (p * 7 + step * 13) % 50;
        assert_int_equal(sah_decoding_step(decoding, next, &error), SAH_OK);
        memcpy(out->decoded[step], sah_decoding_hidden(decoding), N_PROMPTS * d * sizeof(float));
    }
    sah_decoding_free(decoding);
}

/* False where the memory does not hold one candidate. */
static bool sweep_all(const sah_model *model, const sah_edit base[N_BASE], uint64_t memory, given *out)
{
    const sah_config *c = &model->config;
    const sah_sweep_options options = {.memory = memory, .what = "heads"};
    sah_error error = {0};
    sah_forest *forest = NULL;
    sah_status status = SAH_OK;
    assert_int_equal(sah_forest_new(PROMPTS, N_PROMPTS, c->n_vocab, &forest, &error), SAH_OK);
    for (int i = 0; i < N_STREAMED && status == SAH_OK; i++) {
        sah_candidate candidates[MOST_CANDIDATES];
        collected got = {.d = (size_t)c->d_model, .hidden = out->swept[i]};
        sah_sink sink = {&got, take_base, take};
        size_t n = 0;
        for (int l = 0; l < c->n_layers; l++) {
            const sah_layer_kind kind = sah_config_layer(c, l);
            if (kind.mixer != SAH_MIXER_ATTENTION && STREAMED[i].parts != SAH_PART_V) continue;
            if (l == 1 && i == 1) continue; /* a layer without candidates */
            for (int h = 0; h < kind.n_heads; h++)
                candidates[n++] = sah_candidate_of(c, (sah_head){l, h}, &STREAMED[i]);
        }
        status = sah_sweep(model, forest, base, N_BASE, candidates, n, &options, &sink, &error);
        if (status != SAH_OK && status != SAH_BAD_ARGUMENT) fail_msg("%s", error.message);
    }
    sah_forest_free(forest);
    return status == SAH_OK;
}

static void give(const sah_model *model, const sah_edit base[N_BASE], uint64_t memory, given *out)
{
    sah_error error = {0};
    sah_forest *forest = NULL;
    memset(out, 0, sizeof *out);
    assert_int_equal(sah_forest_new(PROMPTS, N_PROMPTS, model->config.n_vocab, &forest, &error), SAH_OK);
    assert_int_equal(sah_forward(model, forest, base, N_BASE, out->forward, &error), SAH_OK);
    sah_forest_free(forest);
    decode_all(model, base, out);
    assert_true(sweep_all(model, base, memory, out));
}

/* Where not all layers may be there at once, the bits are the same: with one thread and three, with one candidate
 * at a time, with some and with as many as there are. */
static void check_streaming(const arrangement *a)
{
    static const struct {
        int threads;
        uint64_t room; /* times the least that a sweep can do with */
    } ways[] = {{1, 7}, {3, 1}, {3, 49}};
    static given whole, streamed;
    sah_edit base[N_BASE];
    sah_model *model = open_arrangement(a, &(sah_model_options){.threads = 1});
    uint64_t weights = (uint64_t)model->config.n_vocab * (uint64_t)model->config.d_model * sizeof(float);
    base_of(model, base);
    give(model, base, 0, &whole);
    for (int l = 0; l < model->config.n_layers; l++) weights += sah_layer_size(model, l);
    sah_model_close(model);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        uint64_t least = 1000;
        model = open_arrangement(
            a, &(sah_model_options){.threads = ways[i].threads, .memory = weights / 5 * 8 - 8});
        assert_non_null(model->stream);
        while (!sweep_all(model, base, least, &streamed)) least += least / 4;
        give(model, base, least * ways[i].room, &streamed);
        if (memcmp(&whole, &streamed, sizeof whole) != 0)
            fail_msg("%d threads, %d kB: other numbers", ways[i].threads, (int)(least * ways[i].room / 1000));
        sah_model_close(model);
    }
}

static void test_arrangement(void **state)
{
    check_streaming(*state);
    sah_model *model = open_arrangement(*state, &(sah_model_options){.threads = 1});
    sah_edit base[N_BASE];
    base_of(model, base);
    check_forward(model, NULL, 0);
    check_forward(model, base, N_BASE);
    for (size_t i = 0; i < N_ABLATIONS; i++) {
        check_sweep(model, NULL, 0, &ABLATIONS[i]);
        check_sweep(model, base, N_BASE, &ABLATIONS[i]);
    }
    check_decoding(model, NULL, 0);
    check_decoding(model, base, N_BASE);
    check_observer(model, base);
    sah_model_close(model);

    model = open_arrangement(*state, &(sah_model_options){.threads = 2, .generates = true}); /* tiles */
    check_forward(model, NULL, 0);
    check_decoding(model, base, N_BASE);
    sah_model_close(model);
}

/* ---- By differences ------------------------------------------------------------------------------------ */

/* Final hidden states of a sweep. */
typedef struct differing {
    float base[N_PROMPTS * 64], hidden[MOST_CANDIDATES][N_PROMPTS * 64];
    size_t d;
} differing;

static sah_status differing_base(void *ctx, const float *hidden, sah_error *error)
{
    differing *to = ctx;
    (void)error;
    memcpy(to->base, hidden, N_PROMPTS * to->d * sizeof *hidden);
    return SAH_OK;
}

static sah_status differing_take(void *ctx, int thread, sah_workspace *workspace, const int32_t *which,
                                 int32_t n, const float *hidden, sah_error *error)
{
    differing *to = ctx;
    const size_t each = N_PROMPTS * to->d;
    (void)thread;
    (void)workspace;
    (void)error;
    for (int32_t i = 0; i < n; i++)
        memcpy(to->hidden[which[i]], hidden + (size_t)i * each, each * sizeof *hidden);
    return SAH_OK;
}

/* Heads of all layers, the last of each by a factor of 1: it changes nothing. */
static size_t heads_and_nothing(const sah_config *c, sah_candidate *candidates, bool *nothing)
{
    static const sah_ablation all = {SAH_PART_V, SAH_OP_SCALE, 0.9f}, none = {SAH_PART_V, SAH_OP_SCALE, 1.0f};
    size_t n = 0;
    for (int l = 0; l < c->n_layers; l++) {
        const sah_layer_kind kind = sah_config_layer(c, l);
        for (int h = 0; h < kind.n_heads; h++, n++) {
            nothing[n] = h > 0 && h == kind.n_heads - 1;
            candidates[n] = sah_candidate_of(c, (sah_head){l, h}, nothing[n] ? &none : &all);
        }
    }
    return n;
}

/* False where the memory does not hold one candidate. */
static bool sweep_differing(const sah_model *model, const sah_prompt prompts[N_PROMPTS], const sah_edit *base,
                            size_t n_base, uint64_t memory, bool differences, differing *out)
{
    const sah_sweep_options options = {.memory = memory, .what = "heads", .differences = differences};
    sah_error error = {0};
    sah_forest *forest = NULL;
    sah_candidate candidates[MOST_CANDIDATES];
    bool nothing[MOST_CANDIDATES];
    sah_sink sink = {out, differing_base, differing_take};
    memset(out, 0, sizeof *out);
    out->d = (size_t)model->config.d_model;
    const size_t n = heads_and_nothing(&model->config, candidates, nothing);
    assert_int_equal(sah_forest_new(prompts, N_PROMPTS, model->config.n_vocab, &forest, &error), SAH_OK);
    sah_status status = sah_sweep(model, forest, base, n_base, candidates, n, &options, &sink, &error);
    if (status != SAH_OK && status != SAH_BAD_ARGUMENT) fail_msg("%s", error.message);
    sah_forest_free(forest);
    return status == SAH_OK;
}

/* The largest of |a - b| over a candidate's hidden states. */
static double apart(const float *a, const float *b, size_t n)
{
    double most = 0.0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* With the least memory that holds a candidate and what differences need: every one is a group, whose base pass begins
 * anew. */
static void sweep_one_by_one(const sah_model *model, const sah_prompt prompts[N_PROMPTS],
                             const sah_edit base[N_BASE], differing *out)
{
    uint64_t memory = 1000;
    while (!sweep_differing(model, prompts, base, N_BASE, memory, true, out)) memory += memory / 64;
}

/* Sweeps in bfloat16 by differences, beside those in float32 and those that round all: the base is float32's; a head
 * without effect leaves it, to the last bit; errors are a part of what an ablation changes, and in all a tenth of the
 * plain way's at most. Groups, threads and memory change nothing. */
static void test_differences(void **state)
{
    static differing exact, plain, by_differences, other;
    const arrangement *a = *state;
    sah_edit base[N_BASE];
    if (!sah_product_has_bf16()) skip();
    sah_model *single = open_arrangement(a, &(sah_model_options){.threads = 1}),
              *model =
                  open_arrangement(a, &(sah_model_options){.threads = 1, .precision = SAH_PRECISION_BF16});
    base_of(single, base);
    if (!sah_model_differs(model)) {
        assert_true(model->config.experts.n > 0);
        sah_model_close(single);
        sah_model_close(model);
        return;
    }
    sah_candidate candidates[MOST_CANDIDATES];
    bool nothing[MOST_CANDIDATES];
    const size_t n = heads_and_nothing(&model->config, candidates, nothing),
                 each = N_PROMPTS * (size_t)model->config.d_model;
    double of_plain = 0.0, of_differences = 0.0;
    assert_true(sweep_differing(single, PROMPTS, base, N_BASE, 0, false, &exact));
    assert_true(sweep_differing(model, PROMPTS, base, N_BASE, 0, false, &plain));
    assert_true(sweep_differing(model, PROMPTS, base, N_BASE, 0, true, &by_differences));
    assert_true(apart(by_differences.base, exact.base, each) < BOUND);
    for (size_t i = 0; i < n; i++) {
        const double change = apart(exact.hidden[i], exact.base, each),
                     off = apart(by_differences.hidden[i], exact.hidden[i], each);
        if (nothing[i] && candidates[i].layer == 2) /* which the base leaves alone */
            assert_memory_equal(by_differences.hidden[i], by_differences.base, each * sizeof(float));
        if (!(off < BOUND + 0.05 * change))
            fail_msg("head %d-%d changes %g and is off by %g", candidates[i].layer,
                     candidates[i].edits[0].head, change, off);
        of_plain += apart(plain.hidden[i], exact.hidden[i], each);
        of_differences += off;
    }
    print_message("%s: off by %.2g where all is rounded, by %.2g with differences\n", a->name,
                  of_plain / (double)n, of_differences / (double)n);
    assert_true(of_differences < of_plain / 10);
    sah_model_close(single);

    sweep_one_by_one(model, PROMPTS, base, &other);
    if (!sah_product_has_tiles()) assert_memory_equal(&other, &by_differences, sizeof other);
    for (size_t i = 0; i < n; i++) assert_true(apart(other.hidden[i], by_differences.hidden[i], each) < 0.05);
    sah_model_close(model);
    model = open_arrangement(a, &(sah_model_options){.threads = 3, .precision = SAH_PRECISION_BF16});
    sweep_one_by_one(model, PROMPTS, base, &other);
    if (!sah_product_has_tiles()) assert_memory_equal(&other, &by_differences, sizeof other);
    sah_model_close(model);
}

/* Prompts of 115 nodes, so that four candidates go together and their 460 rows in chunks of 240: the second begins
 * within the third candidate. Bits are those of candidates that go alone. */
static void test_chunks(void **state)
{
    static differing together, alone;
    static int32_t tokens[N_PROMPTS][20];
    const arrangement *a = *state;
    sah_prompt prompts[N_PROMPTS];
    sah_edit base[N_BASE];
    if (!sah_product_has_bf16()) skip();
    for (int p = 0; p < N_PROMPTS; p++) {
        for (int i = 0; i < 20; i++) tokens[p][i] = (5 + 7 * p + (3 + p) * i) % 50;
        prompts[p] = (sah_prompt){.tokens = tokens[p], .n = p == 0 ? 15 : 20};
    }
    sah_model *model =
        open_arrangement(a, &(sah_model_options){.threads = 1, .precision = SAH_PRECISION_BF16});
    base_of(model, base);
    assert_true(sweep_differing(model, prompts, base, N_BASE, 0, true, &together));
    sweep_one_by_one(model, prompts, base, &alone);
    if (!sah_product_has_tiles()) assert_memory_equal(&together, &alone, sizeof together);
    for (size_t i = 0; i < MOST_CANDIDATES; i++)
        assert_true(apart(together.hidden[i], alone.hidden[i], N_PROMPTS * (size_t)model->config.d_model) <
                    0.05);
    sah_model_close(model);
}

/* ---- Refusals ------------------------------------------------------------------------------------------ */

static void long_prompt(const arrangement *a, int limit, const char *part)
{
    random_shape shape = arranged(a);
    shape.config.max_positions = limit;
    if (a == NULL) shape.config.ropes[0].limit = limit;
    sah_model *model = random_model(&shape, &(sah_model_options){.threads = 1}, 1);
    sah_error error = {0};
    sah_forest *forest = NULL;
    float hidden[64];
    for (size_t n = (size_t)limit; n <= (size_t)limit + 1; n++) {
        sah_prompt prompt = {.tokens = TOKENS[3], .n = n};
        assert_int_equal(sah_forest_new(&prompt, 1, 50, &forest, &error), SAH_OK);
        assert_int_equal(sah_forward(model, forest, NULL, 0, hidden, &error),
                         n > (size_t)limit ? SAH_BAD_ARGUMENT : SAH_OK);
        sah_forest_free(forest);
    }
    assert_non_null(strstr(error.message, part));
    sah_model_close(model);
}

static void test_too_long(void **state)
{
    (void)state;
    long_prompt(arrangement_called("learned positions"), 9,
                "10 tokens are too many: the model has learned 9 positions");
    long_prompt(NULL, 9, "10 tokens are too many: beyond 9 the model's rotary scaling changes");
}

/* q and k of a layer without attention: by name. */
static void test_no_attention(void **state)
{
    (void)state;
    sah_model *model = open_arrangement(arrangement_called("delta rule"), &(sah_model_options){.threads = 1});
    sah_error error = {0};
    const sah_edit q = {0, 5, SAH_PART_Q, SAH_OP_SCALE, 0}, k = {1, 0, SAH_PART_K, SAH_OP_MEAN, 0},
                   outside = {2, 4, SAH_PART_V, SAH_OP_SCALE, 0}, last = {0, 5, SAH_PART_V, SAH_OP_SCALE, 0};
    assert_int_equal(sah_edits_check(&model->config, &q, 1, &error), SAH_BAD_ARGUMENT);
    assert_non_null(
        strstr(error.message, "head 0-5: layer 0 keeps a state by the delta rule, in which q has"));
    assert_int_equal(sah_edits_check(&model->config, &k, 1, &error), SAH_BAD_ARGUMENT);
    assert_non_null(strstr(error.message, "in which k has"));
    assert_int_equal(sah_edits_check(&model->config, &outside, 1, &error), SAH_BAD_ARGUMENT);
    assert_non_null(strstr(error.message, "2-4"));
    assert_int_equal(sah_edits_check(&model->config, &last, 1, &error), SAH_OK);
    sah_model_close(model);
    const sah_edit key = {1, 0, SAH_PART_K, SAH_OP_SCALE, 0}, whole = {1, 0, SAH_PART_V, SAH_OP_SCALE, 0};
    model = open_arrangement(arrangement_called("convolutions"), &(sah_model_options){.threads = 1});
    assert_int_equal(sah_edits_check(&model->config, &key, 1, &error), SAH_BAD_ARGUMENT);
    assert_non_null(strstr(error.message, "head 1-0: layer 1 is a convolution, which has no k"));
    assert_int_equal(sah_edits_check(&model->config, &whole, 1, &error), SAH_OK);
    sah_model_close(model);
}

int main(void)
{
    static char names[N_ARRANGEMENTS][64];
    static const arrangement wide = {"wide MLP", wide_mlp};
    struct CMUnitTest tests[2 * N_ARRANGEMENTS + 4];
    for (size_t i = 0; i < N_ARRANGEMENTS; i++) {
        void *each = (void *)(uintptr_t)&ARRANGEMENTS[i];
        snprintf(names[i], sizeof names[i], "differences: %s", ARRANGEMENTS[i].name);
        tests[2 * i] = (struct CMUnitTest){ARRANGEMENTS[i].name, test_arrangement, NULL, NULL, each};
        tests[2 * i + 1] = (struct CMUnitTest){names[i], test_differences, NULL, NULL, each};
    }
    tests[2 * N_ARRANGEMENTS] = (struct CMUnitTest)cmocka_unit_test(test_too_long);
    tests[2 * N_ARRANGEMENTS + 1] = (struct CMUnitTest)cmocka_unit_test(test_no_attention);
    tests[2 * N_ARRANGEMENTS + 2] =
        (struct CMUnitTest){"differences: wide MLP", test_differences, NULL, NULL, (void *)(uintptr_t)&wide};
    tests[2 * N_ARRANGEMENTS + 3] =
        (struct CMUnitTest){"differences: chunks", test_chunks, NULL, NULL,
                            (void *)(uintptr_t)arrangement_called("layers are given inputs")};
    cmocka_set_test_filter(getenv("SAHARA_TEST_ONLY")); /* scripts/mutate; NULL: all */
    return cmocka_run_group_tests_name("arrangements of a layer", tests, NULL, NULL);
}
