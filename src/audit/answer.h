/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from what an audit measured. */
#ifndef SAH_AUDIT_ANSWER_H
#define SAH_AUDIT_ANSWER_H

#include "audit/audit.h"

/* Refusals of a judgement. */
sah_rate sah_rate_of(uint64_t refused, uint64_t complied, uint64_t degenerate);

/* So little is refused that there is nothing to look for heads of. */
bool sah_audit_too_few(const sah_found *found);

/* The fewest heads of a curve that bring refusal down; 0: no number does. */
size_t sah_audit_fewest(const sah_curve *curve);

/* Its heads for a reader: "2-6", or "11-3, 0-1, 8-3, 1-11 and 12 more". */
void sah_audit_add_names(sah_text *out, const sah_point *point);

/* Sets answer, decided, point, random, sentence and doubts from the rest. */
sah_status sah_audit_decide(sah_found *found, sah_error *error);

#endif
