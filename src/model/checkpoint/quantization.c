/* SPDX-License-Identifier: Apache-2.0 */
#include "model/checkpoint/quantization.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

enum { MAX_BLOCK = 1 << 20, MX_BLOCK = 32 /* values that share an exponent */, NAME_BYTES = 256 };

static const char ADVICE[] = "take the model's original weights, its FP8 ones, or a GGUF file";

static sah_status refuse(const char *where, const char *kind, sah_error *error)
{
    return sah_fail(error, SAH_NOT_SUPPORTED, "%s: weights quantised with %s are not supported: %s", where,
                    kind, ADVICE);
}

/* ---- config.json --------------------------------------------------------------------------------------- */

/* An array of two sizes, or nothing. */
static sah_status read_block(const json_t *object, const char *key, const char *where, sah_quantization *out,
                             sah_error *error)
{
    const json_t *block = json_object_get(object, key);
    if (block == NULL || json_is_null(block)) return SAH_OK;
    const json_int_t rows = json_integer_value(json_array_get(block, 0));
    const json_int_t columns = json_integer_value(json_array_get(block, 1));
    if (json_array_size(block) != 2 || rows < 1 || rows > MAX_BLOCK || columns < 1 || columns > MAX_BLOCK)
        return sah_fail(error, SAH_FAILED, "%s: \"%s\" must be two sizes", where, key);
    out->block_rows = (size_t)rows;
    out->block_columns = (size_t)columns;
    return SAH_OK;
}

static bool is_empty(const json_t *value)
{
    return value == NULL || json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0);
}

/* compressed-tensors: every group of layers must have weights of eight-bit floats. */
static sah_status read_groups(const json_t *q, const char *where, sah_quantization *out, sah_error *error)
{
    const char *name, *format, *kind, *sparsity;
    json_t *group;
    sah_status status = sah_json_string(q, "format", "", &format, where, error);
    if (status != SAH_OK) return status;
    status =
        sah_json_string(json_object_get(q, "sparsity_config"), "format", "dense", &sparsity, where, error);
    if (status != SAH_OK) return status;
    if (strcmp(sparsity, "dense") != 0) return refuse(where, "compressed-tensors, sparse,", error);
    if (!is_empty(json_object_get(q, "transform_config")))
        return refuse(where, "compressed-tensors and rotated", error);
    json_object_foreach(json_object_get(q, "config_groups"), name, group)
    {
        const json_t *weights = json_object_get(group, "weights");
        int64_t bits;
        status = sah_json_string(weights, "type", "int", &kind, where, error);
        if (status == SAH_OK) status = sah_json_int(weights, "num_bits", 8, 1, 64, &bits, where, error);
        if (status != SAH_OK) return status;
        if (strcmp(kind, "float") != 0 || bits != 8) {
            return sah_fail(
                error, SAH_FAILED,
                "%s: weights quantised with compressed-tensors to %d-bit %s (format \"%s\") are not "
                "supported: %s",
                where, (int)bits, kind, format, ADVICE);
        }
        status = read_block(weights, "block_structure", where, out, error);
        if (status != SAH_OK) return status;
    }
    return SAH_OK;
}

sah_status sah_quantization_from_json(const json_t *config, const char *where, sah_quantization *out,
                                      sah_error *error)
{
    static const struct {
        const char *method, *name;
    } REFUSED[] = {{"gptq", "GPTQ"}, {"awq", "AWQ"},   {"bitsandbytes", "bitsandbytes"}, {"aqlm", "AQLM"},
                   {"hqq", "HQQ"},   {"eetq", "EETQ"}, {"auto-round", "AutoRound"}};
    const json_t *q = json_object_get(config, "quantization_config");
    const char *method;
    *out = (sah_quantization){0};
    if (q == NULL) q = json_object_get(config, "compression_config"); /* of compressed-tensors until 2024 */
    if (is_empty(q)) return SAH_OK;
    if (!json_is_object(q))
        return sah_fail(error, SAH_FAILED, "%s: \"quantization_config\" must be an object", where);
    const bool old = json_is_true(json_object_get(q, "load_in_4bit")) ||
                     json_is_true(json_object_get(q, "load_in_8bit")); /* bitsandbytes before it had a name */
    sah_status status = sah_json_string(q, "quant_method", old ? "bitsandbytes" : "", &method, where, error);
    if (status != SAH_OK) return status;
    out->any = true;
    if (strcmp(method, "fp8") == 0) return read_block(q, "weight_block_size", where, out, error);
    if (strcmp(method, "compressed-tensors") == 0) return read_groups(q, where, out, error);
    if (strcmp(method, "fbgemm_fp8") == 0 || strcmp(method, "mxfp4") == 0) return SAH_OK;
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        if (strcmp(method, REFUSED[i].method) == 0) return refuse(where, REFUSED[i].name, error);
    }
    return sah_fail(error, SAH_NOT_SUPPORTED,
                    "%s: quantisation \"%s\" is not supported: fp8 and mxfp4 are; %s", where, method, ADVICE);
}

/* ---- Tensors ------------------------------------------------------------------------------------------- */

static bool ends_in(const char *text, const char *suffix)
{
    const size_t n = strlen(text), m = strlen(suffix);
    return n > m && strcmp(text + n - m, suffix) == 0;
}

static const char *kind_of(const char *name)
{
    static const struct {
        const char *suffix, *kind;
    } KINDS[] = {{".qweight", "GPTQ or AWQ"},
                 {".qzeros", "GPTQ or AWQ"},
                 {".absmax", "bitsandbytes"},
                 {".quant_map", "bitsandbytes"},
                 {".SCB", "bitsandbytes"},
                 {".weight_packed", "compressed-tensors, packed,"},
                 {".weight_zero_point", "compressed-tensors, with zero points,"}};
    if (strstr(name, ".bitsandbytes__") != NULL) return "bitsandbytes";
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        if (ends_in(name, KINDS[i].suffix)) return KINDS[i].kind;
    }
    return NULL;
}

/* config.json does not always tell: old GPTQ files say it in a file of their own. */
static sah_status refuse_kinds(const sah_tensors *tensors, sah_error *error)
{
    const char *kind = NULL, *where = tensors->n_files > 0 ? tensors->files[0].path : "";
    for (size_t i = 0; i < tensors->n && kind == NULL; i++) kind = kind_of(tensors->items[i].name);
    for (size_t i = 0; i < tensors->unsupported.n && kind == NULL; i += 2)
        kind = kind_of(tensors->unsupported.items[i]);
    return kind != NULL ? refuse(where, kind, error) : SAH_OK;
}

/* The tensor called `name` without `suffix` and with `ending`; NULL: there is none. */
static sah_tensor *sibling(sah_tensors *tensors, const char *name, const char *suffix, const char *ending)
{
    char other[NAME_BYTES];
    const size_t n = strlen(name) - strlen(suffix), rest = strlen(ending) + 1;
    if (n + rest > sizeof other) return NULL;
    memcpy(other, name, n);
    memcpy(other + n, ending, rest);
    const sah_tensor *found = sah_tensors_find(tensors, other);
    return found != NULL ? &tensors->items[found - tensors->items] : NULL;
}

static sah_status fail_shape(const sah_tensors *tensors, const sah_tensor *weight, const sah_tensor *scale,
                             sah_error *error)
{
    char a[SAH_SHAPE_TEXT], b[SAH_SHAPE_TEXT];
    sah_tensor_shape(scale, a);
    sah_tensor_shape(weight, b);
    return sah_fail(error, SAH_FAILED, "%s: tensor %s of %s %s does not fit %s of %s",
                    tensors->files[scale->file].path, scale->name, sah_dtype_name(scale->type), a,
                    weight->name, b);
}

/* The last two sizes, 1 where there are fewer, and the product of those before. */
static void as_matrices(const sah_tensor *t, size_t *n, size_t *rows, size_t *columns)
{
    *columns = t->n_dims > 0 ? t->dims[t->n_dims - 1] : 1;
    *rows = t->n_dims > 1 ? t->dims[t->n_dims - 2] : 1;
    *n = 1;
    for (int i = 0; i < t->n_dims - 2; i++) *n *= t->dims[i];
}

static size_t blocks(size_t n, size_t block)
{
    return block > 0 ? (n + block - 1) / block : 0;
}

/* One scale for each matrix, row, or block. */
static sah_status attach_scale(const sah_quantization *q, sah_tensors *tensors, sah_tensor *weight,
                               const sah_tensor *scale, sah_error *error)
{
    size_t n, rows, columns, m, r, c;
    as_matrices(weight, &n, &rows, &columns);
    as_matrices(scale, &m, &r, &c);
    if (scale->n_dims == 1 && c == rows) { /* one a row, without the second size */
        r = c;
        c = 1;
    }
    sah_scales s = {scale->type == SAH_U8 ? SAH_F8_E8M0 : scale->type, scale->data, r, c, 0, 0};
    if (r == 1 && c == 1) {
        s.block_rows = rows;
        s.block_columns = columns;
    } else if (r == rows && c == 1) {
        s.block_rows = 1;
        s.block_columns = columns;
    } else if (r == blocks(rows, q->block_rows) && c == blocks(columns, q->block_columns)) {
        s.block_rows = q->block_rows;
        s.block_columns = q->block_columns;
    } else if (r > 0 && c > 0 && rows % r == 0 && columns % c == 0) { /* other blocks than config.json says */
        s.block_rows = rows / r;
        s.block_columns = columns / c;
    }
    const bool known = s.type == SAH_F32 || s.type == SAH_F16 || s.type == SAH_BF16 || s.type == SAH_F8_E8M0;
    if (!known || m != n || weight->n_dims < 2 || s.block_rows == 0 || s.block_columns == 0)
        return fail_shape(tensors, weight, scale, error);
    if (weight->scales != NULL)
        return sah_fail(error, SAH_FAILED, "%s: tensor %s has scales twice", tensors->files[scale->file].path,
                        weight->name);
    sah_scales *kept = sah_tensors_alloc(tensors, 1, sizeof *kept);
    if (kept == NULL) return sah_fail_memory(error, "scales");
    *kept = s;
    weight->scales = kept;
    return SAH_OK;
}

/* [..., rows, n, 16] bytes and [..., rows, n] exponents become [..., rows, 32 n]. */
static sah_status join_blocks(sah_tensors *tensors, sah_tensor *packed, const sah_tensor *scale,
                              sah_error *error)
{
    const int n = scale->n_dims;
    if (packed->n_dims != n + 1 || n < 2 || packed->dims[n] != MX_BLOCK / 2 || scale->type != SAH_U8 ||
        memcmp(packed->dims, scale->dims, (size_t)n * sizeof *scale->dims) != 0)
        return fail_shape(tensors, packed, scale, error);
    sah_scales *kept = sah_tensors_alloc(tensors, 1, sizeof *kept);
    if (kept == NULL) return sah_fail_memory(error, "scales");
    *kept = (sah_scales){SAH_F8_E8M0, scale->data, scale->dims[n - 2], scale->dims[n - 1], 1, MX_BLOCK};
    packed->type = SAH_F4;
    packed->n_dims = n;
    packed->dims[n - 1] *= MX_BLOCK; /* cannot overflow: half as many bytes are in the file */
    packed->scales = kept;
    packed->name[strlen(packed->name) - strlen("_blocks")] = '\0';
    return SAH_OK;
}

/* What becomes of one tensor; `gone`: it leaves the list. */
static sah_status attach(const sah_quantization *q, sah_tensors *tensors, size_t index, bool *gone,
                         sah_error *error)
{
    /* Scales of what a kind rounds at run time. */
    static const char *const ACTIVATIONS[] = {".input_scale", ".output_scale", ".q_scale",
                                              ".k_scale",     ".v_scale",      ".activation_scale"};
    static const char *const SCALES[] = {"_scale_inv", "_scale"};
    sah_tensor *tensor = &tensors->items[index];
    const char *name = tensor->name;
    for (size_t i = 0; i < sizeof SCALES / sizeof *SCALES; i++) {
        sah_tensor *weight = ends_in(name, SCALES[i]) ? sibling(tensors, name, SCALES[i], "") : NULL;
        if (weight == NULL || (weight->type != SAH_F8_E4M3 && weight->type != SAH_F8_E5M2)) continue;
        *gone = true;
        return attach_scale(q, tensors, weight, tensor, error);
    }
    for (size_t i = 0; q->any && i < sizeof ACTIVATIONS / sizeof *ACTIVATIONS; i++)
        *gone = *gone || ends_in(name, ACTIVATIONS[i]);
    return SAH_OK;
}

static sah_status attach_all(const sah_quantization *q, sah_tensors *tensors, bool *gone, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; i < tensors->n && status == SAH_OK; i++)
        status = attach(q, tensors, i, &gone[i], error);
    /* Names change from here on, so the look-up is used no more for a tensor that was joined. */
    for (size_t i = 0; i < tensors->n && status == SAH_OK; i++) {
        sah_tensor *packed = &tensors->items[i];
        if (packed->type != SAH_U8 || !ends_in(packed->name, "_blocks")) continue;
        const sah_tensor *scale = sibling(tensors, packed->name, "_blocks", "_scales");
        if (scale == NULL) continue;
        gone[scale - tensors->items] = true;
        status = join_blocks(tensors, packed, scale, error);
    }
    for (size_t i = 0; i < tensors->n && status == SAH_OK; i++) {
        const sah_tensor *tensor = &tensors->items[i];
        const bool is_float8 = tensor->type == SAH_F8_E4M3 || tensor->type == SAH_F8_E5M2;
        if (q->any && is_float8 && tensor->scales == NULL && !gone[i])
            return sah_fail(error, SAH_FAILED, "%s: tensor %s has no scales",
                            tensors->files[tensor->file].path, tensor->name);
        /* Bytes that belong to no tensor of numbers are as unknown as integers. */
        if (tensor->type != SAH_U8 || gone[i]) continue;
        gone[i] = true;
        status = sah_tensors_add_unsupported(tensors, tensor->name, strlen(tensor->name), "U8", error);
    }
    return status;
}

sah_status sah_quantization_attach(const sah_quantization *quantization, sah_tensors *tensors,
                                   sah_error *error)
{
    sah_status status = refuse_kinds(tensors, error);
    if (status != SAH_OK) return status;
    bool *gone = sah_alloc(tensors->n, sizeof *gone);
    if (gone == NULL) return sah_fail_memory(error, "the list of tensors");
    status = attach_all(quantization, tensors, gone, error);
    if (status == SAH_OK) status = sah_tensors_remove(tensors, gone, error);
    free(gone);
    return status;
}
