/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of lists, dicts and `loop`, and which values have which. */
#include "model/template/jinja_methods.h"
#include "model/template/jinja_call.h"
#include "model/template/jinja_text_methods.h"
#include "model/template/jinja_value.h"

/* ---- Lists, dicts, loop -------------------------------------------------------------------------------- */

static sah_jv m_items_count(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    int64_t n = 0;
    for (size_t i = 0; i < self.list->n && !run->failed; i++)
        n += sah_jr_equal(run, self.list->items[i], a[0]);
    return sah_jv_int(n);
}

static sah_jv m_items_index(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    for (size_t i = 0; i < self.list->n && !run->failed; i++)
        if (sah_jr_equal(run, self.list->items[i], a[0])) return sah_jv_int((int64_t)i);
    return sah_jr_fail(run, "a value that is not in list");
}

static sah_jv m_copy(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)run;
    (void)a;
    return self; /* nothing can change it */
}

/* A tuple has the first two. */
static const sah_jbuiltin list_methods[] = {
    {"count", "value", 1, m_items_count, NULL},
    {"index", "value", 1, m_items_index, NULL},
    {"copy", "", 0, m_copy, NULL},
};
enum { TUPLE_METHODS = 2 };

static sah_jv m_get(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    const sah_jv *value = sah_jr_dict_get(run, self, a[0]);
    if (run->failed) return sah_jv_missing();
    return value != NULL ? *value : a[1].kind != SAH_J_MISSING ? a[1] : sah_jv_none();
}

static sah_jv view_of(sah_jrun *run, sah_jv self, const char *type, bool keys, bool values)
{
    const sah_jdict *dict = self.dict;
    sah_jv view = sah_jr_list(run, SAH_J_VIEW, dict->n);
    if (!sah_jr_step(run, dict->n)) return sah_jv_missing();
    for (size_t i = 0; i < dict->n && !run->failed; i++)
        sah_jr_push(run, view,
                    keys && values ? sah_jr_pair(run, dict->keys[i], dict->values[i])
                    : keys         ? dict->keys[i]
                                   : dict->values[i]);
    if (!run->failed) view.list->view = type;
    return view;
}

static sah_jv m_items(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)a;
    return view_of(run, self, "dict_items", true, true);
}

static sah_jv m_keys(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)a;
    return view_of(run, self, "dict_keys", true, false);
}

static sah_jv m_values(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)a;
    return view_of(run, self, "dict_values", false, true);
}

static const sah_jbuiltin dict_methods[] = {
    {"get", "key default", 1, m_get, NULL}, {"items", "", 0, m_items, NULL}, {"keys", "", 0, m_keys, NULL},
    {"values", "", 0, m_values, NULL},      {"copy", "", 0, m_copy, NULL},   {"fromkeys", "", 0, NULL, NULL},
};

static sah_jv m_cycle(sah_jrun *run, sah_jv self, const sah_jargs *args)
{
    if (args->n == 0) return sah_jr_fail(run, "no items for cycling given");
    return args->positional[(size_t)self.loop->index0 % args->n];
}

static sah_jv m_changed(sah_jrun *run, sah_jv self, const sah_jargs *args)
{
    sah_jv now = sah_jr_list(run, SAH_J_TUPLE, args->n);
    for (size_t i = 0; i < args->n && !run->failed; i++) sah_jr_push(run, now, args->positional[i]);
    if (run->failed) return sah_jv_missing();
    const bool same = self.loop->changed.kind != SAH_J_MISSING && sah_jr_equal(run, self.loop->changed, now);
    self.loop->changed = now;
    return sah_jv_bool(!same);
}

static const sah_jbuiltin loop_methods[] = {
    {"cycle", "", 0, NULL, m_cycle},
    {"changed", "", 0, NULL, m_changed},
};

/* Attributes that Python has and templates hardly use. */
static const sah_jbuiltin number_methods[] = {
    {"real", "", 0, NULL, NULL},        {"imag", "", 0, NULL, NULL},      {"numerator", "", 0, NULL, NULL},
    {"denominator", "", 0, NULL, NULL}, {"conjugate", "", 0, NULL, NULL}, {"is_integer", "", 0, NULL, NULL},
    {"bit_length", "", 0, NULL, NULL},  {"to_bytes", "", 0, NULL, NULL},
};
static const sah_jbuiltin macro_methods[] = {{"name", "", 0, NULL, NULL}, {"arguments", "", 0, NULL, NULL}};
static const sah_jbuiltin range_methods[] = {{"start", "", 0, NULL, NULL},
                                             {"stop", "", 0, NULL, NULL},
                                             {"step", "", 0, NULL, NULL},
                                             {"count", "", 0, NULL, NULL},
                                             {"index", "", 0, NULL, NULL}};

#define FIND(table, name) sah_jinja_find_builtin(table, sizeof(table) / sizeof *(table), name)

const sah_jbuiltin *sah_jinja_method_named(sah_jkind kind, sah_jtext name)
{
    switch (kind) {
    case SAH_J_TEXT:
        return sah_jinja_text_method_named(name);
    case SAH_J_LIST:
        return FIND(list_methods, name);
    case SAH_J_TUPLE:
        return sah_jinja_find_builtin(list_methods, TUPLE_METHODS, name);
    case SAH_J_DICT:
        return FIND(dict_methods, name);
    case SAH_J_LOOP:
        return FIND(loop_methods, name);
    case SAH_J_BOOL:
    case SAH_J_INT:
    case SAH_J_FLOAT:
        return FIND(number_methods, name);
    case SAH_J_MACRO:
        return FIND(macro_methods, name);
    case SAH_J_RANGE:
        return FIND(range_methods, name);
    default:
        return NULL;
    }
}

bool sah_jinja_method_changes(sah_jkind kind, sah_jtext name)
{
    static const char *const of_lists[] = {"append", "clear", "pop",    "reverse",
                                           "insert", "sort",  "extend", "remove"};
    static const char *const of_dicts[] = {"clear", "pop", "popitem", "setdefault", "update"};
    for (size_t i = 0; kind == SAH_J_LIST && i < sizeof of_lists / sizeof *of_lists; i++)
        if (sah_jtext_is(name, of_lists[i])) return true;
    for (size_t i = 0; kind == SAH_J_DICT && i < sizeof of_dicts / sizeof *of_dicts; i++)
        if (sah_jtext_is(name, of_dicts[i])) return true;
    return false;
}
