/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/generate/sample.h"

#include <math.h>

#include "engine/cpu/elementwise.h"

/* ---- A heap of choices, the likeliest on top, the lowest id first among equals ------------------------- */

static bool before(const sah_choice *a, const sah_choice *b)
{
    return a->weight > b->weight || (!(a->weight < b->weight) && a->token < b->token);
}

static void sift(sah_choice *heap, int32_t n, int32_t at)
{
    sah_choice moved = heap[at];
    for (int32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &moved)) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

/* Moves the first ones, `most` or fewer once they weigh `enough`, to the array's end, last first; returns how
 * many. */
static int32_t pop(sah_choice *heap, int32_t n, int32_t most, double enough)
{
    double sum = 0.0;
    int32_t popped = 0;
    while (popped < most && (popped == 0 || sum < enough)) {
        sah_choice top = heap[0];
        int32_t left = n - ++popped;
        heap[0] = heap[left];
        if (left > 0) sift(heap, left, 0);
        heap[left] = top;
        sum += top.weight;
    }
    return popped;
}

/* ---- Drawing ------------------------------------------------------------------------------------------- */

/* Going through n choices from the last to the first: */
static double weigh(const sah_choice *choices, int32_t n)
{
    double sum = 0.0;
    for (int32_t i = n; i-- > 0;) sum += choices[i].weight;
    return sum;
}

/* how many it takes to weigh `enough`; */
static int32_t reach(const sah_choice *choices, int32_t n, double enough)
{
    double sum = choices[n - 1].weight;
    int32_t taken = 1;
    while (taken < n && sum < enough) sum += choices[n - ++taken].weight;
    return taken;
}

/* the one at `uniform` of the total weight. */
static int32_t draw(const sah_choice *choices, int32_t n, double uniform)
{
    double sum = 0.0, target = uniform * weigh(choices, n);
    for (int32_t i = n; i-- > 0;) {
        sum += choices[i].weight;
        if (sum > target) return choices[i].token;
    }
    return choices[0].token; /* the target was rounded up to the total */
}

int32_t sah_sample(const sah_sampling *sampling, const float *logits, int32_t n_vocab, double uniform,
                   sah_choice *scratch)
{
    float max = sah_largest(logits, (size_t)n_vocab);
    int32_t kept = n_vocab;
    if (isnan(max)) return -1;
    if (!(sampling->temperature > 0.0)) {
        int32_t token = 0;
        while (logits[token] < max) token++;
        return token;
    }
    for (int32_t i = 0; i < n_vocab; i++)
        scratch[i] = (sah_choice){exp(((double)logits[i] - (double)max) / sampling->temperature), i};
    if ((sampling->top_k > 0 && sampling->top_k < n_vocab) || sampling->top_p < 1.0)
        for (int32_t i = n_vocab / 2; i-- > 0;) sift(scratch, n_vocab, i);
    if (sampling->top_k > 0 && sampling->top_k < n_vocab) {
        /* top_p is a share of the k likeliest's probability. */
        int32_t n = pop(scratch, n_vocab, sampling->top_k, INFINITY);
        const sah_choice *likeliest = scratch + n_vocab - n;
        kept = reach(likeliest, n, sampling->top_p * weigh(likeliest, n));
    } else if (sampling->top_p < 1.0) {
        kept = pop(scratch, n_vocab, n_vocab, sampling->top_p * weigh(scratch, n_vocab));
    }
    return draw(scratch + n_vocab - kept, kept, uniform);
}
