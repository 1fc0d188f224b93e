/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of macros, functions and methods. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_CALL_H
#define SAH_MODEL_TEMPLATE_JINJA_CALL_H

#include "model/template/jinja_builtin.h"

sah_jv sah_jr_call(sah_jrun *run, sah_jv callee, const sah_jargs *args);
sah_jv sah_jr_call_macro(sah_jrun *run, const sah_jmacro *macro, const sah_jargs *args);

const sah_jbuiltin *sah_jinja_function_named(sah_jtext name);
const sah_jbuiltin *sah_jinja_find_builtin(const sah_jbuiltin *table, size_t n, sah_jtext name);

/* Calls it; `what` ("filter", "method", ...) is for messages. */
sah_jv sah_jr_call_builtin(sah_jrun *run, const sah_jbuiltin *builtin, const char *what, sah_jv self,
                           const sah_jargs *args);

#endif
