/* SPDX-License-Identifier: Apache-2.0 */
/* How near Ships on the emulated card is to float64's: in float32 and in bfloat16, by whole states and by differences,
 * every head and prompt of small models against the plain pass. Prints what docs/performance.md shows. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attribution/ships_sweep.h"
#include "cuda/device.h"
#include "engine/candidate.h"
#include "engine/cpu/cpu.h"
#include "engine/cpu/kl.h"
#include "engine/golden.h"
#include "engine/plain.h"
#include "stats/bootstrap.h"
#include "util/scratch.h"

enum { MOST_PROMPTS = 8, MOST_HEADS = 32, MOST_SCORES = MOST_PROMPTS * MOST_HEADS };
static const sah_ablation Q = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f};
static const double LEAST = 1e-4; /* divergences below it are left out */

/* What is scored, and the truth. */
typedef struct subject {
    const char *name;
    sah_prompt prompts[MOST_PROMPTS];
    size_t n_prompts, n_heads;
    sah_target targets[MOST_HEADS];
    double kl[MOST_HEADS][MOST_PROMPTS];
} subject;

/* Relative errors where the truth is above LEAST. */
typedef struct errors {
    size_t n;
    double off[MOST_SCORES];
} errors;

/* ---- The truth ------------------------------------------------------------------------------------------ */

static void plain_logits(const sah_model *model, const sah_prompt *prompt, const sah_candidate *ablation,
                         double *hidden, double *logits)
{
    sah_error error = {0};
    const size_t n = ablation != NULL ? (size_t)ablation->n_edits : 0;
    expect_ok(sah_plain_forward(model->checkpoint, prompt->tokens, prompt->n, n > 0 ? ablation->edits : NULL,
                                n, hidden, logits, &error),
              &error);
}

static void to_distribution(double *logits, size_t n)
{
    double largest = logits[0], sum = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, logits[i]);
    for (size_t i = 0; i < n; i++) sum += logits[i] = exp(logits[i] - largest);
    for (size_t i = 0; i < n; i++) logits[i] = logits[i] / sum + SAH_KL_EPSILON;
}

static void find_truth(const sah_model *model, subject *s)
{
    const sah_config *c = &model->config;
    const size_t V = (size_t)c->n_vocab;
    double *hidden = calloc((size_t)c->d_model, sizeof *hidden), *p = calloc(V, sizeof *p),
           *other = calloc(V, sizeof *other);
    for (int l = 0; l < c->n_layers; l++)
        for (int h = 0; h < sah_config_layer(c, l).n_heads && s->n_heads < MOST_HEADS; h++)
            s->targets[s->n_heads++] = (sah_target){{l, h}, &Q};
    for (size_t i = 0; i < s->n_prompts; i++) {
        plain_logits(model, &s->prompts[i], NULL, hidden, p);
        to_distribution(p, V);
        for (size_t h = 0; h < s->n_heads; h++) {
            const sah_candidate one = sah_candidate_of(c, s->targets[h].head, &Q);
            plain_logits(model, &s->prompts[i], &one, hidden, other);
            to_distribution(other, V);
            for (size_t k = 0; k < V; k++) s->kl[h][i] += p[k] * log(p[k] / other[k]);
        }
    }
    free(hidden);
    free(p);
    free(other);
}

/* ---- One way of computing it ---------------------------------------------------------------------------- */

typedef struct way {
    const char *name;
    const sah_device *(*device)(void);
    sah_precision precision;
    bool differences;
} way;

typedef struct taken {
    const subject *subject;
    errors *errors;
} taken;

static sah_status take(void *ctx, size_t target, const sah_head_scores *scores, sah_error *error)
{
    const taken *t = ctx;
    errors *e = t->errors;
    (void)error;
    for (size_t i = 0; i < t->subject->n_prompts; i++) {
        const double truth = t->subject->kl[target][i];
        if (truth > LEAST) e->off[e->n++] = fabs(scores->kl[i] / truth - 1);
    }
    return SAH_OK;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static sah_model *open_on(const char *folder, const sah_device *device, sah_precision precision)
{
    const sah_model_options options = {.threads = 1, .precision = precision};
    sah_error error = {0};
    sah_checkpoint *checkpoint = NULL;
    sah_model *model = NULL;
    if (strchr(folder, '/') == NULL) return golden_model_on(folder, device, &options);
    expect_ok(sah_checkpoint_load(folder, NULL, false, NULL, &checkpoint, &error), &error);
    expect_ok(sah_model_of(checkpoint, device, &options, &model, &error), &error);
    return model;
}

static void score(const subject *s, const way *w, errors *out)
{
    sah_error error = {0};
    sah_probe items[MOST_PROMPTS];
    sah_probes probes = {.items = items, .n = s->n_prompts, .n_queries = s->n_prompts};
    const sah_sweep_options sweep = {.what = "heads", .differences = w->differences};
    taken t = {s, out};
    out->n = 0;
    sah_model *model = open_on(s->name, w->device(), w->precision);
    for (size_t i = 0; i < s->n_prompts; i++)
        items[i] = (sah_probe){.query = i, .first = true, .own = -1, .refusal = -1};
    expect_ok(sah_forest_new(s->prompts, s->n_prompts, model->config.n_vocab, &probes.forest, &error),
              &error);
    assert_true(!w->differences || sah_sweep_differs(model, probes.forest, 0));
    expect_ok(sah_scores(model, &probes, false, s->targets, s->n_heads, &sweep, take, &t, &error), &error);
    sah_forest_free(probes.forest);
    sah_model_close(model);
    assert_int_equal(emulated_held(), 0);
    qsort(out->off, out->n, sizeof *out->off, ascending);
    print_message("%-12s %-34s %3zu scores: median %.1e, 95th percentile %.1e, largest %.1e\n", s->name,
                  w->name, out->n, sah_percentile(out->off, out->n, 0.5),
                  sah_percentile(out->off, out->n, 0.95), out->off[out->n - 1]);
}

/* In float32 the first is the measure of the others. */
static const way FLOAT32[] = {{"cpu, f32", sah_cpu, SAH_PRECISION_F32, false},
                              {"card, f32 by float32", emulated_by_float32, SAH_PRECISION_F32, false},
                              {"card, f32 by pieces", emulated_by_pieces, SAH_PRECISION_F32, false},
                              {"card, f32 by pieces, differences", emulated_by_pieces, SAH_PRECISION_F32,
                               true}},
                 WHOLE = {"card, bf16, whole states", emulated_by_pieces, SAH_PRECISION_BF16, false},
                 ROUNDED[] = {
                     {"card, bf16, differences", emulated_by_pieces, SAH_PRECISION_BF16, true},
                     {"card, bf16 by float32, differences", emulated_by_float32, SAH_PRECISION_BF16, true}};
enum { N_FLOAT32 = sizeof FLOAT32 / sizeof *FLOAT32, N_ROUNDED = sizeof ROUNDED / sizeof *ROUNDED };

static double percentile(const errors *e, double at)
{
    return sah_percentile(e->off, e->n, at);
}

static void check(const subject *s)
{
    static errors of[N_FLOAT32], whole, rounded;
    for (size_t i = 0; i < N_FLOAT32; i++) score(s, &FLOAT32[i], &of[i]);
    assert_true(of[0].n >= 10);
    for (size_t i = 1; i < N_FLOAT32;
         i++) { /* as good as float32 on the processor, or 16 bits of the difference */
        if (!(percentile(&of[i], 0.5) <= fmax(1.5 * percentile(&of[0], 0.5), 1e-5) &&
              percentile(&of[i], 0.95) <= fmax(1.5 * percentile(&of[0], 0.95), 3e-5)))
            fail_msg("%s: %s is worse", s->name, FLOAT32[i].name);
    }
    score(s, &WHOLE, &whole);
    for (size_t i = 0; i < N_ROUNDED; i++) {
        score(s, &ROUNDED[i], &rounded);
        if (!(percentile(&rounded, 0.5) < 4e-3 && 4 * percentile(&rounded, 0.5) < percentile(&whole, 0.5) &&
              4 * percentile(&rounded, 0.95) < percentile(&whole, 0.95)))
            fail_msg("%s: %s is worse", s->name, ROUNDED[i].name);
    }
}

static void test_organism(void **state)
{
    static subject s = {.name = "models/organism", .n_prompts = 4};
    sah_strings queries = {0};
    sah_error error = {0};
    int32_t *tokens[MOST_PROMPTS];
    (void)state;
    sah_model *model = open_on(s.name, sah_cpu(), SAH_PRECISION_F32);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, s.n_prompts, &queries, &error), &error);
    for (size_t q = 0; q < s.n_prompts; q++) {
        char *prompt;
        expect_ok(sah_prompt_wrap(model, "chat", NULL, queries.items[q], &prompt, &error), &error);
        expect_ok(sah_prompt_encode(model, "chat", prompt, &tokens[q], &s.prompts[q].n, &error), &error);
        s.prompts[q].tokens = tokens[q];
        free(prompt);
    }
    find_truth(model, &s);
    sah_model_close(model);
    check(&s);
    for (size_t q = 0; q < s.n_prompts; q++) free(tokens[q]);
    sah_strings_free(&queries);
}

static void test_golden(void **state)
{
    static const char *const FOLDERS[] = {"llama-bf16", "llama-f16", "family-gemma2"};
    (void)state;
    for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
        golden g;
        static subject s;
        golden_open(FOLDERS[i], &g);
        s = (subject){.name = FOLDERS[i]};
        for (; s.n_prompts < g.n_prompts && s.n_prompts < MOST_PROMPTS; s.n_prompts++)
            s.prompts[s.n_prompts] = g.prompts[s.n_prompts];
        sah_model *model = open_on(s.name, sah_cpu(), SAH_PRECISION_F32);
        find_truth(model, &s);
        sah_model_close(model);
        check(&s);
        golden_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_organism), cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
