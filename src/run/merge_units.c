/* SPDX-License-Identifier: Apache-2.0 */
#include "run/merge_units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/json.h"

/* Largest size in a header that is believed: of layers, heads, queries, sets. */
enum { MOST = 1 << 24 };

typedef enum command { OTHER, SHIPS, FIND, DIRECTION, GENERATE, UTILITY } command;

static command command_of(const json_t *header)
{
    static const char *const NAMES[] = {[SHIPS] = "ships",
                                        [FIND] = "find",
                                        [DIRECTION] = "direction",
                                        [GENERATE] = "generate",
                                        [UTILITY] = "utility"};
    const char *name = json_string_value(json_object_get(header, "sahara"));
    for (int c = SHIPS; c <= UTILITY && name != NULL; c++) {
        if (strcmp(name, NAMES[c]) == 0) return (command)c;
    }
    return OTHER;
}

/* ---- A line's unit ------------------------------------------------------------------------------------- */

static bool read_count(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

/* "5-6" */
static bool read_head(const json_t *value, uint64_t *layer, uint64_t *head)
{
    const char *text = json_string_value(value);
    int l, h, n = 0;
    if (text == NULL || sscanf(text, "%7d-%7d%n", &l, &h, &n) != 2 || text[n] != '\0' || l < 0 || h < 0)
        return false;
    *layer = (uint64_t)l;
    *head = (uint64_t)h;
    return true;
}

static bool read_range(const json_t *settings, const char *key, uint64_t *from, uint64_t *to)
{
    const json_t *range = json_object_get(settings, key);
    return read_count(json_array_get(range, 0), from) && read_count(json_array_get(range, 1), to) &&
           *from <= *to && *to <= MOST;
}

/* A head that the run tries, as far as the header tells. */
static bool read_candidate(const json_t *header, const json_t *value, uint64_t *layer, uint64_t *head)
{
    const json_t *settings = json_object_get(header, "settings");
    uint64_t from, to;
    return read_head(value, layer, head) &&
           (!read_range(settings, "layers", &from, &to) || (*layer >= from && *layer < to)) &&
           (!read_range(settings, "heads", &from, &to) || (*head >= from && *head < to));
}

/* Whether a list of the line has a value for each query of a list of the header; true where either is missing. */
static bool fits(const json_t *header, const char *queries, const json_t *line, const char *key)
{
    const json_t *wanted = json_object_get(header, queries), *values = json_object_get(line, key);
    return wanted == NULL || values == NULL || json_array_size(values) == json_array_size(wanted);
}

/* Heads' lines; those of a race's rounds stand before the others. */
static bool unit_of_ships(const json_t *header, const json_t *line, sah_unit *out)
{
    const json_t *round = json_object_get(line, "round");
    out->numbers[0] = round == NULL;
    if (!read_candidate(header, json_object_get(line, "head"), &out->numbers[2], &out->numbers[3]))
        return false;
    if (round != NULL) return read_count(round, &out->numbers[1]);
    return fits(header, "queries", line, "kl") && fits(header, "contrast_queries", line, "kl_contrast");
}

enum { FIND_SAMPLE, FIND_HEAD, FIND_RANDOM, FIND_CHOSEN };

static bool unit_of_find(const json_t *header, const json_t *line, sah_unit *out)
{
    const json_t *random = json_object_get(line, "random"), *head = json_object_get(line, "head");
    uint64_t *n = out->numbers;
    if (!read_count(json_object_get(line, "step"), &n[0])) return false;
    if (json_object_get(line, "sample") != NULL) {
        n[1] = FIND_SAMPLE;
        return read_candidate(header, json_object_get(line, "of"), &n[2], &n[3]);
    }
    if (head != NULL) {
        n[1] = FIND_HEAD;
        return read_candidate(header, head, &n[2], &n[3]);
    }
    n[1] = random != NULL ? FIND_RANDOM : FIND_CHOSEN;
    if (random == NULL) return json_is_string(json_object_get(line, "chosen"));
    char *text = sah_json_text(random, JSON_COMPACT);
    out->many = true;
    if (text != NULL) n[2] = XXH3_64bits(text, strlen(text));
    free(text);
    return text != NULL;
}

/* Its first place among the queries. */
static bool place_of(const json_t *header, const char *query, uint64_t *out)
{
    const json_t *queries = json_object_get(header, "queries");
    for (size_t i = 0; query != NULL && i < json_array_size(queries); i++) {
        const char *text = json_string_value(json_array_get(queries, i));
        if (text == NULL || strcmp(text, query) != 0) continue;
        *out = i;
        return true;
    }
    return false;
}

static bool unit_of_generate(const json_t *header, const json_t *line, sah_unit *out)
{
    out->many = true;
    out->numbers[0] = json_array_size(json_object_get(line, "ablated"));
    out->numbers[1] = json_is_true(json_object_get(line, "random"));
    return place_of(header, json_string_value(json_object_get(line, "query")), &out->numbers[2]);
}

enum { UTILITY_ITEM, UTILITY_WINDOW, UTILITY_TOTALS };

static bool unit_of_utility(const json_t *line, sah_unit *out)
{
    const json_t *item = json_object_get(line, "item"), *window = json_object_get(line, "window");
    out->numbers[0] = item != NULL ? UTILITY_ITEM : window != NULL ? UTILITY_WINDOW : UTILITY_TOTALS;
    if (item == NULL && window == NULL)
        return json_object_get(line, "acc") != NULL || json_object_get(line, "perplexity") != NULL;
    return read_count(item != NULL ? item : window, &out->numbers[1]);
}

bool sah_unit_of(const json_t *header, const json_t *line, sah_unit *out)
{
    *out = (sah_unit){0};
    switch (command_of(header)) {
    case SHIPS:
        return unit_of_ships(header, line, out);
    case FIND:
        return unit_of_find(header, line, out);
    case DIRECTION:
        return read_head(json_object_get(line, "head"), &out->numbers[0], &out->numbers[1]);
    case GENERATE:
        return unit_of_generate(header, line, out);
    case UTILITY:
        return unit_of_utility(line, out);
    case OTHER:
        break;
    }
    return false;
}

int sah_unit_compare(const sah_unit *a, const sah_unit *b)
{
    for (int i = 0; i < SAH_UNIT_NUMBERS; i++) {
        if (a->numbers[i] != b->numbers[i]) return a->numbers[i] < b->numbers[i] ? -1 : 1;
    }
    return 0;
}

void sah_unit_name(const json_t *header, const sah_unit *unit, char out[64])
{
    const unsigned long long n[] = {unit->numbers[0], unit->numbers[1], unit->numbers[2], unit->numbers[3]};
    switch (command_of(header)) {
    case SHIPS:
        snprintf(out, 64, "%llu-%llu", n[2], n[3]);
        break;
    case FIND:
        if (n[1] == FIND_CHOSEN)
            snprintf(out, 64, "the choice of step %llu", n[0]);
        else if (n[1] == FIND_RANDOM)
            snprintf(out, 64, "a random group of step %llu", n[0]);
        else
            snprintf(out, 64, "%llu-%llu", n[2], n[3]);
        break;
    case DIRECTION:
        snprintf(out, 64, "%llu-%llu", n[0], n[1]);
        break;
    case GENERATE:
        snprintf(out, 64, "query %llu", n[2] + 1);
        if (n[0] > 0)
            snprintf(out, 64, "query %llu with %llu%s heads", n[2] + 1, n[0], n[1] ? " random" : "");
        break;
    case UTILITY:
        snprintf(out, 64, "%s %llu",
                 n[0] == UTILITY_ITEM     ? "item"
                 : n[0] == UTILITY_WINDOW ? "window"
                                          : "totals",
                 n[1]);
        break;
    case OTHER:
        out[0] = '\0';
        break;
    }
}

bool sah_unit_last(const json_t *header, sah_unit *out)
{
    const command c = command_of(header);
    *out = (sah_unit){0};
    if (c == FIND) out->numbers[1] = FIND_CHOSEN;
    if (c == UTILITY) out->numbers[0] = UTILITY_TOTALS;
    return c == FIND || c == UTILITY;
}

/* ---- The units of a run -------------------------------------------------------------------------------- */

static sah_status make_room(size_t n, sah_expected *out, sah_error *error)
{
    out->units = sah_alloc(n, sizeof *out->units);
    out->counts = sah_alloc(n, sizeof *out->counts);
    out->deals = sah_alloc(n, sizeof *out->deals);
    return out->units != NULL && out->counts != NULL && out->deals != NULL
               ? SAH_OK
               : sah_fail_memory(error, "the units");
}

static void add(sah_expected *out, sah_unit unit, size_t deal)
{
    out->units[out->n] = unit;
    out->counts[out->n] = 1;
    out->deals[out->n++] = deal;
}

static bool is_in(const json_t *list, uint64_t layer, uint64_t head)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        uint64_t l, h;
        if (read_head(json_array_get(list, i), &l, &h) && l == layer && h == head) return true;
    }
    return false;
}

sah_status sah_units_heads(const json_t *header, sah_head **heads, size_t *n, sah_error *error)
{
    const json_t *settings = json_object_get(header, "settings"), *start = json_object_get(settings, "start");
    const json_t *each = json_object_get(settings, "heads_of_layers"); /* where layers differ */
    uint64_t layer_from, layer_to, head_from, head_to;
    *heads = NULL;
    *n = 0;
    if (!read_range(settings, "layers", &layer_from, &layer_to) ||
        !read_range(settings, "heads", &head_from, &head_to) ||
        (layer_to - layer_from) * (head_to - head_from) > MOST)
        return SAH_OK;
    *heads = sah_alloc_table((size_t)(layer_to - layer_from), (size_t)(head_to - head_from), sizeof **heads);
    if (*heads == NULL) return sah_fail_memory(error, "the heads");
    for (uint64_t l = layer_from; l < layer_to; l++) {
        uint64_t most = head_to;
        if (each != NULL && !read_count(json_array_get(each, (size_t)l), &most)) most = 0;
        for (uint64_t h = head_from; h < head_to && h < most; h++) {
            if (!is_in(start, l, h)) (*heads)[(*n)++] = (sah_head){(int)l, (int)h};
        }
    }
    return SAH_OK;
}

static sah_status expect_heads(const json_t *header, command c, sah_expected *out, sah_error *error)
{
    sah_head *heads;
    size_t n;
    sah_status status = sah_units_heads(header, &heads, &n, error);
    if (status == SAH_OK) status = make_room(n, out, error);
    out->dealt = true;
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        const uint64_t l = (uint64_t)heads[i].layer, h = (uint64_t)heads[i].head;
        const sah_unit ships = {.numbers = {1, 0, l, h}}, find = {.numbers = {0, FIND_HEAD, l, h}};
        add(out, c == SHIPS ? ships : find, out->n);
    }
    free(heads);
    return status;
}

/* Every set of heads answers every query; equal queries are one unit with as many lines. */
static sah_status expect_responses(const json_t *header, sah_expected *out, sah_error *error)
{
    const json_t *settings = json_object_get(header, "settings"),
                 *queries = json_object_get(header, "queries");
    const json_t *curve = json_object_get(settings, "sweep_heads");
    const bool random = json_object_get(settings, "random_heads") != NULL;
    const json_t *counts = json_object_get(settings, "sweep_counts"); /* or every number of heads */
    const size_t most = json_array_size(json_is_array(counts) ? counts : curve), n = json_array_size(queries);
    const size_t n_sets = 1 + most * (random ? 2 : 1);
    if (most > MOST || n > MOST || n * n_sets > MOST) return SAH_OK;
    sah_status status = make_room(n * n_sets, out, error);
    out->dealt = true;
    for (size_t set = 0; set < n_sets && status == SAH_OK; set++) {
        const size_t first = out->n, step = random ? (set + 1) / 2 : set;
        uint64_t ablated = step;
        if (json_is_array(counts) && step > 0) (void)read_count(json_array_get(counts, step - 1), &ablated);
        for (size_t i = 0; i < n; i++) {
            sah_unit unit = {.numbers = {ablated, random && set > 0 && set % 2 == 0, 0, 0}, .many = true};
            if (!place_of(header, json_string_value(json_array_get(queries, i)), &unit.numbers[2])) continue;
            if (unit.numbers[2] == i) {
                add(out, unit, set * n + i);
                continue;
            }
            for (size_t j = first; j < out->n; j++)
                out->counts[j] += out->units[j].numbers[2] == unit.numbers[2];
        }
    }
    return status;
}

static sah_status expect_items(const json_t *header, sah_expected *out, sah_error *error)
{
    uint64_t n_items = 0, n_windows = 0;
    (void)read_count(json_object_get(json_object_get(header, "items"), "n"), &n_items);
    (void)read_count(json_object_get(json_object_get(header, "text"), "windows"), &n_windows);
    if (n_items > MOST || n_windows > MOST) return SAH_OK;
    sah_status status = make_room((size_t)(n_items + n_windows), out, error);
    for (uint64_t i = 0; i < n_items && status == SAH_OK; i++)
        add(out, (sah_unit){.numbers = {UTILITY_ITEM, i}}, out->n);
    for (uint64_t i = 0; i < n_windows && status == SAH_OK; i++)
        add(out, (sah_unit){.numbers = {UTILITY_WINDOW, i}}, out->n);
    return status;
}

sah_status sah_units_expected(const json_t *header, sah_expected *out, sah_error *error)
{
    const command c = command_of(header);
    *out = (sah_expected){0};
    if (c == GENERATE) return expect_responses(header, out, error);
    if (c == UTILITY) return expect_items(header, out, error);
    /* A search that leaves heads out by a sample has no more to say of what is due. */
    const bool screened = json_object_get(json_object_get(header, "settings"), "screen") != NULL;
    return c == SHIPS || (c == FIND && !screened) ? expect_heads(header, c, out, error) : SAH_OK;
}

void sah_expected_free(sah_expected *expected)
{
    free(expected->units);
    free(expected->counts);
    free(expected->deals);
    *expected = (sah_expected){0};
}
