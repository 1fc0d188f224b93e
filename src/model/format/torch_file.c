/* SPDX-License-Identifier: Apache-2.0 */
/* Format: torch/serialization.py and torch/_utils.py. The container holds, in one folder, data.pkl, byteorder
 * and data/KEY, a storage each. In the pickle a tensor is a call of _rebuild_tensor_v2(storage, offset, sizes,
 * strides, ...), all counted in values, or of _rebuild_tensor_v3, which has the type as its seventh argument; a
 * storage is ("storage", class, KEY, device, values). */
#include "model/format/torch_file.h"

#include <stdlib.h>
#include <string.h>

#include "model/format/pickle.h"
#include "model/format/zip.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

/* Every name that may occur in the pickle. */
enum {
    ORDERED_DICT,
    TENSOR,
    TENSOR_V2,
    TENSOR_V3,
    PARAMETER,
    PARAMETER_WITH_STATE,
    FROM_TYPE,
    SIZE,
    FIRST_TYPE = SIZE + 3
};
static const char *const NAMES[] = {
    [ORDERED_DICT] = "collections OrderedDict",
    [TENSOR] = "torch._utils _rebuild_tensor",
    [TENSOR_V2] = "torch._utils _rebuild_tensor_v2",
    [TENSOR_V3] = "torch._utils _rebuild_tensor_v3",
    [PARAMETER] = "torch._utils _rebuild_parameter",
    [PARAMETER_WITH_STATE] = "torch._utils _rebuild_parameter_with_state",
    [FROM_TYPE] = "torch._tensor _rebuild_from_type_v2",
    [SIZE] = "torch Size",
    "torch.nn.parameter Parameter",
    "torch Tensor",
    [FIRST_TYPE] = "torch FloatStorage",
    "torch HalfStorage",
    "torch BFloat16Storage",
    "torch ByteStorage",
    "torch DoubleStorage",
    "torch LongStorage",
    "torch IntStorage",
    "torch ShortStorage",
    "torch CharStorage",
    "torch BoolStorage",
    "torch.storage UntypedStorage",
    "torch float32",
    "torch float16",
    "torch bfloat16",
    "torch uint8",
    "torch float8_e4m3fn",
    "torch float8_e5m2",
    "torch float8_e8m0fnu",
    "torch float64",
    "torch int64",
    "torch int32",
    "torch int16",
    "torch int8",
    "torch bool",
    "torch uint16",
    "torch uint32",
    "torch uint64",
};
enum { N_NAMES = sizeof NAMES / sizeof *NAMES };

/* What the names from FIRST_TYPE on mean. */
static const struct element {
    sah_dtype type; /* SAH_DTYPES: left out, under the name */
    size_t bytes;
    const char *name;
} ELEMENTS[N_NAMES - FIRST_TYPE] = {
    {SAH_F32, 4, NULL},     {SAH_F16, 2, NULL},      {SAH_BF16, 2, NULL},    {SAH_U8, 1, NULL},
    {SAH_DTYPES, 8, "F64"}, {SAH_DTYPES, 8, "I64"},  {SAH_DTYPES, 4, "I32"}, {SAH_DTYPES, 2, "I16"},
    {SAH_DTYPES, 1, "I8"},  {SAH_DTYPES, 1, "BOOL"}, {SAH_U8, 1, NULL},      {SAH_F32, 4, NULL},
    {SAH_F16, 2, NULL},     {SAH_BF16, 2, NULL},     {SAH_U8, 1, NULL},      {SAH_F8_E4M3, 1, NULL},
    {SAH_F8_E5M2, 1, NULL}, {SAH_F8_E8M0, 1, NULL},  {SAH_DTYPES, 8, "F64"}, {SAH_DTYPES, 8, "I64"},
    {SAH_DTYPES, 4, "I32"}, {SAH_DTYPES, 2, "I16"},  {SAH_DTYPES, 1, "I8"},  {SAH_DTYPES, 1, "BOOL"},
    {SAH_DTYPES, 2, "U16"}, {SAH_DTYPES, 4, "U32"},  {SAH_DTYPES, 8, "U64"},
};

/* What the steps below share. */
typedef struct reader {
    sah_tensors *out;
    size_t file;
    const sah_mapfile *map;
    sah_zip zip;
    const char *folder; /* of the container, not NUL-terminated */
    size_t folder_length;
    const char *name; /* of the tensor being read */
    int shown; /* and how much of it to show */
    size_t copied; /* bytes, of views that are not contiguous */
    sah_error *error;
} reader;

static sah_status fail(const reader *r, const char *what)
{
    return sah_fail(r->error, SAH_FAILED, "%s: tensor %.*s %s", r->map->path, r->shown, r->name, what);
}

static sah_status find_entry(const reader *r, const char *name, size_t length, const sah_zip_entry **out)
{
    sah_text path = {0};
    sah_text_add(&path, r->folder, r->folder_length);
    sah_text_adds(&path, "/");
    sah_text_add(&path, name, length);
    *out = path.failed ? NULL : sah_zip_find(&r->zip, path.data, path.size);
    free(path.data);
    return path.failed ? sah_fail_memory(r->error, r->map->path) : SAH_OK;
}

/* ---- A tensor ------------------------------------------------------------------------------------------ */

/* A tensor's place as the pickle has it, counted in values. */
typedef struct view {
    const struct element *element;
    const sah_zip_entry *storage;
    size_t offset; /* the first value's */
    int n_dims;
    size_t dims[SAH_MAX_DIMS], strides[SAH_MAX_DIMS];
} view;

static bool size_of(const sah_pickle_value *value, size_t *out)
{
    if (value->kind != SAH_PICKLE_INT || value->integer < 0) return false;
    *out = (size_t)value->integer;
    return true;
}

/* A tuple of sizes, bare or as torch.Size. */
static const sah_pickle_group *tuple_of(const sah_pickle_value *value)
{
    if (value->kind == SAH_PICKLE_TUPLE) return value->group;
    if (value->kind != SAH_PICKLE_CALL || value->group->callee != SIZE || value->group->arguments->n != 1)
        return NULL;
    value = &value->group->arguments->items[0];
    return value->kind == SAH_PICKLE_TUPLE ? value->group : NULL;
}

static const struct element *element_of(const sah_pickle_value *value)
{
    if (value->kind != SAH_PICKLE_GLOBAL || value->integer < FIRST_TYPE) return NULL;
    return &ELEMENTS[value->integer - FIRST_TYPE];
}

/* ("storage", class, key, device, values) */
static sah_status read_storage(const reader *r, const sah_pickle_value *value, view *out)
{
    const sah_pickle_value *id = value->kind == SAH_PICKLE_OUTSIDE ? &value->group->items[0] : NULL;
    size_t values, bytes;
    if (id == NULL || id->kind != SAH_PICKLE_TUPLE || id->group->n < 5) return fail(r, "has no storage");
    const sah_pickle_value *items = id->group->items;
    out->element = element_of(&items[1]);
    if (items[0].kind != SAH_PICKLE_STRING || items[0].length != 7 ||
        memcmp(items[0].text, "storage", 7) != 0 || out->element == NULL ||
        items[2].kind != SAH_PICKLE_STRING || !size_of(&items[4], &values))
        return fail(r, "has no storage that is known here");
    sah_text name = {0};
    sah_text_adds(&name, "data/");
    sah_text_add(&name, items[2].text, items[2].length);
    sah_status status = name.failed ? sah_fail_memory(r->error, r->map->path)
                                    : find_entry(r, name.data, name.size, &out->storage);
    free(name.data);
    if (status != SAH_OK) return status;
    if (out->storage == NULL) return fail(r, "has a storage that is not in the file");
    if (!sah_mul(values, out->element->bytes, &bytes) || bytes != out->storage->size)
        return fail(r, "has a storage of another size than the file says: cut short?");
    return SAH_OK;
}

/* Sizes and strides; false when there are more dimensions than tensors have here. */
static sah_status read_sizes(const reader *r, const sah_pickle_value *sizes, const sah_pickle_value *strides,
                             view *out, bool *few)
{
    const sah_pickle_group *size = tuple_of(sizes), *stride = tuple_of(strides);
    if (size == NULL || stride == NULL || size->n != stride->n) return fail(r, "has no valid shape");
    *few = size->n <= SAH_MAX_DIMS;
    if (!*few) return SAH_OK;
    out->n_dims = (int)size->n;
    for (int i = 0; i < out->n_dims; i++) {
        if (!size_of(&size->items[i], &out->dims[i]) || !size_of(&stride->items[i], &out->strides[i]))
            return fail(r, "has no valid shape");
    }
    return SAH_OK;
}

/* Values the tensor has, and whether they all lie in the storage. */
static bool fits(const view *v, size_t *n)
{
    size_t last = v->offset, step, end;
    *n = 1;
    for (int i = 0; i < v->n_dims; i++) {
        if (!sah_mul(*n, v->dims[i], n)) return false;
    }
    if (*n == 0) return true;
    for (int i = 0; i < v->n_dims; i++) {
        if (!sah_mul(v->dims[i] - 1, v->strides[i], &step) || !sah_add(last, step, &last)) return false;
    }
    return sah_add(last, 1, &end) && end <= v->storage->size / v->element->bytes;
}

static bool is_contiguous(const view *v)
{
    size_t expected = 1;
    for (int i = v->n_dims; i-- > 0;) {
        if (v->dims[i] != 1 && v->strides[i] != expected) return false;
        expected *= v->dims[i];
    }
    return true;
}

/* The values in their order, for a view that is transposed or leaves some out. */
static void gather(const view *v, size_t n, uint8_t *out)
{
    const size_t bytes = v->element->bytes;
    for (size_t i = 0; i < n; i++) {
        size_t rest = i, at = v->offset;
        for (int d = v->n_dims; d-- > 0; rest /= v->dims[d]) at += rest % v->dims[d] * v->strides[d];
        memcpy(out + i * bytes, v->storage->data + at * bytes, bytes);
    }
}

static sah_status leave_out(const reader *r, size_t length, const char *why)
{
    return sah_tensors_add_unsupported(r->out, r->name, length, why, r->error);
}

static sah_status add_view(reader *r, const view *v, size_t length)
{
    sah_tensor tensor = {.type = v->element->type, .n_dims = v->n_dims, .file = r->file};
    size_t n;
    if (!fits(v, &n)) return fail(r, "reaches past the end of its storage");
    if (v->element->type == SAH_DTYPES) return leave_out(r, length, v->element->name);
    memcpy(tensor.dims, v->dims, sizeof tensor.dims);
    tensor.data = v->storage->data;
    if (n > v->storage->size / v->element->bytes)
        return leave_out(r, length, "a view that repeats its numbers");
    tensor.bytes = n * v->element->bytes;
    if (n > 0) tensor.data += v->offset * v->element->bytes;
    tensor.offset = (size_t)(tensor.data - r->map->data);
    if (n > 0 && !is_contiguous(v)) {
        if (tensor.bytes > r->map->size - r->copied)
            return fail(r, "is one view too many: together they are larger than the file");
        r->copied += tensor.bytes;
        uint8_t *copy = sah_tensors_alloc(r->out, n, v->element->bytes);
        if (copy == NULL) return sah_fail_memory(r->error, "a tensor");
        gather(v, n, copy);
        tensor.data = copy;
    }
    return sah_tensors_add(r->out, r->name, length, &tensor, r->error);
}

/* The call that makes the tensor itself, inside those that make a parameter of it; NULL: there is none. What
 * holds what is bounded, for a value may hold itself. */
static const sah_pickle_group *innermost(const sah_pickle_value *value, size_t *callee)
{
    const sah_pickle_group *call = value->kind == SAH_PICKLE_CALL ? value->group : NULL;
    const sah_pickle_group *arguments = call != NULL ? call->arguments : NULL;
    if (call == NULL) return NULL;
    *callee = call->callee;
    for (int depth = 0; depth < 4 && arguments->n > 0; depth++) {
        const sah_pickle_value *first = &arguments->items[0];
        if (*callee == TENSOR || *callee == TENSOR_V2 || *callee == TENSOR_V3) return arguments;
        if (*callee == FROM_TYPE) { /* (function, class, arguments, state) */
            if (first->kind != SAH_PICKLE_GLOBAL || arguments->n < 3 ||
                arguments->items[2].kind != SAH_PICKLE_TUPLE)
                return NULL;
            *callee = (size_t)first->integer;
            arguments = arguments->items[2].group;
        } else if (*callee == PARAMETER || *callee == PARAMETER_WITH_STATE) { /* (tensor, ...) */
            if (first->kind != SAH_PICKLE_CALL) return NULL;
            *callee = first->group->callee;
            arguments = first->group->arguments;
        } else {
            return NULL;
        }
    }
    return NULL;
}

static sah_status read_tensor(reader *r, size_t length, const sah_pickle_value *value)
{
    size_t callee = 0;
    view v = {0};
    bool few = true;
    const sah_pickle_group *arguments = innermost(value, &callee);
    if (arguments == NULL) return leave_out(r, length, "no tensor");
    if (arguments->n < 4 || !size_of(&arguments->items[1], &v.offset))
        return fail(r, "is described incompletely");
    sah_status status = read_storage(r, &arguments->items[0], &v);
    if (status == SAH_OK) status = read_sizes(r, &arguments->items[2], &arguments->items[3], &v, &few);
    if (status != SAH_OK) return status;
    if (!few) return leave_out(r, length, "more than four dimensions");
    if (callee == TENSOR_V3) {
        v.element = arguments->n > 6 ? element_of(&arguments->items[6]) : NULL;
        if (v.element == NULL) return fail(r, "has a type that is not known");
    }
    return add_view(r, &v, length);
}

/* ---- The file ------------------------------------------------------------------------------------------ */

static sah_status read_dictionary(reader *r, const sah_pickle_value *root)
{
    const bool is_dictionary = root->kind == SAH_PICKLE_DICT ||
                               (root->kind == SAH_PICKLE_CALL && root->group->callee == ORDERED_DICT);
    if (!is_dictionary) {
        return sah_fail(r->error, SAH_FAILED, "%s: holds something other than a dictionary of tensors",
                        r->map->path);
    }
    sah_status status = SAH_OK;
    for (size_t i = 0; i + 1 < root->group->n && status == SAH_OK; i += 2) {
        const sah_pickle_value *key = &root->group->items[i];
        if (key->kind != SAH_PICKLE_STRING || key->length == 0 ||
            memchr(key->text, '\0', key->length) != NULL)
            return sah_fail(r->error, SAH_FAILED, "%s: holds something without a valid name", r->map->path);
        r->name = key->text;
        r->shown = (int)(key->length < 100 ? key->length : 100);
        status = read_tensor(r, key->length, key + 1);
    }
    return status;
}

/* The folder that holds data.pkl: the first part of every name. */
static const sah_zip_entry *find_pickle(reader *r)
{
    static const char PICKLE[] = "/data.pkl";
    const size_t length = sizeof PICKLE - 1;
    for (size_t i = 0; i < r->zip.n; i++) {
        const sah_zip_entry *entry = &r->zip.entries[i];
        if (entry->length <= length || memcmp(entry->name + entry->length - length, PICKLE, length) != 0 ||
            memchr(entry->name, '/', entry->length - length) != NULL)
            continue;
        r->folder = entry->name;
        r->folder_length = entry->length - length;
        return entry;
    }
    return NULL;
}

static sah_status read_container(reader *r)
{
    sah_pickle pickle;
    const sah_zip_entry *entry = find_pickle(r);
    if (entry == NULL)
        return sah_fail(r->error, SAH_FAILED, "%s: a zip container, but not one of PyTorch's: no data.pkl",
                        r->map->path);
    const sah_zip_entry *order;
    sah_status status = find_entry(r, "byteorder", 9, &order);
    if (status != SAH_OK) return status;
    if (order != NULL && (order->size != 6 || memcmp(order->data, "little", 6) != 0))
        return sah_fail(r->error, SAH_NOT_SUPPORTED, "%s: a big-endian file, which is not supported",
                        r->map->path);
    status = sah_pickle_read(entry->data, entry->size, r->map->path, NAMES, N_NAMES, &pickle, r->error);
    if (status != SAH_OK) return status;
    status = read_dictionary(r, &pickle.root);
    sah_pickle_free(&pickle);
    return status;
}

/* Before version 1.6: pickles one behind the other, the first of them a number. */
static bool is_old(const sah_mapfile *file)
{
    static const uint8_t MAGIC[] = {0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19};
    return file->size > 2 + sizeof MAGIC && file->data[0] == 0x80 &&
           memcmp(file->data + 2, MAGIC, sizeof MAGIC) == 0;
}

bool sah_torch_is(const sah_mapfile *file)
{
    return is_old(file) || (file->size >= 4 && memcmp(file->data, "PK\3\4", 4) == 0);
}

sah_status sah_torch_read(sah_tensors *out, size_t file, sah_error *error)
{
    reader r = {.out = out, .file = file, .map = &out->files[file], .error = error};
    if (is_old(r.map)) {
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: in the form of PyTorch before 1.6, which is not supported: load it and save "
                        "it again, preferably as safetensors",
                        r.map->path);
    }
    out->is_torch = true;
    sah_status status = sah_zip_open(r.map, &r.zip, error);
    if (status == SAH_OK) status = read_container(&r);
    sah_zip_close(&r.zip);
    return status;
}
