/* SPDX-License-Identifier: Apache-2.0 */
#include "model/template/template.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/template/template_families.h"
#include "util/error.h"
#include "util/utf8.h"

/* ---- Settings ------------------------------------------------------------------------------------------ */

/* The day that Llama 3.1's template falls back to. */
#define DEFAULT_DATE "2024-07-26"

static bool read_date(const char *text, struct tm *out)
{
    int end = 0;
    *out = (struct tm){0};
    if (sscanf(text, "%4d-%2d-%2d%n", &out->tm_year, &out->tm_mon, &out->tm_mday, &end) != 3 || end != 10 ||
        text[end] != '\0')
        return false;
    const struct tm asked = *out;
    out->tm_year -= 1900;
    out->tm_mon -= 1;
    out->tm_hour = 12; /* noon exists in every time zone */
    out->tm_isdst = -1;
    if (mktime(out) == (time_t)-1) return false;
    const bool exists = out->tm_mon + 1 == asked.tm_mon && out->tm_mday == asked.tm_mday;
    out->tm_hour = 0;
    return exists;
}

static sah_status set_date(const char *date, sah_template_settings *out, sah_error *error)
{
    struct tm day;
    if (strcmp(date, "today") == 0) {
        const time_t now = time(NULL);
        if (localtime_r(&now, &day) == NULL || strftime(out->date, sizeof out->date, "%Y-%m-%d", &day) == 0)
            return sah_fail(error, SAH_FAILED, "the system cannot tell today's date");
        return SAH_OK;
    }
    if (!read_date(date, &day))
        return sah_fail(error, SAH_BAD_ARGUMENT, "template date \"%s\": expected YYYY-MM-DD or today", date);
    memcpy(out->date, date, strlen(date) + 1);
    return SAH_OK;
}

static sah_status set_variable(const char *text, sah_template_settings *out, sah_error *error)
{
    json_error_t at;
    const char *equals = strchr(text, '=');
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || text[n] == '_') n++;
    if (equals != text + n || n == 0 || isdigit((unsigned char)text[0]))
        return sah_fail(error, SAH_BAD_ARGUMENT, "template variable \"%s\": expected NAME=VALUE", text);
    if (n == 8 && memcmp(text, "messages", 8) == 0)
        return sah_fail(error, SAH_BAD_ARGUMENT, "template variable \"messages\": it is the conversation");
    json_t *value = json_loadb(equals + 1, strlen(equals + 1),
                               JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at);
    if (value == NULL && strchr("[{\"", equals[1]) != NULL && equals[1] != '\0')
        return sah_fail(error, SAH_BAD_ARGUMENT, "template variable \"%.*s\" is not JSON: %s", (int)n, text,
                        at.text);
    if (value == NULL) value = json_string(equals + 1);
    if (value == NULL)
        return sah_utf8_valid(equals + 1, strlen(equals + 1))
                   ? sah_fail_memory(error, "a template variable")
                   : sah_fail(error, SAH_BAD_ARGUMENT, "template variable \"%.*s\" is not UTF-8", (int)n,
                              text);
    if (json_object_setn_new(out->variables, text, n, value) == 0) return SAH_OK;
    return sah_fail_memory(error, "a template variable");
}

sah_status sah_template_settings_new(const char *const *variables, size_t n, const char *date,
                                     sah_template_settings *out, sah_error *error)
{
    sah_status status = SAH_OK;
    *out = (sah_template_settings){0};
    if (n > 0) out->variables = json_object();
    if (n > 0 && out->variables == NULL) return sah_fail_memory(error, "the template variables");
    for (size_t i = 0; i < n && status == SAH_OK; i++) status = set_variable(variables[i], out, error);
    return status == SAH_OK && date != NULL ? set_date(date, out, error) : status;
}

void sah_template_settings_free(sah_template_settings *settings)
{
    json_decref(settings->variables);
    *settings = (sah_template_settings){0};
}

/* ---- Bare templates and strings ------------------------------------------------------------------------ */

/* The two templates of the method, around the query only. */
static const struct {
    const char *name, *text;
} bare[] = {
    {"ships", "## Query:{} \n## Answer:"},
    {"sahara", "## Query:{}\n## Answer:"},
    {"none", "{}"},
    {"tokens", "{}"}, /* of which sah_prompt_encode() makes other ids */
};

static const char *bare_text(const char *name)
{
    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++) {
        if (strcmp(bare[i].name, name) == 0) return bare[i].text;
    }
    return NULL;
}

bool sah_template_is_chat(const char *name)
{
    return strcmp(name, "chat") == 0 || sah_family_named(name) != NULL;
}

/* `text` with its escapes \n, \t and \\ read. Any other backslash stands for itself. */
static void add_unescaped(sah_text *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const char next = text[i] == '\\' && i + 1 < size ? text[i + 1] : '\0';
        const char c = next == 'n' ? '\n' : next == 't' ? '\t' : text[i];
        if (next == 'n' || next == 't' || next == '\\') i++;
        sah_text_add(out, &c, 1);
    }
}

static sah_status wrap_string(const char *string, bool escapes, const char *query, sah_text *out,
                              sah_error *error)
{
    const char *place = strstr(string, "{}");
    if (place == NULL) {
        return sah_fail(
            error, SAH_BAD_ARGUMENT,
            "template \"%s\" is not a known name (ships, sahara, none, tokens, chat, %s) and holds no {} "
            "for the query",
            string, sah_family_names());
    }
    if (strstr(place + 2, "{}") != NULL)
        return sah_fail(error, SAH_BAD_ARGUMENT, "template \"%s\" holds more than one {}", string);
    if (escapes) {
        add_unescaped(out, string, (size_t)(place - string));
        sah_text_adds(out, query);
        add_unescaped(out, place + 2, strlen(place + 2));
    } else {
        sah_text_add(out, string, (size_t)(place - string));
        sah_text_adds(out, query);
        sah_text_adds(out, place + 2);
    }
    return SAH_OK;
}

/* ---- Chat templates ------------------------------------------------------------------------------------ */

/* The template that a name means; *owned is to be freed. */
static sah_status find_jinja(const sah_template *t, const sah_jinja **out, sah_jinja **owned,
                             sah_error *error)
{
    const sah_family *family = sah_family_named(t->name);
    *owned = NULL;
    if (family != NULL) {
        sah_status status = sah_jinja_new(family->jinja, strlen(family->jinja), owned, error);
        *out = *owned;
        return status;
    }
    if (strcmp(t->name, "chat") != 0)
        return sah_fail(error, SAH_BAD_ARGUMENT, "template \"%s\" takes no conversation", t->name);
    if (t->chat == NULL || !t->chat->present)
        return sah_fail(error, SAH_FAILED, "the model has no chat template; name one (%s)",
                        sah_family_names());
    *out = t->chat->jinja;
    if (*out != NULL) return SAH_OK;
    return sah_fail(error, SAH_NOT_SUPPORTED, "the model's chat template cannot be used: %s; name one (%s)",
                    t->chat->problem, sah_family_names());
}

static sah_status check_variables(const sah_template *t, const sah_jinja *jinja, sah_error *error)
{
    const char *name;
    json_t *value;
    if (t->settings == NULL) return SAH_OK;
    json_object_foreach(t->settings->variables, name, value)
    {
        if (jinja == NULL)
            return sah_fail(error, SAH_BAD_ARGUMENT, "template \"%s\" takes no variables (\"%s\")", t->name,
                            name);
        if (!sah_jinja_names(jinja, name))
            return sah_fail(error, SAH_BAD_ARGUMENT, "the chat template has no variable \"%s\"", name);
    }
    return SAH_OK;
}

/* A copy in which what is not UTF-8 became U+FFFD. */
static json_t *json_text(const char *text)
{
    size_t size;
    char *repaired = sah_utf8_repair(text, strlen(text), &size);
    json_t *json = repaired != NULL ? json_stringn_nocheck(repaired, size) : NULL;
    free(repaired);
    return json;
}

static json_t *make_messages(const sah_message *messages, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n && list != NULL; i++) {
        json_t *message = json_pack("{s:o, s:o}", "role", json_text(messages[i].role), "content",
                                    json_text(messages[i].content));
        if (message != NULL && json_array_append_new(list, message) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static sah_jinja_end render(const sah_template *t, const sah_jinja *jinja, const sah_message *messages,
                            size_t n, bool answer, sah_text *out, sah_error *error)
{
    struct tm day;
    const sah_template_settings none = {0}, *settings = t->settings != NULL ? t->settings : &none;
    json_t *conversation = make_messages(messages, n);
    json_t *given = json_pack("{s:o*, s:b, s:n, s:n}", "messages", conversation, "add_generation_prompt",
                              (int)answer, "tools", "documents");
    const json_t *variables[3];
    size_t n_variables = 0;
    if (conversation == NULL || given == NULL) {
        json_decref(given);
        sah_fail_memory(error, "a prompt");
        return SAH_JINJA_WRONG;
    }
    if (t->chat != NULL && t->chat->tokens != NULL) variables[n_variables++] = t->chat->tokens;
    variables[n_variables++] = given;
    if (settings->variables != NULL) variables[n_variables++] = settings->variables;
    read_date(settings->date[0] != '\0' ? settings->date : DEFAULT_DATE, &day);
    sah_jinja_end end = sah_jinja_render(jinja, variables, n_variables, &day, out, error);
    json_decref(given);
    if (end == SAH_JINJA_DONE && out->size > 0 && memchr(out->data, '\0', out->size) != NULL) {
        sah_fail(error, SAH_FAILED, "it writes U+0000, which a prompt cannot hold");
        end = SAH_JINJA_WRONG;
    }
    return end;
}

static sah_status explain(sah_jinja_end end, sah_error *error)
{
    char message[sizeof error->message];
    if (end == SAH_JINJA_DONE) return SAH_OK;
    if (error == NULL) return SAH_FAILED;
    if (error->status == SAH_OUT_OF_MEMORY) return error->status;
    snprintf(message, sizeof message, "%s", error->message);
    if (end == SAH_JINJA_RAISED)
        return sah_fail(error, SAH_FAILED, "the chat template refuses the conversation: \"%.900s\"", message);
    return sah_fail(error, SAH_FAILED, "the chat template cannot be rendered: %.900s", message);
}

static sah_status take(sah_text *text, sah_status status, char **prompt, sah_error *error)
{
    sah_text_adds(text, ""); /* an empty prompt is a text too */
    if (status == SAH_OK && text->failed) status = sah_fail_memory(error, "a prompt");
    if (status == SAH_OK)
        *prompt = text->data;
    else
        free(text->data);
    return status;
}

sah_status sah_template_converse(const sah_template *t, const sah_message *messages, size_t n, bool answer,
                                 char **prompt, sah_error *error)
{
    const sah_jinja *jinja = NULL;
    sah_jinja *owned;
    sah_text out = {0};
    *prompt = NULL;
    sah_status status = find_jinja(t, &jinja, &owned, error);
    if (status == SAH_OK) status = check_variables(t, jinja, error);
    if (status == SAH_OK) status = explain(render(t, jinja, messages, n, answer, &out, error), error);
    sah_jinja_free(owned);
    return take(&out, status, prompt, error);
}

/* ---- A query and a system prompt ----------------------------------------------------------------------- */

/* The template raised or failed on a system prompt: does it take none? */
static sah_status explain_system(const sah_template *t, const sah_jinja *jinja, const char *query,
                                 sah_jinja_end end, sah_error *error)
{
    sah_text out = {0};
    sah_error why = {0};
    const sah_message alone = {"user", query};
    const bool other =
        end == SAH_JINJA_RAISED && render(t, jinja, &alone, 1, true, &out, &why) == SAH_JINJA_DONE;
    free(out.data);
    if (why.status == SAH_OUT_OF_MEMORY) return sah_fail_memory(error, "a prompt");
    if (!other || error == NULL) return explain(end, error);
    snprintf(why.message, sizeof why.message, "%s", error->message);
    return sah_fail(error, SAH_BAD_ARGUMENT, "the chat template takes no system prompt: \"%.900s\"",
                    why.message);
}

/* A system prompt that is not in the text may have been changed or left out: another one shows which. */
static sah_status check_system(const sah_template *t, const sah_jinja *jinja, const char *system,
                               const char *query, const sah_text *with, sah_error *error)
{
    sah_text other = {0};
    sah_error why = {0};
    const sah_message changed[] = {{"system", "A system prompt that nobody has given."}, {"user", query}};
    if (strstr(with->data != NULL ? with->data : "", system) != NULL) return SAH_OK;
    const bool same = render(t, jinja, changed, 2, true, &other, &why) == SAH_JINJA_DONE &&
                      other.size == with->size &&
                      (other.size == 0 || memcmp(other.data, with->data, other.size) == 0);
    free(other.data);
    if (why.status == SAH_OUT_OF_MEMORY) return sah_fail_memory(error, "a prompt");
    if (!same) return SAH_OK;
    return sah_fail(error, SAH_BAD_ARGUMENT, "the chat template has no place for a system prompt");
}

static sah_status wrap_chat(const sah_template *t, const char *system, const char *query, sah_text *out,
                            sah_error *error)
{
    const sah_jinja *jinja = NULL;
    sah_jinja *owned;
    const sah_message messages[] = {{"system", system}, {"user", query}};
    const size_t first = system == NULL;
    sah_status status = find_jinja(t, &jinja, &owned, error);
    if (status == SAH_OK) status = check_variables(t, jinja, error);
    if (status == SAH_OK) {
        const sah_jinja_end end = render(t, jinja, messages + first, 2 - first, true, out, error);
        if (system == NULL)
            status = explain(end, error);
        else if (end != SAH_JINJA_DONE)
            status = explain_system(t, jinja, query, end, error);
        else
            status = check_system(t, jinja, system, query, out, error);
    }
    sah_jinja_free(owned);
    return status;
}

sah_status sah_template_wrap(const sah_template *t, const char *system, const char *query, char **prompt,
                             sah_error *error)
{
    sah_text out = {0};
    sah_status status;
    const char *text = bare_text(t->name);
    *prompt = NULL;
    if (sah_template_is_chat(t->name)) {
        status = wrap_chat(t, system, query, &out, error);
    } else {
        status = wrap_string(text != NULL ? text : t->name, text == NULL, query, &out, error);
        if (status == SAH_OK && system != NULL)
            status = sah_fail(error, SAH_BAD_ARGUMENT, "template \"%s\" has no place for a system prompt",
                              t->name);
        if (status == SAH_OK) status = check_variables(t, NULL, error);
    }
    return take(&out, status, prompt, error);
}

/* ---- What results and people are told ------------------------------------------------------------------ */

bool sah_template_note(const sah_template *t, json_t *settings)
{
    const sah_family *family = sah_family_named(t->name);
    const bool own = strcmp(t->name, "chat") == 0 && t->chat != NULL && t->chat->jinja != NULL;
    const bool dated = family != NULL ? strstr(family->jinja, "strftime_now") != NULL
                                      : own && sah_jinja_names(t->chat->jinja, "strftime_now");
    const char *date = t->settings != NULL && t->settings->date[0] != '\0' ? t->settings->date : DEFAULT_DATE;
    bool good = settings != NULL;
    if (good && t->settings != NULL && json_object_size(t->settings->variables) > 0)
        good = json_object_set(settings, "template_vars", t->settings->variables) == 0;
    if (good && dated) good = json_object_set_new(settings, "template_date", json_string(date)) == 0;
    return good;
}

/* The prompt that a template makes of a query, or NULL where it makes none. */
static sah_status sample(const char *name, const sah_chat *chat, const char *system, char **prompt,
                         sah_error *error)
{
    sah_error why = {0};
    *prompt = NULL;
    sah_status status = sah_template_wrap(&(sah_template){name, chat, NULL}, system, "A query", prompt, &why);
    return status == SAH_OUT_OF_MEMORY ? sah_fail_memory(error, "a prompt") : SAH_OK;
}

/* Prompts are compared behind a system prompt where the model takes one: defaults of system prompts differ. */
sah_status sah_template_recognise(const sah_chat *chat, const char **name, sah_error *error)
{
    const char *system = "A system prompt";
    char *own = NULL;
    *name = !chat->present ? "none" : chat->jinja == NULL ? "unsupported" : "own";
    if (!chat->present || chat->jinja == NULL) return SAH_OK;
    sah_status status = sample("chat", chat, system, &own, error);
    if (status == SAH_OK && own == NULL) {
        system = NULL;
        status = sample("chat", chat, NULL, &own, error);
    }
    for (size_t i = 0; i < sah_n_families && status == SAH_OK && own != NULL; i++) {
        char *prompt;
        status = sample(sah_families[i].name, chat, system, &prompt, error);
        const bool same = prompt != NULL && strcmp(prompt, own) == 0;
        free(prompt);
        if (!same) continue;
        *name = sah_families[i].name;
        break;
    }
    free(own);
    return status;
}
