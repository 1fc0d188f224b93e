/* SPDX-License-Identifier: Apache-2.0 */
/* The prompt forest: all prompts of a run as one trie of tokens. A prefix that prompts share is one path,
 * computed once. A node attends to its ancestors and itself. */
#ifndef SAH_ENGINE_FOREST_H
#define SAH_ENGINE_FOREST_H

#include "sahara.h"

typedef struct sah_prompt {
    const int32_t *tokens;
    size_t n; /* at least 1 */
    const int32_t
        *source; /* [n] the donors' row that stands in for a position's states (donors.h), -1: its own;
                              NULL: all their own */
} sah_prompt;

struct sah_donors;

/* A block of nodes that follow each other on one path, at depths depth..depth+n-1. Node i of it sees path[0
 * .. depth + i]. */
typedef struct sah_segment {
    int32_t row; /* of the first node's query states; the others follow */
    int32_t n, depth;
    const int32_t *path; /* node at each depth, [depth + n]: rows of the keys and values */
} sah_segment;

typedef struct sah_forest {
    int32_t n_nodes;
    int32_t *token; /* [n_nodes] */
    int32_t *depth; /* [n_nodes] position of the node: 0 for a first token */
    int32_t *source; /* [n_nodes] as in the prompts, which share a node only where they agree in it */
    sah_segment
        *segments; /* a node lies in exactly one; its row is its node. They come depth first: what one begins
                      behind lies on the path of the one before. */
    int32_t n_segments;
    sah_segment *end_segments; /* the ends alone, rows 0..n_ends-1: runs of ends that follow each other */
    int32_t n_end_segments; /* = n_ends in a forest of sah_forest_new() */
    int32_t n_prompts;
    int32_t *last; /* [n_prompts] the node of each prompt's last token; equal prompts share it */
    int32_t n_ends; /* distinct nodes in `last` */
    int32_t *ends; /* [n_ends], ascending */
    int32_t *end_depth, *end_source; /* [n_ends] their depths and sources */
    int32_t *end_of; /* [n_prompts] index into ends */
    size_t n_tokens; /* tokens before sharing */
    int32_t longest; /* longest path */
    int32_t *paths; /* storage behind the segments */
    const struct sah_donors
        *donors; /* whose rows the sources are, for whoever made the forest to set; or NULL */
} sah_forest;

/* Tokens must lie in 0..n_vocab-1. */
sah_status sah_forest_new(const sah_prompt *prompts, size_t n, int32_t n_vocab, sah_forest **out,
                          sah_error *error);

/* The forest of beginnings: prompt i gives one prompt for each of its positions first[i] .. n-1, its tokens
 * up to and with that position, so that last, end_of and what is computed of them go position by position,
 * one prompt behind the other. Memory is that of the whole prompts alone. first[i] < n. */
sah_status sah_forest_new_positions(const sah_prompt *prompts, const size_t *first, size_t n, int32_t n_vocab,
                                    sah_forest **out, sah_error *error);
void sah_forest_free(sah_forest *forest);

#endif
