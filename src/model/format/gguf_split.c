/* SPDX-License-Identifier: Apache-2.0 */
/* A GGUF model in several files, as llama.cpp's gguf-split makes them: NAME-00001-of-00003.gguf and so on. The first
 * has the metadata, each its own tensors, and all have split.no (from 0), split.count and split.tensors.count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/gguf_split.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

enum { MAX_PARTS = 9999, SUFFIX_BYTES = 32 };

static void suffix_of(int64_t part, int64_t n, char out[SUFFIX_BYTES])
{
    snprintf(out, SUFFIX_BYTES, "-%05d-of-%05d.gguf", (int)part + 1, (int)n);
}

/* The path without the suffix that part `part` of `n` has; an error where it has none. */
static sah_status prefix_of(const char *path, int64_t part, int64_t n, size_t *length, sah_error *error)
{
    char suffix[SUFFIX_BYTES];
    suffix_of(part, n, suffix);
    const size_t whole = strlen(path), end = strlen(suffix);
    if (whole < end || strcmp(path + whole - end, suffix) != 0) {
        return sah_fail(error, SAH_FAILED,
                        "%s: part %d of a model in %d files: its name must end in %s, so that the others are "
                        "found by theirs",
                        path, (int)part + 1, (int)n, suffix);
    }
    *length = whole - end;
    return SAH_OK;
}

/* split.no and split.count; 0 of 1 in a file that is the whole model. */
static sah_status read_place(const sah_gguf *gguf, int64_t *part, int64_t *n, sah_error *error)
{
    sah_status status = sah_gguf_int(gguf, "split.count", 1, 0, MAX_PARTS, n, error);
    if (status != SAH_OK) return status;
    if (*n == 0) *n = 1; /* what is written where a model was not split after all */
    return sah_gguf_int(gguf, "split.no", 0, 0, *n - 1, part, error);
}

/* Moves the file and the tensors of a part behind those that `out` has. */
static sah_status append(sah_gguf *out, sah_gguf *part, sah_error *error)
{
    sah_tensors *to = &out->tensors, *from = &part->tensors;
    sah_status status = SAH_OK;
    const size_t file = to->n_files;
    to->files[to->n_files++] = from->files[0];
    from->n_files = 0;
    for (size_t i = 0; i < from->n && status == SAH_OK; i++) {
        sah_tensor tensor = from->items[i];
        tensor.file = file;
        status = sah_tensors_add(to, from->items[i].name, strlen(from->items[i].name), &tensor, error);
    }
    for (size_t i = 0; i + 1 < from->unsupported.n && status == SAH_OK; i += 2) {
        const char *name = from->unsupported.items[i];
        status = sah_tensors_add_unsupported(to, name, strlen(name), from->unsupported.items[i + 1], error);
    }
    return status;
}

/* Opens part `part` of `n` and adds it. The first part's metadata is the model's. */
static sah_status add_part(const char *path, size_t prefix, int64_t part, int64_t n, sah_gguf *out,
                           sah_error *error)
{
    char suffix[SUFFIX_BYTES];
    int64_t number = 0, count = 0;
    sah_gguf opened = {0};
    sah_text name = {0};
    suffix_of(part, n, suffix);
    sah_text_add(&name, path, prefix);
    sah_text_adds(&name, suffix);
    sah_status status = name.failed ? sah_fail_memory(error, "a path") : SAH_OK;
    if (status == SAH_OK) status = sah_gguf_open_file(name.data, &opened, error);
    if (status == SAH_OK) status = read_place(&opened, &number, &count, error);
    if (status == SAH_OK && (number != part || count != n)) {
        status = sah_fail(error, SAH_FAILED, "%s: says that it is part %d of %d", name.data, (int)number + 1,
                          (int)count);
    }
    if (status == SAH_OK) status = append(out, &opened, error);
    if (status == SAH_OK && part == 0) {
        out->version = opened.version;
        out->alignment = opened.alignment;
        out->data_offset = opened.data_offset;
        out->header_end = opened.header_end;
        out->values = opened.values;
        out->n_values = opened.n_values;
        opened.values = NULL;
    }
    sah_gguf_close(&opened);
    free(name.data);
    return status;
}

static sah_status open_parts(const char *path, size_t prefix, int64_t n, sah_gguf *out, sah_error *error)
{
    int64_t wanted;
    sah_status status = SAH_OK;
    out->tensors.files = sah_alloc((size_t)n, sizeof *out->tensors.files);
    if (out->tensors.files == NULL) return sah_fail_memory(error, "the list of files");
    for (int64_t part = 0; part < n && status == SAH_OK; part++)
        status = add_part(path, prefix, part, n, out, error);
    if (status != SAH_OK) return status;
    const int64_t have = (int64_t)(out->tensors.n + out->tensors.unsupported.n / 2);
    status = sah_gguf_int(out, "split.tensors.count", have, 0, INT64_MAX, &wanted, error);
    if (status == SAH_OK && wanted != have) {
        status = sah_fail(error, SAH_FAILED, "%s: its %d parts hold %lld tensors instead of %lld",
                          out->tensors.files[0].path, (int)n, (long long)have, (long long)wanted);
    }
    return status == SAH_OK ? sah_tensors_finish(&out->tensors, error) : status;
}

sah_status sah_gguf_open(const char *path, sah_gguf *out, sah_error *error)
{
    int64_t part, n;
    size_t prefix = 0;
    sah_status status = sah_gguf_open_file(path, out, error);
    if (status != SAH_OK) return status;
    status = read_place(out, &part, &n, error);
    if (status == SAH_OK && n == 1) return SAH_OK;
    if (status == SAH_OK) status = prefix_of(path, part, n, &prefix, error);
    sah_gguf_close(out);
    if (status == SAH_OK) status = open_parts(path, prefix, n, out, error);
    if (status != SAH_OK) sah_gguf_close(out);
    return status;
}
