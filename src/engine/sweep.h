/* SPDX-License-Identifier: Apache-2.0 */
/* The sweep: forward(ablation) for many ablations that each differ from a base ablation in the heads of one
 * layer.
 *
 * The base residual entering layer l is shared by every candidate of layer l; inside layer l a candidate
 * recomputes only the outputs of the heads it edits and their slices of the output projection; only the
 * layers above are its own. In the last layer only the prompts' last tokens go past the keys and values.
 * Numbers are those of running each ablation alone, to float32 rounding, and depend neither on how candidates
 * are grouped nor on the number of threads.
 *
 * By differences all candidates of a group are in one layer at a time, in which the base pass goes ahead of them; it
 * begins anew with each group. */
#ifndef SAH_ENGINE_SWEEP_H
#define SAH_ENGINE_SWEEP_H

#include "engine/forest.h"
#include "engine/model.h"
#include "engine/candidate.h"

/* What a score does with the sweep's results. */
typedef struct sah_sink {
    void *ctx;
    /* Hidden states lie in the host's memory. First, once, from the calling thread: final-norm hidden states of
     * every prompt's last token under the base ablation, [n_prompts, d]. */
    sah_status (*base)(void *ctx, const float *hidden, sah_error *error);
    /* Then once for every candidate, in no fixed order, several at once from `thread` (0..threads-1):
     * which[i] is an index into the candidates, hidden [n, n_prompts, d]. Called from several threads at the
     * same time; `workspace` is the calling thread's. */
    sah_status (*take)(void *ctx, int thread, sah_workspace *workspace, const int32_t *which, int32_t n,
                       const float *hidden, sah_error *error);
} sah_sink;

/* How a sweep went. */
typedef struct sah_sweep_report {
    sah_forest_size forest;
    double seconds; /* the whole sweep */
    int threads;
    sah_books books; /* of all threads together: its seconds add up to `threads` times `seconds` */
    uint64_t rows_bytes; /* all threads' rows, and the base pass's states at most */
} sah_sweep_report;

typedef struct sah_sweep_options {
    uint64_t memory; /* bytes for rows; 0: default */
    sah_progress_fn progress;
    void *user;
    const char *what; /* what the progress line says */
    uint64_t done, total; /* units done before, and in all, for progress over several sweeps; total 0: this
                             sweep's own */
    bool differences; /* work by differences from a base pass in float32, where sah_sweep_differs() */
    bool base_only; /* stop behind the sink's `base`, computed as for these candidates */
    sah_sweep_report *report; /* filled by a sweep that succeeds; or NULL */
} sah_sweep_options;

/* Whether a sweep can work by differences (difference.h) within so much memory (0: the model's, if that has a bound):
 * what that takes more is a layer's record, and two layers in float32 where the model's are not. */
bool sah_sweep_differs(const sah_model *model, const sah_forest *forest, uint64_t memory);

sah_status sah_sweep(const sah_model *model, const sah_forest *forest, const sah_edit *base, size_t n_base,
                     const sah_candidate *candidates, size_t n, const sah_sweep_options *options,
                     const sah_sink *sink, sah_error *error);

#endif
