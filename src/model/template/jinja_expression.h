/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing expressions. Functions that give a node give NULL when they failed, with the reason in the parser's error. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_EXPRESSION_H
#define SAH_MODEL_TEMPLATE_JINJA_EXPRESSION_H

#include "model/template/jinja_parse.h"

sah_jnode *sah_jparse_expression(sah_jparser *p);

/* Without `... if ...` at the outermost level. */
sah_jnode *sah_jparse_expression_unconditional(sah_jparser *p);

/* One expression, or a tuple where commas stand between several, up to `end` (a word, or NULL) or the tag's
 * end. */
sah_jnode *sah_jparse_tuple(sah_jparser *p, bool conditional, const char *end);

/* What may be assigned to: names and tuples of them, with `members` namespace.attribute as well. */
sah_jnode *sah_jparse_target(sah_jparser *p, const char *end, bool members);

/* `| name(...) | ...` behind `node`; without a pipe before the first where `inline_`. */
sah_jnode *sah_jparse_filters(sah_jparser *p, sah_jnode *node, bool inline_);

#endif
