/* SPDX-License-Identifier: Apache-2.0 */
/* The trie of prompts: shared prefixes once, paths, ends; on cases written by hand and on random ones against
 * the definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/forest.h"

/* Every prompt must be readable back from its end's path, every node must see exactly its own prefix. */
static void check(const sah_forest *f, const sah_prompt *prompts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const sah_segment *end = &f->end_segments[f->end_of[i]];
        assert_int_equal(end->depth + 1, (int)prompts[i].n);
        assert_int_equal(f->ends[f->end_of[i]], f->last[i]);
        assert_int_equal(end->path[end->depth], f->last[i]);
        for (int32_t j = 0; j <= end->depth; j++) {
            assert_int_equal(f->token[end->path[j]], prompts[i].tokens[j]);
            assert_int_equal(f->depth[end->path[j]], j);
        }
    }
    int32_t node = 0;
    for (int32_t s = 0; s < f->n_segments; s++)
        for (int32_t i = 0; i < f->segments[s].n; i++, node++) {
            assert_int_equal(f->segments[s].row + i, node); /* consecutive: each node in one segment */
            assert_int_equal(f->segments[s].path[f->segments[s].depth + i], node);
            assert_int_equal(f->depth[node], f->segments[s].depth + i);
            if (f->depth[node] > 0) assert_true(f->segments[s].path[f->depth[node] - 1] < node);
        }
    assert_int_equal(node, f->n_nodes);
}

static void test_by_hand(void **state)
{
    (void)state;
    int32_t a[] = {5, 6, 7}, b[] = {5, 6, 8, 9}, c[] = {5, 6}, d[] = {4};
    sah_prompt prompts[] = {{.tokens = a, .n = 3},
                            {.tokens = b, .n = 4},
                            {.tokens = c, .n = 2},
                            {.tokens = a, .n = 3},
                            {.tokens = d, .n = 1}};
    sah_error error = {0};
    sah_forest *f = NULL;
    assert_int_equal(sah_forest_new(prompts, 5, 10, &f, &error), SAH_OK);
    assert_int_equal(f->n_nodes, 6); /* 4; 5 6; 7; 8 9 */
    assert_int_equal(f->n_tokens, 13);
    assert_int_equal(f->n_ends, 4);
    assert_int_equal(f->longest, 4);
    assert_int_equal(f->last[0], f->last[3]);
    check(f, prompts, 5);
    sah_forest_free(f);
}

static void test_random(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 200; round++) {
        enum { N = 20, LENGTH = 8 };
        int32_t tokens[N][LENGTH];
        sah_prompt prompts[N];
        size_t n = 1 + (size_t)rand() % N, distinct = 0;
        for (size_t i = 0; i < n; i++) {
            prompts[i] = (sah_prompt){.tokens = tokens[i], .n = 1 + (size_t)rand() % LENGTH};
            for (size_t j = 0; j < LENGTH; j++) tokens[i][j] = rand() % 3;
        }
        /* Distinct non-empty prefixes, counted by comparing all with all. */
        for (size_t i = 0; i < n; i++)
            for (size_t j = 1; j <= prompts[i].n; j++) {
                bool again = false;
                for (size_t k = 0; k < i && !again; k++)
                    again = prompts[k].n >= j && memcmp(tokens[k], tokens[i], j * sizeof(int32_t)) == 0;
                distinct += !again;
            }
        sah_error error = {0};
        sah_forest *f = NULL;
        assert_int_equal(sah_forest_new(prompts, n, 3, &f, &error), SAH_OK);
        assert_int_equal(f->n_nodes, (int)distinct);
        check(f, prompts, n);
        sah_forest_free(f);
    }
}

/* The forest of beginnings is the forest of all those prompts, its ends in runs. */
static void test_positions(void **state)
{
    (void)state;
    srand(11);
    for (int round = 0; round < 200; round++) {
        enum { N = 12, LENGTH = 9 };
        int32_t tokens[N][LENGTH];
        sah_prompt prompts[N], all[N * LENGTH];
        size_t first[N], n = 1 + (size_t)rand() % N, total = 0;
        for (size_t i = 0; i < n; i++) {
            prompts[i] = (sah_prompt){.tokens = tokens[i], .n = 1 + (size_t)rand() % LENGTH};
            first[i] = (size_t)rand() % prompts[i].n;
            for (size_t j = 0; j < LENGTH; j++) tokens[i][j] = rand() % 2;
            for (size_t j = first[i]; j < prompts[i].n; j++)
                all[total++] = (sah_prompt){.tokens = tokens[i], .n = j + 1};
        }
        sah_error error = {0};
        sah_forest *f = NULL, *plain = NULL;
        assert_int_equal(sah_forest_new_positions(prompts, first, n, 2, &f, &error), SAH_OK);
        assert_int_equal(sah_forest_new(all, total, 2, &plain, &error), SAH_OK);
        assert_int_equal(f->n_prompts, (int)total);
        assert_int_equal(f->n_nodes, plain->n_nodes);
        assert_int_equal(f->n_ends, plain->n_ends);
        assert_true(f->n_end_segments <= f->n_ends);
        for (size_t p = 0; p < total; p++) {
            assert_int_equal(f->last[p], plain->last[p]);
            assert_int_equal(f->end_of[p], plain->end_of[p]);
        }
        /* Every end is a row of exactly one segment, whose path leads to it. */
        int32_t seen = 0;
        for (int32_t s = 0; s < f->n_end_segments; s++)
            for (int32_t i = 0; i < f->end_segments[s].n; i++, seen++) {
                const sah_segment *run = &f->end_segments[s];
                int32_t node = f->ends[run->row + i];
                assert_int_equal(run->path[run->depth + i], node);
                assert_int_equal(f->depth[node], run->depth + i);
                for (int32_t j = 0; j <= run->depth + i; j++) assert_int_equal(f->depth[run->path[j]], j);
            }
        assert_int_equal(seen, f->n_ends);
        sah_forest_free(f);
        sah_forest_free(plain);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    int32_t tokens[] = {1, 9};
    sah_error error = {0};
    sah_forest *f = NULL;
    assert_int_equal(sah_forest_new(&(sah_prompt){.tokens = tokens, .n = 2}, 1, 9, &f, &error),
                     SAH_BAD_ARGUMENT);
    assert_int_equal(sah_forest_new(&(sah_prompt){.tokens = tokens, .n = 0}, 1, 10, &f, &error),
                     SAH_BAD_ARGUMENT);
    assert_int_equal(sah_forest_new(NULL, 0, 10, &f, &error), SAH_BAD_ARGUMENT);
    assert_int_equal(
        sah_forest_new_positions(&(sah_prompt){.tokens = tokens, .n = 2}, (size_t[]){2}, 1, 10, &f, &error),
        SAH_BAD_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests_name("forest", tests, NULL, NULL);
}
