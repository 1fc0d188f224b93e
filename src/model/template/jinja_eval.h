/* SPDX-License-Identifier: Apache-2.0 */
/* The value of an expression. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_EVAL_H
#define SAH_MODEL_TEMPLATE_JINJA_EVAL_H

#include "model/template/jinja_run.h"

sah_jv sah_jr_eval(sah_jrun *run, const sah_jnode *node);

/* A call with, when `caller` is not NULL, that as the argument `caller`; a filter behind the text of a block. */
sah_jv sah_jr_eval_call(sah_jrun *run, const sah_jnode *node, const sah_jv *caller);
sah_jv sah_jr_eval_filter(sah_jrun *run, const sah_jnode *node, const sah_jv *block);
sah_jv *sah_jr_slot(const sah_jrun *run, sah_jref ref);

#endif
