/* SPDX-License-Identifier: Apache-2.0 */
/* Formats: printf-style `format % values`, and str.format. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/template/jinja_format.h"
#include "model/template/jinja_member.h"
#include "model/template/jinja_print.h"
#include "model/template/jinja_value.h"

/* ---- Fields of formats --------------------------------------------------------------------------------- */

typedef struct field {
    char fill, align; /* '<', '>', '^', '='; '\0': the kind's own */
    bool plus, blank, alternative, zero;
    int64_t width, precision; /* -1: none */
    char type; /* '\0': none */
} field;

enum {
    WIDEST = 1 << 20, /* of a number in a format; a larger one counts as this */
    WIDEST_FIELD = 10000 /* characters */
};

/* `body`, its sign and prefix apart, in the field's width. */
static bool add_padded(sah_jrun *run, sah_jbuffer *buffer, const field *f, const char *sign, sah_jtext body,
                       char align)
{
    const size_t taken = strlen(sign) + body.length;
    const int64_t pad = f->width > (int64_t)taken ? f->width - (int64_t)taken : 0;
    const int64_t left = align == '>' ? pad : align == '^' ? pad / 2 : 0;
    const sah_jtext fill = {&f->fill, 1, 1};
    if (f->width > WIDEST_FIELD) {
        sah_jr_fail(run, "a field of more than %d characters is not supported", WIDEST_FIELD);
        return false;
    }
    sah_jr_add_repeated(run, buffer, fill, left);
    sah_jr_add_c(run, buffer, sign);
    if (align == '=') sah_jr_add_repeated(run, buffer, fill, pad);
    sah_jr_add_text(run, buffer, body);
    return sah_jr_add_repeated(run, buffer, fill, align == '=' ? 0 : pad - left);
}

static bool add_integer(sah_jrun *run, sah_jbuffer *buffer, const field *f, int64_t value)
{
    char digits[72], sign[4] = "";
    const uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    size_t n = 0;
    if (value < 0)
        sign[0] = '-';
    else if (f->plus || f->blank)
        sign[0] = f->plus ? '+' : ' ';
    const unsigned base = f->type == 'x' || f->type == 'X' ? 16
                          : f->type == 'o'                 ? 8
                          : f->type == 'b'                 ? 2
                                                           : 10;
    const char *alphabet = f->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    uint64_t left = size;
    do {
        digits[n++] = alphabet[left % base];
        left /= base;
    } while (left > 0);
    while (f->precision > (int64_t)n && n < 64) digits[n++] = '0';
    for (size_t i = 0; i < n / 2; i++) {
        const char c = digits[i];
        digits[i] = digits[n - 1 - i];
        digits[n - 1 - i] = c;
    }
    if (f->alternative && base != 10) {
        const size_t at = strlen(sign);
        sign[at] = '0';
        sign[at + 1] = f->type;
        sign[at + 2] = '\0';
    }
    return add_padded(run, buffer, f, sign, sah_jtext_of(digits, n), f->align != '\0' ? f->align : '>');
}

static bool add_real(sah_jrun *run, sah_jbuffer *buffer, const field *f, double value)
{
    char text[400], format[8], sign[2] = "";
    size_t n;
    if (signbit(value) && !isnan(value))
        sign[0] = '-';
    else if (f->plus || f->blank)
        sign[0] = f->plus ? '+' : ' ';
    if (f->precision > 50) {
        sah_jr_fail(run, "a number with more than 50 decimals is not supported");
        return false;
    }
    if (f->type == '\0' || f->type == 's') {
        n = sah_jr_format_real(fabs(value), text);
    } else {
        snprintf(format, sizeof format, "%%.*%c", f->type == '%' ? 'f' : f->type);
        n = (size_t)snprintf(text, sizeof text, format, f->precision < 0 ? 6 : (int)f->precision,
                             fabs(f->type == '%' ? 100 * value : value));
        if (f->type == '%' && n + 1 < sizeof text) text[n++] = '%';
    }
    return add_padded(run, buffer, f, sign, sah_jtext_of(text, n), f->align != '\0' ? f->align : '>');
}

static bool add_string(sah_jrun *run, sah_jbuffer *buffer, const field *f, sah_jtext text, char align)
{
    if (f->precision >= 0 && (uint64_t)f->precision < text.length)
        text = sah_jtext_cut(text, 0, sah_jtext_at(text, (size_t)f->precision));
    return add_padded(run, buffer, f, "", text, f->align != '\0' ? f->align : align);
}

static int64_t read_number(sah_jtext text, size_t *at)
{
    int64_t n = 0;
    while (*at < text.size && text.data[*at] >= '0' && text.data[*at] <= '9') {
        n = 10 * n + (text.data[(*at)++] - '0');
        if (n > WIDEST) n = WIDEST;
    }
    return n;
}

/* ---- format % values ----------------------------------------------------------------------------------- */

static bool add_percent(sah_jrun *run, sah_jbuffer *buffer, const field *f, sah_jv v)
{
    sah_jbuffer repr = {0};
    switch (f->type) {
    case 's':
        return add_string(run, buffer, f, sah_jr_str(run, v), '>');
    case 'r':
        return sah_jr_add_repr(run, &repr, v) &&
               add_string(run, buffer, f, sah_jtext_of(repr.data, repr.n), '>');
    case 'd':
    case 'i':
    case 'u':
        if (v.kind == SAH_J_FLOAT && fabs(v.real) < 9e18) v = sah_jv_int((int64_t)v.real);
        /* fall through */
    case 'x':
    case 'X':
    case 'o':
        if (v.kind == SAH_J_INT || v.kind == SAH_J_BOOL)
            return add_integer(run, buffer, f, sah_jv_integer(v));
        break;
    case 'f':
    case 'F':
    case 'e':
    case 'E':
    case 'g':
    case 'G':
        if (sah_jv_is_number(v)) return add_real(run, buffer, f, sah_jv_number(v));
        break;
    case 'c':
        if (v.kind == SAH_J_TEXT && v.text->length == 1) return add_string(run, buffer, f, *v.text, '>');
        break;
    default:
        sah_jr_fail(run, "the format %%%c is not supported", f->type);
        return false;
    }
    sah_jr_type_error(run, v, "the format %%%c does not take a %s", f->type, sah_jv_type(v));
    return false;
}

typedef struct values {
    sah_jv all;
    size_t next;
} values;

static bool next_value(sah_jrun *run, values *v, sah_jv *out)
{
    const bool tuple = v->all.kind == SAH_J_TUPLE;
    if (v->next >= (tuple ? v->all.list->n : 1)) {
        sah_jr_fail(run, "not enough arguments for format string");
        return false;
    }
    *out = tuple ? v->all.list->items[v->next] : v->all;
    v->next++;
    return true;
}

/* A width or precision: a number, or * for one of the values. */
static bool read_size(sah_jrun *run, sah_jtext format, size_t *at, values *v, int64_t *out)
{
    sah_jv value;
    if (*at >= format.size || format.data[*at] != '*') {
        *out = read_number(format, at);
        return true;
    }
    ++*at;
    if (!next_value(run, v, &value)) return false;
    if (value.kind != SAH_J_INT || value.integer < 0 || value.integer > WIDEST) {
        sah_jr_fail(run, "* in a format needs a size");
        return false;
    }
    *out = value.integer;
    return true;
}

/* Behind '%'. */
static bool percent_field(sah_jrun *run, sah_jtext format, size_t *at, values *v, sah_jbuffer *buffer)
{
    field f = {.fill = ' ', .precision = -1};
    sah_jv value = sah_jv_missing();
    if (*at < format.size && format.data[*at] == '(') { /* %(name)s */
        const char *close = memchr(format.data + *at, ')', format.size - *at);
        if (close == NULL || v->all.kind != SAH_J_DICT) {
            sah_jr_fail(run, "a format with names needs a mapping");
            return false;
        }
        const size_t from = *at + 1, to = (size_t)(close - format.data);
        const sah_jtext name = sah_jtext_cut(format, from, to);
        const sah_jv *found = sah_jr_dict_get_text(v->all, name);
        if (found == NULL) {
            sah_jr_fail(run, "the format names '%.*s', which is not given", (int)name.size, name.data);
            return false;
        }
        value = *found;
        v->next = 1;
        *at = to + 1;
    }
    for (; *at < format.size && strchr("-+ #0", format.data[*at]) != NULL && format.data[*at] != '\0';
         ++*at) {
        f.align = format.data[*at] == '-' ? '<' : f.align;
        f.plus |= format.data[*at] == '+';
        f.blank |= format.data[*at] == ' ';
        f.alternative |= format.data[*at] == '#';
        f.zero |= format.data[*at] == '0';
    }
    if (!read_size(run, format, at, v, &f.width)) return false;
    if (*at < format.size && format.data[*at] == '.') {
        ++*at;
        if (!read_size(run, format, at, v, &f.precision)) return false;
    }
    while (*at < format.size && (format.data[*at] == 'l' || format.data[*at] == 'h')) ++*at;
    if (*at >= format.size) {
        sah_jr_fail(run, "incomplete format");
        return false;
    }
    f.type = format.data[(*at)++];
    if (f.type == '%') return sah_jr_add_c(run, buffer, "%");
    if (value.kind == SAH_J_MISSING && !next_value(run, v, &value)) return false;
    if (f.zero && f.align == '\0' && strchr("srca", f.type) == NULL) {
        f.fill = '0';
        f.align = '=';
    }
    return add_percent(run, buffer, &f, value);
}

sah_jv sah_jr_percent(sah_jrun *run, sah_jtext format, sah_jv all)
{
    sah_jbuffer buffer = {0};
    values v = {.all = all};
    sah_jr_step(run, format.size / 64);
    for (size_t at = 0; at < format.size && !run->failed;) {
        const char *percent = memchr(format.data + at, '%', format.size - at);
        const size_t end = percent != NULL ? (size_t)(percent - format.data) : format.size;
        sah_jr_add(run, &buffer, format.data + at, end - at);
        at = end + 1;
        if (percent != NULL && !percent_field(run, format, &at, &v, &buffer)) return sah_jv_missing();
    }
    const bool all_used = v.next >= (all.kind == SAH_J_TUPLE ? all.list->n : 1);
    /* What has items by key is taken for a mapping, of which not all need be used. */
    const bool mapping = all.kind == SAH_J_DICT || all.kind == SAH_J_LIST || all.kind == SAH_J_RANGE ||
                         all.kind == SAH_J_UNDEFINED;
    if (!all_used && !mapping)
        return sah_jr_fail(run, "not all arguments converted during string formatting");
    return sah_jr_buffer_text(run, &buffer);
}

/* ---- str.format ---------------------------------------------------------------------------------------- */

/* The value that "name", "0", "name.part[key]" stand for; *next counts fields without a name. */
static sah_jv field_value(sah_jrun *run, sah_jtext name, const sah_jargs *args, size_t *next)
{
    size_t end = 0;
    while (end < name.size && name.data[end] != '.' && name.data[end] != '[') end++;
    const sah_jtext first = sah_jtext_cut(name, 0, end);
    sah_jv value = sah_jv_missing();
    size_t at = 0;
    const int64_t index = read_number(first, &at);
    if (first.size == 0 || at == first.size) {
        const size_t place = first.size == 0 ? (*next)++ : (size_t)index;
        if (place < args->n) value = args->positional[place];
    }
    for (size_t i = 0; i < args->n_named && value.kind == SAH_J_MISSING; i++)
        if (sah_jtext_same(args->names[i], first)) value = args->named[i];
    if (value.kind == SAH_J_MISSING)
        return sah_jr_fail(run, "the format asks for '%.*s', which is not given", (int)first.size,
                           first.data);
    while (end < name.size && !run->failed) {
        const bool member = name.data[end] == '.';
        const size_t from = end + 1;
        for (end = from; end < name.size &&
                         (member ? name.data[end] != '.' && name.data[end] != '[' : name.data[end] != ']');)
            end++;
        const sah_jtext part = sah_jtext_cut(name, from, end);
        size_t digits = 0;
        const int64_t number = read_number(part, &digits);
        if (member)
            value = sah_jr_attribute(run, value, part);
        else
            value = sah_jr_item(run, value,
                                part.size > 0 && digits == part.size ? sah_jv_int(number)
                                                                     : sah_jr_text(run, part));
        end += !member && end < name.size;
    }
    return value;
}

/* [[fill]align][sign][#][0][width][.precision][type] */
static bool read_spec(sah_jrun *run, sah_jtext spec, field *f)
{
    size_t at = 0;
    *f = (field){.fill = ' ', .precision = -1};
    if (spec.size > 1 && strchr("<>^=", spec.data[1]) != NULL && spec.data[1] != '\0') {
        f->fill = spec.data[0];
        f->align = spec.data[1];
        at = 2;
    } else if (spec.size > 0 && strchr("<>^=", spec.data[0]) != NULL && spec.data[0] != '\0') {
        f->align = spec.data[at++];
    }
    if (at < spec.size && (spec.data[at] == '+' || spec.data[at] == '-' || spec.data[at] == ' ')) {
        f->plus = spec.data[at] == '+';
        f->blank = spec.data[at] == ' ';
        at++;
    }
    if (at < spec.size && spec.data[at] == '#') f->alternative = spec.data[at++] == '#';
    if (at < spec.size && spec.data[at] == '0') {
        f->zero = true;
        at++;
    }
    f->width = read_number(spec, &at);
    if (at < spec.size && spec.data[at] == '.') {
        at++;
        f->precision = read_number(spec, &at);
    }
    if (at < spec.size) f->type = spec.data[at++];
    if (at == spec.size && (f->type == '\0' || strchr("sdxXobfFeEgG%", f->type) != NULL)) return true;
    sah_jr_fail(run, "the format '%.*s' is not supported", (int)spec.size, spec.data);
    return false;
}

static bool add_formatted(sah_jrun *run, sah_jbuffer *buffer, sah_jv v, sah_jtext spec)
{
    field f;
    if (!read_spec(run, spec, &f)) return false;
    /* Any specification makes a bool the integer it is. */
    const bool number = sah_jv_is_number(v) && (v.kind != SAH_J_BOOL || spec.size > 0);
    if (f.zero && f.align == '\0' && number) {
        f.fill = '0';
        f.align = '=';
    } else if (f.zero && f.align == '\0') {
        f.fill = '0';
    }
    if (number && v.kind != SAH_J_FLOAT && (f.type == '\0' || strchr("dxXob", f.type) != NULL))
        return add_integer(run, buffer, &f, sah_jv_integer(v));
    if (number && (f.type == '\0' ? f.precision < 0 : strchr("fFeEgG%", f.type) != NULL))
        return add_real(run, buffer, &f, sah_jv_number(v));
    if (!number && (f.type == '\0' || f.type == 's')) {
        if (spec.size == 0 || v.kind == SAH_J_TEXT || v.kind == SAH_J_BOOL)
            return add_string(run, buffer, &f, sah_jr_str(run, v), '<');
    }
    sah_jr_fail(run, "the format '%.*s' of a %s is not supported", (int)spec.size, spec.data, sah_jv_type(v));
    return false;
}

/* Between { and }. */
static bool format_field(sah_jrun *run, sah_jtext inside, const sah_jargs *args, size_t *next,
                         sah_jbuffer *buffer)
{
    const char *colon = inside.size > 0 ? memchr(inside.data, ':', inside.size) : NULL;
    size_t end = colon != NULL ? (size_t)(colon - inside.data) : inside.size;
    const sah_jtext spec = colon != NULL ? sah_jtext_cut(inside, end + 1, inside.size) : sah_jtext_c("");
    char conversion = '\0';
    if (end >= 2 && inside.data[end - 2] == '!') {
        conversion = inside.data[end - 1];
        end -= 2;
    }
    sah_jv value = field_value(run, sah_jtext_cut(inside, 0, end), args, next);
    sah_jbuffer repr = {0};
    if (run->failed) return false;
    if (conversion == 'r') {
        if (!sah_jr_add_repr(run, &repr, value)) return false;
        value = sah_jr_buffer_text(run, &repr);
    } else if (conversion == 's') {
        value = sah_jr_text(run, sah_jr_str(run, value));
    } else if (conversion != '\0') {
        sah_jr_fail(run, "the conversion !%c is not supported", conversion);
    }
    return !run->failed && add_formatted(run, buffer, value, spec);
}

sah_jv sah_jr_format(sah_jrun *run, sah_jtext format, const sah_jargs *args)
{
    sah_jbuffer buffer = {0};
    size_t next = 0;
    sah_jr_step(run, format.size / 64);
    for (size_t at = 0; at < format.size && !run->failed;) {
        const char c = format.data[at];
        const bool twice = at + 1 < format.size && format.data[at + 1] == c;
        if ((c == '{' || c == '}') && twice) {
            sah_jr_add(run, &buffer, &c, 1);
            at += 2;
        } else if (c == '{') {
            const char *close = memchr(format.data + at, '}', format.size - at);
            const size_t end = close != NULL ? (size_t)(close - format.data) : 0;
            if (close == NULL || memchr(format.data + at + 1, '{', end - at - 1) != NULL)
                return sah_jr_fail(run, close == NULL ? "a format with { without }"
                                                      : "a format inside of a format is not supported");
            if (!format_field(run, sah_jtext_cut(format, at + 1, end), args, &next, &buffer))
                return sah_jv_missing();
            at = end + 1;
        } else if (c == '}') {
            return sah_jr_fail(run, "a format with } without {");
        } else {
            sah_jr_add(run, &buffer, &c, 1);
            at++;
        }
    }
    return sah_jr_buffer_text(run, &buffer);
}
