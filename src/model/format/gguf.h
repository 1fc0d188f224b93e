/* SPDX-License-Identifier: Apache-2.0 */
/* Reading GGUF version 2 and 3 (little endian): typed metadata, tensor directory, aligned data. */
#ifndef SAH_MODEL_FORMAT_GGUF_H
#define SAH_MODEL_FORMAT_GGUF_H

#include "model/format/tensors.h"

typedef enum sah_gguf_type { /* the file format's own numbers */
                             SAH_GGUF_U8,
                             SAH_GGUF_I8,
                             SAH_GGUF_U16,
                             SAH_GGUF_I16,
                             SAH_GGUF_U32,
                             SAH_GGUF_I32,
                             SAH_GGUF_F32,
                             SAH_GGUF_BOOL,
                             SAH_GGUF_STRING,
                             SAH_GGUF_ARRAY,
                             SAH_GGUF_U64,
                             SAH_GGUF_I64,
                             SAH_GGUF_F64
} sah_gguf_type;

typedef struct sah_gguf_value {
    const char *key; /* not NUL-terminated */
    size_t key_length;
    sah_gguf_type type;
    sah_gguf_type item; /* of an array */
    size_t n; /* array length, or 1 */
    const uint8_t *bytes; /* the value's bytes in the mapped file (strings: 8 bytes length, then text) */
    size_t size; /* of bytes */
} sah_gguf_value;

typedef struct sah_gguf {
    sah_tensors tensors; /* of one file, or of all parts */
    /* What follows is the first part's. */
    uint32_t version;
    size_t alignment;
    size_t data_offset; /* where tensor data begins */
    size_t header_end; /* end of the tensor directory, before padding */
    sah_gguf_value *values;
    size_t n_values;
} sah_gguf;

/* The key under which surgery leaves what it did: JSON text (docs/files.md, "sahara.json"). */
#define SAH_GGUF_PROVENANCE "sahara.provenance"

/* The format's own number of a tensor type. */
uint32_t sah_gguf_type_number(sah_dtype type);

/* The one file, whatever it is a part of. */
sah_status sah_gguf_open_file(const char *path, sah_gguf *out, sah_error *error);
void sah_gguf_close(sah_gguf *gguf);

const sah_gguf_value *sah_gguf_find(const sah_gguf *gguf, const char *key); /* NULL: not there */
/* Typed look-ups: absent gives `otherwise`; another type or out of range is an error that names the key. */
sah_status sah_gguf_int(const sah_gguf *gguf, const char *key, int64_t otherwise, int64_t low, int64_t high,
                        int64_t *out, sah_error *error);
/* The same of a key that holds one number for all of n layers or an array of n (of truths, too: 0 and 1): what it
 * says of layer `index`. */
sah_status sah_gguf_int_of(const sah_gguf *gguf, const char *key, size_t index, size_t n, int64_t otherwise,
                           int64_t low, int64_t high, int64_t *out, sah_error *error);
sah_status sah_gguf_number(const sah_gguf *gguf, const char *key, double otherwise, double *out,
                           sah_error *error);
sah_status sah_gguf_bool(const sah_gguf *gguf, const char *key, bool otherwise, bool *out, sah_error *error);
/* A string's bytes in place; *text NULL when absent. */
sah_status sah_gguf_string(const sah_gguf *gguf, const char *key, const char **text, size_t *length,
                           sah_error *error);

/* Walks the strings of an array value: start with *at = 0; gives each item's bytes in place. Bounds were
 * checked on opening. */
void sah_gguf_next_string(const sah_gguf_value *array, size_t *at, const char **text, size_t *length);

#endif
