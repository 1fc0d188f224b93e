/* SPDX-License-Identifier: Apache-2.0 */
/* Candidates of a sweep, and the floating-point operations that they need: counted from the forest, after
 * everything that is shared is counted once (docs/performance.md, "Useful work"). A multiply-add is two. */
#ifndef SAH_ENGINE_CANDIDATE_H
#define SAH_ENGINE_CANDIDATE_H

#include "engine/forest.h"
#include "model/family/shape.h"
#include "sahara.h"

typedef struct sah_candidate {
    int layer;
    int n_edits; /* 1 to 3: one head's q, k, v */
    sah_edit edits[3]; /* all in `layer` */
} sah_candidate;

/* The candidate that ablates `head` (a key head when parts are k alone). */
sah_candidate sah_candidate_of(const sah_config *config, sah_head head, const sah_ablation *ablation);

/* True when the candidate's edits change the head's output. */
bool sah_candidate_edits(const sah_candidate *candidate, const sah_config *config, int head);

/* What of a forest the work depends on. */
typedef struct sah_forest_size {
    double nodes, ends, prompts, tokens; /* tokens: before sharing */
    double pairs, end_pairs; /* (row, key it sees) of all nodes, and of the ends alone */
    double window_pairs, window_end_pairs; /* the same in layers with a window */
} sah_forest_size;

/* `window`: tokens a position sees in those layers that have one, its own included; 0: all. */
void sah_forest_measure(const sah_forest *forest, int window, sah_forest_size *out);

/* Operations by the matrix they meet; `attention` is scores and mixing of values. */
typedef struct sah_operations {
    double qkv, output, gate_up, down, lm_head, attention;
} sah_operations;

/* Adds those of the base pass. */
void sah_operations_of_base(const sah_config *config, const sah_forest_size *size, sah_operations *sum);
/* Adds those of one candidate: its edited heads and its layers above. */
void sah_operations_of_candidate(const sah_config *config, const sah_forest_size *size,
                                 const sah_candidate *candidate, sah_operations *sum);
/* Adds those of the next-token logits of every prompt. */
void sah_operations_of_logits(const sah_config *config, const sah_forest_size *size, sah_operations *sum);

double sah_operations_total(const sah_operations *operations);

#endif
