/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of one value; those over items are in jinja_sequences.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/template/jinja_filters.h"
#include "model/template/jinja_arithmetic.h"
#include "model/template/jinja_call.h"
#include "model/template/jinja_format.h"
#include "model/template/jinja_json.h"
#include "model/template/jinja_member.h"
#include "model/template/jinja_methods.h"
#include "model/template/jinja_print.h"
#include "model/template/jinja_sequences.h"
#include "model/template/jinja_text_methods.h"
#include "model/template/jinja_value.h"
#include "util/utf8.h"

#define FILTER(name) static sah_jv name(sah_jrun *run, sah_jv v, const sah_jv *a)

static bool want_integer(sah_jrun *run, sah_jv v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (v.kind == SAH_J_MISSING) return true;
    if (v.kind != SAH_J_INT && v.kind != SAH_J_BOOL) {
        sah_jr_type_error(run, v, "a filter needs an integer, not %s", sah_jv_type(v));
        return false;
    }
    *out = sah_jv_integer(v);
    return true;
}

/* The value as a text that the filter returns another of. What is marked safe would have to stay so. */
static bool want_text(sah_jrun *run, sah_jv v, sah_jtext *out)
{
    *out = sah_jr_str(run, v);
    if (v.kind == SAH_J_TEXT && v.safe)
        sah_jr_fail(run, "this filter of a text marked safe is not supported");
    return !run->failed;
}

/* ---- Texts --------------------------------------------------------------------------------------------- */

FILTER(f_upper)
{
    sah_jtext text;
    (void)a;
    return want_text(run, v, &text) ? sah_jr_cased(run, text, SAH_J_UPPER) : sah_jv_missing();
}

FILTER(f_lower)
{
    sah_jtext text;
    (void)a;
    return want_text(run, v, &text) ? sah_jr_cased(run, text, SAH_J_LOWER) : sah_jv_missing();
}

FILTER(f_capitalize)
{
    sah_jtext text;
    (void)a;
    return want_text(run, v, &text) ? sah_jr_cased(run, text, SAH_J_CAPITALIZE) : sah_jv_missing();
}

static bool begins_word(uint32_t code)
{
    return sah_jtext_is_space(code) || code == '-' || code == '(' || code == '{' || code == '[' ||
           code == '<';
}

/* Words begin behind white space, - ( { [ <; unlike str.title() not behind an apostrophe. */
FILTER(f_title)
{
    sah_jtext text;
    sah_jbuffer buffer = {0};
    size_t length;
    bool first = true;
    (void)a;
    if (!want_text(run, v, &text) || !sah_jr_step(run, text.size / 64)) return sah_jv_missing();
    for (size_t at = 0; at < text.size && !run->failed; at += length) {
        uint32_t codes[3];
        const uint32_t code = sah_utf8_next(text.data + at, text.size - at, &length);
        const size_t n = first ? sah_jtext_upper(code, codes) : sah_jtext_lower(text, at, code, codes);
        for (size_t i = 0; i < n; i++) sah_jr_add_code(run, &buffer, codes[i]);
        first = begins_word(code);
    }
    return sah_jr_buffer_text(run, &buffer);
}

FILTER(f_trim)
{
    sah_jtext text;
    if (!want_text(run, v, &text)) return sah_jv_missing();
    if (a[0].kind == SAH_J_MISSING || a[0].kind == SAH_J_NONE)
        return sah_jr_text(run, sah_jtext_strip(text, NULL, true, true));
    if (a[0].kind != SAH_J_TEXT) return sah_jr_type_error(run, a[0], "trim needs a str");
    if (!sah_jr_step(run, text.size / 256 * (1 + a[0].text->size / 8))) return sah_jv_missing();
    return sah_jr_text(run, sah_jtext_strip(text, a[0].text, true, true));
}

FILTER(f_replace)
{
    int64_t most;
    if (!want_integer(run, a[2].kind == SAH_J_NONE ? sah_jv_missing() : a[2], -1, &most))
        return sah_jv_missing();
    const sah_jtext text = sah_jr_str(run, v), old = sah_jr_str(run, a[0]), new = sah_jr_str(run, a[1]);
    return run->failed ? sah_jv_missing() : sah_jr_replace(run, text, old, new, most);
}

FILTER(f_string)
{
    (void)a;
    return v.kind == SAH_J_TEXT ? v : sah_jr_text(run, sah_jr_str(run, v));
}

FILTER(f_safe)
{
    sah_jv text = f_string(run, v, a);
    text.safe = true;
    return text;
}

FILTER(f_escape)
{
    const sah_jv text = f_string(run, v, a);
    return run->failed ? text : sah_jr_escape(run, text);
}

FILTER(f_forceescape)
{
    sah_jv text = f_string(run, v, a);
    text.safe = false;
    return run->failed ? text : sah_jr_escape(run, text);
}

FILTER(f_indent)
{
    sah_jbuffer buffer = {0}, blanks = {0};
    sah_jtext text, step = sah_jtext_c("    ");
    int64_t width;
    if (v.kind != SAH_J_TEXT) return sah_jr_type_error(run, v, "indent needs a str, not %s", sah_jv_type(v));
    if (!want_text(run, v, &text)) return sah_jv_missing();
    if (a[0].kind == SAH_J_TEXT) {
        step = *a[0].text;
    } else if (a[0].kind != SAH_J_MISSING) {
        if (!want_integer(run, a[0], 4, &width) ||
            !sah_jr_add_repeated(run, &blanks, sah_jtext_c(" "), width))
            return sah_jv_missing();
        step = sah_jtext_of(blanks.data, blanks.n);
    }
    const bool first = sah_jr_truth(run, a[1]), blank = sah_jr_truth(run, a[2]);
    sah_jr_add_text(run, &buffer, text);
    sah_jr_add_c(run, &buffer, "\n");
    if (run->failed) return sah_jv_missing();
    const sah_jv lines = sah_jr_splitlines(run, sah_jtext_of(buffer.data, buffer.n), false);
    buffer = (sah_jbuffer){0};
    for (size_t i = 0; !run->failed && i < lines.list->n; i++) {
        const sah_jtext line = *lines.list->items[i].text;
        if (i > 0) sah_jr_add_c(run, &buffer, "\n");
        if (i == 0 ? first : blank || line.size > 0) sah_jr_add_text(run, &buffer, step);
        sah_jr_add_text(run, &buffer, line);
    }
    return sah_jr_buffer_text(run, &buffer);
}

FILTER(f_truncate)
{
    int64_t length, leeway;
    sah_jbuffer buffer = {0};
    const sah_jtext end = a[2].kind == SAH_J_TEXT ? *a[2].text : sah_jtext_c("...");
    sah_jtext text;
    if (v.kind != SAH_J_TEXT)
        return sah_jr_type_error(run, v, "truncate needs a str, not %s", sah_jv_type(v));
    if (!want_text(run, v, &text) || !want_integer(run, a[0], 255, &length) ||
        !want_integer(run, a[3].kind == SAH_J_NONE ? sah_jv_missing() : a[3], 5, &leeway))
        return sah_jv_missing();
    if (length < (int64_t)end.length || leeway < 0 || length > INT64_MAX - leeway)
        return sah_jr_fail(run, "truncate: a length too small for its end");
    if ((int64_t)text.length <= length + leeway) return v;
    text = sah_jtext_cut(text, 0, sah_jtext_at(text, (size_t)(length - (int64_t)end.length)));
    const size_t blank = sah_jtext_find_last(text, sah_jtext_c(" "));
    if (!sah_jr_truth(run, a[1]) && blank != SIZE_MAX) text = sah_jtext_cut(text, 0, blank);
    sah_jr_add_text(run, &buffer, text);
    sah_jr_add_text(run, &buffer, end);
    return sah_jr_buffer_text(run, &buffer);
}

FILTER(f_center)
{
    sah_jtext text;
    int64_t width;
    sah_jbuffer buffer = {0};
    if (!want_text(run, v, &text) || !want_integer(run, a[0], 80, &width)) return sah_jv_missing();
    const int64_t pads = width > (int64_t)text.length ? width - (int64_t)text.length : 0;
    const int64_t left = pads / 2 + (pads & width & 1);
    sah_jr_add_repeated(run, &buffer, sah_jtext_c(" "), left);
    sah_jr_add_text(run, &buffer, text);
    sah_jr_add_repeated(run, &buffer, sah_jtext_c(" "), pads - left);
    return sah_jr_buffer_text(run, &buffer);
}

FILTER(f_wordcount)
{
    sah_jtext text;
    size_t length;
    int64_t n = 0;
    bool inside = false;
    (void)a;
    if (!want_text(run, v, &text) || !sah_jr_step(run, text.size / 64)) return sah_jv_missing();
    for (size_t at = 0; at < text.size; at += length) {
        const uint32_t code = sah_utf8_next(text.data + at, text.size - at, &length);
        const bool word = code == '_' || sah_jtext_is_alpha(code) || sah_jtext_is_numeric(code);
        n += word && !inside;
        inside = word;
    }
    return sah_jv_int(n);
}

static sah_jv f_format(sah_jrun *run, sah_jv v, const sah_jargs *args)
{
    sah_jtext text;
    if (!want_text(run, v, &text)) return sah_jv_missing();
    if (args->n > 0 && args->n_named > 0)
        return sah_jr_fail(run, "format: positional and keyword arguments at the same time");
    sah_jv values = args->n_named > 0 ? sah_jr_dict(run) : sah_jr_list(run, SAH_J_TUPLE, args->n);
    for (size_t i = 0; i < args->n; i++) sah_jr_push(run, values, args->positional[i]);
    for (size_t i = 0; i < args->n_named; i++)
        sah_jr_dict_set(run, values, sah_jr_text(run, args->names[i]), args->named[i]);
    return run->failed ? sah_jv_missing() : sah_jr_percent(run, text, values);
}

FILTER(f_tojson)
{
    const sah_jv none = sah_jv_none();
    return sah_jr_to_json(run, v, sah_jr_truth(run, a[0]), a[1].kind == SAH_J_MISSING ? none : a[1],
                          a[2].kind == SAH_J_MISSING ? none : a[2], sah_jr_truth(run, a[3]));
}

/* ---- Numbers ------------------------------------------------------------------------------------------- */

/* Python's int(text, base) and float(text): white space around, _ between digits. False: it is none. */
static bool clean_number(sah_jtext text, char *out, size_t size)
{
    size_t n = 0;
    text = sah_jtext_strip(text, NULL, true, true);
    if (text.size == 0 || text.size >= size) return false;
    for (size_t i = 0; i < text.size; i++) {
        const bool digits = i > 0 && i + 1 < text.size && text.data[i - 1] != '_';
        if (text.data[i] == '\0' || (text.data[i] == '_' && !digits)) return false;
        if (text.data[i] != '_') out[n++] = text.data[i];
    }
    out[n] = '\0';
    return true;
}

static bool read_integer(sah_jtext text, int64_t base, int64_t *out)
{
    char digits[64], *end;
    if (!clean_number(text, digits, sizeof digits)) return false;
    char *begin = digits;
    const bool negative = *begin == '-';
    if (*begin == '-' || *begin == '+') begin++;
    const char letter = begin[0] == '0' ? (char)(begin[1] | 0x20) : '\0';
    const int64_t own = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (own != 0 && (base == own || base == 0)) {
        begin += 2;
        base = own;
    }
    if (base == 0) base = 10;
    if (*begin == '\0' || *begin == '-' || *begin == '+' || sah_jtext_is_space((unsigned char)*begin))
        return false;
    if (base < 2 || base > 36) return false;
    if (base == 16 && begin[0] == '0' && (begin[1] | 0x20) == 'x') return false; /* strtoull would take it */
    const unsigned long long value = strtoull(begin, &end, (int)base);
    if (*end != '\0' || value > INT64_MAX) return false;
    *out = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static bool read_real(sah_jtext text, double *out)
{
    char digits[400], *end;
    if (!clean_number(text, digits, sizeof digits)) return false;
    if (strchr(digits, 'x') != NULL || strchr(digits, 'X') != NULL || strchr(digits, '(') != NULL)
        return false;
    *out = strtod(digits, &end);
    return *end == '\0';
}

FILTER(f_int)
{
    int64_t integer, base;
    double real;
    const sah_jv otherwise = a[0].kind == SAH_J_MISSING ? sah_jv_int(0) : a[0];
    if (!want_integer(run, a[1], 10, &base)) return sah_jv_missing();
    if (v.kind == SAH_J_TEXT && !sah_jr_step(run, v.text->size / 64)) return sah_jv_missing();
    if (v.kind == SAH_J_INT || v.kind == SAH_J_BOOL) return sah_jv_int(sah_jv_integer(v));
    if (v.kind == SAH_J_UNDEFINED) return sah_jr_use_undefined(run, v);
    if (v.kind == SAH_J_FLOAT)
        real = v.real;
    else if (v.kind != SAH_J_TEXT)
        return otherwise;
    else if (read_integer(*v.text, base, &integer))
        return sah_jv_int(integer);
    else if (!read_real(*v.text, &real))
        return otherwise;
    if (isnan(real) || isinf(real)) return otherwise;
    if (fabs(real) > 9.2e18) return sah_jr_fail(run, "an integer that needs more than 64 bits");
    return sah_jv_int((int64_t)real);
}

FILTER(f_float)
{
    double real;
    if (v.kind == SAH_J_TEXT && !sah_jr_step(run, v.text->size / 64)) return sah_jv_missing();
    if (sah_jv_is_number(v)) return sah_jv_real(sah_jv_number(v));
    if (v.kind == SAH_J_UNDEFINED) return sah_jr_use_undefined(run, v);
    if (v.kind == SAH_J_TEXT && read_real(*v.text, &real)) return sah_jv_real(real);
    return a[0].kind == SAH_J_MISSING ? sah_jv_real(0) : a[0];
}

FILTER(f_abs)
{
    (void)a;
    if (!sah_jv_is_number(v))
        return sah_jr_type_error(run, v, "bad operand type for abs(): '%s'", sah_jv_type(v));
    if (v.kind == SAH_J_FLOAT) return sah_jv_real(fabs(v.real));
    return sah_jv_integer(v) < 0 ? sah_jr_binary(run, SAH_J_SUBTRACT, sah_jv_int(0), v)
                                 : sah_jv_int(sah_jv_integer(v));
}

static double round_to(double value, int64_t precision)
{
    char digits[400];
    if (precision >= 0 && precision < 60 && fabs(value) < 1e300) {
        snprintf(digits, sizeof digits, "%.*f", (int)precision,
                 value); /* exact halves go to the even digit */
        return strtod(digits, NULL);
    }
    if (precision >= 60 || isnan(value) || isinf(value)) return value;
    if (precision < -308) return copysign(0, value);
    const double unit = pow(10, -(double)precision);
    return rint(value / unit) * unit;
}

/* To a multiple of 10^-precision, halves to the even one. */
static sah_jv round_integer(sah_jrun *run, int64_t value, int64_t precision)
{
    if (precision >= 0) return sah_jv_int(value);
    if (precision < -19) return sah_jv_int(0); /* less than half of it */
    uint64_t unit = 1, size = value < 0 ? -(uint64_t)value : (uint64_t)value;
    for (; precision < 0; precision++) unit *= 10;
    const uint64_t rest = size % unit, up = unit - rest;
    size -= rest;
    if (rest > up || (rest == up && size / unit % 2 == 1)) size += unit;
    if (size > INT64_MAX) return sah_jr_fail(run, "an integer that needs more than 64 bits");
    return sah_jv_int(value < 0 ? -(int64_t)size : (int64_t)size);
}

FILTER(f_round)
{
    int64_t precision;
    if (!want_integer(run, a[0], 0, &precision)) return sah_jv_missing();
    if (!sah_jv_is_number(v))
        return sah_jr_type_error(run, v, "round needs a number, not %s", sah_jv_type(v));
    const sah_jtext method = a[1].kind == SAH_J_TEXT ? *a[1].text : sah_jtext_c("common");
    if (sah_jtext_is(method, "common")) {
        if (v.kind == SAH_J_FLOAT) return sah_jv_real(round_to(v.real, precision));
        return round_integer(run, sah_jv_integer(v), precision);
    }
    if (!sah_jtext_is(method, "ceil") && !sah_jtext_is(method, "floor"))
        return sah_jr_fail(run, "method must be common, ceil or floor");
    const double unit = pow(10, (double)precision), scaled = sah_jv_number(v) * unit;
    return sah_jv_real((sah_jtext_is(method, "ceil") ? ceil(scaled) : floor(scaled)) / unit);
}

/* ---- Values of any kind -------------------------------------------------------------------------------- */

FILTER(f_default)
{
    const bool empty = v.kind == SAH_J_UNDEFINED || (sah_jr_truth(run, a[1]) && !sah_jr_truth(run, v));
    if (!empty) return v;
    return a[0].kind == SAH_J_MISSING ? sah_jr_text_c(run, "") : a[0];
}

FILTER(f_length)
{
    size_t length;
    (void)a;
    if (!sah_jr_length(run, v, &length))
        return sah_jr_fail(run, "object of type '%s' has no len()", sah_jv_type(v));
    return sah_jv_int((int64_t)length);
}

/* Attributes proper alone: never a dict's item. */
FILTER(f_attr)
{
    if (a[0].kind != SAH_J_TEXT) return sah_jr_type_error(run, a[0], "attribute name must be string");
    if (v.kind == SAH_J_UNDEFINED) return sah_jr_use_undefined(run, v);
    if (v.kind == SAH_J_DICT && sah_jinja_method_named(v.kind, *a[0].text) == NULL &&
        !sah_jinja_method_changes(v.kind, *a[0].text))
        return sah_jr_undefined_member(run, v, a[0]);
    return sah_jr_attribute(run, v, *a[0].text);
}

static const sah_jbuiltin filters[] = {
    {"abs", "", 0, f_abs, NULL},
    {"attr", "name", 1, f_attr, NULL},
    {"capitalize", "", 0, f_capitalize, NULL},
    {"center", "width", 0, f_center, NULL},
    {"count", "", 0, f_length, NULL},
    {"d", "default_value boolean", 0, f_default, NULL},
    {"default", "default_value boolean", 0, f_default, NULL},
    {"e", "", 0, f_escape, NULL},
    {"escape", "", 0, f_escape, NULL},
    {"filesizeformat", "", 0, NULL, NULL},
    {"float", "default", 0, f_float, NULL},
    {"forceescape", "", 0, f_forceescape, NULL},
    {"format", "", 0, NULL, f_format},
    {"indent", "width first blank", 0, f_indent, NULL},
    {"int", "default base", 0, f_int, NULL},
    {"length", "", 0, f_length, NULL},
    {"lower", "", 0, f_lower, NULL},
    {"pprint", "", 0, NULL, NULL},
    {"random", "", 0, NULL, NULL},
    {"replace", "old new count", 2, f_replace, NULL},
    {"round", "precision method", 0, f_round, NULL},
    {"safe", "", 0, f_safe, NULL},
    {"string", "", 0, f_string, NULL},
    {"striptags", "", 0, NULL, NULL},
    {"title", "", 0, f_title, NULL},
    {"tojson", "ensure_ascii indent separators sort_keys", 0, f_tojson, NULL},
    {"trim", "chars", 0, f_trim, NULL},
    {"truncate", "length killwords end leeway", 0, f_truncate, NULL},
    {"upper", "", 0, f_upper, NULL},
    {"urlencode", "", 0, NULL, NULL},
    {"urlize", "", 0, NULL, NULL},
    {"wordcount", "", 0, f_wordcount, NULL},
    {"wordwrap", "", 0, NULL, NULL},
    {"xmlattr", "", 0, NULL, NULL},
};

const sah_jbuiltin *sah_jinja_filter_named(sah_jtext name)
{
    const sah_jbuiltin *found = sah_jinja_find_builtin(filters, sizeof filters / sizeof *filters, name);
    return found != NULL ? found : sah_jinja_sequence_filter_named(name);
}
