/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a safetensors file: refused with a line, or every value can be read. When the first byte is
 * even the rest is a header that gets its length and 64 bytes of data; when it is odd the rest is the whole
 * file. */
#include <stdlib.h>
#include <string.h>

#include "fuzz_input.h"
#include "fuzz_json_mutate.h"
#include "model/checkpoint/quantization.h"
#include "model/format/weight_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool fuzz_holds_json(const uint8_t *data, size_t size)
{
    return size > 0 && data[0] % 2 == 0;
}

static fuzz_path with_length(const uint8_t *header, size_t size)
{
    enum { DATA = 64 };
    uint8_t *all = calloc(1, 8 + size + DATA);
    if (all == NULL) abort();
    for (int i = 0; i < 8; i++) all[i] = (uint8_t)(size >> (8 * i));
    memcpy(all + 8, header, size);
    const fuzz_path path = fuzz_file_of(all, 8 + size + DATA);
    free(all);
    return path;
}

/* The file, scales put where they belong. */
static sah_status open_scaled(const char *path, sah_tensors *out, sah_error *error)
{
    const sah_quantization quantization = {.any = true, .block_rows = 3, .block_columns = 2};
    sah_status status = sah_weights_open_file(path, out, error);
    if (status != SAH_OK) return status;
    status = sah_quantization_attach(&quantization, out, error);
    if (status != SAH_OK) sah_tensors_close(out);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sah_error error = {0};
    sah_tensors tensors;
    if (size == 0) return 0;
    const fuzz_path path =
        data[0] % 2 == 0 ? with_length(data + 1, size - 1) : fuzz_file_of(data + 1, size - 1);
    if (open_scaled(path.text, &tensors, &error) == SAH_OK) {
        for (size_t i = 0; i < tensors.n; i++) {
            size_t n = sah_tensor_values(&tensors.items[i]);
            float *values = malloc(n * sizeof *values + 1);
            if (values == NULL || sah_tensors_find(&tensors, tensors.items[i].name) != &tensors.items[i])
                abort();
            sah_tensor_read(&tensors.items[i], 0, n, values);
            free(values);
        }
        sah_tensors_close(&tensors);
    } else if (error.message[0] == '\0') {
        abort();
    }
    return 0;
}
