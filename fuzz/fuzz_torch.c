/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a file of PyTorch: refused with a line, or every value can be read. Bytes that begin as a zip
 * container are the whole file; others are the pickle in a container with two storages, "0" of 96 bytes and "1" of
 * 48, so that what the pickle says is reached without guessing the container. */
#include <stdlib.h>
#include <string.h>

#include "fuzz_input.h"
#include "model/format/weight_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct buffer {
    uint8_t *data;
    size_t n;
} buffer;

static void put(buffer *b, const void *bytes, size_t n)
{
    memcpy(b->data + b->n, bytes, n);
    b->n += n;
}

static void put_number(buffer *b, size_t value, int n)
{
    while (n-- > 0) {
        put(b, &(uint8_t){(uint8_t)value}, 1);
        value >>= 8;
    }
}

/* Flags, method, time, date, checksum, both sizes, length of the name, none of an extra field. */
static void put_common(buffer *b, size_t size, const char *name)
{
    put_number(b, 0, 8);
    put_number(b, 0, 4);
    put_number(b, size, 4);
    put_number(b, size, 4);
    put_number(b, strlen(name), 2);
    put_number(b, 0, 2);
}

static fuzz_path container(const uint8_t *pickle, size_t size)
{
    static const uint8_t ZEROS[96];
    const struct {
        const char *name;
        const uint8_t *data;
        size_t size;
    } entries[] = {{"a/data.pkl", pickle, size}, {"a/data/0", ZEROS, 96}, {"a/data/1", ZEROS, 48}};
    enum { N = sizeof entries / sizeof *entries, ROOM = 1024 };
    buffer b = {malloc(size + ROOM), 0};
    size_t begins[N];
    if (b.data == NULL) abort();
    for (size_t i = 0; i < N; i++) {
        begins[i] = b.n;
        put(&b, "PK\3\4\0\0", 6);
        put_common(&b, entries[i].size, entries[i].name);
        put(&b, entries[i].name, strlen(entries[i].name));
        put(&b, entries[i].data, entries[i].size);
    }
    const size_t directory = b.n;
    for (size_t i = 0; i < N; i++) {
        put(&b, "PK\1\2\0\0\0\0", 8);
        put_common(&b, entries[i].size, entries[i].name);
        put_number(&b, 0, 8);
        put_number(&b, 0, 2);
        put_number(&b, begins[i], 4);
        put(&b, entries[i].name, strlen(entries[i].name));
    }
    const size_t end = b.n;
    put(&b, "PK\5\6\0\0\0\0", 8);
    put_number(&b, N, 2);
    put_number(&b, N, 2);
    put_number(&b, end - directory, 4);
    put_number(&b, directory, 4);
    put_number(&b, 0, 2);
    const fuzz_path path = fuzz_file_of(b.data, b.n);
    free(b.data);
    return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sah_error error = {0};
    sah_tensors tensors;
    const fuzz_path path =
        size >= 2 && memcmp(data, "PK", 2) == 0 ? fuzz_file_of(data, size) : container(data, size);
    if (sah_weights_open_file(path.text, &tensors, &error) == SAH_OK) {
        for (size_t i = 0; i < tensors.n; i++) {
            size_t n = sah_tensor_values(&tensors.items[i]);
            float *values = malloc(n * sizeof *values + 1);
            if (values == NULL) abort();
            sah_tensor_read(&tensors.items[i], 0, n, values);
            free(values);
        }
        sah_tensors_close(&tensors);
    } else if (error.message[0] == '\0') {
        abort();
    }
    return 0;
}
