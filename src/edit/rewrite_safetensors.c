/* SPDX-License-Identifier: Apache-2.0 */
/* A Hugging Face directory: the same shards with the same tensors in the same order, the index, and the small
 * files that belong to the model. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edit/rewrite_safetensors.h"
#include "edit/rewrite_scales.h"
#include "edit/rewrite_torch.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/json.h"
#include "util/strings.h"

enum { LENGTH_BYTES = 8, HEADER_ALIGNMENT = 8, MAX_INDEX = 100000000 /* bytes */ };

static const char INDEX[] = "model.safetensors.index.json", PROVENANCE[] = "sahara.json";

/* Bytes of the JSON header, which the reader has checked. */
static size_t header_size(const sah_mapfile *file)
{
    size_t size = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) size = size << 8 | file->data[i];
    return size;
}

/* ---- A shard ------------------------------------------------------------------------------------------- */

/* A tensor of the header, of a type that the reader knows or not. */
typedef struct entry {
    json_t *json; /* borrowed from the header */
    size_t begin, end; /* in the data */
    size_t index; /* of the tensor; SIZE_MAX: of another type, copied */
} entry;

static int by_begin(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* The header's entries in the order of their data; the reader has checked every one of them. Scales that are not
 * written leave the header. */
static entry *list_entries(const sah_rewrite *rewrite, json_t *header, size_t *n)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    const char *name;
    json_t *value;
    void *next;
    entry *entries = sah_alloc(json_object_size(header), sizeof *entries);
    *n = 0;
    if (entries == NULL) return NULL;
    json_object_foreach_safe(header, next, name, value)
    {
        const json_t *offsets = json_object_get(value, "data_offsets");
        if (strcmp(name, "__metadata__") == 0) continue;
        if (sah_rewrite_drops(rewrite, name)) {
            json_object_del(header, name);
            continue;
        }
        const sah_tensor *tensor = sah_tensors_find(tensors, name);
        entries[(*n)++] = (entry){value, (size_t)json_integer_value(json_array_get(offsets, 0)),
                                  (size_t)json_integer_value(json_array_get(offsets, 1)),
                                  tensor != NULL ? (size_t)(tensor - tensors->items) : SIZE_MAX};
    }
    qsort(entries, *n, sizeof *entries, by_begin);
    return entries;
}

/* Types and places as they will be, one tensor behind the other. */
static bool move_entries(const sah_rewrite *rewrite, const entry *entries, size_t n)
{
    size_t at = 0;
    bool good = true;
    for (size_t i = 0; i < n && good; i++) {
        const entry *e = &entries[i];
        size_t bytes = e->index != SIZE_MAX ? sah_rewrite_bytes(rewrite, e->index) : e->end - e->begin;
        good =
            json_object_set_new(e->json, "data_offsets",
                                json_pack("[I, I]", (json_int_t)at, (json_int_t)at + (json_int_t)bytes)) == 0;
        if (good && e->index != SIZE_MAX && rewrite->changes[e->index].changed) {
            good = json_object_set_new(e->json, "dtype",
                                       json_string(sah_dtype_name(rewrite->changes[e->index].type))) == 0;
        }
        at += bytes;
    }
    return good;
}

/* The new header behind its length, filled up with blanks so that the data is aligned. */
static sah_status write_header(const sah_rewrite *rewrite, json_t *header, const entry *entries, size_t n,
                               sah_writer *writer, sah_error *error)
{
    sah_text text = {0};
    sah_status status = SAH_OK;
    char *dump = move_entries(rewrite, entries, n) ? sah_json_text(header, JSON_COMPACT) : NULL;
    if (dump != NULL) {
        size_t length = (strlen(dump) + HEADER_ALIGNMENT - 1) / HEADER_ALIGNMENT * HEADER_ALIGNMENT;
        for (int i = 0; i < LENGTH_BYTES; i++) sah_text_add(&text, &(char){(char)(length >> (8 * i))}, 1);
        sah_text_adds(&text, dump);
        while (!text.failed && text.size < LENGTH_BYTES + length) sah_text_add(&text, " ", 1);
    }
    if (dump == NULL || text.failed)
        status = sah_fail_memory(error, "the header");
    else
        status = sah_writer_put(writer, text.data, text.size, error);
    free(dump);
    free(text.data);
    return status;
}

/* True when a tensor of the file changes its size, as one that loses its scales does, so that places move. */
static bool places_move(const sah_rewrite *rewrite, const entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const entry *e = &entries[i];
        if (e->index != SIZE_MAX && rewrite->changes[e->index].changed &&
            rewrite->changes[e->index].type != rewrite->base->tensors->items[e->index].type)
            return true;
    }
    return false;
}

/* Header and tensors. Where no place moves, header and whatever lies between and behind tensors stay as well.
 */
static sah_status write_shard(sah_rewrite *rewrite, const sah_mapfile *file, json_t *header,
                              sah_writer *writer, sah_error *error)
{
    size_t n = 0, at = 0;
    const size_t length = header_size(file);
    const uint8_t *data = file->data + LENGTH_BYTES + length;
    const size_t size = file->size - LENGTH_BYTES - length;
    entry *entries = list_entries(rewrite, header, &n);
    if (entries == NULL) return sah_fail_memory(error, "the header");
    const bool move = places_move(rewrite, entries, n);
    sah_status status = move ? write_header(rewrite, header, entries, n, writer, error)
                             : sah_writer_put(writer, file->data, LENGTH_BYTES + length, error);
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        const entry *e = &entries[i];
        if (!move && e->begin > at) status = sah_writer_put(writer, data + at, e->begin - at, error);
        if (status != SAH_OK) break;
        status = e->index != SIZE_MAX ? sah_rewrite_tensor(rewrite, e->index, writer, error)
                                      : sah_writer_put(writer, data + e->begin, e->end - e->begin, error);
        at = e->end;
    }
    if (status == SAH_OK && !move) status = sah_writer_put(writer, data + at, size - at, error);
    free(entries);
    return status;
}

static const char *file_name(const sah_mapfile *file)
{
    const char *slash = strrchr(file->path, '/');
    return slash != NULL ? slash + 1 : file->path;
}

static sah_status copy_shard(sah_rewrite *rewrite, const sah_mapfile *file, sah_output *output,
                             sah_error *error)
{
    json_t *header;
    sah_writer writer;
    const char *text = (const char *)file->data + LENGTH_BYTES;
    sah_status status = sah_json_parse(text, header_size(file), file->path, &header, error);
    if (status != SAH_OK) return status;
    status = sah_output_file(output, file_name(file), &writer, error);
    if (status == SAH_OK) status = write_shard(rewrite, file, header, &writer, error);
    status = sah_writer_close(&writer, status, error);
    json_decref(header);
    return status;
}

/* ---- The rest of the folder ---------------------------------------------------------------------------- */

static sah_status write_text(const char *name, const char *text, size_t size, sah_output *output,
                             sah_error *error)
{
    sah_writer writer;
    sah_status status = sah_output_file(output, name, &writer, error);
    if (status == SAH_OK) status = sah_writer_put(&writer, text, size, error);
    return sah_writer_close(&writer, status, error);
}

static sah_status copy_small(const char *path, const char *name, sah_output *output, sah_error *error)
{
    sah_mapfile file;
    sah_status status = sah_mapfile_open(path, &file, error);
    if (status != SAH_OK) return status;
    status = write_text(name, (const char *)file.data, file.size, output, error);
    sah_mapfile_close(&file);
    return status;
}

/* The index says how many bytes all tensors take together; it is copied while that stays true. */
static sah_status write_index(const sah_rewrite *rewrite, const char *path, sah_output *output,
                              sah_error *error)
{
    json_t *index = NULL;
    char *text = NULL;
    json_int_t more = -(json_int_t)sah_rewrite_dropped_bytes(rewrite);
    for (size_t i = 0; i < rewrite->base->tensors->n; i++)
        more +=
            (json_int_t)sah_rewrite_bytes(rewrite, i) - (json_int_t)rewrite->base->tensors->items[i].bytes;
    if (more == 0) return copy_small(path, INDEX, output, error);
    sah_status status = sah_json_read(path, MAX_INDEX, &index, error);
    json_t *total = json_object_get(json_object_get(index, "metadata"), "total_size");
    json_t *map = json_object_get(index, "weight_map"), *value;
    const char *name;
    void *next;
    json_object_foreach_safe(map, next, name, value)
    {
        if (sah_rewrite_drops(rewrite, name)) json_object_del(map, name);
    }
    if (status == SAH_OK && json_is_integer(total)) json_integer_set(total, json_integer_value(total) + more);
    if (status == SAH_OK) {
        text = sah_json_text(index, JSON_INDENT(2));
        status = text == NULL ? sah_fail_memory(error, "the index")
                              : write_text(INDEX, text, strlen(text), output, error);
    }
    free(text);
    json_decref(index);
    return status;
}

static sah_status write_config(const sah_rewrite *rewrite, const char *path, sah_output *output,
                               sah_error *error)
{
    char *text;
    if (sah_rewrite_dropped_bytes(rewrite) == 0) return copy_small(path, "config.json", output, error);
    sah_status status = sah_rewrite_config(rewrite, path, &text, error);
    if (status == SAH_OK) status = write_text("config.json", text, strlen(text), output, error);
    free(text);
    return status;
}

static bool ends_in(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

/* Weights, in this or another format, and their indices: what is copied beside them must say nothing of the
 * old ones. */
static bool is_weights(const char *name)
{
    static const char *const SUFFIXES[] = {".safetensors", ".bin",        ".pt",   ".pth",   ".ckpt",
                                           ".h5",          ".msgpack",    ".ot",   ".gguf",  ".onnx",
                                           ".npz",         ".index.json", ".part", ".tflite"};
    for (size_t i = 0; i < sizeof SUFFIXES / sizeof *SUFFIXES; i++) {
        if (ends_in(name, SUFFIXES[i])) return true;
    }
    return false;
}

/* Regular files that are not hidden: config, tokenizer, template, licence and the like. */
static sah_status copy_rest(const sah_rewrite *rewrite, sah_output *output, sah_error *error)
{
    const sah_checkpoint *base = rewrite->base;
    sah_status status = SAH_OK;
    struct dirent *found;
    DIR *directory = opendir(base->path);
    if (directory == NULL) return sah_fail_errno(error, "cannot list", base->path);
    while (status == SAH_OK && (found = readdir(directory)) != NULL) {
        const char *name = found->d_name;
        struct stat there;
        sah_text path = {0};
        sah_text_addf(&path, "%s/%s", base->path, name);
        if (path.failed) {
            status = sah_fail_memory(error, "a path");
        } else if (name[0] != '.' && stat(path.data, &there) == 0 && S_ISREG(there.st_mode)) {
            bool sharded = strcmp(file_name(&base->tensors->files[0]), "model.safetensors") != 0;
            if (strcmp(name, INDEX) == 0 && sharded)
                status = write_index(rewrite, path.data, output, error);
            else if (strcmp(name, "config.json") == 0)
                status = write_config(rewrite, path.data, output, error);
            else if (!is_weights(name) && strcmp(name, PROVENANCE) != 0)
                status = copy_small(path.data, name, output, error);
        }
        free(path.data);
    }
    closedir(directory);
    return status;
}

sah_status sah_rewrite_directory(sah_rewrite *rewrite, sah_output *output, sah_error *error)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    sah_status status = copy_rest(rewrite, output, error);
    if (tensors->is_torch && status == SAH_OK) status = sah_rewrite_torch(rewrite, output, error);
    for (size_t i = 0; !tensors->is_torch && i < tensors->n_files && status == SAH_OK; i++)
        status = copy_shard(rewrite, &tensors->files[i], output, error);
    if (status != SAH_OK) return status;
    return write_text(PROVENANCE, rewrite->provenance, strlen(rewrite->provenance), output, error);
}
