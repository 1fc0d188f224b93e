/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a GGUF file: refused with a line, or metadata, configuration and every value can be read. */
#include <stdlib.h>

#include "fuzz_input.h"
#include "model/checkpoint/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    sah_config config;
    fuzz_file file = fuzz_file_of(data, size);
    if (sah_gguf_open(file.path, &gguf, &error) == SAH_OK) {
        read_metadata(&gguf);
        read_tensors(&gguf.tensors);
        if (sah_config_from_gguf(&gguf, &config, &error) != SAH_OK && error.message[0] == '\0') abort();
        sah_gguf_close(&gguf);
    } else if (error.message[0] == '\0') {
        abort();
    }
    fuzz_file_close(&file);
    return 0;
}
