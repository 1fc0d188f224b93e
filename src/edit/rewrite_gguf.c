/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF, one file whatever number of parts there was: the metadata pairs byte for byte, one pair more; the
 * directory with new types and offsets; the data in its order, each tensor at a multiple of the file's
 * alignment. */
#include <stdlib.h>
#include <string.h>

#include "edit/rewrite_gguf.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

static void add_number(sah_text *text, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) sah_text_add(text, &(char){(char)(value >> (8 * i))}, 1);
}

static void add_string(sah_text *text, const char *string, size_t length)
{
    add_number(text, length, 8);
    sah_text_add(text, string, length);
}

/* All pairs but an older provenance, which is inside the new one, and what only a part of a model says. */
static bool is_kept(const sah_gguf_value *value)
{
    static const char SPLIT[] = "split.";
    const size_t n = sizeof SPLIT - 1, m = strlen(SAH_GGUF_PROVENANCE);
    return !(value->key_length >= n && memcmp(value->key, SPLIT, n) == 0) &&
           !(value->key_length == m && memcmp(value->key, SAH_GGUF_PROVENANCE, m) == 0);
}

static size_t count_kept(const sah_gguf *gguf)
{
    size_t n = 0;
    for (size_t i = 0; i < gguf->n_values; i++) n += is_kept(&gguf->values[i]);
    return n;
}

static void add_pairs(sah_text *header, const sah_gguf *gguf, const char *provenance)
{
    for (size_t i = 0; i < gguf->n_values; i++) {
        const sah_gguf_value *value = &gguf->values[i];
        if (!is_kept(value)) continue;
        const char *begin = value->key - 8; /* the key's length */
        sah_text_add(header, begin, (size_t)((const char *)value->bytes + value->size - begin));
    }
    add_string(header, SAH_GGUF_PROVENANCE, strlen(SAH_GGUF_PROVENANCE));
    add_number(header, SAH_GGUF_STRING, 4);
    add_string(header, provenance, strlen(provenance));
}

static void add_directory(sah_text *header, const sah_rewrite *rewrite, const uint64_t *offsets)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    for (size_t i = 0; i < tensors->n; i++) {
        const sah_tensor *tensor = &tensors->items[i];
        const sah_change *change = &rewrite->changes[i];
        add_string(header, tensor->name, strlen(tensor->name));
        add_number(header, (uint64_t)tensor->n_dims, 4);
        for (int d = tensor->n_dims; d > 0; d--)
            add_number(header, tensor->dims[d - 1], 8); /* innermost first */
        add_number(header, sah_gguf_type_number(change->changed ? change->type : tensor->type), 4);
        add_number(header, offsets[i], 8);
    }
}

static sah_status pad(sah_writer *writer, size_t alignment, uint64_t at, sah_error *error)
{
    static const uint8_t ZEROS[256];
    size_t left = (size_t)((alignment - at % alignment) % alignment);
    sah_status status = SAH_OK;
    while (left > 0 && status == SAH_OK) {
        size_t n = left < sizeof ZEROS ? left : sizeof ZEROS;
        status = sah_writer_put(writer, ZEROS, n, error);
        left -= n;
    }
    return status;
}

static sah_status write_header(const sah_rewrite *rewrite, const uint64_t *offsets, sah_writer *writer,
                               sah_error *error)
{
    const sah_gguf *gguf = &rewrite->base->gguf;
    sah_text header = {0};
    sah_text_add(&header, "GGUF", 4);
    add_number(&header, gguf->version, 4);
    add_number(&header, gguf->tensors.n, 8);
    add_number(&header, count_kept(gguf) + 1, 8);
    add_pairs(&header, gguf, rewrite->provenance);
    add_directory(&header, rewrite, offsets);
    sah_status status = header.failed ? sah_fail_memory(error, "the header") : SAH_OK;
    if (status == SAH_OK) status = sah_writer_put(writer, header.data, header.size, error);
    if (status == SAH_OK) status = pad(writer, gguf->alignment, header.size, error);
    free(header.data);
    return status;
}

/* The numbers of all tensors, file by file, in the order of their places, for free(); NULL: no memory. */
static size_t *order_all(const sah_rewrite *rewrite)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    size_t *all = sah_alloc(tensors->n, sizeof *all), done = 0;
    for (size_t file = 0; file < tensors->n_files && all != NULL; file++) {
        size_t n = 0, *order = sah_rewrite_order(rewrite, file, &n);
        if (order == NULL) {
            free(all);
            return NULL;
        }
        memcpy(all + done, order, n * sizeof *all);
        done += n;
        free(order);
    }
    return all;
}

sah_status sah_rewrite_gguf(sah_rewrite *rewrite, sah_output *output, sah_error *error)
{
    const sah_gguf *gguf = &rewrite->base->gguf;
    const sah_tensors *tensors = &gguf->tensors;
    sah_writer writer = {0};
    const size_t n = tensors->n;
    uint64_t at = 0;
    if (tensors->unsupported.n > 0) {
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: tensor %s has type %s, which cannot be copied",
                        rewrite->base->path, tensors->unsupported.items[0], tensors->unsupported.items[1]);
    }
    size_t *order = order_all(rewrite);
    uint64_t *offsets = sah_alloc(tensors->n, sizeof *offsets);
    sah_status status =
        order == NULL || offsets == NULL ? sah_fail_memory(error, "the tensor directory") : SAH_OK;
    /* No sum wraps: each tensor is at most 32 times what it takes in a file that was mapped. */
    for (size_t i = 0; status == SAH_OK && i < n; i++) {
        offsets[order[i]] = at;
        at += sah_rewrite_bytes(rewrite, order[i]);
        at += (gguf->alignment - at % gguf->alignment) % gguf->alignment;
    }
    if (status == SAH_OK) status = sah_output_file(output, NULL, &writer, error);
    if (status == SAH_OK) status = write_header(rewrite, offsets, &writer, error);
    for (size_t i = 0; status == SAH_OK && i < n; i++) {
        status = sah_rewrite_tensor(rewrite, order[i], &writer, error);
        if (status == SAH_OK)
            status = pad(&writer, gguf->alignment, sah_rewrite_bytes(rewrite, order[i]), error);
    }
    status = sah_writer_close(&writer, status, error);
    free(order);
    free(offsets);
    return status;
}
