/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a GGUF file: refused with a line, or metadata, configuration and every value can be read. Where the
 * magic stands a second time the bytes from there on are the second part of a split model.
 *
 * Mutations know the format: half of them put a number that readers stumble over in the place of a count, a length, a
 * size, a type or an offset. */
#include <stdlib.h>
#include <string.h>

#include "fuzz_input.h"
#include "model/checkpoint/config_gguf.h"
#include "model/format/gguf_split.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

/* ---- Where the numbers stand ---------------------------------------------------------------------------- */

enum { MOST_FIELDS = 512, MOST_ITEMS = 64 };

typedef struct field {
    size_t at;
    int bytes; /* 4 or 8 */
} field;

/* A walk over a file's head, as far as it makes sense. */
typedef struct walk {
    const uint8_t *data;
    size_t size, at;
    field fields[MOST_FIELDS];
    size_t n;
} walk;

/* The number at the walk's place, noted; it ends where the bytes do. */
static uint64_t number(walk *w, int bytes)
{
    uint64_t value = 0;
    if (w->size - w->at < (size_t)bytes) {
        w->at = w->size;
        return 0;
    }
    memcpy(&value, w->data + w->at, (size_t)bytes);
    if (w->n < MOST_FIELDS) w->fields[w->n++] = (field){w->at, bytes};
    w->at += (size_t)bytes;
    return value;
}

static void skip(walk *w, uint64_t n)
{
    w->at = n > w->size - w->at ? w->size : w->at + (size_t)n;
}

/* Bytes of a value by its type; 0: strings and arrays. */
static const int sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static void value(walk *w, uint64_t type)
{
    if (type == SAH_GGUF_STRING) {
        skip(w, number(w, 8));
    } else if (type == SAH_GGUF_ARRAY) {
        const uint64_t item = number(w, 4), n = number(w, 8);
        if (item == SAH_GGUF_STRING) {
            for (uint64_t i = 0; i < n && i < MOST_ITEMS && w->at < w->size; i++) skip(w, number(w, 8));
            if (n > MOST_ITEMS) w->at = w->size;
        } else if (item <= SAH_GGUF_F64 && n < w->size) {
            skip(w, n * (uint64_t)sizes[item]);
        } else {
            w->at = w->size;
        }
    } else if (type <= SAH_GGUF_F64 && sizes[type] >= 4) {
        number(w, sizes[type]);
    } else {
        skip(w, type <= SAH_GGUF_F64 ? (uint64_t)sizes[type] : w->size);
    }
}

static void walk_head(walk *w)
{
    skip(w, 4);
    number(w, 4);
    const uint64_t n_tensors = number(w, 8), n_values = number(w, 8);
    for (uint64_t i = 0; i < n_values && w->at < w->size; i++) {
        skip(w, number(w, 8));
        value(w, number(w, 4));
    }
    for (uint64_t i = 0; i < n_tensors && w->at < w->size; i++) {
        skip(w, number(w, 8));
        const uint64_t n_dims = number(w, 4);
        for (uint64_t d = 0; d < n_dims && d < 8; d++) number(w, 8);
        number(w, 4);
        number(w, 8);
    }
}

static size_t second_part(const uint8_t *data, size_t size)
{
    const uint8_t *found = size > 4 ? memmem(data + 1, size - 1, "GGUF", 4) : NULL;
    return found != NULL ? (size_t)(found - data) : size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    static walk w;
    if (seed % 2 == 0 || size < 24) return LLVMFuzzerMutate(data, size, room);
    const size_t border = second_part(data, size);
    w = (walk){.data = data, .size = size, .at = seed % 8 == 1 && border < size ? border : 0};
    walk_head(&w);
    if (w.n == 0) return LLVMFuzzerMutate(data, size, room);
    const uint64_t candidates[] = {0,          1,          2,         31,         32,         size,
                                   size - 1,   1U << 16,   INT32_MAX, 1U << 31,   UINT32_MAX, 1ULL << 32,
                                   1ULL << 61, 1ULL << 62, INT64_MAX, 1ULL << 63, UINT64_MAX, UINT64_MAX - 31,
                                   39,         8};
    const field f = w.fields[(seed >> 4) % w.n];
    uint64_t new = 0;
    memcpy(&new, data + f.at, (size_t)f.bytes);
    const size_t choice = (seed >> 16) % (sizeof candidates / sizeof *candidates + 6);
    switch (choice) {
    case 0:
        new ++;
        break;
    case 1:
        new --;
        break;
    case 2:
        new *= 2;
        break;
    case 3:
        new += 32;
        break;
    case 4: /* as many bytes as before, where the product with 4 or 8 is not checked */
        new += 1ULL << 62;
        break;
    case 5:
        new += 1ULL << 61;
        break;
    default:
        new = candidates[choice - 6];
    }
    memcpy(data + f.at, &new, (size_t)f.bytes);
    return size;
}

/* ---- Reading ---------------------------------------------------------------------------------------------- */

static fuzz_folder folder;
static int whole, parts[2];

static void remove_folder(void)
{
    fuzz_folder_remove(&folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_folder_make(&folder);
    whole = fuzz_named(&folder, "m.gguf");
    parts[0] = fuzz_named(&folder, "m-00001-of-00002.gguf");
    parts[1] = fuzz_named(&folder, "m-00002-of-00002.gguf");
    atexit(remove_folder);
    return 0;
}

static fuzz_path path_of(const uint8_t *data, size_t size)
{
    const size_t border = second_part(data, size);
    if (border == size) {
        fuzz_set(whole, data, size);
        return fuzz_path_in(&folder, "m.gguf");
    }
    fuzz_set(parts[0], data, border);
    fuzz_set(parts[1], data + border, size - border);
    return fuzz_path_in(&folder, "m-00001-of-00002.gguf");
}

static void read_metadata(const sah_gguf *gguf)
{
    for (size_t i = 0; i < gguf->n_values; i++) {
        const sah_gguf_value *value = &gguf->values[i];
        size_t at = 0, length;
        const char *text;
        for (size_t item = 0; value->item == SAH_GGUF_STRING && item < value->n; item++) {
            sah_gguf_next_string(value, &at, &text, &length);
            if (at > value->size) abort();
        }
        if (value->item != SAH_GGUF_STRING && value->size / (size_t)sizes[value->item] != value->n) abort();
    }
}

static void read_tensors(const sah_tensors *tensors)
{
    for (size_t i = 0; i < tensors->n; i++) {
        size_t n = sah_tensor_values(&tensors->items[i]);
        float *values = malloc(n * sizeof *values + 1);
        if (values == NULL) abort();
        sah_dequantize(tensors->items[i].type, tensors->items[i].data, n, values);
        free(values);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sah_error error = {0};
    sah_gguf gguf;
    sah_config config = {0};
    const sah_family *family;
    const fuzz_path path = path_of(data, size);
    if (sah_gguf_open(path.text, &gguf, &error) == SAH_OK) {
        read_metadata(&gguf);
        read_tensors(&gguf.tensors);
        if (sah_config_from_gguf(&gguf, &config, &family, &error) != SAH_OK && error.message[0] == '\0')
            abort();
        sah_config_free(&config);
        sah_gguf_close(&gguf);
    } else if (error.message[0] == '\0') {
        abort();
    }
    return 0;
}
