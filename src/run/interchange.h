/* SPDX-License-Identifier: Apache-2.0 */
/* Who stands in for edited heads in a run (docs/method.md, "Interchange"): the donors of its prompts, and what its
 * header says of them. */
#ifndef SAH_RUN_INTERCHANGE_H
#define SAH_RUN_INTERCHANGE_H

#include "engine/donors.h"
#include "run/prompts.h"

/* Fails where the operation needs partners or a reference list that are not there, or as many partners as there are
 * queries (contrast queries among them) and there are others. */
sah_status sah_interchange_check(const sah_ablation *ablation, const sah_interchange *interchange,
                                 size_t n_queries, sah_error *error);

/* The donors of the prompts, wrapped as those are, and in each prompt its sources. Prompt i is that of query
 * query_of[i] of the run, or i where that is NULL. *donors for sah_donors_free(), NULL where the operation takes
 * none. */
sah_status sah_interchange_donors(const sah_model *model, const sah_ablation *ablation,
                                  const sah_interchange *interchange, const char *template_,
                                  const char *system, const size_t *query_of, sah_run_prompts *prompts,
                                  sah_donors **donors, sah_error *error);

/* Adds to a header the texts that stand in, and to its settings how they were found. `n_queries` are those of the
 * first list. False: no memory. */
bool sah_interchange_note(json_t *header, const sah_ablation *ablation, const sah_interchange *interchange,
                          size_t n_queries);

/* "scale", "mean", "swap", "mean-data" */
const char *sah_op_name(sah_op op);

#endif
