/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes, items and slices. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_MEMBER_H
#define SAH_MODEL_TEMPLATE_JINJA_MEMBER_H

#include "model/template/jinja_run.h"

sah_jv sah_jr_attribute(sah_jrun *run, sah_jv v, sah_jtext name); /* v.name */
sah_jv sah_jr_item(sah_jrun *run, sah_jv v, sah_jv key); /* v[key] */
sah_jv sah_jr_slice(sah_jrun *run, sah_jv v, sah_jv start, sah_jv stop, sah_jv step);

#endif
