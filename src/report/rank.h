/* SPDX-License-Identifier: Apache-2.0 */
/* Ranking within one query; the ranking over all of them is sah_rank() in sahara.h. */
#ifndef SAH_REPORT_RANK_H
#define SAH_REPORT_RANK_H

#include "report/result.h"

/* order [n_scored]: indices into result->heads, highest score for `query` first; equal ones by layer and
 * head. */
sah_status sah_rank_query(const sah_result *result, size_t query, size_t *order, sah_error *error);

/* SAH_ORDER_DEFAULT becomes what the result is ordered by then. */
sah_order sah_order_of(const sah_result *result, sah_order order);
/* Puts ranked heads into another order (not SAH_ORDER_DEFAULT). */
void sah_rank_sort(sah_ranked *ranked, size_t n, sah_order order);
/* What an order (not SAH_ORDER_DEFAULT) goes by, the highest first. */
double sah_score_of(sah_order order, const sah_ranked *ranked);
/* The same in words, with its unit. */
const char *sah_score_name(const sah_result *result, sah_order order);

#endif
