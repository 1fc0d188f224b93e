/* SPDX-License-Identifier: Apache-2.0 */
/* A directory of PyTorch's files becomes one of safetensors: a file for each of the old ones, tensors in their
 * order, and an index where there are several. What is no tensor of a known type stays behind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edit/rewrite_torch.h"
#include "util/error.h"
#include "util/json.h"
#include "util/strings.h"

enum { NAME_BYTES = 64, HEADER_ALIGNMENT = 8 };

static void file_name(const sah_tensors *tensors, size_t file, char out[NAME_BYTES])
{
    if (tensors->n_files == 1)
        snprintf(out, NAME_BYTES, "model.safetensors");
    else
        snprintf(out, NAME_BYTES, "model-%05zu-of-%05zu.safetensors", file + 1, tensors->n_files);
}

/* One tensor behind the other, in the order of the list. */
static json_t *header_of(const sah_rewrite *rewrite, size_t file)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    size_t at = 0;
    bool good = header != NULL;
    for (size_t i = 0; i < tensors->n && good; i++) {
        const sah_tensor *tensor = &tensors->items[i];
        const sah_change *change = &rewrite->changes[i];
        const size_t end = at + sah_rewrite_bytes(rewrite, i);
        json_t *shape = json_array();
        if (tensor->file != file) {
            json_decref(shape);
            continue;
        }
        for (int d = 0; d < tensor->n_dims && good; d++)
            good = json_array_append_new(shape, json_integer((json_int_t)tensor->dims[d])) == 0;
        json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype",
                                  sah_dtype_name(change->changed ? change->type : tensor->type), "shape",
                                  shape, "data_offsets", (json_int_t)at, (json_int_t)end);
        good = json_object_set_new(header, tensor->name, entry) == 0 && good;
        at = end;
    }
    if (good) return header;
    json_decref(header);
    return NULL;
}

/* Behind its length, filled up with blanks so that the data is aligned. */
static sah_status write_header(const sah_rewrite *rewrite, size_t file, sah_writer *writer, sah_error *error)
{
    json_t *header = header_of(rewrite, file);
    char *dump = header != NULL ? sah_json_text(header, JSON_COMPACT) : NULL;
    sah_text text = {0};
    json_decref(header);
    if (dump == NULL) return sah_fail_memory(error, "the header");
    const size_t length = (strlen(dump) + HEADER_ALIGNMENT - 1) / HEADER_ALIGNMENT * HEADER_ALIGNMENT;
    for (int i = 0; i < 8; i++) sah_text_add(&text, &(char){(char)(length >> (8 * i))}, 1);
    sah_text_addf(&text, "%-*s", (int)length, dump);
    sah_status status = text.failed ? sah_fail_memory(error, "the header")
                                    : sah_writer_put(writer, text.data, text.size, error);
    free(dump);
    free(text.data);
    return status;
}

static sah_status write_file(sah_rewrite *rewrite, size_t file, sah_output *output, sah_error *error)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    char name[NAME_BYTES];
    sah_writer writer;
    file_name(tensors, file, name);
    sah_status status = sah_output_file(output, name, &writer, error);
    if (status == SAH_OK) status = write_header(rewrite, file, &writer, error);
    for (size_t i = 0; i < tensors->n && status == SAH_OK; i++) {
        if (tensors->items[i].file == file) status = sah_rewrite_tensor(rewrite, i, &writer, error);
    }
    return sah_writer_close(&writer, status, error);
}

static sah_status write_index(const sah_rewrite *rewrite, sah_output *output, sah_error *error)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    json_t *map = json_object();
    json_int_t total = 0;
    sah_writer writer;
    bool good = map != NULL;
    for (size_t i = 0; i < tensors->n && good; i++) {
        char name[NAME_BYTES];
        file_name(tensors, tensors->items[i].file, name);
        good = json_object_set_new(map, tensors->items[i].name, json_string(name)) == 0;
        total += (json_int_t)sah_rewrite_bytes(rewrite, i);
    }
    json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", total, "weight_map", map);
    char *text = index != NULL && good ? sah_json_text(index, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    json_decref(index);
    if (text == NULL) return sah_fail_memory(error, "the index");
    sah_status status = sah_output_file(output, "model.safetensors.index.json", &writer, error);
    if (status == SAH_OK) status = sah_writer_put(&writer, text, strlen(text), error);
    free(text);
    return sah_writer_close(&writer, status, error);
}

sah_status sah_rewrite_torch(sah_rewrite *rewrite, sah_output *output, sah_error *error)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    sah_status status = SAH_OK;
    for (size_t file = 0; file < tensors->n_files && status == SAH_OK; file++)
        status = write_file(rewrite, file, output, error);
    return status == SAH_OK && tensors->n_files > 1 ? write_index(rewrite, output, error) : status;
}
