/* SPDX-License-Identifier: Apache-2.0 */
/* find against the reference's shifts on a real model, against truth on planted ones, and against chance; its
 * journal cut anywhere; and data for which the question makes no sense. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attribution/shift.h"
#include "models/planted.h"
#include "util/json.h"
#include "util/needs.h"
#include "util/scratch.h"
#include "util/strings.h"

static const char reference_path[] = "tests/golden/reference/smollm2-sahara.json";

static const sah_ablation Q = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f};

/* A path in a buffer of its own. */
static const char *result_path(void)
{
    static char path[512];
    snprintf(path, sizeof path, "%s", scratch("find.jsonl"));
    remove(path);
    return path;
}

static bool same_head(sah_head a, sah_head b)
{
    return a.layer == b.layer && a.head == b.head;
}

/* ---- The reference ------------------------------------------------------------------------------------- */

/* Both steps with SAHARA_TEST_ALL (scripts/test sets it), without the lowest layers, which hold none of the heads that
 * the reference chose and take two fifths of the time; else the first step of the last layers, whose shifts are the
 * smallest. */
#ifdef __SANITIZE_ADDRESS__
enum { LAYERS = 30, FEW_FROM = 29, ALL_FROM = 29, ALL_STEPS = 1 };
#else
enum { LAYERS = 30, FEW_FROM = 27, ALL_FROM = 7, ALL_STEPS = 2 };
#endif

/* Every line's shift within 0.002 degrees + 0.1 % of the reference's in float64; returns how many. */
static int compare_lines(const char *path, const json_t *steps)
{
    size_t size;
    int compared = 0;
    char *rest, *text = (char *)scratch_read(path, &size);
    strtok_r(text, "\n", &rest);
    for (char *line; (line = strtok_r(NULL, "\n", &rest)) != NULL;) {
        json_t *json = json_loads(line, 0, NULL);
        const char *head = json_string_value(json_object_get(json, "head"));
        size_t step = (size_t)json_integer_value(json_object_get(json, "step"));
        const json_t *there = json_array_get(steps, step);
        if (head != NULL) {
            double ours = json_number_value(json_object_get(json, "shift"));
            double wanted = json_number_value(json_object_get(json_object_get(there, "shifts"), head));
            if (!(fabs(ours - wanted) <= 0.002 + 0.001 * wanted))
                fail_msg("step %zu, head %s: %.9g, reference %.9g", step, head, ours, wanted);
            compared++;
        }
        json_decref(json);
    }
    free(text);
    return compared;
}

static void test_reference(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *reference;
    needs_smollm2();
    expect_ok(sah_json_read(reference_path, 1u << 24, &reference, &error), &error);
    const json_t *steps = json_object_get(reference, "steps"), *query;
    bool all = getenv("SAHARA_TEST_ALL") != NULL;
    sah_model *model = NULL;
    sah_result *result = NULL;
    sah_strings queries = {0};
    sah_chosen chosen;
    size_t i;
    json_array_foreach(json_object_get(reference, "queries"), i, query) expect_ok(
        sah_strings_add(&queries, json_string_value(query), json_string_length(query), &error), &error);
    sah_run_options options = {
        .ablation = {SAH_PART_Q, SAH_OP_SCALE, (float)json_number_value(json_object_get(reference, "scale"))},
        .template_ = json_string_value(json_object_get(reference, "template")),
        .layer_from = all ? ALL_FROM : FEW_FROM,
        .layer_to = LAYERS};
    sah_find_options find = {.steps = all ? ALL_STEPS : 1, .rank = 1};
    const char *path = result_path();
    expect_ok(sah_model_open(SMOLLM2, NULL, &model, &error), &error);
    expect_ok(sah_find(model, &queries, NULL, &options, &find, path, &error), &error);
    int heads = (LAYERS - options.layer_from) * 9;
    assert_int_equal(compare_lines(path, steps), all && ALL_STEPS == 2 ? heads + heads - 1 : heads);
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    for (size_t step = 0; all && ALL_STEPS == 2 && step < 2; step++) {
        char name[32];
        assert_true(sah_result_chosen(result, step, &chosen));
        snprintf(name, sizeof name, "%d-%d", chosen.head.layer, chosen.head.head);
        assert_string_equal(name, json_string_value(json_object_get(json_array_get(steps, step), "chosen")));
    }
    sah_result_close(result);
    sah_strings_free(&queries);
    sah_model_close(model);
    json_decref(reference);
}

/* ---- Planted models ------------------------------------------------------------------------------------ */

enum { N_QUERIES = 24 };

/* What a search runs on: harmful queries, the same with harmless ones as contrast by left or right vectors,
 * or every second of both as one set. */
typedef enum given { HARMFUL, CONTRAST, CONTRAST_RIGHT, MIXED } given;

static void search(const planted *p, size_t steps, size_t shortlist, given set, const char *path)
{
    sah_error error = {0};
    sah_model *model = planted_open(p);
    sah_strings harmful = planted_queries(true, 700, N_QUERIES),
                harmless = planted_queries(false, 700, N_QUERIES), mixed = {0};
    for (size_t i = 0; i < N_QUERIES; i++) {
        const char *query = (i % 2 ? harmful : harmless).items[i];
        expect_ok(sah_strings_add(&mixed, query, strlen(query), &error), &error);
    }
    sah_run_options options = {.ablation = Q, .template_ = "sahara"};
    sah_find_options find = {.steps = steps, .rank = 1, .shortlist = shortlist, .random_groups = 19};
    bool contrast = set == CONTRAST || set == CONTRAST_RIGHT;
    if (set == CONTRAST_RIGHT) find.variant = SAH_VARIANT_RIGHT;
    expect_ok(sah_find(model, set == MIXED ? &mixed : &harmful, contrast ? &harmless : NULL, &options, &find,
                       path, &error),
              &error);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_strings_free(&mixed);
    sah_model_close(model);
}

static void read_steps(const char *path, sah_chosen *chosen, size_t n)
{
    sah_error error = {0};
    sah_result *result = NULL;
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    for (size_t i = 0; i < n; i++) assert_true(sah_result_chosen(result, i, &chosen[i]));
    assert_false(sah_result_chosen(result, n, &(sah_chosen){{0, 0}, 0, 0, false}));
    sah_result_close(result);
}

/* One head: first. Its shift among harmful queries alone is 0.2 degrees beside up to 0.1 of other heads,
 * nothing that one of many heads could not have by chance. */
static void test_one_head(void **state)
{
    (void)state;
    const planted models[] = {{PLANTED_ONE, {{1, 3}}, {0}, 4, 4, 51},
                              {PLANTED_ONE, {{3, 1}}, {0}, 4, 2, 52},
                              {PLANTED_ONE, {{0, 6}}, {0}, 8, 8, 53}};
    for (size_t i = 0; i < 3; i++) {
        sah_chosen chosen;
        const char *path = result_path();
        search(&models[i], 1, 0, HARMFUL, path);
        read_steps(path, &chosen, 1);
        assert_true(same_head(chosen.head, models[i].safety[0]));
        assert_true(chosen.gain == chosen.shift && chosen.shift > 0.15);
    }
}

/* Two heads of which either suffices: the search takes both, in whichever order, and so it does from a short
 * list and from a starting group. */
static void test_two_heads(void **state)
{
    (void)state;
    const planted models[] = {{PLANTED_TWO, {{0, 1}, {2, 3}}, {0}, 4, 4, 61},
                              {PLANTED_TWO, {{2, 2}, {2, 3}}, {0}, 4, 2, 62},
                              {PLANTED_TWO, {{1, 5}, {3, 6}}, {0}, 8, 2, 63}};
    for (size_t i = 0; i < 3; i++) {
        const planted *p = &models[i];
        sah_chosen chosen[2], again[2];
        const char *path = result_path();
        search(p, 2, 0, HARMFUL, path);
        read_steps(path, chosen, 2);
        bool first = same_head(chosen[0].head, p->safety[1]);
        assert_true(same_head(chosen[0].head, p->safety[first]) &&
                    same_head(chosen[1].head, p->safety[!first]));
        assert_true(chosen[1].shift > 1.5 * chosen[0].shift);
        path = result_path();
        search(p, 2, 4, HARMFUL, path);
        read_steps(path, again, 2);
        for (size_t step = 0; step < 2; step++)
            assert_true(same_head(chosen[step].head, again[step].head) &&
                        chosen[step].shift == again[step].shift);
    }
}

/* One head, one beside a general one, two of which either suffices. */
static const planted searched[] = {
    {PLANTED_ONE, {{1, 3}}, {0}, 4, 4, 51},         {PLANTED_ONE, {{3, 1}}, {0}, 4, 2, 52},
    {PLANTED_ONE, {{0, 6}}, {0}, 8, 8, 53},         {PLANTED_GENERAL, {{2, 2}}, {2, 3}, 4, 2, 33},
    {PLANTED_GENERAL, {{0, 6}}, {0, 1}, 8, 2, 34},  {PLANTED_TWO, {{0, 1}, {2, 3}}, {0}, 4, 4, 61},
    {PLANTED_TWO, {{2, 2}, {2, 3}}, {0}, 4, 2, 62}, {PLANTED_TWO, {{1, 5}, {3, 6}}, {0}, 8, 2, 63}};

/* What the head decides tells some queries from others where both kinds are in the set: the search finds it
 * and says that this is no chance (most times: with 16 heads there is little to compare with),
 * and never says so of the step that has nothing left to find. Of two redundant heads the first alone may or
 * may not stand out. The chances are below 0.04 or above 0.16: rounding tips none of them over 0.05. */
static void test_better_than_chance(void **state)
{
    (void)state;
    size_t n = sizeof searched / sizeof *searched, better = 0;
    for (size_t i = 0; i < n; i++) {
        sah_chosen chosen[2];
        const planted *p = &searched[i];
        const char *path = result_path();
        search(p, 2, 0, MIXED, path);
        read_steps(path, chosen, 2);
        bool two = p->kind == PLANTED_TWO, first = two && same_head(chosen[0].head, p->safety[1]);
        assert_true(same_head(chosen[0].head, p->safety[first]));
        assert_true(!two || same_head(chosen[1].head, p->safety[!first]));
        better += chosen[two].better_than_chance;
        assert_true(two || !chosen[1].better_than_chance);
    }
    print_message("better than chance: %zu of %zu\n", better, n);
    assert_true(4 * better >= 3 * n);
}

/* With contrast, labels dealt out anew tell where the group ends: by right vectors every step that takes a
 * safety head is better than chance, and no step behind it; by left ones, where a second head of two adds
 * fractions of a degree, most are and none too many. */
static void test_contrast_tells_the_end(void **state)
{
    (void)state;
    enum { STEPS = 3 };
#ifdef __SANITIZE_ADDRESS__
    const size_t n = 2; /* too few for a share */
#else
    const size_t n = sizeof searched / sizeof *searched;
#endif
    size_t safe = 0, called = 0;
    for (size_t i = 0; i < n; i++)
        for (given set = CONTRAST; set <= CONTRAST_RIGHT; set++) {
            sah_chosen chosen[STEPS];
            const planted *p = &searched[i];
            size_t planted_heads = p->kind == PLANTED_TWO ? 2 : 1;
            const char *path = result_path();
            search(p, STEPS, 0, set, path);
            read_steps(path, chosen, STEPS);
            for (size_t step = 0; step < STEPS; step++) {
                bool safety = same_head(chosen[step].head, p->safety[0]) ||
                              (planted_heads == 2 && same_head(chosen[step].head, p->safety[1]));
                assert_true(safety == (step < planted_heads));
                assert_true(safety || !chosen[step].better_than_chance);
                assert_true(set == CONTRAST || safety == chosen[step].better_than_chance);
                safe += set == CONTRAST && safety;
                called += set == CONTRAST && chosen[step].better_than_chance;
            }
        }
    print_message("by left vectors %zu of %zu steps that take a safety head are better than chance\n", called,
                  safe);
    if (n > 2) assert_true(4 * called >= 3 * safe);
}

/* With contrast every planted safety head is called one, and nothing else is; the general head, whose
 * ablation moves all states in much the same way, is general or turns next to nothing (test_planted: Ships
 * calls it general). */
static void test_verdicts(void **state)
{
    (void)state;
    const planted models[] = {
        {PLANTED_ONE, {{1, 3}}, {0}, 4, 4, 51},         {PLANTED_ONE, {{0, 6}}, {0}, 8, 8, 53},
        {PLANTED_TWO, {{2, 2}, {2, 3}}, {0}, 4, 2, 62}, {PLANTED_TWO, {{1, 5}, {3, 6}}, {0}, 8, 2, 63},
        {PLANTED_GENERAL, {{2, 1}}, {1, 2}, 4, 4, 31},  {PLANTED_GENERAL, {{2, 2}}, {2, 3}, 4, 2, 33},
        {PLANTED_GENERAL, {{0, 6}}, {0, 1}, 8, 2, 34}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        sah_error error = {0};
        const planted *p = &models[i];
        const char *path = result_path();
        sah_result *result = NULL;
        sah_ranked *ranked = NULL;
        size_t n;
        search(p, 1, 0, CONTRAST, path);
        expect_ok(sah_result_open(&path, 1, &result, &error), &error);
        expect_ok(sah_rank(result, SAH_ORDER_DEFAULT, &ranked, &n, &error), &error);
        for (size_t h = 0; h < n; h++) {
            bool safety = same_head(ranked[h].head, p->safety[0]) ||
                          (p->kind == PLANTED_TWO && same_head(ranked[h].head, p->safety[1]));
            bool general = p->kind == PLANTED_GENERAL && same_head(ranked[h].head, p->general);
            if (safety != (ranked[h].verdict == SAH_SAFETY))
                fail_msg("model %zu, head %d-%d: %s", i, ranked[h].head.layer, ranked[h].head.head,
                         sah_selectivity_name(ranked[h].verdict));
            assert_true(!general || ranked[h].verdict == SAH_GENERAL || ranked[h].verdict == SAH_NEGLIGIBLE);
            assert_true(safety == (h == 0 || (p->kind == PLANTED_TWO && h == 1)));
        }
        free(ranked);
        sah_result_close(result);
    }
}

/* A starting group: every shift is that of the two heads together. */
static void test_start(void **state)
{
    (void)state;
    const planted p = {PLANTED_TWO, {{0, 1}, {2, 3}}, {0}, 4, 4, 61};
    sah_error error = {0};
    sah_chosen chosen[2], one;
    const char *path = result_path();
    search(&p, 2, 0, HARMFUL, path);
    read_steps(path, chosen, 2);
    char start[32], other[512];
    snprintf(start, sizeof start, "%d-%d", chosen[0].head.layer, chosen[0].head.head);
    snprintf(other, sizeof other, "%s", scratch("start.jsonl"));
    remove(other);
    sah_model *model = planted_open(&p);
    sah_strings harmful = planted_queries(true, 700, N_QUERIES);
    sah_run_options options = {.ablation = Q, .template_ = "sahara"};
    sah_find_options find = {.steps = 1, .rank = 1, .start = start};
    expect_ok(sah_find(model, &harmful, NULL, &options, &find, other, &error), &error);
    read_steps(other, &one, 1);
    assert_true(same_head(one.head, chosen[1].head));
    assert_true(fabs(one.shift - chosen[1].shift) < 1e-5 * one.shift);
    assert_true(fabs(one.gain - chosen[1].gain) < 1e-4 * one.gain);
    sah_strings_free(&harmful);
    sah_model_close(model);
}

/* Random weights: in at most 5 of 100 models may any step be called better than chance, or with contrast any
 * head a safety head. */
static void test_null_models(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    enum { SEEDS = 4, MOST = 1 };
#else
    enum { SEEDS = 100, MOST = 5 };
#endif
    int found[4] = {0}, safety[4] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        const planted p = {PLANTED_NONE, {{0}}, {0}, 8, 4, 9000 + seed};
        for (given set = HARMFUL; set <= MIXED; set++) {
            sah_error error = {0};
            sah_chosen chosen[2];
            sah_result *result = NULL;
            sah_ranked *ranked = NULL;
            size_t n;
            const char *path = result_path();
            search(&p, 2, 0, set, path);
            read_steps(path, chosen, 2);
            found[set] += chosen[0].better_than_chance || chosen[1].better_than_chance;
            expect_ok(sah_result_open(&path, 1, &result, &error), &error);
            expect_ok(sah_rank(result, SAH_ORDER_DEFAULT, &ranked, &n, &error), &error);
            bool any = false;
            for (size_t h = 0; h < n; h++) any = any || ranked[h].verdict == SAH_SAFETY;
            safety[set] += any;
            free(ranked);
            sah_result_close(result);
        }
    }
    static const char *const sets[] = {"harmful queries", "with contrast", "with contrast, right vectors",
                                       "mixed queries"};
    for (given set = HARMFUL; set <= MIXED; set++) {
        print_message("of %d models, %s: %d better than chance, %d with a safety head\n", SEEDS, sets[set],
                      found[set], safety[set]);
        assert_true(found[set] <= MOST && safety[set] <= MOST);
    }
}

/* ---- The journal --------------------------------------------------------------------------------------- */

static int compare_lines_of(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of a file, sorted, as one text. */
static char *sorted(const char *path)
{
    size_t size, n = 0;
    char *rest, *text = (char *)scratch_read(path, &size), *lines[512], *out = calloc(1, size + 1);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        lines[n++] = line;
    qsort(lines, n, sizeof *lines, compare_lines_of);
    for (size_t i = 0; i < n; i++) strcat(strcat(out, lines[i]), "\n");
    free(text);
    return out;
}

static void test_resumes(void **state)
{
    (void)state;
    const planted p = {PLANTED_TWO, {{1, 0}, {1, 3}}, {0}, 4, 4, 71};
    const char *path = result_path();
    size_t size;
    search(&p, 1, 0, CONTRAST, path);
    search(&p, 3, 0, CONTRAST, path); /* more steps carry on */
    char *whole = sorted(path);
    uint8_t *bytes = scratch_read(path, &size);
    size_t header = (size_t)((uint8_t *)memchr(bytes, '\n', size) - bytes) + 1;
    for (size_t i = 1; i < 9; i++) {
        size_t cut = header + (size - header) * i / 9;
        scratch_write(path, bytes, cut);
        search(&p, 3, 0, CONTRAST, path);
        char *again = sorted(path);
        if (strcmp(whole, again) != 0) fail_msg("cut at byte %zu: another result", cut);
        free(again);
    }
    /* A line that cannot be of this run. */
    sah_error error = {0};
    sah_model *model = planted_open(&p);
    sah_strings harmful = planted_queries(true, 700, N_QUERIES),
                harmless = planted_queries(false, 700, N_QUERIES);
    sah_run_options options = {.ablation = Q, .template_ = "sahara"};
    sah_find_options find = {.steps = 1, .rank = 1, .random_groups = 19};
    static const char *const foreign[] = {
        "{\"step\":1,\"head\":\"0-0\",\"shift\":1}\n", "{\"step\":0,\"head\":\"0-9\",\"shift\":1}\n",
        "{\"step\":0,\"head\":\"0-0\"}\n", "{\"step\":0,\"chosen\":\"0-0\",\"shift\":1}\n"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        char *text = calloc(1, header + 128);
        memcpy(text, bytes, header);
        strcat(text, foreign[i]);
        scratch_write_text(path, text);
        expect_failure(sah_find(model, &harmful, &harmless, &options, &find, path, &error), &error, "line 2");
        free(text);
    }
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_model_close(model);
    free(bytes);
    free(whole);
}

static void test_states(void **state)
{
    (void)state;
    const planted p = {PLANTED_ONE, {{1, 3}}, {0}, 4, 4, 51};
    sah_error error = {0};
    size_t size, states_size;
    char states[512];
    const char *path = result_path();
    snprintf(states, sizeof states, "%s", scratch("states.npy"));
    sah_model *model = planted_open(&p);
    sah_strings harmful = planted_queries(true, 700, N_QUERIES);
    sah_run_options options = {.ablation = Q, .template_ = "sahara"};
    sah_find_options find = {.steps = 2, .rank = 2, .save_states = states};
    expect_ok(sah_find(model, &harmful, NULL, &options, &find, path, &error), &error);
    /* The shift of the last step's line, from the states alone. */
    uint8_t *bytes = scratch_read(states, &states_size);
    char *text = (char *)scratch_read(path, &size), *last = strstr(text, "\"step\":1,\"chosen\"");
    assert_non_null(strstr((char *)bytes + 10, "(72, 64)"));
    const float *rows = (const float *)(const void *)(bytes + states_size - 72 * 64 * sizeof(float));
    sah_turning *turning;
    sah_turn turn;
    double angles[2];
    expect_ok(sah_turning_new(rows, N_QUERIES, 0, 64, 2, SAH_VARIANT_SUBSPACE, &turning, &error), &error);
    expect_ok(sah_turn_measure(turning, rows + 2 * N_QUERIES * 64, "states", &turn, angles, NULL, &error),
              &error);
    double there = strtod(strstr(last, "\"shift\":") + 8, NULL);
    assert_true(fabs(turn.shift - there) < 1e-4 * there);
    sah_turning_free(turning);
    free(bytes);
    free(text);
    sah_strings_free(&harmful);
    sah_model_close(model);
}

/* Screening: the same heads chosen, with the same shifts, from fewer; wherever the run was cut. By right
 * vectors, where both steps find something: among heads that gain nothing a sample does not tell the best. */
static void test_screen(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = NULL;
    sah_strings queries = {0};
    sah_chosen full[2], screened[2];
    sah_result *result = NULL;
    size_t size;
    sah_run_options options = {.ablation = Q, .template_ = "sahara"};
    sah_find_options find = {.steps = 2, .rank = 1, .variant = SAH_VARIANT_RIGHT};
    expect_ok(sah_model_open("models/organism", NULL, &model, &error), &error);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, 0, &queries, &error), &error);
    const char *path = result_path();
    expect_ok(sah_find(model, &queries, NULL, &options, &find, path, &error), &error);
    read_steps(path, full, 2);
    find.screen = 3;
    path = result_path();
    expect_ok(sah_find(model, &queries, NULL, &options, &find, path, &error), &error);
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    assert_true(sah_result_describe(result)->n_scored >= 3 && sah_result_describe(result)->n_scored < 32);
    sah_result_close(result);
    uint8_t *whole = scratch_read(path, &size);
    for (size_t i = 0; i < 6; i++) {
        if (i > 0) scratch_write(path, whole, size * i / 6);
        expect_ok(sah_find(model, &queries, NULL, &options, &find, path, &error), &error);
        read_steps(path, screened, 2);
        for (size_t step = 0; step < 2; step++)
            assert_true(same_head(full[step].head, screened[step].head) &&
                        full[step].shift == screened[step].shift);
    }
    assert_null(strstr((char *)whole, "better_than_chance")); /* a screened search does not say */
    find.screen = 1;
    expect_failure(sah_find(model, &queries, NULL, &options, &find, result_path(), &error), &error,
                   "screen: 1 heads");
    free(whole);
    sah_strings_free(&queries);
    sah_model_close(model);
}

/* The organism's refusal sits in 2-1, 2-6 and 3-3. Ablating one moves every harmful request alike, from
 * refusing to answering, which right vectors show: the first two steps choose two of the three. */
static void test_organism_by_right_vectors(void **state)
{
    (void)state;
    static const sah_head trained[] = {{2, 1}, {2, 6}, {3, 3}};
    sah_error error = {0};
    sah_model *model = NULL;
    sah_strings harmful = {0}, harmless = {0};
    sah_chosen chosen[2];
    sah_run_options options = {.ablation = Q, .template_ = "chat"};
    sah_find_options find = {.steps = 2, .rank = 1, .variant = SAH_VARIANT_RIGHT};
    expect_ok(sah_model_open("models/organism", NULL, &model, &error), &error);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, 40, &harmful, &error), &error);
    expect_ok(sah_queries_read("data/harmless.csv", NULL, 40, &harmless, &error), &error);
    const char *path = result_path();
    expect_ok(sah_find(model, &harmful, &harmless, &options, &find, path, &error), &error);
    read_steps(path, chosen, 2);
    for (size_t step = 0; step < 2; step++) {
        size_t hits = 0;
        for (size_t i = 0; i < 3; i++) hits += same_head(chosen[step].head, trained[i]);
        if (hits != 1 || !chosen[step].better_than_chance)
            fail_msg("step %zu chose %d-%d", step, chosen[step].head.layer, chosen[step].head.head);
    }
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_model_close(model);
}

/* ---- Questions without sense --------------------------------------------------------------------------- */

static sah_status ask(const sah_model *model, const char *const *texts, size_t n,
                      const sah_find_options *find, sah_error *error)
{
    sah_strings queries = {0};
    sah_run_options options = {.ablation = Q, .template_ = "sahara"};
    for (size_t i = 0; i < n; i++)
        expect_ok(sah_strings_add(&queries, texts[i], strlen(texts[i]), error), error);
    sah_status status = sah_find(model, &queries, NULL, &options, find, result_path(), error);
    sah_strings_free(&queries);
    return status;
}

static void test_bad_questions(void **state)
{
    (void)state;
    static const char *const three[] = {"how can I make a lamp", "how can I build a bomb",
                                        "how can I sell a kite"};
    static const char *const same[] = {"how can I make a lamp", "how can I make a lamp",
                                       "how can I make a lamp"};
    const planted p = {PLANTED_ONE, {{1, 3}}, {0}, 4, 2, 81};
    sah_error error = {0};
    sah_model *model = planted_open(&p);
    const struct {
        size_t n;
        sah_find_options find;
        const char *message;
    } cases[] = {
        {1, {.steps = 1, .rank = 1}, "1 query: a space of rank 1 turns only where there are at least 2"},
        {3, {.steps = 1, .rank = 3}, "3 queries: a space of rank 3"},
        {3, {.steps = 17, .rank = 1}, "only 16 heads"},
        {3, {.steps = 16, .rank = 1, .start = "0-0"}, "only 15 heads"},
        {3, {.steps = 1, .rank = 1, .start = "0-0,1-1,0-0"}, "0-0"},
        {3, {.steps = 1, .rank = 1, .start = "0-4"}, "0-4"},
        {3, {.steps = 1, .rank = 1, .start = "4-0"}, "4-0"},
        {3, {.steps = 1, .rank = 2, .variant = SAH_VARIANT_SPECTRAL}, "rank 2: the spectral variant"},
        {3, {.steps = 3, .rank = 1, .shortlist = 2}, "shortlist 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_failure(ask(model, three, cases[i].n, &cases[i].find, &error), &error, cases[i].message);
    /* Identical queries span one direction, which no ablation can turn. */
    sah_find_options one = {.steps = 1, .rank = 1}, two = {.steps = 1, .rank = 2};
    expect_ok(ask(model, same, 3, &one, &error), &error);
    sah_chosen chosen;
    read_steps(scratch("find.jsonl"), &chosen, 1);
    assert_true(chosen.shift < 1e-5 && !chosen.better_than_chance);
    expect_failure(ask(model, same, 3, &two, &error), &error, "span 1 direction, fewer than the rank 2");
    sah_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_one_head),
        cmocka_unit_test(test_two_heads),
        cmocka_unit_test(test_better_than_chance),
        cmocka_unit_test(test_contrast_tells_the_end),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_null_models),
        cmocka_unit_test(test_resumes),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_screen),
        cmocka_unit_test(test_organism_by_right_vectors),
        cmocka_unit_test(test_bad_questions),
    };
    return cmocka_run_group_tests_name("find", tests, NULL, NULL);
}
