/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/judge/responses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/filekind.h"
#include "util/mapfile.h"

static const size_t MOST_BYTES = (size_t)1 << 32;

/* NULs are allowed: broken models write them. Numbers too large for an integer are read as reals, as we only
 * pass them on. */
static json_t *parse(const char *text, size_t size, json_error_t *at)
{
    json_t *value = json_loadb(text, size, JSON_ALLOW_NUL, at);
    if (value == NULL && json_error_code(at) == json_error_numeric_overflow)
        value = json_loadb(text, size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, at);
    return value;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The member that holds the response, NULL when there is none. */
static json_t *find_text(const sah_responses *r, const json_t *object)
{
    static const char *const keys[] = {"response", "generation", "output"};
    if (r->key != NULL) return json_object_get(object, r->key);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *value = json_object_get(object, keys[i]);
        if (value != NULL) return value;
    }
    return NULL;
}

/* ---- Opening ------------------------------------------------------------------------------------------- */

/* True for an object of records by name, or of responses by number; anything else is one record, if a poor
 * one. */
static bool holds_records(json_t *object)
{
    const char *name;
    json_t *value;
    if (json_object_size(object) == 0) return false;
    json_object_foreach(object, name, value)
    {
        bool numbered = json_is_string(value) && name[0] != '\0' && name[strspn(name, "0123456789")] == '\0';
        if (!json_is_object(value) && !numbered) return false;
    }
    return true;
}

/* A file that is one JSON value, and not a single line of JSON lines: kept as `document`. */
static void find_document(sah_responses *r)
{
    json_error_t at;
    json_t *value = parse(r->data + r->at, r->size - r->at, &at);
    json_t *text = json_is_object(value) ? find_text(r, value) : NULL;
    bool many = json_is_array(value) || json_is_array(text) ||
                (text == NULL && json_is_object(value) && holds_records(value));
    if (!many) {
        json_decref(value);
        return;
    }
    r->document = value;
    if (json_is_array(text)) r->columns = text;
    if (json_is_object(value) && text == NULL) r->next_member = json_object_iter(value);
}

/* The next line that is not blank, without blanks around it; false at the end. */
static bool next_line(sah_responses *r, const char **line, size_t *n)
{
    while (r->at < r->size) {
        const char *begin = r->data + r->at;
        size_t length = 0, left = r->size - r->at;
        while (length < left && begin[length] != '\n' && begin[length] != '\r') length++;
        r->at += length;
        if (length < left) r->at += length + 1 < left && memcmp(begin + length, "\r\n", 2) == 0 ? 2 : 1;
        r->line++;
        for (; length > 0 && is_blank(*begin); length--) begin++;
        while (length > 0 && is_blank(begin[length - 1])) length--;
        *line = begin;
        *n = length;
        if (length > 0) return true;
    }
    return false;
}

/* A result file's first line says which command wrote it; only responses can be judged. */
static sah_status take_header(sah_responses *r, sah_error *error)
{
    const sah_responses before = *r;
    const char *line;
    size_t n;
    json_error_t at;
    json_t *object = next_line(r, &line, &n) ? parse(line, n, &at) : NULL;
    const json_t *command = json_is_object(object) ? json_object_get(object, "sahara") : NULL;
    if (!json_is_string(command)) {
        json_decref(object);
        *r = before;
        return SAH_OK;
    }
    r->header = object;
    const char *name = json_string_value(command);
    if (strcmp(name, "generate") == 0 || strcmp(name, "judge") == 0) return SAH_OK;
    return sah_fail(error, SAH_FAILED,
                    "%s is a result of `sahara %s`; judge needs responses, as `sahara generate` "
                    "writes them",
                    r->name, name);
}

sah_status sah_responses_open(const char *path, const char *key, sah_responses *out, sah_error *error)
{
    *out = (sah_responses){.name = strcmp(path, "-") == 0 ? "standard input" : path, .key = key};
    sah_status status = sah_file_read(path, MOST_BYTES, &out->data, &out->size, error);
    if (status != SAH_OK) return status;
    status = sah_expect_text(out->name, out->data, out->size, "a list of responses", error);
    if (out->size >= 3 && memcmp(out->data, "\xEF\xBB\xBF", 3) == 0) out->at = 3; /* a byte order mark */
    if (status == SAH_OK) find_document(out);
    if (status == SAH_OK && out->document == NULL) status = take_header(out, error);
    if (status != SAH_OK) sah_responses_close(out);
    return status;
}

void sah_responses_close(sah_responses *responses)
{
    if (responses == NULL) return;
    free(responses->data);
    json_decref(responses->header);
    json_decref(responses->document);
    json_decref(responses->record);
    *responses = (sah_responses){0};
}

/* ---- Reading ------------------------------------------------------------------------------------------- */

static sah_status next_from_lines(sah_responses *r, sah_record *out, sah_error *error)
{
    json_error_t at;
    for (;;) {
        if (!next_line(r, &out->line, &out->line_size)) return SAH_OK;
        snprintf(out->where, sizeof out->where, "line %zu", r->line);
        r->record = parse(out->line, out->line_size, &at);
        if (r->record == NULL) {
            return sah_fail(error, SAH_FAILED, "%s: line %zu: not valid JSON: %s; is the file cut off?",
                            r->name, r->line, at.text);
        }
        bool totals =
            r->header != NULL && json_object_get(r->record, "asr") != NULL && find_text(r, r->record) == NULL;
        if (!totals) return SAH_OK;
        json_decref(r->record);
        r->record = NULL;
    }
}

/* Row `i` of an object of columns: every member that is a list has its i-th item in it. */
static json_t *make_row(const json_t *columns, size_t i)
{
    const char *key;
    json_t *value, *row = json_object();
    json_object_foreach((json_t *)(uintptr_t)columns, key, value)
    {
        json_t *item = json_is_array(value) ? json_array_get(value, i) : NULL;
        if (item != NULL && json_object_set(row, key, item) != 0) {
            json_decref(row);
            return NULL;
        }
    }
    return row;
}

/* A string alone becomes a record {"response": string}; a key that was asked for is not in it. */
static json_t *as_record(const sah_responses *r, json_t *value)
{
    if (json_is_string(value) && r->key == NULL) return json_pack("{s:O}", "response", value);
    return json_incref(value);
}

static sah_status next_from_document(sah_responses *r, sah_record *out, sah_error *error)
{
    json_t *record = NULL;
    if (r->columns != NULL) {
        if (r->index == json_array_size(r->columns)) return SAH_OK;
        record = make_row(r->document, r->index);
    } else if (json_is_array(r->document)) {
        if (r->index == json_array_size(r->document)) return SAH_OK;
        record = as_record(r, json_array_get(r->document, r->index));
    } else {
        if (r->next_member == NULL) return SAH_OK;
        record = as_record(r, json_object_iter_value(r->next_member));
        r->next_member = json_object_iter_next(r->document, r->next_member);
    }
    r->index++;
    snprintf(out->where, sizeof out->where, "record %zu", r->index);
    r->record = record;
    return record != NULL ? SAH_OK : sah_fail_memory(error, "a record");
}

sah_status sah_responses_next(sah_responses *r, sah_record *out, sah_error *error)
{
    *out = (sah_record){0};
    json_decref(r->record);
    r->record = NULL;
    sah_status status =
        r->document != NULL ? next_from_document(r, out, error) : next_from_lines(r, out, error);
    if (status != SAH_OK || r->record == NULL) return status;
    if (json_is_string(r->record))
        return sah_fail(error, SAH_FAILED, "%s: %s is plain text, without a key \"%s\"", r->name, out->where,
                        r->key);
    if (!json_is_object(r->record))
        return sah_fail(error, SAH_FAILED, "%s: %s: not a JSON object", r->name, out->where);
    json_t *text = find_text(r, r->record);
    if (text == NULL && r->key != NULL)
        return sah_fail(error, SAH_FAILED, "%s: %s: no \"%s\" in it", r->name, out->where, r->key);
    if (text == NULL) {
        return sah_fail(error, SAH_FAILED,
                        "%s: %s: no \"response\", \"generation\" or \"output\" in it; name the key to read",
                        r->name, out->where);
    }
    if (!json_is_string(text))
        return sah_fail(error, SAH_FAILED, "%s: %s: the response is not a string", r->name, out->where);
    out->object = r->record;
    out->text = json_string_value(text);
    out->length = json_string_length(text);
    return SAH_OK;
}
