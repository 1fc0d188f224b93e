/* SPDX-License-Identifier: Apache-2.0 */
/* Families whose layers are more than attention and an MLP, on the emulated card: logits against those of independent
 * programs, unedited and under every part and operation, and a sweep of all heads against a pass for each alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/device.h"
#include "engine/forward.h"
#include "engine/golden.h"
#include "engine/sweep.h"
#include "util/error.h"

static const char *const FAMILIES[] = {
    "family-mixtral",
    "family-gpt-oss",
    "family-gpt-oss-mxfp4",
    "family-qwen2-moe",
    "family-glm4-moe",
    "family-olmoe",
    "family-granite-moe-shared",
    "family-qwen3-moe",
    "family-gemma4",
    "family-gemma4-keys",
    "family-gemma4-moe",
    "family-lfm2",
    "family-lfm2-attention-last",
    "family-qwen3-5",
    "family-qwen3-5-delta-last",
    "family-qwen3-next",
};
enum { N_FAMILIES = sizeof FAMILIES / sizeof *FAMILIES };

/* ---- A sweep --------------------------------------------------------------------------------------------- */

typedef struct swept {
    size_t each; /* numbers of a candidate: all prompts' hidden states */
    float *hidden;
} swept;

static sah_status ignore(void *ctx, const float *hidden, sah_error *error)
{
    (void)ctx, (void)hidden, (void)error;
    return SAH_OK;
}

static sah_status take(void *ctx, int thread, sah_workspace *ws, const int32_t *which, int32_t n,
                       const float *hidden, sah_error *error)
{
    swept *s = ctx;
    (void)thread, (void)ws, (void)error;
    for (int32_t i = 0; i < n; i++)
        memcpy(s->hidden + (size_t)which[i] * s->each, hidden + (size_t)i * s->each,
               s->each * sizeof *hidden);
    return SAH_OK;
}

/* Every head of the model, by its own part. */
static size_t all_heads(const sah_config *c, sah_candidate *out, size_t room)
{
    size_t n = 0;
    for (int l = 0; l < c->n_layers; l++) {
        const sah_layer_kind kind = sah_config_layer(c, l);
        sah_ablation ablation = {kind.mixer == SAH_MIXER_ATTENTION ? SAH_PART_Q : SAH_PART_V, SAH_OP_SCALE,
                                 0.1f};
        for (int h = 0; h < kind.n_heads; h++, n++) {
            assert_true(n < room);
            if (h % 2) ablation.op = SAH_OP_MEAN;
            out[n] = sah_candidate_of(c, (sah_head){l, h}, &ablation);
        }
    }
    return n;
}

/* The bits are the same in any company: on one worker and on three; and those of each candidate's own pass, but for
 * the products that a sweep saves. */
static void check_sweep(const golden *g, const char *folder, const sah_device *device)
{
    enum { ROOM = 64 };
    sah_candidate candidates[ROOM];
    sah_forest *forest = NULL;
    sah_error error = {0};
    swept found[2];
    size_t n = 0;
    sah_model *model = NULL;
    for (int way = 0; way < 2; way++) {
        if (model != NULL) sah_model_close(model);
        model = golden_model_on(folder, device, &(sah_model_options){.threads = way == 0 ? 3 : 1});
        const size_t d = (size_t)model->config.d_model;
        if (forest == NULL)
            assert_int_equal(sah_forest_new(g->prompts, g->n_prompts, model->config.n_vocab, &forest, &error),
                             SAH_OK);
        n = all_heads(&model->config, candidates, ROOM);
        found[way] = (swept){g->n_prompts * d, calloc(n * g->n_prompts * d, sizeof(float))};
        if (sah_sweep(model, forest, NULL, 0, candidates, n, NULL, &(sah_sink){&found[way], ignore, take},
                      &error) != SAH_OK)
            fail_msg("%s: %s", folder, error.message);
    }
    const size_t each = found[0].each;
    if (memcmp(found[0].hidden, found[1].hidden, n * each * sizeof(float)) != 0)
        fail_msg("%s: other bits on three workers", folder);
    float *alone = calloc(each, sizeof *alone);
    for (size_t i = 0; i < n; i++) {
        double largest = 0.0, off = 0.0;
        assert_int_equal(
            sah_forward(model, forest, candidates[i].edits, (size_t)candidates[i].n_edits, alone, &error),
            SAH_OK);
        for (size_t k = 0; k < each; k++) {
            largest = fmax(largest, fabs((double)alone[k]));
            const double here = fabs((double)alone[k] - (double)found[0].hidden[i * each + k]);
            if (!(here <= off)) off = here;
        }
        if (!(off <= 1e-4 * largest))
            fail_msg("%s: candidate %zu is off by %.3g of %.3g", folder, i, off, largest);
    }
    sah_forest_free(forest);
    sah_model_close(model);
    free(alone);
    free(found[0].hidden);
    free(found[1].hidden);
}

static void test_family(void **state)
{
    static const sah_device *(*const ways[])(void) = {emulated_by_pieces, emulated_by_float32};
    const char *folder = *state;
    golden g;
    golden_open(folder, &g);
    for (int way = 0; way < 2; way++) {
        sah_model *model = golden_model_on(folder, ways[way](), &(sah_model_options){.threads = 1});
        golden_check(&g, model, folder);
        sah_model_close(model);
    }
    check_sweep(&g, folder, emulated_by_pieces());
    golden_close(&g);
    assert_int_equal(emulated_held(), 0);
}

/* Weights of 16 bits are counted as what they take, all others as no less: so that two bytes a number are enough for
 * all layers of such a checkpoint to stay. */
static void test_size(void **state)
{
    static const struct {
        const char *folder;
        bool exact;
    } kinds[] = {{"llama-bf16", true},    {"llama-f16", true},         {"qwen3", false},
                 {"llama-fp8", false},    {"family-qwen2-moe", false}, {"family-qwen3-next", false},
                 {"family-gemma4", false}};
    const sah_device *device = emulated_by_pieces();
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        sah_model *model = golden_model_on(kinds[i].folder, device, &(sah_model_options){.threads = 1});
        uint64_t all = sah_ends_size(model);
        assert_true(all >= model->lm_head->bytes);
        for (int l = 0; l < model->config.n_layers; l++) {
            const uint64_t size = sah_layer_size(model, l), bytes = sah_layer_bytes(&model->layers[l]);
            if (kinds[i].exact ? size != bytes : size < bytes)
                fail_msg("%s, layer %d: %d bytes, counted as %d", kinds[i].folder, l, (int)bytes, (int)size);
            all += size;
        }
        assert_true(all >= sah_model_weight_bytes(model));
        sah_model_close(model);
        if (!kinds[i].exact) continue;
        for (int less = 0; less < 2; less++) { /* five eighths of what may stay */
            const sah_model_options options = {.threads = 1,
                                               .memory = (all + 4) / 5 * 8 + 8 - (uint64_t)less * 64};
            model = golden_model_on(kinds[i].folder, device, &options);
            assert_int_equal(model->stream != NULL, less);
            sah_model_close(model);
        }
    }
    assert_int_equal(emulated_held(), 0);
}

int main(void)
{
    struct CMUnitTest tests[N_FAMILIES + 1];
    for (size_t i = 0; i < N_FAMILIES; i++)
        tests[i] = (struct CMUnitTest){FAMILIES[i], test_family, NULL, NULL, (void *)(uintptr_t)FAMILIES[i]};
    tests[N_FAMILIES] = (struct CMUnitTest)cmocka_unit_test(test_size);
    cmocka_set_test_filter(getenv("SAHARA_TEST_ONLY")); /* scripts/mutate; NULL: all */
    return cmocka_run_group_tests_name("families on a card", tests, NULL, NULL);
}
