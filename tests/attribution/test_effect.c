/* SPDX-License-Identifier: Apache-2.0 */
/* The signed effect (docs/method.md): its numbers against the plain float64 pass, its verdicts against truth,
 * and how often they name a head where there is none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cpu/kl.h"
#include "engine/model.h"
#include "engine/plain.h"
#include "models/planted.h"
#include "run/prompts.h"
#include "util/json.h"
#include "util/scratch.h"

enum { LENGTH = 6 };

static const sah_ablation Q = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f};

/* ---- Numbers ------------------------------------------------------------------------------------------- */

typedef struct subject {
    sah_model *model;
    sah_strings queries, contrast;
    sah_openings openings;
    sah_run_prompts prompts;
    const char *template_;
} subject;

static void subject_new(subject *s)
{
    sah_error error = {0};
    const sah_strings *const lists[2] = {&s->queries, &s->contrast};
    const sah_openings_options options = {.template_ = s->template_, .length = LENGTH, .judged = 32};
    expect_ok(sah_openings_new(s->model, &s->queries, &s->contrast, &options, &s->openings, &error), &error);
    expect_ok(sah_run_prompts_new(s->model, lists, 2, s->template_, NULL, &s->prompts, &error), &error);
}

static void subject_free(subject *s)
{
    sah_run_prompts_free(&s->prompts);
    sah_openings_free(&s->openings);
    sah_strings_free(&s->queries);
    sah_strings_free(&s->contrast);
    sah_model_close(s->model);
}

/* Logits behind a query and the first j tokens of an opening, by the plain pass. */
static void plain_logits(const subject *s, size_t query, const int32_t *opening, size_t j,
                         const sah_edit *edits, size_t n_edits, double *logits)
{
    sah_error error = {0};
    const sah_prompt *prompt = &s->prompts.items[query];
    double *hidden = calloc((size_t)s->model->config.d_model, sizeof *hidden);
    int32_t *tokens = calloc(prompt->n + j + 1, sizeof *tokens);
    memcpy(tokens, prompt->tokens, prompt->n * sizeof *tokens);
    if (j > 0) memcpy(tokens + prompt->n, opening, j * sizeof *tokens);
    expect_ok(sah_plain_forward(s->model->checkpoint, tokens, prompt->n + j, edits, n_edits, hidden, logits,
                                &error),
              &error);
    free(hidden);
    free(tokens);
}

static double log_sum(const double *x, int n)
{
    double top = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++) top = fmax(top, x[i]);
    for (int i = 0; i < n; i++) sum += exp(x[i] - top);
    return top + log(sum);
}

typedef struct truth {
    double effect, kl;
} truth;

/* Mean change of log-probability along an opening, and mean divergence, as the definitions read. */
static truth by_definition(const subject *s, size_t query, const int32_t *opening, size_t n,
                           const sah_edit *edits, size_t n_edits)
{
    int V = s->model->config.n_vocab;
    double *base = calloc((size_t)V, sizeof *base), *edited = calloc((size_t)V, sizeof *edited);
    truth out = {0};
    for (size_t j = 0; j < n; j++) {
        plain_logits(s, query, opening, j, NULL, 0, base);
        plain_logits(s, query, opening, j, edits, n_edits, edited);
        double base_sum = log_sum(base, V), edited_sum = log_sum(edited, V);
        out.effect += (edited[opening[j]] - edited_sum - (base[opening[j]] - base_sum)) / (double)n;
        for (int i = 0; i < V; i++) {
            double p = exp(base[i] - base_sum) + SAH_KL_EPSILON,
                   q = exp(edited[i] - edited_sum) + SAH_KL_EPSILON;
            out.kl += p * log(p / q) / (double)n;
        }
    }
    free(base);
    free(edited);
    return out;
}

static double number_at(const json_t *line, const char *key, size_t n, size_t query)
{
    char name[32];
    snprintf(name, sizeof name, "%s%s", key, query < n ? "" : "_contrast");
    const json_t *item = json_array_get(json_object_get(line, name), query < n ? query : query - n);
    assert_non_null(item);
    return json_is_null(item) ? NAN : json_number_value(item);
}

/* Float32 against float64: log-probabilities of about -10 with logits off by 1e-5 and more. */
static void expect_near(double got, double expected)
{
    if (!(fabs(got - expected) < 2e-5 + 1e-4 * fabs(expected)))
        fail_msg("%.9g, the definition gives %.9g", got, expected);
}

static void check_line(const subject *s, const json_t *line, const sah_ablation *ablation)
{
    const sah_openings *o = &s->openings;
    sah_error error = {0};
    sah_head *head;
    sah_edit *edits;
    size_t one, n_edits;
    const sah_model_info *info = sah_model_describe(s->model);
    expect_ok(sah_heads_parse(json_string_value(json_object_get(line, "head")), info, ablation->parts, &head,
                              &one, &error),
              &error);
    expect_ok(sah_edits_new(info, head, one, ablation, &edits, &n_edits, &error), &error);
    for (size_t q = 0; q < o->n; q++) {
        size_t n = s->queries.n;
        truth own = by_definition(s, q, o->tokens + q * o->length, o->lengths[q], edits, n_edits);
        expect_near(number_at(line, "effect", n, q), own.effect);
        expect_near(number_at(line, "opening_kl", n, q), own.kl);
        double toward = number_at(line, "toward", n, q);
        if (o->refused[q]) {
            assert_true(isnan(toward));
            continue;
        }
        expect_near(toward, by_definition(s, q, o->refusal, o->refusal_length, edits, n_edits).effect);
    }
    free(head);
    free(edits);
}

/* Scores every `step`-th head with each of the ablations and checks its line. */
static void check_subject(subject *s, const sah_ablation *ablations, size_t n_ablations, size_t step)
{
    sah_error error = {0};
    char *line, *rest;
    size_t size;
    subject_new(s);
    assert_non_null(s->openings.refusal);
    for (size_t a = 0; a < n_ablations; a++) {
        const char *path = scratch("effect.jsonl");
        remove(path);
        sah_run_options options = {.ablation = ablations[a],
                                   .template_ = s->template_,
                                   .openings = &s->openings,
                                   .opening_kl = true};
        expect_ok(sah_ships(s->model, &s->queries, &s->contrast, &options, path, &error), &error);
        char *text = (char *)scratch_read(path, &size);
        strtok_r(text, "\n", &rest); /* the header */
        for (size_t i = 0; (line = strtok_r(NULL, "\n", &rest)) != NULL; i++) {
            json_t *json = json_loads(line, 0, NULL);
            if (i % step == a % step) check_line(s, json, &ablations[a]);
            json_decref(json);
        }
        free(text);
    }
    subject_free(s);
}

static const sah_ablation ablations[] = {
    {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, {SAH_PART_K, SAH_OP_SCALE, 0.0f}, {SAH_PART_V, SAH_OP_SCALE, 0.0f},
    {SAH_PART_Q, SAH_OP_MEAN, 0.0f},   {SAH_PART_V, SAH_OP_MEAN, 0.0f},
};
enum { N_ABLATIONS = sizeof ablations / sizeof *ablations };

static void test_planted_numbers(void **state)
{
    (void)state;
    const planted p = {PLANTED_ONE, {{2, 5}}, {0}, 8, 2, 41};
    subject s = {.model = planted_open(&p),
                 .queries = planted_queries(true, 0, 3),
                 .contrast = planted_queries(false, 3, 3),
                 .template_ = "ships"};
    check_subject(&s, ablations, N_ABLATIONS, 7);
}

static void test_organism_numbers(void **state)
{
    (void)state;
    sah_error error = {0};
    subject s = {.template_ = "chat"};
    expect_ok(sah_model_open("models/organism", NULL, &s.model, &error), &error);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, 2, &s.queries, &error), &error);
    expect_ok(sah_queries_read("data/harmless.csv", NULL, 2, &s.contrast, &error), &error);
    check_subject(&s, ablations, N_ABLATIONS, 16);
}

/* ---- Verdicts ------------------------------------------------------------------------------------------ */

enum { N_QUERIES = 24 };

/* Ranked heads of a model by effect; the caller frees them. `as_asked`: a query counts as refused when it is
 * harmful, whatever the model answers. */
static sah_ranked *rank_model(sah_model *model, size_t first, bool as_asked, size_t *n)
{
    sah_error error = {0};
    subject s = {.model = model,
                 .queries = planted_queries(true, first, N_QUERIES),
                 .contrast = planted_queries(false, first, N_QUERIES),
                 .template_ = "none"};
    sah_result *result = NULL;
    sah_ranked *ranked;
    const char *path = scratch("verdicts.jsonl");
    remove(path);
    subject_new(&s);
    for (size_t q = 0; q < s.openings.n && as_asked; q++) s.openings.refused[q] = q < N_QUERIES;
    sah_run_options options = {.ablation = Q, .template_ = s.template_, .openings = &s.openings};
    expect_ok(sah_ships(s.model, &s.queries, &s.contrast, &options, path, &error), &error);
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    assert_true(sah_result_describe(result)->effect_judged);
    expect_ok(sah_rank(result, SAH_ORDER_EFFECT, &ranked, n, &error), &error);
    sah_result_close(result);
    s.model = NULL;
    subject_free(&s);
    return ranked;
}

static bool is_head(const sah_ranked *r, sah_head head)
{
    return r->head.layer == head.layer && r->head.head == head.head;
}

/* The planted head, and it alone, on either half of the queries. */
static void test_safety_heads_replicate(void **state)
{
    static const planted models[] = {
        {PLANTED_ONE, {{0, 0}}, {0}, 4, 4, 111},        {PLANTED_ONE, {{1, 3}}, {0}, 4, 4, 112},
        {PLANTED_ONE, {{3, 1}}, {0}, 4, 2, 113},        {PLANTED_ONE, {{2, 5}}, {0}, 8, 2, 114},
        {PLANTED_ONE, {{3, 2}}, {0}, 4, 1, 115},        {PLANTED_GENERAL, {{2, 1}}, {1, 2}, 4, 4, 131},
        {PLANTED_GENERAL, {{1, 0}}, {3, 3}, 4, 4, 132}, {PLANTED_GENERAL, {{2, 2}}, {2, 3}, 4, 2, 133},
        {PLANTED_GENERAL, {{0, 6}}, {0, 1}, 8, 2, 134}, {PLANTED_GENERAL, {{3, 3}}, {2, 0}, 4, 1, 135},
    };
#ifdef __SANITIZE_ADDRESS__
    enum { STEP = 3 };
#else
    enum { STEP = 1 };
#endif
    (void)state;
    for (size_t m = 0; m < sizeof models / sizeof *models; m += STEP) {
        sah_model *model = planted_open(&models[m]);
        for (size_t half = 0; half < 2; half++) {
            size_t n;
            sah_ranked *ranked = rank_model(model, 500 + N_QUERIES * half, false, &n);
            for (size_t i = 0; i < n; i++) {
                bool safety = is_head(&ranked[i], models[m].safety[0]);
                bool general = models[m].kind == PLANTED_GENERAL && is_head(&ranked[i], models[m].general);
                if (safety != (ranked[i].effect_verdict == SAH_SAFETY))
                    fail_msg("model %zu half %zu: %d-%d is called %s", m, half, ranked[i].head.layer,
                             ranked[i].head.head, sah_selectivity_name(ranked[i].effect_verdict));
                if (general) assert_int_equal(ranked[i].effect_verdict, SAH_GENERAL);
                if (safety) assert_true(ranked[i].effect < -1 && ranked[i].effect_high < -1);
            }
            free(ranked);
        }
        sah_model_close(model);
    }
}

/* Models of random heads that refuse nothing, their harmful queries taken for refused ones: any head that is
 * called safety is called so by chance, or because it tells the words of both sets apart. The rule was made on
 * other seeds (7000 to 7099, where it calls one). */
static void test_null_models(void **state)
{
#ifdef __SANITIZE_ADDRESS__
    enum { SEEDS = 8, MOST = 1 };
#else
    enum { SEEDS = 100, MOST = 5 };
#endif
    int called = 0;
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        const planted p = {PLANTED_NONE, {{0}}, {0}, 4, seed % 2 ? 2 : 4, 7100 + seed};
        sah_model *model = planted_open(&p);
        size_t n;
        sah_ranked *ranked = rank_model(model, (size_t)(seed * 31 % 4000), true, &n);
        bool any = false;
        for (size_t i = 0; i < n; i++) any = any || ranked[i].effect_verdict == SAH_SAFETY;
        called += any;
        free(ranked);
        sah_model_close(model);
    }
    print_message("%d of %d null models have a safety head by their effect\n", called, SEEDS);
    assert_true(called <= MOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planted_numbers),
        cmocka_unit_test(test_organism_numbers),
        cmocka_unit_test(test_safety_heads_replicate),
        cmocka_unit_test(test_null_models),
    };
    return cmocka_run_group_tests_name("Signed effect", tests, NULL, NULL);
}
