/* SPDX-License-Identifier: Apache-2.0 */
/* v.name, v[key], v[a:b:c], as the sandbox lets templates at them. */
#include "model/template/jinja_member.h"
#include "model/template/jinja_call.h"
#include "model/template/jinja_exec.h"
#include "model/template/jinja_iterate.h"
#include "model/template/jinja_methods.h"
#include "model/template/jinja_value.h"

/* ---- Methods ------------------------------------------------------------------------------------------- */

static sah_jv method_of(sah_jrun *run, sah_jv self, const sah_jbuiltin *builtin, sah_jtext name)
{
    sah_jmethod *method = sah_jr_alloc(run, 1, sizeof *method);
    if (method == NULL) return sah_jv_missing();
    *method = (sah_jmethod){.self = self, .builtin = builtin, .name = name};
    return (sah_jv){.kind = SAH_J_METHOD, .method = method};
}

/* What the sandbox hides is undefined. */
static sah_jv hidden(sah_jrun *run, sah_jv v, sah_jtext name)
{
    sah_jbuffer hint = {0};
    sah_jr_add_c(run, &hint, "access to attribute '");
    sah_jr_add_text(run, &hint, name);
    sah_jr_add_c(run, &hint, "' of '");
    sah_jr_add_c(run, &hint, sah_jv_type(v));
    sah_jr_add(run, &hint, "' object is unsafe.", 20);
    return run->failed ? sah_jv_missing() : sah_jr_undefined_hint(run, hint.data);
}

/* An attribute proper: a method, a member of a namespace or of `loop`. Missing: there is none. */
static sah_jv attribute_of(sah_jrun *run, sah_jv v, sah_jtext name)
{
    bool known;
    if (name.size > 1 && name.data[0] == '_' && name.data[1] == '_') return hidden(run, v, name);
    if (v.kind == SAH_J_NAMESPACE) {
        const sah_jv *member = sah_jr_dict_get_text(v, name);
        return member != NULL ? *member : sah_jv_missing();
    }
    if (v.kind == SAH_J_LOOP) {
        const sah_jv member = sah_jr_loop_attribute(run, v.loop, name, &known);
        if (known) return member;
    }
    if (v.kind == SAH_J_TUPLE && v.list->view != NULL) { /* of groupby */
        if (sah_jtext_is(name, "grouper")) return v.list->items[0];
        if (sah_jtext_is(name, "list")) return v.list->items[1];
    }
    if (sah_jinja_method_changes(v.kind, name)) return hidden(run, v, name);
    const sah_jbuiltin *builtin = sah_jinja_method_named(v.kind, name);
    return builtin != NULL ? method_of(run, v, builtin, name) : sah_jv_missing();
}

/* ---- Items --------------------------------------------------------------------------------------------- */

/* A place counted from the front; false: there is none. */
static bool place_in(sah_jv key, size_t n, size_t *out)
{
    if (key.kind != SAH_J_INT && key.kind != SAH_J_BOOL) return false;
    const int64_t index = sah_jv_integer(key);
    if (index >= 0 ? (uint64_t)index >= n : (uint64_t) - (index + 1) >= n) return false;
    *out = index >= 0 ? (size_t)index : n - (size_t) - (index + 1) - 1;
    return true;
}

/* An item proper. Missing: there is none. */
static sah_jv item_of(sah_jrun *run, sah_jv v, sah_jv key)
{
    size_t at;
    const sah_jv *found;
    switch (v.kind) {
    case SAH_J_DICT:
        if (key.kind == SAH_J_LIST || key.kind == SAH_J_DICT) return sah_jv_missing();
        found = sah_jr_dict_get(run, v, key);
        return found != NULL ? *found : sah_jv_missing();
    case SAH_J_LIST:
    case SAH_J_TUPLE:
        return place_in(key, v.list->n, &at) ? v.list->items[at] : sah_jv_missing();
    case SAH_J_TEXT:
        if (!place_in(key, v.text->length, &at) || !sah_jr_step(run, v.text->size / 256))
            return sah_jv_missing();
        return sah_jr_text(run,
                           sah_jtext_cut(*v.text, sah_jtext_at(*v.text, at), sah_jtext_at(*v.text, at + 1)));
    case SAH_J_RANGE:
        return place_in(key, v.range->n, &at) ? sah_jv_int(v.range->start + (int64_t)at * v.range->step)
                                              : sah_jv_missing();
    default:
        return sah_jv_missing();
    }
}

sah_jv sah_jr_attribute(sah_jrun *run, sah_jv v, sah_jtext name)
{
    if (run->failed) return sah_jv_missing();
    if (v.kind == SAH_J_UNDEFINED) return sah_jr_use_undefined(run, v);
    sah_jv value = attribute_of(run, v, name);
    if (value.kind == SAH_J_MISSING && !run->failed && v.kind == SAH_J_DICT) {
        const sah_jv *found = sah_jr_dict_get_text(v, name);
        if (found != NULL) return *found;
    }
    if (value.kind != SAH_J_MISSING || run->failed) return value;
    return sah_jr_undefined_member(run, v, sah_jr_text(run, name));
}

sah_jv sah_jr_item(sah_jrun *run, sah_jv v, sah_jv key)
{
    if (run->failed) return sah_jv_missing();
    if (v.kind == SAH_J_UNDEFINED) return sah_jr_use_undefined(run, v);
    sah_jv value = item_of(run, v, key);
    if (value.kind == SAH_J_MISSING && !run->failed && key.kind == SAH_J_TEXT)
        value = attribute_of(run, v, *key.text);
    if (value.kind != SAH_J_MISSING || run->failed) return value;
    return sah_jr_undefined_member(run, v, key);
}

/* ---- Slices -------------------------------------------------------------------------------------------- */

/* One end of a slice of n items, as slice.indices() has it. */
static bool slice_end(sah_jrun *run, sah_jv v, int64_t otherwise, int64_t n, int64_t step, int64_t *out)
{
    *out = otherwise;
    if (v.kind == SAH_J_MISSING || v.kind == SAH_J_NONE) return !run->failed;
    if (v.kind != SAH_J_INT && v.kind != SAH_J_BOOL) {
        sah_jr_type_error(run, v, "slice indices must be integers or None");
        return false;
    }
    const int64_t index = sah_jv_integer(v), low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    *out = index < 0 ? (index < -n ? low : index + n) : index;
    if (*out < low) *out = low;
    if (*out > high) *out = high;
    return true;
}

static sah_jv slice_text(sah_jrun *run, sah_jtext text, int64_t from, int64_t n, int64_t step)
{
    if (!sah_jr_step(run, text.size / 256 + (step == 1 ? 0 : (size_t)n))) return sah_jv_missing();
    if (n == 0) return sah_jr_text_c(run, "");
    if (step == 1) {
        const size_t begin = sah_jtext_at(text, (size_t)from);
        const sah_jtext rest = sah_jtext_cut(text, begin, text.size);
        return sah_jr_text(run, sah_jtext_cut(rest, 0, sah_jtext_at(rest, (size_t)n)));
    }
    const sah_jv all = sah_jr_to_list(run, sah_jr_text(run, text), SAH_J_LIST);
    sah_jbuffer buffer = {0};
    for (int64_t i = 0; i < n && !run->failed; i++)
        sah_jr_add_text(run, &buffer, *all.list->items[from + i * step].text);
    return sah_jr_buffer_text(run, &buffer);
}

/* Its ends are those that Python writes, where the range is written as text. */
static sah_jv slice_range(sah_jrun *run, const sah_jrange *of, int64_t from, int64_t to, int64_t n,
                          int64_t step)
{
    sah_jrange *range = sah_jr_alloc(run, 1, sizeof *range);
    if (range == NULL) return sah_jv_missing();
    *range = (sah_jrange){of->start + from * of->step, of->start + to * of->step, 0, (size_t)n};
    if (__builtin_mul_overflow(of->step, step, &range->step))
        return sah_jr_fail(run, "an integer that needs more than 64 bits");
    return (sah_jv){.kind = SAH_J_RANGE, .range = range};
}

static sah_jv slice_items(sah_jrun *run, sah_jv v, int64_t from, int64_t n, int64_t step)
{
    sah_jv list = sah_jr_list(run, v.kind, (size_t)n);
    if (!sah_jr_step(run, (size_t)n)) return sah_jv_missing();
    for (int64_t i = 0; i < n && !run->failed; i++) sah_jr_push(run, list, v.list->items[from + i * step]);
    return list;
}

sah_jv sah_jr_slice(sah_jrun *run, sah_jv v, sah_jv start, sah_jv stop, sah_jv step)
{
    size_t length;
    int64_t from, to, asked = 1;
    if (v.kind != SAH_J_TEXT && v.kind != SAH_J_LIST && v.kind != SAH_J_TUPLE && v.kind != SAH_J_RANGE)
        return sah_jr_type_error(run, v, "'%s' object cannot be sliced", sah_jv_type(v));
    sah_jr_length(run, v, &length);
    if (step.kind == SAH_J_INT || step.kind == SAH_J_BOOL)
        asked = sah_jv_integer(step);
    else if (step.kind != SAH_J_MISSING && step.kind != SAH_J_NONE)
        return sah_jr_type_error(run, step, "slice indices must be integers or None");
    if (asked == 0) return sah_jr_fail(run, "slice step cannot be zero");
    const int64_t n = (int64_t)length;
    /* As far as any item is away: keeps the arithmetic below in range. */
    const int64_t by = asked > n ? n + 1 : asked < -n ? -n - 1 : asked;
    if (!slice_end(run, start, by < 0 ? n - 1 : 0, n, by, &from) ||
        !slice_end(run, stop, by < 0 ? -1 : n, n, by, &to))
        return sah_jv_missing();
    const int64_t span = by > 0 ? to - from : from - to, stride = by > 0 ? by : -by;
    const int64_t count = span > 0 ? (span - 1) / stride + 1 : 0;
    if (v.kind == SAH_J_RANGE) return slice_range(run, v.range, from, to, count, asked);
    return v.kind == SAH_J_TEXT ? slice_text(run, *v.text, from, count, by)
                                : slice_items(run, v, from, count, by);
}
