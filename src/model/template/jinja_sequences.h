/* SPDX-License-Identifier: Apache-2.0 */
/* Filters over items. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_SEQUENCES_H
#define SAH_MODEL_TEMPLATE_JINJA_SEQUENCES_H

#include "model/template/jinja_builtin.h"

/* The filters that go over items: map, select, sort, ... */
const sah_jbuiltin *sah_jinja_sequence_filter_named(sah_jtext name);

#endif
