/* SPDX-License-Identifier: Apache-2.0 */
/* + - * / // % **, as Python has them for numbers, texts and lists. Integers have 64 bits here; what needs
 * more is refused. */
#include <math.h>

#include "model/template/jinja_arithmetic.h"
#include "model/template/jinja_format.h"
#include "model/template/jinja_value.h"

static const char *const signs[] = {
    [SAH_J_ADD] = "+",           [SAH_J_SUBTRACT] = "-", [SAH_J_MULTIPLY] = "*",       [SAH_J_DIVIDE] = "/",
    [SAH_J_FLOOR_DIVIDE] = "//", [SAH_J_MODULO] = "%",   [SAH_J_POWER] = "** or pow()"};

static sah_jv too_large(sah_jrun *run)
{
    return sah_jr_fail(run, "an integer that needs more than 64 bits");
}

static sah_jv power(sah_jrun *run, int64_t base, int64_t exponent)
{
    int64_t result = 1;
    if (exponent < 0) {
        if (base == 0) return sah_jr_fail(run, "zero cannot be raised to a negative power");
        return sah_jv_real(pow((double)base, (double)exponent));
    }
    if (base == 0 || base == 1) return sah_jv_int(exponent == 0 ? 1 : base);
    if (base == -1) return sah_jv_int(exponent % 2 == 0 ? 1 : -1);
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(result, base, &result)) return too_large(run);
    return sah_jv_int(result);
}

static sah_jv integers(sah_jrun *run, sah_joperator op, int64_t a, int64_t b)
{
    int64_t result = 0;
    bool overflow = false;
    switch (op) {
    case SAH_J_ADD:
        overflow = __builtin_add_overflow(a, b, &result);
        break;
    case SAH_J_SUBTRACT:
        overflow = __builtin_sub_overflow(a, b, &result);
        break;
    case SAH_J_MULTIPLY:
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
    case SAH_J_POWER:
        return power(run, a, b);
    default: /* divisions round down, and the remainder has the divisor's sign */
        if (b == 0) return sah_jr_fail(run, "division by zero");
        if (op == SAH_J_DIVIDE) return sah_jv_real((double)a / (double)b);
        if (b == -1) {
            if (op == SAH_J_MODULO) return sah_jv_int(0);
            overflow = __builtin_sub_overflow((int64_t)0, a, &result);
            break;
        }
        result = a % b;
        if (result != 0 && (result < 0) != (b < 0)) result += b;
        if (op == SAH_J_FLOOR_DIVIDE) result = (a - result) / b;
    }
    return overflow ? too_large(run) : sah_jv_int(result);
}

static sah_jv reals(sah_jrun *run, sah_joperator op, double a, double b)
{
    double remainder;
    switch (op) {
    case SAH_J_ADD:
        return sah_jv_real(a + b);
    case SAH_J_SUBTRACT:
        return sah_jv_real(a - b);
    case SAH_J_MULTIPLY:
        return sah_jv_real(a * b);
    case SAH_J_POWER:
        if (a == 0 && b < 0) return sah_jr_fail(run, "zero cannot be raised to a negative power");
        if (a < 0 && b != floor(b)) return sah_jr_fail(run, "a complex number is not supported");
        return sah_jv_real(pow(a, b));
    default:
        if (b == 0) return sah_jr_fail(run, "division by zero");
        if (op == SAH_J_DIVIDE) return sah_jv_real(a / b);
        remainder = fmod(a, b);
        if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
        if (op == SAH_J_MODULO) return sah_jv_real(remainder == 0 ? copysign(0, b) : remainder);
        return sah_jv_real(round((a - remainder) / b));
    }
}

static bool add_escaped(sah_jrun *run, sah_jbuffer *buffer, sah_jv text)
{
    if (text.safe) return sah_jr_add_text(run, buffer, *text.text);
    for (size_t i = 0; i < text.text->size && !run->failed; i++) {
        const char c = text.text->data[i];
        if (c == '&' || c == '<' || c == '>')
            sah_jr_add_c(run, buffer, c == '&' ? "&amp;" : c == '<' ? "&lt;" : "&gt;");
        else if (c == '"' || c == '\'')
            sah_jr_add_c(run, buffer, c == '"' ? "&#34;" : "&#39;");
        else
            sah_jr_add(run, buffer, &c, 1);
    }
    return !run->failed;
}

sah_jv sah_jr_escape(sah_jrun *run, sah_jv text)
{
    sah_jbuffer buffer = {0};
    add_escaped(run, &buffer, text);
    sah_jv escaped = sah_jr_buffer_text(run, &buffer);
    escaped.safe = true;
    return escaped;
}

static sah_jv add_texts(sah_jrun *run, sah_jv a, sah_jv b)
{
    sah_jbuffer buffer = {0};
    const bool safe = a.safe || b.safe;
    if (!safe) {
        sah_jr_add_text(run, &buffer, *a.text);
        sah_jr_add_text(run, &buffer, *b.text);
    } else { /* what joins a safe text is escaped */
        add_escaped(run, &buffer, a);
        add_escaped(run, &buffer, b);
    }
    sah_jv text = sah_jr_buffer_text(run, &buffer);
    text.safe = safe;
    return text;
}

static sah_jv repeat(sah_jrun *run, sah_jv v, int64_t n)
{
    sah_jbuffer buffer = {0};
    if (v.kind == SAH_J_TEXT) {
        sah_jr_add_repeated(run, &buffer, *v.text, n);
        return sah_jr_buffer_text(run, &buffer);
    }
    sah_jv list = sah_jr_list(run, v.kind, 0);
    for (int64_t i = 0; i < n && v.list->n > 0 && !run->failed; i++)
        for (size_t j = 0; j < v.list->n && sah_jr_step(run, 1); j++)
            sah_jr_push(run, list, v.list->items[j]);
    return list;
}

static bool is_sequence(sah_jv v)
{
    return v.kind == SAH_J_TEXT || v.kind == SAH_J_LIST || v.kind == SAH_J_TUPLE;
}

static sah_jv add_lists(sah_jrun *run, sah_jv a, sah_jv b)
{
    sah_jv list = sah_jr_list(run, a.kind, a.list->n + b.list->n);
    if (!sah_jr_step(run, a.list->n + b.list->n)) return sah_jv_missing();
    for (size_t i = 0; i < a.list->n; i++) sah_jr_push(run, list, a.list->items[i]);
    for (size_t i = 0; i < b.list->n; i++) sah_jr_push(run, list, b.list->items[i]);
    return list;
}

sah_jv sah_jr_binary(sah_jrun *run, sah_joperator op, sah_jv a, sah_jv b)
{
    if (run->failed) return sah_jv_missing();
    if (sah_jv_is_number(a) && sah_jv_is_number(b)) {
        if (a.kind != SAH_J_FLOAT && b.kind != SAH_J_FLOAT)
            return integers(run, op, sah_jv_integer(a), sah_jv_integer(b));
        return reals(run, op, sah_jv_number(a), sah_jv_number(b));
    }
    if (op == SAH_J_ADD && a.kind == b.kind) {
        if (a.kind == SAH_J_TEXT) return add_texts(run, a, b);
        if (a.kind == SAH_J_LIST || a.kind == SAH_J_TUPLE) return add_lists(run, a, b);
    }
    if (op == SAH_J_MULTIPLY && (b.kind == SAH_J_INT || b.kind == SAH_J_BOOL) && is_sequence(a))
        return repeat(run, a, sah_jv_integer(b));
    if (op == SAH_J_MULTIPLY && (a.kind == SAH_J_INT || a.kind == SAH_J_BOOL) && is_sequence(b))
        return repeat(run, b, sah_jv_integer(a));
    if (op == SAH_J_MODULO && a.kind == SAH_J_TEXT) return sah_jr_percent(run, *a.text, b);
    if (a.kind == SAH_J_UNDEFINED) return sah_jr_use_undefined(run, a);
    if (b.kind == SAH_J_UNDEFINED) return sah_jr_use_undefined(run, b);
    return sah_jr_fail(run, "unsupported operand type(s) for %s: '%s' and '%s'", signs[op], sah_jv_type(a),
                       sah_jv_type(b));
}
