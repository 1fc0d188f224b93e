/* SPDX-License-Identifier: Apache-2.0 */
/* Going over items. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_ITERATE_H
#define SAH_MODEL_TEMPLATE_JINJA_ITERATE_H

#include "model/template/jinja_builtin.h"

/* An iterator of its own making: `next` is called until it gives false. */
typedef struct sah_jiterator {
    bool (*next)(sah_jrun *run, struct sah_jiterator *it, sah_jv *out);
    sah_jv source;
    size_t at; /* bytes of a text, else items */
    struct sah_jiterator *inner;
    const sah_jargs *args; /* of the filter that made it */
    void *state;
    const char *type; /* "generator", ... */
} sah_jiterator;

/* NULL: it cannot be iterated, which is a failure. */
sah_jiterator *sah_jr_iterate(sah_jrun *run, sah_jv v);
bool sah_jr_iterable(sah_jv v);

/* False at the end and when it failed. */
bool sah_jr_next(sah_jrun *run, sah_jiterator *iterator, sah_jv *out);
sah_jv sah_jr_to_list(sah_jrun *run, sah_jv v, sah_jkind kind);

#endif
