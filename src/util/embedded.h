/* SPDX-License-Identifier: Apache-2.0 */
/* Data files compiled into the library (scripts/embed-text), so that it works wherever it is put. */
#ifndef SAH_EVAL_JUDGE_EMBEDDED_H
#define SAH_EVAL_JUDGE_EMBEDDED_H

#include <stddef.h>

typedef struct sah_embedded_text {
    const unsigned char *data;
    size_t size;
} sah_embedded_text;

extern const sah_embedded_text sah_text_refusals; /* data/judge/refusals.txt */
extern const sah_embedded_text sah_text_reference; /* data/judge/reference.txt */
extern const sah_embedded_text sah_text_weights; /* data/judge/weights.txt */

#endif
