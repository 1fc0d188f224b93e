/* Format: https://github.com/huggingface/safetensors#format. An 8-byte little-endian header length, a JSON
 * object
 * {"name": {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, ...}, then the data the offsets
 * count from. */
#include "model/format/safetensors.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/json.h"
#include "util/strings.h"

enum { LENGTH_BYTES = 8, MAX_HEADER = 100000000 /* bytes: the format's own limit */ };

static bool type_of(const char *name, sah_dtype *type)
{
    static const sah_dtype TYPES[] = {SAH_F32, SAH_F16, SAH_BF16};
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
                        "%s: tensor %s ends at byte %zu of the data, the file has %zu: cut short?", path,
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

/* Adds the tensors of the file out->files[file]. */
static sah_status read_file(sah_tensors *out, size_t file, sah_error *error)
{
    const sah_mapfile *map = &out->files[file];
    uint64_t length = 0;
    json_t *header;
    const char *name;
    json_t *entry;
    if (map->size < LENGTH_BYTES) {
        return sah_fail(error, SAH_FAILED, "%s: not a safetensors file: %zu bytes only", map->path,
                        map->size);
    }
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) length = length << 8 | map->data[i];
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

static sah_status join(const char *directory, const char *name, char **path, sah_error *error)
{
    sah_text text = {0};
    sah_text_adds(&text, directory);
    sah_text_adds(&text, "/");
    sah_text_adds(&text, name);
    *path = text.data;
    if (!text.failed) return SAH_OK;
    free(text.data);
    *path = NULL;
    return sah_fail_memory(error, "a path");
}

static sah_status open_files(const char *directory, const sah_strings *names, sah_tensors *out,
                             sah_error *error)
{
    sah_status status = SAH_OK;
    out->files = sah_alloc(names->n, sizeof *out->files);
    if (out->files == NULL) return sah_fail_memory(error, "the list of files");
    for (size_t i = 0; i < names->n; i++) {
        char *path;
        status = join(directory, names->items[i], &path, error);
        if (status != SAH_OK) return status;
        status = sah_mapfile_open(path, &out->files[i], error);
        free(path);
        if (status != SAH_OK) return status;
        out->n_files++;
        status = read_file(out, i, error);
        if (status != SAH_OK) return status;
    }
    return sah_tensors_finish(out, error);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The distinct file names of a weight map, sorted. */
static sah_status shard_names(const json_t *map, const char *where, sah_strings *names, sah_error *error)
{
    const char *tensor;
    json_t *value;
    sah_strings all = {0};
    sah_status status = SAH_OK;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (name == NULL || name[0] == '\0' || strchr(name, '/') != NULL || name[0] == '.') {
            status = sah_fail(error, SAH_FAILED, "%s: the file of tensor %s must be a plain file name", where,
                              tensor);
            goto done;
        }
        status = sah_strings_add(&all, name, strlen(name), error);
        if (status != SAH_OK) goto done;
    }
    if (all.n == 0) {
        status = sah_fail(error, SAH_FAILED, "%s: \"weight_map\" names no file", where);
        goto done;
    }
    qsort(all.items, all.n, sizeof *all.items, by_text);
    for (size_t i = 0; status == SAH_OK && i < all.n; i++) {
        if (i > 0 && strcmp(all.items[i], all.items[i - 1]) == 0) continue;
        status = sah_strings_add(names, all.items[i], strlen(all.items[i]), error);
    }
done:
    sah_strings_free(&all);
    return status;
}

/* Every tensor the index names must be in the file it names. */
static sah_status check_index(const json_t *map, const sah_strings *names, const sah_tensors *tensors,
                              const char *where, sah_error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        const sah_tensor *tensor = sah_tensors_find(tensors, name);
        bool there = tensor != NULL ? strcmp(names->items[tensor->file], json_string_value(value)) == 0
                                    : sah_tensors_unsupported(tensors, name) != NULL;
        if (!there) {
            return sah_fail(error, SAH_FAILED, "%s: tensor %s is not in %s, where the index says it is",
                            where, name, json_string_value(value));
        }
    }
    return SAH_OK;
}

static sah_status open_index(const char *directory, const char *path, sah_tensors *out, sah_error *error)
{
    json_t *index;
    sah_strings names = {0};
    sah_status status = sah_json_read(path, MAX_HEADER, &index, error);
    if (status != SAH_OK) return status;
    const json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map)) {
        status = sah_fail(error, SAH_FAILED, "%s: no object \"weight_map\"", path);
        goto done;
    }
    status = shard_names(map, path, &names, error);
    if (status == SAH_OK) status = open_files(directory, &names, out, error);
    if (status == SAH_OK) status = check_index(map, &names, out, path, error);
done:
    sah_strings_free(&names);
    json_decref(index);
    return status;
}

static bool exists(const char *directory, const char *name)
{
    char *path;
    if (join(directory, name, &path, NULL) != SAH_OK) return false;
    bool found = access(path, F_OK) == 0;
    free(path);
    return found;
}

/* What to tell a person whose directory has no safetensors file. */
static sah_status fail_missing(const char *directory, sah_error *error)
{
    if (exists(directory, "pytorch_model.bin") || exists(directory, "pytorch_model.bin.index.json") ||
        exists(directory, "adapter_model.bin")) {
        return sah_fail(error, SAH_FAILED,
                        "%s: PyTorch .bin weights are not supported: save the model as safetensors",
                        directory);
    }
    return sah_fail(error, SAH_FAILED,
                    "%s: no weights: neither model.safetensors nor model.safetensors.index.json", directory);
}

sah_status sah_safetensors_open(const char *directory, const char *name, sah_tensors *out, sah_error *error)
{
    static const char SINGLE[] = "model.safetensors", INDEX[] = "model.safetensors.index.json";
    sah_status status;
    *out = (sah_tensors){0};
    if (name == NULL && exists(directory, SINGLE)) name = SINGLE;
    if (name != NULL) {
        char *items[] = {(char *)(uintptr_t)name};
        status = open_files(directory, &(sah_strings){items, 1, 1}, out, error);
    } else if (exists(directory, INDEX)) {
        char *path;
        status = join(directory, INDEX, &path, error);
        if (status == SAH_OK) status = open_index(directory, path, out, error);
        free(path);
    } else {
        status = fail_missing(directory, error);
    }
    if (status != SAH_OK) sah_tensors_close(out);
    return status;
}
