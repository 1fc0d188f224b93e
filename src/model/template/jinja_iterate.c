/* SPDX-License-Identifier: Apache-2.0 */
/* Going over the items of a value, one after the other. */
#include "model/template/jinja_iterate.h"
#include "model/template/jinja_value.h"
#include "util/utf8.h"

static bool next_of_list(sah_jrun *run, sah_jiterator *it, sah_jv *out)
{
    (void)run;
    if (it->at >= it->source.list->n) return false;
    *out = it->source.list->items[it->at++];
    return true;
}

static bool next_of_dict(sah_jrun *run, sah_jiterator *it, sah_jv *out)
{
    (void)run;
    if (it->at >= it->source.dict->n) return false;
    *out = it->source.dict->keys[it->at++];
    return true;
}

static bool next_of_range(sah_jrun *run, sah_jiterator *it, sah_jv *out)
{
    (void)run;
    const sah_jrange *range = it->source.range;
    if (it->at >= range->n) return false;
    *out = sah_jv_int(range->start + (int64_t)it->at++ * range->step);
    return true;
}

static bool next_of_text(sah_jrun *run, sah_jiterator *it, sah_jv *out)
{
    const sah_jtext *text = it->source.text;
    size_t length;
    if (it->at >= text->size) return false;
    sah_utf8_next(text->data + it->at, text->size - it->at, &length);
    *out = sah_jr_text(run, (sah_jtext){text->data + it->at, length, 1});
    it->at += length;
    return !run->failed;
}

static bool next_of_nothing(sah_jrun *run, sah_jiterator *it, sah_jv *out)
{
    (void)run;
    (void)it;
    (void)out;
    return false;
}

bool sah_jr_iterable(sah_jv v)
{
    switch (v.kind) {
    case SAH_J_UNDEFINED:
    case SAH_J_TEXT:
    case SAH_J_LIST:
    case SAH_J_TUPLE:
    case SAH_J_DICT:
    case SAH_J_VIEW:
    case SAH_J_RANGE:
    case SAH_J_ITERATOR:
    case SAH_J_LOOP:
        return true;
    default:
        return false;
    }
}

sah_jiterator *sah_jr_iterate(sah_jrun *run, sah_jv v)
{
    if (v.kind == SAH_J_ITERATOR) return v.iterator;
    if (v.kind == SAH_J_LOOP) {
        sah_jr_fail(run, "going over `loop` itself is not supported");
        return NULL;
    }
    if (!sah_jr_iterable(v)) {
        sah_jr_fail(run, "'%s' object is not iterable", sah_jv_type(v));
        return NULL;
    }
    sah_jiterator *it = sah_jr_alloc(run, 1, sizeof *it);
    if (it == NULL) return NULL;
    it->source = v;
    it->next = v.kind == SAH_J_TEXT        ? next_of_text
               : v.kind == SAH_J_DICT      ? next_of_dict
               : v.kind == SAH_J_RANGE     ? next_of_range
               : v.kind == SAH_J_UNDEFINED ? next_of_nothing
                                           : next_of_list;
    return it;
}

bool sah_jr_next(sah_jrun *run, sah_jiterator *it, sah_jv *out)
{
    /* iterators over iterators nest as deeply as a template likes */
    const bool some = sah_jr_deeper(run) && sah_jr_step(run, 1) && it->next(run, it, out);
    run->depth--;
    return some && !run->failed;
}

sah_jv sah_jr_to_list(sah_jrun *run, sah_jv v, sah_jkind kind)
{
    sah_jiterator *it = sah_jr_iterate(run, v);
    sah_jv item, list = sah_jr_list(run, kind, 0);
    while (it != NULL && sah_jr_next(run, it, &item)) sah_jr_push(run, list, item);
    return run->failed ? sah_jv_missing() : list;
}
