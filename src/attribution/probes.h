/* SPDX-License-Identifier: Apache-2.0 */
/* Which next-token distributions a run of Ships scores, and for what: of every query's last token its divergence,
 * and along the openings (method.md, "Signed effect") the log-probability of the token that comes next. */
#ifndef SAH_ATTRIBUTION_PROBES_H
#define SAH_ATTRIBUTION_PROBES_H

#include "engine/forest.h"
#include "engine/model.h"

/* One distribution. */
typedef struct sah_probe {
    size_t query; /* in the lists, one behind the other */
    bool first; /* behind the query itself, not further along an opening */
    int32_t own; /* the next token of the model's own opening; -1: none here */
    int32_t refusal; /* that of the commonest refusal, on a query that is answered; -1: none here */
} sah_probe;

typedef struct sah_probes {
    sah_forest *forest; /* a prompt a probe, in their order */
    struct sah_donors *donors; /* of the run's ablation, or NULL */
    sah_probe *items; /* [n] */
    size_t n, n_queries;
    size_t *own_length, *refusal_length; /* [n_queries] probes that have an `own`, a `refusal`; NULL without
                                            openings */
} sah_probes;

/* Wraps the queries of both lists (the second may be NULL) in the run's template (or `default_template`), with
 * the run's openings behind them where it has some: the i-th query is number query_of[i] of the run's, or i
 * where that is NULL. The caller frees it, in either case. */
sah_status sah_probes_new(const sah_model *model, const sah_strings *const lists[2],
                          const sah_run_options *options, const char *default_template,
                          const size_t *query_of, sah_probes *out, sah_error *error);
void sah_probes_free(sah_probes *probes);

#endif
