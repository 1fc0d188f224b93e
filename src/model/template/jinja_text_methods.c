/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of texts, as Python's str has them. */
#include <string.h>

#include "model/template/jinja_text_methods.h"
#include "model/template/jinja_call.h"
#include "model/template/jinja_format.h"
#include "model/template/jinja_iterate.h"
#include "model/template/jinja_value.h"
#include "util/utf8.h"

/* ---- Arguments ----------------------------------------------------------------------------------------- */

static bool given(sah_jv v)
{
    return v.kind != SAH_J_MISSING && v.kind != SAH_J_NONE;
}

static bool want_text(sah_jrun *run, sah_jv v, sah_jtext *out)
{
    if (v.kind == SAH_J_TEXT) {
        *out = *v.text;
        return true;
    }
    sah_jr_type_error(run, v, "a method of str needs a str, not %s", sah_jv_type(v));
    return false;
}

/* `otherwise` where the argument is not given. */
static bool want_integer(sah_jrun *run, sah_jv v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (v.kind == SAH_J_MISSING) return true;
    if (v.kind == SAH_J_INT || v.kind == SAH_J_BOOL) {
        *out = sah_jv_integer(v);
        return true;
    }
    sah_jr_type_error(run, v, "'%s' object cannot be interpreted as an integer", sah_jv_type(v));
    return false;
}

/* The part that start and end of find, count and the like leave; *offset: code points before it. False also
 * where it is none at all (start behind the end). */
static bool part_of(sah_jrun *run, sah_jtext text, sah_jv start, sah_jv end, sah_jtext *out, size_t *offset)
{
    const int64_t n = (int64_t)text.length;
    int64_t from, to;
    *out = text;
    *offset = 0;
    if (!given(start) && !given(end)) return sah_jr_step(run, text.size / 256);
    if (!want_integer(run, given(start) ? start : sah_jv_missing(), 0, &from) ||
        !want_integer(run, given(end) ? end : sah_jv_missing(), n, &to))
        return false;
    if (from < 0) from = from < -n ? 0 : from + n;
    if (to < 0) to = to < -n ? 0 : to + n;
    if (to > n) to = n;
    if (from > to) return false;
    *out = sah_jtext_cut(text, sah_jtext_at(text, (size_t)from), sah_jtext_at(text, (size_t)to));
    *offset = (size_t)from;
    return sah_jr_step(run, text.size / 256);
}

/* ---- Letter case and padding --------------------------------------------------------------------------- */

static bool add_codes(sah_jrun *run, sah_jbuffer *buffer, const uint32_t *codes, size_t n)
{
    for (size_t i = 0; i < n; i++) sah_jr_add_code(run, buffer, codes[i]);
    return !run->failed;
}

sah_jv sah_jr_cased(sah_jrun *run, sah_jtext text, sah_jcasing how)
{
    sah_jbuffer buffer = {0};
    uint32_t codes[3];
    size_t length;
    bool in_word = false;
    if (!sah_jr_step(run, text.size / 64)) return sah_jv_missing();
    for (size_t at = 0; at < text.size && !run->failed; at += length) {
        const uint32_t code = sah_utf8_next(text.data + at, text.size - at, &length);
        const bool upper = sah_jtext_is_upper(code), lower = sah_jtext_is_lower(code);
        size_t n = 0;
        if (how == SAH_J_UPPER || (how == SAH_J_SWAP && lower))
            n = sah_jtext_upper(code, codes);
        else if (how == SAH_J_LOWER || (how == SAH_J_SWAP && upper) || in_word)
            n = sah_jtext_lower(text, at, code, codes);
        else if (how == SAH_J_SWAP)
            codes[n++] = code;
        else
            n = sah_jtext_title(code, codes);
        add_codes(run, &buffer, codes, n);
        if (how == SAH_J_CAPITALIZE) in_word = true;
        if (how == SAH_J_TITLE) in_word = upper || lower || sah_jtext_is_title(code);
    }
    return sah_jr_buffer_text(run, &buffer);
}

static sah_jv m_upper(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)a;
    return sah_jr_cased(run, *self.text, SAH_J_UPPER);
}

static sah_jv m_lower(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)a;
    return sah_jr_cased(run, *self.text, SAH_J_LOWER);
}

static sah_jv m_capitalize(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)a;
    return sah_jr_cased(run, *self.text, SAH_J_CAPITALIZE);
}

static sah_jv m_title(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)a;
    return sah_jr_cased(run, *self.text, SAH_J_TITLE);
}

static sah_jv m_swapcase(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)a;
    return sah_jr_cased(run, *self.text, SAH_J_SWAP);
}

/* `left` of `pads` blanks (or fill characters) in front. */
static sah_jv padded(sah_jrun *run, sah_jtext text, const sah_jv *a, int how)
{
    sah_jtext fill = sah_jtext_c(" ");
    int64_t width;
    sah_jbuffer buffer = {0};
    if (!want_integer(run, a[0], 0, &width)) return sah_jv_missing();
    if (a[1].kind != SAH_J_MISSING && !want_text(run, a[1], &fill)) return sah_jv_missing();
    if (fill.length != 1) return sah_jr_fail(run, "the fill character must be exactly one character long");
    const int64_t pads = width > (int64_t)text.length ? width - (int64_t)text.length : 0;
    /* Python's center puts the odd blank where pads & width & 1 says. */
    const int64_t left = how < 0 ? 0 : how > 0 ? pads : pads / 2 + (pads & width & 1);
    sah_jr_add_repeated(run, &buffer, fill, left);
    sah_jr_add_text(run, &buffer, text);
    sah_jr_add_repeated(run, &buffer, fill, pads - left);
    return sah_jr_buffer_text(run, &buffer);
}

static sah_jv m_ljust(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return padded(run, *self.text, a, -1);
}

static sah_jv m_rjust(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return padded(run, *self.text, a, 1);
}

static sah_jv m_center(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return padded(run, *self.text, a, 0);
}

static sah_jv m_zfill(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    int64_t width;
    sah_jbuffer buffer = {0};
    const sah_jtext text = *self.text;
    if (!want_integer(run, a[0], 0, &width)) return sah_jv_missing();
    const size_t sign = text.size > 0 && (text.data[0] == '-' || text.data[0] == '+');
    sah_jr_add(run, &buffer, text.data, sign);
    sah_jr_add_repeated(run, &buffer, sah_jtext_c("0"), width - (int64_t)text.length);
    sah_jr_add(run, &buffer, text.data + sign, text.size - sign);
    return sah_jr_buffer_text(run, &buffer);
}

/* ---- Stripping ----------------------------------------------------------------------------------------- */

static sah_jv stripped(sah_jrun *run, sah_jtext text, sah_jv chars, bool left, bool right)
{
    sah_jtext set;
    if (!sah_jr_step(run, text.size / 64)) return sah_jv_missing();
    if (!given(chars)) return sah_jr_text(run, sah_jtext_strip(text, NULL, left, right));
    if (!want_text(run, chars, &set) || !sah_jr_step(run, text.size / 256 * (1 + set.size / 8)))
        return sah_jv_missing();
    return sah_jr_text(run, sah_jtext_strip(text, &set, left, right));
}

static sah_jv m_strip(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return stripped(run, *self.text, a[0], true, true);
}

static sah_jv m_lstrip(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return stripped(run, *self.text, a[0], true, false);
}

static sah_jv m_rstrip(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return stripped(run, *self.text, a[0], false, true);
}

static bool begins(sah_jtext text, sah_jtext part)
{
    return part.size <= text.size && (part.size == 0 || memcmp(text.data, part.data, part.size) == 0);
}

static bool ends(sah_jtext text, sah_jtext part)
{
    return part.size <= text.size &&
           (part.size == 0 || memcmp(text.data + text.size - part.size, part.data, part.size) == 0);
}

static sah_jv m_removeprefix(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    sah_jtext part;
    if (!want_text(run, a[0], &part) || !sah_jr_step(run, self.text->size / 64)) return sah_jv_missing();
    return begins(*self.text, part) ? sah_jr_text(run, sah_jtext_cut(*self.text, part.size, self.text->size))
                                    : self;
}

static sah_jv m_removesuffix(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    sah_jtext part;
    if (!want_text(run, a[0], &part) || !sah_jr_step(run, self.text->size / 64)) return sah_jv_missing();
    return ends(*self.text, part)
               ? sah_jr_text(run, sah_jtext_cut(*self.text, 0, self.text->size - part.size))
               : self;
}

/* ---- Searching ----------------------------------------------------------------------------------------- */

static sah_jv begins_or_ends(sah_jrun *run, sah_jv self, const sah_jv *a, bool (*test)(sah_jtext, sah_jtext))
{
    sah_jtext text, part;
    size_t offset;
    const bool some = part_of(run, *self.text, a[1], a[2], &text, &offset);
    if (run->failed) return sah_jv_missing();
    if (a[0].kind != SAH_J_TUPLE)
        return want_text(run, a[0], &part) ? sah_jv_bool(some && test(text, part)) : sah_jv_missing();
    for (size_t i = 0; i < a[0].list->n; i++) {
        if (!want_text(run, a[0].list->items[i], &part)) return sah_jv_missing();
        if (some && test(text, part)) return sah_jv_bool(true);
    }
    return sah_jv_bool(false);
}

static sah_jv m_startswith(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return begins_or_ends(run, self, a, begins);
}

static sah_jv m_endswith(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return begins_or_ends(run, self, a, ends);
}

/* The search from the end compares at every place. */
static size_t find_last(sah_jrun *run, sah_jtext text, sah_jtext part)
{
    return sah_jr_step(run, (text.size / 64 + 1) * (part.size / 64 + 1)) ? sah_jtext_find_last(text, part)
                                                                         : SIZE_MAX;
}

static sah_jv found(sah_jrun *run, sah_jv self, const sah_jv *a, bool last, bool must)
{
    sah_jtext text, part;
    size_t offset, at = SIZE_MAX;
    if (!want_text(run, a[0], &part)) return sah_jv_missing();
    if (part_of(run, *self.text, a[1], a[2], &text, &offset))
        at = last ? find_last(run, text, part) : sah_jtext_find(text, part, 0);
    if (run->failed) return sah_jv_missing();
    if (at != SIZE_MAX) return sah_jv_int((int64_t)(offset + sah_jtext_cut(text, 0, at).length));
    return must ? sah_jr_fail(run, "substring not found") : sah_jv_int(-1);
}

static sah_jv m_find(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return found(run, self, a, false, false);
}

static sah_jv m_rfind(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return found(run, self, a, true, false);
}

static sah_jv m_index(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return found(run, self, a, false, true);
}

static sah_jv m_rindex(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return found(run, self, a, true, true);
}

static sah_jv m_count(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    sah_jtext text, part;
    size_t offset;
    int64_t n = 0;
    if (!want_text(run, a[0], &part)) return sah_jv_missing();
    if (!part_of(run, *self.text, a[1], a[2], &text, &offset))
        return run->failed ? sah_jv_missing() : sah_jv_int(0);
    if (part.size == 0) return sah_jv_int((int64_t)text.length + 1);
    for (size_t at = sah_jtext_find(text, part, 0); at != SIZE_MAX;
         at = sah_jtext_find(text, part, at + part.size))
        n++;
    return sah_jv_int(n);
}

sah_jv sah_jr_replace(sah_jrun *run, sah_jtext text, sah_jtext old, sah_jtext new, int64_t most)
{
    sah_jbuffer buffer = {0};
    size_t at = 0, length;
    if (!sah_jr_step(run, text.size / 64)) return sah_jv_missing();
    for (; most != 0 && !run->failed; most--) {
        if (old.size > 0) {
            const size_t place = sah_jtext_find(text, old, at);
            if (place == SIZE_MAX) break;
            sah_jr_add(run, &buffer, text.data + at, place - at);
            sah_jr_add_text(run, &buffer, new);
            at = place + old.size;
            continue;
        }
        /* nothing stands before each character and behind the last */
        sah_jr_add_text(run, &buffer, new);
        if (at == text.size) break;
        sah_utf8_next(text.data + at, text.size - at, &length);
        sah_jr_add(run, &buffer, text.data + at, length);
        at += length;
    }
    sah_jr_add(run, &buffer, text.data + at, text.size - at);
    return sah_jr_buffer_text(run, &buffer);
}

static sah_jv m_replace(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    sah_jtext old, new;
    int64_t most;
    if (!want_text(run, a[0], &old) || !want_text(run, a[1], &new) || !want_integer(run, a[2], -1, &most))
        return sah_jv_missing();
    return sah_jr_replace(run, *self.text, old, new, most);
}

/* ---- Cutting and joining ------------------------------------------------------------------------------- */

static bool push_cut(sah_jrun *run, sah_jv list, sah_jtext text, size_t from, size_t to)
{
    return sah_jr_step(run, 1) && sah_jr_push(run, list, sah_jr_text(run, sah_jtext_cut(text, from, to)));
}

/* At white space, of which neither the ends nor several in a row make empty parts. Places are bytes: cutting
 * the rest off each time would count its characters each time. */
static size_t behind_space(sah_jtext text, size_t at)
{
    size_t length;
    while (at < text.size && sah_jtext_is_space(sah_utf8_next(text.data + at, text.size - at, &length)))
        at += length;
    return at;
}

static size_t before_space(sah_jtext text, size_t end)
{
    size_t length;
    while (end > 0 && sah_jtext_is_space(sah_jtext_before(text.data, end, &length))) end -= length;
    return end;
}

static sah_jv split_space(sah_jrun *run, sah_jtext text, int64_t most)
{
    sah_jv list = sah_jr_list(run, SAH_J_LIST, 0);
    size_t at = behind_space(text, 0), length;
    while (at < text.size && !run->failed) {
        size_t end = at;
        while (end < text.size &&
               !sah_jtext_is_space(sah_utf8_next(text.data + end, text.size - end, &length)))
            end += length;
        if (most-- == 0) end = text.size;
        push_cut(run, list, text, at, end);
        at = behind_space(text, end);
    }
    return list;
}

static void reverse(sah_jlist *list)
{
    for (size_t i = 0; i < list->n / 2; i++) {
        const sah_jv item = list->items[i];
        list->items[i] = list->items[list->n - 1 - i];
        list->items[list->n - 1 - i] = item;
    }
}

static sah_jv rsplit_space(sah_jrun *run, sah_jtext text, int64_t most)
{
    sah_jv list = sah_jr_list(run, SAH_J_LIST, 0);
    size_t end = before_space(text, text.size), length;
    while (end > 0 && !run->failed) {
        size_t begin = end;
        while (begin > 0 && !sah_jtext_is_space(sah_jtext_before(text.data, begin, &length))) begin -= length;
        if (most-- == 0) begin = 0;
        push_cut(run, list, text, begin, end);
        end = before_space(text, begin);
    }
    if (!run->failed) reverse(list.list);
    return list;
}

static sah_jv split_at(sah_jrun *run, sah_jtext text, sah_jtext separator, int64_t most, bool from_end)
{
    sah_jv list = sah_jr_list(run, SAH_J_LIST, 0);
    if (separator.size == 0) return sah_jr_fail(run, "empty separator");
    if (run->failed) return list;
    if (from_end) {
        size_t end = text.size;
        for (; most != 0 && !run->failed; most--) {
            const size_t at = find_last(run, (sah_jtext){text.data, end, end}, separator);
            if (at == SIZE_MAX) break;
            push_cut(run, list, text, at + separator.size, end);
            end = at;
        }
        push_cut(run, list, text, 0, end);
        if (!run->failed) reverse(list.list);
        return list;
    }
    size_t begin = 0;
    for (; most != 0 && !run->failed; most--) {
        const size_t at = sah_jtext_find(text, separator, begin);
        if (at == SIZE_MAX) break;
        push_cut(run, list, text, begin, at);
        begin = at + separator.size;
    }
    push_cut(run, list, text, begin, text.size);
    return list;
}

static sah_jv split(sah_jrun *run, sah_jv self, const sah_jv *a, bool from_end)
{
    sah_jtext separator;
    int64_t most;
    if (!want_integer(run, a[1], -1, &most) || !sah_jr_step(run, self.text->size / 256))
        return sah_jv_missing();
    if (!given(a[0])) return (from_end ? rsplit_space : split_space)(run, *self.text, most);
    return want_text(run, a[0], &separator) ? split_at(run, *self.text, separator, most, from_end)
                                            : sah_jv_missing();
}

static sah_jv m_split(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return split(run, self, a, false);
}

static sah_jv m_rsplit(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return split(run, self, a, true);
}

static bool is_line_end(uint32_t code)
{
    return (code >= '\n' && code <= '\r') || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
           code == 0x2028 || code == 0x2029;
}

sah_jv sah_jr_splitlines(sah_jrun *run, sah_jtext text, bool keep)
{
    sah_jv list = sah_jr_list(run, SAH_J_LIST, 0);
    size_t begin = 0, length;
    sah_jr_step(run, text.size / 64);
    for (size_t at = 0; at < text.size && !run->failed; at += length) {
        const uint32_t code = sah_utf8_next(text.data + at, text.size - at, &length);
        if (!is_line_end(code)) continue;
        if (code == '\r' && at + 1 < text.size && text.data[at + 1] == '\n') length = 2;
        push_cut(run, list, text, begin, keep ? at + length : at);
        begin = at + length;
    }
    if (begin < text.size) push_cut(run, list, text, begin, text.size);
    return list;
}

static sah_jv m_splitlines(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return sah_jr_splitlines(run, *self.text, sah_jr_truth(run, a[0]));
}

static sah_jv partition(sah_jrun *run, sah_jv self, const sah_jv *a, bool last)
{
    sah_jtext separator, text = *self.text;
    if (!want_text(run, a[0], &separator) || !sah_jr_step(run, text.size / 256)) return sah_jv_missing();
    if (separator.size == 0) return sah_jr_fail(run, "empty separator");
    const size_t at = last ? find_last(run, text, separator) : sah_jtext_find(text, separator, 0);
    sah_jv tuple = sah_jr_list(run, SAH_J_TUPLE, 3);
    const sah_jv empty = sah_jr_text_c(run, "");
    if (at == SIZE_MAX) {
        sah_jr_push(run, tuple, last ? empty : self);
        sah_jr_push(run, tuple, empty);
        sah_jr_push(run, tuple, last ? self : empty);
    } else {
        push_cut(run, tuple, text, 0, at);
        push_cut(run, tuple, text, at, at + separator.size);
        push_cut(run, tuple, text, at + separator.size, text.size);
    }
    return tuple;
}

static sah_jv m_partition(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return partition(run, self, a, false);
}

static sah_jv m_rpartition(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    return partition(run, self, a, true);
}

static sah_jv m_join(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    sah_jbuffer buffer = {0};
    sah_jtext part;
    sah_jv item;
    sah_jiterator *it = sah_jr_iterate(run, a[0]);
    for (bool first = true; it != NULL && sah_jr_next(run, it, &item); first = false) {
        if (!want_text(run, item, &part)) return sah_jv_missing();
        if (!first) sah_jr_add_text(run, &buffer, *self.text);
        sah_jr_add_text(run, &buffer, part);
    }
    return sah_jr_buffer_text(run, &buffer);
}

static sah_jv m_format(sah_jrun *run, sah_jv self, const sah_jargs *args)
{
    return sah_jr_format(run, *self.text, args);
}

/* ---- Questions ----------------------------------------------------------------------------------------- */

/* True for a text that is not empty and whose every character has the property. */
static sah_jv every(sah_jrun *run, sah_jtext text, bool (*has)(uint32_t))
{
    size_t length;
    if (!sah_jr_step(run, text.size / 64)) return sah_jv_missing();
    for (size_t at = 0; at < text.size; at += length)
        if (!has(sah_utf8_next(text.data + at, text.size - at, &length))) return sah_jv_bool(false);
    return sah_jv_bool(text.size > 0);
}

static bool is_alnum(uint32_t code)
{
    return sah_jtext_is_alpha(code) || sah_jtext_is_digit(code) || sah_jtext_is_numeric(code);
}

#define QUESTION(name, property)                                                                             \
    static sah_jv name(sah_jrun *run, sah_jv self, const sah_jv *a)                                          \
    {                                                                                                        \
        (void)a;                                                                                             \
        return every(run, *self.text, property);                                                             \
    }
QUESTION(m_isalpha, sah_jtext_is_alpha)
QUESTION(m_isalnum, is_alnum)
QUESTION(m_isdecimal, sah_jtext_is_decimal)
QUESTION(m_isdigit, sah_jtext_is_digit)
QUESTION(m_isnumeric, sah_jtext_is_numeric)
QUESTION(m_isspace, sah_jtext_is_space)
#undef QUESTION

/* Some cased letter, and all of them of the case. */
bool sah_jtext_all_cased(sah_jtext text, bool upper)
{
    bool some = false;
    size_t length;
    for (size_t at = 0; at < text.size; at += length) {
        const uint32_t code = sah_utf8_next(text.data + at, text.size - at, &length);
        if (sah_jtext_is_title(code) || (upper ? sah_jtext_is_lower(code) : sah_jtext_is_upper(code)))
            return false;
        some |= upper ? sah_jtext_is_upper(code) : sah_jtext_is_lower(code);
    }
    return some;
}

static sah_jv m_isupper(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)a;
    return sah_jr_step(run, self.text->size / 64) ? sah_jv_bool(sah_jtext_all_cased(*self.text, true))
                                                  : sah_jv_missing();
}

static sah_jv m_islower(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)a;
    return sah_jr_step(run, self.text->size / 64) ? sah_jv_bool(sah_jtext_all_cased(*self.text, false))
                                                  : sah_jv_missing();
}

static sah_jv m_istitle(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)a;
    const sah_jtext text = *self.text;
    bool some = false, in_word = false;
    size_t length;
    if (!sah_jr_step(run, text.size / 64)) return sah_jv_missing();
    for (size_t at = 0; at < text.size; at += length) {
        const uint32_t code = sah_utf8_next(text.data + at, text.size - at, &length);
        const bool capital = sah_jtext_is_upper(code) || sah_jtext_is_title(code),
                   small = sah_jtext_is_lower(code);
        if ((capital && in_word) || (small && !in_word)) return sah_jv_bool(false);
        in_word = capital || small;
        some |= in_word;
    }
    return sah_jv_bool(some);
}

static sah_jv m_isascii(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)run;
    (void)a;
    return sah_jv_bool(self.text->size == self.text->length);
}

static const sah_jbuiltin text_methods[] = {
    {"strip", "chars", 0, m_strip, NULL},
    {"lstrip", "chars", 0, m_lstrip, NULL},
    {"rstrip", "chars", 0, m_rstrip, NULL},
    {"split", "sep maxsplit", 0, m_split, NULL},
    {"rsplit", "sep maxsplit", 0, m_rsplit, NULL},
    {"splitlines", "keepends", 0, m_splitlines, NULL},
    {"partition", "sep", 1, m_partition, NULL},
    {"rpartition", "sep", 1, m_rpartition, NULL},
    {"startswith", "prefix start end", 1, m_startswith, NULL},
    {"endswith", "suffix start end", 1, m_endswith, NULL},
    {"removeprefix", "prefix", 1, m_removeprefix, NULL},
    {"removesuffix", "suffix", 1, m_removesuffix, NULL},
    {"replace", "old new count", 2, m_replace, NULL},
    {"find", "sub start end", 1, m_find, NULL},
    {"rfind", "sub start end", 1, m_rfind, NULL},
    {"index", "sub start end", 1, m_index, NULL},
    {"rindex", "sub start end", 1, m_rindex, NULL},
    {"count", "sub start end", 1, m_count, NULL},
    {"join", "iterable", 1, m_join, NULL},
    {"format", "", 0, NULL, m_format},
    {"upper", "", 0, m_upper, NULL},
    {"lower", "", 0, m_lower, NULL},
    {"capitalize", "", 0, m_capitalize, NULL},
    {"title", "", 0, m_title, NULL},
    {"swapcase", "", 0, m_swapcase, NULL},
    {"ljust", "width fillchar", 1, m_ljust, NULL},
    {"rjust", "width fillchar", 1, m_rjust, NULL},
    {"center", "width fillchar", 1, m_center, NULL},
    {"zfill", "width", 1, m_zfill, NULL},
    {"isalpha", "", 0, m_isalpha, NULL},
    {"isalnum", "", 0, m_isalnum, NULL},
    {"isdecimal", "", 0, m_isdecimal, NULL},
    {"isdigit", "", 0, m_isdigit, NULL},
    {"isnumeric", "", 0, m_isnumeric, NULL},
    {"isspace", "", 0, m_isspace, NULL},
    {"isupper", "", 0, m_isupper, NULL},
    {"islower", "", 0, m_islower, NULL},
    {"istitle", "", 0, m_istitle, NULL},
    {"isascii", "", 0, m_isascii, NULL},
    {"casefold", "", 0, NULL, NULL},
    {"encode", "", 0, NULL, NULL},
    {"expandtabs", "", 0, NULL, NULL},
    {"format_map", "", 0, NULL, NULL},
    {"isidentifier", "", 0, NULL, NULL},
    {"isprintable", "", 0, NULL, NULL},
    {"maketrans", "", 0, NULL, NULL},
    {"translate", "", 0, NULL, NULL},
};

const sah_jbuiltin *sah_jinja_text_method_named(sah_jtext name)
{
    return sah_jinja_find_builtin(text_methods, sizeof text_methods / sizeof *text_methods, name);
}
