/* SPDX-License-Identifier: Apache-2.0 */
/* Format: Python's pickletools.py, which describes every instruction of the stack machine, protocols 0 to 5. */
#include "model/format/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

enum { MAX_PICKLE = 32 << 20 /* bytes; a hundred or two a tensor */, MAX_PROTOCOL = 5, SHOWN = 60 };

/* The instructions, by the names of pickletools. */
enum {
    MARK = '(',
    STOP = '.',
    NONE = 'N',
    BININT = 'J',
    BININT1 = 'K',
    BININT2 = 'M',
    BINFLOAT = 'G',
    BINSTRING = 'T',
    SHORT_BINSTRING = 'U',
    BINUNICODE = 'X',
    EMPTY_TUPLE = ')',
    TUPLE = 't',
    EMPTY_LIST = ']',
    APPEND = 'a',
    APPENDS = 'e',
    EMPTY_DICT = '}',
    SETITEM = 's',
    SETITEMS = 'u',
    GLOBAL = 'c',
    REDUCE = 'R',
    BUILD = 'b',
    BINPERSID = 'Q',
    BINPUT = 'q',
    LONG_BINPUT = 'r',
    BINGET = 'h',
    LONG_BINGET = 'j',
    PROTO = 0x80,
    TUPLE1 = 0x85,
    TUPLE2 = 0x86,
    TUPLE3 = 0x87,
    NEWTRUE = 0x88,
    NEWFALSE = 0x89,
    LONG1 = 0x8A,
    SHORT_BINUNICODE = 0x8C,
    BINUNICODE8 = 0x8D,
    STACK_GLOBAL = 0x93,
    MEMOIZE = 0x94,
    FRAME = 0x95
};

typedef struct machine {
    const uint8_t *bytes;
    size_t size, at;
    const char *where;
    const char *const *names;
    size_t n_names;
    sah_pickle_value *stack;
    size_t n, stack_capacity;
    size_t *marks; /* heights of the stack */
    size_t n_marks, marks_capacity;
    sah_pickle_value *memo;
    size_t n_memo, memo_capacity;
    sah_pickle *out;
    sah_error *error;
} machine;

static sah_status malformed(const machine *m, const char *what)
{
    return sah_fail(m->error, SAH_FAILED, "%s: a malformed pickle: %s near byte %zu", m->where, what, m->at);
}

static sah_status no_memory(const machine *m)
{
    return sah_fail_memory(m->error, "a pickle");
}

static const uint8_t *take(machine *m, uint64_t n)
{
    if (n > m->size - m->at) return NULL;
    const uint8_t *bytes = m->bytes + m->at;
    m->at += n;
    return bytes;
}

/* An unsigned number of n bytes, little endian; false at the end of the pickle. */
static bool take_number(machine *m, int n, uint64_t *out)
{
    const uint8_t *bytes = take(m, (uint64_t)n);
    *out = 0;
    if (bytes == NULL) return false;
    while (n-- > 0) *out = *out << 8 | bytes[n];
    return true;
}

/* ---- The stack ----------------------------------------------------------------------------------------- */

static sah_status push(machine *m, sah_pickle_value value)
{
    if (!sah_grow(&m->stack, &m->stack_capacity, m->n + 1, sizeof *m->stack)) return no_memory(m);
    m->stack[m->n++] = value;
    return SAH_OK;
}

/* How many values lie above the last mark: no instruction but those that take the mark reaches below it. */
static size_t above_mark(const machine *m)
{
    return m->n - (m->n_marks > 0 ? m->marks[m->n_marks - 1] : 0);
}

static sah_pickle_group *new_group(machine *m)
{
    sah_pickle *out = m->out;
    sah_pickle_group *group = sah_alloc(1, sizeof *group);
    if (group == NULL || !sah_grow(&out->groups, &out->capacity, out->n + 1, sizeof *out->groups)) {
        free(group);
        return NULL;
    }
    out->groups[out->n++] = group;
    return group;
}

/* Moves the top `n` values of the stack to the end of the group. */
static sah_status move_items(machine *m, size_t n, sah_pickle_group *group)
{
    if (n == 0) return SAH_OK;
    size_t need = group->n + n;
    if (group->n == 0 && group->capacity == 0) {
        /* Most groups are small tuples that never grow: they get what they need. */
        group->items = sah_alloc(need, sizeof *group->items);
        if (group->items == NULL) return no_memory(m);
        group->capacity = need;
    }
    if (!sah_grow(&group->items, &group->capacity, need, sizeof *group->items)) return no_memory(m);
    memcpy(group->items + group->n, m->stack + m->n - n, n * sizeof *group->items);
    group->n = need;
    m->n -= n;
    return SAH_OK;
}

/* A group of the top `n` values takes their place. */
static sah_status gather(machine *m, size_t n, sah_pickle_kind kind)
{
    if (n > above_mark(m)) return malformed(m, "too few values");
    sah_pickle_group *group = new_group(m);
    if (group == NULL) return no_memory(m);
    sah_status status = move_items(m, n, group);
    return status != SAH_OK ? status : push(m, (sah_pickle_value){.kind = kind, .group = group});
}

/* Takes the last mark away; how many values lay above it. */
static bool take_mark(machine *m, size_t *n)
{
    if (m->n_marks == 0) return false;
    *n = above_mark(m);
    m->n_marks--;
    return true;
}

/* Puts the top `n` values into the list or dictionary below them. */
static sah_status put_items(machine *m, size_t n, bool pairs)
{
    if (n >= above_mark(m)) return malformed(m, "nothing to put values into");
    const sah_pickle_value *target = &m->stack[m->n - n - 1];
    const bool fits = pairs ? target->kind == SAH_PICKLE_DICT || target->kind == SAH_PICKLE_CALL
                            : target->kind == SAH_PICKLE_LIST;
    if (!fits || (pairs && n % 2 != 0)) return malformed(m, "values where they do not belong");
    return move_items(m, n, target->group);
}

/* ---- Instructions -------------------------------------------------------------------------------------- */

static sah_status push_string(machine *m, int size_bytes)
{
    uint64_t length;
    const uint8_t *text = take_number(m, size_bytes, &length) ? take(m, length) : NULL;
    if (text == NULL) return malformed(m, "a string that is cut short");
    return push(m, (sah_pickle_value){
                       .kind = SAH_PICKLE_STRING, .length = (size_t)length, .text = (const char *)text});
}

static sah_status push_integer(machine *m, sah_pickle_kind kind, int64_t integer)
{
    return push(m, (sah_pickle_value){.kind = kind, .integer = integer});
}

/* Two's complement of `n` bytes. */
static sah_status push_signed(machine *m, uint64_t n)
{
    uint64_t bits;
    if (n > 8) return malformed(m, "an integer of more than 64 bits");
    if (!take_number(m, (int)n, &bits)) return malformed(m, "an integer that is cut short");
    if (n > 0 && n < 8 && (bits >> (8 * n - 1) & 1) != 0) bits |= UINT64_MAX << (8 * n);
    return push_integer(m, SAH_PICKLE_INT, (int64_t)bits);
}

static sah_status push_unsigned(machine *m, int n)
{
    uint64_t value;
    if (!take_number(m, n, &value)) return malformed(m, "an integer that is cut short");
    return push_integer(m, SAH_PICKLE_INT, (int64_t)value);
}

/* A float64, big endian. */
static sah_status push_float(machine *m)
{
    const uint8_t *bytes = take(m, 8);
    uint64_t bits = 0;
    sah_pickle_value value = {.kind = SAH_PICKLE_FLOAT};
    if (bytes == NULL) return malformed(m, "a number that is cut short");
    for (int i = 0; i < 8; i++) bits = bits << 8 | bytes[i];
    memcpy(&value.number, &bits, sizeof value.number);
    return push(m, value);
}

static sah_status push_name(machine *m, const char *module, size_t module_length, const char *name,
                            size_t length)
{
    for (size_t i = 0; i < m->n_names; i++) {
        const char *known = m->names[i];
        if (strlen(known) == module_length + 1 + length && memcmp(known, module, module_length) == 0 &&
            known[module_length] == ' ' && memcmp(known + module_length + 1, name, length) == 0)
            return push_integer(m, SAH_PICKLE_GLOBAL, (int64_t)i);
    }
    return sah_fail(m->error, SAH_FAILED,
                    "%s: asks for Python's %.*s.%.*s: only tensors are read, and nothing in the file is run",
                    m->where, (int)(module_length < SHOWN ? module_length : SHOWN), module,
                    (int)(length < SHOWN ? length : SHOWN), name);
}

static const char *take_line(machine *m, size_t *length)
{
    const uint8_t *begin = m->bytes + m->at;
    const uint8_t *end = m->at < m->size ? memchr(begin, '\n', m->size - m->at) : NULL;
    if (end == NULL) return NULL;
    *length = (size_t)(end - begin);
    m->at += *length + 1;
    return (const char *)begin;
}

static sah_status global(machine *m)
{
    size_t module_length = 0, length = 0;
    const char *module = take_line(m, &module_length);
    const char *name = module != NULL ? take_line(m, &length) : NULL;
    if (name == NULL) return malformed(m, "a name that is cut short");
    return push_name(m, module, module_length, name, length);
}

static sah_status stack_global(machine *m)
{
    if (above_mark(m) < 2) return malformed(m, "too few values");
    const sah_pickle_value name = m->stack[m->n - 1], module = m->stack[m->n - 2];
    if (name.kind != SAH_PICKLE_STRING || module.kind != SAH_PICKLE_STRING)
        return malformed(m, "a name that is no string");
    m->n -= 2;
    return push_name(m, module.text, module.length, name.text, name.length);
}

/* A name called with a tuple: noted down. */
static sah_status reduce(machine *m)
{
    if (above_mark(m) < 2) return malformed(m, "too few values");
    const sah_pickle_value arguments = m->stack[m->n - 1], callee = m->stack[m->n - 2];
    if (arguments.kind != SAH_PICKLE_TUPLE || callee.kind != SAH_PICKLE_GLOBAL)
        return malformed(m, "a call that is none");
    sah_pickle_group *group = new_group(m);
    if (group == NULL) return no_memory(m);
    group->callee = (size_t)callee.integer;
    group->arguments = arguments.group;
    m->n -= 2;
    return push(m, (sah_pickle_value){.kind = SAH_PICKLE_CALL, .group = group});
}

/* What Python would set as attributes of an object says nothing of tensors. */
static sah_status build(machine *m)
{
    if (above_mark(m) < 2) return malformed(m, "too few values");
    const sah_pickle_kind kind = m->stack[m->n - 2].kind;
    if (kind != SAH_PICKLE_CALL && kind != SAH_PICKLE_DICT) return malformed(m, "attributes of no object");
    m->n--;
    return SAH_OK;
}

static sah_status memoise(machine *m, uint64_t place)
{
    if (above_mark(m) == 0) return malformed(m, "too few values");
    if (place >= m->size) return malformed(m, "a place out of range");
    if (!sah_grow(&m->memo, &m->memo_capacity, (size_t)place + 1, sizeof *m->memo)) return no_memory(m);
    while (m->n_memo <= place) m->memo[m->n_memo++] = (sah_pickle_value){.kind = SAH_PICKLE_UNSET};
    m->memo[place] = m->stack[m->n - 1];
    return SAH_OK;
}

static sah_status recall(machine *m, uint64_t place)
{
    if (place >= m->n_memo || m->memo[place].kind == SAH_PICKLE_UNSET)
        return malformed(m, "a value that was never put aside");
    return push(m, m->memo[place]);
}

/* One instruction of those that move no group. */
static sah_status simple(machine *m, int opcode, bool *known)
{
    uint64_t n;
    *known = true;
    switch (opcode) {
    case PROTO:
        if (!take_number(m, 1, &n)) return malformed(m, "an instruction that is cut short");
        return n <= MAX_PROTOCOL ? SAH_OK : malformed(m, "a protocol that is not known");
    case FRAME:
        return take(m, 8) != NULL ? SAH_OK : malformed(m, "an instruction that is cut short");
    case NONE:
        return push_integer(m, SAH_PICKLE_NONE, 0);
    case NEWTRUE:
    case NEWFALSE:
        return push_integer(m, SAH_PICKLE_BOOL, opcode == NEWTRUE);
    case BININT:
        return push_signed(m, 4);
    case BININT1:
        return push_unsigned(m, 1);
    case BININT2:
        return push_unsigned(m, 2);
    case LONG1:
        return take_number(m, 1, &n) ? push_signed(m, n) : malformed(m, "an integer that is cut short");
    case BINFLOAT:
        return push_float(m);
    case SHORT_BINSTRING:
    case SHORT_BINUNICODE:
        return push_string(m, 1);
    case BINSTRING:
    case BINUNICODE:
        return push_string(m, 4);
    case BINUNICODE8:
        return push_string(m, 8);
    case GLOBAL:
        return global(m);
    case STACK_GLOBAL:
        return stack_global(m);
    case BINPUT:
    case LONG_BINPUT:
        return take_number(m, opcode == BINPUT ? 1 : 4, &n) ? memoise(m, n)
                                                            : malformed(m, "a place that is cut short");
    case MEMOIZE:
        return memoise(m, m->n_memo);
    case BINGET:
    case LONG_BINGET:
        return take_number(m, opcode == BINGET ? 1 : 4, &n) ? recall(m, n)
                                                            : malformed(m, "a place that is cut short");
    default:
        *known = false;
        return SAH_OK;
    }
}

static sah_status step(machine *m, int opcode)
{
    bool known;
    size_t n = 0;
    sah_status status = simple(m, opcode, &known);
    if (known) return status;
    switch (opcode) {
    case MARK:
        if (!sah_grow(&m->marks, &m->marks_capacity, m->n_marks + 1, sizeof *m->marks)) return no_memory(m);
        m->marks[m->n_marks++] = m->n;
        return SAH_OK;
    case TUPLE:
        return take_mark(m, &n) ? gather(m, n, SAH_PICKLE_TUPLE) : malformed(m, "a mark that is missing");
    case EMPTY_TUPLE:
        return gather(m, 0, SAH_PICKLE_TUPLE);
    case TUPLE1:
    case TUPLE2:
    case TUPLE3:
        return gather(m, (size_t)(opcode - TUPLE1) + 1, SAH_PICKLE_TUPLE);
    case EMPTY_LIST:
        return gather(m, 0, SAH_PICKLE_LIST);
    case EMPTY_DICT:
        return gather(m, 0, SAH_PICKLE_DICT);
    case APPEND:
        return put_items(m, 1, false);
    case APPENDS:
        return take_mark(m, &n) ? put_items(m, n, false) : malformed(m, "a mark that is missing");
    case SETITEM:
        return put_items(m, 2, true);
    case SETITEMS:
        return take_mark(m, &n) ? put_items(m, n, true) : malformed(m, "a mark that is missing");
    case REDUCE:
        return reduce(m);
    case BUILD:
        return build(m);
    case BINPERSID:
        return gather(m, 1, SAH_PICKLE_OUTSIDE);
    default:
        return sah_fail(m->error, SAH_FAILED,
                        "%s: pickle instruction 0x%02X at byte %zu is none that tensors are saved with",
                        m->where, (unsigned)opcode, m->at - 1);
    }
}

static sah_status run(machine *m)
{
    for (;;) {
        const uint8_t *opcode = take(m, 1);
        if (opcode == NULL) return malformed(m, "it ends too early: cut short?");
        if (*opcode == STOP) break;
        sah_status status = step(m, *opcode);
        if (status != SAH_OK) return status;
    }
    if (m->n != 1 || m->n_marks != 0) return malformed(m, "more or less than one value");
    m->out->root = m->stack[0];
    return SAH_OK;
}

sah_status sah_pickle_read(const uint8_t *bytes, size_t size, const char *where, const char *const *names,
                           size_t n_names, sah_pickle *out, sah_error *error)
{
    *out = (sah_pickle){0};
    if (size > MAX_PICKLE) {
        return sah_fail(error, SAH_FAILED, "%s: a pickle of %zu bytes, which no list of tensors needs", where,
                        size);
    }
    machine m = {.bytes = bytes,
                 .size = size,
                 .where = where,
                 .names = names,
                 .n_names = n_names,
                 .out = out,
                 .error = error};
    sah_status status = run(&m);
    free(m.stack);
    free(m.marks);
    free(m.memo);
    if (status != SAH_OK) sah_pickle_free(out);
    return status;
}

void sah_pickle_free(sah_pickle *pickle)
{
    if (pickle == NULL) return;
    for (size_t i = 0; i < pickle->n; i++) {
        free(pickle->groups[i]->items);
        free(pickle->groups[i]);
    }
    free(pickle->groups);
    *pickle = (sah_pickle){0};
}
