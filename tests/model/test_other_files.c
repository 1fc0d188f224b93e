/* SPDX-License-Identifier: Apache-2.0 */
/* Files of another kind in a model's place: the message says what they are and what to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "model/template/chat.h"
#include "util/scratch.h"

#define MODEL   "tests/golden/models/llama-gqa"
#define ADAPTER "tests/golden/adapters/plain"
#define LFS     "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 272\n"
#define PAGE    "<!DOCTYPE html>\n<html class=\"\">\n<head>"

static char *folder;

/* A fresh folder, and "FOLDER/NAME" in a buffer that the next call but one takes. */
static const char *fresh(void)
{
    static int n;
    char name[16];
    snprintf(name, sizeof name, "folder-%d", n++);
    free(folder);
    folder = strdup(scratch(name));
    assert_int_equal(mkdir(folder, 0700), 0);
    return folder;
}

static const char *inside(const char *name)
{
    static char paths[2][4096];
    static int turn;
    turn = !turn;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

static void put(const char *name, const char *text)
{
    scratch_write_text(inside(name), text);
}

static void copy(const char *from, const char *name)
{
    size_t size;
    uint8_t *data = scratch_read(from, &size);
    scratch_write(inside(name), data, size);
    free(data);
}

/* A folder with the model's config.json, and `text` as the file `name`. */
static const char *with(const char *name, const char *text)
{
    fresh();
    copy(MODEL "/config.json", "config.json");
    put(name, text);
    return folder;
}

static void expect_refused(const char *model, const char *adapter, const char *part)
{
    sah_model *opened = NULL;
    sah_error error = {0};
    sah_model_options options = {.adapter = adapter, .describe_only = true};
    expect_failure(sah_model_open(model, &options, &opened, &error), &error, part);
    assert_null(opened);
}

static void test_downloads(void **state)
{
    (void)state;
    expect_refused(with("model.safetensors", LFS), NULL,
                   "model.safetensors is a Git LFS pointer, not weights");
    expect_refused(with("pytorch_model.bin", LFS), NULL, "git lfs pull");
    expect_refused(with("model.safetensors", PAGE), NULL, "model.safetensors is an HTML page, not weights");
    expect_refused(with("pytorch_model.bin", "\n <html>\n<body>"), NULL, "an HTML page, not weights");
    expect_refused(with("model.safetensors", ""), NULL, "model.safetensors is empty");
    expect_refused(with("model.safetensors", "Entry not found"), NULL,
                   "is text, not weights: it begins \"Entry not found\"");
    expect_refused(
        with("model.safetensors", "{\"error\": \"Repository not found, or you may not see it\"}\n"), NULL,
        "is text, not weights: it begins \"{\"error\": \"Rep");
    expect_refused(with("model.safetensors.index.json", LFS), NULL,
                   "index.json is a Git LFS pointer, not JSON");
    expect_refused(with("config.json", PAGE), NULL, "config.json is an HTML page, not JSON");
    expect_refused(with("config.json", ""), NULL, "config.json is empty");
    expect_refused(with("config.json", "\xFF\xFE{"), NULL, "config.json is UTF-16");
    with("tokenizer_config.json", "[]");
    copy(MODEL "/model.safetensors", "model.safetensors");
    expect_refused(folder, NULL, "tokenizer_config.json: not a JSON object");
    with("chat_template.jinja", LFS);
    sah_chat chat;
    sah_error error = {0};
    expect_ok(sah_chat_from_directory(folder, &chat, &error), &error);
    assert_null(chat.jinja);
    assert_non_null(strstr(chat.problem, "chat_template.jinja is a Git LFS pointer, not a chat template"));
    sah_chat_free(&chat);
    expect_refused(with("model.safetensors", "GGUF\3aaaaaaaaaaaaaaa\1"), NULL,
                   "a GGUF file in the place of a safetensors file");
    fresh();
    put("a.gguf", LFS);
    expect_refused(inside("a.gguf"), NULL, "a.gguf is a Git LFS pointer, not a GGUF file");
    put("a.gguf", PAGE);
    expect_refused(inside("a.gguf"), NULL, "a.gguf is an HTML page, not a GGUF file");
}

static void test_places(void **state)
{
    (void)state;
    expect_refused(MODEL "/model.safetensors", NULL, "name the directory it is in");
    expect_refused(MODEL "/config.json", NULL, "name the directory it is in");
    expect_refused("tests/golden/formats/llama-bin/pytorch_model.bin", NULL, "name the directory it is in");
    expect_refused(ADAPTER, NULL, "holds a LoRA adapter, not a model");
    expect_refused("tests/golden", NULL, "tests/golden: no config.json in it");
    expect_refused(MODEL, ADAPTER "/adapter_model.safetensors", "is a file: name the adapter's directory");
    expect_refused(MODEL, "tests/golden/formats/adapter-bin/adapter_model.bin",
                   "is a file: name the adapter's directory");
    expect_refused(MODEL, "nowhere", "cannot open adapter nowhere");
}

static void test_adapters(void **state)
{
    (void)state;
    fresh();
    copy(ADAPTER "/adapter_config.json", "adapter_config.json");
    expect_refused(MODEL, folder, "neither adapter_model.safetensors nor adapter_model.bin");
    put("adapter_model.safetensors", LFS);
    expect_refused(MODEL, folder, "adapter_model.safetensors is a Git LFS pointer");
    fresh();
    copy(ADAPTER "/adapter_config.json", "adapter_config.json");
    put("adapter_model.bin", PAGE);
    expect_refused(MODEL, folder, "adapter_model.bin is an HTML page, not weights");
    /* PyTorch's file alone is read. */
    copy("tests/golden/formats/adapter-bin/adapter_model.bin", "adapter_model.bin");
    sah_model *model = NULL;
    sah_error error = {0};
    sah_model_options options = {.adapter = folder, .describe_only = true};
    expect_ok(sah_model_open(MODEL, &options, &model, &error), &error);
    sah_model_close(model);
}

static void test_nul(void **state)
{
    (void)state;
    expect_refused(with("config.json", "{\n\"x\": \"a\\u0000b\"}"), NULL,
                   "config.json: line 2, column 15: a text with the character NUL (\\u0000)");
    expect_refused(with("config.json", "{\"\\u0000\": 1}"), NULL, "the character NUL (\\u0000)");
}

static int no_folder(void **state)
{
    (void)state;
    free(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_downloads),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_nul),
    };
    return cmocka_run_group_tests(tests, NULL, no_folder);
}
