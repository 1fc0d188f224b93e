/* SPDX-License-Identifier: Apache-2.0 */
/* Filters by name. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_FILTERS_H
#define SAH_MODEL_TEMPLATE_JINJA_FILTERS_H

#include "model/template/jinja_builtin.h"

/* NULL: there is no such filter in Jinja either. */
const sah_jbuiltin *sah_jinja_filter_named(sah_jtext name);

#endif
