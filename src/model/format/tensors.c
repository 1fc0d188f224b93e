/* SPDX-License-Identifier: Apache-2.0 */
#include "model/format/tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

/* Look-up by name: open addressing, at most half full; a slot is 0 (empty) or an item's number plus one. */
typedef struct table {
    size_t mask;
    uint32_t slots[];
} table;

static size_t slot_of(const table *t, const sah_tensors *tensors, const char *name)
{
    size_t at = (size_t)XXH3_64bits(name, strlen(name)) & t->mask;
    while (t->slots[at] != 0 && strcmp(tensors->items[t->slots[at] - 1].name, name) != 0)
        at = (at + 1) & t->mask;
    return at;
}

const sah_tensor *sah_tensors_find(const sah_tensors *tensors, const char *name)
{
    const table *t = tensors->index;
    if (t == NULL) return NULL;
    uint32_t number = t->slots[slot_of(t, tensors, name)];
    return number == 0 ? NULL : &tensors->items[number - 1];
}

const char *sah_tensors_unsupported(const sah_tensors *tensors, const char *name)
{
    const sah_strings *list = &tensors->unsupported;
    for (size_t i = 0; i + 1 < list->n; i += 2) {
        if (strcmp(list->items[i], name) == 0) return list->items[i + 1];
    }
    return NULL;
}

sah_status sah_tensors_add(sah_tensors *tensors, const char *name, size_t length, const sah_tensor *tensor,
                           sah_error *error)
{
    char *copy = sah_alloc(length + 1, 1);
    if (copy == NULL ||
        !sah_grow(&tensors->items, &tensors->capacity, tensors->n + 1, sizeof *tensors->items)) {
        free(copy);
        return sah_fail_memory(error, "the list of tensors");
    }
    if (length > 0) memcpy(copy, name, length);
    tensors->items[tensors->n] = *tensor;
    tensors->items[tensors->n++].name = copy;
    return SAH_OK;
}

sah_status sah_tensors_add_unsupported(sah_tensors *tensors, const char *name, size_t length,
                                       const char *type, sah_error *error)
{
    sah_status status = sah_strings_add(&tensors->unsupported, name, length, error);
    return status != SAH_OK ? status : sah_strings_add(&tensors->unsupported, type, strlen(type), error);
}

void *sah_tensors_alloc(sah_tensors *tensors, size_t n, size_t size)
{
    void *memory = sah_alloc(n, size);
    if (memory == NULL ||
        !sah_grow(&tensors->owned, &tensors->owned_capacity, tensors->n_owned + 1, sizeof(void *))) {
        free(memory);
        return NULL;
    }
    tensors->owned[tensors->n_owned++] = memory;
    return memory;
}

static sah_status build_index(sah_tensors *tensors, sah_error *error)
{
    size_t slots = 16, bytes;
    if (tensors->n > UINT32_MAX / 4) return sah_fail(error, SAH_FAILED, "too many tensors: %zu", tensors->n);
    while (slots < 2 * tensors->n) slots *= 2;
    const bool fits = sah_mul(slots, sizeof(uint32_t), &bytes) && sah_add(bytes, sizeof(table), &bytes);
    table *t = fits ? sah_alloc(bytes, 1) : NULL;
    if (t == NULL) return sah_fail_memory(error, "the index of tensors");
    t->mask = slots - 1;
    tensors->index = t;
    for (size_t i = 0; i < tensors->n; i++) {
        size_t at = slot_of(t, tensors, tensors->items[i].name);
        if (t->slots[at] != 0) {
            const sah_tensor *first = &tensors->items[t->slots[at] - 1], *second = &tensors->items[i];
            const char *file = tensors->files[second->file].path;
            if (first->file == second->file)
                return sah_fail(error, SAH_FAILED, "%s: tensor %s is there twice", file, second->name);
            return sah_fail(
                error, SAH_FAILED,
                "%s: tensor %s is in %s as well: the parts of a model must not overlap; were they "
                "saved at different times?",
                file, second->name, tensors->files[first->file].path);
        }
        t->slots[at] = (uint32_t)(i + 1);
    }
    return SAH_OK;
}

static int by_place(const void *a, const void *b)
{
    const sah_tensor *x = *(const sah_tensor *const *)a, *y = *(const sah_tensor *const *)b;
    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static sah_status check_overlap(const sah_tensors *tensors, sah_error *error)
{
    sah_status status = SAH_OK;
    const sah_tensor **order = sah_alloc(tensors->n, sizeof *order);
    if (order == NULL) return sah_fail_memory(error, "the order of tensors");
    for (size_t i = 0; i < tensors->n; i++) order[i] = &tensors->items[i];
    if (tensors->n > 0) qsort(order, tensors->n, sizeof *order, by_place);
    for (size_t i = 1; i < tensors->n; i++) {
        const sah_tensor *a = order[i - 1], *b = order[i];
        if (a->file == b->file && a->offset + a->bytes > b->offset) {
            status = sah_fail(error, SAH_FAILED, "%s: tensors %s and %s overlap",
                              tensors->files[a->file].path, a->name, b->name);
            break;
        }
    }
    free(order);
    return status;
}

sah_status sah_tensors_finish(sah_tensors *tensors, sah_error *error)
{
    sah_status status = build_index(tensors, error);
    return status != SAH_OK || tensors->is_torch ? status : check_overlap(tensors, error);
}

sah_status sah_tensors_remove(sah_tensors *tensors, const bool *gone, sah_error *error)
{
    size_t n = 0;
    for (size_t i = 0; i < tensors->n; i++) {
        if (gone[i])
            free(tensors->items[i].name);
        else
            tensors->items[n++] = tensors->items[i];
    }
    tensors->n = n;
    free(tensors->index);
    tensors->index = NULL;
    return build_index(tensors, error);
}

sah_status sah_tensors_unchanged(const sah_tensors *tensors, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; i < tensors->n_files && status == SAH_OK; i++)
        status = sah_mapfile_unchanged(&tensors->files[i], error);
    return status;
}

void sah_tensors_close(sah_tensors *tensors)
{
    if (tensors == NULL) return;
    for (size_t i = 0; i < tensors->n; i++) free(tensors->items[i].name);
    for (size_t i = 0; i < tensors->n_files; i++) sah_mapfile_close(&tensors->files[i]);
    for (size_t i = 0; i < tensors->n_owned; i++) free(tensors->owned[i]);
    sah_strings_free(&tensors->unsupported);
    free(tensors->owned);
    free(tensors->items);
    free(tensors->files);
    free(tensors->index);
    *tensors = (sah_tensors){0};
}

size_t sah_tensor_values(const sah_tensor *tensor)
{
    size_t n = 1;
    for (int i = 0; i < tensor->n_dims; i++) n *= tensor->dims[i];
    return n;
}

/* Multiplies values [first, first + n) by their blocks' factors, a run inside one block at a time. */
static void apply_scales(const sah_tensor *tensor, size_t first, size_t n, float *out)
{
    const sah_scales *s = tensor->scales;
    const size_t columns = tensor->n_dims > 0 ? tensor->dims[tensor->n_dims - 1] : 1;
    const size_t rows = tensor->n_dims > 1 ? tensor->dims[tensor->n_dims - 2] : 1;
    const size_t bytes = sah_dtype_block_bytes(s->type);
    for (size_t i = 0, length; i < n; i += length) {
        const size_t row = (first + i) / columns, column = (first + i) % columns;
        const size_t block = column / s->block_columns, end = (block + 1) * s->block_columns;
        const size_t place = (row / rows * s->rows + row % rows / s->block_rows) * s->columns + block;
        float factor;
        sah_dequantize(s->type, s->data + place * bytes, 1, &factor);
        length = (end < columns ? end : columns) - column;
        if (length > n - i) length = n - i;
        for (size_t j = i; j < i + length; j++) out[j] *= factor;
    }
}

const sah_tensor *sah_tensor_whole(const sah_tensor *tensor)
{
    while (tensor->whole != NULL) tensor = tensor->whole;
    return tensor;
}

void sah_tensor_read(const sah_tensor *tensor, size_t first, size_t n, float *out)
{
    if (tensor->whole != NULL && tensor->held == NULL) {
        sah_tensor_read(tensor->whole, first, n, out);
        for (size_t i = 0; i < n && tensor->add != 0.0f; i++) out[i] += tensor->add;
        return;
    }
    const size_t block = first / sah_dtype_block_values(tensor->type);
    sah_dequantize(tensor->type, tensor->data + block * sah_dtype_block_bytes(tensor->type), n, out);
    if (tensor->scales != NULL) apply_scales(tensor, first, n, out);
}

bool sah_tensor_size(sah_tensor *tensor)
{
    size_t n = 1;
    for (int i = 0; i < tensor->n_dims; i++) {
        if (!sah_mul(n, tensor->dims[i], &n)) return false;
    }
    return sah_dtype_bytes(tensor->type, n, &tensor->bytes);
}

void sah_tensor_shape(const sah_tensor *tensor, char out[SAH_SHAPE_TEXT])
{
    int n = snprintf(out, SAH_SHAPE_TEXT, "[");
    for (int i = 0; i < tensor->n_dims; i++) {
        n += snprintf(out + n, (size_t)(SAH_SHAPE_TEXT - n), "%s%zu", i > 0 ? ", " : "", tensor->dims[i]);
    }
    snprintf(out + n, (size_t)(SAH_SHAPE_TEXT - n), "]");
}
