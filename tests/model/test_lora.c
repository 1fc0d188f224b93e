/* SPDX-License-Identifier: Apache-2.0 */
/* LoRA adapters: merged weights as PEFT computes them (tests/golden/adapters), and what is refused by name.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "model/checkpoint/checkpoint.h"
#include "model/writers.h"
#include "util/scratch.h"

#define ADAPTERS "tests/golden/adapters/"

/* The matrix that PEFT calls model.layers.N.GROUP.NAME. */
static const sah_matrix *matrix_named(const sah_checkpoint *c, const char *name)
{
    int layer;
    char module[32];
    assert_int_equal(sscanf(name, "model.layers.%d.%*[a-z_].%31s", &layer, module), 2);
    const sah_layer_files *l = &c->layers[layer];
    const struct {
        const char *name;
        const sah_matrix *matrix;
    } ALL[] = {{"q_proj", &l->q},       {"k_proj", &l->k},   {"v_proj", &l->v},      {"o_proj", &l->o},
               {"gate_proj", &l->gate}, {"up_proj", &l->up}, {"down_proj", &l->down}};
    for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++) {
        if (strcmp(ALL[i].name, module) == 0) return ALL[i].matrix;
    }
    fail_msg("no module %s", name);
    return NULL;
}

static void check_merged(const char *model, const char *adapter)
{
    sah_error error;
    sah_checkpoint *c;
    json_t *merged, *values;
    const char *name;
    char path[256];
    snprintf(path, sizeof path, "%s/merged.json", adapter);
    expect_ok(sah_json_read(path, 1 << 24, &merged, &error), &error);
    expect_ok(sah_checkpoint_open(model, adapter, false, &c, &error), &error);
    json_object_foreach(merged, name, values)
    {
        const sah_matrix *m = matrix_named(c, name);
        assert_int_equal(json_array_size(values), m->rows * m->columns);
        float *row = malloc(m->columns * sizeof *row);
        for (size_t r = 0; r < m->rows; r++) {
            sah_matrix_read(m, r, 1, row);
            for (size_t j = 0; j < m->columns; j++) {
                double wanted = json_number_value(json_array_get(values, r * m->columns + j));
                assert_true(fabs((double)row[j] - wanted) <= 2e-6 * fmax(1, fabs(wanted)));
            }
        }
        free(row);
    }
    sah_checkpoint_close(c);
    json_decref(merged);
}

static void test_merged(void **state)
{
    (void)state;
    check_merged("tests/golden/models/llama-gqa", ADAPTERS "plain");
    check_merged("tests/golden/models/llama-gqa", ADAPTERS "patterns");
}

/* The adapter's rows are in Hugging Face's order whatever the order of the file. */
static void test_merged_into_gguf(void **state)
{
    (void)state;
    check_merged("tests/golden/models/llama-gqa/model-f32.gguf", ADAPTERS "plain");
    check_merged("tests/golden/models/llama-gqa/model-f32.gguf", ADAPTERS "patterns");
}

static void test_checksum_tells_adapters_apart(void **state)
{
    (void)state;
    static const char *const NAMES[] = {NULL, ADAPTERS "plain", ADAPTERS "patterns"};
    char checksums[3][17];
    for (int i = 0; i < 3; i++) {
        sah_error error;
        sah_checkpoint *c;
        expect_ok(sah_checkpoint_open("tests/golden/models/llama-gqa", NAMES[i], false, &c, &error), &error);
        strcpy(checksums[i], c->info.checksum);
        assert_int_equal(strlen(checksums[i]), 16);
        sah_checkpoint_close(c);
    }
    assert_string_not_equal(checksums[0], checksums[1]);
    assert_string_not_equal(checksums[0], checksums[2]);
    assert_string_not_equal(checksums[1], checksums[2]);
}

/* The adapter `plain` with `changes` laid over its settings and a tensor renamed (`from` NULL: none). */
static sah_status open_changed(const char *changes, const char *from, const char *to, sah_error *error)
{
    sah_checkpoint *c;
    uint8_t *data;
    size_t size;
    char directory[512];
    strcpy(directory, scratch("adapter"));
    mkdir(directory, 0700);
    json_t *header = safetensors_take(ADAPTERS "plain/adapter_model.safetensors", &data, &size);
    json_t *config, *over = json_loads(changes, 0, NULL);
    expect_ok(sah_json_read(ADAPTERS "plain/adapter_config.json", 1 << 20, &config, error), error);
    assert_non_null(over);
    json_object_update(config, over);
    if (from != NULL) {
        json_t *entry = json_incref(json_object_get(header, from));
        assert_non_null(entry);
        json_object_del(header, from);
        if (to != NULL) json_object_set(header, to, entry);
        json_decref(entry);
    }
    char *header_text = json_dumps(header, 0), *config_text = json_dumps(config, 0);
    safetensors_write(scratch("adapter/adapter_model.safetensors"), header_text, data, size);
    scratch_write_text(scratch("adapter/adapter_config.json"), config_text);
    sah_status status = sah_checkpoint_open("tests/golden/models/llama-gqa", directory, true, &c, error);
    if (status == SAH_OK) sah_checkpoint_close(c);
    free(header_text);
    free(config_text);
    free(data);
    json_decref(header);
    json_decref(config);
    json_decref(over);
    return status;
}

static void test_refused_settings(void **state)
{
    (void)state;
    static const struct {
        const char *changes, *part;
    } CASES[] = {
        {"{\"use_dora\": true}", "\"use_dora\" is not supported"},
        {"{\"modules_to_save\": [\"lm_head\"]}", "\"modules_to_save\" is not supported"},
        {"{\"bias\": \"all\"}", "\"bias\": \"all\" is not supported"},
        {"{\"peft_type\": \"IA3\"}", "adapter type \"IA3\" is not supported"},
        {"{\"fan_in_fan_out\": true}", "\"fan_in_fan_out\" is not supported"},
        {"{\"init_lora_weights\": \"pissa\"}", "\"init_lora_weights\": \"pissa\" changes the base weights"},
        {"{\"layer_replication\": [[0, 2]]}", "\"layer_replication\" is not supported"},
        {"{\"rank_pattern\": {\"q_.*\": 3}}",
         "is [4, 32], but the model and adapter_config.json ask for [3, 32]"},
        {"{\"rank_pattern\": {\"(q\": 3}}", "\"rank_pattern\": the pattern (q: missing"},
        {"{\"rank_pattern\": [3]}", "\"rank_pattern\" must be an object"},
        {"{\"rank_pattern\": {\"q_proj\": 3.5}}", "a rank of 3.5"},
        {"{\"alpha_pattern\": {\"q_proj\": \"x\"}}", "q_proj is not a number"},
        {"{\"r\": 5}", "is [4, 32], but the model and adapter_config.json ask for [5, 32]"},
        {"{\"r\": 0}", "\"r\" is 0, outside 1"},
        {"{\"rank_pattern\": {\"v_proj\": 0}}", "a rank of 0"},
        {"{\"lora_alpha\": 1e300}", "no finite scaling"},
    };
    sah_error error;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        expect_failure(open_changed(CASES[i].changes, NULL, NULL, &error), &error, CASES[i].part);
    }
    expect_ok(
        open_changed("{\"init_lora_weights\": \"gaussian\", \"modules_to_save\": []}", NULL, NULL, &error),
        &error);
}

static void test_refused_tensors(void **state)
{
    (void)state;
#define PREFIX "base_model.model.model.layers.0.self_attn.q_proj."
    sah_error error;
    expect_failure(open_changed("{}", PREFIX "lora_B.weight", NULL, &error), &error,
                   "tensor " PREFIX "lora_B.weight is missing");
    expect_failure(open_changed("{}", PREFIX "lora_A.weight", NULL, &error), &error,
                   "tensor " PREFIX "lora_B.weight cannot be merged");
    expect_failure(
        open_changed("{}", PREFIX "lora_A.weight", "base_model.model.lm_head.lora_A.weight", &error), &error,
        "cannot be merged");
    expect_failure(sah_checkpoint_open("tests/golden/models/llama-mha", ADAPTERS "plain", true,
                                       &(sah_checkpoint *){NULL}, &error),
                   &error, "lora_B.weight is [8, 4], but the model and adapter_config.json ask for [32, 4]");
    expect_failure(
        sah_checkpoint_open("models/organism", "models/planted-one", true, &(sah_checkpoint *){NULL}, &error),
        &error, "is of layer 15, but the model has 4: this adapter is of another model");
    expect_failure(sah_checkpoint_open("tests/golden/models/llama-gqa", ADAPTERS "none", true,
                                       &(sah_checkpoint *){NULL}, &error),
                   &error, "No such file");
#undef PREFIX
}

static bool open_adapter(const char *path, sah_error *error)
{
    char directory[600];
    sah_checkpoint *c;
    strcpy(directory, path);
    *strrchr(directory, '/') = '\0';
    if (sah_checkpoint_open("tests/golden/models/llama-gqa", directory, false, &c, error) != SAH_OK)
        return false;
    sah_checkpoint_close(c);
    return true;
}

static void test_damage(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"adapter_config.json", "adapter_model.safetensors"};
    sah_error error;
    expect_ok(open_changed("{}", NULL, NULL, &error), &error);
    for (int i = 0; i < 2; i++) {
        char path[600];
        size_t size;
        snprintf(path, sizeof path, "%s/%s", scratch("adapter"), NAMES[i]);
        uint8_t *data = scratch_read(path, &size);
        spoil(data, size, i == 0 ? size : 1500, path, open_adapter);
        scratch_write(path, data, size);
        free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merged),
        cmocka_unit_test(test_merged_into_gguf),
        cmocka_unit_test(test_checksum_tells_adapters_apart),
        cmocka_unit_test(test_refused_settings),
        cmocka_unit_test(test_refused_tensors),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
