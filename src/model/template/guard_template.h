/* SPDX-License-Identifier: Apache-2.0 */
/* What a guard model is asked: its policy, a conversation of one query and one response, and what to answer.
 */
#ifndef SAH_MODEL_TEMPLATE_GUARD_TEMPLATE_H
#define SAH_MODEL_TEMPLATE_GUARD_TEMPLATE_H

#include "model/template/template.h"

/* `string`: with {query} and {response} in it, \n, \t and \\ are read; NULL: `own` is rendered with the query
 * as the user's turn and the response as the assistant's, where that makes a guard's prompt: one that tells
 * how to answer, "safe" or "unsafe". *prompt for free(). */
sah_status sah_guard_prompt(const char *string, const sah_template *own, const char *query,
                            const char *response, char **prompt, sah_error *error);

#endif
