/* SPDX-License-Identifier: Apache-2.0 */
/* A template at work: what its files share. Functions that give a value give a missing one when they failed;
 * run->failed then tells, and nothing more is done. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_RUN_H
#define SAH_MODEL_TEMPLATE_JINJA_RUN_H

#include "model/template/jinja_node.h"

/* Variables of one call of a function (the template itself, a macro, a call block). */
typedef struct sah_jframe {
    sah_jv *slots;
    struct sah_jframe *outer; /* the function's around */
} sah_jframe;

/* Text that grows in the arena. */
typedef struct sah_jbuffer {
    char *data;
    size_t n, capacity;
} sah_jbuffer;

typedef struct sah_jrun {
    const sah_jinja *jinja;
    sah_arena arena; /* every value */
    sah_jv *context; /* [jinja->n_names] what each name means where the template does not set it */
    sah_jframe *frame;
    sah_jbuffer *out;
    const struct tm *now;
    uint64_t steps;
    int depth;
    int line; /* of the node at work */
    bool failed, raised;
    sah_error *error;
} sah_jrun;

/* A macro or the body of a call block, with the variables around it. */
typedef struct sah_jmacro {
    const sah_jnode *node;
    sah_jframe *frame;
} sah_jmacro;

typedef struct sah_jmethod {
    sah_jv self;
    const struct sah_jbuiltin *builtin; /* NULL: forbidden by the sandbox */
    sah_jtext name;
} sah_jmethod;

/* The variable `loop`. */
typedef struct sah_jloop {
    const sah_jnode *node;
    sah_jframe *frame; /* where the loop runs: its condition is evaluated there */
    sah_jv iterable;
    struct sah_jiterator *iterator;
    int64_t index0; /* -1: before the first item */
    bool tested; /* the condition's scope is entered */
    bool sized; /* `length` is known */
    int64_t length;
    bool peeked;
    sah_jv after, current, before, changed; /* missing: none */
} sah_jloop;

#endif
