/* SPDX-License-Identifier: Apache-2.0 */
/* Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Magic, version, counts, metadata pairs,
 * the tensor directory, padding to general.alignment, data. All numbers little endian. */
#include "model/format/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/filekind.h"

enum {
    DEFAULT_ALIGNMENT = 32,
    MAX_ALIGNMENT = 1 << 20,
    MIN_PAIR = 8 + 4 + 1, /* bytes of the smallest metadata pair: an empty key, its type, a byte */
    MIN_TENSOR = 8 + 4 + 4 + 8 /* of the smallest directory entry */
};

/* Reading on in a mapped file; `ok` turns false at the first read past the end and stays so. */
typedef struct cursor {
    const uint8_t *data;
    size_t size, at;
    bool ok;
} cursor;

static const uint8_t *take(cursor *c, size_t n)
{
    if (!c->ok || n > c->size - c->at) {
        c->ok = false;
        return NULL;
    }
    const uint8_t *bytes = c->data + c->at;
    c->at += n;
    return bytes;
}

static uint64_t little_endian(const uint8_t *bytes, size_t n)
{
    uint64_t value = 0;
    for (size_t i = n; bytes != NULL && i > 0; i--) value = value << 8 | bytes[i - 1];
    return value;
}

static uint32_t take_u32(cursor *c)
{
    return (uint32_t)little_endian(take(c, 4), 4);
}

static uint64_t take_u64(cursor *c)
{
    return little_endian(take(c, 8), 8);
}

static const char *take_string(cursor *c, size_t *length)
{
    uint64_t n = take_u64(c);
    const uint8_t *bytes = take(c, n);
    *length = c->ok ? (size_t)n : 0;
    return (const char *)bytes;
}

/* Bytes of a value of a fixed size; 0 for strings, arrays and unknown types. */
static size_t fixed_size(uint32_t type)
{
    static const uint8_t SIZES[] = {
        [SAH_GGUF_U8] = 1,  [SAH_GGUF_I8] = 1,  [SAH_GGUF_U16] = 2, [SAH_GGUF_I16] = 2,
        [SAH_GGUF_U32] = 4, [SAH_GGUF_I32] = 4, [SAH_GGUF_F32] = 4, [SAH_GGUF_BOOL] = 1,
        [SAH_GGUF_U64] = 8, [SAH_GGUF_I64] = 8, [SAH_GGUF_F64] = 8};
    return type < sizeof SIZES ? SIZES[type] : 0;
}

static sah_status fail_at(const cursor *c, const char *path, const char *what, sah_error *error)
{
    if (!c->ok) return sah_fail(error, SAH_FAILED, "%s: ends inside its %s: cut short?", path, what);
    return sah_fail(error, SAH_FAILED, "%s: malformed %s near byte %zu", path, what, c->at);
}

/* The items of a value: walks over them so that later look-ups need no checks. False for a type that has no
 * meaning here. */
static bool take_items(cursor *c, uint32_t type, uint64_t n, sah_gguf_value *value)
{
    size_t begin = c->at, size = fixed_size(type), bytes, length;
    value->bytes = c->data + begin;
    value->n = (size_t)n;
    if (type == SAH_GGUF_STRING) {
        for (uint64_t i = 0; i < n && c->ok; i++) take_string(c, &length);
    } else if (size == 0) {
        return false; /* an array of arrays, which no key of a language model is */
    } else if (sah_mul((size_t)n, size, &bytes)) {
        take(c, bytes);
    } else {
        c->ok = false;
    }
    value->size = c->at - begin;
    return true;
}

static sah_status take_pair(cursor *c, sah_gguf_value *value, const char *path, sah_error *error)
{
    value->key = take_string(c, &value->key_length);
    uint32_t type = take_u32(c), item = type;
    uint64_t n = 1;
    if (type == SAH_GGUF_ARRAY) {
        item = take_u32(c);
        n = take_u64(c);
    }
    if (!c->ok) return fail_at(c, path, "metadata", error);
    value->type = (sah_gguf_type)type;
    value->item = (sah_gguf_type)item;
    if (!take_items(c, item, n, value)) {
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: metadata key %.*s has a type that is not supported (%u)", path,
                        (int)(value->key_length < 100 ? value->key_length : 100), value->key, item);
    }
    return c->ok ? SAH_OK : fail_at(c, path, "metadata", error);
}

static int by_key(const void *a, const void *b)
{
    const sah_gguf_value *x = *(const sah_gguf_value *const *)a, *y = *(const sah_gguf_value *const *)b;
    size_t shorter = x->key_length < y->key_length ? x->key_length : y->key_length;
    int order = shorter > 0 ? memcmp(x->key, y->key, shorter) : 0;
    return order != 0 ? order : (x->key_length > y->key_length) - (x->key_length < y->key_length);
}

static sah_status check_keys(const sah_gguf *gguf, const char *path, sah_error *error)
{
    sah_status status = SAH_OK;
    const sah_gguf_value **order = sah_alloc(gguf->n_values, sizeof *order);
    if (order == NULL) return sah_fail_memory(error, "metadata");
    for (size_t i = 0; i < gguf->n_values; i++) order[i] = &gguf->values[i];
    if (gguf->n_values > 0) qsort(order, gguf->n_values, sizeof *order, by_key);
    for (size_t i = 1; i < gguf->n_values && status == SAH_OK; i++) {
        if (by_key(&order[i - 1], &order[i]) == 0) {
            status = sah_fail(error, SAH_FAILED, "%s: metadata key %.*s is there twice", path,
                              (int)(order[i]->key_length < 100 ? order[i]->key_length : 100), order[i]->key);
        }
    }
    free(order);
    return status;
}

static sah_status read_metadata(sah_gguf *gguf, cursor *c, uint64_t n, sah_error *error)
{
    const char *path = gguf->tensors.files[0].path;
    int64_t alignment;
    if (n > (c->size - c->at) / MIN_PAIR) {
        return sah_fail(error, SAH_FAILED, "%s: %llu metadata pairs do not fit into the file: cut short?",
                        path, (unsigned long long)n);
    }
    gguf->values = sah_alloc((size_t)n, sizeof *gguf->values);
    if (gguf->values == NULL) return sah_fail_memory(error, "metadata");
    while (gguf->n_values < n) {
        sah_status status = take_pair(c, &gguf->values[gguf->n_values], path, error);
        if (status != SAH_OK) return status;
        gguf->n_values++;
    }
    sah_status status = check_keys(gguf, path, error);
    if (status != SAH_OK) return status;
    status = sah_gguf_int(gguf, "general.alignment", DEFAULT_ALIGNMENT, 1, MAX_ALIGNMENT, &alignment, error);
    if (status != SAH_OK) return status;
    if ((alignment & (alignment - 1)) != 0) {
        return sah_fail(error, SAH_FAILED, "%s: general.alignment is %lld, which is no power of two", path,
                        (long long)alignment);
    }
    gguf->alignment = (size_t)alignment;
    return SAH_OK;
}

/* The file format's numbers of tensor types; NULL where a number was never given out or was withdrawn. */
static const struct {
    const char *name;
    sah_dtype type; /* SAH_DTYPES: not supported */
} TYPES[] = {
    [0] = {"F32", SAH_F32},        [1] = {"F16", SAH_F16},          [2] = {"Q4_0", SAH_Q4_0},
    [3] = {"Q4_1", SAH_Q4_1},      [6] = {"Q5_0", SAH_Q5_0},        [7] = {"Q5_1", SAH_Q5_1},
    [8] = {"Q8_0", SAH_Q8_0},      [9] = {"Q8_1", SAH_DTYPES},      [10] = {"Q2_K", SAH_Q2_K},
    [11] = {"Q3_K", SAH_Q3_K},     [12] = {"Q4_K", SAH_Q4_K},       [13] = {"Q5_K", SAH_Q5_K},
    [14] = {"Q6_K", SAH_Q6_K},     [15] = {"Q8_K", SAH_DTYPES},     [16] = {"IQ2_XXS", SAH_IQ2_XXS},
    [17] = {"IQ2_XS", SAH_IQ2_XS}, [18] = {"IQ3_XXS", SAH_IQ3_XXS}, [19] = {"IQ1_S", SAH_IQ1_S},
    [20] = {"IQ4_NL", SAH_IQ4_NL}, [21] = {"IQ3_S", SAH_IQ3_S},     [22] = {"IQ2_S", SAH_IQ2_S},
    [23] = {"IQ4_XS", SAH_IQ4_XS}, [24] = {"I8", SAH_DTYPES},       [25] = {"I16", SAH_DTYPES},
    [26] = {"I32", SAH_DTYPES},    [27] = {"I64", SAH_DTYPES},      [28] = {"F64", SAH_DTYPES},
    [29] = {"IQ1_M", SAH_IQ1_M},   [30] = {"BF16", SAH_BF16},       [34] = {"TQ1_0", SAH_TQ1_0},
    [35] = {"TQ2_0", SAH_TQ2_0},   [39] = {"MXFP4", SAH_MXFP4},     [40] = {"NVFP4", SAH_DTYPES},
    [41] = {"Q1_0", SAH_DTYPES},
};

uint32_t sah_gguf_type_number(sah_dtype type)
{
    uint32_t number = 0;
    while (TYPES[number].name == NULL || TYPES[number].type != type) number++;
    return number;
}

/* One directory entry; its offset counts from the data, whose begin is not known yet. */
static sah_status take_tensor(sah_gguf *gguf, cursor *c, sah_error *error)
{
    const char *path = gguf->tensors.files[0].path;
    sah_tensor tensor = {0};
    size_t length;
    const char *name = take_string(c, &length);
    uint32_t n_dims = take_u32(c);
    if (!c->ok) return fail_at(c, path, "tensor directory", error);
    const int shown = (int)(length < 100 ? length : 100);
    if (length == 0 || memchr(name, '\0', length) != NULL) return fail_at(c, path, "tensor name", error);
    if (n_dims < 1 || n_dims > SAH_MAX_DIMS) {
        return sah_fail(error, SAH_FAILED, "%s: tensor %.*s has %u dimensions", path, shown, name, n_dims);
    }
    tensor.n_dims = (int)n_dims;
    for (uint32_t i = n_dims; i > 0; i--) tensor.dims[i - 1] = take_u64(c); /* innermost first in the file */
    uint32_t type = take_u32(c);
    tensor.offset = take_u64(c);
    if (!c->ok) return fail_at(c, path, "tensor directory", error);
    if (type >= sizeof TYPES / sizeof *TYPES || TYPES[type].name == NULL) {
        return sah_fail(error, SAH_FAILED, "%s: tensor %.*s has the unknown type %u", path, shown, name,
                        type);
    }
    if (TYPES[type].type == SAH_DTYPES) {
        return sah_tensors_add_unsupported(&gguf->tensors, name, length, TYPES[type].name, error);
    }
    tensor.type = TYPES[type].type;
    if (tensor.dims[n_dims - 1] % sah_dtype_block_values(tensor.type) != 0 || !sah_tensor_size(&tensor)) {
        char shape[SAH_SHAPE_TEXT];
        sah_tensor_shape(&tensor, shape);
        return sah_fail(error, SAH_FAILED, "%s: tensor %.*s cannot be %s of %s", path, shown, name, shape,
                        TYPES[type].name);
    }
    return sah_tensors_add(&gguf->tensors, name, length, &tensor, error);
}

/* Offsets from the data's begin become offsets in the file, checked against its size. */
static sah_status place_tensors(sah_gguf *gguf, sah_error *error)
{
    const sah_mapfile *file = &gguf->tensors.files[0];
    size_t padding = (gguf->alignment - gguf->header_end % gguf->alignment) % gguf->alignment;
    gguf->data_offset = gguf->header_end + padding; /* cannot wrap: header_end is inside the file */
    for (size_t i = 0; i < gguf->tensors.n; i++) {
        sah_tensor *tensor = &gguf->tensors.items[i];
        if (tensor->offset % gguf->alignment != 0) {
            return sah_fail(error, SAH_FAILED, "%s: tensor %s does not begin at a multiple of %zu bytes",
                            file->path, tensor->name, gguf->alignment);
        }
        size_t end;
        if (!sah_add(tensor->offset, gguf->data_offset, &tensor->offset) ||
            !sah_add(tensor->offset, tensor->bytes, &end) || end > file->size) {
            return sah_fail(error, SAH_FAILED, "%s: tensor %s reaches past the end of the file: cut short?",
                            file->path, tensor->name);
        }
        tensor->data = file->data + tensor->offset;
    }
    return sah_tensors_finish(&gguf->tensors, error);
}

static sah_status check_magic(sah_gguf *gguf, cursor *c, sah_error *error)
{
    const char *path = gguf->tensors.files[0].path;
    const uint8_t *magic = take(c, 4);
    gguf->version = take_u32(c);
    if (!c->ok || memcmp(magic, "GGUF", 4) != 0)
        return sah_fail(error, SAH_FAILED, "%s: not a GGUF file", path);
    if ((gguf->version & 0xFFFF) == 0) {
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: a big-endian GGUF file, which is not supported", path);
    }
    if (gguf->version < 2 || gguf->version > 3) {
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: GGUF version %u is not supported: 2 and 3 are", path,
                        gguf->version);
    }
    return SAH_OK;
}

static sah_status read_all(sah_gguf *gguf, sah_error *error)
{
    const sah_mapfile *file = &gguf->tensors.files[0];
    cursor c = {file->data, file->size, 0, true};
    sah_status status = check_magic(gguf, &c, error);
    if (status != SAH_OK) return status;
    uint64_t n_tensors = take_u64(&c), n_values = take_u64(&c);
    if (!c.ok) return fail_at(&c, file->path, "header", error);
    status = read_metadata(gguf, &c, n_values, error);
    if (status != SAH_OK) return status;
    if (n_tensors > (c.size - c.at) / MIN_TENSOR) {
        return sah_fail(error, SAH_FAILED, "%s: %llu tensors do not fit into the file: cut short?",
                        file->path, (unsigned long long)n_tensors);
    }
    for (uint64_t i = 0; i < n_tensors && status == SAH_OK; i++) status = take_tensor(gguf, &c, error);
    if (status != SAH_OK) return status;
    gguf->header_end = c.at;
    return place_tensors(gguf, error);
}

sah_status sah_gguf_open_file(const char *path, sah_gguf *out, sah_error *error)
{
    *out = (sah_gguf){0};
    out->tensors.files = sah_alloc(1, sizeof *out->tensors.files);
    if (out->tensors.files == NULL) return sah_fail_memory(error, path);
    sah_status status = sah_mapfile_open(path, &out->tensors.files[0], error);
    if (status == SAH_OK) {
        const sah_mapfile *file = &out->tensors.files[0];
        out->tensors.n_files = 1;
        status = sah_expect_bytes(path, file->data, file->size, "a GGUF file", error);
        if (status == SAH_OK) status = read_all(out, error);
    }
    if (status != SAH_OK) sah_gguf_close(out);
    return status;
}

void sah_gguf_close(sah_gguf *gguf)
{
    if (gguf == NULL) return;
    sah_tensors_close(&gguf->tensors);
    free(gguf->values);
    *gguf = (sah_gguf){0};
}

const sah_gguf_value *sah_gguf_find(const sah_gguf *gguf, const char *key)
{
    size_t length = strlen(key);
    for (size_t i = 0; i < gguf->n_values; i++) {
        const sah_gguf_value *value = &gguf->values[i];
        if (value->key_length == length && memcmp(value->key, key, length) == 0) return value;
    }
    return NULL;
}

static sah_status fail_type(const sah_gguf *gguf, const char *key, const char *wanted, sah_error *error)
{
    return sah_fail(error, SAH_FAILED, "%s: %s must be %s", gguf->tensors.files[0].path, key, wanted);
}

/* Any integer type, widened; false for other types and for what int64 cannot hold. */
static bool integer_value(const sah_gguf_value *value, int64_t *out)
{
    uint64_t bits = little_endian(value->bytes, value->size);
    switch (value->type) {
    case SAH_GGUF_U8:
    case SAH_GGUF_U16:
    case SAH_GGUF_U32:
        *out = (int64_t)bits;
        return true;
    case SAH_GGUF_U64:
        *out = (int64_t)bits;
        return bits <= INT64_MAX;
    case SAH_GGUF_I8:
        *out = (int8_t)bits;
        return true;
    case SAH_GGUF_I16:
        *out = (int16_t)bits;
        return true;
    case SAH_GGUF_I32:
        *out = (int32_t)bits;
        return true;
    case SAH_GGUF_I64:
        *out = (int64_t)bits;
        return true;
    default:
        return false;
    }
}

static sah_status take_int(const sah_gguf *gguf, const char *key, const sah_gguf_value *value, int64_t low,
                           int64_t high, int64_t *out, sah_error *error)
{
    int64_t number;
    if (!integer_value(value, &number)) return fail_type(gguf, key, "an integer", error);
    if (number < low || number > high) {
        return sah_fail(error, SAH_FAILED, "%s: %s is %lld, outside %lld to %lld",
                        gguf->tensors.files[0].path, key, (long long)number, (long long)low, (long long)high);
    }
    *out = number;
    return SAH_OK;
}

sah_status sah_gguf_int(const sah_gguf *gguf, const char *key, int64_t otherwise, int64_t low, int64_t high,
                        int64_t *out, sah_error *error)
{
    const sah_gguf_value *value = sah_gguf_find(gguf, key);
    *out = otherwise;
    return value == NULL ? SAH_OK : take_int(gguf, key, value, low, high, out, error);
}

sah_status sah_gguf_int_of(const sah_gguf *gguf, const char *key, size_t index, size_t n, int64_t otherwise,
                           int64_t low, int64_t high, int64_t *out, sah_error *error)
{
    const sah_gguf_value *value = sah_gguf_find(gguf, key);
    if (value == NULL || value->type != SAH_GGUF_ARRAY)
        return sah_gguf_int(gguf, key, otherwise, low, high, out, error);
    const size_t width = fixed_size(value->item);
    if (width == 0 || value->n != n) return fail_type(gguf, key, "an integer, or one for each layer", error);
    const sah_gguf_value item = {.type = value->item == SAH_GGUF_BOOL ? SAH_GGUF_U8 : value->item,
                                 .n = 1,
                                 .bytes = value->bytes + index * width,
                                 .size = width};
    return take_int(gguf, key, &item, low, high, out, error);
}

sah_status sah_gguf_number(const sah_gguf *gguf, const char *key, double otherwise, double *out,
                           sah_error *error)
{
    const sah_gguf_value *value = sah_gguf_find(gguf, key);
    int64_t integer;
    float single;
    *out = otherwise;
    if (value == NULL) return SAH_OK;
    if (value->type == SAH_GGUF_F32) {
        memcpy(&single, value->bytes, sizeof single);
        *out = (double)single;
    } else if (value->type == SAH_GGUF_F64) {
        memcpy(out, value->bytes, sizeof *out);
    } else if (integer_value(value, &integer)) {
        *out = (double)integer;
    } else {
        return fail_type(gguf, key, "a number", error);
    }
    return SAH_OK;
}

sah_status sah_gguf_bool(const sah_gguf *gguf, const char *key, bool otherwise, bool *out, sah_error *error)
{
    const sah_gguf_value *value = sah_gguf_find(gguf, key);
    *out = otherwise;
    if (value == NULL) return SAH_OK;
    if (value->type != SAH_GGUF_BOOL || value->bytes[0] > 1)
        return fail_type(gguf, key, "true or false", error);
    *out = value->bytes[0] == 1;
    return SAH_OK;
}

sah_status sah_gguf_string(const sah_gguf *gguf, const char *key, const char **text, size_t *length,
                           sah_error *error)
{
    const sah_gguf_value *value = sah_gguf_find(gguf, key);
    size_t at = 0;
    *text = NULL;
    *length = 0;
    if (value == NULL) return SAH_OK;
    if (value->type != SAH_GGUF_STRING) return fail_type(gguf, key, "a string", error);
    sah_gguf_next_string(value, &at, text, length);
    return SAH_OK;
}

void sah_gguf_next_string(const sah_gguf_value *array, size_t *at, const char **text, size_t *length)
{
    *length = (size_t)little_endian(array->bytes + *at, 8);
    *text = (const char *)array->bytes + *at + 8;
    *at += 8 + *length;
}
