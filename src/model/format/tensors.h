/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of model files, whatever the container: a list of names, shapes and mapped bytes. Readers:
 * safetensors.c, torch_file.c, gguf.c. */
#ifndef SAH_MODEL_FORMAT_TENSORS_H
#define SAH_MODEL_FORMAT_TENSORS_H

#include "model/format/dtype.h"
#include "util/mapfile.h"

#define SAH_MAX_DIMS 4

/* Factors that stand beside a tensor in its file: one for each block of [block_rows, block_columns] of its
 * matrices (the last two sizes), a grid of [rows, columns] for each matrix. */
typedef struct sah_scales {
    sah_dtype type; /* one value a block: F32, F16, BF16 or F8_E8M0 */
    const uint8_t *data;
    size_t rows, columns, block_rows, block_columns;
} sah_scales;

typedef struct sah_tensor {
    char *name; /* as the file has it */
    sah_dtype type;
    int n_dims;
    size_t dims[SAH_MAX_DIMS]; /* outermost first: a matrix is {rows, columns}, as PyTorch prints it */
    const uint8_t *data; /* in the mapped file */
    size_t bytes;
    const sah_scales *scales; /* NULL: none */
    size_t file; /* index of the file it lies in */
    size_t offset; /* of data in that file */
    /* Of a view, which belongs to a checkpoint and not to the list: */
    const struct sah_tensor *whole; /* the tensor that it reads; NULL: it is no such view */
    float add; /* to every value that is read */
    float *held; /* its values, where they are kept in memory; data points there */
} sah_tensor;

typedef struct sah_tensors {
    sah_mapfile *files;
    size_t n_files;
    sah_tensor *items;
    size_t n, capacity;
    void *index; /* look-up by name; private to tensors.c */
    bool is_torch; /* from PyTorch's files: tensors may share bytes */
    void **owned; /* freed with the list */
    size_t n_owned, owned_capacity;
    sah_strings unsupported; /* tensors left out for their type: name, type, name, type, ... */
} sah_tensors;

const sah_tensor *sah_tensors_find(const sah_tensors *tensors, const char *name); /* NULL: not there */
/* The type of a tensor that the file holds but that was left out because its type is not supported; else
 * NULL. */
const char *sah_tensors_unsupported(const sah_tensors *tensors, const char *name);
/* An error when one of the files was written to since it was opened. */
sah_status sah_tensors_unchanged(const sah_tensors *tensors, sah_error *error);
void sah_tensors_close(sah_tensors *tensors);

/* The tensor of the list that a view is made from; the tensor itself when it is no view. */
const sah_tensor *sah_tensor_whole(const sah_tensor *tensor);
size_t sah_tensor_values(const sah_tensor *tensor); /* the product of its sizes */
/* Values [first, first + n), whole blocks of its type, as float32; scales are applied. */
void sah_tensor_read(const sah_tensor *tensor, size_t first, size_t n, float *out);
enum { SAH_SHAPE_TEXT = 96 };
void sah_tensor_shape(const sah_tensor *tensor, char out[SAH_SHAPE_TEXT]); /* "[576, 1536]" */

/* For the readers. `bytes` from type and sizes; false when that overflows or is no whole number of blocks. */
bool sah_tensor_size(sah_tensor *tensor);
/* Appends a tensor under a copy of its name. */
sah_status sah_tensors_add(sah_tensors *tensors, const char *name, size_t length, const sah_tensor *tensor,
                           sah_error *error);
sah_status sah_tensors_add_unsupported(sah_tensors *tensors, const char *name, size_t length,
                                       const char *type, sah_error *error);
/* Zeroed memory that is freed with the list; NULL: none left. */
void *sah_tensors_alloc(sah_tensors *tensors, size_t n, size_t size);
/* Once all are there: builds the look-up; two of one name, or two that share bytes where
 * that may not be, are an error. */
sah_status sah_tensors_finish(sah_tensors *tensors, sah_error *error);
/* Takes the tensors with gone[i] off the finished list, whose other names may have changed, and makes the look-up
 * anew. */
sah_status sah_tensors_remove(sah_tensors *tensors, const bool *gone, sah_error *error);

#endif
