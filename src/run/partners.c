/* SPDX-License-Identifier: Apache-2.0 */
/* Partners for an interchange (docs/method.md, "Interchange"): of a list the query most like each, by length or by
 * words. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/length_match.h"
#include "run/prompts.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/json.h"
#include "util/strings.h"

/* A query's words, each once, as numbers in ascending order. */
typedef struct words {
    size_t *items;
    size_t n, capacity;
} words;

/* All texts' words, numbered as they come. */
typedef struct vocabulary {
    json_t *numbers; /* of each word */
    size_t *counts; /* [words] texts that have it */
    size_t n, capacity;
} vocabulary;

/* ---- Words --------------------------------------------------------------------------------------------- */

static bool is_word_byte(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
}

/* The word's number, a new one where it has none. */
static sah_status number_word(vocabulary *v, const char *word, size_t *out, sah_error *error)
{
    const json_t *there = json_object_get(v->numbers, word);
    *out = there != NULL ? (size_t)json_integer_value(there) : v->n;
    if (there != NULL) return SAH_OK;
    if (!sah_grow(&v->counts, &v->capacity, v->n + 1, sizeof *v->counts) ||
        json_object_set_new(v->numbers, word, json_integer((json_int_t)v->n)) != 0) {
        return sah_fail_memory(error, "words");
    }
    v->counts[v->n++] = 0;
    return SAH_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static sah_status split(vocabulary *v, const char *text, words *out, sah_error *error)
{
    size_t length = strlen(text);
    char *lower = sah_alloc(length + 1, 1);
    sah_status status = lower != NULL ? SAH_OK : sah_fail_memory(error, "words");
    for (size_t i = 0; i < length && status == SAH_OK; i++)
        lower[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32) : text[i];
    for (size_t at = 0, n; at < length && status == SAH_OK; at += n > 0 ? n : 1) {
        for (n = 0; at + n < length && is_word_byte((unsigned char)lower[at + n]); n++) {
        }
        size_t number = 0;
        if (n == 0) continue;
        lower[at + n] = '\0'; /* what stood there was no letter of a word */
        status = number_word(v, lower + at, &number, error);
        if (status != SAH_OK) break;
        if (sah_grow(&out->items, &out->capacity, out->n + 1, sizeof *out->items))
            out->items[out->n++] = number;
        else
            status = sah_fail_memory(error, "words");
    }
    free(lower);
    if (status != SAH_OK || out->n == 0) return status;
    qsort(out->items, out->n, sizeof *out->items, compare_numbers);
    size_t kept = 1;
    for (size_t i = 1; i < out->n; i++)
        if (out->items[i] != out->items[kept - 1]) out->items[kept++] = out->items[i];
    out->n = kept;
    for (size_t i = 0; i < kept; i++) v->counts[out->items[i]]++;
    return SAH_OK;
}

/* Weight of the words in common over that of all words of either; a word of c among n texts weighs ln(n / c). */
static double likeness(const vocabulary *v, size_t n_texts, const words *a, const words *b)
{
    double common = 0, all = 0;
    for (size_t i = 0, j = 0; i < a->n || j < b->n;) {
        const size_t x = i < a->n ? a->items[i] : SIZE_MAX, y = j < b->n ? b->items[j] : SIZE_MAX;
        const double weight = log((double)n_texts / (double)v->counts[x < y ? x : y]);
        all += weight;
        if (x == y) common += weight;
        i += x <= y;
        j += y <= x;
    }
    return all > 0 ? common / all : 0;
}

/* ---- Choosing ------------------------------------------------------------------------------------------ */

/* How far a candidate is from what is wanted; less is better, by the first number that differs. */
typedef struct distance {
    double words, length;
    size_t used;
} distance;

static bool is_nearer(const distance *a, const distance *b)
{
    if (a->words != b->words) return a->words < b->words;
    if (a->length != b->length) return a->length < b->length;
    return a->used < b->used;
}

typedef struct matching {
    const sah_strings *queries, *from;
    sah_length *wanted, *there; /* tokens of either list's prompts */
    words *sets; /* [queries + from], or NULL: words do not count */
    vocabulary vocabulary;
    size_t *used; /* [from] */
} matching;

static sah_status choose(const matching *m, size_t query, size_t *out, sah_error *error)
{
    const size_t n = m->queries->n, none = m->from->n;
    distance best = {0};
    *out = none;
    for (size_t i = 0; i < m->from->n; i++) {
        if (strcmp(m->queries->items[query], m->from->items[i]) == 0) continue;
        distance here = {.length = fabs((double)m->wanted[query].length - (double)m->there[i].length),
                         .used = m->used[i]};
        if (m->sets != NULL)
            here.words = -likeness(&m->vocabulary, n + m->from->n, &m->sets[query], &m->sets[n + i]);
        if (*out != none && !is_nearer(&here, &best)) continue;
        best = here;
        *out = i;
    }
    if (*out != none) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "no partner for query %zu: the list holds no other text", query + 1);
}

static sah_status count_words(matching *m, sah_error *error)
{
    const size_t n = m->queries->n, all = n + m->from->n;
    sah_status status = SAH_OK;
    m->sets = sah_alloc(all, sizeof *m->sets);
    m->vocabulary.numbers = json_object();
    if (m->sets == NULL || m->vocabulary.numbers == NULL) return sah_fail_memory(error, "words");
    for (size_t i = 0; i < all && status == SAH_OK; i++)
        status =
            split(&m->vocabulary, i < n ? m->queries->items[i] : m->from->items[i - n], &m->sets[i], error);
    return status;
}

static void matching_free(matching *m)
{
    for (size_t i = 0; m->sets != NULL && i < m->queries->n + m->from->n; i++) free(m->sets[i].items);
    free(m->sets);
    free(m->wanted);
    free(m->there);
    free(m->used);
    json_decref(m->vocabulary.numbers);
    free(m->vocabulary.counts);
}

sah_status sah_partners_match(const sah_model *model, const sah_strings *queries, const sah_strings *from,
                              const char *template_, const char *system, sah_pairing pairing,
                              sah_strings *partners, sah_error *error)
{
    matching m = {.queries = queries, .from = from};
    *partners = (sah_strings){0};
    m.wanted = sah_alloc(queries->n, sizeof *m.wanted);
    m.there = sah_alloc(from->n, sizeof *m.there);
    m.used = sah_alloc(from->n, sizeof *m.used);
    sah_status status = m.wanted != NULL && m.there != NULL && m.used != NULL
                            ? SAH_OK
                            : sah_fail_memory(error, "the partners");
    if (status == SAH_OK) status = sah_measure_prompts(model, queries, template_, system, m.wanted, error);
    if (status == SAH_OK) status = sah_measure_prompts(model, from, template_, system, m.there, error);
    if (status == SAH_OK && pairing == SAH_PAIRING_WORDS) status = count_words(&m, error);
    for (size_t i = 0, chosen; i < queries->n && status == SAH_OK; i++) {
        status = choose(&m, i, &chosen, error);
        if (status != SAH_OK) break;
        m.used[chosen]++;
        status = sah_strings_add(partners, from->items[chosen], strlen(from->items[chosen]), error);
    }
    matching_free(&m);
    if (status != SAH_OK) sah_strings_free(partners);
    return status;
}
