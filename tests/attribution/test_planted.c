/* SPDX-License-Identifier: Apache-2.0 */
/* Ships against truth: models whose safety heads were put there by hand, at places that differ from model to
 * model. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cpu/cpu.h"
#include "engine/cpu/kl.h"
#include "attribution/subspace.h"
#include "engine/forward.h"
#include "engine/model.h"
#include "models/planted.h"
#include "util/json.h"
#include "util/scratch.h"

enum { N_QUERIES = 24, MOST_HEADS = 64 };

static const sah_ablation Q = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f};
static const sah_ablation K = {SAH_PART_K, SAH_OP_SCALE, 1e-4f};
static const sah_ablation V = {SAH_PART_V, SAH_OP_SCALE, 1e-4f};

/* Multi-head, grouped, and all heads on one key head; two redundant heads of one layer, of one group, of far
 * layers, in either order. */
static const planted ones[] = {
    {PLANTED_ONE, {{0, 0}}, {0}, 4, 4, 11}, {PLANTED_ONE, {{1, 3}}, {0}, 4, 4, 12},
    {PLANTED_ONE, {{3, 1}}, {0}, 4, 2, 13}, {PLANTED_ONE, {{2, 5}}, {0}, 8, 2, 14},
    {PLANTED_ONE, {{3, 2}}, {0}, 4, 1, 15}, {PLANTED_ONE, {{0, 7}}, {0}, 8, 8, 16},
};
static const planted twos[] = {
    {PLANTED_TWO, {{0, 1}, {2, 3}}, {0}, 4, 4, 21}, {PLANTED_TWO, {{3, 0}, {1, 2}}, {0}, 4, 4, 22},
    {PLANTED_TWO, {{2, 2}, {2, 3}}, {0}, 4, 2, 23}, {PLANTED_TWO, {{0, 5}, {3, 6}}, {0}, 8, 2, 24},
    {PLANTED_TWO, {{1, 0}, {1, 3}}, {0}, 4, 4, 25},
};
static const planted generals[] = {
    {PLANTED_GENERAL, {{2, 1}}, {1, 2}, 4, 4, 31}, {PLANTED_GENERAL, {{1, 0}}, {3, 3}, 4, 4, 32},
    {PLANTED_GENERAL, {{2, 2}}, {2, 3}, 4, 2, 33}, {PLANTED_GENERAL, {{0, 6}}, {0, 1}, 8, 2, 34},
    {PLANTED_GENERAL, {{3, 3}}, {2, 0}, 4, 1, 35},
};
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Ships of every head, read back from the result file. */
typedef struct scores {
    int n, heads; /* scored heads, and those of a layer */
    double kl[MOST_HEADS][N_QUERIES], contrast[MOST_HEADS][N_QUERIES];
    double mean[MOST_HEADS], contrast_mean[MOST_HEADS];
} scores;

static double take(const json_t *list, double *out)
{
    double sum = 0;
    assert_int_equal(json_array_size(list), N_QUERIES);
    for (size_t i = 0; i < N_QUERIES; i++) sum += out[i] = json_number_value(json_array_get(list, i));
    return sum / N_QUERIES;
}

static void score(const planted *p, const sah_ablation *ablation, size_t first, const char *template_,
                  scores *out)
{
    sah_error error = {0};
    char *line, *rest, path[512];
    size_t size;
    snprintf(path, sizeof path, "%s", scratch("planted.jsonl"));
    remove(path);
    sah_model *model = planted_open(p);
    sah_strings harmful = planted_queries(true, first, N_QUERIES),
                harmless = planted_queries(false, first, N_QUERIES);
    sah_run_options options = {.ablation = *ablation, .template_ = template_};
    expect_ok(sah_ships(model, &harmful, &harmless, &options, path, &error), &error);
    *out = (scores){.heads = ablation->parts == SAH_PART_K ? p->n_kv_heads : p->n_heads};
    char *text = (char *)scratch_read(path, &size);
    strtok_r(text, "\n", &rest); /* the header */
    while ((line = strtok_r(NULL, "\n", &rest)) != NULL) {
        int l, h;
        json_t *json = json_loads(line, 0, NULL);
        assert_int_equal(sscanf(json_string_value(json_object_get(json, "head")), "%d-%d", &l, &h), 2);
        int at = l * out->heads + h;
        out->mean[at] = take(json_object_get(json, "kl"), out->kl[at]);
        out->contrast_mean[at] = take(json_object_get(json, "kl_contrast"), out->contrast[at]);
        out->n++;
        json_decref(json);
    }
    assert_int_equal(out->n, PLANTED_LAYERS * out->heads);
    free(text);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_model_close(model);
}

static int place(const scores *s, sah_head head)
{
    return head.layer * s->heads + head.head;
}

/* The head is first for every query, `times` above the second. */
static void expect_first(const scores *s, int head, double times)
{
    for (int i = 0; i < N_QUERIES; i++)
        for (int h = 0; h < s->n; h++)
            if (h != head && !(s->kl[head][i] > times * s->kl[h][i]))
                fail_msg("query %d: %g for the planted head, %g for %d-%d", i, s->kl[head][i], s->kl[h][i],
                         h / s->heads, h % s->heads);
}

static void test_one_head(void **state)
{
    const planted *p = *state;
    scores s;
    static const char *const templates[] = {"ships", "sahara", "none"};
    for (size_t t = 0; t < COUNT(templates); t++) {
        score(p, &Q, 1000 + 50 * t, templates[t], &s);
        int head = place(&s, p->safety[0]);
        expect_first(&s, head, 100);
        assert_true(s.mean[head] > 5);
        assert_true(s.contrast_mean[head] < 0.01 * s.mean[head]); /* nothing to do without a harmful word */
        /* The others are no dummies. */
        for (int h = 0; h < s.n; h++) assert_true(s.contrast_mean[h] > 1e-7 || h == head);
    }
    score(p, &V, 2000, "ships", &s);
    expect_first(&s, place(&s, p->safety[0]), 50);
    score(p, &K, 2000, "ships", &s);
    sah_head key = {p->safety[0].layer, p->safety[0].head / (p->n_heads / p->n_kv_heads)};
    expect_first(&s, place(&s, key), 50);
}

/* A model and its prompts, for ablations of several heads. */
typedef struct setup {
    sah_model *model;
    sah_forest *forest;
    size_t d, n_vocab;
    float *hidden; /* [N_QUERIES, d] of the last pass */
    float *base, *logits; /* [N_QUERIES, V] unablated, and of the last pass */
    double u[N_QUERIES]; /* space of the unablated hidden states */
} setup;

static void forward(setup *s, const sah_head *heads, size_t n, float *logits)
{
    sah_error error = {0};
    sah_edit *edits = NULL;
    size_t n_edits = 0;
    sah_workspace *workspace = NULL;
    expect_ok(sah_edits_new(sah_model_describe(s->model), heads, n, &Q, &edits, &n_edits, &error), &error);
    expect_ok(sah_forward(s->model, s->forest, edits, n_edits, s->hidden, &error), &error);
    expect_ok(sah_workspace_new(sah_cpu(), 1, &workspace, &error), &error);
    expect_ok(sah_lm_head(s->model, workspace, s->hidden, N_QUERIES, logits, &error), &error);
    sah_workspace_free(workspace);
    free(edits);
}

static void space(const setup *s, double *u)
{
    sah_error error = {0};
    size_t found;
    expect_ok(sah_subspace(s->hidden, N_QUERIES, s->d, 1, "states", u, &found, &error), &error);
    assert_int_equal(found, 1);
}

static setup setup_new(const planted *p, size_t first)
{
    sah_error error = {0};
    setup s = {.model = planted_open(p)};
    sah_prompt prompts[N_QUERIES] = {{0}};
    sah_strings queries = planted_queries(true, first, N_QUERIES);
    for (size_t i = 0; i < N_QUERIES; i++) {
        char *text;
        int32_t *ids;
        expect_ok(sah_prompt_wrap(s.model, "sahara", NULL, queries.items[i], &text, &error), &error);
        expect_ok(sah_encode(s.model, text, strlen(text), &ids, &prompts[i].n, &error), &error);
        prompts[i].tokens = ids;
        free(text);
    }
    s.d = (size_t)s.model->config.d_model;
    s.n_vocab = (size_t)s.model->config.n_vocab;
    s.hidden = calloc(N_QUERIES * s.d, sizeof *s.hidden);
    s.base = calloc(N_QUERIES * s.n_vocab, sizeof *s.base);
    s.logits = calloc(N_QUERIES * s.n_vocab, sizeof *s.logits);
    expect_ok(sah_forest_new(prompts, N_QUERIES, s.model->config.n_vocab, &s.forest, &error), &error);
    forward(&s, NULL, 0, s.base);
    space(&s, s.u);
    for (size_t i = 0; i < N_QUERIES; i++) free((void *)(uintptr_t)prompts[i].tokens);
    sah_strings_free(&queries);
    return s;
}

static void setup_free(setup *s)
{
    sah_forest_free(s->forest);
    sah_model_close(s->model);
    free(s->hidden);
    free(s->base);
    free(s->logits);
}

/* Mean KL of a group of heads. */
static double divergence(setup *s, const sah_head *heads, size_t n)
{
    double sum = 0;
    forward(s, heads, n, s->logits);
    for (size_t i = 0; i < N_QUERIES; i++)
        sum += sah_kl_plain(s->base + i * s->n_vocab, s->logits + i * s->n_vocab, s->n_vocab);
    return sum / N_QUERIES;
}

static double shift(setup *s, const sah_head *heads, size_t n)
{
    sah_error error = {0};
    double u[N_QUERIES], angle;
    forward(s, heads, n, s->logits);
    space(s, u);
    expect_ok(sah_principal_angles(s->u, 1, u, 1, N_QUERIES, &angle, &error), &error);
    return angle;
}

static void test_two_heads(void **state)
{
    const planted *p = *state;
    scores s;
    score(p, &Q, 1000, "sahara", &s);
    setup both = setup_new(p, 1000);
    double joint = divergence(&both, p->safety, 2);
    assert_true(joint > 5);
    /* Alone each is nothing, as all others are. */
    for (int h = 0; h < s.n; h++)
        if (!(s.mean[h] < 0.01 * joint))
            fail_msg("%d-%d alone has %g of %g", h / s.heads, h % s.heads, s.mean[h], joint);
    /* Greedy, by subspace shift. */
    sah_head group[2] = {0};
    for (size_t step = 0; step < 2; step++) {
        double highest = -1;
        sah_head chosen = {0};
        for (int h = 0; h < s.n; h++) {
            group[step] = (sah_head){h / s.heads, h % s.heads};
            if (step == 1 && memcmp(&group[0], &group[1], sizeof *group) == 0) continue;
            double moved = shift(&both, group, step + 1);
            if (moved > highest) {
                highest = moved;
                chosen = group[step];
            }
        }
        group[step] = chosen;
        if (memcmp(&chosen, &p->safety[0], sizeof chosen) != 0 &&
            memcmp(&chosen, &p->safety[1], sizeof chosen) != 0)
            fail_msg("step %zu: %d-%d", step, chosen.layer, chosen.head);
    }
    setup_free(&both);
}

static void test_general_head(void **state)
{
    const planted *p = *state;
    scores s;
    score(p, &Q, 3000, "ships", &s);
    int safety = place(&s, p->safety[0]), general = place(&s, p->general);
    for (int h = 0; h < s.n; h++) {
        double difference = s.mean[h] - s.contrast_mean[h];
        if (h == safety || h == general) continue;
        assert_true(s.mean[safety] > 50 * s.mean[h]);
        assert_true(s.mean[safety] - s.contrast_mean[safety] > 50 * fabs(difference));
    }
    assert_true(s.mean[general] > 1.2 * s.mean[safety]);
    assert_true(s.contrast_mean[general] > 10);
    double selective = s.mean[safety] - s.contrast_mean[safety],
           everywhere = s.mean[general] - s.contrast_mean[general];
    if (!(selective > 5 && selective > 4 * everywhere))
        fail_msg("difference %g for the safety head, %g for the general one", selective, everywhere);
}

/* A refusal and an answer are what they look like, for everybody who generates and judges. */
static void test_replies(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = planted_open(&ones[2]);
    sah_strings queries[2] = {planted_queries(true, 500, N_QUERIES), planted_queries(false, 500, N_QUERIES)};
    for (int ablated = 0; ablated < 2; ablated++)
        for (int harmless = 0; harmless < 2; harmless++) {
            char path[512];
            sah_judge *judge;
            sah_judgement totals;
            sah_generate_options options = {.template_ = "ships",
                                            .max_new_tokens = 4,
                                            .ablation = Q,
                                            .heads = ones[2].safety,
                                            .n_heads = (size_t)ablated};
            snprintf(path, sizeof path, "%s", scratch("responses.jsonl"));
            remove(path);
            expect_ok(sah_generate(model, &queries[harmless], &options, path, &error), &error);
            expect_ok(sah_judge_new(SAH_RULE_DEFAULT, NULL, &judge, &error), &error);
            expect_ok(sah_judge_file(judge, NULL, path, NULL, NULL, scratch("judged.jsonl"), &totals, &error),
                      &error);
            assert_int_equal(totals.counts[ablated || harmless ? SAH_COMPLIANCE : SAH_REFUSAL], N_QUERIES);
            sah_judge_free(judge);
        }
    sah_strings_free(&queries[0]);
    sah_strings_free(&queries[1]);
    sah_model_close(model);
}

int main(void)
{
    struct CMUnitTest tests[COUNT(ones) + COUNT(twos) + COUNT(generals) + 1];
    static char names[COUNT(tests)][64];
    size_t n = 0;
    const struct {
        const char *name;
        const planted *models;
        size_t n;
        CMUnitTestFunction run;
    } kinds[] = {{"one", ones, COUNT(ones), test_one_head},
                 {"two", twos, COUNT(twos), test_two_heads},
                 {"general", generals, COUNT(generals), test_general_head}};
    for (size_t kind = 0; kind < COUNT(kinds); kind++)
        for (size_t i = 0; i < kinds[kind].n; i++) {
            const planted *p = &kinds[kind].models[i];
            snprintf(names[n], sizeof names[n], "%s: %d-%d of %d heads on %d", kinds[kind].name,
                     p->safety[0].layer, p->safety[0].head, p->n_heads, p->n_kv_heads);
            tests[n] = (struct CMUnitTest){names[n], kinds[kind].run, NULL, NULL, (void *)(uintptr_t)p};
            n++;
        }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_replies);
    return cmocka_run_group_tests_name("planted models", tests, NULL, NULL);
}
