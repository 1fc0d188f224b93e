/* SPDX-License-Identifier: Apache-2.0 */
/* Values: making them, truth, equality, order, length. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/template/jinja_value.h"
#include "model/template/jinja_exec.h"
#include "model/template/jinja_iterate.h"
#include "model/template/jinja_print.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/utf8.h"

/* Bounds on a run. Published templates take some hundred steps a message. */
enum { MOST_STEPS = 4000000, DEEPEST = 1500, BYTES_A_STEP = 256 };

/* ---- Failing and bounds -------------------------------------------------------------------------------- */

sah_jv sah_jr_fail(sah_jrun *run, const char *format, ...)
{
    if (run->failed) return sah_jv_missing();
    char message[768];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    run->failed = true;
    sah_fail(run->error, SAH_FAILED, "line %d: %s", run->line, message);
    return sah_jv_missing();
}

sah_jv sah_jr_unsupported(sah_jrun *run, const char *what, sah_jtext name)
{
    return sah_jr_fail(run, "the %s '%.*s' is not supported", what, (int)name.size, name.data);
}

sah_jv sah_jr_out_of_memory(sah_jrun *run)
{
    if (run->failed) return sah_jv_missing();
    if (run->arena.exhausted)
        return sah_jr_fail(run, "it makes more than %zu MB of text and values", run->arena.limit >> 20);
    run->failed = true;
    sah_fail_memory(run->error, "rendering the chat template");
    return sah_jv_missing();
}

bool sah_jr_step(sah_jrun *run, size_t n)
{
    if (run->failed) return false;
    if (n <= MOST_STEPS && run->steps + n <= MOST_STEPS) {
        run->steps += n;
        return true;
    }
    sah_jr_fail(run, "it takes more than %d steps", MOST_STEPS);
    return false;
}

bool sah_jr_deeper(sah_jrun *run)
{
    if (++run->depth <= DEEPEST) return !run->failed;
    sah_jr_fail(run, "it recurses too deeply");
    return false;
}

/* ---- Making values ------------------------------------------------------------------------------------- */

const char *sah_jv_type(sah_jv v)
{
    static const char *const names[] = {
        [SAH_J_MISSING] = "missing",   [SAH_J_UNDEFINED] = "Undefined",
        [SAH_J_NONE] = "NoneType",     [SAH_J_BOOL] = "bool",
        [SAH_J_INT] = "int",           [SAH_J_FLOAT] = "float",
        [SAH_J_TEXT] = "str",          [SAH_J_LIST] = "list",
        [SAH_J_TUPLE] = "tuple",       [SAH_J_DICT] = "dict",
        [SAH_J_RANGE] = "range",       [SAH_J_NAMESPACE] = "Namespace",
        [SAH_J_LOOP] = "LoopContext",  [SAH_J_MACRO] = "Macro",
        [SAH_J_FUNCTION] = "function", [SAH_J_METHOD] = "builtin_function_or_method",
    };
    if (v.kind == SAH_J_VIEW) return v.list->view;
    if (v.kind == SAH_J_ITERATOR) return ((const sah_jiterator *)v.iterator)->type;
    return names[v.kind];
}

void *sah_jr_alloc(sah_jrun *run, size_t n, size_t size)
{
    void *memory = sah_arena_alloc(&run->arena, n, size);
    if (memory == NULL) sah_jr_out_of_memory(run);
    return memory;
}

sah_jv sah_jr_text(sah_jrun *run, sah_jtext text)
{
    sah_jtext *copy = sah_jr_alloc(run, 1, sizeof *copy);
    if (copy == NULL) return sah_jv_missing();
    *copy = text;
    return (sah_jv){.kind = SAH_J_TEXT, .text = copy};
}

sah_jv sah_jr_text_c(sah_jrun *run, const char *string)
{
    return sah_jr_text(run, sah_jtext_c(string));
}

/* Room for n more bytes. */
static bool make_room(sah_jrun *run, sah_jbuffer *buffer, size_t n)
{
    if (n <= buffer->capacity - buffer->n) return true;
    size_t capacity = buffer->capacity < 64 ? 64 : 2 * buffer->capacity, need;
    if (!sah_add(buffer->n, n, &need)) need = SIZE_MAX;
    if (capacity < need) capacity = need;
    char *grown = sah_arena_bytes(&run->arena, capacity);
    if (grown == NULL) {
        sah_jr_out_of_memory(run);
        return false;
    }
    if (buffer->n > 0) memcpy(grown, buffer->data, buffer->n);
    buffer->data = grown;
    buffer->capacity = capacity;
    return true;
}

bool sah_jr_add(sah_jrun *run, sah_jbuffer *buffer, const char *data, size_t n)
{
    if (!make_room(run, buffer, n)) return false;
    if (n > 0) memcpy(buffer->data + buffer->n, data, n);
    buffer->n += n;
    return sah_jr_step(run, n / BYTES_A_STEP);
}

bool sah_jr_add_text(sah_jrun *run, sah_jbuffer *buffer, sah_jtext text)
{
    return sah_jr_add(run, buffer, text.data, text.size);
}

bool sah_jr_add_code(sah_jrun *run, sah_jbuffer *buffer, uint32_t code)
{
    char bytes[4];
    return sah_jr_add(run, buffer, bytes, sah_utf8_put(code, bytes));
}

bool sah_jr_add_c(sah_jrun *run, sah_jbuffer *buffer, const char *string)
{
    return sah_jr_add(run, buffer, string, strlen(string));
}

bool sah_jr_add_repeated(sah_jrun *run, sah_jbuffer *buffer, sah_jtext text, int64_t n)
{
    size_t all;
    if (run->failed || n <= 0 || text.size == 0) return !run->failed;
    if (!sah_mul((size_t)n, text.size, &all)) all = SIZE_MAX;
    if (!make_room(run, buffer, all)) return false;
    char *to = buffer->data + buffer->n;
    memcpy(to, text.data, text.size);
    for (size_t done = text.size, more; done < all; done += more) {
        more = done < all - done ? done : all - done;
        memcpy(to + done, to, more);
    }
    buffer->n += all;
    return sah_jr_step(run, all / BYTES_A_STEP);
}

sah_jv sah_jr_buffer_text(sah_jrun *run, const sah_jbuffer *buffer)
{
    if (run->failed || !sah_jr_step(run, buffer->n / BYTES_A_STEP)) return sah_jv_missing();
    return sah_jr_text(run, sah_jtext_of(buffer->data, buffer->n));
}

sah_jv sah_jr_list(sah_jrun *run, sah_jkind kind, size_t capacity)
{
    sah_jlist *list = sah_jr_alloc(run, 1, sizeof *list);
    if (list == NULL) return sah_jv_missing();
    if (capacity > 0) {
        list->items = sah_jr_alloc(run, capacity, sizeof *list->items);
        if (list->items == NULL) return sah_jv_missing();
        list->capacity = capacity;
    }
    return (sah_jv){.kind = kind, .list = list};
}

/* Room for one more in an array of values. */
static bool grow(sah_jrun *run, sah_jv **items, size_t n, size_t capacity)
{
    sah_jv *grown = sah_jr_alloc(run, capacity, sizeof *grown);
    if (grown == NULL) return false;
    if (n > 0) memcpy(grown, *items, n * sizeof *grown);
    *items = grown;
    return true;
}

bool sah_jr_push(sah_jrun *run, sah_jv value, sah_jv item)
{
    if (run->failed) return false;
    sah_jlist *list = value.list;
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity == 0 ? 4 : 2 * list->capacity;
        if (!grow(run, &list->items, list->n, capacity)) return false;
        list->capacity = capacity;
    }
    list->items[list->n++] = item;
    return true;
}

sah_jv sah_jr_pair(sah_jrun *run, sah_jv a, sah_jv b)
{
    sah_jv pair = sah_jr_list(run, SAH_J_TUPLE, 2);
    return !run->failed && sah_jr_push(run, pair, a) && sah_jr_push(run, pair, b) ? pair : sah_jv_missing();
}

/* ---- Dicts --------------------------------------------------------------------------------------------- */

sah_jv sah_jr_dict(sah_jrun *run)
{
    sah_jdict *dict = sah_jr_alloc(run, 1, sizeof *dict);
    return dict != NULL ? (sah_jv){.kind = SAH_J_DICT, .dict = dict} : sah_jv_missing();
}

bool sah_jr_hashable(sah_jrun *run, sah_jv key)
{
    if (key.kind == SAH_J_TUPLE) {
        bool all = sah_jr_deeper(run);
        for (size_t i = 0; i < key.list->n && all; i++) all = sah_jr_hashable(run, key.list->items[i]);
        run->depth--;
        return all;
    }
    if (key.kind != SAH_J_LIST && key.kind != SAH_J_DICT) return !run->failed;
    sah_jr_fail(run, "unhashable type: '%s'", sah_jv_type(key));
    return false;
}

static sah_jv *find(sah_jrun *run, const sah_jdict *dict, sah_jv key)
{
    if (!sah_jr_step(run, dict->n / 8)) return NULL;
    for (size_t i = 0; i < dict->n; i++)
        if (sah_jr_equal(run, dict->keys[i], key)) return &dict->values[i];
    return NULL;
}

const sah_jv *sah_jr_dict_get(sah_jrun *run, sah_jv dict, sah_jv key)
{
    return sah_jr_hashable(run, key) ? find(run, dict.dict, key) : NULL;
}

const sah_jv *sah_jr_dict_get_text(sah_jv value, sah_jtext key)
{
    const sah_jdict *dict = value.dict;
    for (size_t i = 0; i < dict->n; i++)
        if (dict->keys[i].kind == SAH_J_TEXT && sah_jtext_same(*dict->keys[i].text, key))
            return &dict->values[i];
    return NULL;
}

bool sah_jr_dict_set(sah_jrun *run, sah_jv value, sah_jv key, sah_jv item)
{
    sah_jdict *dict = value.dict;
    if (run->failed || !sah_jr_hashable(run, key)) return false;
    sah_jv *there = find(run, dict, key);
    if (run->failed) return false;
    if (there != NULL) {
        *there = item;
        return true;
    }
    if (dict->n == dict->capacity) {
        const size_t capacity = dict->capacity == 0 ? 4 : 2 * dict->capacity;
        if (!grow(run, &dict->keys, dict->n, capacity) || !grow(run, &dict->values, dict->n, capacity))
            return false;
        dict->capacity = capacity;
    }
    dict->keys[dict->n] = key;
    dict->values[dict->n++] = item;
    return true;
}

/* ---- Undefined values ---------------------------------------------------------------------------------- */

static sah_jv make_undefined(sah_jrun *run, sah_jundefined undefined)
{
    sah_jundefined *copy = sah_jr_alloc(run, 1, sizeof *copy);
    if (copy == NULL) return sah_jv_missing();
    *copy = undefined;
    return (sah_jv){.kind = SAH_J_UNDEFINED, .undefined = copy};
}

sah_jv sah_jr_undefined(sah_jrun *run, sah_jtext name)
{
    return make_undefined(run, (sah_jundefined){.name = name});
}

sah_jv sah_jr_undefined_hint(sah_jrun *run, const char *hint)
{
    return make_undefined(run, (sah_jundefined){.hint = hint});
}

sah_jv sah_jr_undefined_member(sah_jrun *run, sah_jv owner, sah_jv name)
{
    const bool element = name.kind != SAH_J_TEXT;
    return make_undefined(run, (sah_jundefined){.name = element ? sah_jr_str(run, name) : *name.text,
                                                .owner = sah_jv_type(owner),
                                                .element = element});
}

sah_jv sah_jr_use_undefined(sah_jrun *run, sah_jv v)
{
    const sah_jundefined *u = v.undefined;
    const int size = u->name.size < 200 ? (int)u->name.size : 200;
    if (u->hint != NULL) return sah_jr_fail(run, "%s", u->hint);
    if (u->owner == NULL) return sah_jr_fail(run, "'%.*s' is undefined", size, u->name.data);
    if (u->element) return sah_jr_fail(run, "a %s has no element %.*s", u->owner, size, u->name.data);
    return sah_jr_fail(run, "a %s has no attribute '%.*s'", u->owner, size, u->name.data);
}

sah_jv sah_jr_type_error(sah_jrun *run, sah_jv v, const char *format, ...)
{
    if (run->failed) return sah_jv_missing();
    if (v.kind == SAH_J_UNDEFINED) return sah_jr_use_undefined(run, v);
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return sah_jr_fail(run, "%s", message);
}

/* ---- Asking values ------------------------------------------------------------------------------------- */

bool sah_jr_length(sah_jrun *run, sah_jv v, size_t *out)
{
    *out = 0;
    switch (v.kind) {
    case SAH_J_UNDEFINED:
        return true;
    case SAH_J_TEXT:
        *out = v.text->length;
        return true;
    case SAH_J_LIST:
    case SAH_J_TUPLE:
    case SAH_J_VIEW:
        *out = v.list->n;
        return true;
    case SAH_J_DICT:
        *out = v.dict->n;
        return true;
    case SAH_J_RANGE:
        *out = v.range->n;
        return true;
    case SAH_J_LOOP: {
        bool known;
        const sah_jv length = sah_jr_loop_attribute(run, v.loop, sah_jtext_c("length"), &known);
        if (length.kind == SAH_J_INT) *out = (size_t)length.integer;
        return true;
    }
    default:
        return false;
    }
}

bool sah_jr_truth(sah_jrun *run, sah_jv v)
{
    size_t length;
    switch (v.kind) {
    case SAH_J_MISSING:
    case SAH_J_UNDEFINED:
    case SAH_J_NONE:
        return false;
    case SAH_J_BOOL:
        return v.truth;
    case SAH_J_INT:
        return v.integer != 0;
    case SAH_J_FLOAT:
        return v.real != 0;
    default:
        return !sah_jr_length(run, v, &length) || length > 0;
    }
}

static bool lists_equal(sah_jrun *run, const sah_jlist *a, const sah_jlist *b)
{
    bool same = a->n == b->n && sah_jr_deeper(run);
    for (size_t i = 0; same && a != b && i < a->n; i++) same = sah_jr_equal(run, a->items[i], b->items[i]);
    if (a->n == b->n) run->depth--;
    return same;
}

static bool dicts_equal(sah_jrun *run, const sah_jdict *a, const sah_jdict *b)
{
    bool same = a->n == b->n && sah_jr_deeper(run);
    for (size_t i = 0; same && a != b && i < a->n; i++) {
        const sah_jv *other = find(run, b, a->keys[i]);
        same = other != NULL && sah_jr_equal(run, a->values[i], *other);
    }
    if (a->n == b->n) run->depth--;
    return same;
}

bool sah_jr_equal(sah_jrun *run, sah_jv a, sah_jv b)
{
    if (!sah_jr_step(run, 1)) return false;
    if (sah_jv_is_number(a) && sah_jv_is_number(b)) {
        if (a.kind != SAH_J_FLOAT && b.kind != SAH_J_FLOAT) return sah_jv_integer(a) == sah_jv_integer(b);
        return sah_jv_number(a) == sah_jv_number(b);
    }
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case SAH_J_UNDEFINED:
    case SAH_J_NONE:
        return true;
    case SAH_J_TEXT:
        return sah_jr_step(run, a.text->size == b.text->size ? a.text->size / BYTES_A_STEP : 0) &&
               sah_jtext_same(*a.text, *b.text);
    case SAH_J_LIST:
    case SAH_J_TUPLE:
        return lists_equal(run, a.list, b.list);
    case SAH_J_DICT:
        return dicts_equal(run, a.dict, b.dict);
    case SAH_J_RANGE:
        return a.range->n == b.range->n &&
               (a.range->n == 0 ||
                (a.range->start == b.range->start && (a.range->n == 1 || a.range->step == b.range->step)));
    case SAH_J_METHOD:
        return a.method->builtin == b.method->builtin && sah_jr_equal(run, a.method->self, b.method->self);
    default: /* the same thing */
        return a.list == b.list;
    }
}

int sah_jr_compare(sah_jrun *run, sah_jv a, sah_jv b, const char *op)
{
    if (!sah_jr_step(run, 1)) return 0;
    if (sah_jv_is_number(a) && sah_jv_is_number(b)) {
        if (a.kind != SAH_J_FLOAT && b.kind != SAH_J_FLOAT)
            return (sah_jv_integer(a) > sah_jv_integer(b)) - (sah_jv_integer(a) < sah_jv_integer(b));
        return (sah_jv_number(a) > sah_jv_number(b)) - (sah_jv_number(a) < sah_jv_number(b));
    }
    if (a.kind == SAH_J_TEXT && b.kind == SAH_J_TEXT)
        return sah_jr_step(run, (a.text->size < b.text->size ? a.text->size : b.text->size) / BYTES_A_STEP)
                   ? sah_jtext_compare(*a.text, *b.text)
                   : 0;
    if (a.kind == b.kind && (a.kind == SAH_J_LIST || a.kind == SAH_J_TUPLE)) {
        int order = 0;
        if (sah_jr_deeper(run)) {
            for (size_t i = 0; i < a.list->n && i < b.list->n && order == 0 && !run->failed; i++)
                if (!sah_jr_equal(run, a.list->items[i], b.list->items[i]))
                    order = sah_jr_compare(run, a.list->items[i], b.list->items[i], op);
            if (order == 0) order = (a.list->n > b.list->n) - (a.list->n < b.list->n);
        }
        run->depth--;
        return order;
    }
    if (b.kind == SAH_J_UNDEFINED && a.kind != SAH_J_UNDEFINED) a = b;
    sah_jr_type_error(run, a, "'%s' not supported between instances of '%s' and '%s'", op, sah_jv_type(a),
                      sah_jv_type(b));
    return 0;
}

bool sah_jr_contains(sah_jrun *run, sah_jv container, sah_jv item)
{
    switch (container.kind) {
    case SAH_J_UNDEFINED:
        return false;
    case SAH_J_TEXT:
        if (item.kind != SAH_J_TEXT) {
            sah_jr_type_error(run, item, "'in <string>' requires string as left operand, not %s",
                              sah_jv_type(item));
            return false;
        }
        return sah_jr_step(run, container.text->size / BYTES_A_STEP) &&
               sah_jtext_find(*container.text, *item.text, 0) != SIZE_MAX;
    case SAH_J_DICT:
        return sah_jr_dict_get(run, container, item) != NULL;
    default:
        break;
    }
    if (!sah_jr_iterable(container)) {
        sah_jr_type_error(run, container, "argument of type '%s' is not iterable", sah_jv_type(container));
        return false;
    }
    sah_jiterator *iterator = sah_jr_iterate(run, container);
    sah_jv each;
    while (iterator != NULL && sah_jr_next(run, iterator, &each))
        if (sah_jr_equal(run, each, item)) return !run->failed;
    return false;
}
