/* Ranking within one query; the ranking over all of them is sah_rank() in sahara.h. */
#ifndef SAH_REPORT_RANK_H
#define SAH_REPORT_RANK_H

#include "report/result.h"

/* order [n_scored]: indices into result->heads, highest score for `query` first; equal ones by layer and
 * head. */
sah_status sah_rank_query(const sah_result *result, size_t query, size_t *order, sah_error *error);

/* What is shown of a head, with its unit: "mean KL, nats", "mean KL less mean contrast KL, nats", ... */
const char *sah_score_name(sah_kind kind, bool contrast);

#endif
