/* Ships of chosen heads over the prompts of a forest (method.md, "Ships: one query"): a sweep whose sink
 * turns final hidden states into KL(p || p_h). What becomes of the scores is the caller's: a journal, a race.
 */
#ifndef SAH_ATTRIBUTION_SHIPS_SWEEP_H
#define SAH_ATTRIBUTION_SHIPS_SWEEP_H

#include "engine/sweep.h"

/* Called once for every head, from one thread at a time: kl [n_prompts] in nats, all finite. */
typedef sah_status (*sah_scores_fn)(void *ctx, size_t head, const double *kl, sah_error *error);

/* Scores heads [n]. `sweep` gives memory, progress and report. */
sah_status sah_scores(const sah_model *model, const sah_forest *forest, const sah_ablation *ablation,
                      const sah_head *heads, size_t n, const sah_sweep_options *sweep, sah_scores_fn take,
                      void *ctx, sah_error *error);

#endif
