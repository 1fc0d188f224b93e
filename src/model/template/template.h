/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts from queries and conversations: the bare templates of the method, strings with {}, a model's own
 * chat template, and those of well-known families. */
#ifndef SAH_MODEL_TEMPLATE_TEMPLATE_H
#define SAH_MODEL_TEMPLATE_TEMPLATE_H

#include <time.h>

#include "model/template/chat.h"

/* What a user sets for chat templates. {0}: no variables, the day is 26 July 2024. */
typedef struct sah_template_settings {
    json_t *variables; /* an object, or NULL */
    char date[12]; /* "2024-07-26"; "": not set */
} sah_template_settings;

/* `variables`: "NAME=VALUE", VALUE as JSON or, where it is none, as a text. `date`: "YYYY-MM-DD", "today", or
 * NULL. SAH_BAD_ARGUMENT where they make no sense. sah_template_settings_free() in either case. */
sah_status sah_template_settings_new(const char *const *variables, size_t n, const char *date,
                                     sah_template_settings *out, sah_error *error);
void sah_template_settings_free(sah_template_settings *settings);

/* What a template is called by name (see sah_prompt_wrap) and filled from. `chat` and `settings` may be
 * NULL. */
typedef struct sah_template {
    const char *name;
    const sah_chat *chat;
    const sah_template_settings *settings;
} sah_template;

/* Whether it is a chat template, which writes its special tokens itself. */
bool sah_template_is_chat(const char *name);

/* *prompt for free(). */
sah_status sah_template_wrap(const sah_template *template_, const char *system, const char *query,
                             char **prompt, sah_error *error);
/* A whole conversation, which must be a chat template's. `answer`: with what begins the model's answer. */
sah_status sah_template_converse(const sah_template *template_, const sah_message *messages, size_t n,
                                 bool answer, char **prompt, sah_error *error);

/* Adds to the settings in a result's header what changes prompts and is not the template's name:
 * "template_vars" where some are set, "template_date" where the template asks for the day. False: no
 * memory. */
bool sah_template_note(const sah_template *template_, json_t *settings);

/* "none"; the name of the family whose prompts are the same; "own"; "unsupported". */
sah_status sah_template_recognise(const sah_chat *chat, const char **name, sah_error *error);

#endif
