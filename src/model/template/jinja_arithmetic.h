/* SPDX-License-Identifier: Apache-2.0 */
/* Operators between two values. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_ARITHMETIC_H
#define SAH_MODEL_TEMPLATE_JINJA_ARITHMETIC_H

#include "model/template/jinja_run.h"

sah_jv sah_jr_binary(sah_jrun *run, sah_joperator op, sah_jv a, sah_jv b);
sah_jv sah_jr_escape(sah_jrun *run, sah_jv text); /* &, <, >, ' and " for HTML; the result is marked safe */

#endif
