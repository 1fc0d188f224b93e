/* SPDX-License-Identifier: Apache-2.0 */
/* Surgery on checkpoints in formats that are not written: what comes out holds what the same surgery makes of the
 * same model as safetensors or as one GGUF file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "surgery.h"
#include "util/scratch.h"

#define FORMATS "tests/golden/formats/"

static sah_checkpoint *checkpoint_of(const char *path)
{
    sah_error error = {0};
    sah_checkpoint *c;
    expect_ok(sah_checkpoint_open(path, NULL, true, &c, &error), &error);
    return c;
}

static void check_equal(const char *a, const char *b)
{
    sah_checkpoint *x = checkpoint_of(a), *y = checkpoint_of(b);
    assert_string_equal(x->info.format, y->info.format);
    assert_int_equal(x->tensors->n, y->tensors->n);
    for (size_t i = 0; i < x->tensors->n; i++) {
        const sah_tensor *left = &x->tensors->items[i], *right = sah_tensors_find(y->tensors, left->name);
        assert_non_null(right);
        assert_int_equal(left->type, right->type);
        assert_int_equal(left->bytes, right->bytes);
        assert_memory_equal(left->data, right->data, left->bytes);
    }
    sah_checkpoint_close(x);
    sah_checkpoint_close(y);
}

static bool is_in(const char *folder, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void test_torch(void **state)
{
    (void)state;
    char made[512];
    snprintf(made, sizeof made, "%s",
             operate(FORMATS "llama-bin", "0-1,2-3", SAH_PART_V, SAH_OP_SCALE, 0.5F));
    check_equal(made, operate(MODELS "llama-bf16", "0-1,2-3", SAH_PART_V, SAH_OP_SCALE, 0.5F));
    assert_true(is_in(made, "model.safetensors") && is_in(made, "config.json"));
    assert_false(is_in(made, "pytorch_model.bin"));
    snprintf(made, sizeof made, "%s",
             operate(FORMATS "llama-bin-sharded", "1-0", SAH_PART_Q, SAH_OP_SCALE, 0));
    check_equal(made, operate(MODELS "llama-sharded", "1-0", SAH_PART_Q, SAH_OP_SCALE, 0));
    assert_true(is_in(made, "model-00002-of-00002.safetensors"));
    assert_true(is_in(made, "model.safetensors.index.json"));
    assert_false(is_in(made, "pytorch_model.bin.index.json"));
}

static void test_parts(void **state)
{
    (void)state;
    char made[512];
    snprintf(
        made, sizeof made, "%s",
        operate(FORMATS "llama-split/model-00002-of-00003.gguf", "0-1,2-3", SAH_PART_Q, SAH_OP_SCALE, 0.5F));
    check_equal(made, operate(MODELS "llama-gqa/model-f32.gguf", "0-1,2-3", SAH_PART_Q, SAH_OP_SCALE, 0.5F));
    sah_checkpoint *c = checkpoint_of(made);
    assert_null(sah_gguf_find(&c->gguf, "split.count"));
    assert_non_null(sah_gguf_find(&c->gguf, "general.architecture"));
    assert_int_equal(c->tensors->n_files, 1);
    sah_checkpoint_close(c);
}

/* ---- FP8 ----------------------------------------------------------------------------------------------- */

/* Whether the array under `key` of the quantisation in config.json is `names` and nothing else. */
static void check_list(const char *folder, const char *key, const char *const *names)
{
    sah_error error;
    json_t *config;
    char path[600];
    snprintf(path, sizeof path, "%s/config.json", folder);
    expect_ok(sah_json_read(path, 1 << 20, &config, &error), &error);
    const json_t *list = json_object_get(json_object_get(config, "quantization_config"), key);
    size_t n = 0;
    for (; names[n] != NULL; n++) assert_string_equal(json_string_value(json_array_get(list, n)), names[n]);
    assert_int_equal(json_array_size(list), n);
    json_decref(config);
}

/* What the edited checkpoint computes is what the ablation computes; the edited matrix alone has lost its scales. */
static void check_scaled(const char *model, const char *weight, const char *key, const char *const *names)
{
    char made[512];
    golden g;
    size_t n;
    golden_open("llama-fp8", &g);
    snprintf(made, sizeof made, "%s", operate(model, "1-3,1-6", SAH_PART_V, SAH_OP_SCALE, 0.25F));
    float *ours = logits_of(made, NULL, &g, NULL, 0, SAH_OP_SCALE, 0, &n);
    float *theirs = logits_of(model, NULL, &g, "1-3,1-6", SAH_PART_V, SAH_OP_SCALE, 0.25F, &n);
    float *plain = logits_of(model, NULL, &g, NULL, 0, SAH_OP_SCALE, 0, &n);
    assert_true(distance(ours, theirs, n) < 3e-6);
    assert_true(distance(ours, plain, n) > 1e-3);
    sah_checkpoint *a = checkpoint_of(model), *b = checkpoint_of(made);
    assert_int_equal(a->tensors->n, b->tensors->n);
    for (size_t i = 0; i < a->tensors->n; i++) {
        const sah_tensor *x = &a->tensors->items[i], *y = sah_tensors_find(b->tensors, x->name);
        assert_non_null(y);
        if (strcmp(x->name, weight) == 0) {
            assert_true(y->type == SAH_F32 && y->scales == NULL && x->scales != NULL);
            continue;
        }
        assert_true(x->type == y->type && x->bytes == y->bytes && (x->scales != NULL) == (y->scales != NULL));
        assert_memory_equal(x->data, y->data, x->bytes);
    }
    check_list(made, key, names);
    sah_checkpoint_close(a);
    sah_checkpoint_close(b);
    free(ours);
    free(theirs);
    free(plain);
    golden_close(&g);
}

static void test_fp8(void **state)
{
    (void)state;
#define EDITED "model.layers.1.self_attn.o_proj"
    check_scaled(MODELS "llama-fp8", EDITED ".weight", "modules_to_not_convert",
                 (const char *const[]){EDITED, NULL});
    check_scaled(MODELS "llama-fp8-channels", EDITED ".weight", "ignore",
                 (const char *const[]){"lm_head", EDITED, NULL});
#undef EDITED
}

/* A graft takes numbers, whatever the kinds of the two models. */
static void test_fp8_graft(void **state)
{
    (void)state;
    static const char *const PAIRS[][2] = {{MODELS "llama-gqa", MODELS "llama-fp8"},
                                           {MODELS "llama-fp8", MODELS "llama-gqa"},
                                           {MODELS "llama-fp8", MODELS "llama-fp8-channels"}};
    for (size_t i = 0; i < sizeof PAIRS / sizeof *PAIRS; i++) {
        const sah_graft_options options = {.attention = SAH_SIDE_A, .mlp = SAH_SIDE_B, .rest = SAH_SIDE_A};
        char made[512];
        sah_error error;
        snprintf(made, sizeof made, "%s", fresh(""));
        expect_ok(sah_graft(PAIRS[i][0], PAIRS[i][1], &options, made, NULL, &error), &error);
        sah_checkpoint *a = checkpoint_of(PAIRS[i][0]), *b = checkpoint_of(PAIRS[i][1]),
                       *c = checkpoint_of(made);
        for (int l = 0; l < c->config.n_layers; l++) {
            const sah_matrix *pairs[][2] = {{&a->layers[l].q, &c->layers[l].q},
                                            {&b->layers[l].up, &c->layers[l].up}};
            for (size_t p = 0; p < 2; p++) {
                const size_t n = pairs[p][0]->rows * pairs[p][0]->columns;
                float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
                sah_matrix_read(pairs[p][0], 0, pairs[p][0]->rows, x);
                sah_matrix_read(pairs[p][1], 0, pairs[p][1]->rows, y);
                assert_memory_equal(x, y, n * sizeof *x);
                free(x);
                free(y);
            }
        }
        sah_checkpoint_close(a);
        sah_checkpoint_close(b);
        sah_checkpoint_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torch),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_fp8),
        cmocka_unit_test(test_fp8_graft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
