/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: both containers give the same weights; what is missing, misshapen or unknown is refused by
 * name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>
#include <cmocka.h>

#include "model/checkpoint/checkpoint.h"
#include "model/template/template.h"
#include "model/writers.h"
#include "util/scratch.h"

#define MODELS "tests/golden/models/"

static sah_checkpoint *opened(const char *path)
{
    sah_error error;
    sah_checkpoint *c;
    expect_ok(sah_checkpoint_open(path, NULL, false, &c, &error), &error);
    return c;
}

static float *matrix_values(const sah_matrix *m)
{
    float *out = malloc(m->rows * m->columns * sizeof *out);
    sah_matrix_read(m, 0, m->rows, out);
    return out;
}

static void check_matrix(const sah_matrix *a, const sah_matrix *b)
{
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->columns, b->columns);
    float *x = matrix_values(a), *y = matrix_values(b);
    assert_memory_equal(x, y, a->rows * a->columns * sizeof *x);
    free(x);
    free(y);
}

static void check_bias(const sah_matrix *m, const sah_tensor *a, const sah_matrix *n, const sah_tensor *b)
{
    assert_int_equal(a == NULL, b == NULL);
    if (a == NULL) return;
    float *x = malloc(m->rows * sizeof *x), *y = malloc(n->rows * sizeof *y);
    sah_bias_read(m, a, x);
    sah_bias_read(n, b, y);
    assert_memory_equal(x, y, m->rows * sizeof *x);
    free(x);
    free(y);
}

static void check_vector(const sah_tensor *a, const sah_tensor *b)
{
    assert_int_equal(a == NULL, b == NULL);
    if (a == NULL) return;
    size_t n = sah_tensor_values(a);
    assert_int_equal(n, sah_tensor_values(b));
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    sah_vector_read(a, x);
    sah_vector_read(b, y);
    assert_memory_equal(x, y, n * sizeof *x);
    free(x);
    free(y);
}

static void check_layer(const sah_layer_files *a, const sah_layer_files *b)
{
    check_matrix(&a->q, &b->q);
    check_matrix(&a->k, &b->k);
    check_matrix(&a->v, &b->v);
    check_matrix(&a->o, &b->o);
    check_matrix(&a->gate, &b->gate);
    check_matrix(&a->up, &b->up);
    check_matrix(&a->down, &b->down);
    check_vector(a->input_norm, b->input_norm);
    check_vector(a->post_norm, b->post_norm);
    check_bias(&a->q, a->q_bias, &b->q, b->q_bias);
    check_bias(&a->k, a->k_bias, &b->k, b->k_bias);
    check_vector(a->v_bias, b->v_bias);
    check_vector(a->o_bias, b->o_bias);
    check_vector(a->gate_bias, b->gate_bias);
    check_vector(a->up_bias, b->up_bias);
    check_vector(a->down_bias, b->down_bias);
}

/* The GGUF goldens hold the same numbers as the Hugging Face directories they lie in, rows of q and k
 * reordered. */
static void test_containers_agree(void **state)
{
    (void)state;
    static const char *const NAMES[] = {
        "llama-mha",   "llama-gqa",  "llama-headdim", "llama-headdim-odd-count",
        "llama3-rope", "llama-bias", "llama-tied",    "llama-rope-linear"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char path[256];
        snprintf(path, sizeof path, MODELS "%s", NAMES[i]);
        sah_checkpoint *a = opened(path);
        snprintf(path, sizeof path, MODELS "%s/model-f32.gguf", NAMES[i]);
        sah_checkpoint *b = opened(path);
        assert_int_equal(a->config.n_layers, b->config.n_layers);
        assert_int_equal(a->config.tied, b->config.tied);
        assert_int_equal(a->info.n_parameters, b->info.n_parameters);
        assert_string_equal(a->info.rope_scaling, b->info.rope_scaling);
        assert_true(b->layers[0].q.layout.halves && !a->layers[0].q.layout.halves);
        for (int layer = 0; layer < a->config.n_layers; layer++)
            check_layer(&a->layers[layer], &b->layers[layer]);
        check_matrix(&a->embedding, &b->embedding);
        check_matrix(&a->lm_head, &b->lm_head);
        check_vector(a->final_norm, b->final_norm);
        double x[64], y[64];
        sah_rope_frequencies(&a->config.ropes[0], x);
        sah_rope_frequencies(&b->config.ropes[0], y);
        for (int p = 0; p < a->config.head_dim / 2; p++)
            assert_true(x[p] / y[p] > 1 - 1e-6 && x[p] / y[p] < 1 + 1e-6);
        sah_checkpoint_close(a);
        sah_checkpoint_close(b);
    }
}

/* Any range of rows is the same part of the whole. */
static void test_row_ranges(void **state)
{
    (void)state;
    static const char *const PATHS[] = {MODELS "llama-quantised/model-mixed.gguf", MODELS "llama-f16"};
    for (size_t i = 0; i < sizeof PATHS / sizeof *PATHS; i++) {
        sah_checkpoint *c = opened(PATHS[i]);
        const sah_layer_files *layer = &c->layers[1];
        const sah_matrix *matrices[] = {&layer->q, &layer->k, &layer->v, &layer->down, &c->lm_head};
        for (size_t m = 0; m < sizeof matrices / sizeof *matrices; m++) {
            const size_t columns = matrices[m]->columns;
            float *all = matrix_values(matrices[m]), *part = malloc(5 * columns * sizeof *part);
            for (size_t row = 0; row + 5 <= matrices[m]->rows; row += 3) {
                sah_matrix_read(matrices[m], row, 5, part);
                assert_memory_equal(part, all + row * columns, 5 * columns * sizeof *part);
            }
            free(all);
            free(part);
        }
        for (size_t t = 0; t < c->tensors->n; t++) sah_checkpoint_release(c, &c->tensors->items[t]);
        float value[256];
        sah_matrix_read(&layer->q, 0, 1, value); /* pages come back when they are asked for */
        sah_checkpoint_close(c);
    }
}

static void test_info(void **state)
{
    (void)state;
    sah_checkpoint *c = opened(MODELS "llama-tied//");
    assert_string_equal(c->info.name, "llama-tied");
    assert_string_equal(c->info.family, "llama");
    assert_string_equal(c->info.format, "safetensors");
    assert_string_equal(c->info.types, "F32");
    assert_string_equal(c->info.rope_scaling, "none");
    assert_string_equal(c->info.chat_template, "none");
    assert_true(c->info.tied_embeddings);
    assert_null(c->tokenizer);
    /* embedding 64 x 32, final norm 32; a layer: q, o 32 x 32, k, v 16 x 32, gate, up, down 48 x 32, norms 2
     * x 32 */
    assert_int_equal(c->info.n_parameters, 64 * 32 + 32 + 3 * (2 * 1024 + 2 * 512 + 3 * 1536 + 64));
    size_t size;
    uint8_t *bytes = scratch_read(MODELS "llama-tied/model.safetensors", &size);
    char checksum[17];
    snprintf(checksum, sizeof checksum, "%016llx", (unsigned long long)XXH3_64bits(bytes, size));
    assert_string_equal(c->info.checksum, checksum);
    assert_int_equal(c->info.file_bytes, size);
    free(bytes);
    sah_checkpoint_close(c);
    c = opened(MODELS "llama3-rope/model-f32.gguf");
    assert_string_equal(c->info.name, "model-f32.gguf");
    assert_string_equal(c->info.format, "gguf");
    assert_string_equal(c->info.rope_scaling, "llama3 8");
    sah_checkpoint_close(c);
    c = opened(MODELS "llama-rope-linear");
    assert_string_equal(c->info.rope_scaling, "linear 4");
    sah_checkpoint_close(c);
    c = opened(MODELS "llama-quantised/model-mixed.gguf");
    assert_non_null(strstr(c->info.types, "Q4_K"));
    assert_int_equal(strncmp(c->info.types, "F16 BF16 ", 9), 0); /* the most bytes first */
    sah_checkpoint_close(c);
}

static void test_checksum_of_shards(void **state)
{
    (void)state;
    sah_checkpoint *c = opened(MODELS "llama-sharded");
    XXH3_state_t *hash = XXH3_createState();
    XXH3_64bits_reset(hash);
    for (int i = 1; i <= 2; i++) {
        char path[256];
        size_t size;
        snprintf(path, sizeof path, MODELS "llama-sharded/model-0000%d-of-00002.safetensors", i);
        uint8_t *bytes = scratch_read(path, &size);
        XXH3_64bits_update(hash, bytes, size);
        free(bytes);
    }
    char checksum[17];
    snprintf(checksum, sizeof checksum, "%016llx", (unsigned long long)XXH3_64bits_digest(hash));
    assert_string_equal(c->info.checksum, checksum);
    XXH3_freeState(hash);
    sah_checkpoint_close(c);
}

/* A copy of a golden directory, whose header and configuration a test may change. */
typedef struct copy {
    char directory[512];
    json_t *header, *config;
    uint8_t *data;
    size_t size;
} copy;

static copy take(const char *name)
{
    static int number;
    copy c;
    char path[600], directory[16];
    size_t size;
    snprintf(directory, sizeof directory, "copy%d", number++);
    strcpy(c.directory, scratch(directory));
    assert_int_equal(mkdir(c.directory, 0700), 0);
    snprintf(path, sizeof path, MODELS "%s/model.safetensors", name);
    c.header = safetensors_take(path, &c.data, &c.size);
    snprintf(path, sizeof path, MODELS "%s/config.json", name);
    char *config = (char *)scratch_read(path, &size);
    c.config = json_loads(config, 0, NULL);
    free(config);
    return c;
}

static void write_file(const copy *c, const char *name, const char *text)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", c->directory, name);
    scratch_write_text(path, text);
}

/* Writes the copy, opens it and forgets it; the directory stays. */
static sah_status open_copy(copy *c, sah_checkpoint **out, sah_error *error)
{
    char path[600];
    char *header = json_dumps(c->header, 0), *config = json_dumps(c->config, 0);
    snprintf(path, sizeof path, "%s/model.safetensors", c->directory);
    safetensors_write(path, header, c->data, c->size);
    write_file(c, "config.json", config);
    sah_status status = sah_checkpoint_open(c->directory, NULL, false, out, error);
    free(header);
    free(config);
    free(c->data);
    json_decref(c->header);
    json_decref(c->config);
    return status;
}

static void rename_key(json_t *object, const char *from, const char *to)
{
    json_t *value = json_object_get(object, from);
    assert_non_null(value);
    json_object_set(object, to, value); /* first, since `to` may be the end of the key itself */
    json_object_del(object, from);
}

static void test_refusals(void **state)
{
    (void)state;
    sah_error error;
    sah_checkpoint *opened_copy;
    copy c = take("llama-gqa");
    json_object_del(c.header, "model.layers.1.mlp.up_proj.weight");
    expect_failure(open_copy(&c, &opened_copy, &error), &error,
                   "tensor model.layers.1.mlp.up_proj.weight is missing");
    c = take("llama-gqa");
    rename_key(c.header, "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.other");
    expect_failure(open_copy(&c, &opened_copy, &error), &error,
                   "tensor model.layers.1.mlp.up_proj.weight is missing");
    c = take("llama-gqa");
    json_object_set_new(json_object_get(c.header, "model.layers.1.mlp.up_proj.weight"), "dtype",
                        json_string("I32"));
    expect_failure(open_copy(&c, &opened_copy, &error), &error,
                   "tensor model.layers.1.mlp.up_proj.weight has type I32, which is not supported");
    c = take("llama-gqa");
    json_object_set_new(c.config, "num_key_value_heads", json_integer(4));
    expect_failure(
        open_copy(&c, &opened_copy, &error), &error,
        "tensor model.layers.0.self_attn.k_proj.weight is [8, 32], but the configuration asks for [16, 32]");
    c = take("llama-gqa");
    json_object_set_new(c.config, "num_hidden_layers", json_integer(2));
    expect_failure(open_copy(&c, &opened_copy, &error), &error, "tensor model.layers.2.");
    c = take("llama-gqa");
    json_object_set_new(c.config, "attention_bias", json_true());
    expect_failure(open_copy(&c, &opened_copy, &error), &error,
                   "tensor model.layers.0.self_attn.q_proj.bias is missing");
    c = take("llama-bias");
    json_object_set_new(c.config, "attention_bias", json_false());
    expect_failure(open_copy(&c, &opened_copy, &error), &error, "has no place in a llama model");
    c = take("qwen3");
    json_object_set_new(c.config, "architectures", json_pack("[s]", "LlamaForCausalLM"));
    expect_failure(open_copy(&c, &opened_copy, &error), &error, "_norm.weight has no place in a llama model");
    expect_failure(sah_checkpoint_open(MODELS "none", NULL, false, &opened_copy, &error), &error,
                   "No such file");
    expect_failure(sah_checkpoint_open(MODELS, NULL, false, &opened_copy, &error), &error,
                   "no config.json in it");
    expect_failure(sah_checkpoint_open(MODELS "llama-gqa/config.json", NULL, false, &opened_copy, &error),
                   &error, "name the directory it is in");
    expect_failure(
        sah_checkpoint_open(MODELS "llama-gqa/model.safetensors", NULL, false, &opened_copy, &error), &error,
        "name the directory");
}

/* What other programs write and what must not disturb. */
static void test_tolerated(void **state)
{
    (void)state;
    sah_error error;
    sah_checkpoint *a, *b = opened(MODELS "llama-gqa");
    copy c = take("llama-gqa");
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(c.header, next, key, value)
    {
        if (strncmp(key, "model.", 6) == 0)
            rename_key(c.header, key, key + 6); /* saved without the LM head's wrapper */
    }
    expect_ok(open_copy(&c, &a, &error), &error);
    check_layer(&a->layers[2], &b->layers[2]);
    sah_checkpoint_close(a);
    /* Tied by the configuration: a copy of the embedding in the file is one, but an LM head of other values is the
     * LM head, as in transformers 5. */
    for (int same = 0; same < 2; same++) {
        c = take("llama-gqa");
        json_object_set_new(c.config, "tie_word_embeddings", json_true());
        const json_t *embedding = json_object_get(c.header, "model.embed_tokens.weight"),
                     *head = json_object_get(c.header, "lm_head.weight");
        if (same)
            memcpy(c.data + json_integer_value(json_array_get(json_object_get(head, "data_offsets"), 0)),
                   c.data + json_integer_value(json_array_get(json_object_get(embedding, "data_offsets"), 0)),
                   64 * 32 * sizeof(float));
        expect_ok(open_copy(&c, &a, &error), &error);
        assert_int_equal(a->lm_head.tensor == a->embedding.tensor, same);
        assert_int_equal(a->info.tied_embeddings, same);
        assert_int_equal(a->info.n_parameters, b->info.n_parameters - (same ? 64 * 32 : 0));
        sah_checkpoint_close(a);
    }
    /* Tied because the file has no LM head, whatever the configuration says. */
    c = take("llama-gqa");
    json_object_del(c.header, "lm_head.weight");
    expect_ok(open_copy(&c, &a, &error), &error);
    assert_true(a->config.tied && a->info.tied_embeddings);
    sah_checkpoint_close(a);
    /* RoPE tables that old checkpoints carry. */
    c = take("llama-gqa");
    json_object_set_new(c.header, "model.layers.0.self_attn.rotary_emb.inv_freq",
                        json_pack("{s:s, s:[i], s:[i,i]}", "dtype", "F32", "shape", 0, "data_offsets", 0, 0));
    expect_ok(open_copy(&c, &a, &error), &error);
    sah_checkpoint_close(a);
    sah_checkpoint_close(b);
}

/* The prompt that the checkpoint's own template makes is its own text in these tests. */
static void expect_template(const sah_checkpoint *c, const char *text)
{
    char *prompt;
    sah_error error;
    expect_ok(sah_template_wrap(&(sah_template){"chat", &c->chat, NULL}, NULL, "Q", &prompt, &error), &error);
    assert_string_equal(prompt, text);
    free(prompt);
}

static void test_chat_template(void **state)
{
    (void)state;
    sah_error error;
    sah_checkpoint *a;
    copy c = take("llama-gqa");
    copy again = c;
    write_file(&c, "tokenizer_config.json", "{\"chat_template\": \"text\"}");
    expect_ok(open_copy(&c, &a, &error), &error);
    expect_template(a, "text");
    assert_string_equal(a->info.chat_template, "own");
    sah_checkpoint_close(a);
    write_file(
        &again, "tokenizer_config.json",
        "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"no\"},"
        " {\"name\": \"default\", \"template\": \"{{ bos_token ~ eos_token ~ pad_token ~ image_token }}\"}],"
        "\"bos_token\": \"<b>\", \"eos_token\": {\"content\": \"<e>\"}, \"pad_token\": null,"
        "\"extra_special_tokens\": {\"image_token\": \"<i>\"}}");
    expect_ok(sah_checkpoint_open(again.directory, NULL, true, &a, &error), &error);
    expect_template(a, "<b><e><i>");
    assert_string_equal(a->info.checksum, ""); /* described only */
    sah_checkpoint_close(a);
    /* special_tokens_map.json counts where the tokenizer was saved without its added tokens. */
    write_file(&again, "special_tokens_map.json", "{\"bos_token\": \"<m>\"}");
    expect_ok(sah_checkpoint_open(again.directory, NULL, true, &a, &error), &error);
    expect_template(a, "<m><e><i>");
    sah_checkpoint_close(a);
    /* A class names what the file does not. */
    write_file(&again, "tokenizer_config.json",
               "{\"chat_template\": \"{{ bos_token ~ eos_token ~ pad_token }}\", \"tokenizer_class\":"
               " \"Qwen2TokenizerFast\", \"pad_token\": null, \"added_tokens_decoder\": {}}");
    expect_ok(sah_checkpoint_open(again.directory, NULL, true, &a, &error), &error);
    expect_template(a, "<|endoftext|>");
    sah_checkpoint_close(a);
    write_file(&again, "tokenizer_config.json",
               "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"no\"}]}");
    expect_ok(sah_checkpoint_open(again.directory, NULL, true, &a, &error), &error);
    assert_non_null(strstr(a->chat.problem, "default"));
    assert_string_equal(a->info.chat_template, "unsupported");
    sah_checkpoint_close(a);
    write_file(&again, "chat_template.jinja", "own file");
    expect_ok(sah_checkpoint_open(again.directory, NULL, true, &a, &error), &error);
    expect_template(a, "own file");
    sah_checkpoint_close(a);
}

/* Opens the directory that `path` lies in. */
static bool open_beside(const char *path, sah_error *error)
{
    char directory[600];
    sah_checkpoint *c;
    strcpy(directory, path);
    *strrchr(directory, '/') = '\0';
    if (sah_checkpoint_open(directory, NULL, false, &c, error) != SAH_OK) return false;
    for (int layer = 0; layer < c->config.n_layers; layer++) free(matrix_values(&c->layers[layer].k));
    sah_checkpoint_close(c);
    return true;
}

static bool open_gguf(const char *path, sah_error *error)
{
    sah_checkpoint *c;
    if (sah_checkpoint_open(path, NULL, false, &c, error) != SAH_OK) return false;
    for (int layer = 0; layer < c->config.n_layers; layer++) free(matrix_values(&c->layers[layer].k));
    sah_checkpoint_close(c);
    return true;
}

static void test_damage(void **state)
{
    (void)state;
    sah_error error;
    sah_checkpoint *c;
    char path[600];
    size_t size;
    copy damaged = take("llama-gqa");
    expect_ok(open_copy(&damaged, &c, &error), &error);
    sah_checkpoint_close(c);
    snprintf(path, sizeof path, "%s/config.json", damaged.directory);
    uint8_t *data = scratch_read(path, &size);
    spoil(data, size, size, path, open_beside);
    free(data);
    data = scratch_read(MODELS "llama3-rope/model-f32.gguf", &size);
    spoil(data, size, 2000, scratch("spoilt.gguf"), open_gguf);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_containers_agree),
        cmocka_unit_test(test_row_ranges),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_checksum_of_shards),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_tolerated),
        cmocka_unit_test(test_chat_template),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
