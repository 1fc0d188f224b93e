/* SPDX-License-Identifier: Apache-2.0 */
/* Ships of chosen heads over the probes of a run (method.md, "Ships: one query", "Signed effect"): a sweep whose
 * sink turns final hidden states into KL(p || p_h) and changes of log-probability. What becomes of the scores is
 * the caller's: a journal, a race. */
#ifndef SAH_ATTRIBUTION_SHIPS_SWEEP_H
#define SAH_ATTRIBUTION_SHIPS_SWEEP_H

#include "attribution/probes.h"
#include "engine/sweep.h"

/* One head's scores, each [n_queries]; all but `kl` are NULL without openings, and NaN where a query has no
 * opening of the kind. */
typedef struct sah_head_scores {
    const double *kl; /* nats, finite */
    const double *effect; /* nats a token: mean change of log-probability along the model's own opening */
    const double *toward; /* the same along the commonest refusal, on queries that are answered */
    const double *opening_kl; /* nats a token: mean divergence along the own opening; NULL unless asked for */
} sah_head_scores;

/* What is ablated at a time. */
typedef struct sah_target {
    sah_head head;
    const sah_ablation *ablation; /* of the operation that the probes' donors are for */
} sah_target;

/* Called once for every target, from one thread at a time. */
typedef sah_status (*sah_scores_fn)(void *ctx, size_t target, const sah_head_scores *scores,
                                    sah_error *error);

/* Scores targets [n]. `sweep` gives memory, progress and report. */
sah_status sah_scores(const sah_model *model, const sah_probes *probes, bool opening_kl,
                      const sah_target *targets, size_t n, const sah_sweep_options *sweep, sah_scores_fn take,
                      void *ctx, sah_error *error);

#endif
