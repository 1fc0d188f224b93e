/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in and out: what a template is given, and the filter tojson as transformers defines it (Python's
 * json.dumps, not Jinja's own, which escapes for HTML). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/template/jinja_json.h"
#include "model/template/jinja_print.h"
#include "model/template/jinja_value.h"
#include "util/utf8.h"

/* ---- In ------------------------------------------------------------------------------------------------ */

static sah_jv text_of(sah_jrun *run, const char *data, size_t size)
{
    sah_jbuffer copy = {0};
    return sah_jr_add(run, &copy, data, size) ? sah_jr_buffer_text(run, &copy) : sah_jv_missing();
}

static sah_jv object_of(sah_jrun *run, const json_t *json)
{
    sah_jv dict = sah_jr_dict(run);
    const char *key;
    size_t size;
    json_t *value;
    json_object_keylen_foreach((json_t *)json, key, size, value)
    {
        const sah_jv name = text_of(run, key, size);
        if (!sah_jr_dict_set(run, dict, name, sah_jr_from_json(run, value))) break;
    }
    return run->failed ? sah_jv_missing() : dict;
}

static sah_jv array_of(sah_jrun *run, const json_t *json)
{
    sah_jv list = sah_jr_list(run, SAH_J_LIST, json_array_size(json));
    for (size_t i = 0; i < json_array_size(json) && !run->failed; i++)
        sah_jr_push(run, list, sah_jr_from_json(run, json_array_get(json, i)));
    return run->failed ? sah_jv_missing() : list;
}

sah_jv sah_jr_from_json(sah_jrun *run, const json_t *json)
{
    sah_jv value = sah_jv_none();
    if (!sah_jr_deeper(run) || !sah_jr_step(run, 1)) {
        run->depth--;
        return sah_jv_missing();
    }
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        value = object_of(run, json);
        break;
    case JSON_ARRAY:
        value = array_of(run, json);
        break;
    case JSON_STRING:
        value = text_of(run, json_string_value(json), json_string_length(json));
        break;
    case JSON_INTEGER:
        value = sah_jv_int(json_integer_value(json));
        break;
    case JSON_REAL:
        value = sah_jv_real(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        value = sah_jv_bool(json_is_true(json));
        break;
    case JSON_NULL:
        break;
    }
    run->depth--;
    return value;
}

/* ---- Out ----------------------------------------------------------------------------------------------- */

typedef struct writer {
    sah_jrun *run;
    sah_jbuffer buffer;
    bool ascii, sorted, lines; /* lines: each item on one of its own */
    sah_jtext indent, between, behind_key;
    int64_t level;
} writer;

static bool write_value(writer *w, sah_jv v);

static bool write_text(writer *w, sah_jtext text)
{
    static const char escaped[] = "\"\"\\\\\nn\rr\tt\ff\bb";
    size_t length;
    char hex[16];
    sah_jr_add_c(w->run, &w->buffer, "\"");
    for (size_t at = 0; at < text.size && !w->run->failed; at += length) {
        const uint32_t code = sah_utf8_next(text.data + at, text.size - at, &length);
        size_t i = 0;
        while (i + 1 < sizeof escaped && (uint32_t)escaped[i] != code) i += 2;
        if (i + 1 < sizeof escaped)
            snprintf(hex, sizeof hex, "\\%c", escaped[i + 1]);
        else if (code < 0x20 || (w->ascii && code > 0x7E && code < 0x10000))
            snprintf(hex, sizeof hex, "\\u%04x", (unsigned)code);
        else if (w->ascii && code >= 0x10000)
            snprintf(hex, sizeof hex, "\\u%04x\\u%04x", (unsigned)(0xD7C0 + (code >> 10)),
                     (unsigned)(0xDC00 + (code & 0x3FF)));
        else {
            sah_jr_add(w->run, &w->buffer, text.data + at, length);
            continue;
        }
        sah_jr_add_c(w->run, &w->buffer, hex);
    }
    return sah_jr_add_c(w->run, &w->buffer, "\"");
}

static bool new_line(writer *w)
{
    if (!w->lines) return !w->run->failed;
    return sah_jr_add_c(w->run, &w->buffer, "\n") &&
           sah_jr_add_repeated(w->run, &w->buffer, w->indent, w->level);
}

static bool write_list(writer *w, const sah_jlist *list)
{
    if (list->n == 0) return sah_jr_add_c(w->run, &w->buffer, "[]");
    sah_jr_add_c(w->run, &w->buffer, "[");
    w->level++;
    for (size_t i = 0; i < list->n && !w->run->failed; i++) {
        if (i > 0) sah_jr_add_text(w->run, &w->buffer, w->between);
        if (!new_line(w) || !write_value(w, list->items[i])) return false;
    }
    w->level--;
    return new_line(w) && sah_jr_add_c(w->run, &w->buffer, "]");
}

static bool write_number(writer *w, sah_jv v)
{
    char text[48];
    if (v.kind == SAH_J_INT) {
        snprintf(text, sizeof text, "%lld", (long long)v.integer);
    } else if (isnan(v.real) || isinf(v.real)) {
        snprintf(text, sizeof text, "%s", isnan(v.real) ? "NaN" : v.real < 0 ? "-Infinity" : "Infinity");
    } else {
        sah_jr_format_real(v.real, text);
    }
    return sah_jr_add_c(w->run, &w->buffer, text);
}

static bool write_key(writer *w, sah_jv key)
{
    switch (key.kind) {
    case SAH_J_TEXT:
        return write_text(w, *key.text);
    case SAH_J_INT:
    case SAH_J_FLOAT:
    case SAH_J_BOOL:
    case SAH_J_NONE:
        return sah_jr_add_c(w->run, &w->buffer, "\"") && write_value(w, key) &&
               sah_jr_add_c(w->run, &w->buffer, "\"");
    default:
        sah_jr_type_error(w->run, key, "keys must be str, int, float, bool or None, not %s",
                          sah_jv_type(key));
        return false;
    }
}

/* Places of the keys in their order; a simple sort that keeps equal ones where they are. */
static size_t *key_order(writer *w, const sah_jdict *dict)
{
    size_t *order = sah_jr_alloc(w->run, dict->n, sizeof *order);
    for (size_t i = 0; order != NULL && i < dict->n; i++) {
        size_t at = i;
        while (w->sorted && at > 0 && !w->run->failed &&
               sah_jr_compare(w->run, dict->keys[i], dict->keys[order[at - 1]], "<") < 0) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
    return order;
}

static bool write_dict(writer *w, const sah_jdict *dict)
{
    if (dict->n == 0) return sah_jr_add_c(w->run, &w->buffer, "{}");
    const size_t *order = key_order(w, dict);
    if (order == NULL) return false;
    sah_jr_add_c(w->run, &w->buffer, "{");
    w->level++;
    for (size_t i = 0; i < dict->n && !w->run->failed; i++) {
        if (i > 0) sah_jr_add_text(w->run, &w->buffer, w->between);
        if (!new_line(w) || !write_key(w, dict->keys[order[i]])) return false;
        sah_jr_add_text(w->run, &w->buffer, w->behind_key);
        if (!write_value(w, dict->values[order[i]])) return false;
    }
    w->level--;
    return new_line(w) && sah_jr_add_c(w->run, &w->buffer, "}");
}

static bool write_inside(writer *w, sah_jv v)
{
    switch (v.kind) {
    case SAH_J_NONE:
        return sah_jr_add_c(w->run, &w->buffer, "null");
    case SAH_J_BOOL:
        return sah_jr_add_c(w->run, &w->buffer, v.truth ? "true" : "false");
    case SAH_J_INT:
    case SAH_J_FLOAT:
        return write_number(w, v);
    case SAH_J_TEXT:
        return write_text(w, *v.text);
    case SAH_J_LIST:
    case SAH_J_TUPLE:
        return write_list(w, v.list);
    case SAH_J_DICT:
        return write_dict(w, v.dict);
    default:
        sah_jr_fail(w->run, "Object of type %s is not JSON serializable", sah_jv_type(v));
        return false;
    }
}

static bool write_value(writer *w, sah_jv v)
{
    const bool done = sah_jr_deeper(w->run) && sah_jr_step(w->run, 1) && write_inside(w, v);
    w->run->depth--;
    return done && !w->run->failed;
}

static bool set_separators(writer *w, sah_jv separators)
{
    if (separators.kind == SAH_J_NONE) return true;
    if ((separators.kind != SAH_J_TUPLE && separators.kind != SAH_J_LIST) || separators.list->n != 2 ||
        separators.list->items[0].kind != SAH_J_TEXT || separators.list->items[1].kind != SAH_J_TEXT) {
        sah_jr_fail(w->run, "tojson: separators are two strings");
        return false;
    }
    w->between = *separators.list->items[0].text;
    w->behind_key = *separators.list->items[1].text;
    return true;
}

sah_jv sah_jr_to_json(sah_jrun *run, sah_jv v, bool ascii, sah_jv indent, sah_jv separators, bool sorted)
{
    writer w = {.run = run,
                .ascii = ascii,
                .sorted = sorted,
                .lines = indent.kind != SAH_J_NONE,
                .indent = sah_jtext_c(""),
                .between = sah_jtext_c(indent.kind != SAH_J_NONE ? "," : ", "),
                .behind_key = sah_jtext_c(": ")};
    sah_jbuffer blanks = {0};
    if (indent.kind == SAH_J_INT || indent.kind == SAH_J_BOOL) {
        if (!sah_jr_add_repeated(run, &blanks, sah_jtext_c(" "), sah_jv_integer(indent)))
            return sah_jv_missing();
        w.indent = sah_jtext_of(blanks.data, blanks.n);
    } else if (indent.kind == SAH_J_TEXT) {
        w.indent = *indent.text;
    } else if (indent.kind != SAH_J_NONE) {
        return sah_jr_type_error(run, indent, "tojson: indent is a number or a string");
    }
    return set_separators(&w, separators) && write_value(&w, v) ? sah_jr_buffer_text(run, &w.buffer)
                                                                : sah_jv_missing();
}
