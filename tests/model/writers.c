/* SPDX-License-Identifier: Apache-2.0 */
#include "model/writers.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* cmocka wants setjmp.h and stdarg.h first. */
#include <cmocka.h>

#include "util/scratch.h"

static void add_u32(sah_text *text, uint32_t value)
{
    for (int i = 0; i < 4; i++) sah_text_add(text, &(char){(char)(value >> (8 * i))}, 1);
}

static void add_u64(sah_text *text, uint64_t value)
{
    add_u32(text, (uint32_t)value);
    add_u32(text, (uint32_t)(value >> 32));
}

static void add_string(sah_text *text, const char *string)
{
    add_u64(text, strlen(string));
    sah_text_adds(text, string);
}

static void pad(sah_text *text, size_t alignment)
{
    while (text->size % alignment != 0) sah_text_add(text, "", 1);
}

void safetensors_write(const char *path, const char *header, const void *data, size_t size)
{
    sah_text text = {0};
    add_string(&text, header);
    sah_text_add(&text, data, size);
    scratch_write(path, text.data, text.size);
    free(text.data);
}

void safetensors_write_f32(const char *path, const f32_tensor *tensors, size_t n)
{
    json_t *header = json_object();
    sah_text data = {0};
    for (size_t i = 0; i < n; i++) {
        const f32_tensor *t = &tensors[i];
        const bool vector = t->columns == 0;
        const size_t begin = data.size;
        sah_text_add(&data, (const char *)t->values,
                     (size_t)t->rows * (size_t)(vector ? 1 : t->columns) * sizeof(float));
        json_object_set_new(
            header, t->name,
            json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape",
                      vector ? json_pack("[i]", t->rows) : json_pack("[ii]", t->rows, t->columns),
                      "data_offsets", (json_int_t)begin, (json_int_t)data.size));
    }
    assert_false(data.failed);
    char *text = json_dumps(header, JSON_COMPACT);
    safetensors_write(path, text, data.data, data.size);
    free(text);
    free(data.data);
    json_decref(header);
}

void write_json(const char *path, json_t *json)
{
    char *text = json_dumps(json, JSON_INDENT(2));
    assert_non_null(text);
    scratch_write_text(path, text);
    free(text);
    json_decref(json);
}

const char *byte_level(const char *text)
{
    static char out[512];
    size_t n = 0;
    for (const char *c = text; *c != '\0'; c++) {
        assert_true(n + 3 < sizeof out && (unsigned char)*c < 0x80);
        if (*c == ' ' || *c == '\n') {
            out[n++] = '\xC4';
            out[n++] = *c == ' ' ? '\xA0' : '\x8A';
        } else {
            out[n++] = *c;
        }
    }
    out[n] = '\0';
    return out;
}

json_t *safetensors_take(const char *path, uint8_t **data, size_t *size)
{
    size_t all, length = 0;
    uint8_t *bytes = scratch_read(path, &all);
    for (size_t i = 8; i > 0; i--) length = length << 8 | bytes[i - 1];
    json_t *header = json_loadb((const char *)bytes + 8, length, 0, NULL);
    assert_non_null(header);
    *size = all - 8 - length;
    *data = malloc(*size + 1);
    memcpy(*data, bytes + 8 + length, *size);
    free(bytes);
    return header;
}

void gguf_pair(gguf_writer *w, const char *key, sah_gguf_type type, const void *bytes, size_t size)
{
    add_string(&w->pairs, key);
    add_u32(&w->pairs, type);
    sah_text_add(&w->pairs, bytes, size);
    w->n_pairs++;
}

void gguf_pair_u32(gguf_writer *w, const char *key, uint32_t value)
{
    gguf_pair(w, key, SAH_GGUF_U32, &value, sizeof value);
}

void gguf_pair_f32(gguf_writer *w, const char *key, float value)
{
    gguf_pair(w, key, SAH_GGUF_F32, &value, sizeof value);
}

void gguf_pair_bool(gguf_writer *w, const char *key, bool value)
{
    gguf_pair(w, key, SAH_GGUF_BOOL, &(char){value}, 1);
}

void gguf_pair_string(gguf_writer *w, const char *key, const char *value)
{
    sah_text text = {0};
    add_string(&text, value);
    gguf_pair(w, key, SAH_GGUF_STRING, text.data, text.size);
    free(text.data);
}

void gguf_tensor(gguf_writer *w, const char *name, uint32_t type, int n_dims, const uint64_t *dims,
                 size_t bytes)
{
    add_string(&w->tensors, name);
    add_u32(&w->tensors, (uint32_t)n_dims);
    for (int i = n_dims; i > 0; i--) add_u64(&w->tensors, dims[i - 1]);
    add_u32(&w->tensors, type);
    pad(&w->data, w->alignment);
    add_u64(&w->tensors, w->data.size);
    while (bytes-- > 0) sah_text_add(&w->data, "", 1);
    w->n_tensors++;
}

void gguf_small_llama(gguf_writer *w)
{
    gguf_pair_string(w, "general.architecture", "llama");
    gguf_pair_u32(w, "llama.block_count", 2);
    gguf_pair_u32(w, "llama.embedding_length", 8);
    gguf_pair_u32(w, "llama.feed_forward_length", 12);
    gguf_pair_u32(w, "llama.attention.head_count", 2);
    gguf_pair_u32(w, "llama.context_length", 64);
    gguf_pair_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
    gguf_tensor(w, "token_embd.weight", 0, 2, (const uint64_t[]){16, 8}, 16 * 8 * 4);
}

void gguf_write(gguf_writer *w, const char *path)
{
    sah_text all = {0};
    sah_text_adds(&all, "GGUF");
    add_u32(&all, w->version);
    add_u64(&all, w->n_tensors);
    add_u64(&all, w->n_pairs);
    sah_text_add(&all, w->pairs.data, w->pairs.size);
    sah_text_add(&all, w->tensors.data, w->tensors.size);
    pad(&all, w->alignment);
    sah_text_add(&all, w->data.data, w->data.size);
    scratch_write(path, all.data, all.size);
    free(all.data);
    free(w->pairs.data);
    free(w->tensors.data);
    free(w->data.data);
    *w = (gguf_writer){.version = 3, .alignment = 32};
}

static bool try(const char *path, bool (*open_file)(const char *path, sah_error *error))
{
    sah_error error = {0};
    bool accepted = open_file(path, &error);
    if (!accepted) expect_failure(error.status, &error, "");
    return accepted;
}

static void put_byte(int file, size_t at, uint8_t byte)
{
    assert_int_equal(pwrite(file, &byte, 1, (off_t)at), 1);
}

void spoil(const uint8_t *data, size_t size, size_t dense, const char *path,
           bool (*open_file)(const char *path, sah_error *error))
{
    scratch_write(path, data, size);
    assert_true(try(path, open_file));
    int file = open(path, O_RDWR);
    assert_true(file >= 0);
    for (size_t i = 0; i < dense && i < size; i++) {
        put_byte(file, i, (uint8_t)(data[i] ^ 1U << i % 8));
        try(path, open_file);
        put_byte(file, i, 0xFF);
        try(path, open_file);
        put_byte(file, i, data[i]);
    }
    for (size_t n = size; n > 0;) {
        n -= n <= dense || n + 64 > size ? 1 : n - dense < 997 ? n - dense : 997;
        assert_int_equal(ftruncate(file, (off_t)n), 0);
        if (try(path, open_file))
            fail_msg("the first %zu of %zu bytes were taken for the whole file", n, size);
    }
    close(file);
}
