/* SPDX-License-Identifier: Apache-2.0 */
/* Model files as a test wants them: small GGUF files, and safetensors with any header. */
#ifndef SAH_TESTS_MODEL_WRITERS_H
#define SAH_TESTS_MODEL_WRITERS_H

#include "model/format/gguf.h"
#include "util/json.h"
#include "util/strings.h"

/* 8 bytes length, `header`, data. */
void safetensors_write(const char *path, const char *header, const void *data, size_t size);

/* A matrix, or with columns 0 a vector. */
typedef struct f32_tensor {
    const char *name;
    int rows, columns;
    const float *values;
} f32_tensor;

/* A file of float32 tensors. */
void safetensors_write_f32(const char *path, const f32_tensor *tensors, size_t n);

/* Writes the value; takes the reference. */
void write_json(const char *path, json_t *json);

/* A token's text as vocabularies of byte-level BPE write it: a blank is U+0120 there and a line end U+010A. ASCII
 * alone. In a buffer that the next call overwrites. */
const char *byte_level(const char *text);

/* The parts of an existing file, for changes: the header for json_decref(), the data for free(). */
json_t *safetensors_take(const char *path, uint8_t **data, size_t *size);

/* A GGUF file in the making. Start from {.version = 3, .alignment = 32}. */
typedef struct gguf_writer {
    uint32_t version;
    size_t alignment;
    sah_text pairs, tensors, data;
    uint64_t n_pairs, n_tensors;
} gguf_writer;

void gguf_pair(gguf_writer *w, const char *key, sah_gguf_type type, const void *bytes, size_t size);
void gguf_pair_u32(gguf_writer *w, const char *key, uint32_t value);
void gguf_pair_f32(gguf_writer *w, const char *key, float value);
void gguf_pair_bool(gguf_writer *w, const char *key, bool value);
void gguf_pair_string(gguf_writer *w, const char *key, const char *value);
/* `dims` outermost first; the data is zeros. `type` is the file format's number. */
void gguf_tensor(gguf_writer *w, const char *name, uint32_t type, int n_dims, const uint64_t *dims,
                 size_t bytes);
/* The keys of a two-layer llama of width 8 with 2 heads, and its embedding of 16 tokens. */
void gguf_small_llama(gguf_writer *w);
/* Writes the file and empties the writer. */
void gguf_write(gguf_writer *w, const char *path);

/* Cuts and spoils a good file, written to `path`: flips a bit of, and then fills, each byte below `dense`;
 * shortens it to every length below `dense` and to some above. `open_file` returns whether it accepted the
 * file, having read all that it accepted. Fails the test when a shortened file is accepted or a refusal has
 * no clear line. */
void spoil(const uint8_t *data, size_t size, size_t dense, const char *path,
           bool (*open_file)(const char *path, sah_error *error));

#endif
