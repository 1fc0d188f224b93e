/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of an adapter's rank_pattern and alpha_pattern: regular expressions of Python's re, which PEFT
 * matches as (.*\.)?(KEY)$ from the beginning of a module's path (peft/utils/other.py, get_pattern_key). They
 * run on PCRE2 with limits; what only one of the two libraries knows is refused by name. */
#ifndef SAH_MODEL_CHECKPOINT_LORA_PATTERN_H
#define SAH_MODEL_CHECKPOINT_LORA_PATTERN_H

#include <jansson.h>
#include "sahara.h"

typedef struct sah_lora_patterns sah_lora_patterns;

/* The members of `object` (the setting `name`; absent or null: none), which must be numbers. `where` names the
 * file in errors. Holds on to `object`. */
sah_status sah_lora_patterns_new(const json_t *object, const char *name, const char *where,
                                 sah_lora_patterns **out, sah_error *error);
void sah_lora_patterns_free(sah_lora_patterns *patterns);

/* The value of the first key that matches, or `otherwise`. A search that takes too long is an error. */
sah_status sah_lora_patterns_find(const sah_lora_patterns *patterns, const char *path, double otherwise,
                                  double *out, sah_error *error);

#endif
