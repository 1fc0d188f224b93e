/* SPDX-License-Identifier: Apache-2.0 */
/* The signed effect of every head (docs/method.md, "Signed effect"). */
#ifndef SAH_REPORT_RANK_EFFECT_H
#define SAH_REPORT_RANK_EFFECT_H

#include "report/result.h"

/* Fills the effect's fields of items [n_scored], which are in the result's order of heads. Nothing where the
 * result has no openings. */
sah_status sah_rank_effects(const sah_result *result, sah_ranked *items, sah_error *error);

#endif
