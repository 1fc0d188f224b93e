/* SPDX-License-Identifier: Apache-2.0 */
/* Filters over items: first, join, map, select, sort and the like. As in Jinja some give a list and some an
 * iterator, which does its work when it is asked and goes through its items once. */
#include <string.h>

#include "model/template/jinja_sequences.h"
#include "model/template/jinja_arithmetic.h"
#include "model/template/jinja_call.h"
#include "model/template/jinja_filters.h"
#include "model/template/jinja_iterate.h"
#include "model/template/jinja_member.h"
#include "model/template/jinja_print.h"
#include "model/template/jinja_tests.h"
#include "model/template/jinja_text_methods.h"
#include "model/template/jinja_value.h"

#define FILTER(name) static sah_jv name(sah_jrun *run, sah_jv v, const sah_jv *a)

static bool given(sah_jv v)
{
    return v.kind != SAH_J_MISSING && v.kind != SAH_J_NONE;
}

static sah_jiterator *new_iterator(sah_jrun *run, sah_jv source, const char *type)
{
    sah_jiterator *it = sah_jr_alloc(run, 1, sizeof *it);
    if (it == NULL) return NULL;
    it->source = source;
    it->type = type;
    return it;
}

static sah_jv iterator_value(sah_jiterator *it)
{
    return (sah_jv){.kind = SAH_J_ITERATOR, .iterator = it};
}

static sah_jv empty(sah_jrun *run, const char *hint)
{
    return run->failed ? sah_jv_missing() : sah_jr_undefined_hint(run, hint);
}

/* ---- Attributes of items ------------------------------------------------------------------------------- */

/* What "a.0.b" leads to; `otherwise` (or none) where a part of it is undefined. */
static sah_jv attribute_of(sah_jrun *run, sah_jv item, sah_jv path, sah_jv otherwise)
{
    if (path.kind != SAH_J_TEXT) {
        item = given(path) ? sah_jr_item(run, item, path) : item;
        return given(otherwise) && item.kind == SAH_J_UNDEFINED ? otherwise : item;
    }
    const sah_jtext text = *path.text;
    for (size_t at = 0; at <= text.size && !run->failed;) {
        const char *dot = text.size > at ? memchr(text.data + at, '.', text.size - at) : NULL;
        const size_t end = dot != NULL ? (size_t)(dot - text.data) : text.size;
        const sah_jtext part = sah_jtext_cut(text, at, end);
        int64_t number = 0;
        bool digits = part.size > 0 && part.size < 10;
        for (size_t i = 0; i < part.size && digits; i++) {
            digits = part.data[i] >= '0' && part.data[i] <= '9';
            number = 10 * number + (part.data[i] - '0');
        }
        item = sah_jr_item(run, item, digits ? sah_jv_int(number) : sah_jr_text(run, part));
        if (given(otherwise) && item.kind == SAH_J_UNDEFINED) item = otherwise;
        at = end + 1;
    }
    return item;
}

/* Texts are compared without regard to case unless a filter is asked otherwise. */
static sah_jv key_of(sah_jrun *run, sah_jv item, sah_jv path, sah_jv otherwise, bool case_sensitive)
{
    const sah_jv key = attribute_of(run, item, path, otherwise);
    if (run->failed || case_sensitive || key.kind != SAH_J_TEXT) return key;
    return sah_jr_cased(run, *key.text, SAH_J_LOWER);
}

/* ---- One item of several ------------------------------------------------------------------------------- */

FILTER(f_first)
{
    (void)a;
    sah_jv item;
    sah_jiterator *it = sah_jr_iterate(run, v);
    return it != NULL && sah_jr_next(run, it, &item) ? item
                                                     : empty(run, "No first item, sequence was empty.");
}

FILTER(f_last)
{
    (void)a;
    if (v.kind == SAH_J_ITERATOR) return sah_jr_fail(run, "'%s' object is not reversible", sah_jv_type(v));
    const sah_jv list = sah_jr_to_list(run, v, SAH_J_LIST);
    if (run->failed) return list;
    return list.list->n > 0 ? list.list->items[list.list->n - 1]
                            : empty(run, "No last item, sequence was empty.");
}

static sah_jv best(sah_jrun *run, sah_jv v, const sah_jv *a, const char *op, int wanted)
{
    sah_jv item, best_item = sah_jv_missing(), best_key = sah_jv_missing();
    const bool case_sensitive = sah_jr_truth(run, a[0]);
    sah_jiterator *it = sah_jr_iterate(run, v);
    while (it != NULL && sah_jr_next(run, it, &item)) {
        const sah_jv key = key_of(run, item, a[1], sah_jv_missing(), case_sensitive);
        if (run->failed) break;
        if (best_item.kind != SAH_J_MISSING && sah_jr_compare(run, key, best_key, op) * wanted <= 0) continue;
        best_item = item;
        best_key = key;
    }
    return run->failed || best_item.kind != SAH_J_MISSING
               ? best_item
               : empty(run, "No aggregated item, sequence was empty.");
}

FILTER(f_min)
{
    return best(run, v, a, "<", -1);
}

FILTER(f_max)
{
    return best(run, v, a, ">", 1);
}

FILTER(f_sum)
{
    sah_jv item, sum = a[1].kind == SAH_J_MISSING ? sah_jv_int(0) : a[1];
    sah_jiterator *it = sah_jr_iterate(run, v);
    if (sum.kind == SAH_J_TEXT) return sah_jr_fail(run, "sum() can't sum strings");
    while (it != NULL && sah_jr_next(run, it, &item))
        sum = sah_jr_binary(run, SAH_J_ADD, sum, attribute_of(run, item, a[0], sah_jv_missing()));
    return run->failed ? sah_jv_missing() : sum;
}

FILTER(f_join)
{
    sah_jbuffer buffer = {0};
    sah_jv item;
    const sah_jtext between = a[0].kind == SAH_J_MISSING ? sah_jtext_c("") : sah_jr_str(run, a[0]);
    sah_jiterator *it = sah_jr_iterate(run, v);
    for (bool first = true; it != NULL && sah_jr_next(run, it, &item); first = false) {
        if (!first) sah_jr_add_text(run, &buffer, between);
        item = attribute_of(run, item, a[1], sah_jv_missing());
        if (!run->failed) sah_jr_add_text(run, &buffer, sah_jr_str(run, item));
    }
    return sah_jr_buffer_text(run, &buffer);
}

/* ---- Lists --------------------------------------------------------------------------------------------- */

FILTER(f_list)
{
    (void)a;
    return sah_jr_to_list(run, v, SAH_J_LIST);
}

static bool next_of_source(sah_jrun *run, sah_jiterator *it, sah_jv *out)
{
    if (it->at >= it->source.list->n) return false;
    (void)run;
    *out = it->source.list->items[it->at++];
    return true;
}

FILTER(f_reverse)
{
    (void)a;
    const sah_jv list = sah_jr_to_list(run, v, SAH_J_LIST);
    if (run->failed) return list;
    const size_t n = list.list->n;
    for (size_t i = 0; i < n / 2; i++) {
        const sah_jv item = list.list->items[i];
        list.list->items[i] = list.list->items[n - 1 - i];
        list.list->items[n - 1 - i] = item;
    }
    if (v.kind == SAH_J_TEXT) {
        sah_jbuffer buffer = {0};
        for (size_t i = 0; i < n; i++) sah_jr_add_text(run, &buffer, *list.list->items[i].text);
        return sah_jr_buffer_text(run, &buffer);
    }
    if (v.kind == SAH_J_ITERATOR) return list;
    sah_jiterator *it = new_iterator(run, list, "list_reverseiterator");
    if (it == NULL) return sah_jv_missing();
    it->next = next_of_source;
    return iterator_value(it);
}

/* Items with their keys: pairs[2 i] the key, pairs[2 i + 1] the item. Stable. */
static bool merge_sort(sah_jrun *run, sah_jv *pairs, sah_jv *scratch, size_t n, bool descending)
{
    if (n < 2) return !run->failed;
    const size_t half = n / 2;
    if (!merge_sort(run, pairs, scratch, half, descending) ||
        !merge_sort(run, pairs + 2 * half, scratch, n - half, descending))
        return false;
    size_t left = 0, right = half;
    for (size_t i = 0; i < n; i++) {
        bool take_right = left == half;
        if (!take_right && right < n) {
            const int order = sah_jr_compare(run, pairs[2 * right], pairs[2 * left], "<");
            take_right = descending ? order > 0 : order < 0;
        }
        if (run->failed) return false;
        const size_t from = take_right ? right++ : left++;
        scratch[2 * i] = pairs[2 * from];
        scratch[2 * i + 1] = pairs[2 * from + 1];
    }
    memcpy(pairs, scratch, 2 * n * sizeof *pairs);
    return true;
}

/* `list` in the order of `keys`, a list as long. */
static sah_jv sorted(sah_jrun *run, sah_jv list, sah_jv keys, bool descending)
{
    if (run->failed) return sah_jv_missing();
    const size_t n = list.list->n;
    sah_jv *pairs = sah_jr_alloc(run, 2 * n, sizeof *pairs),
           *scratch = sah_jr_alloc(run, 2 * n, sizeof *pairs);
    if (pairs == NULL || scratch == NULL) return sah_jv_missing();
    for (size_t i = 0; i < n; i++) {
        pairs[2 * i] = keys.list->items[i];
        pairs[2 * i + 1] = list.list->items[i];
    }
    if (!merge_sort(run, pairs, scratch, n, descending)) return sah_jv_missing();
    for (size_t i = 0; i < n; i++) list.list->items[i] = pairs[2 * i + 1];
    return list;
}

static sah_jv keys_of(sah_jrun *run, sah_jv list, sah_jv path, sah_jv otherwise, bool case_sensitive)
{
    sah_jv keys = sah_jr_list(run, SAH_J_LIST, run->failed ? 0 : list.list->n);
    for (size_t i = 0; !run->failed && i < list.list->n; i++)
        sah_jr_push(run, keys, key_of(run, list.list->items[i], path, otherwise, case_sensitive));
    return keys;
}

/* sort(attribute="a,b") has several keys. */
static sah_jv sort_keys(sah_jrun *run, sah_jv list, sah_jv paths, bool case_sensitive)
{
    if (paths.kind != SAH_J_TEXT) return keys_of(run, list, paths, sah_jv_missing(), case_sensitive);
    sah_jv keys = sah_jr_list(run, SAH_J_LIST, run->failed ? 0 : list.list->n);
    for (size_t i = 0; !run->failed && i < list.list->n; i++) {
        sah_jv key = sah_jr_list(run, SAH_J_LIST, 1);
        for (size_t at = 0; at <= paths.text->size && !run->failed;) {
            const size_t comma = sah_jtext_find(*paths.text, sah_jtext_c(","), at);
            const size_t end = comma != SIZE_MAX ? comma : paths.text->size;
            const sah_jv path = sah_jr_text(run, sah_jtext_cut(*paths.text, at, end));
            if (!run->failed)
                sah_jr_push(run, key,
                            key_of(run, list.list->items[i], path, sah_jv_missing(), case_sensitive));
            at = end + 1;
        }
        sah_jr_push(run, keys, key);
    }
    return keys;
}

FILTER(f_sort)
{
    const sah_jv list = sah_jr_to_list(run, v, SAH_J_LIST);
    const sah_jv keys = sort_keys(run, list, a[2], sah_jr_truth(run, a[1]));
    return sorted(run, list, keys, sah_jr_truth(run, a[0]));
}

FILTER(f_dictsort)
{
    sah_jargs none = {0};
    if (v.kind != SAH_J_DICT)
        return sah_jr_type_error(run, v, "dictsort needs a dict, not %s", sah_jv_type(v));
    const sah_jtext by = a[1].kind == SAH_J_TEXT ? *a[1].text : sah_jtext_c("key");
    if (!sah_jtext_is(by, "key") && !sah_jtext_is(by, "value"))
        return sah_jr_fail(run, "You can only sort by either \"key\" or \"value\"");
    const sah_jv items = sah_jr_call(run, sah_jr_attribute(run, v, sah_jtext_c("items")), &none);
    const sah_jv list = sah_jr_to_list(run, items, SAH_J_LIST);
    const sah_jv keys =
        keys_of(run, list, sah_jv_int(sah_jtext_is(by, "value")), sah_jv_missing(), sah_jr_truth(run, a[0]));
    return sorted(run, list, keys, sah_jr_truth(run, a[2]));
}

FILTER(f_groupby)
{
    const bool case_sensitive = sah_jr_truth(run, a[2]);
    sah_jv list = sah_jr_to_list(run, v, SAH_J_LIST), groups = sah_jr_list(run, SAH_J_LIST, 0);
    list = sorted(run, list, keys_of(run, list, a[0], a[1], case_sensitive), false);
    sah_jv members = sah_jv_missing(), last = sah_jv_missing();
    for (size_t i = 0; !run->failed && i < list.list->n; i++) {
        const sah_jv item = list.list->items[i], key = key_of(run, item, a[0], a[1], case_sensitive);
        if (members.kind == SAH_J_MISSING || !sah_jr_equal(run, key, last)) {
            members = sah_jr_list(run, SAH_J_LIST, 1);
            sah_jv group = sah_jr_pair(run, attribute_of(run, item, a[0], a[1]), members);
            if (run->failed) break;
            group.list->view = "group"; /* with the attributes grouper and list */
            sah_jr_push(run, groups, group);
        }
        last = key;
        sah_jr_push(run, members, item);
    }
    return run->failed ? sah_jv_missing() : groups;
}

/* ---- Iterators ----------------------------------------------------------------------------------------- */

/* What the work of an iterator needs of its source begins when it is asked for the first time. */
static bool begin(sah_jrun *run, sah_jiterator *it)
{
    if (it->inner == NULL) it->inner = sah_jr_iterate(run, it->source);
    return it->inner != NULL;
}

static const sah_jv *named(const sah_jargs *args, const char *name)
{
    for (size_t i = 0; i < args->n_named; i++)
        if (sah_jtext_is(args->names[i], name)) return &args->named[i];
    return NULL;
}

/* The arguments behind the first `taken`. */
static sah_jargs rest_of(const sah_jargs *args, size_t taken)
{
    sah_jargs rest = *args;
    rest.positional += taken;
    rest.n -= taken;
    return rest;
}

static bool next_mapped(sah_jrun *run, sah_jiterator *it, sah_jv *out)
{
    sah_jv item;
    const sah_jargs *args = it->args;
    if (!sah_jr_truth(run, it->source) || !begin(run, it) || !sah_jr_next(run, it->inner, &item))
        return false;
    const sah_jv *attribute = args->n == 0 ? named(args, "attribute") : NULL,
                 *otherwise = named(args, "default");
    if (attribute != NULL) {
        if (args->n_named > 1 + (otherwise != NULL)) sah_jr_fail(run, "map: an unexpected keyword argument");
        *out = attribute_of(run, item, *attribute, otherwise != NULL ? *otherwise : sah_jv_missing());
        return !run->failed;
    }
    if (args->n == 0 || args->positional[0].kind != SAH_J_TEXT) {
        sah_jr_fail(run, "map requires a filter argument");
        return false;
    }
    const sah_jtext name = *args->positional[0].text;
    const sah_jbuiltin *filter = sah_jinja_filter_named(name);
    const sah_jargs rest = rest_of(args, 1);
    if (filter == NULL) sah_jr_fail(run, "there is no filter '%.*s'", (int)name.size, name.data);
    if (run->failed) return false;
    *out = sah_jr_call_builtin(run, filter, "filter", item, &rest);
    return !run->failed;
}

typedef struct selection {
    bool by_attribute, reject;
} selection;

static bool is_selected(sah_jrun *run, const sah_jiterator *it, sah_jv item)
{
    const selection *how = it->state;
    const sah_jargs *args = it->args;
    const size_t off = how->by_attribute ? 1 : 0;
    if (how->by_attribute) {
        if (args->n == 0) sah_jr_fail(run, "Missing parameter for attribute name");
        if (run->failed) return false;
        item = attribute_of(run, item, args->positional[0], sah_jv_missing());
    }
    if (run->failed) return false;
    if (args->n <= off) return sah_jr_truth(run, item) != how->reject;
    const sah_jtext name = sah_jr_str(run, args->positional[off]);
    const sah_jbuiltin *test = sah_jinja_test_named(name);
    const sah_jargs rest = rest_of(args, off + 1);
    if (test == NULL) sah_jr_fail(run, "there is no test '%.*s'", (int)name.size, name.data);
    if (run->failed) return false;
    return sah_jr_truth(run, sah_jr_call_builtin(run, test, "test", item, &rest)) != how->reject;
}

static bool next_selected(sah_jrun *run, sah_jiterator *it, sah_jv *out)
{
    if (!sah_jr_truth(run, it->source) || !begin(run, it)) return false;
    while (sah_jr_next(run, it->inner, out)) {
        if (is_selected(run, it, *out)) return !run->failed;
        if (run->failed) break;
    }
    return false;
}

static sah_jv with_arguments(sah_jrun *run, sah_jv v, const sah_jargs *args,
                             bool (*next)(sah_jrun *, sah_jiterator *, sah_jv *), void *state)
{
    sah_jiterator *it = new_iterator(run, v, "generator");
    sah_jargs *copy = sah_jr_alloc(run, 1, sizeof *copy);
    if (it == NULL || copy == NULL) return sah_jv_missing();
    *copy = *args;
    it->args = copy;
    it->next = next;
    it->state = state;
    return iterator_value(it);
}

static sah_jv f_map(sah_jrun *run, sah_jv v, const sah_jargs *args)
{
    return with_arguments(run, v, args, next_mapped, NULL);
}

static sah_jv f_select(sah_jrun *run, sah_jv v, const sah_jargs *args)
{
    static selection how = {false, false};
    return with_arguments(run, v, args, next_selected, &how);
}

static sah_jv f_reject(sah_jrun *run, sah_jv v, const sah_jargs *args)
{
    static selection how = {false, true};
    return with_arguments(run, v, args, next_selected, &how);
}

static sah_jv f_selectattr(sah_jrun *run, sah_jv v, const sah_jargs *args)
{
    static selection how = {true, false};
    return with_arguments(run, v, args, next_selected, &how);
}

static sah_jv f_rejectattr(sah_jrun *run, sah_jv v, const sah_jargs *args)
{
    static selection how = {true, true};
    return with_arguments(run, v, args, next_selected, &how);
}

/* Iterators whose work is done at once: it cannot be told from Jinja's but by what fails in it. */
static sah_jv iterator_over(sah_jrun *run, sah_jv list)
{
    sah_jiterator *it = run->failed ? NULL : new_iterator(run, list, "generator");
    if (it == NULL) return sah_jv_missing();
    it->next = next_of_source;
    return iterator_value(it);
}

FILTER(f_unique)
{
    const bool case_sensitive = sah_jr_truth(run, a[0]);
    sah_jv item, seen = sah_jr_dict(run), list = sah_jr_list(run, SAH_J_LIST, 0);
    sah_jiterator *it = sah_jr_iterate(run, v);
    while (it != NULL && sah_jr_next(run, it, &item)) {
        const sah_jv key = key_of(run, item, a[1], sah_jv_missing(), case_sensitive);
        if (run->failed || sah_jr_dict_get(run, seen, key) != NULL) continue;
        sah_jr_dict_set(run, seen, key, sah_jv_none());
        sah_jr_push(run, list, item);
    }
    return iterator_over(run, list);
}

FILTER(f_items)
{
    sah_jargs none = {0};
    (void)a;
    if (v.kind == SAH_J_UNDEFINED) return iterator_over(run, sah_jr_list(run, SAH_J_LIST, 0));
    if (v.kind != SAH_J_DICT) return sah_jr_fail(run, "Can only get item pairs from a mapping.");
    return iterator_over(run, sah_jr_call(run, sah_jr_attribute(run, v, sah_jtext_c("items")), &none));
}

static bool want_count(sah_jrun *run, sah_jv v, int64_t *out)
{
    if (v.kind == SAH_J_INT && v.integer > 0) {
        *out = v.integer;
        return true;
    }
    sah_jr_type_error(run, v, "this filter needs a positive number");
    return false;
}

FILTER(f_batch)
{
    int64_t size;
    sah_jv item, row = sah_jv_missing(), rows = sah_jr_list(run, SAH_J_LIST, 0);
    sah_jiterator *it = want_count(run, a[0], &size) ? sah_jr_iterate(run, v) : NULL;
    while (it != NULL && sah_jr_next(run, it, &item)) {
        if (row.kind == SAH_J_MISSING || (int64_t)row.list->n == size) {
            row = sah_jr_list(run, SAH_J_LIST, 0);
            sah_jr_push(run, rows, row);
        }
        sah_jr_push(run, row, item);
    }
    if (!run->failed && row.kind != SAH_J_MISSING && given(a[1]))
        while ((int64_t)row.list->n < size && sah_jr_step(run, 1)) sah_jr_push(run, row, a[1]);
    return iterator_over(run, rows);
}

FILTER(f_slice)
{
    int64_t columns;
    if (!want_count(run, a[0], &columns)) return sah_jv_missing();
    const sah_jv list = sah_jr_to_list(run, v, SAH_J_LIST);
    sah_jv rows = sah_jr_list(run, SAH_J_LIST, 0);
    if (run->failed) return sah_jv_missing();
    const int64_t n = (int64_t)list.list->n, each = n / columns, longer = n % columns;
    int64_t at = 0;
    for (int64_t i = 0; i < columns && sah_jr_step(run, 1); i++) {
        sah_jv row = sah_jr_list(run, SAH_J_LIST, 0);
        for (const int64_t end = at + each + (i < longer); at < end && !run->failed; at++)
            sah_jr_push(run, row, list.list->items[at]);
        if (!run->failed && given(a[1]) && i >= longer) sah_jr_push(run, row, a[1]);
        sah_jr_push(run, rows, row);
    }
    return iterator_over(run, rows);
}

static const sah_jbuiltin filters[] = {
    {"batch", "linecount fill_with", 1, f_batch, NULL},
    {"dictsort", "case_sensitive by reverse", 0, f_dictsort, NULL},
    {"first", "", 0, f_first, NULL},
    {"groupby", "attribute default case_sensitive", 1, f_groupby, NULL},
    {"items", "", 0, f_items, NULL},
    {"join", "d attribute", 0, f_join, NULL},
    {"last", "", 0, f_last, NULL},
    {"list", "", 0, f_list, NULL},
    {"map", "", 0, NULL, f_map},
    {"max", "case_sensitive attribute", 0, f_max, NULL},
    {"min", "case_sensitive attribute", 0, f_min, NULL},
    {"reject", "", 0, NULL, f_reject},
    {"rejectattr", "", 0, NULL, f_rejectattr},
    {"reverse", "", 0, f_reverse, NULL},
    {"select", "", 0, NULL, f_select},
    {"selectattr", "", 0, NULL, f_selectattr},
    {"slice", "slices fill_with", 1, f_slice, NULL},
    {"sort", "reverse case_sensitive attribute", 0, f_sort, NULL},
    {"sum", "attribute start", 0, f_sum, NULL},
    {"unique", "case_sensitive attribute", 0, f_unique, NULL},
};

const sah_jbuiltin *sah_jinja_sequence_filter_named(sah_jtext name)
{
    return sah_jinja_find_builtin(filters, sizeof filters / sizeof *filters, name);
}
