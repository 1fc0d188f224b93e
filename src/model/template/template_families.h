/* SPDX-License-Identifier: Apache-2.0 */
/* The chat templates of well-known families, for models that come without one. */
#ifndef SAH_MODEL_TEMPLATE_TEMPLATE_FAMILIES_H
#define SAH_MODEL_TEMPLATE_TEMPLATE_FAMILIES_H

#include <stddef.h>

typedef struct sah_family {
    const char *name;
    const char *jinja; /* written here, rendered as a model's own template is */
} sah_family;

extern const sah_family sah_families[];
extern const size_t sah_n_families;

const sah_family *sah_family_named(const char *name); /* NULL: there is none */
const char *sah_family_names(void); /* "chatml, llama2, ..." */

#endif
