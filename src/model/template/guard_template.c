/* SPDX-License-Identifier: Apache-2.0 */
#include "model/template/guard_template.h"

#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/strings.h"

/* ---- A string ------------------------------------------------------------------------------------------ */

static sah_status fill_string(const char *string, const char *query, const char *response, sah_text *out,
                              sah_error *error)
{
    static const char ASKED[] = "{query}", ANSWERED[] = "{response}";
    if (strstr(string, ANSWERED) == NULL)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "guard.template_", " \"%s\": holds no {response}",
                              string);
    for (const char *at = string; *at != '\0';) {
        if (strncmp(at, ASKED, sizeof ASKED - 1) == 0) {
            sah_text_adds(out, query);
            at += sizeof ASKED - 1;
        } else if (strncmp(at, ANSWERED, sizeof ANSWERED - 1) == 0) {
            sah_text_adds(out, response);
            at += sizeof ANSWERED - 1;
        } else if (at[0] == '\\' && (at[1] == 'n' || at[1] == 't' || at[1] == '\\')) {
            sah_text_adds(out, at[1] == 'n' ? "\n" : at[1] == 't' ? "\t" : "\\");
            at += 2;
        } else {
            sah_text_add(out, at++, 1);
        }
    }
    return SAH_OK;
}

/* ---- A model's own template ---------------------------------------------------------------------------- */

/* A guard's template holds its policy, which says how to answer; that of a model that only talks does not. */
static sah_status fill_own(const sah_template *own, const char *query, const char *response, char **prompt,
                           sah_error *error)
{
    const sah_message exchange[] = {{"user", query}, {"assistant", response}};
    const sah_message sample[] = {{"user", "A query"}, {"assistant", "A response"}};
    char *policy = NULL;
    sah_status status = sah_template_converse(own, sample, 2, true, &policy, error);
    if (status == SAH_OK && strstr(policy, "unsafe") == NULL)
        status = sah_fail(error, SAH_FAILED,
                          "the judge's own template is not a guard's: it does not ask for \"unsafe\"");
    free(policy);
    return status == SAH_OK ? sah_template_converse(own, exchange, 2, true, prompt, error) : status;
}

sah_status sah_guard_prompt(const char *string, const sah_template *own, const char *query,
                            const char *response, char **prompt, sah_error *error)
{
    sah_text text = {0};
    *prompt = NULL;
    if (string == NULL) {
        sah_status status = fill_own(own, query, response, prompt, error);
        if (status != SAH_OK && error != NULL)
            sah_fail_field(error, status, "guard.template_",
                           ": %.800s; give one that says \"...{query}...{response}...\"", error->message);
        return status;
    }
    sah_status status = fill_string(string, query, response, &text, error);
    if (status == SAH_OK && text.failed) status = sah_fail_memory(error, "a prompt");
    if (status == SAH_OK)
        *prompt = text.data;
    else
        free(text.data);
    return status;
}
