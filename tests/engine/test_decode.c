/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding with kept keys and values against running every grown prompt from its first token: with the plain
 * forward pass, for every kind of attention, edited and not. Then: what a sequence computes does not depend,
 * to the last bit, on what else lives, on its place, or on the threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cpu/product.h"
#include "engine/decode.h"
#include "engine/forward.h"
#include "engine/plain.h"
#include "golden.h"
#include "util/needs.h"

/* Hidden states are of order 1 (they are normed): float32 rounding through four layers stays below this. */
static const double BOUND = 2e-4;
/* On tiles a float32 weight is two pieces: off by up to 2^-17 of itself, not 2^-24. A state that the delta rule
 * carries from token to token adds that up: 3.0e-4 at the most here. (tests/engine/test_block.c has weights that two
 * pieces hold, and the bound above.) */
static const double TILES_DELTA_BOUND = 4e-4;

enum { STEPS = 9, MOST_PROMPTS = 16, MOST_TOKENS = 256 };

static const sah_edit edits[] = {
    {0, 1, SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, {0, 0, SAH_PART_V, SAH_OP_SCALE, 0.0f},
    {1, 0, SAH_PART_K, SAH_OP_SCALE, 0.5f},  {1, 1, SAH_PART_V, SAH_OP_MEAN, 0.0f},
    {1, 1, SAH_PART_Q, SAH_OP_MEAN, 0.0f},   {1, 0, SAH_PART_Q, SAH_OP_SCALE, 0.0f},
};
enum { N_EDITS = sizeof edits / sizeof *edits };

typedef struct grown {
    int32_t tokens[MOST_TOKENS];
    size_t n;
} grown;

static void start(const golden *g, grown *texts)
{
    assert_true(g->n_prompts <= MOST_PROMPTS);
    for (size_t i = 0; i < g->n_prompts; i++) {
        texts[i].n = g->prompts[i].n;
        assert_true(texts[i].n + STEPS <= MOST_TOKENS);
        memcpy(texts[i].tokens, g->prompts[i].tokens, texts[i].n * sizeof(int32_t));
    }
}

/* A token for a sequence that depends on its own past alone. */
static int32_t next_token(const grown *text, int n_vocab)
{
    uint32_t mixed = 17;
    for (size_t i = 0; i < text->n; i++) mixed = mixed * 31 + (uint32_t)text->tokens[i];
    return (int32_t)(mixed % (uint32_t)n_vocab);
}

/* When a sequence leaves: the second after three steps, so that its rows are used again; no other. */
static bool leaves(int32_t sequence, int step)
{
    return sequence == 1 && step == 3;
}

static bool has_delta(const sah_model *model)
{
    for (int l = 0; l < model->config.n_layers; l++)
        if (sah_config_layer(&model->config, l).mixer == SAH_MIXER_DELTA) return true;
    return false;
}

static void compare_with_plain(const sah_model *model, const golden *g, const sah_edit *some, size_t n_edits)
{
    const double bound = model->tiles && has_delta(model) ? TILES_DELTA_BOUND : BOUND;
    sah_error error = {0};
    sah_decoding *decoding = NULL;
    grown texts[MOST_PROMPTS];
    size_t d = (size_t)model->config.d_model;
    double *hidden = calloc(d, sizeof *hidden);
    start(g, texts);
    if (sah_decoding_new(model, g->prompts, g->n_prompts, STEPS, some, n_edits, NULL, &decoding, &error) !=
        SAH_OK)
        fail_msg("%s", error.message);
    for (int step = 0; step <= STEPS; step++) {
        int32_t n, next[MOST_PROMPTS];
        const int32_t *live = sah_decoding_live(decoding, &n);
        assert_int_equal(n, g->n_prompts - (step > 3 ? 1 : 0));
        for (int32_t i = 0; i < n; i++) {
            grown *text = &texts[live[i]];
            assert_int_equal(sah_plain_forward(model->checkpoint, text->tokens, text->n, some, n_edits,
                                               hidden, NULL, &error),
                             SAH_OK);
            double off = 0.0;
            for (size_t j = 0; j < d; j++)
                off = fmax(off, fabs((double)sah_decoding_hidden(decoding)[(size_t)i * d + j] - hidden[j]));
            if (!(off < bound)) fail_msg("prompt %d, step %d: off by %g", (int)live[i], step, off);
            next[i] = leaves(live[i], step) ? -1 : next_token(text, model->config.n_vocab);
            text->tokens[text->n++] = next[i];
        }
        sah_status status = sah_decoding_step(decoding, next, &error);
        assert_int_equal(status, step < STEPS ? SAH_OK : SAH_BAD_ARGUMENT); /* not made for more steps */
    }
    sah_decoding_free(decoding);
    free(hidden);
}

static void test_against_plain(void **state)
{
    golden g;
    golden_open(*state, &g);
    assert_true(g.n_prompts >= 2);
    for (int tiles = 0; tiles < 2; tiles++) {
        sah_model *model = golden_model(*state, NULL, &(sah_model_options){.generates = tiles == 1});
        size_t n_some = N_EDITS;
        sah_edit *some = golden_fitting(model, edits, &n_some);
        compare_with_plain(model, &g, NULL, 0);
        compare_with_plain(model, &g, some, n_some);
        free(some);
        sah_model_close(model);
    }
    golden_close(&g);
}

/* Hidden states of every step, [STEPS + 1, d], of sequence `which` among the prompts. */
static void run(const sah_model *model, const sah_prompt *prompts, size_t n_prompts, int32_t which,
                bool one_leaves, float *out)
{
    sah_error error = {0};
    sah_decoding *decoding = NULL;
    grown texts[MOST_PROMPTS];
    golden some = {.prompts = (sah_prompt *)(uintptr_t)prompts, .n_prompts = n_prompts};
    size_t d = (size_t)model->config.d_model;
    size_t n_fitting = N_EDITS;
    sah_edit *fitting = golden_fitting(model, edits, &n_fitting);
    start(&some, texts);
    assert_int_equal(
        sah_decoding_new(model, prompts, n_prompts, STEPS, fitting, n_fitting, NULL, &decoding, &error),
        SAH_OK);
    for (int step = 0; step <= STEPS; step++) {
        int32_t n, next[MOST_PROMPTS];
        const int32_t *live = sah_decoding_live(decoding, &n);
        for (int32_t i = 0; i < n; i++) {
            grown *text = &texts[live[i]];
            if (live[i] == which)
                memcpy(out + (size_t)step * d, sah_decoding_hidden(decoding) + (size_t)i * d,
                       d * sizeof *out);
            next[i] = one_leaves && live[i] != which ? -1 : next_token(text, model->config.n_vocab);
            text->tokens[text->n++] = next[i];
        }
        if (step < STEPS) assert_int_equal(sah_decoding_step(decoding, next, &error), SAH_OK);
    }
    sah_decoding_free(decoding);
    free(fitting);
}

static void check_independence(const char *name, sah_precision precision, bool generates)
{
    golden g;
    golden_open(name, &g);
    sah_model_options one_thread = {.threads = 1, .precision = precision, .generates = generates};
    sah_model_options three_threads = {.threads = 3, .precision = precision, .generates = generates};
    sah_model *one = golden_model(name, NULL, &one_thread), *three = golden_model(name, NULL, &three_threads);
    size_t all = (STEPS + 1) * (size_t)one->config.d_model, size = all * sizeof(float);
    float *alone = calloc(all, sizeof *alone), *other = calloc(all, sizeof *other);
    sah_prompt turned[MOST_PROMPTS];
    for (size_t i = 0; i < g.n_prompts; i++) turned[i] = g.prompts[g.n_prompts - 1 - i];
    for (size_t i = 0; i < g.n_prompts; i++) {
        int32_t which = (int32_t)i, mirrored = (int32_t)(g.n_prompts - 1 - i);
        run(one, &g.prompts[i], 1, 0, false, alone);
        run(three, g.prompts, g.n_prompts, which, false, other);
        assert_memory_equal(alone, other, size);
        run(one, turned, g.n_prompts, mirrored, false, other);
        assert_memory_equal(alone, other, size);
        run(three, turned, g.n_prompts, mirrored, true, other); /* all others leave at once */
        assert_memory_equal(alone, other, size);
    }
    free(alone);
    free(other);
    sah_model_close(one);
    sah_model_close(three);
    golden_close(&g);
}

static void test_independence(void **state)
{
    check_independence(*state, SAH_PRECISION_F32, false);
    check_independence(*state, SAH_PRECISION_F32, true);
    if (sah_product_has_bf16())
        check_independence(*state, SAH_PRECISION_BF16, false);
    else
        print_message("no bfloat16 products on this processor: independence tested in float32 alone\n");
}

/* With bfloat16 weights: against the forward pass over the grown prompt, which rounds the same rows the same
 * way but for values that lie on the edge between two. */
static void test_bf16(void **state)
{
    golden g;
    sah_error error = {0};
    sah_forest *forest = NULL;
    needs(sah_product_has_bf16(), "a processor with bfloat16 products");
    golden_open(*state, &g);
    sah_model *model = golden_model(*state, NULL, &(sah_model_options){.precision = SAH_PRECISION_BF16});
    size_t d = (size_t)model->config.d_model;
    float *steps = calloc((STEPS + 1) * d, sizeof *steps), *whole = calloc(d, sizeof *whole);
    grown text;
    golden first = {.prompts = g.prompts, .n_prompts = 1};
    start(&first, &text);
    run(model, g.prompts, g.n_prompts, 0, false, steps);
    for (int step = 0; step <= STEPS; step++) {
        assert_int_equal(sah_forest_new(&(sah_prompt){.tokens = text.tokens, .n = text.n}, 1,
                                        model->config.n_vocab, &forest, &error),
                         SAH_OK);
        assert_int_equal(sah_forward(model, forest, edits, N_EDITS, whole, &error), SAH_OK);
        sah_forest_free(forest);
        double sum = 0.0, off = 0.0;
        for (size_t j = 0; j < d; j++) {
            double difference = (double)steps[(size_t)step * d + j] - (double)whole[j];
            sum += (double)whole[j] * (double)whole[j];
            off += difference * difference;
        }
        if (!(sqrt(off / sum) < 4e-3)) fail_msg("step %d: off by %g of the norm", step, sqrt(off / sum));
        text.tokens[text.n] = next_token(&text, model->config.n_vocab);
        text.n++;
    }
    free(steps);
    free(whole);
    sah_model_close(model);
    golden_close(&g);
}

static void test_bad_tokens(void **state)
{
    (void)state;
    golden g;
    sah_error error = {0};
    sah_decoding *decoding = NULL;
    int32_t next[MOST_PROMPTS] = {0};
    size_t bytes;
    golden_open("llama-gqa", &g);
    sah_model *model = golden_model("llama-gqa", NULL, NULL);
    sah_edit outside = {99, 0, SAH_PART_Q, SAH_OP_SCALE, 0.0f};
    assert_int_equal(sah_decoding_new(model, g.prompts, g.n_prompts, 1, &outside, 1, NULL, &decoding, &error),
                     SAH_BAD_ARGUMENT);
    assert_int_equal(
        sah_decoding_new(model, g.prompts, g.n_prompts, INT32_MAX, NULL, 0, NULL, &decoding, &error),
        SAH_OUT_OF_MEMORY);
    assert_int_equal(sah_decoding_new(model, g.prompts, g.n_prompts, 1, NULL, 0, NULL, &decoding, &error),
                     SAH_OK);
    next[0] = model->config.n_vocab;
    assert_int_equal(sah_decoding_step(decoding, next, &error), SAH_BAD_ARGUMENT);
    sah_decoding_free(decoding);
    assert_true(sah_decoding_bytes(&model->config, 2, 20, 8, &bytes));
    assert_true(bytes > 0);
    assert_false(sah_decoding_bytes(&model->config, SIZE_MAX, 20, 8, &bytes));
    sah_model_close(model);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"every step: llama-mha", test_against_plain, NULL, NULL, "llama-mha"},
        {"every step: llama-gqa", test_against_plain, NULL, NULL, "llama-gqa"},
        {"every step: llama-bias", test_against_plain, NULL, NULL, "llama-bias"},
        {"every step: llama-headdim", test_against_plain, NULL, NULL, "llama-headdim"},
        {"every step: llama3-rope", test_against_plain, NULL, NULL, "llama3-rope"},
        {"every step: llama-rope-linear", test_against_plain, NULL, NULL, "llama-rope-linear"},
        {"every step: mistral-swa", test_against_plain, NULL, NULL, "mistral-swa"},
        {"every step: qwen2", test_against_plain, NULL, NULL, "qwen2"},
        {"every step: qwen3", test_against_plain, NULL, NULL, "qwen3"},
        {"every step: qwen3.5", test_against_plain, NULL, NULL, "family-qwen3-5"},
        {"every step: qwen3.5, delta last", test_against_plain, NULL, NULL, "family-qwen3-5-delta-last"},
        {"every step: qwen3-next", test_against_plain, NULL, NULL, "family-qwen3-next"},
        {"every step: lfm2", test_against_plain, NULL, NULL, "family-lfm2"},
        {"whatever the batch: lfm2", test_independence, NULL, NULL, "family-lfm2"},
        {"whatever the batch: llama-gqa", test_independence, NULL, NULL, "llama-gqa"},
        {"whatever the batch: mistral-swa", test_independence, NULL, NULL, "mistral-swa"},
        {"whatever the batch: qwen3", test_independence, NULL, NULL, "qwen3"},
        {"whatever the batch: qwen3.5", test_independence, NULL, NULL, "family-qwen3-5"},
        {"whatever the batch: qwen3-next", test_independence, NULL, NULL, "family-qwen3-next"},
        {"bfloat16: llama-gqa", test_bf16, NULL, NULL, "llama-gqa"},
        cmocka_unit_test(test_bad_tokens),
    };
    return cmocka_run_group_tests_name("decoding", tests, NULL, NULL);
}
