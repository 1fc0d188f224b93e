/* SPDX-License-Identifier: Apache-2.0 */
/* Ships by racing (docs/method.md, "Screening"): all heads on a few queries, then more queries for those that
 * may still be among the highest, until only they are left or all queries are used. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stats/chance.h"
#include "run/interchange.h"
#include "run/journal.h"
#include "run/prompts.h"
#include "run/shard.h"
#include "run/together.h"
#include "attribution/ships_sweep.h"
#include "attribution/ships.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/splitmix.h"

/* Queries of the first round, and by what the number of queries grows from round to round. */
enum { FIRST_QUERIES = 8 };
static const double GROWTH = 1.6;

/* With at most so many times the wanted heads left, all queries that remain make the last round: every round
 * runs the unablated model, too. */
static const double FINISH = 1.5;

/* A head leaves when the chance that its score reaches the last of the highest is below this, by a paired
 * t-test on the queries so far. */
static const double LEAVE = 0.003;

/* The lists of numbers a line has: a race goes by the first; the others are there with openings. */
enum { KL, EFFECT, TOWARD, OPENING_KL, N_LISTS };
static const char *const names[N_LISTS] = {"kl", "effect", "toward", "opening_kl"};

/* One of the two sets of queries, in the order in which the race draws them. */
typedef struct set {
    const sah_strings *queries;
    size_t n;
    size_t *order; /* [n] */
    double *scores[N_LISTS]; /* [n_heads, n] each, by the order of the queries; NaN: none */
} set;

typedef struct race {
    const sah_model *model;
    const sah_run_options *options;
    set sets[2]; /* harmful, harmless (n 0: none) */
    sah_head *heads;
    size_t n_heads, top;
    int heads_of_layer;
    size_t *index; /* [n_layers * heads_of_layer] of a head in `heads`, or n_heads */
    bool *left, *written; /* [n_heads] out of the race; its last line is in the journal */
    size_t round;
    bool finishing; /* the round under way is the last */
    size_t drawn[2][2]; /* per set: queries before this round, and with it */
    size_t *racing; /* [n_racing] heads of the sweep under way */
    sah_journal *journal;
    sah_together *together; /* the other shards, or NULL */
    bool differs; /* scores are by differences (engine/difference.h) */
} race;

/* ---- Rounds -------------------------------------------------------------------------------------------- */

/* Queries of a set of n that are drawn before round `r`. */
static size_t drawn_before(size_t n, size_t r)
{
    double queries = FIRST_QUERIES;
    if (r == 0) return 0;
    for (size_t i = 1; i < r; i++) queries = ceil(queries * GROWTH);
    return queries < (double)n ? (size_t)queries : n;
}

static void begin_round(race *s, size_t round)
{
    /* Both sets come to their ends in the same round. */
    size_t longest = s->sets[0].n > s->sets[1].n ? s->sets[0].n : s->sets[1].n;
    s->round = round;
    for (int i = 0; i < 2; i++)
        for (int after = 0; after < 2; after++) {
            size_t of_longest = drawn_before(longest, round + (size_t)after), n = s->sets[i].n;
            size_t share = of_longest < n ? of_longest : n;
            s->drawn[i][after] = of_longest == longest || (after == 1 && s->finishing) ? n : share;
        }
}

/* Heads that are still in. */
static size_t count_racing(const race *s)
{
    size_t n = 0;
    for (size_t h = 0; h < s->n_heads; h++) n += !s->left[h];
    return n;
}

/* Mean and squared standard error of a head's scores less another's (or less 0) over the drawn queries of a
 * set. */
static void compare(const set *of, size_t drawn, const double *a, const double *b, double *mean,
                    double *square)
{
    double sum = 0, squares = 0;
    *mean = *square = 0;
    if (drawn == 0) return;
    for (size_t i = 0; i < drawn; i++) sum += a[of->order[i]] - (b != NULL ? b[of->order[i]] : 0);
    *mean = sum / (double)drawn;
    for (size_t i = 0; i < drawn; i++) {
        double off = a[of->order[i]] - (b != NULL ? b[of->order[i]] : 0) - *mean;
        squares += off * off;
    }
    if (drawn > 1) *square = squares / (double)(drawn - 1) / (double)drawn;
}

/* The head's score, harmful less harmless mean, less that of `other` (n_heads: none), by the queries of
 * rounds so far
 * (`with` this one, or without it). */
static void score(const race *s, int with, size_t head, size_t other, double *mean, double *error)
{
    double square = 0;
    *mean = 0;
    for (int i = 0; i < 2; i++) {
        const set *of = &s->sets[i];
        double part, part_square;
        compare(of, s->drawn[i][with], of->scores[KL] + head * of->n,
                other < s->n_heads ? of->scores[KL] + other * of->n : NULL, &part, &part_square);
        *mean += i == 0 ? part : -part;
        square += part_square;
    }
    *error = sqrt(square);
}

typedef struct place {
    double score;
    size_t head;
} place;

static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->head < y->head ? -1 : x->head > y->head;
}

/* Drops the heads that have no chance any more. */
static sah_status drop_heads(race *s, sah_error *error)
{
    size_t n = 0;
    double mean, deviation;
    place *places = sah_alloc(s->n_heads, sizeof *places);
    if (places == NULL) return sah_fail_memory(error, "the heads");
    for (size_t h = 0; h < s->n_heads; h++) {
        if (s->left[h]) continue;
        score(s, 1, h, s->n_heads, &mean, &deviation);
        places[n++] = (place){mean, h};
    }
    qsort(places, n, sizeof *places, compare_places);
    size_t last = n > s->top ? places[s->top - 1].head : 0;
    for (size_t i = s->top; i < n; i++) {
        score(s, 1, last, places[i].head, &mean, &deviation);
        double freedom = (double)s->drawn[0][1] - 1;
        if (deviation > 0 ? sah_student_tail(mean / deviation, fmax(1, freedom)) < LEAVE : mean > 0)
            s->left[places[i].head] = true;
    }
    free(places);
    return SAH_OK;
}

/* ---- Lines --------------------------------------------------------------------------------------------- */

static sah_status add_line(race *s, sah_text *line, sah_error *error)
{
    sah_text_add(line, "}", 1);
    sah_status status = line->failed ? sah_fail_memory(error, "a line of the result")
                                     : sah_journal_add(s->journal, line->data, line->size, error);
    free(line->data);
    return status;
}

/* The key of a list for a set. */
static const char *key_of(int list, int i, char key[32])
{
    snprintf(key, 32, "%s%s", names[list], i == 0 ? "" : "_contrast");
    return key;
}

/* Lists that the run makes beside KL. */
static bool makes(const race *s, int list)
{
    return list == KL || (s->options->openings != NULL && (list != OPENING_KL || s->options->opening_kl));
}

/* Takes a round's scores of a head, and writes them down. */
static sah_status take_scores(void *ctx, size_t which, const sah_head_scores *scores, sah_error *error)
{
    race *s = ctx;
    size_t head = s->racing[which], first = 0;
    const double *const lists[N_LISTS] = {scores->kl, scores->effect, scores->toward, scores->opening_kl};
    sah_text line = {0};
    char key[32];
    sah_text_addf(&line, "{\"round\":%zu,\"head\":\"%d-%d\"", s->round, s->heads[head].layer,
                  s->heads[head].head);
    for (int i = 0; i < 2; i++) {
        set *of = &s->sets[i];
        size_t from = s->drawn[i][0], n = s->drawn[i][1] - from;
        for (int l = 0; l < N_LISTS; l++) {
            if (!makes(s, l)) continue;
            for (size_t q = 0; q < n; q++)
                of->scores[l][head * of->n + of->order[from + q]] = lists[l][first + q];
            if (of->n > 0) sah_line_numbers(&line, key_of(l, i, key), lists[l] + first, n);
        }
        first += n;
    }
    return add_line(s, &line, error);
}

/* The head's last line: every query's scores, null where there is none. */
static sah_status write_head(race *s, size_t head, sah_error *error)
{
    sah_text line = {0};
    char key[32];
    bool exact = true;
    sah_text_addf(&line, "{\"head\":\"%d-%d\"", s->heads[head].layer, s->heads[head].head);
    for (int l = 0; l < N_LISTS; l++) {
        for (int i = 0; i < 2; i++) {
            const set *of = &s->sets[i];
            if (!makes(s, l) || of->n == 0) continue;
            sah_line_numbers(&line, key_of(l, i, key), of->scores[l] + head * of->n, of->n);
            for (size_t q = 0; q < of->n && l == KL; q++)
                exact = exact && !isnan(of->scores[l][head * of->n + q]);
        }
    }
    sah_text_addf(&line, ",\"exact\":%s", exact ? "true" : "false");
    s->written[head] = true;
    return add_line(s, &line, error);
}

/* Whether the line has n numbers for a list (or nulls where there may be some), which go to the drawn queries. */
static bool read_list(race *s, const json_t *line, size_t head, int list, int i)
{
    char key[32];
    set *of = &s->sets[i];
    size_t n = s->drawn[i][1] - s->drawn[i][0];
    const json_t *numbers = json_object_get(line, key_of(list, i, key));
    if (json_array_size(numbers) != n) return false;
    for (size_t q = 0; q < n; q++) {
        const json_t *number = json_array_get(numbers, q);
        if (!json_is_number(number) && !(list != KL && json_is_null(number))) return false;
        of->scores[list][head * of->n + of->order[s->drawn[i][0] + q]] =
            json_is_null(number) ? NAN : json_number_value(number);
    }
    return true;
}

static bool has_lists(const race *s, const json_t *line)
{
    char key[32];
    for (int l = 0; l < N_LISTS; l++)
        for (int i = 0; i < 2; i++)
            if (makes(s, l) &&
                json_array_size(json_object_get(line, key_of(l, i, key))) != s->drawn[i][1] - s->drawn[i][0])
                return false;
    return true;
}

static bool read_scores(race *s, const json_t *line, size_t head)
{
    bool good = has_lists(s, line);
    for (int l = 0; l < N_LISTS; l++)
        for (int i = 0; i < 2 && good; i++)
            if (makes(s, l)) good = read_list(s, line, head, l, i);
    return good;
}

static sah_status take_line(void *ctx, const json_t *line, size_t number, sah_error *error)
{
    race *s = ctx;
    const char *name = json_string_value(json_object_get(line, "head"));
    const json_t *round = json_object_get(line, "round");
    sah_head head;
    bool good = name != NULL && sah_head_read(name, s->model->config.n_layers, s->heads_of_layer, &head);
    size_t index = good ? s->index[head.layer * s->heads_of_layer + head.head] : s->n_heads;
    good = index < s->n_heads;
    if (good && round == NULL) {
        s->written[index] = true;
    } else if (good) {
        good = json_is_integer(round) && json_integer_value(round) >= 0 && json_integer_value(round) < 64;
        /* a last round has more queries than its number tells */
        for (int last = 0; good && last < 2; last++) {
            s->finishing = last == 1;
            begin_round(s, (size_t)json_integer_value(round));
            if (read_scores(s, line, index)) break;
            good = last == 0;
        }
    }
    if (good) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "line %zu is not a score of this run; remove it to carry on", number);
}

/* ---- The race ------------------------------------------------------------------------------------------ */

/* Whether a head's scores of the round under way are there. */
static bool is_scored(const race *s, size_t head)
{
    const set *of = &s->sets[s->drawn[0][1] > s->drawn[0][0] ? 0 : 1];
    size_t i = of == &s->sets[0] ? 0 : 1;
    return !isnan(of->scores[KL][head * of->n + of->order[s->drawn[i][0]]]);
}

/* The round's queries of a set. */
static sah_status draw(const race *s, int i, sah_strings *out, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t q = s->drawn[i][0]; q < s->drawn[i][1] && status == SAH_OK; q++) {
        const char *query = s->sets[i].queries->items[s->sets[i].order[q]];
        status = sah_strings_add(out, query, strlen(query), error);
    }
    return status;
}

/* Which of the run's queries the round's are, one set behind the other. */
static sah_status number_queries(const race *s, size_t **out, sah_error *error)
{
    size_t n = 0;
    *out = sah_alloc(s->sets[0].n + s->sets[1].n, sizeof **out);
    if (*out == NULL) return sah_fail_memory(error, "the queries");
    for (int i = 0; i < 2; i++)
        for (size_t q = s->drawn[i][0]; q < s->drawn[i][1]; q++)
            (*out)[n++] = s->sets[i].order[q] + (i == 0 ? 0 : s->sets[0].n);
    return SAH_OK;
}

/* A line of another shard, which may be behind or ahead. */
static sah_status take_other(void *ctx, const json_t *line, bool *later, sah_error *error)
{
    race *s = ctx;
    const char *name = json_string_value(json_object_get(line, "head"));
    const json_t *round = json_object_get(line, "round");
    const json_int_t number = json_integer_value(round);
    sah_head head;
    bool good = name != NULL && sah_head_read(name, s->model->config.n_layers, s->heads_of_layer, &head);
    size_t index = good ? s->index[head.layer * s->heads_of_layer + head.head] : s->n_heads;
    *later = round == NULL || number > (json_int_t)s->round;
    if (*later || number < (json_int_t)s->round) return SAH_OK;
    good =
        json_is_integer(round) && index < s->n_heads && (is_scored(s, index) || read_scores(s, line, index));
    if (good) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "a line is not a score of this run");
}

/* How many heads that race have their scores of the round. */
static size_t count_scored(const race *s)
{
    size_t n = 0;
    for (size_t h = 0; h < s->n_heads; h++) n += !s->left[h] && is_scored(s, h);
    return n;
}

/* Reads what the other shards write until all have them. */
static sah_status wait_for_round(race *s, sah_error *error)
{
    const size_t racing = count_racing(s);
    sah_status status = SAH_OK;
    while (s->together != NULL && status == SAH_OK && count_scored(s) < racing) {
        status = sah_together_read(s->together, take_other, s, error);
        const size_t there = count_scored(s);
        if (status == SAH_OK && there < racing)
            status = sah_together_wait(s->options, "ships: waiting for other shards", there, racing, error);
    }
    return status;
}

static sah_status run_round(race *s, sah_error *error)
{
    sah_strings queries[2] = {{0}, {0}};
    const sah_strings *lists[2] = {&queries[0], &queries[1]};
    sah_probes probes = {0};
    size_t *query_of = NULL;
    size_t n = 0, racing = 0;
    sah_target *targets = sah_alloc(s->n_heads, sizeof *targets);
    char what[64];
    sah_status status = targets != NULL ? SAH_OK : sah_fail_memory(error, "the heads");
    for (size_t h = 0; h < s->n_heads && status == SAH_OK; h++) {
        if (s->left[h]) continue;
        const bool own = sah_shard_has(&s->options->shard, racing++);
        if (!own || is_scored(s, h)) continue;
        s->racing[n] = h;
        targets[n++] = (sah_target){s->heads[h], &s->options->ablation};
    }
    if (status != SAH_OK || n == 0) goto done;
    for (int i = 0; i < 2 && status == SAH_OK; i++) status = draw(s, i, &queries[i], error);
    if (status == SAH_OK) status = number_queries(s, &query_of, error);
    if (status == SAH_OK)
        status = sah_probes_new(s->model, lists, s->options, SAH_SHIPS_TEMPLATE, query_of, &probes, error);
    snprintf(what, sizeof what, "ships, %zu queries: heads", s->drawn[0][1] + s->drawn[1][1]);
    sah_sweep_options sweep = {
        .memory = s->options->memory,
        .progress = s->options->progress,
        .user = s->options->user,
        .what = what,
        .done = racing - n,
        .total = racing,
        .differences = s->differs,
    };
    if (status == SAH_OK)
        status =
            sah_scores(s->model, &probes, s->options->opening_kl, targets, n, &sweep, take_scores, s, error);

done:
    sah_probes_free(&probes);
    free(query_of);
    sah_strings_free(&queries[0]);
    sah_strings_free(&queries[1]);
    free(targets);
    return status;
}

/* A random order of n queries, the same for all runs. */
static void shuffle(size_t *order, size_t n, uint64_t state)
{
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = 0; i < n; i++) {
        size_t j = i + sah_splitmix_below(&state, n - i), query = order[j];
        order[j] = order[i];
        order[i] = query;
    }
}

static sah_status prepare(race *s, sah_error *error)
{
    size_t cells = (size_t)s->model->config.n_layers * (size_t)s->heads_of_layer;
    sah_status status = sah_run_heads(s->model, s->options, &s->heads, &s->n_heads, error);
    if (status != SAH_OK) return status;
    s->index = sah_alloc(cells, sizeof *s->index);
    s->left = sah_alloc(s->n_heads, sizeof *s->left);
    s->written = sah_alloc(s->n_heads, sizeof *s->written);
    s->racing = sah_alloc(s->n_heads, sizeof *s->racing);
    if (s->index == NULL || s->left == NULL || s->written == NULL || s->racing == NULL)
        return sah_fail_memory(error, "the heads");
    for (size_t c = 0; c < cells; c++) s->index[c] = s->n_heads;
    for (size_t h = 0; h < s->n_heads; h++)
        s->index[s->heads[h].layer * s->heads_of_layer + s->heads[h].head] = h;
    for (int i = 0; i < 2; i++) {
        set *of = &s->sets[i];
        size_t numbers;
        if (!sah_mul(s->n_heads, of->n, &numbers)) return sah_fail_memory(error, "the scores");
        of->order = sah_alloc(of->n, sizeof *of->order);
        if (of->order == NULL) return sah_fail_memory(error, "the scores");
        for (int l = 0; l < N_LISTS; l++) {
            if (!makes(s, l)) continue;
            of->scores[l] = sah_alloc(numbers, sizeof *of->scores[l]);
            if (of->scores[l] == NULL) return sah_fail_memory(error, "the scores");
            for (size_t k = 0; k < numbers; k++) of->scores[l][k] = NAN;
        }
        shuffle(of->order, of->n, (uint64_t)i + 1);
    }
    return SAH_OK;
}

static void race_free(race *s)
{
    for (int i = 0; i < 2; i++) {
        free(s->sets[i].order);
        for (int l = 0; l < N_LISTS; l++) free(s->sets[i].scores[l]);
    }
    free(s->heads);
    free(s->index);
    free(s->left);
    free(s->written);
    free(s->racing);
    sah_together_close(s->together);
}

static sah_status run_race(race *s, sah_error *error)
{
    sah_status status = SAH_OK;
    bool over = false;
    s->finishing = false;
    for (size_t round = 0; status == SAH_OK && !over; round++) {
        begin_round(s, round);
        status = run_round(s, error);
        if (status == SAH_OK) status = wait_for_round(s, error);
        if (status == SAH_OK) status = drop_heads(s, error);
        over = s->drawn[0][1] == s->sets[0].n && s->drawn[1][1] == s->sets[1].n;
        s->finishing = (double)count_racing(s) <= FINISH * (double)s->top;
    }
    for (size_t h = 0; h < s->n_heads && status == SAH_OK; h++)
        if (!s->written[h] && sah_shard_has(&s->options->shard, h)) status = write_head(s, h, error);
    return status;
}

/* As all queries at once would have it, so that every round has the same. */
static sah_status choose_products(race *s, const sah_strings *const lists[2], sah_error *error)
{
    sah_probes probes = {0};
    sah_status status = sah_probes_new(s->model, lists, s->options, SAH_SHIPS_TEMPLATE, NULL, &probes, error);
    if (status == SAH_OK) s->differs = sah_sweep_differs(s->model, probes.forest, s->options->memory);
    sah_probes_free(&probes);
    return status;
}

sah_status sah_ships_screen(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                            const sah_run_options *options, size_t top, const char *path, sah_error *error)
{
    if (contrast != NULL && contrast->n == 0) contrast = NULL;
    const sah_strings *lists[2] = {queries, contrast};
    const sah_run_options meant = sah_run_resolve(options);
    race s = {.model = model, .options = &meant, .top = top};
    options = &meant;
    json_t *header = NULL;
    if (queries->n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no query to score");
    if (top == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no head to look for");
    s.heads_of_layer = sah_run_heads_of_layer(sah_model_describe(model), &options->ablation);
    for (int i = 0; i < 2; i++) {
        s.sets[i].queries = lists[i];
        s.sets[i].n = lists[i] != NULL ? lists[i]->n : 0;
    }
    const bool part = sah_shard_is_part(&options->shard);
    if (part && options->together == NULL) {
        return sah_fail(
            error, SAH_BAD_ARGUMENT,
            "a shard of screening needs the other shards' journals: give the folder that holds them all");
    }
    sah_status status = sah_shard_check(&options->shard, error);
    if (status == SAH_OK)
        status = sah_interchange_check(&options->ablation, &options->interchange, s.sets[0].n + s.sets[1].n,
                                       error);
    if (status == SAH_OK) status = prepare(&s, error);
    if (status == SAH_OK) status = choose_products(&s, lists, error);
    if (status == SAH_OK) status = sah_ships_header(model, lists, options, top, s.differs, &header, error);
    if (status == SAH_OK && part)
        status = sah_together_open(options->together, path, header, &s.together, error);
    if (status == SAH_OK)
        status = sah_journal_open(path, header, take_line, &s, sah_run_sink(options), &s.journal, error);
    if (status == SAH_OK) status = run_race(&s, error);
    sah_status closed = sah_journal_close(s.journal, status == SAH_OK ? error : NULL);
    if (status == SAH_OK) status = closed;
    json_decref(header);
    race_free(&s);
    return status;
}
