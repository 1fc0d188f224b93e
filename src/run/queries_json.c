/* SPDX-License-Identifier: Apache-2.0 */
/* Queries from JSON: an array, JSON lines, or values one behind another however they are laid out. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "run/queries_json.h"
#include "util/error.h"
#include "util/json.h"
#include "util/strings.h"

static size_t skip_blank(const sah_query_source *s, size_t at)
{
    while (at < s->size && sah_query_is_blank(s->text + at, 1)) at++;
    return at;
}

/* Where jansson gives no reason, an allocation failed. */
static bool is_memory(const json_error_t *reason)
{
    return json_error_code(reason) == json_error_out_of_memory || reason->text[0] == '\0';
}

/* The value at text[*at], and *at behind it; NULL with *reason otherwise. NULs are let through: one in a member that
 * nobody reads does no harm. */
static json_t *next_value(const sah_query_source *s, size_t *at, json_error_t *reason)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL;
    const char *text = s->text + *at;
    json_t *value = json_loadb(text, s->size - *at, flags, reason);
    if (value == NULL && json_error_code(reason) == json_error_numeric_overflow)
        value = json_loadb(text, s->size - *at, flags | JSON_DECODE_INT_AS_REAL, reason);
    if (value != NULL) *at += (size_t)reason->position;
    return value;
}

sah_status sah_query_is_json(const sah_query_source *s, bool *is_json, sah_error *error)
{
    size_t at = skip_blank(s, 0);
    *is_json = false;
    if (at == s->size || (s->text[at] != '{' && s->text[at] != '[')) return SAH_OK;
    const size_t inside = skip_blank(s, at + 1);
    const char next = inside < s->size ? s->text[inside] : ' ';
    *is_json = next == '"' || (s->text[at] == '[' && next == '{');
    if (*is_json) return SAH_OK;
    /* Other values in front, or nothing in it: only what is an array from end to end. */
    json_error_t reason;
    json_t *value = next_value(s, &at, &reason);
    if (value == NULL && is_memory(&reason)) return sah_fail_memory(error, s->where);
    *is_json = value != NULL && skip_blank(s, at) == s->size;
    json_decref(value);
    return SAH_OK;
}

/* ---- Records ------------------------------------------------------------------------------------------- */

static const char *kind_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        return "null";
    case JSON_STRING:
        break;
    }
    return "a text";
}

static sah_status fail_key(const sah_query_source *s, const char *place, const json_t *object,
                           sah_error *error)
{
    sah_strings names = {0};
    const char *key;
    json_t *value;
    sah_status status = SAH_OK;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (status == SAH_OK) status = sah_strings_add(&names, key, strlen(key), error);
    }
    if (status == SAH_OK) status = sah_query_fail_column(s, place, "key", &names, error);
    sah_strings_free(&names);
    return status;
}

/* The member of that name; where none was asked for, of that name with capitals. */
static const json_t *member_of(const sah_query_source *s, const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    const char *key;
    json_t *other;
    if (value != NULL || s->column != NULL) return value;
    json_object_foreach((json_t *)(uintptr_t)object, key, other)
    {
        if (strcasecmp(key, name) == 0) return other;
    }
    return NULL;
}

/* The query of an object: the first of the keys that has a value, or else that is there. */
static const json_t *find_query(const sah_query_source *s, const json_t *object, const char **key)
{
    const json_t *null = NULL;
    const char *name;
    for (size_t i = 0; (name = sah_query_column(s, i)) != NULL; i++) {
        const json_t *value = member_of(s, object, name);
        if (value == NULL || (json_is_null(value) && null != NULL)) continue;
        *key = name;
        if (!json_is_null(value)) return value;
        null = value;
    }
    return null;
}

static sah_status add_record(const sah_query_source *s, const json_t *record, const char *place,
                             sah_error *error)
{
    const json_t *query = record;
    const char *key = NULL;
    if (json_is_object(record)) {
        query = find_query(s, record, &key);
        if (query == NULL) return fail_key(s, place, record, error);
        if (!json_is_string(query))
            return sah_fail(error, SAH_FAILED, "%s: %s: \"%s\" is %s, not a text", s->where, place, key,
                            kind_of(query));
    } else if (!json_is_string(record)) {
        return sah_fail(error, SAH_FAILED,
                        "%s: %s is %s: neither an object with the query nor the query's text", s->where,
                        place, kind_of(record));
    } else if (s->column != NULL) {
        return sah_fail(error, SAH_FAILED, "%s: %s is plain text, without a key \"%s\"", s->where, place,
                        s->column);
    }
    const size_t size = json_string_length(query);
    if (memchr(json_string_value(query), '\0', size) != NULL)
        return sah_fail(error, SAH_FAILED, "%s: %s: the query holds the character NUL (\\u0000)", s->where,
                        place);
    const json_t *other = json_is_object(record) ? json_object_get(record, SAH_COLUMN_PARTNER) : NULL;
    const char *partner = json_string_value(other);
    if (s->partners != NULL && partner != NULL && strlen(partner) != json_string_length(other))
        return sah_fail(error, SAH_FAILED, "%s: %s: the partner holds the character NUL (\\u0000)", s->where,
                        place);
    return sah_query_add(s, json_string_value(query), size, partner, place, error);
}

static sah_status add_records(const sah_query_source *s, const json_t *array, size_t *n, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; status == SAH_OK && i < json_array_size(array) && !sah_query_is_full(s); i++) {
        char place[40];
        snprintf(place, sizeof place, "record %zu", ++*n);
        status = add_record(s, json_array_get(array, i), place, error);
    }
    return status;
}

/* ---- The text ------------------------------------------------------------------------------------------ */

/* Names the line where reading stopped; of a text that ends too early, its last one. */
static sah_status fail_json(const sah_query_source *s, size_t at, const json_error_t *reason,
                            sah_error *error)
{
    size_t stop = at + (reason->position > 0 ? (size_t)reason->position : 0), end = s->size;
    if (is_memory(reason)) return sah_fail_memory(error, s->where);
    while (end > at && sah_query_is_blank(s->text + end - 1, 1)) end--;
    if (stop > end) stop = end;
    return sah_fail(error, SAH_FAILED, "%s: line %zu: not valid JSON: %s", s->where,
                    sah_query_lines(s->text, stop) + 1, reason->text);
}

sah_status sah_query_read_json(const sah_query_source *s, sah_error *error)
{
    size_t records = 0, line = 1, counted = 0;
    for (size_t at = skip_blank(s, 0); at < s->size && !sah_query_is_full(s); at = skip_blank(s, at)) {
        json_error_t reason;
        char place[40];
        line += sah_query_lines(s->text + counted, at - counted);
        counted = at;
        json_t *value = next_value(s, &at, &reason);
        if (value == NULL) return fail_json(s, at, &reason, error);
        snprintf(place, sizeof place, "line %zu", line);
        sah_status status = json_is_array(value) ? add_records(s, value, &records, error)
                                                 : add_record(s, value, place, error);
        json_decref(value);
        if (status != SAH_OK) return status;
    }
    return SAH_OK;
}
