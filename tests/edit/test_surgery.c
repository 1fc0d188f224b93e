/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints made by surgery against the run-time ablation, on every family and file type; what stays byte
 * for byte; what is refused. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "surgery.h"
#include "util/scratch.h"
#include "program.h"

/* `tolerance`: of the largest logit. 1e-4 for float32, and for quantised tensors, which become float32; half
 * a unit in the last place for the weights that stay in 16 bits, which holds of these two models and is no
 * rule: how far a rounded weight moves a logit depends on the model (tests/interop/families.py). */
typedef struct source {
    const char *directory, *file;
    double tolerance;
} source;

static const source SOURCES[] = {
    {"llama-mha", NULL, 1e-4},
    {"llama-mha", "model-f32.gguf", 1e-4},
    {"llama-gqa", NULL, 1e-4},
    {"llama-gqa", "model-f32.gguf", 1e-4},
    {"llama-gqa", "model-f32-v2.gguf", 1e-4},
    {"llama-tied", NULL, 1e-4},
    {"llama-tied", "model-f32.gguf", 1e-4},
    {"llama-headdim", NULL, 1e-4},
    {"llama-headdim-odd-count", "model-f32.gguf", 1e-4},
    {"llama-bias", NULL, 1e-4},
    {"llama-bias", "model-f32.gguf", 1e-4},
    {"llama3-rope", "model-f32.gguf", 1e-4},
    {"llama-sharded", NULL, 1e-4},
    {"mistral-swa", NULL, 1e-4},
    {"qwen2", NULL, 1e-4},
    {"qwen2", "model-f32.gguf", 1e-4},
    {"qwen3", NULL, 1e-4},
    {"qwen3", "model-f32.gguf", 1e-4},
    {"llama-f16", NULL, 0x1p-11},
    {"llama-bf16", NULL, 0x1p-8},
    {"llama-quantised", "model-mixed.gguf", 1e-4},
    /* Heads inside of tensors that hold several weights, or keep them turned. */
    {"family-phi3", NULL, 1e-4},
    {"family-phi3", "model-f32.gguf", 1e-4},
    {"family-phi4-mini", NULL, 1e-4},
    {"family-ministral3", "model-f32.gguf", 1e-4},
    {"family-gpt-neox", NULL, 1e-4},
    {"family-gpt-neox-sequential", NULL, 1e-4},
    {"family-gpt2", NULL, 1e-4},
    {"family-gpt2", "model-f32.gguf", 1e-4},
    {"family-falcon", NULL, 1e-4},
    {"family-gpt-neox", "model-f32.gguf", 1e-4},
    {"family-falcon", "model-f32.gguf", 1e-4},
    {"family-arcee", "model-f32.gguf", 1e-4},
    {"family-stablelm-parallel", NULL, 1e-4},
    {"family-starcoder2", "model-f32.gguf", 1e-4},
    {"family-cohere2", NULL, 1e-4},
    {"family-glm", NULL, 1e-4},
    {"family-mistral3", NULL, 1e-4},
    {"family-glm4", "model-f32.gguf", 1e-4},
    /* A norm over all heads, norms behind the branches, experts. */
    {"family-olmo2", NULL, 1e-4},
    {"family-olmo2", "model-f32.gguf", 1e-4},
    {"family-gemma3", NULL, 1e-4},
    {"family-mixtral", NULL, 1e-4},
    {"family-qwen2-moe", NULL, 1e-4},
    {"family-qwen3-moe", NULL, 1e-4},
    {"family-olmoe", NULL, 1e-4},
    {"family-glm4-moe", NULL, 1e-4},
    {"family-gemma4-moe", NULL, 1e-4},
    {"family-qwen3-vl-moe", NULL, 1e-4},
    {"family-gemma4-moe", "model-f32.gguf", 1e-4},
    /* The delta rule beside attention: of those layers v alone. */
    {"family-qwen3-5", NULL, 1e-4},
    {"family-qwen3-5", "model-f32.gguf", 1e-4},
    {"family-qwen3-next", NULL, 1e-4},
    /* Convolutions beside attention. */
    {"family-lfm2", NULL, 1e-4},
    {"family-lfm2", "model-f32.gguf", 1e-4},
};

enum { N_SOURCES = sizeof SOURCES / sizeof *SOURCES };

static const char *path_of(const source *s)
{
    static char path[256];
    snprintf(path, sizeof path, MODELS "%s%s%s", s->directory, s->file != NULL ? "/" : "",
             s->file != NULL ? s->file : "");
    return path;
}

/* Every cell of the table that is exact: the edited checkpoint's logits are the run-time ablation's, and not
 * the unedited ones. */
static void test_table(void **state)
{
    const source *s = *state;
    static const struct {
        unsigned parts;
        sah_op op;
        float factor;
    } CELLS[] = {{SAH_PART_Q, SAH_OP_SCALE, 1e-4F}, {SAH_PART_Q, SAH_OP_SCALE, 0},
                 {SAH_PART_Q, SAH_OP_MEAN, 0},      {SAH_PART_K, SAH_OP_SCALE, 1e-4F},
                 {SAH_PART_K, SAH_OP_SCALE, 0},     {SAH_PART_K, SAH_OP_MEAN, 0},
                 {SAH_PART_V, SAH_OP_SCALE, 1e-4F}, {SAH_PART_V, SAH_OP_SCALE, 0},
                 {SAH_PART_V, SAH_OP_SCALE, -2},    {SAH_PART_Q | SAH_PART_V, SAH_OP_SCALE, 0}};
    const char *path = path_of(s);
    sah_model *model = golden_model(s->directory, s->file, &(sah_model_options){.describe_only = true});
    const bool one_key_head = model->config.n_kv_heads == 1;
    const sah_qk_norm norm = model->config.qk_norm;
    int attention = 0; /* the first layer that has it */
    while (sah_config_layer(&model->config, attention).mixer != SAH_MIXER_ATTENTION) attention++;
    const bool hybrid = attention > 0;
    char there[32], all[32];
    snprintf(there, sizeof there, "%d-1,%d-0", attention, attention);
    snprintf(all, sizeof all, "0-%d,1-0,1-1", sah_config_layer(&model->config, 0).n_heads > 1);
    golden g;
    size_t n;
    sah_model_close(model);
    golden_open(s->directory, &g);
    float *plain = logits_of(path, NULL, &g, NULL, SAH_PART_Q, SAH_OP_SCALE, 0, &n);
    for (size_t i = 0; i < sizeof CELLS / sizeof *CELLS; i++) {
        const bool zero = CELLS[i].op == SAH_OP_SCALE && fabsf(CELLS[i].factor) <= 0;
        if (CELLS[i].parts != SAH_PART_V &&
            (norm == SAH_QK_NORM_HEAD ? !zero : norm && CELLS[i].op == SAH_OP_MEAN))
            continue; /* refused */
        const char *heads = one_key_head ? "0-0,1-0" : all;
        if (hybrid && CELLS[i].parts != SAH_PART_V) heads = there;
        if (one_key_head && CELLS[i].parts == SAH_PART_K && CELLS[i].op == SAH_OP_MEAN)
            continue; /* it is its own mean */
        const char *made = operate(path, heads, CELLS[i].parts, CELLS[i].op, CELLS[i].factor);
        float *want = logits_of(path, NULL, &g, heads, CELLS[i].parts, CELLS[i].op, CELLS[i].factor, &n);
        float *have = logits_of(made, NULL, &g, NULL, SAH_PART_Q, SAH_OP_SCALE, 0, &n);
        const double off = distance(have, want, n), moved = distance(want, plain, n);
        if (!(off <= s->tolerance) || !(moved > 4 * s->tolerance))
            fail_msg("%s, cell %zu: off by %g of the largest logit; the ablation moves %g", path, i, off,
                     moved);
        free(want);
        free(have);
    }
    free(plain);
    golden_close(&g);
}

/* ---- What stays ---------------------------------------------------------------------------------------- */

static void test_rest_stays(void **state)
{
    (void)state;
    const char *f32 = MODELS "llama-bias", *gguf = MODELS "llama-bias/model-f32.gguf",
               *mixed = MODELS "llama-quantised/model-mixed.gguf";
    check_unedited(f32, operate(f32, "1-2", SAH_PART_Q, SAH_OP_SCALE, 1e-4F),
                   (const char *[]){"model.layers.1.self_attn.q_proj.weight",
                                    "model.layers.1.self_attn.q_proj.bias", NULL});
    check_unedited(gguf, operate(gguf, "1-1", SAH_PART_K, SAH_OP_MEAN, 0),
                   (const char *[]){"blk.1.attn_k.weight", "blk.1.attn_k.bias", NULL});
    check_unedited(gguf, operate(gguf, "0-2,2-3", SAH_PART_V, SAH_OP_SCALE, 0),
                   (const char *[]){"blk.0.attn_output.weight", "blk.2.attn_output.weight", NULL});
    check_unedited(mixed, operate(mixed, "0-1", SAH_PART_Q, SAH_OP_SCALE, 1e-4F),
                   (const char *[]){"blk.0.attn_q.weight", NULL});
    check_unedited(MODELS "llama-sharded", operate(MODELS "llama-sharded", "1-1", SAH_PART_Q, SAH_OP_MEAN, 0),
                   (const char *[]){"model.layers.1.self_attn.q_proj.weight", NULL});
    /* float16 cannot hold 1e-7 times a weight: the tensor is widened, and all others move. */
    check_unedited(MODELS "llama-f16", operate(MODELS "llama-f16", "1-1", SAH_PART_Q, SAH_OP_SCALE, 1e-7F),
                   (const char *[]){"model.layers.1.self_attn.q_proj.weight", NULL});
}

static void same_file(const char *a, const char *b, const char *name)
{
    char path[512];
    size_t n, m;
    snprintf(path, sizeof path, "%s/%s", a, name);
    uint8_t *x = scratch_read(path, &n);
    snprintf(path, sizeof path, "%s/%s", b, name);
    uint8_t *y = scratch_read(path, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

/* Headers, other files and the index stay while nothing is widened; an old .gguf beside the weights does not
 * come along. */
static void test_files(void **state)
{
    (void)state;
    char path[512];
    size_t n, m;
    const char *model = MODELS "llama-gqa", *made = operate(model, "1-2", SAH_PART_Q, SAH_OP_SCALE, 1e-4F);
    same_file(model, made, "config.json");
    snprintf(path, sizeof path, "%s/model-f32.gguf", made);
    assert_int_not_equal(access(path, F_OK), 0);
    uint8_t *x = scratch_read(MODELS "llama-gqa/model.safetensors", &n);
    snprintf(path, sizeof path, "%s/model.safetensors", made);
    uint8_t *y = scratch_read(path, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, 8 + (size_t)x[0] + 256 * (size_t)x[1]);
    free(x);
    free(y);
    same_file(MODELS "llama-sharded", operate(MODELS "llama-sharded", "1-2", SAH_PART_Q, SAH_OP_SCALE, 0),
              "model.safetensors.index.json");
}

/* bfloat16 holds every scale; float16 does not. The note and sahara.json say what was widened; the index
 * stays true. */
static void test_widening_is_told(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_strings notes = {0};
    sah_checkpoint *c;
    const char *out = fresh("");
    sah_surgery_options options = {.heads = "1-1", .ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-7F}};
    expect_ok(sah_surgery(MODELS "llama-bf16", &options, out, &notes, &error), &error);
    assert_int_equal(notes.n, 0);
    out = fresh("");
    expect_ok(sah_surgery(MODELS "llama-f16", &options, out, &notes, &error), &error);
    assert_int_equal(notes.n, 1);
    assert_string_equal(
        notes.items[0],
        "model.layers.1.self_attn.q_proj.weight: F32 instead of F16, which would lose the edit");
    expect_ok(sah_checkpoint_open(out, NULL, true, &c, &error), &error);
    const json_t *tensor = json_array_get(json_object_get(c->provenance, "tensors"), 0);
    assert_string_equal(json_string_value(json_object_get(tensor, "is")), "F32");
    assert_string_equal(c->info.types, "F16 F32");
    sah_checkpoint_close(c);
    sah_strings_free(&notes);
}

/* Surgery on a checkpoint that surgery made: both are told, the last first. */
static void test_provenance(void **state)
{
    (void)state;
    static const char *const MODEL[] = {MODELS "llama-mha", MODELS "llama-mha/model-f32.gguf"};
    for (int i = 0; i < 2; i++) {
        sah_error error = {0};
        sah_model *model;
        char *text;
        const char *first = operate(MODEL[i], "1-1", SAH_PART_Q, SAH_OP_SCALE, 1e-4F);
        const char *second = operate(first, "0-3", SAH_PART_V, SAH_OP_SCALE, 0);
        expect_ok(sah_model_open(second, &(sah_model_options){.describe_only = true}, &model, &error),
                  &error);
        expect_ok(sah_model_text(model, false, &text, &error), &error);
        const char *last = strstr(text, "\"0-3\""), *before = strstr(text, "\"1-1\"");
        assert_true(last != NULL && before != NULL && last < before);
        free(text);
        expect_ok(sah_model_text(model, true, &text, &error), &error);
        assert_non_null(strstr(text, "\"provenance\":{\"sahara\":\"ablate\""));
        free(text);
        sah_model_close(model);
    }
}

/* ---- v mean, adapters ---------------------------------------------------------------------------------- */

/* Rows of v_proj are the mean over the heads, which is not the run-time mean, and is said not to be. */
static void test_v_mean(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_strings notes = {0};
    sah_checkpoint *before, *after;
    const char *out = fresh("");
    const sah_surgery_options options = {.heads = "1-2", .ablation = {SAH_PART_V, SAH_OP_MEAN, 0}};
    expect_ok(sah_surgery(MODELS "llama-mha", &options, out, &notes, &error), &error);
    assert_int_equal(notes.n, 1);
    assert_non_null(strstr(notes.items[0], "approximation"));
    expect_ok(sah_checkpoint_open(MODELS "llama-mha", NULL, true, &before, &error), &error);
    expect_ok(sah_checkpoint_open(out, NULL, true, &after, &error), &error);
    assert_true(json_is_true(json_object_get(json_object_get(after->provenance, "settings"), "approximate")));
    const sah_matrix *v = &before->layers[1].v;
    float *x = calloc(v->rows * v->columns, sizeof *x), *y = calloc(v->rows * v->columns, sizeof *y);
    sah_matrix_read(v, 0, v->rows, x);
    sah_matrix_read(&after->layers[1].v, 0, v->rows, y);
    const size_t size = v->rows / 4 * v->columns;
    for (size_t i = 0; i < v->rows * v->columns; i++) {
        const double mean =
            ((double)x[i % size] + x[i % size + size] + x[i % size + 2 * size] + x[i % size + 3 * size]) / 4;
        const double want = i / size == 2 ? mean : (double)x[i];
        assert_true(fabs((double)y[i] - want) <= 1e-7 * fmax(1, fabs(want)));
    }
    free(x);
    free(y);
    sah_checkpoint_close(before);
    sah_checkpoint_close(after);
    sah_strings_free(&notes);
}

static void test_adapter(void **state)
{
    (void)state;
    static const char *const MODEL[] = {MODELS "llama-gqa", MODELS "llama-gqa/model-f32.gguf"};
    const char *adapter = "tests/golden/adapters/plain";
    golden g;
    size_t n;
    golden_open("llama-gqa", &g);
    for (int i = 0; i < 4; i++) {
        sah_error error = {0};
        const char *heads = i < 2 ? NULL : "1-2,0-1", *out = fresh(i % 2 ? ".gguf" : "");
        const sah_surgery_options options = {
            .heads = heads, .adapter = adapter, .ablation = {SAH_PART_Q, SAH_OP_MEAN, 0}};
        expect_ok(sah_surgery(MODEL[i % 2], &options, out, NULL, &error), &error);
        float *want = logits_of(MODEL[i % 2], adapter, &g, heads, SAH_PART_Q, SAH_OP_MEAN, 0, &n);
        float *have = logits_of(out, NULL, &g, NULL, SAH_PART_Q, SAH_OP_MEAN, 0, &n);
        assert_true(distance(have, want, n) <= 1e-4);
        free(want);
        free(have);
    }
    golden_close(&g);
}

/* ---- What is refused ----------------------------------------------------------------------------------- */

static void refuse(const char *model, const char *heads, sah_ablation ablation, const char *out,
                   const char *part)
{
    sah_error error = {0};
    struct stat there;
    const sah_surgery_options options = {.heads = heads, .ablation = ablation};
    const bool was = lstat(out, &there) == 0;
    expect_failure(sah_surgery(model, &options, out, NULL, &error), &error, part);
    assert_int_equal(lstat(out, &there) == 0, was);
}

/* What PEFT's adapted model gives for its prompt (tests/golden/adapters/family-...): at run time, merged by surgery,
 * and merged by a graft of both halves. In tensors of several weights, turned ones, beside experts, in the delta
 * rule, and in GGUF's orders of rows. */
static void test_family_adapters(void **state)
{
    (void)state;
    static const char *const MODEL[][2] = {
        {"phi3", ""},         {"phi3", "/model-f32.gguf"},
        {"gpt-neox", ""},     {"gpt2", ""},
        {"falcon", ""},       {"gpt2", "/model-f32.gguf"},
        {"glm4", ""},         {"glm4", "/model-f32.gguf"},
        {"qwen3-next", ""},   {"qwen3-moe", ""},
        {"qwen3-5", ""},      {"qwen3-5", "/model-f32.gguf"},
        {"mixtral", ""},      {"mixtral-modules", ""},
        {"granite-moe", ""},  {"granite-moe", "/model-f32.gguf"},
        {"qwen3-5-moe", ""},  {"qwen3-5-moe", "/model-f32.gguf"},
        {"lfm2-moe", ""},     {"lfm2-moe", "/model-f32.gguf"},
        {"gemma4-moe", ""},   {"gemma4-moe", "/model-f32.gguf"},
        {"qwen3-vl-moe", ""},
    };
    for (size_t i = 0; i < sizeof MODEL / sizeof *MODEL; i++) {
        sah_error error = {0};
        char model[256], adapter[256], path[300], merged[512], grafted[512];
        int32_t tokens[32];
        json_t *json;
        size_t n;
        const char *variant = strstr(MODEL[i][0], "-modules");
        const size_t name = variant != NULL ? (size_t)(variant - MODEL[i][0]) : strlen(MODEL[i][0]);
        snprintf(model, sizeof model, MODELS "family-%.*s%s", (int)name, MODEL[i][0], MODEL[i][1]);
        snprintf(adapter, sizeof adapter, "tests/golden/adapters/family-%s", MODEL[i][0]);
        snprintf(path, sizeof path, "%s/logits.json", adapter);
        expect_ok(sah_json_read(path, 1 << 20, &json, &error), &error);
        const json_t *ids = json_object_get(json, "prompt"), *want = json_object_get(json, "logits");
        sah_prompt prompt = {.tokens = tokens, .n = json_array_size(ids)};
        const golden g = {.prompts = &prompt, .n_prompts = 1};
        for (size_t t = 0; t < prompt.n; t++) tokens[t] = (int32_t)json_integer_value(json_array_get(ids, t));
        float *wanted = calloc(json_array_size(want), sizeof *wanted);
        for (size_t t = 0; t < json_array_size(want); t++)
            wanted[t] = (float)json_number_value(json_array_get(want, t));

        const char *suffix = MODEL[i][1][0] != '\0' ? ".gguf" : "";
        snprintf(merged, sizeof merged, "%s", fresh(suffix));
        snprintf(grafted, sizeof grafted, "%s", fresh(suffix));
        const sah_surgery_options surgery = {.adapter = adapter};
        const sah_graft_options graft = {
            .attention = SAH_SIDE_B, .mlp = SAH_SIDE_B, .rest = SAH_SIDE_A, .adapters = {NULL, adapter}};
        expect_ok(sah_surgery(model, &surgery, merged, NULL, &error), &error);
        expect_ok(sah_graft(model, model, &graft, grafted, NULL, &error), &error);
        const char *const made[][2] = {{model, adapter}, {merged, NULL}, {grafted, NULL}};
        for (size_t m = 0; m < 3; m++) {
            float *have = logits_of(made[m][0], made[m][1], &g, NULL, SAH_PART_Q, SAH_OP_SCALE, 0, &n);
            assert_int_equal(n, json_array_size(want));
            const double off = distance(have, wanted, n);
            if (!(off <= 1e-4)) fail_msg("%s, way %zu: off by %g of the largest logit", model, m, off);
            free(have);
        }
        float *plain = logits_of(model, NULL, &g, NULL, SAH_PART_Q, SAH_OP_SCALE, 0, &n);
        assert_true(distance(plain, wanted, n) > 4e-4);
        free(plain);
        free(wanted);
        json_decref(json);
    }
}

/* Experts whose parameters may lie turned take none. */
static void test_turned_experts(void **state)
{
    (void)state;
    sah_error error = {0};
    const sah_surgery_options options = {.adapter = "tests/golden/adapters/family-mixtral"};
    expect_failure(sah_surgery(MODELS "family-gpt-oss", &options, fresh(""), NULL, &error), &error,
                   "mlp.experts.base_layer is not supported in this model");
}

static void test_inexact_is_refused(void **state)
{
    (void)state;
    const char *qwen3 = MODELS "qwen3", *gqa = MODELS "llama-gqa", *out = fresh("");
    refuse(qwen3, "1-1", (sah_ablation){SAH_PART_Q, SAH_OP_SCALE, 1e-4F}, out, "only the scale 0 is exact");
    refuse(qwen3, "1-1", (sah_ablation){SAH_PART_K, SAH_OP_SCALE, 1}, out, "only the scale 0 is exact");
    refuse(qwen3, "1-1", (sah_ablation){SAH_PART_K | SAH_PART_V, SAH_OP_MEAN, 0}, out, "the mean of q or k");
    refuse(gqa, "1-1", (sah_ablation){SAH_PART_V, SAH_OP_MEAN, 0}, out, "grouped-query");
    refuse(gqa, "3-1", (sah_ablation){SAH_PART_Q, SAH_OP_SCALE, 0}, out, "outside the model");
    refuse(gqa, "1-2", (sah_ablation){SAH_PART_K, SAH_OP_SCALE, 0}, out, "outside the model");
    refuse(gqa, "", (sah_ablation){SAH_PART_Q, SAH_OP_SCALE, 0}, out, "nothing to do");
    refuse(gqa, "1-1", (sah_ablation){SAH_PART_Q, SAH_OP_SCALE, INFINITY}, out, "finite");
}

static void test_places(void **state)
{
    (void)state;
    const sah_ablation ablation = {SAH_PART_Q, SAH_OP_SCALE, 0};
    const char *model = MODELS "llama-gqa", *gguf = MODELS "llama-gqa/model-f32.gguf";
    char *there = strdup(operate(model, "1-1", SAH_PART_Q, SAH_OP_SCALE, 0));
    refuse(model, "1-1", ablation, there, "already exists");
    refuse(there, "1-1", ablation, there, "is the input");
    refuse(gguf, "1-1", ablation, gguf, "is the input");
    refuse(model, "1-1", ablation, "", "name of the output is empty");
    refuse(model, "1-1", ablation, "/no/such/place", "cannot make /no/such/place: No such file");
    refuse(gguf, "1-1", ablation, "/no/such/place.gguf", "cannot write /no/such/place.gguf: No such file");
    refuse(gguf, "1-1", ablation, "/dev/null", "already exists");
    free(there);
}

/* Nothing but the scratch folder's earlier files is left when writing stops half way. */
static size_t count_parts(void)
{
    char command[600];
    size_t n = 0;
    snprintf(command, sizeof command, "ls -a %s | grep -c part", scratch("."));
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%zu", &n), 1);
    pclose(pipe);
    return n;
}

static bool stop_at_once(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    (void)total;
    return done < *(uint64_t *)user;
}

static void test_nothing_half_written(void **state)
{
    (void)state;
    static const char *const MODEL[] = {MODELS "llama-sharded", MODELS "llama-gqa/model-f32.gguf"};
    struct rlimit limit, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 2; i++) {
        const char *out = fresh(i ? ".gguf" : "");
        uint64_t enough = 50000;
        sah_error error = {0};
        sah_surgery_options options = {.heads = "1-1", .ablation = {SAH_PART_Q, SAH_OP_SCALE, 0}};
        small = (struct rlimit){20000, limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        sah_status status = sah_surgery(MODEL[i], &options, out, NULL, &error);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        expect_failure(status, &error, "File too large");
        assert_int_not_equal(access(out, F_OK), 0);
        assert_int_equal(count_parts(), 0);

        options.progress = stop_at_once;
        options.user = &enough;
        assert_int_equal(sah_surgery(MODEL[i], &options, out, NULL, &error), SAH_INTERRUPTED);
        assert_int_not_equal(access(out, F_OK), 0);
        assert_int_equal(count_parts(), 0);
    }
}

int main(void)
{
    enum { N = N_SOURCES };
    static char names[N][128];
    struct CMUnitTest tests[N + 11] = {
        cmocka_unit_test(test_rest_stays),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_widening_is_told),
        cmocka_unit_test(test_provenance),
        cmocka_unit_test(test_v_mean),
        cmocka_unit_test(test_adapter),
        cmocka_unit_test(test_family_adapters),
        cmocka_unit_test(test_turned_experts),
        cmocka_unit_test(test_inexact_is_refused),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_nothing_half_written),
    };
    signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "%s %s", SOURCES[i].directory,
                 SOURCES[i].file != NULL ? SOURCES[i].file : "safetensors");
        tests[11 + i] = (struct CMUnitTest){names[i], test_table, NULL, NULL, (void *)(uintptr_t)&SOURCES[i]};
    }
    return cmocka_run_group_tests_name("surgery", tests, NULL, NULL);
}
