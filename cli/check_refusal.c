/* SPDX-License-Identifier: Apache-2.0 */
/* --check-refusal: a word of warning where scores of "safety heads" mean little. */
#include <string.h>

#include "check_refusal.h"

/* The bare templates are no conversation: an aligned model need not refuse there. */
static bool is_chat(const char *template_)
{
    return strstr(template_, "{}") == NULL && strcmp(template_, "ships") != 0 &&
           strcmp(template_, "sahara") != 0 && strcmp(template_, "none") != 0;
}

sah_status check_refusal(const cli_options *o, const sah_model *model, const sah_strings *queries,
                         const char *default_template, sah_refusal_check *out, sah_error *error)
{
    const char *template_ = o->template_ != NULL ? o->template_ : default_template;
    bool asked = o->given[OPT_CHECK_REFUSAL] ? o->check_refusal : is_chat(template_);
    *out = (sah_refusal_check){0};
    if (!asked) return SAH_OK;
    sah_status status = sah_check_refusal(model, queries, template_, o->system, 0, out, error);
    if (status != SAH_OK || o->quiet) return status;
    if (out->thinking > 0)
        fprintf(stderr,
                "warning: %zu of %zu sampled responses are still thinking after a few tokens: whether they "
                "refuse is not known. Turn thinking off where the template allows it (--template-var "
                "enable_thinking=false)\n",
                out->thinking, out->sampled);
    else if (2 * out->refused < out->sampled)
        fprintf(stderr,
                "warning: %zu of %zu sampled queries are refused: what this model does without a head says "
                "little "
                "about safety\n",
                out->refused, out->sampled);
    return status;
}
