/* SPDX-License-Identifier: Apache-2.0 */
#include "util/json.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/filekind.h"
#include "util/mapfile.h"
#include "util/strings.h"

/* Turns whole numbers that were read as reals back into integers. Depth is bounded by jansson's own limit. */
static json_t *whole_numbers_to_integers(json_t *value)
{
    const char *key;
    size_t i;
    json_t *item;
    void *next;
    if (json_is_real(value)) {
        double number = json_real_value(value);
        if (fabs(number) > 9007199254740992.0 || floor(number) < number) return json_incref(value); /* 2^53 */
        return json_integer((json_int_t)number);
    }
    json_object_foreach_safe(value, next, key, item)
    {
        if (json_object_set_new(value, key, whole_numbers_to_integers(item)) != 0) return NULL;
    }
    json_array_foreach(value, i, item)
    {
        if (json_array_set_new(value, i, whole_numbers_to_integers(item)) != 0) return NULL;
    }
    return json_incref(value);
}

sah_status sah_json_parse(const char *text, size_t size, const char *where, json_t **out, sah_error *error)
{
    json_error_t at;
    const size_t flags = JSON_REJECT_DUPLICATES;
    *out = json_loadb(text, size, flags, &at);
    if (*out == NULL && json_error_code(&at) == json_error_numeric_overflow) {
        /* Tokenizer settings write "no limit" as an integer of thirty digits. */
        json_t *loose = json_loadb(text, size, flags | JSON_DECODE_INT_AS_REAL, &at);
        if (loose != NULL) {
            *out = whole_numbers_to_integers(loose);
            json_decref(loose);
            if (*out == NULL) return sah_fail_memory(error, where);
        }
    }
    if (*out != NULL) return SAH_OK;
    const enum json_error_code code = json_error_code(&at);
    /* Where jansson gives no reason, an allocation failed. */
    if (code == json_error_out_of_memory || at.text[0] == '\0') return sah_fail_memory(error, where);
    if (code == json_error_null_character || code == json_error_null_byte_in_key) {
        return sah_fail(error, SAH_FAILED,
                        "%s: line %d, column %d: a text with the character NUL (\\u0000), which is not "
                        "supported: take it out",
                        where, at.line, at.column);
    }
    return sah_fail(error, SAH_FAILED, "%s: not valid JSON: line %d, column %d: %s", where, at.line,
                    at.column, at.text);
}

sah_status sah_json_read_text(const char *path, size_t limit, char **text, size_t *size, sah_error *error)
{
    sah_status status = sah_file_read(path, limit, text, size, error);
    if (status != SAH_OK) return status;
    status = sah_expect_text(path, *text, *size, "JSON", error);
    if (status == SAH_OK && *size == 0)
        status = sah_fail(error, SAH_FAILED, "%s is empty: was it downloaded in full?", path);
    if (status == SAH_OK) return SAH_OK;
    free(*text);
    *text = NULL;
    return status;
}

sah_status sah_json_read(const char *path, size_t limit, json_t **out, sah_error *error)
{
    char *text;
    size_t size;
    *out = NULL;
    sah_status status = sah_json_read_text(path, limit, &text, &size, error);
    if (status != SAH_OK) return status;
    status = sah_json_parse(text, size, path, out, error);
    free(text);
    return status;
}

static sah_status expect_object(const char *where, json_t **json, sah_error *error)
{
    if (json_is_object(*json)) return SAH_OK;
    json_decref(*json);
    *json = NULL;
    return sah_fail(error, SAH_FAILED, "%s: not a JSON object", where);
}

sah_status sah_json_parse_object(const char *text, size_t size, const char *where, json_t **out,
                                 sah_error *error)
{
    sah_status status = sah_json_parse(text, size, where, out, error);
    return status == SAH_OK ? expect_object(where, out, error) : status;
}

sah_status sah_json_read_object(const char *path, size_t limit, json_t **out, sah_error *error)
{
    sah_status status = sah_json_read(path, limit, out, error);
    return status == SAH_OK ? expect_object(path, out, error) : status;
}

static int add_text(const char *bytes, size_t size, void *text)
{
    sah_text_add(text, bytes, size);
    return ((const sah_text *)text)->failed ? -1 : 0;
}

/* The escape of a character at which some readers end a line (Python's str.splitlines() among them), and its bytes;
 * NULL for others. */
static const char *line_end(const char *at, size_t *size)
{
    static const char *const ends[][2] = {
        {"\xC2\x85", "\\u0085"}, {"\u2028", "\\u2028"}, {"\u2029", "\\u2029"}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        *size = strlen(ends[i][0]);
        if (strncmp(at, ends[i][0], *size) == 0) return ends[i][1];
    }
    return NULL;
}

/* Only strings hold such characters. Frees `text`. */
static char *escape_line_ends(char *text)
{
    sah_text out = {0};
    const char *begin = text, *escape;
    size_t size;
    for (const char *at = text; *at != '\0'; at++) {
        if ((*at != '\xC2' && *at != '\xE2') || (escape = line_end(at, &size)) == NULL) continue;
        sah_text_add(&out, begin, (size_t)(at - begin));
        sah_text_adds(&out, escape);
        begin = at + size;
        at = begin - 1;
    }
    if (begin == text) return text;
    sah_text_adds(&out, begin);
    free(text);
    if (!out.failed) return out.data;
    free(out.data);
    return NULL;
}

char *sah_json_text(const json_t *value, size_t flags)
{
    sah_text text = {0};
    if (json_dump_callback(value, add_text, &text, flags) == 0 && !text.failed)
        return escape_line_ends(text.data);
    free(text.data);
    return NULL;
}

/* The member, or NULL when it is absent or null. */
static const json_t *member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

sah_status sah_json_int(const json_t *object, const char *key, int64_t otherwise, int64_t low, int64_t high,
                        int64_t *out, const char *where, sah_error *error)
{
    const json_t *value = member(object, key);
    *out = otherwise;
    if (value == NULL) return SAH_OK;
    if (!json_is_integer(value))
        return sah_fail(error, SAH_FAILED, "%s: \"%s\" must be an integer", where, key);
    json_int_t number = json_integer_value(value);
    if (number < low || number > high) {
        return sah_fail(error, SAH_FAILED, "%s: \"%s\" is %lld, outside %lld to %lld", where, key,
                        (long long)number, (long long)low, (long long)high);
    }
    *out = number;
    return SAH_OK;
}

sah_status sah_json_number(const json_t *object, const char *key, double otherwise, double *out,
                           const char *where, sah_error *error)
{
    const json_t *value = member(object, key);
    *out = otherwise;
    if (value == NULL) return SAH_OK;
    if (!json_is_number(value)) return sah_fail(error, SAH_FAILED, "%s: \"%s\" must be a number", where, key);
    *out = json_number_value(value);
    return SAH_OK;
}

sah_status sah_json_bool(const json_t *object, const char *key, bool otherwise, bool *out, const char *where,
                         sah_error *error)
{
    const json_t *value = member(object, key);
    *out = otherwise;
    if (value == NULL) return SAH_OK;
    if (!json_is_boolean(value))
        return sah_fail(error, SAH_FAILED, "%s: \"%s\" must be true or false", where, key);
    *out = json_is_true(value);
    return SAH_OK;
}

sah_status sah_json_string(const json_t *object, const char *key, const char *otherwise, const char **out,
                           const char *where, sah_error *error)
{
    const json_t *value = member(object, key);
    *out = otherwise;
    if (value == NULL) return SAH_OK;
    if (!json_is_string(value)) return sah_fail(error, SAH_FAILED, "%s: \"%s\" must be a string", where, key);
    *out = json_string_value(value);
    return SAH_OK;
}

/* The decimal point follows the locale of the program that embeds us; JSON's does not. */
static void plain_point(char *text)
{
    char *at = text + strspn(text, "+-0123456789e");
    if (*at != '\0') *at = '.';
}

/* A decimal of up to FLT_DIG digits survives the way into a float and back, so a shorter one needs no search;
 * that does not hold for subnormal numbers, whose precision is lower. */
void sah_format_float(float value, char out[32])
{
    int digits = isnormal(value) ? FLT_DIG : 1;
    do {
        snprintf(out, 32, "%.*g", digits, (double)value);
    } while (digits++ < FLT_DECIMAL_DIG && memcmp(&(float){strtof(out, NULL)}, &value, sizeof value) != 0);
    plain_point(out);
}

void sah_format_double(double value, char out[32])
{
    int digits = isnormal(value) ? DBL_DIG : 1;
    do {
        snprintf(out, 32, "%.*g", digits, value);
    } while (digits++ < DBL_DECIMAL_DIG && memcmp(&(double){strtod(out, NULL)}, &value, sizeof value) != 0);
    plain_point(out);
}

json_t *sah_json_float(float value)
{
    char text[32];
    sah_format_float(value, text);
    return json_real(strtod(text, NULL));
}
