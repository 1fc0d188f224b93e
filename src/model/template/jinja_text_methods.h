/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of texts, and what filters share with them. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_TEXT_METHODS_H
#define SAH_MODEL_TEMPLATE_JINJA_TEXT_METHODS_H

#include "model/template/jinja_builtin.h"

/* NULL: there is none in Jinja either. */
const sah_jbuiltin *sah_jinja_text_method_named(sah_jtext name);

/* What methods and filters share. */
typedef enum sah_jcasing { SAH_J_UPPER, SAH_J_LOWER, SAH_J_CAPITALIZE, SAH_J_TITLE, SAH_J_SWAP } sah_jcasing;
sah_jv sah_jr_cased(sah_jrun *run, sah_jtext text, sah_jcasing how);
sah_jv sah_jr_replace(sah_jrun *run, sah_jtext text, sah_jtext old, sah_jtext new,
                      int64_t most); /* most < 0: all */
sah_jv sah_jr_splitlines(sah_jrun *run, sah_jtext text, bool keep);
bool sah_jtext_all_cased(sah_jtext text, bool upper); /* str.isupper(), str.islower() */

#endif
