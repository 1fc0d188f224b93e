/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a GGUF file: refused with a line, or metadata, configuration and every value can be read. Where the
 * magic stands a second time the bytes from there on are the second part of a split model.
 * Half of the mutations know the format. */
#include <stdlib.h>
#include <string.h>

#include "fuzz_gguf_mutate.h"
#include "fuzz_input.h"
#include "model/checkpoint/config_gguf.h"
#include "model/format/gguf_split.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

static size_t second_part(const uint8_t *data, size_t size)
{
    const uint8_t *found = size > 4 ? memmem(data + 1, size - 1, "GGUF", 4) : NULL;
    return found != NULL ? (size_t)(found - data) : size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    if (seed % 2 == 0 || size < 24) return LLVMFuzzerMutate(data, size, room);
    const size_t border = second_part(data, size);
    const size_t begin = seed % 8 == 1 && border < size ? border : 0;
    return mutate_head(data, size, begin, seed) ? size : LLVMFuzzerMutate(data, size, room);
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
