/* What a guard model is asked: its policy, a conversation of one query and one response, and what to answer.
 */
#ifndef SAH_MODEL_TEMPLATE_GUARD_TEMPLATE_H
#define SAH_MODEL_TEMPLATE_GUARD_TEMPLATE_H

#include "sahara.h"

/* `template_`: a string with {query} and {response}, in which \n, \t and \\ are read; NULL: the model's own
 * template `jinja` (or NULL), when that has the form of Llama Guard's: an opening that names the role judged
 * and ends in the policy, a turn "User: ...", a turn "Agent: ...", and a closing that names the role again.
 * BOS is written where the template writes it. *prompt for free(). */
sah_status sah_guard_prompt(const char *template_, const char *jinja, const char *bos, const char *query,
                            const char *response, char **prompt, sah_error *error);

#endif
