/* SPDX-License-Identifier: Apache-2.0 */
/* Statements at work, and the variable `loop`. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_EXEC_H
#define SAH_MODEL_TEMPLATE_JINJA_EXEC_H

#include "model/template/jinja_run.h"

typedef enum sah_jflow { SAH_J_GO_ON, SAH_J_BREAK, SAH_J_CONTINUE, SAH_J_FAILED } sah_jflow;
sah_jflow sah_jr_exec(sah_jrun *run, const sah_jnodes *nodes);
void sah_jr_enter(sah_jrun *run, const sah_jscope *scope);
void sah_jr_leave(sah_jrun *run, const sah_jscope *scope);
bool sah_jr_assign(sah_jrun *run, const sah_jnode *target, sah_jv value);

bool sah_jr_loop_next(sah_jrun *run, sah_jloop *loop, sah_jv *out);
sah_jv sah_jr_loop_attribute(sah_jrun *run, sah_jloop *loop, sah_jtext name, bool *known);

#endif
