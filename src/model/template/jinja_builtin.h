/* SPDX-License-Identifier: Apache-2.0 */
/* What a filter, test, method or function is. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_BUILTIN_H
#define SAH_MODEL_TEMPLATE_JINJA_BUILTIN_H

#include "model/template/jinja_run.h"

/* What a call is given. */
typedef struct sah_jargs {
    sah_jv *positional;
    size_t n;
    sah_jtext *names; /* of `named` */
    sah_jv *named;
    size_t n_named;
} sah_jargs;

typedef struct sah_jbuiltin {
    const char *name;
    const char *parameters; /* their names, separated by blanks, which may be given by name too */
    size_t required; /* so many must be given */
    sah_jv (*run)(sah_jrun *run, sah_jv self, const sah_jv *a); /* a: one value a parameter, or missing */
    sah_jv (*run_raw)(sah_jrun *run, sah_jv self, const sah_jargs *args); /* instead of `run` */
} sah_jbuiltin; /* neither: Jinja or Python has it, but it is not supported here */

#endif
