/* SPDX-License-Identifier: Apache-2.0 */
/* Tests by name. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_TESTS_H
#define SAH_MODEL_TEMPLATE_JINJA_TESTS_H

#include "model/template/jinja_builtin.h"

/* NULL: there is none in Jinja either. */
const sah_jbuiltin *sah_jinja_test_named(sah_jtext name);

#endif
