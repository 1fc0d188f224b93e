/* SPDX-License-Identifier: Apache-2.0 */
/* Multiple-choice items: JSON lines {"context": "...", "choices": ["...", "..."], "label": 0}, or an array of
 * them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/filekind.h"
#include "util/json.h"
#include "util/mapfile.h"
#include "util/strings.h"

enum { MAX_FILE = 1 << 30 };

void sah_items_free(sah_items *items)
{
    for (size_t i = 0; i < items->n; i++) {
        sah_strings_free(&items->items[i].choices);
        free(items->items[i].context);
    }
    free(items->items);
    *items = (sah_items){0};
}

static bool is_blank(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (strchr(" \t\r", text[i]) == NULL || text[i] == '\0') return false;
    return true;
}

static sah_status read_choices(const json_t *list, const char *where, sah_strings *out, sah_error *error)
{
    size_t i;
    const json_t *choice;
    if (!json_is_array(list))
        return sah_fail(error, SAH_FAILED, "%s: \"choices\" must be a list of texts", where);
    if (json_array_size(list) == 0) return sah_fail(error, SAH_FAILED, "%s: \"choices\" is empty", where);
    json_array_foreach(list, i, choice)
    {
        if (!json_is_string(choice) || json_string_length(choice) == 0)
            return sah_fail(error, SAH_FAILED, "%s: choice %zu is %s", where, i,
                            json_is_string(choice) ? "empty" : "not a text");
        sah_status status =
            sah_strings_add(out, json_string_value(choice), json_string_length(choice), error);
        if (status != SAH_OK) return status;
    }
    return SAH_OK;
}

static sah_status read_item(const json_t *object, const char *where, sah_item *out, sah_error *error)
{
    static const char *const needed[] = {"context", "choices", "label"};
    if (!json_is_object(object)) return sah_fail(error, SAH_FAILED, "%s: not a JSON object", where);
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (json_object_get(object, needed[i]) == NULL)
            return sah_fail(error, SAH_FAILED, "%s: no \"%s\" in it", where, needed[i]);
    const json_t *context = json_object_get(object, "context"), *label = json_object_get(object, "label");
    if (!json_is_string(context))
        return sah_fail(error, SAH_FAILED, "%s: \"context\" must be a string", where);
    sah_status status = read_choices(json_object_get(object, "choices"), where, &out->choices, error);
    if (status != SAH_OK) return status;
    if (!json_is_integer(label) || json_integer_value(label) < 0 ||
        (uint64_t)json_integer_value(label) >= out->choices.n)
        return sah_fail(error, SAH_FAILED,
                        "%s: \"label\" must be the number of the right choice, 0 to %zu here", where,
                        out->choices.n - 1);
    out->label = (size_t)json_integer_value(label);
    out->context = strdup(json_string_value(context));
    return out->context != NULL ? SAH_OK : sah_fail_memory(error, "an item");
}

static sah_status add_item(const json_t *object, const char *where, size_t *capacity, sah_items *out,
                           sah_error *error)
{
    if (!sah_grow(&out->items, capacity, out->n + 1, sizeof *out->items))
        return sah_fail_memory(error, "the items");
    out->items[out->n] = (sah_item){0};
    return read_item(object, where, &out->items[out->n++], error);
}

/* One line to the next item of the list. */
static sah_status add_line(const char *line, size_t length, const char *where, size_t *capacity,
                           sah_items *out, sah_error *error)
{
    json_t *object;
    sah_status status = sah_json_parse(line, length, where, &object, error);
    if (status == SAH_OK) status = add_item(object, where, capacity, out, error);
    json_decref(object);
    return status;
}

/* A text that is one array of items. */
static sah_status add_array(const char *text, size_t size, const char *name, size_t limit, sah_items *out,
                            sah_error *error)
{
    json_t *array, *object;
    size_t i, capacity = 0;
    char where[512];
    sah_status status = sah_json_parse(text, size, name, &array, error);
    json_array_foreach(array, i, object)
    {
        if (status != SAH_OK || (limit > 0 && i == limit)) break;
        snprintf(where, sizeof where, "%.400s: item %zu", name, i);
        status = add_item(object, where, &capacity, out, error);
    }
    json_decref(array);
    return status;
}

sah_status sah_items_read(const char *path, size_t limit, sah_items *out, sah_error *error)
{
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    char *data;
    size_t size, capacity = 0, line = 0, length;
    *out = (sah_items){0};
    sah_status status = sah_file_read(path, MAX_FILE, &data, &size, error);
    if (status == SAH_OK) status = sah_expect_text(name, data, size, "a list of items", error);
    size_t at = size >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0; /* a byte order mark */
    size_t begin = at;
    while (begin < size && strchr(" \t\r\n", data[begin]) != NULL && data[begin] != '\0') begin++;
    if (status == SAH_OK && begin < size && data[begin] == '[') {
        status = add_array(data + begin, size - begin, name, limit, out, error);
        at = size;
    }
    for (; at < size && status == SAH_OK && (limit == 0 || out->n < limit); at += length + 1) {
        char where[512];
        const char *end = memchr(data + at, '\n', size - at);
        length = end != NULL ? (size_t)(end - (data + at)) : size - at;
        snprintf(where, sizeof where, "%.400s: line %zu", name, ++line);
        if (!is_blank(data + at, length)) status = add_line(data + at, length, where, &capacity, out, error);
    }
    if (status == SAH_OK && out->n == 0) status = sah_fail(error, SAH_FAILED, "%s: no items in it", name);
    free(data);
    if (status != SAH_OK) sah_items_free(out);
    return status;
}
