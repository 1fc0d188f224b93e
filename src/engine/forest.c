/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/forest.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

static int32_t source_of(const sah_prompt *prompt, size_t position)
{
    return prompt->source != NULL ? prompt->source[position] : -1;
}

static int compare_prompts(const void *a, const void *b)
{
    const sah_prompt *x = *(const sah_prompt *const *)a, *y = *(const sah_prompt *const *)b;
    size_t n = x->n < y->n ? x->n : y->n;
    for (size_t i = 0; i < n; i++) {
        int32_t s = source_of(x, i), t = source_of(y, i);
        if (x->tokens[i] != y->tokens[i]) return x->tokens[i] < y->tokens[i] ? -1 : 1;
        if (s != t) return s < t ? -1 : 1;
    }
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return 0;
}

static size_t common_prefix(const sah_prompt *x, const sah_prompt *y)
{
    size_t n = x->n < y->n ? x->n : y->n, i = 0;
    while (i < n && x->tokens[i] == y->tokens[i] && source_of(x, i) == source_of(y, i)) i++;
    return i;
}

static sah_status check_prompts(const sah_prompt *prompts, size_t n, int32_t n_vocab, size_t *n_tokens,
                                sah_error *error)
{
    *n_tokens = 0;
    if (n == 0 || n > INT32_MAX) return sah_fail(error, SAH_BAD_ARGUMENT, "no prompt to run");
    for (size_t i = 0; i < n; i++) {
        if (prompts[i].n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "prompt %zu has no token", i);
        for (size_t j = 0; j < prompts[i].n; j++)
            if (prompts[i].tokens[j] < 0 || prompts[i].tokens[j] >= n_vocab)
                return sah_fail(error, SAH_BAD_ARGUMENT,
                                "token %d of prompt %zu is outside the vocabulary of %d",
                                (int)prompts[i].tokens[j], i, (int)n_vocab);
        if (!sah_add(*n_tokens, prompts[i].n, n_tokens) || *n_tokens > INT32_MAX / 2)
            return sah_fail(error, SAH_BAD_ARGUMENT, "the prompts hold too many tokens; give fewer queries");
    }
    return SAH_OK;
}

/* Walks the prompts in sorted order; each adds one segment: its tokens behind what it shares with the one
 * before. */
static void grow(sah_forest *forest, const sah_prompt **order, size_t n)
{
    int32_t *storage = forest->paths;
    const int32_t *path = NULL; /* of the prompt before */
    for (size_t i = 0; i < n; i++) {
        const sah_prompt *prompt = order[i];
        size_t shared = i > 0 ? common_prefix(order[i - 1], prompt) : 0;
        int32_t *own = storage;
        if (shared) memcpy(own, path, shared * sizeof *own);
        for (size_t j = shared; j < prompt->n; j++) {
            own[j] = forest->n_nodes;
            forest->token[forest->n_nodes] = prompt->tokens[j];
            forest->source[forest->n_nodes] = source_of(prompt, j);
            forest->depth[forest->n_nodes++] = (int32_t)j;
        }
        if (shared < prompt->n)
            forest->segments[forest->n_segments++] =
                (sah_segment){own[shared], (int32_t)(prompt->n - shared), (int32_t)shared, own};
        if ((int32_t)prompt->n > forest->longest) forest->longest = (int32_t)prompt->n;
        path = own;
        storage += prompt->n;
    }
}

/* Which positions of the prompts are ends, and where their numbers begin. */
typedef struct positions {
    const sah_prompt *prompts;
    const size_t *first; /* NULL: the last position of each */
    size_t *at; /* [n] number of each prompt's first position */
    size_t total;
} positions;

static size_t first_of(const positions *p, const sah_prompt *prompt)
{
    return p->first != NULL ? p->first[prompt - p->prompts] : prompt->n - 1;
}

/* Numbers the distinct ends and finds a path to each. `order` is as in grow(); `mark` [n_nodes] is scratch.
 */
static void find_ends(sah_forest *forest, const positions *p, const sah_prompt **order, size_t n,
                      int32_t *mark)
{
    enum { UNSEEN = -1, SEEN = -2 };
    for (int32_t node = 0; node < forest->n_nodes; node++) mark[node] = UNSEEN;
    const int32_t *path = forest->paths;
    for (size_t i = 0; i < n; i++) {
        size_t first = first_of(p, order[i]), at = p->at[order[i] - p->prompts];
        for (size_t j = first; j < order[i]->n; j++) {
            forest->last[at + j - first] = path[j];
            mark[path[j]] = SEEN;
        }
        path += order[i]->n;
    }
    for (int32_t node = 0; node < forest->n_nodes; node++) {
        if (mark[node] == UNSEEN) continue;
        mark[node] = forest->n_ends;
        forest->end_depth[forest->n_ends] = forest->depth[node];
        forest->end_source[forest->n_ends] = forest->source[node];
        forest->ends[forest->n_ends++] = node;
    }
    for (size_t k = 0; k < p->total; k++) forest->end_of[k] = mark[forest->last[k]];

    /* Each end goes into the segment of the first path that comes to it. */
    path = forest->paths;
    for (size_t i = 0; i < n; i++) {
        sah_segment *run = NULL;
        for (size_t j = first_of(p, order[i]); j < order[i]->n; j++) {
            int32_t end = mark[path[j]];
            mark[path[j]] = SEEN;
            if (end == SEEN) {
                run = NULL;
            } else if (run != NULL && end == run->row + run->n) {
                run->n++;
            } else {
                run = &forest->end_segments[forest->n_end_segments++];
                *run = (sah_segment){end, 1, (int32_t)j, path};
            }
        }
        path += order[i]->n;
    }
}

/* Numbers the positions of all prompts; false when there are too many. */
static bool count_positions(positions *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p->at[i] = p->total;
        p->total += p->prompts[i].n - first_of(p, &p->prompts[i]);
    }
    return p->total <= INT32_MAX;
}

static sah_status make(const sah_prompt *prompts, const size_t *first, size_t n, int32_t n_vocab,
                       sah_forest **out, sah_error *error)
{
    size_t n_tokens;
    sah_status status = check_prompts(prompts, n, n_vocab, &n_tokens, error);
    if (status != SAH_OK) return status;

    positions p = {.prompts = prompts, .first = first};
    p.at = sah_alloc(n, sizeof *p.at);
    const sah_prompt **order = sah_alloc(n, sizeof *order);
    int32_t *mark = sah_alloc(n_tokens, sizeof *mark);
    sah_forest *forest = sah_alloc(1, sizeof *forest);
    if (p.at == NULL || order == NULL || mark == NULL || forest == NULL || !count_positions(&p, n))
        goto no_memory;
    forest->token = sah_alloc(n_tokens, sizeof *forest->token);
    forest->depth = sah_alloc(n_tokens, sizeof *forest->depth);
    forest->source = sah_alloc(n_tokens, sizeof *forest->source);
    forest->paths = sah_alloc(n_tokens, sizeof *forest->paths);
    forest->segments = sah_alloc(n, sizeof *forest->segments);
    forest->end_segments = sah_alloc(p.total, sizeof *forest->end_segments);
    forest->last = sah_alloc(p.total, sizeof *forest->last);
    forest->ends = sah_alloc(p.total, sizeof *forest->ends);
    forest->end_depth = sah_alloc(p.total, sizeof *forest->end_depth);
    forest->end_source = sah_alloc(p.total, sizeof *forest->end_source);
    forest->end_of = sah_alloc(p.total, sizeof *forest->end_of);
    if (forest->token == NULL || forest->depth == NULL || forest->source == NULL || forest->paths == NULL ||
        forest->segments == NULL || forest->end_segments == NULL || forest->last == NULL ||
        forest->ends == NULL || forest->end_depth == NULL || forest->end_source == NULL ||
        forest->end_of == NULL)
        goto no_memory;

    for (size_t i = 0; i < n; i++) order[i] = &prompts[i];
    qsort(order, n, sizeof *order, compare_prompts);
    forest->n_prompts = (int32_t)p.total;
    forest->n_tokens = n_tokens;
    grow(forest, order, n);
    find_ends(forest, &p, order, n, mark);
    free(p.at);
    free(order);
    free(mark);
    *out = forest;
    return SAH_OK;

no_memory:
    free(p.at);
    free(order);
    free(mark);
    sah_forest_free(forest);
    return sah_fail_memory(error, "the prompts");
}

sah_status sah_forest_new(const sah_prompt *prompts, size_t n, int32_t n_vocab, sah_forest **out,
                          sah_error *error)
{
    return make(prompts, NULL, n, n_vocab, out, error);
}

sah_status sah_forest_new_positions(const sah_prompt *prompts, const size_t *first, size_t n, int32_t n_vocab,
                                    sah_forest **out, sah_error *error)
{
    for (size_t i = 0; i < n; i++)
        if (first[i] >= prompts[i].n)
            return sah_fail(error, SAH_BAD_ARGUMENT, "prompt %zu has no position %zu", i, first[i]);
    return make(prompts, first, n, n_vocab, out, error);
}

void sah_forest_free(sah_forest *forest)
{
    if (forest == NULL) return;
    free(forest->token);
    free(forest->depth);
    free(forest->source);
    free(forest->paths);
    free(forest->segments);
    free(forest->end_segments);
    free(forest->last);
    free(forest->ends);
    free(forest->end_depth);
    free(forest->end_source);
    free(forest->end_of);
    free(forest);
}
