/* SPDX-License-Identifier: Apache-2.0 */
/* Filters, tests, methods and functions by name. */
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

/* NULL: there is no such filter or test in Jinja either. */
const sah_jbuiltin *sah_jinja_filter_named(sah_jtext name);
const sah_jbuiltin *sah_jinja_test_named(sah_jtext name);
const sah_jbuiltin *sah_jinja_method_named(sah_jkind kind, sah_jtext name);
const sah_jbuiltin *sah_jinja_text_method_named(sah_jtext name);
/* A method that changes its list or dict, which the sandbox forbids. */
bool sah_jinja_method_changes(sah_jkind kind, sah_jtext name);
const sah_jbuiltin *sah_jinja_function_named(sah_jtext name);

const sah_jbuiltin *sah_jinja_find_builtin(const sah_jbuiltin *table, size_t n, sah_jtext name);

/* Calls it; `what` ("filter", "method", ...) is for messages. */
sah_jv sah_jr_call_builtin(sah_jrun *run, const sah_jbuiltin *builtin, const char *what, sah_jv self,
                           const sah_jargs *args);

/* The filters that go over items: map, select, sort, ... */
const sah_jbuiltin *sah_jinja_sequence_filter_named(sah_jtext name);

/* What methods and filters share. */
typedef enum sah_jcasing { SAH_J_UPPER, SAH_J_LOWER, SAH_J_CAPITALIZE, SAH_J_TITLE, SAH_J_SWAP } sah_jcasing;
sah_jv sah_jr_cased(sah_jrun *run, sah_jtext text, sah_jcasing how);
sah_jv sah_jr_replace(sah_jrun *run, sah_jtext text, sah_jtext old, sah_jtext new,
                      int64_t most); /* most < 0: all */
sah_jv sah_jr_splitlines(sah_jrun *run, sah_jtext text, bool keep);
sah_jv sah_jr_escape(sah_jrun *run, sah_jv text); /* &, <, >, ' and " for HTML; the result is marked safe */
bool sah_jtext_all_cased(sah_jtext text, bool upper); /* str.isupper(), str.islower() */

#endif
