/* SPDX-License-Identifier: Apache-2.0 */
#include "nearest.h"

#include <string.h>

enum { LONGEST = 32 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters to change, leave out, add or swap with the next to come from `a` to `b`, both at most LONGEST. */
static size_t distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t cost[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= n; i++) cost[i][0] = i;
    for (size_t j = 0; j <= m; j++) cost[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            const size_t other = a[i - 1] != b[j - 1];
            size_t best = least(cost[i - 1][j - 1] + other, least(cost[i - 1][j], cost[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = least(best, cost[i - 2][j - 2] + 1);
            cost[i][j] = best;
        }
    }
    return cost[n][m];
}

const char *nearest_word(const char *word, const char *const *words, size_t n)
{
    const size_t length = strlen(word);
    const char *nearest = NULL, *begins = NULL;
    size_t best = length / 3 + 1, beginning = 0;
    if (length == 0 || length > LONGEST) return NULL;
    for (size_t i = 0; i < n; i++) {
        const size_t other = strlen(words[i]);
        if (other > LONGEST) continue;
        const size_t d = distance(word, length, words[i], other);
        if (d < best) {
            best = d;
            nearest = words[i];
        }
        if (length > 2 && strncmp(word, words[i], length) == 0) {
            begins = words[i];
            beginning++;
        }
    }
    return nearest == NULL && beginning == 1 ? begins : nearest;
}
