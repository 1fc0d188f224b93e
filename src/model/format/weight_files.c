/* SPDX-License-Identifier: Apache-2.0 */
#include "model/format/weight_files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/format/safetensors.h"
#include "model/format/torch_file.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/filekind.h"
#include "util/json.h"
#include "util/strings.h"

enum { MAX_INDEX = 100000000 /* bytes */ };

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

/* Maps the file and adds its tensors. */
static sah_status add_file(const char *path, sah_tensors *out, sah_error *error)
{
    const size_t file = out->n_files;
    sah_status status = sah_mapfile_open(path, &out->files[file], error);
    if (status != SAH_OK) return status;
    out->n_files++;
    status = sah_expect_bytes(path, out->files[file].data, out->files[file].size, "weights", error);
    if (status != SAH_OK) return status;
    return sah_torch_is(&out->files[file]) ? sah_torch_read(out, file, error)
                                           : sah_safetensors_read(out, file, error);
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
        status = add_file(path, out, error);
        free(path);
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
    sah_status status = sah_json_read(path, MAX_INDEX, &index, error);
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

static sah_status exists(const char *directory, const char *name, bool *found, sah_error *error)
{
    char *path;
    sah_status status = join(directory, name, &path, error);
    *found = status == SAH_OK && access(path, F_OK) == 0;
    free(path);
    return status;
}

static sah_status open_one(const char *directory, const char *name, sah_tensors *out, sah_error *error)
{
    char *items[] = {(char *)(uintptr_t)name};
    return open_files(directory, &(sah_strings){items, 1, 1}, out, error);
}

/* The first of the names that is there; an index ends in ".json". */
static sah_status open_first(const char *directory, const char *const *names, const char *missing,
                             sah_tensors *out, sah_error *error)
{
    sah_status status = SAH_OK;
    bool found = false;
    *out = (sah_tensors){0};
    for (; *names != NULL && !found; names += !found) {
        status = exists(directory, *names, &found, error);
        if (status != SAH_OK) return status;
    }
    if (*names == NULL) return sah_fail(error, SAH_FAILED, "%s: no weights: %s", directory, missing);
    if (strstr(*names, ".json") != NULL) {
        char *path;
        status = join(directory, *names, &path, error);
        if (status == SAH_OK) status = open_index(directory, path, out, error);
        free(path);
    } else {
        status = open_one(directory, *names, out, error);
    }
    if (status != SAH_OK) sah_tensors_close(out);
    return status;
}

sah_status sah_weights_open_model(const char *directory, sah_tensors *out, sah_error *error)
{
    static const char *const NAMES[] = {"model.safetensors", "model.safetensors.index.json",
                                        "pytorch_model.bin", "pytorch_model.bin.index.json", NULL};
    return open_first(directory, NAMES,
                      "neither model.safetensors nor pytorch_model.bin, and no index of several files", out,
                      error);
}

sah_status sah_weights_open_adapter(const char *directory, sah_tensors *out, sah_error *error)
{
    static const char *const NAMES[] = {"adapter_model.safetensors", "adapter_model.bin", NULL};
    struct stat there;
    if (stat(directory, &there) != 0) return sah_fail_errno(error, "cannot open adapter", directory);
    if (!S_ISDIR(there.st_mode)) {
        return sah_fail(error, SAH_FAILED,
                        "%s is a file: name the adapter's directory, which holds adapter_config.json and "
                        "adapter_model.safetensors or adapter_model.bin",
                        directory);
    }
    return open_first(directory, NAMES, "neither adapter_model.safetensors nor adapter_model.bin", out,
                      error);
}

sah_status sah_weights_open_file(const char *path, sah_tensors *out, sah_error *error)
{
    *out = (sah_tensors){0};
    out->files = sah_alloc(1, sizeof *out->files);
    if (out->files == NULL) return sah_fail_memory(error, "the list of files");
    sah_status status = add_file(path, out, error);
    if (status == SAH_OK) status = sah_tensors_finish(out, error);
    if (status != SAH_OK) sah_tensors_close(out);
    return status;
}
