/* SPDX-License-Identifier: Apache-2.0 */
/* Trains the judge's weights: train FILE... writes them to standard output.
 *
 * Files are JSON lines with "response" and "label". Left out are records of the second half ("half": 2, kept
 * for tests), labels other than refusal and compliance, and other languages ("kind": "languages").
 *
 * Logistic regression with weights for the two labels that balance them, penalised by the squared norm,
 * minimised over all records at once by Nesterov's accelerated descent (Nesterov 1983): no chance in it. A run's
 * feature is not 1 but how much oftener the run stands under one label than under the other, as a logarithm (Wang and
 * Manning 2012, "Baselines and Bigrams"): what leans to neither side is held near 0. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/judge/entities.h"
#include "eval/judge/opinion.h"
#include "eval/judge/speakers.h"
#include "eval/judge/thinking.h"
#include "util/alloc.h"
#include "util/embedded.h"

enum {
    LEAST_RECORDS = 4, /* in which a run stands to have a line, */
    LEAST_QUERIES = 3, /* answers to as many queries: else it may be a word that one query is about */
    ITERATIONS = 3000
};
static const double PENALTY = 15; /* the inverse strength: larger fits closer */
static const double LEANING =
    0.75; /* 0: all runs alike; 1: as they lean. Both by cross-validation (docs/judging.md) */

typedef struct entry {
    char *run;
    size_t count, refusing; /* records in which it stands, and refusals among them */
    size_t last; /* the record that counted it, from 1 */
    size_t queries[LEAST_QUERIES], n_queries; /* that they answer; no more than are asked for */
    size_t number; /* of the query, in the table of queries */
} entry;

/* An open-addressing hash table of runs. */
typedef struct table {
    entry *slots;
    size_t n, size;
} table;

typedef struct record {
    sah_normal normal;
    sah_words words;
    bool refuses;
    size_t query;
    size_t *features, n;
} record;

static void *need(void *memory)
{
    if (memory == NULL) fprintf(stderr, "train: out of memory\n"), exit(1);
    return memory;
}

static entry *slot(const table *t, const char *run)
{
    uint64_t hash = 0xCBF29CE484222325U;
    for (const char *c = run; *c != '\0'; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001B3U;
    size_t i = hash % t->size;
    while (t->slots[i].run != NULL && strcmp(t->slots[i].run, run) != 0) i = (i + 1) % t->size;
    return &t->slots[i];
}

static entry *table_add(table *t, const char *run)
{
    if (2 * t->n >= t->size) {
        table grown = {.size = t->size > 0 ? 2 * t->size : 1024, .n = t->n};
        grown.slots = need(calloc(grown.size, sizeof *grown.slots));
        for (size_t i = 0; i < t->size; i++)
            if (t->slots[i].run != NULL) *slot(&grown, t->slots[i].run) = t->slots[i];
        free(t->slots);
        *t = grown;
    }
    entry *e = slot(t, run);
    if (e->run == NULL) {
        e->run = need(strdup(run));
        t->n++;
    }
    return e;
}

/* ---- Reading ------------------------------------------------------------------------------------------- */

static record *records;
static size_t n_records, room;
static table queries;
static sah_phrases *phrases;

/* A number for the query. A record that names none answers one of its own. */
static size_t query_of(const json_t *object)
{
    const char *query = json_string_value(json_object_get(object, "query"));
    char own[32];
    snprintf(own, sizeof own, "\n%zu", n_records);
    entry *e = table_add(&queries, query != NULL ? query : own);
    if (e->number == 0) e->number = queries.n;
    return e->number;
}

static void read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t capacity = 0;
    if (file == NULL) perror(path), exit(1);
    while (getline(&text, &capacity, file) > 0) {
        json_t *object = json_loads(text, 0, NULL);
        const char *response = json_string_value(json_object_get(object, "response"));
        const char *label = json_string_value(json_object_get(object, "label"));
        const char *kind = json_string_value(json_object_get(object, "kind"));
        if (response == NULL || label == NULL) fprintf(stderr, "train: %s: bad record\n", path), exit(1);
        bool refuses = strcmp(label, "refusal") == 0;
        bool skip = json_integer_value(json_object_get(object, "half")) == 2 ||
                    (!refuses && strcmp(label, "compliance") != 0) ||
                    (kind != NULL && strcmp(kind, "languages") == 0);
        char *answer = need(strdup(response));
        size_t length = strlen(answer);
        sah_resolve_entities(answer, &length);
        if (!skip && sah_take_off_thinking(answer, &length)) {
            if (!sah_grow(&records, &room, n_records + 1, sizeof *records)) need(NULL);
            record *r = &records[n_records];
            *r = (record){.refuses = refuses, .query = query_of(object)};
            n_records++;
            sah_take_off_speakers(answer, &length);
            if (sah_normalise(answer, length, &r->normal, NULL) != SAH_OK) need(NULL);
            if (sah_words_find(phrases, &r->normal, &r->words, NULL) != SAH_OK) need(NULL);
        }
        free(answer);
        json_decref(object);
    }
    free(text);
    fclose(file);
}

/* ---- Features ------------------------------------------------------------------------------------------ */

static table words, runs;
static size_t now; /* the record being read, from 1 */

static void count(table *t, const char *run)
{
    const size_t query = records[now - 1].query;
    entry *e = table_add(t, run);
    e->count += e->last != now;
    e->refusing += e->last != now && records[now - 1].refuses;
    e->last = now;
    for (size_t i = 0; i < e->n_queries; i++)
        if (e->queries[i] == query) return;
    if (e->n_queries < LEAST_QUERIES) e->queries[e->n_queries++] = query;
}

static bool is_common(const entry *e)
{
    return e->count >= LEAST_RECORDS && e->n_queries >= LEAST_QUERIES;
}

static bool knows_all(const void *ctx, const char *word)
{
    (void)ctx;
    (void)word;
    return true;
}

static void take_word(void *ctx, const char *run)
{
    (void)ctx;
    if (strchr(run, ' ') == NULL) count(&words, run);
}

static bool knows_common(const void *ctx, const char *word)
{
    (void)ctx;
    return is_common(slot(&words, word));
}

static void take_run(void *ctx, const char *run)
{
    (void)ctx;
    count(&runs, run);
}

static int compare_runs(const void *a, const void *b)
{
    return strcmp((*(entry *const *)a)->run, (*(entry *const *)b)->run);
}

static void take_feature(void *ctx, const char *run)
{
    record *r = ctx;
    entry *e = slot(&runs, run);
    if (!is_common(e) || e->last == now) return;
    e->last = now;
    r->features = need(realloc(r->features, (r->n + 1) * sizeof *r->features));
    r->features[r->n++] = (size_t)(e - runs.slots);
}

static void read_record(bool (*knows)(const void *, const char *), void (*take)(void *, const char *))
{
    record *r = &records[now - 1];
    sah_read_runs(&r->normal, &r->words, &(sah_run_reader){knows, take, r});
}

/* ---- Descent ------------------------------------------------------------------------------------------- */

/* How much oftener the run stands in refusals than in compliances, or the other way; one record of each more, so that
 * none is infinite. */
static double lean(const entry *e, size_t refusals)
{
    const double in = ((double)e->refusing + 1) / ((double)refusals + 2),
                 out = ((double)(e->count - e->refusing) + 1) / ((double)(n_records - refusals) + 2);
    return pow(fabs(log(in / out)), LEANING);
}

/* w[0] is the constant, w[1 + f] the weight of feature f, whose value is value[1 + f]. */
static void gradient(const double *w, size_t n, const size_t *index, const double *value, const double *share,
                     double *g)
{
    for (size_t i = 0; i < n; i++) g[i] = i == 0 ? 0 : w[i] / (PENALTY * (double)n_records);
    for (size_t r = 0; r < n_records; r++) {
        const record *x = &records[r];
        if (x->n == 0) continue;
        double scale = sah_opinion_scale(x->n), sum = 0;
        for (size_t k = 0; k < x->n; k++) sum += w[index[x->features[k]]] * value[index[x->features[k]]];
        double p = 1 / (1 + exp(-w[0] - sum * scale));
        double slope = share[x->refuses] * (p - x->refuses) / (double)n_records;
        g[0] += slope;
        for (size_t k = 0; k < x->n; k++)
            g[index[x->features[k]]] += slope * scale * value[index[x->features[k]]];
    }
}

int main(int argc, char **argv)
{
    if (sah_phrases_new((const char *)sah_text_refusals.data, sah_text_refusals.size, "phrases", &phrases,
                        NULL) != SAH_OK)
        need(NULL);
    for (int i = 1; i < argc; i++) read_file(argv[i]);
    size_t refusals = 0;
    for (size_t r = 0; r < n_records; r++) refusals += records[r].refuses;
    if (refusals == 0 || refusals == n_records) return fprintf(stderr, "train: too few records\n"), 1;
    for (now = 1; now <= n_records; now++) read_record(knows_all, take_word);
    for (now = 1; now <= n_records; now++) read_record(knows_common, take_run);
    for (size_t i = 0; i < runs.size; i++) runs.slots[i].last = 0;
    for (now = 1; now <= n_records; now++) read_record(knows_common, take_feature);

    entry **chosen = need(calloc(runs.n, sizeof(entry *)));
    size_t *index = need(calloc(runs.size, sizeof *index)), n = 0;
    for (size_t i = 0; i < runs.size; i++)
        if (is_common(&runs.slots[i])) chosen[n++] = &runs.slots[i];
    qsort(chosen, n, sizeof *chosen, compare_runs);
    double *value = need(calloc(n + 1, sizeof *value));
    for (size_t i = 0; i < n; i++) {
        index[chosen[i] - runs.slots] = i + 1;
        value[i + 1] = lean(chosen[i], refusals);
    }

    double *w = need(calloc(n + 1, sizeof *w)), *ahead = need(calloc(n + 1, sizeof *w)),
           *g = need(calloc(n + 1, sizeof *w)), t = 1;
    const double share[2] = {(double)n_records / (2 * (double)(n_records - refusals)),
                             (double)n_records / (2 * (double)refusals)};
    /* Slopes change by at most a quarter of a record's squared norm, the constant counted in. */
    double norm = 0;
    for (size_t r = 0; r < n_records; r++) {
        double squares = 0, scale = sah_opinion_scale(records[r].n);
        for (size_t k = 0; k < records[r].n; k++) {
            const double v = scale * value[index[records[r].features[k]]];
            squares += v * v;
        }
        norm = fmax(norm, (1 + squares) * share[records[r].refuses]);
    }
    const double step = 1 / (0.25 * norm + 1 / (PENALTY * (double)n_records));
    for (int k = 0; k < ITERATIONS; k++) {
        gradient(ahead, n + 1, index, value, share, g);
        double next = (1 + sqrt(1 + 4 * t * t)) / 2;
        for (size_t i = 0; i <= n; i++) {
            double moved = ahead[i] - step * g[i];
            ahead[i] = moved + (t - 1) / next * (moved - w[i]);
            w[i] = moved;
        }
        t = next;
    }
    gradient(w, n + 1, index, value, share, g);
    double slope = 0;
    for (size_t i = 0; i <= n; i++) slope = fmax(slope, fabs(g[i]));
    fprintf(stderr, "%zu records, %zu of them refusals; %zu runs; steepest slope left %.1e\n", n_records,
            refusals, n, slope);
    printf("# Made by scripts/train-judge; src/eval/judge/opinion.h says what it holds. Not for editing.\n");
    printf("%.2f bias\n", w[0]);
    for (size_t i = 0; i < n; i++) printf("%.2f %s\n", w[i + 1] * value[i + 1], chosen[i]->run);
    return 0;
}
