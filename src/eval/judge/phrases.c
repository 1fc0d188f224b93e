/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/judge/phrases.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"
#include "util/utf8.h"

enum {
    LONGEST_GAP = 6, /* words that * may stand for */
    MOST_ALTERNATIVES = 200000 /* in a list: names of names can double with every line */
};

typedef enum item_kind {
    ITEM_WORDS, /* one of its alternatives */
    ITEM_GAP, /* * */
    ITEM_BEGIN, /* ^ */
    ITEM_END /* $ */
} item_kind;

/* One alternative: the words normal.words[first .. first + n). */
typedef struct alternative {
    size_t first, n;
} alternative;

typedef struct item {
    item_kind kind;
    bool optional;
    size_t first, n; /* alternatives */
    uint64_t begins; /* with which bytes: a bit for letter_of() of each */
} item;

typedef struct pattern {
    sah_section section;
    size_t first, n; /* items */
    char *text; /* as the list writes it */
} pattern;

/* "@name = a|b": the alternatives [first, first + n). */
typedef struct definition {
    char *name;
    size_t first, n;
} definition;

struct sah_phrases {
    sah_strings words;
    alternative *alternatives;
    size_t n_alternatives, alternatives_capacity;
    item *items;
    size_t n_items, items_capacity;
    pattern *patterns;
    size_t n_patterns, patterns_capacity;
    definition *definitions;
    size_t n_definitions, definitions_capacity;
};

/* ---- Compiling ----------------------------------------------------------------------------------------- */

/* The place a message names. */
typedef struct place {
    const char *where;
    size_t line;
} place;

static const char *const section_names[SAH_N_SECTIONS] = {
    [SAH_SECTION_REFUSAL] = "refusal", [SAH_SECTION_EARLY] = "early",     [SAH_SECTION_WHOLE] = "whole",
    [SAH_SECTION_IDIOM] = "idiom",     [SAH_SECTION_ACCEPTS] = "accepts", [SAH_SECTION_GOES_ON] = "goes on",
    [SAH_SECTION_INSTEAD] = "instead", [SAH_SECTION_THINKS] = "thinks",
};

static sah_status add_alternative(sah_phrases *p, const char *text, size_t n, sah_error *error)
{
    sah_normal normal;
    alternative added = {p->words.n, 0};
    sah_status status = sah_normalise(text, n, &normal, error);
    if (status != SAH_OK) return status;
    for (size_t i = 0; i < normal.n_words && status == SAH_OK; i++) {
        const char *word = sah_normal_word(&normal, i);
        status = sah_strings_add(&p->words, word, strlen(word), error);
    }
    added.n = normal.n_words;
    sah_normal_free(&normal);
    if (status != SAH_OK || added.n == 0) return status;
    if (p->n_alternatives >= MOST_ALTERNATIVES)
        return sah_fail(error, SAH_FAILED, "the phrase list has more than %d alternatives",
                        MOST_ALTERNATIVES);
    if (!sah_grow(&p->alternatives, &p->alternatives_capacity, p->n_alternatives + 1, sizeof added))
        return sah_fail_memory(error, "a phrase list");
    p->alternatives[p->n_alternatives++] = added;
    return SAH_OK;
}

static sah_status add_definition_copy(sah_phrases *p, const char *name, size_t n, place at, sah_error *error)
{
    for (size_t i = 0; i < p->n_definitions; i++) {
        const definition *d = &p->definitions[i];
        if (strlen(d->name) != n || memcmp(d->name, name, n) != 0) continue;
        if (d->n > MOST_ALTERNATIVES - p->n_alternatives)
            return sah_fail(error, SAH_FAILED, "%s: line %zu: more than %d alternatives in all", at.where,
                            at.line, MOST_ALTERNATIVES);
        if (!sah_grow(&p->alternatives, &p->alternatives_capacity, p->n_alternatives + d->n,
                      sizeof *p->alternatives))
            return sah_fail_memory(error, "a phrase list");
        if (d->n > 0)
            memcpy(p->alternatives + p->n_alternatives, p->alternatives + d->first,
                   d->n * sizeof *p->alternatives);
        p->n_alternatives += d->n;
        return SAH_OK;
    }
    return sah_fail(error, SAH_FAILED, "%s: line %zu: @%.*s is not defined above", at.where, at.line,
                    (int)(n < 40 ? n : 40), name);
}

/* "a|b|@c" to alternatives. */
static sah_status add_alternatives(sah_phrases *p, const char *text, size_t n, place at, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; i <= n && status == SAH_OK;) {
        const char *bar = i < n ? memchr(text + i, '|', n - i) : NULL;
        size_t length = bar != NULL ? (size_t)(bar - text) - i : n - i;
        if (length > 1 && text[i] == '@')
            status = add_definition_copy(p, text + i + 1, length - 1, at, error);
        else
            status = add_alternative(p, text + i, length, error);
        i += length + 1;
    }
    return status;
}

/* One of 64 sets of words, by their first byte. */
static uint64_t letter_of(const char *word)
{
    return UINT64_C(1) << ((unsigned char)word[0] & 63);
}

static sah_status add_item(sah_phrases *p, item added, sah_error *error)
{
    if (!sah_grow(&p->items, &p->items_capacity, p->n_items + 1, sizeof added))
        return sah_fail_memory(error, "a phrase list");
    p->items[p->n_items++] = added;
    return SAH_OK;
}

/* One blank-separated token of a pattern. Punctuation alone adds nothing. */
static sah_status add_token(sah_phrases *p, const char *token, size_t n, place at, sah_error *error)
{
    item added = {.kind = ITEM_WORDS, .first = p->n_alternatives};
    if (n == 1 && *token == '*') added.kind = ITEM_GAP;
    if (n == 1 && *token == '^') added.kind = ITEM_BEGIN;
    if (n == 1 && *token == '$') added.kind = ITEM_END;
    if (added.kind != ITEM_WORDS) return add_item(p, added, error);
    added.optional = n > 2 && token[0] == '(' && token[n - 1] == ')';
    sah_status status = added.optional ? add_alternatives(p, token + 1, n - 2, at, error)
                                       : add_alternatives(p, token, n, at, error);
    added.n = p->n_alternatives - added.first;
    for (size_t i = added.first; i < p->n_alternatives; i++)
        added.begins |= letter_of(p->words.items[p->alternatives[i].first]);
    return status != SAH_OK || added.n == 0 ? status : add_item(p, added, error);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static sah_status add_pattern(sah_phrases *p, const char *line, size_t n, sah_section section, place at,
                              sah_error *error)
{
    pattern added = {section, p->n_items, 0, NULL};
    bool has_words = false;
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && !is_blank(line[end])) end++;
        sah_status status = add_token(p, line + i, end - i, at, error);
        if (status != SAH_OK) return status;
        for (i = end; i < n && is_blank(line[i]);) i++;
    }
    added.n = p->n_items - added.first;
    for (size_t i = added.first; i < p->n_items; i++)
        has_words = has_words || (p->items[i].kind == ITEM_WORDS && !p->items[i].optional);
    if (!has_words) {
        return sah_fail(error, SAH_FAILED,
                        "%s: line %zu: a phrase needs at least one word that must be there", at.where,
                        at.line);
    }
    if (!sah_grow(&p->patterns, &p->patterns_capacity, p->n_patterns + 1, sizeof added) ||
        (added.text = strndup(line, n)) == NULL)
        return sah_fail_memory(error, "a phrase list");
    p->patterns[p->n_patterns++] = added;
    return SAH_OK;
}

/* "@name = a|b". */
static sah_status add_definition(sah_phrases *p, const char *line, size_t n, place at, sah_error *error)
{
    const char *equals = memchr(line, '=', n);
    size_t name = equals != NULL ? (size_t)(equals - line) : 0;
    while (name > 1 && is_blank(line[name - 1])) name--;
    if (name < 2)
        return sah_fail(error, SAH_FAILED, "%s: line %zu: expected @name = a|b|c", at.where, at.line);
    definition added = {.first = p->n_alternatives};
    size_t from = (size_t)(equals - line) + 1;
    while (from < n && is_blank(line[from])) from++;
    sah_status status = add_alternatives(p, line + from, n - from, at, error);
    if (status != SAH_OK) return status;
    added.n = p->n_alternatives - added.first;
    added.name = strndup(line + 1, name - 1);
    if (added.name == NULL ||
        !sah_grow(&p->definitions, &p->definitions_capacity, p->n_definitions + 1, sizeof added)) {
        free(added.name);
        return sah_fail_memory(error, "a phrase list");
    }
    p->definitions[p->n_definitions++] = added;
    return SAH_OK;
}

static sah_status set_section(const char *line, size_t n, sah_section *section, place at, sah_error *error)
{
    for (int i = 0; i < SAH_N_SECTIONS; i++) {
        const char *name = section_names[i];
        if (n == strlen(name) + 2 && memcmp(line + 1, name, n - 2) == 0 && line[n - 1] == ']') {
            *section = (sah_section)i;
            return SAH_OK;
        }
    }
    return sah_fail(error, SAH_FAILED,
                    "%s: line %zu: no section %.*s; there are refusal, early, whole, idiom, "
                    "accepts, goes on, instead and thinks",
                    at.where, at.line, (int)(n < 40 ? n : 40), line);
}

static sah_status add_line(sah_phrases *p, const char *line, size_t n, sah_section *section, place at,
                           sah_error *error)
{
    while (n > 0 && (is_blank(line[n - 1]) || line[n - 1] == '\r')) n--;
    for (; n > 0 && is_blank(*line); n--) line++;
    if (n == 0 || *line == '#') return SAH_OK;
    if (*line == '[') return set_section(line, n, section, at, error);
    if (*line == '@' && memchr(line, '=', n) != NULL) return add_definition(p, line, n, at, error);
    return add_pattern(p, line, n, *section, at, error);
}

sah_status sah_phrases_new(const char *text, size_t size, const char *where, sah_phrases **out,
                           sah_error *error)
{
    sah_section section = SAH_SECTION_REFUSAL;
    place at = {where, 0};
    sah_status status = SAH_OK;
    *out = NULL;
    if (!sah_utf8_valid(text, size)) return sah_fail(error, SAH_FAILED, "%s: not UTF-8 text", where);
    sah_phrases *p = sah_alloc(1, sizeof *p);
    if (p == NULL) return sah_fail_memory(error, "a phrase list");
    for (size_t i = 0; i < size && status == SAH_OK;) {
        const char *newline = memchr(text + i, '\n', size - i);
        size_t length = newline != NULL ? (size_t)(newline - text) - i : size - i;
        at.line++;
        status = add_line(p, text + i, length, &section, at, error);
        i += length + 1;
    }
    if (status == SAH_OK && p->n_patterns == 0)
        status = sah_fail(error, SAH_FAILED, "%s: no phrase in it; write one per line", where);
    if (status != SAH_OK) {
        sah_phrases_free(p);
        return status;
    }
    *out = p;
    return SAH_OK;
}

void sah_phrases_free(sah_phrases *phrases)
{
    if (phrases == NULL) return;
    for (size_t i = 0; i < phrases->n_definitions; i++) free(phrases->definitions[i].name);
    for (size_t i = 0; i < phrases->n_patterns; i++) free(phrases->patterns[i].text);
    sah_strings_free(&phrases->words);
    free(phrases->alternatives);
    free(phrases->items);
    free(phrases->patterns);
    free(phrases->definitions);
    free(phrases);
}

/* ---- Matching ------------------------------------------------------------------------------------------ */

typedef struct matcher {
    const sah_phrases *phrases;
    const sah_normal *normal;
    const bool *hidden;
    size_t from, end; /* the words to look at */
} matcher;

static bool match_alternative(const matcher *m, const alternative *a, size_t at)
{
    if (a->n > m->end - at) return false;
    for (size_t i = 0; i < a->n; i++) {
        if (m->hidden != NULL && m->hidden[at + i]) return false;
        if (strcmp(m->phrases->words.items[a->first + i], sah_normal_word(m->normal, at + i)) != 0)
            return false;
    }
    return true;
}

/* Matches items [i, last) at word `at`, backtracking; `*steps` bounds the work a pattern of many gaps can ask
 * for. */
static bool match_items(const matcher *m, size_t i, size_t last, size_t at, unsigned *steps, size_t *end)
{
    if (i == last) {
        *end = at;
        return true;
    }
    if (*steps == 0) return false;
    --*steps;
    const item *t = &m->phrases->items[i];
    switch (t->kind) {
    case ITEM_BEGIN:
        return at == m->from && match_items(m, i + 1, last, at, steps, end);
    case ITEM_END:
        return at == m->end && match_items(m, i + 1, last, at, steps, end);
    case ITEM_GAP:
        for (size_t gap = 0; gap <= LONGEST_GAP && gap <= m->end - at; gap++) {
            if (match_items(m, i + 1, last, at + gap, steps, end)) return true;
        }
        return false;
    case ITEM_WORDS:
        break;
    }
    const bool may = at < m->end && (t->begins & letter_of(sah_normal_word(m->normal, at))) != 0;
    for (size_t k = t->first; may && k < t->first + t->n; k++) {
        const alternative *a = &m->phrases->alternatives[k];
        if (match_alternative(m, a, at) && match_items(m, i + 1, last, at + a->n, steps, end)) return true;
    }
    return t->optional && match_items(m, i + 1, last, at, steps, end);
}

const char *sah_phrases_find(const sah_phrases *phrases, sah_section section, const sah_normal *normal,
                             size_t from, size_t n, const bool *hidden, size_t *begin, size_t *end)
{
    const matcher m = {phrases, normal, hidden, from, from + n};
    for (size_t i = 0; i < phrases->n_patterns; i++) {
        const pattern *p = &phrases->patterns[i];
        if (p->section != section) continue;
        for (size_t at = from; at < from + n; at++) {
            unsigned steps = 10000;
            if (!match_items(&m, p->first, p->first + p->n, at, &steps, end)) continue;
            *begin = at;
            return p->text;
        }
    }
    return NULL;
}
