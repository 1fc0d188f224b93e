/* SPDX-License-Identifier: Apache-2.0 */
/* Format: https://github.com/huggingface/safetensors#format. An 8-byte little-endian header length, a JSON
 * object
 * {"name": {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, ...}, then the data the offsets
 * count from. */
#include "model/format/safetensors.h"

#include <string.h>

#include "util/error.h"
#include "util/json.h"

enum { LENGTH_BYTES = 8, MAX_HEADER = 100000000 /* bytes: the format's own limit */ };

static bool type_of(const char *name, sah_dtype *type)
{
    static const sah_dtype TYPES[] = {SAH_F32,     SAH_F16,     SAH_BF16, SAH_F8_E4M3,
                                      SAH_F8_E5M2, SAH_F8_E8M0, SAH_F4,   SAH_U8};
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        if (strcmp(name, sah_dtype_name(TYPES[i])) == 0) {
            *type = TYPES[i];
            return true;
        }
    }
    return false;
}

/* A non-negative JSON integer. */
static bool size_value(const json_t *value, size_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *out = (size_t)json_integer_value(value);
    return true;
}

/* The entry's offsets, inside the `room` bytes of data the file has. */
static sah_status read_offsets(const json_t *entry, size_t room, size_t *begin, size_t *end, const char *path,
                               const char *name, sah_error *error)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (json_array_size(offsets) != 2 || !size_value(json_array_get(offsets, 0), begin) ||
        !size_value(json_array_get(offsets, 1), end) || *begin > *end) {
        return sah_fail(error, SAH_FAILED, "%s: tensor %s has no valid data_offsets", path, name);
    }
    if (*end > room) {
        return sah_fail(error, SAH_FAILED,
                        "%s: tensor %s ends at byte %zu of the data, but the file has %zu: cut short?", path,
                        name, *end, room);
    }
    return SAH_OK;
}

static sah_status read_entry(sah_tensors *out, size_t file, size_t data_start, const char *name,
                             const json_t *entry, sah_error *error)
{
    const sah_mapfile *map = &out->files[file];
    const json_t *shape = json_object_get(entry, "shape");
    const char *type_name = json_string_value(json_object_get(entry, "dtype"));
    sah_tensor tensor = {.file = file};
    size_t begin = 0, end = 0;
    if (type_name == NULL || !json_is_array(shape)) {
        return sah_fail(error, SAH_FAILED, "%s: tensor %s has no dtype or no shape", map->path, name);
    }
    sah_status status = read_offsets(entry, map->size - data_start, &begin, &end, map->path, name, error);
    if (status != SAH_OK) return status;
    if (!type_of(type_name, &tensor.type)) {
        return sah_tensors_add_unsupported(out, name, strlen(name), type_name, error);
    }
    if (json_array_size(shape) > SAH_MAX_DIMS) {
        return sah_tensors_add_unsupported(out, name, strlen(name), "more than four dimensions", error);
    }
    tensor.n_dims = (int)json_array_size(shape);
    for (int i = 0; i < tensor.n_dims; i++) {
        if (!size_value(json_array_get(shape, (size_t)i), &tensor.dims[i])) {
            return sah_fail(error, SAH_FAILED, "%s: tensor %s has no valid shape", map->path, name);
        }
    }
    if (!sah_tensor_size(&tensor) || tensor.bytes != end - begin) {
        char text[SAH_SHAPE_TEXT];
        sah_tensor_shape(&tensor, text);
        return sah_fail(error, SAH_FAILED, "%s: tensor %s is %s of %s but has %zu bytes", map->path, name,
                        text, type_name, end - begin);
    }
    tensor.offset = data_start + begin;
    tensor.data = map->data + tensor.offset;
    return sah_tensors_add(out, name, strlen(name), &tensor, error);
}

sah_status sah_safetensors_read(sah_tensors *out, size_t file, sah_error *error)
{
    const sah_mapfile *map = &out->files[file];
    uint64_t length = 0;
    json_t *header;
    const char *name;
    json_t *entry;
    if (map->size < LENGTH_BYTES) {
        return sah_fail(error, SAH_FAILED, "%s: not a safetensors file: only %zu bytes", map->path,
                        map->size);
    }
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) length = length << 8 | map->data[i];
    if (memcmp(map->data, "GGUF", 4) == 0) {
        return sah_fail(error, SAH_FAILED,
                        "%s: a GGUF file in the place of a safetensors file: name the file itself",
                        map->path);
    }
    if (length > MAX_HEADER) {
        return sah_fail(error, SAH_FAILED, "%s: not a safetensors file: a header of %llu bytes", map->path,
                        (unsigned long long)length);
    }
    if (length > map->size - LENGTH_BYTES) {
        return sah_fail(error, SAH_FAILED, "%s: ends inside its header: cut short?", map->path);
    }
    sah_status status =
        sah_json_parse((const char *)map->data + LENGTH_BYTES, length, map->path, &header, error);
    if (status != SAH_OK) return status;
    if (!json_is_object(header))
        status = sah_fail(error, SAH_FAILED, "%s: its header is no JSON object", map->path);
    json_object_foreach(header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        status = read_entry(out, file, LENGTH_BYTES + length, name, entry, error);
        if (status != SAH_OK) break;
    }
    json_decref(header);
    return status;
}
