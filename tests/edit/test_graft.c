/* SPDX-License-Identifier: Apache-2.0 */
/* Grafts: every tensor is the one of the model it was asked of; models that do not fit are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "surgery.h"
#include "util/scratch.h"

/* The side a tensor should come from, told by its name in either container. */
static sah_side side_of(const char *name, const sah_graft_options *o)
{
    static const char *const ATTENTION[] = {"self_attn.", "attn_q.", "attn_k.", "attn_v.", "attn_output."};
    static const char *const MLP[] = {".mlp.", "ffn_gate.", "ffn_up.", "ffn_down."};
    for (size_t i = 0; i < sizeof ATTENTION / sizeof *ATTENTION; i++)
        if (strstr(name, ATTENTION[i]) != NULL) return o->attention;
    for (size_t i = 0; i < sizeof MLP / sizeof *MLP; i++)
        if (strstr(name, MLP[i]) != NULL) return o->mlp;
    return o->rest;
}

static void check(const char *a, const char *b, const sah_graft_options *options, const char *suffix)
{
    sah_error error = {0};
    const char *paths[] = {a, b}, *out = fresh(suffix);
    sah_checkpoint *from[2], *made;
    size_t taken[2] = {0};
    expect_ok(sah_graft(a, b, options, out, NULL, &error), &error);
    for (int i = 0; i < 2; i++)
        expect_ok(sah_checkpoint_open(paths[i], NULL, true, &from[i], &error), &error);
    expect_ok(sah_checkpoint_open(out, NULL, true, &made, &error), &error);
    assert_int_equal(made->tensors->n, from[options->rest]->tensors->n);
    for (size_t i = 0; i < made->tensors->n; i++) {
        const sah_tensor *tensor = &made->tensors->items[i];
        const sah_side side = side_of(tensor->name, options);
        const sah_tensor *wanted = sah_tensors_find(from[side]->tensors, tensor->name);
        assert_non_null(wanted);
        assert_int_equal(tensor->type, wanted->type);
        assert_int_equal(tensor->bytes, wanted->bytes);
        assert_memory_equal(tensor->data, wanted->data, tensor->bytes);
        taken[side]++;
    }
    assert_true(taken[0] > 0 && taken[1] > 0);
    assert_string_equal(json_string_value(json_object_get(made->provenance, "sahara")), "graft");
    for (int i = 0; i < 2; i++) sah_checkpoint_close(from[i]);
    sah_checkpoint_close(made);
}

/* B is A with every weight of attention and MLP edited: surgery makes it. Types differ where `f16` widens. */
static void test_sides(void **state)
{
    (void)state;
    static const char *const MODEL[] = {MODELS "llama-bias", MODELS "llama-bias/model-f32.gguf",
                                        MODELS "llama-gqa", MODELS "llama-gqa/model-f32.gguf"};
    for (size_t i = 0; i < sizeof MODEL / sizeof *MODEL; i++) {
        const char *suffix = i % 2 ? ".gguf" : "";
        sah_error error = {0};
        char *b = strdup(fresh(suffix));
        const sah_surgery_options all = {.heads = "0-0,0-1,1-0,1-1,2-0,2-1",
                                         .ablation = {SAH_PART_Q | SAH_PART_K | SAH_PART_V, SAH_OP_SCALE, 3},
                                         .adapter = i < 2 ? NULL : "tests/golden/adapters/plain"};
        expect_ok(sah_surgery(MODEL[i], &all, b, NULL, &error), &error);
        for (unsigned s = 1; s < 7; s++) {
            const sah_graft_options options = {.attention = s & 1 ? SAH_SIDE_B : SAH_SIDE_A,
                                               .mlp = s & 2 ? SAH_SIDE_B : SAH_SIDE_A,
                                               .rest = s & 4 ? SAH_SIDE_B : SAH_SIDE_A};
            check(MODEL[i], b, &options, suffix);
        }
        free(b);
    }
}

/* The same tensors, of the same types and bytes. */
static void expect_same(const char *a, const char *b)
{
    sah_error error = {0};
    sah_checkpoint *x, *y;
    expect_ok(sah_checkpoint_open(a, NULL, true, &x, &error), &error);
    expect_ok(sah_checkpoint_open(b, NULL, true, &y, &error), &error);
    assert_int_equal(x->tensors->n, y->tensors->n);
    for (size_t i = 0; i < x->tensors->n; i++) {
        const sah_tensor *have = &x->tensors->items[i], *want = sah_tensors_find(y->tensors, have->name);
        assert_non_null(want);
        assert_int_equal(have->type, want->type);
        assert_int_equal(have->bytes, want->bytes);
        assert_memory_equal(have->data, want->data, have->bytes);
    }
    sah_checkpoint_close(x);
    sah_checkpoint_close(y);
}

/* Adapters merged on the way give what a graft of the merged checkpoints gives. */
static void test_adapters(void **state)
{
    (void)state;
    static const char *const MODEL[] = {MODELS "llama-gqa", MODELS "llama-gqa/model-f32.gguf"};
    const char *const adapters[] = {"tests/golden/adapters/plain", "tests/golden/adapters/patterns"};
    for (int i = 0; i < 2; i++) {
        const char *suffix = i ? ".gguf" : "";
        sah_error error = {0};
        char *merged[2];
        for (int m = 0; m < 2; m++) {
            const sah_surgery_options merge = {.adapter = adapters[m]};
            merged[m] = strdup(fresh(suffix));
            expect_ok(sah_surgery(MODEL[i], &merge, merged[m], NULL, &error), &error);
        }
        for (unsigned s = 0; s < 32; s++) {
            sah_graft_options options = {.attention = s & 1 ? SAH_SIDE_B : SAH_SIDE_A,
                                         .mlp = s & 2 ? SAH_SIDE_B : SAH_SIDE_A,
                                         .rest = s & 4 ? SAH_SIDE_B : SAH_SIDE_A};
            const char *from[2] = {MODEL[i], MODEL[i]};
            char *want = strdup(fresh(suffix)), *have = strdup(fresh(suffix));
            bool traced = true;
            for (unsigned m = 0; m < 2; m++) {
                if (!(s & 8U << m)) continue;
                from[m] = merged[m];
                traced = traced && (options.attention == m || options.mlp == m);
            }
            expect_ok(sah_graft(from[0], from[1], &options, want, NULL, &error), &error);
            for (unsigned m = 0; m < 2; m++) options.adapters[m] = s & 8U << m ? adapters[m] : NULL;
            sah_status status = sah_graft(MODEL[i], MODEL[i], &options, have, NULL, &error);
            if (traced) {
                expect_ok(status, &error);
                expect_same(have, want);
            } else {
                expect_failure(status, &error, "changes nothing that the graft takes");
            }
            free(want);
            free(have);
        }
        for (int m = 0; m < 2; m++) free(merged[m]);
    }
}

/* Tensors of unlike types live beside one another, in either container. */
static void test_types(void **state)
{
    (void)state;
    const sah_graft_options options = {.attention = SAH_SIDE_B};
    const char *f16 = MODELS "llama-f16", *quantised = MODELS "llama-quantised/model-mixed.gguf";
    char *wide = strdup(operate(f16, "1-1", SAH_PART_Q, SAH_OP_SCALE, 1e-7F));
    check(f16, wide, &options, "");
    free(wide);
    wide = strdup(operate(quantised, "1-0", SAH_PART_Q, SAH_OP_SCALE, 0));
    check(quantised, wide, &options, ".gguf");
    free(wide);
}

/* A sharded model with the attention of one in a single file and in half the bytes: the index says what there
 * is. */
static void test_index(void **state)
{
    (void)state;
    const char *sharded = MODELS "llama-sharded", *f16 = MODELS "llama-f16", *out = fresh("");
    const sah_graft_options options = {.attention = SAH_SIDE_B};
    sah_error error = {0};
    sah_strings notes = {0};
    sah_checkpoint *made;
    json_t *index;
    char path[600];
    size_t bytes = 0;
    check(sharded, f16, &options, "");
    check(f16, sharded, &options, "");
    expect_ok(sah_graft(sharded, f16, &options, out, &notes, &error), &error);
    assert_int_equal(notes.n, 1);
    assert_non_null(strstr(notes.items[0], " and 11 more tensors: F16 instead of F32"));
    expect_ok(sah_checkpoint_open(out, NULL, true, &made, &error), &error);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", out);
    expect_ok(sah_json_read(path, 1u << 20, &index, &error), &error);
    for (size_t i = 0; i < made->tensors->n; i++) bytes += made->tensors->items[i].bytes;
    assert_int_equal(json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")),
                     bytes);
    assert_int_equal(json_object_size(json_object_get(index, "weight_map")), made->tensors->n);
    json_decref(index);
    sah_checkpoint_close(made);
    sah_strings_free(&notes);
}

/* The graft of a model with its ablated self is the ablated model. */
static void test_logits(void **state)
{
    (void)state;
    sah_error error = {0};
    golden g;
    size_t n;
    golden_open("qwen2", &g);
    char *b = strdup(operate(MODELS "qwen2", "1-1,0-2", SAH_PART_Q, SAH_OP_SCALE, 1e-4F)),
         *out = strdup(fresh(""));
    const sah_graft_options options = {.attention = SAH_SIDE_B};
    expect_ok(sah_graft(MODELS "qwen2", b, &options, out, NULL, &error), &error);
    float *want = logits_of(b, NULL, &g, NULL, SAH_PART_Q, SAH_OP_SCALE, 0, &n);
    float *have = logits_of(out, NULL, &g, NULL, SAH_PART_Q, SAH_OP_SCALE, 0, &n);
    assert_memory_equal(want, have, n * sizeof *want);
    free(want);
    free(have);
    free(b);
    free(out);
    golden_close(&g);
}

static void refuse(const char *a, const char *b, const char *out, const char *part)
{
    sah_error error = {0};
    expect_failure(sah_graft(a, b, &(sah_graft_options){.attention = SAH_SIDE_B}, out, NULL, &error), &error,
                   part);
}

/* Copies the configuration with its first `old` replaced by the equally long `new`. */
static void copy_config(const char *model, const char *folder, const char *old, const char *new)
{
    char path[600];
    size_t size;
    snprintf(path, sizeof path, "%s/config.json", model);
    char *config = (char *)scratch_read(path, &size);
    assert_true(strlen(old) == strlen(new) && strstr(config, old) != NULL);
    memcpy(strstr(config, old), new, strlen(new));
    snprintf(path, sizeof path, "%s/config.json", folder);
    scratch_write(path, config, size);
    free(config);
}

/* A model with another setting of as many bytes. */
static const char *make_other(const char *model, const char *old, const char *new)
{
    const char *folder = fresh("");
    char path[600];
    size_t size;
    assert_int_equal(mkdir(folder, 0777), 0);
    snprintf(path, sizeof path, "%s/model.safetensors", model);
    uint8_t *data = scratch_read(path, &size);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    scratch_write(path, data, size);
    free(data);
    copy_config(model, folder, old, new);
    return folder;
}

/* llama-mha with one of its sizes made smaller, in the configuration and in every tensor that has it; what is
 * cut off stays in the file, between the tensors. */
static const char *make_smaller(const char *key, int from, int to)
{
    enum { LENGTH = 8 };
    const char *folder = fresh("");
    char path[600], old[64], new[64], *text;
    size_t size, length = 0;
    uint8_t *data = scratch_read(MODELS "llama-mha/model.safetensors", &size);
    for (int i = LENGTH - 1; i >= 0; i--) length = length << 8 | data[i];
    json_t *header = json_loadb((const char *)data + LENGTH, length, 0, NULL), *value;
    const char *name;
    json_object_foreach(header, name, value)
    {
        json_t *shape = json_object_get(value, "shape"), *offsets = json_object_get(value, "data_offsets");
        json_int_t n = sizeof(float);
        for (size_t d = 0; d < json_array_size(shape); d++) {
            json_t *dim = json_array_get(shape, d);
            if (json_integer_value(dim) == from) json_integer_set(dim, to);
            n *= json_integer_value(dim);
        }
        if (shape != NULL)
            json_integer_set(json_array_get(offsets, 1), json_integer_value(json_array_get(offsets, 0)) + n);
    }
    text = json_dumps(header, JSON_COMPACT);
    assert_true(strlen(text) <= length);
    memset(data + LENGTH, ' ', length);
    memcpy(data + LENGTH, text, strlen(text));
    free(text);
    json_decref(header);
    assert_int_equal(mkdir(folder, 0777), 0);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    scratch_write(path, data, size);
    free(data);

    snprintf(old, sizeof old, "\"%s\": %d", key, from);
    snprintf(new, sizeof new, "\"%s\": %d", key, to);
    copy_config(MODELS "llama-mha", folder, old, new);
    return folder;
}

static void test_mismatch_is_refused(void **state)
{
    (void)state;
    const char *out = fresh("");
    refuse(MODELS "llama-mha", MODELS "llama-gqa", out, "heads 4 in the first, 8 in the second");
    refuse(MODELS "llama-mha", MODELS "llama-mha/model-f32.gguf", out,
           "format safetensors in the first, gguf in the second");
    refuse(MODELS "llama-gqa", MODELS "qwen2", out, "family llama in the first, qwen2 in the second");
    refuse(MODELS "llama-f16", MODELS "llama-bias", out,
           "biases of q, k and v 0 in the first, 1 in the second");
    refuse(MODELS "llama-mha", MODELS "llama-old-config", out, "layers 3 in the first, 2 in the second");
    refuse(MODELS "llama-mha", MODELS "llama-tied", out, "key/value heads 4 in the first, 2 in the second");
    refuse(MODELS "llama-tied", MODELS "llama-headdim", out, "head width 8 in the first, 12 in the second");
    refuse(MODELS "llama-mha", make_smaller("intermediate_size", 48, 40), out,
           "MLP width 48 in the first, 40 in the second");
    refuse(MODELS "llama-mha", make_smaller("vocab_size", 64, 60), out,
           "vocabulary 64 in the first, 60 in the second");
    refuse(MODELS "mistral-swa", MODELS "mistral-full", out,
           "sliding window 4 in the first, 0 in the second");
    refuse(MODELS "llama-mha", MODELS "llama-rope-linear", out,
           "RoPE scaling none in the first, linear 4 in the second");
    refuse(MODELS "llama3-rope",
           make_other(MODELS "llama3-rope", "\"low_freq_factor\": 1.0", "\"low_freq_factor\": 1.5"), out,
           "RoPE frequency 1 is ");
    const char *experts = MODELS "family-glm4-moe";
    refuse(experts, make_other(experts, "\"routed_scaling_factor\": 1.5", "\"routed_scaling_factor\": 2.5"),
           out, "factor of experts 1.5 in the first, 2.5 in the second");
    refuse(experts,
           make_other(experts, "\"norm_topk_prob\": true,\n  \"num", "\"norm_topk_prob\": false,\n \"num"),
           out, "weights of experts that add up to 1");
    refuse(experts, make_other(experts, "\"topk_group\": 2", "\"topk_group\": 3"), out,
           "groups of a token 2 in the first, 3 in the second");
    refuse(MODELS "llama-mha/model-f32.gguf", MODELS "llama-gqa/model-f32.gguf", out,
           "heads 4 in the first, 8 in the second");
    refuse(MODELS "qwen2/model-f32.gguf", MODELS "qwen3/model-f32.gguf", out,
           "family qwen2 in the first, qwen3 in the second");
    refuse(MODELS "llama-mha", MODELS "llama-mha", MODELS "llama-mha", "is the input");
    refuse(MODELS "llama-mha", MODELS "llama-mha", MODELS "llama-gqa", "already exists");
    refuse(MODELS "llama-mha", MODELS "none", out, "none");

    const char *model = MODELS "llama-gqa", *adapter = "tests/golden/adapters/plain";
    const sah_graft_options merging = {.attention = SAH_SIDE_B, .adapters = {NULL, adapter}};
    sah_error error = {0};
    expect_failure(sah_graft(model, model, &merging, adapter, NULL, &error), &error, "is the input");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sides),  cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_types),  cmocka_unit_test(test_index),
        cmocka_unit_test(test_logits), cmocka_unit_test(test_mismatch_is_refused),
    };
    return cmocka_run_group_tests_name("graft", tests, NULL, NULL);
}
