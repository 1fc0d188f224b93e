/* SPDX-License-Identifier: Apache-2.0 */
/* Which variable each name of a template means. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_SCOPE_H
#define SAH_MODEL_TEMPLATE_JINJA_SCOPE_H

#include "model/template/jinja_parse.h"

/* Gives every name its place, when all is read. Jinja decides this before a template runs: a loop, macro,
 * block of `set`, `with`, `filter` or `call` has variables of its own, which begin each time with the values
 * around; `if` has none. False: the error says why. */
bool sah_jinja_find_scopes(sah_jparser *parser);

#endif
