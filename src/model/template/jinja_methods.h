/* SPDX-License-Identifier: Apache-2.0 */
/* Methods by name. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_METHODS_H
#define SAH_MODEL_TEMPLATE_JINJA_METHODS_H

#include "model/template/jinja_builtin.h"

/* NULL: there is none in Jinja either. */
const sah_jbuiltin *sah_jinja_method_named(sah_jkind kind, sah_jtext name);

/* A method that changes its list or dict, which the sandbox forbids. */
bool sah_jinja_method_changes(sah_jkind kind, sah_jtext name);

#endif
