/* SPDX-License-Identifier: Apache-2.0 */
/* What a test needs that not every machine has. A test without it is skipped and says so in a line that
 * scripts/run-tests shows again at its end; with SAHARA_TEST_REAL in the environment the real model must be
 * there. */
#ifndef SAH_TESTS_UTIL_NEEDS_H
#define SAH_TESTS_UTIL_NEEDS_H

#include <stdbool.h>

/* SmolLM2-135M-Instruct, where scripts/get-smollm2 puts it. */
#define SMOLLM2 "models/cache/SmolLM2-135M-Instruct.Q4_1.gguf"

void needs_smollm2(void);

/* Skips the running test unless `there`; `what` says what is missing. */
void needs(bool there, const char *what);

#endif
