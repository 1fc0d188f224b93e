/* SPDX-License-Identifier: Apache-2.0 */
/* States that come from other prompts: single passes against the logits that transformers computed with hooks
 * (tests/golden/make-interchange.py), then sweeps, decoding and shared prompts against single passes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cpu/cpu.h"
#include "engine/decode.h"
#include "engine/donors.h"
#include "engine/forward.h"
#include "engine/interchange.h"
#include "engine/sweep.h"
#include "golden.h"

enum { MOST_EDITS = 8 };

/* ---- Against transformers ------------------------------------------------------------------------------ */

static void test_golden(void **state)
{
    (void)state;
    interchange_golden(sah_cpu());
}

/* ---- Against single passes ----------------------------------------------------------------------------- */

static const int32_t TOKENS[][8] = {{5, 9, 11, 30, 7},
                                    {5, 9, 11, 22, 20, 8},
                                    {5, 9, 11, 22, 20, 8, 3},
                                    {5, 9, 6}},
                     OTHERS[][8] = {
                         {5, 9, 24, 31, 12}, {5, 9, 24}, {5, 23, 10, 12, 3, 19}, {5, 9, 24, 31, 12, 18, 17}};
static const size_t N_TOKENS[] = {5, 6, 7, 3}, N_OTHERS[] = {5, 3, 6, 7};
enum { N_PROMPTS = 4, STEPS = 3 };
static const int32_t NEXT[STEPS] = {13, 4, 25};

/* Hidden states are of order 1: float32 rounding stays below this. */
static const double BOUND = 5e-5;

typedef struct subject {
    sah_model *model;
    sah_donors *donors;
    sah_prompt prompts[N_PROMPTS];
    int32_t sources[N_PROMPTS][8 + STEPS];
    sah_forest *forest;
} subject;

static void subject_new(subject *s, const char *name, sah_donor_kind kind)
{
    sah_error error = {0};
    sah_prompt others[N_PROMPTS];
    s->model = golden_model(name, NULL, NULL);
    for (size_t i = 0; i < N_PROMPTS; i++) others[i] = (sah_prompt){.tokens = OTHERS[i], .n = N_OTHERS[i]};
    assert_int_equal(sah_donors_new(kind, others, N_PROMPTS, s->model->config.n_vocab, &s->donors, &error),
                     SAH_OK);
    for (size_t i = 0; i < N_PROMPTS; i++) {
        sah_donors_sources(s->donors, i, N_TOKENS[i], N_TOKENS[i] + STEPS, s->sources[i]);
        s->prompts[i] = (sah_prompt){.tokens = TOKENS[i], .n = N_TOKENS[i], .source = s->sources[i]};
    }
    assert_int_equal(sah_forest_new(s->prompts, N_PROMPTS, s->model->config.n_vocab, &s->forest, &error),
                     SAH_OK);
    s->forest->donors = s->donors;
}

static void subject_free(subject *s)
{
    sah_forest_free(s->forest);
    sah_donors_free(s->donors);
    sah_model_close(s->model);
}

/* Final-norm state of prompt `p` with `n_new` new tokens behind it, alone in its pass. */
static void alone(const subject *s, size_t p, size_t n_new, const sah_edit *edits, size_t n_edits,
                  float *hidden)
{
    sah_error error = {0};
    sah_forest *forest = NULL;
    int32_t tokens[8 + STEPS];
    memcpy(tokens, TOKENS[p], N_TOKENS[p] * sizeof *tokens);
    memcpy(tokens + N_TOKENS[p], NEXT, n_new * sizeof *tokens);
    const sah_prompt path = {.tokens = tokens, .n = N_TOKENS[p] + n_new, .source = s->sources[p]};
    assert_int_equal(sah_forest_new(&path, 1, s->model->config.n_vocab, &forest, &error), SAH_OK);
    forest->donors = s->donors;
    if (sah_forward(s->model, forest, edits, n_edits, hidden, &error) != SAH_OK)
        fail_msg("%s", error.message);
    sah_forest_free(forest);
}

static double distance(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

typedef struct check {
    const subject *s;
    const sah_candidate *candidates;
    const sah_edit *base;
    size_t n_base, n_seen;
    double moved; /* the most that a candidate moves a state */
} check;

static sah_status skip_base(void *ctx, const float *hidden, sah_error *error)
{
    (void)ctx;
    (void)hidden;
    (void)error;
    return SAH_OK;
}

static sah_status take(void *ctx, int thread, sah_workspace *workspace, const int32_t *which, int32_t n,
                       const float *hidden, sah_error *error)
{
    check *c = ctx;
    const size_t d = (size_t)c->s->model->config.d_model;
    float *want = calloc(2 * d, sizeof *want);
    (void)thread;
    (void)workspace;
    (void)error;
    for (int32_t i = 0; i < n; i++, c->n_seen++) {
        const sah_candidate *one = &c->candidates[which[i]];
        sah_edit edits[MOST_EDITS];
        memcpy(edits, c->base, c->n_base * sizeof *edits);
        memcpy(edits + c->n_base, one->edits, (size_t)one->n_edits * sizeof *edits);
        for (size_t p = 0; p < N_PROMPTS; p++) {
            const float *got = hidden + ((size_t)i * N_PROMPTS + p) * d;
            alone(c->s, p, 0, edits, c->n_base + (size_t)one->n_edits, want);
            alone(c->s, p, 0, c->base, c->n_base, want + d);
            c->moved = fmax(c->moved, distance(got, want + d, d));
            double off = distance(got, want, d);
            if (!(off < BOUND))
                fail_msg("head %d-%d, prompt %zu: off by %g", one->layer, one->edits[0].head, p, off);
        }
    }
    free(want);
    return SAH_OK;
}

static const sah_donor_kind KINDS[] = {SAH_DONOR_PARTNERS, SAH_DONOR_MEANS, SAH_DONOR_MEAN};
static const char *const MODELS[] = {"llama-gqa", "qwen3", "family-glm", "family-gemma2"};

static sah_op op_of(sah_donor_kind kind)
{
    return kind == SAH_DONOR_PARTNERS ? SAH_OP_SWAP : SAH_OP_MEAN_DATA;
}

/* Every head, beside nothing and beside heads of two layers. One thread: the checks run inside the sink. */
static void test_sweep(void **state)
{
    static const unsigned parts[] = {SAH_PART_Q, SAH_PART_K, SAH_PART_V,
                                     SAH_PART_Q | SAH_PART_K | SAH_PART_V};
    sah_error error = {0};
    (void)state;
    for (size_t m = 0; m < sizeof MODELS / sizeof *MODELS; m++) {
        for (size_t k = 0; k < 12; k++) {
            subject s;
            sah_candidate candidates[64];
            size_t n = 0;
            subject_new(&s, MODELS[m], KINDS[k % 3]);
            const sah_config *c = &s.model->config;
            const sah_ablation ablation = {parts[k / 3], op_of(KINDS[k % 3]), 0};
            const sah_edit group[] = {{0, 1, SAH_PART_V, ablation.op, 0},
                                      {c->n_layers - 1, 0, SAH_PART_Q, ablation.op, 0}};
            s.model->threads = 1;
            for (int l = 0; l < c->n_layers; l++)
                for (int h = 0; h < (ablation.parts == SAH_PART_K ? c->n_kv_heads : c->n_heads); h++)
                    candidates[n++] = sah_candidate_of(c, (sah_head){l, h}, &ablation);
            for (size_t n_base = 0; n_base <= 2; n_base += 2) {
                check seen = {&s, candidates, group, n_base, 0, 0};
                const sah_sink sink = {&seen, skip_base, take};
                if (sah_sweep(s.model, s.forest, group, n_base, candidates, n, NULL, &sink, &error) != SAH_OK)
                    fail_msg("%s", error.message);
                assert_int_equal(seen.n_seen, n);
                assert_true(seen.moved > 0.01);
            }
            subject_free(&s);
        }
    }
}

/* New tokens go on from the prompt's edited states, with their own. */
static void test_decoding(void **state)
{
    sah_error error = {0};
    (void)state;
    for (size_t m = 0; m < sizeof MODELS / sizeof *MODELS; m++) {
        for (size_t k = 0; k < 3; k++) {
            subject s;
            sah_decoding *decoding = NULL;
            subject_new(&s, MODELS[m], KINDS[k]);
            const size_t d = (size_t)s.model->config.d_model;
            const sah_op op = op_of(KINDS[k]);
            const sah_edit edits[] = {{0, 1, SAH_PART_Q, op, 0},
                                      {1, 0, SAH_PART_K, op, 0},
                                      {1, 2, SAH_PART_V, op, 0},
                                      {2, 0, SAH_PART_K, op, 0},
                                      {2, 1, SAH_PART_V, op, 0}};
            float *want = calloc(d, sizeof *want);
            if (sah_decoding_new(s.model, s.prompts, N_PROMPTS, STEPS, edits, 5, s.donors, &decoding,
                                 &error) != SAH_OK)
                fail_msg("%s", error.message);
            for (size_t step = 0; step <= STEPS; step++) {
                int32_t n, next[N_PROMPTS];
                const int32_t *live = sah_decoding_live(decoding, &n);
                assert_int_equal(n, N_PROMPTS);
                for (int32_t i = 0; i < n; i++) {
                    alone(&s, (size_t)live[i], step, edits, 5, want);
                    double off = distance(sah_decoding_hidden(decoding) + (size_t)i * d, want, d);
                    if (!(off < BOUND))
                        fail_msg("%s, prompt %d, step %zu: off by %g", MODELS[m], live[i], step, off);
                    next[i] = step < STEPS ? NEXT[step] : -1;
                }
                if (step < STEPS) assert_int_equal(sah_decoding_step(decoding, next, &error), SAH_OK);
            }
            sah_decoding_free(decoding);
            free(want);
            subject_free(&s);
        }
    }
}

/* ---- By hand ------------------------------------------------------------------------------------------- */

/* A prompt that is its own partner stays as it is, to the last bit. */
static void test_itself(void **state)
{
    sah_error error = {0};
    float plain[64], swapped[64];
    const sah_tokens own = {TOKENS[1], 6};
    const sah_donor_prompts itself = {.prompts = &own, .n = 1};
    const sah_edit edits[] = {{0, 1, SAH_PART_Q, SAH_OP_SWAP, 0},
                              {1, 0, SAH_PART_K, SAH_OP_SWAP, 0},
                              {2, 3, SAH_PART_V, SAH_OP_SWAP, 0}};
    (void)state;
    sah_model *model = golden_model("llama-gqa", NULL, NULL);
    assert_int_equal(sah_logits(model, TOKENS[1], N_TOKENS[1], NULL, 0, plain, &error), SAH_OK);
    assert_int_equal(
        sah_logits_interchanged(model, TOKENS[1], N_TOKENS[1], edits, 3, &itself, swapped, &error), SAH_OK);
    assert_memory_equal(plain, swapped, sizeof plain);
    sah_model_close(model);
}

/* Rows are counted from the end; positions that the partner lacks and new tokens have none. */
static void test_sources(void **state)
{
    const sah_prompt others[] = {{.tokens = OTHERS[0], .n = 5}, {.tokens = OTHERS[1], .n = 3}};
    sah_donors *donors = NULL;
    sah_error error = {0};
    int32_t source[8];
    (void)state;
    assert_int_equal(sah_donors_new(SAH_DONOR_PARTNERS, others, 2, 64, &donors, &error), SAH_OK);
    /* both share the nodes of 5, 9, 44; the first goes on with 31, 12 */
    sah_donors_sources(donors, 0, 4, 6, source);
    assert_memory_equal(source, ((int32_t[]){1, 2, 3, 4, -1, -1}), 6 * sizeof *source);
    sah_donors_sources(donors, 1, 4, 5, source);
    assert_memory_equal(source, ((int32_t[]){-1, 0, 1, 2, -1}), 5 * sizeof *source);
    sah_donors_free(donors);
    assert_int_equal(sah_donors_new(SAH_DONOR_MEANS, others, 2, 64, &donors, &error), SAH_OK);
    sah_donors_sources(donors, 0, 6, 7, source);
    assert_memory_equal(source, ((int32_t[]){-1, 4, 3, 2, 1, 0, -1}), 7 * sizeof *source);
    sah_donors_free(donors);
    assert_int_equal(sah_donors_new(SAH_DONOR_MEAN, others, 2, 64, &donors, &error), SAH_OK);
    sah_donors_sources(donors, 0, 2, 3, source);
    assert_memory_equal(source, ((int32_t[]){0, 0, 0}), 3 * sizeof *source);
    sah_donors_free(donors);
}

/* Prompts with the same tokens and other partners do not share nodes. */
static void test_forest(void **state)
{
    static const int32_t first[] = {-1, 0, 1}, second[] = {-1, 0, 2};
    const sah_prompt prompts[] = {{.tokens = TOKENS[0], .n = 3, .source = first},
                                  {.tokens = TOKENS[0], .n = 3, .source = second},
                                  {.tokens = TOKENS[0], .n = 3, .source = first},
                                  {.tokens = TOKENS[0], .n = 3}};
    sah_forest *forest = NULL;
    sah_error error = {0};
    (void)state;
    assert_int_equal(sah_forest_new(prompts, 4, 64, &forest, &error), SAH_OK);
    assert_int_equal(forest->n_nodes, 6); /* the first token, and behind it 1 more for two and 2 for one */
    assert_int_equal(forest->n_ends, 3);
    assert_int_equal(forest->end_of[0], forest->end_of[2]);
    for (int i = 0; i < 4; i++)
        assert_int_equal(forest->source[forest->last[i]], i == 3 ? -1 : i == 1 ? 2 : 1);
    sah_forest_free(forest);
}

static void test_errors(void **state)
{
    sah_error error = {0};
    float logits[64];
    const sah_tokens tokens[] = {{TOKENS[1], 6}, {TOKENS[2], 7}};
    const sah_donor_prompts two = {.prompts = tokens, .n = 2}, none = {0};
    const sah_edit swap = {0, 1, SAH_PART_Q, SAH_OP_SWAP, 0}, mean = {0, 1, SAH_PART_Q, SAH_OP_MEAN_DATA, 0},
                   other = {0, 1, SAH_PART_Q, (sah_op)4, 0}, both[] = {swap, mean};
    (void)state;
    sah_model *model = golden_model("llama-gqa", NULL, NULL);
    assert_int_equal(sah_logits(model, TOKENS[1], 6, &swap, 1, logits, &error), SAH_BAD_ARGUMENT);
    assert_non_null(strstr(error.message, "partner"));
    assert_int_equal(sah_logits(model, TOKENS[1], 6, &mean, 1, logits, &error), SAH_BAD_ARGUMENT);
    assert_non_null(strstr(error.message, "reference"));
    assert_int_equal(sah_logits(model, TOKENS[1], 6, &other, 1, logits, &error), SAH_BAD_ARGUMENT);
    assert_int_equal(sah_logits_interchanged(model, TOKENS[1], 6, &swap, 1, &two, logits, &error),
                     SAH_BAD_ARGUMENT);
    assert_int_equal(sah_logits_interchanged(model, TOKENS[1], 6, &mean, 1, &none, logits, &error),
                     SAH_BAD_ARGUMENT);
    const sah_donor_prompts one = {.prompts = tokens, .n = 1};
    assert_int_equal(sah_logits_interchanged(model, TOKENS[1], 6, both, 2, &one, logits, &error),
                     SAH_BAD_ARGUMENT);
    sah_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_sweep),   cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_itself), cmocka_unit_test(test_sources), cmocka_unit_test(test_forest),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
