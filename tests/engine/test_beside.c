/* SPDX-License-Identifier: Apache-2.0 */
/* Whole passes by differences, in every arrangement of a layer, against float32's: without edits the same, else off by
 * a part of what the edits change, states of other prompts among them; and the same bits in any company. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/beside.h"
#include "engine/cpu/product.h"
#include "engine/difference.h"
#include "engine/donors.h"
#include "engine/forward.h"
#include "models/arrangements.h"
#include "util/needs.h"

enum { N_PROMPTS = 3, N_EDITS = 3, KINDS = 4, ALL = 35, MOST = N_PROMPTS * 64 };
static const double BOUND = 5e-5; /* of float32's states, which are of order 1 */
static const int32_t TOKENS[N_PROMPTS][8] = {
    {3, 1, 4, 1, 5, 9}, {3, 1, 4, 7, 8, 2, 30}, {20, 21, 22, 23, 24, 25, 26, 27}};
static const size_t N_TOKENS[N_PROMPTS] = {6, 7, 8};
static const int32_t OTHERS[N_PROMPTS][6] = {{3, 1, 8, 14}, {40, 41, 42, 43, 44, 45}, {20, 40, 41}};
static const size_t N_OTHERS[N_PROMPTS] = {4, 6, 3};

/* Edits in several layers; of one; and by other prompts' states. (A layer whose whole output goes leaves so little that
 * the norms behind it magnify what was rounded.) */
static void edits_for(const sah_config *c, sah_edit out[KINDS - 1][N_EDITS])
{
    static const sah_edit kinds[KINDS - 1][N_EDITS] = {{{0, 1, SAH_PART_Q, SAH_OP_SCALE, 0.5f},
                                                        {1, 0, SAH_PART_K, SAH_OP_SCALE, 0.5f},
                                                        {3, 1, SAH_PART_V, SAH_OP_MEAN, 0}},
                                                       {{2, 0, SAH_PART_V, SAH_OP_SCALE, 0.9f},
                                                        {2, 1, SAH_PART_Q, SAH_OP_SCALE, 0.9f},
                                                        {2, 1, SAH_PART_V, SAH_OP_SCALE, 0.9f}},
                                                       {{1, 1, SAH_PART_V, SAH_OP_SWAP, 0},
                                                        {2, 0, SAH_PART_Q, SAH_OP_SWAP, 0},
                                                        {3, 0, SAH_PART_K, SAH_OP_SWAP, 0}}};
    memcpy(out, kinds, sizeof kinds);
    for (int k = 0; k < KINDS - 1; k++)
        for (int i = 0; i < N_EDITS; i++) {
            const sah_layer_kind kind = sah_config_layer(c, out[k][i].layer);
            if (kind.mixer != SAH_MIXER_ATTENTION) out[k][i].part = SAH_PART_V;
            out[k][i].head %= out[k][i].part == SAH_PART_K ? kind.n_kv_heads : kind.n_heads;
        }
}

static sah_forest *forest_of(const sah_config *c, sah_donors **donors)
{
    static int32_t sources[N_PROMPTS][8];
    sah_prompt prompts[N_PROMPTS], others[N_PROMPTS];
    sah_forest *forest = NULL;
    sah_error error = {0};
    for (size_t i = 0; i < N_PROMPTS; i++) others[i] = (sah_prompt){.tokens = OTHERS[i], .n = N_OTHERS[i]};
    assert_int_equal(sah_donors_new(SAH_DONOR_PARTNERS, others, N_PROMPTS, c->n_vocab, donors, &error),
                     SAH_OK);
    for (size_t i = 0; i < N_PROMPTS; i++) {
        sah_donors_sources(*donors, i, N_TOKENS[i], N_TOKENS[i], sources[i]);
        prompts[i] = (sah_prompt){.tokens = TOKENS[i], .n = N_TOKENS[i], .source = sources[i]};
    }
    assert_int_equal(sah_forest_new(prompts, N_PROMPTS, c->n_vocab, &forest, &error), SAH_OK);
    forest->donors = *donors;
    return forest;
}

static double apart(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        const double off = fabs((double)a[i] - (double)b[i]);
        if (!(off <= most)) most = off; /* NaN too */
    }
    return most;
}

static sah_model *open(const arrangement *a, sah_precision precision)
{
    const random_shape shape = arranged(a);
    return random_model(&shape, &(sah_model_options){.threads = 1, .precision = precision}, 11);
}

static void test_beside(void **state)
{
    static float exact[KINDS][MOST], all[ALL * MOST], alone[MOST];
    const arrangement *a = *state;
    sah_error error = {0};
    sah_donors *donors = NULL;
    needs(sah_product_has_bf16(), "a processor with bfloat16 products");
    sah_model *single = open(a, SAH_PRECISION_F32), *model = open(a, SAH_PRECISION_BF16);
    const size_t each = N_PROMPTS * (size_t)model->config.d_model;
    sah_edit edits[KINDS - 1][N_EDITS];
    sah_edit_list lists[ALL] = {{0}};
    assert_true(each <= MOST);
    edits_for(&model->config, edits);
    sah_forest *forest = forest_of(&model->config, &donors);
    for (size_t i = 0; i < ALL; i++)
        if (i % KINDS > 0) lists[i] = (sah_edit_list){edits[i % KINDS - 1], N_EDITS};
    for (size_t k = 0; k < KINDS; k++)
        assert_int_equal(sah_forward(single, forest, lists[k].edits, lists[k].n, exact[k], &error), SAH_OK);
    if (!sah_model_differs(model)) {
        assert_true(model->config.experts.n > 0);
    } else {
        if (sah_forward_beside(model, forest, lists, ALL, all, &error) != SAH_OK)
            fail_msg("%s", error.message);
        for (size_t i = 0; i < ALL; i++) {
            const double change = apart(exact[i % KINDS], exact[0], each),
                         off = apart(all + i * each, exact[i % KINDS], each);
            if (i % KINDS > 0 && !(change > 1e-3)) fail_msg("%s: edits %zu change nothing", a->name, i);
            if (!(off < BOUND + 0.05 * change))
                fail_msg("%s: edits %zu change %g and are off by %g", a->name, i, change, off);
            if (i < KINDS)
                assert_int_equal(sah_forward_beside(model, forest, &lists[i], 1, alone, &error), SAH_OK);
            if (i < KINDS) assert_memory_equal(alone, all + i * each, each * sizeof *alone);
            assert_memory_equal(all + i % KINDS * each, all + i * each, each * sizeof *all);
        }
    }
    sah_forest_free(forest);
    sah_donors_free(donors);
    sah_model_close(single);
    sah_model_close(model);
}

int main(void)
{
    struct CMUnitTest tests[N_ARRANGEMENTS];
    for (size_t i = 0; i < N_ARRANGEMENTS; i++)
        tests[i] = (struct CMUnitTest){ARRANGEMENTS[i].name, test_beside, NULL, NULL,
                                       (void *)(uintptr_t)&ARRANGEMENTS[i]};
    return cmocka_run_group_tests_name("beside", tests, NULL, NULL);
}
