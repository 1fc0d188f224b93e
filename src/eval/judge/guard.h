/* SPDX-License-Identifier: Apache-2.0 */
/* A guard model's probability that a response is unsafe. */
#ifndef SAH_EVAL_JUDGE_GUARD_H
#define SAH_EVAL_JUDGE_GUARD_H

#include "sahara.h"

typedef struct sah_exchange {
    const char *query, *response;
    const char *where; /* for messages: "line 3" */
    double p_unsafe, p_safe; /* of the two answers, filled in */
} sah_exchange;

/* Asks about each of the exchanges [n]. */
sah_status sah_guard_ask(const sah_guard *guard, sah_exchange *exchanges, size_t n, sah_error *error);

#endif
