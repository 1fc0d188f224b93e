/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text: Python's str() and repr(). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/template/jinja_print.h"
#include "model/template/jinja_value.h"
#include "util/utf8.h"

/* ---- Numbers ------------------------------------------------------------------------------------------- */

size_t sah_jr_format_real(double value, char out[40])
{
    if (isnan(value)) return (size_t)snprintf(out, 40, "nan");
    if (isinf(value)) return (size_t)snprintf(out, 40, value < 0 ? "-inf" : "inf");
    char digits[40];
    int precision = 0;
    do /* the fewest digits that read back as the same number */
        snprintf(digits, sizeof digits, "%.*e", precision, value);
    while (precision++ < 17 && strtod(digits, NULL) != value);
    char *e = strchr(digits, 'e');
    const int exponent = atoi(e + 1);
    if (exponent >= -4 && exponent < 16) {
        const int decimals = precision - 1 - exponent;
        return (size_t)snprintf(out, 40, "%.*f", decimals > 1 ? decimals : 1, value);
    }
    *e = '\0';
    return (size_t)snprintf(out, 40, "%se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
}

/* ---- repr() and str() ---------------------------------------------------------------------------------- */

static bool add_text_repr(sah_jrun *run, sah_jbuffer *buffer, sah_jtext text)
{
    const bool single = text.size > 0 && memchr(text.data, '\'', text.size) != NULL;
    const bool both = single && memchr(text.data, '"', text.size) != NULL;
    const char quote = single && !both ? '"' : '\'';
    char escape[16];
    size_t length;
    sah_jr_add(run, buffer, &quote, 1);
    for (size_t at = 0; at < text.size && !run->failed; at += length) {
        const uint32_t code = sah_utf8_next(text.data + at, text.size - at, &length);
        if (code == (uint32_t)quote || code == '\\')
            snprintf(escape, sizeof escape, "\\%c", (char)code);
        else if (code == '\n' || code == '\r' || code == '\t')
            snprintf(escape, sizeof escape, "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
        else if (code < 0x20 || code == 0x7F ||
                 (code < 0x100 && code >= 0x80 && !sah_jtext_is_printable(code)))
            snprintf(escape, sizeof escape, "\\x%02x", (unsigned)code);
        else if (code >= 0x100 && !sah_jtext_is_printable(code))
            snprintf(escape, sizeof escape, code < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)code);
        else {
            sah_jr_add(run, buffer, text.data + at, length);
            continue;
        }
        sah_jr_add_c(run, buffer, escape);
    }
    return sah_jr_add(run, buffer, &quote, 1);
}

static bool add_items(sah_jrun *run, sah_jbuffer *buffer, const sah_jlist *list, const char *open,
                      const char *close)
{
    sah_jr_add_c(run, buffer, open);
    for (size_t i = 0; i < list->n && !run->failed; i++) {
        if (i > 0) sah_jr_add_c(run, buffer, ", ");
        sah_jr_add_repr(run, buffer, list->items[i]);
    }
    return sah_jr_add_c(run, buffer, close);
}

static bool add_dict(sah_jrun *run, sah_jbuffer *buffer, const sah_jdict *dict)
{
    sah_jr_add_c(run, buffer, "{");
    for (size_t i = 0; i < dict->n && !run->failed; i++) {
        if (i > 0) sah_jr_add_c(run, buffer, ", ");
        sah_jr_add_repr(run, buffer, dict->keys[i]);
        sah_jr_add_c(run, buffer, ": ");
        sah_jr_add_repr(run, buffer, dict->values[i]);
    }
    return sah_jr_add_c(run, buffer, "}");
}

static bool add_range(sah_jrun *run, sah_jbuffer *buffer, const sah_jrange *range)
{
    char text[96];
    if (range->step == 1)
        snprintf(text, sizeof text, "range(%lld, %lld)", (long long)range->start, (long long)range->stop);
    else
        snprintf(text, sizeof text, "range(%lld, %lld, %lld)", (long long)range->start,
                 (long long)range->stop, (long long)range->step);
    return sah_jr_add_c(run, buffer, text);
}

static bool add_loop(sah_jrun *run, sah_jbuffer *buffer, sah_jv v)
{
    char text[96];
    size_t length;
    sah_jr_length(run, v, &length);
    snprintf(text, sizeof text, "<LoopContext %lld/%zu>", (long long)v.loop->index0 + 1, length);
    return sah_jr_add_c(run, buffer, text);
}

static bool add_simple(sah_jrun *run, sah_jbuffer *buffer, sah_jv v)
{
    char text[48];
    switch (v.kind) {
    case SAH_J_BOOL:
        return sah_jr_add_c(run, buffer, v.truth ? "True" : "False");
    case SAH_J_INT:
        return sah_jr_add(run, buffer, text,
                          (size_t)snprintf(text, sizeof text, "%lld", (long long)v.integer));
    case SAH_J_FLOAT:
        return sah_jr_add(run, buffer, text, sah_jr_format_real(v.real, text));
    case SAH_J_NONE:
        return sah_jr_add_c(run, buffer, "None");
    default:
        return sah_jr_add_c(run, buffer, "Undefined");
    }
}

static bool add_nested(sah_jrun *run, sah_jbuffer *buffer, sah_jv v)
{
    switch (v.kind) {
    case SAH_J_LIST:
        return add_items(run, buffer, v.list, "[", "]");
    case SAH_J_TUPLE:
        return add_items(run, buffer, v.list, "(", v.list->n == 1 ? ",)" : ")");
    case SAH_J_VIEW:
        return sah_jr_add_c(run, buffer, v.list->view) && add_items(run, buffer, v.list, "([", "])");
    case SAH_J_DICT:
        return add_dict(run, buffer, v.dict);
    case SAH_J_NAMESPACE:
        return sah_jr_add_c(run, buffer, "<Namespace ") && add_dict(run, buffer, v.dict) &&
               sah_jr_add_c(run, buffer, ">");
    case SAH_J_LOOP:
        return add_loop(run, buffer, v);
    case SAH_J_TEXT:
        return (!v.safe || sah_jr_add_c(run, buffer, "Markup(")) && add_text_repr(run, buffer, *v.text) &&
               (!v.safe || sah_jr_add_c(run, buffer, ")"));
    case SAH_J_RANGE:
        return add_range(run, buffer, v.range);
    case SAH_J_ITERATOR: /* Python writes their addresses */
    case SAH_J_MACRO:
    case SAH_J_FUNCTION:
    case SAH_J_METHOD:
        sah_jr_fail(run, "a %s is written as text, which is not supported", sah_jv_type(v));
        return false;
    default:
        return add_simple(run, buffer, v);
    }
}

bool sah_jr_add_repr(sah_jrun *run, sah_jbuffer *buffer, sah_jv v)
{
    const bool done = sah_jr_deeper(run) && sah_jr_step(run, 1) && add_nested(run, buffer, v);
    run->depth--;
    return done && !run->failed;
}

sah_jtext sah_jr_str(sah_jrun *run, sah_jv v)
{
    if (v.kind == SAH_J_TEXT) return *v.text;
    sah_jbuffer buffer = {0};
    if (v.kind == SAH_J_UNDEFINED || run->failed) return sah_jtext_c("");
    sah_jr_add_repr(run, &buffer, v);
    return run->failed ? sah_jtext_c("") : sah_jtext_of(buffer.data, buffer.n);
}
