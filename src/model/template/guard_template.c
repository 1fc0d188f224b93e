#include "model/template/guard_template.h"

#include <stdlib.h>
#include <string.h>

#include "model/template/jinja.h"
#include "util/error.h"
#include "util/strings.h"

/* ---- A string ------------------------------------------------------------------------------------------ */

static sah_status fill_string(const char *string, const char *query, const char *response, sah_text *out,
                              sah_error *error)
{
    static const char ASKED[] = "{query}", ANSWERED[] = "{response}";
    if (strstr(string, ANSWERED) == NULL)
        return sah_fail(error, SAH_BAD_ARGUMENT, "--judge-template \"%s\" holds no {response}", string);
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

#define L    SAH_JINJA_LITERAL
#define NAME SAH_JINJA_NAME
#define TEXT SAH_JINJA_TEXT

/* Two literals around the role's name. */
typedef struct around_role {
    sah_capture before, after;
    bool bos;
} around_role;

/* The output tag that begins with `start` and holds L(text) + role + L(text); its end, or NULL. */
static const char *find_around(const char *spelled, const char *pattern, around_role *out)
{
    const char *at = sah_jinja_find(spelled, pattern, &out->before);
    if (at == NULL) return NULL;
    const char *begin = strchr(out->before.text + out->before.size + 1, '\001'),
               *end = begin != NULL ? strchr(begin, '\002') : NULL;
    if (end == NULL) return NULL;
    out->after = (sah_capture){begin + 1, (size_t)(end - begin - 1)};
    return end;
}

static bool ends_with(const sah_capture *text, const char *end)
{
    size_t n = strlen(end);
    return text->size >= n && memcmp(text->text + text->size - n, end, n) == 0;
}

static void add_trimmed(sah_text *out, const char *text)
{
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\n\r\v\f", *text) != NULL) text++, n--;
    while (n > 0 && strchr(" \t\n\r\v\f", text[n - 1]) != NULL) n--;
    sah_text_add(out, text, n);
}

static bool fill_own(const char *spelled, const char *bos, const char *query, const char *response,
                     sah_text *out)
{
    static const char *const openings[] = {
        "{{" L(TEXT) "+" NAME "+" L(TEXT "<BEGIN CONVERSATION>\n\n") "}}",
        "{{bos_token+" L(TEXT) "+" NAME "+" L(TEXT "<BEGIN CONVERSATION>\n\n") "}}"};
    static const char *const turns[] = {"{{" NAME "+" L(": ") "+" NAME ".strip()+" L("\n\n") "}}",
                                        "{{" NAME "+" L(": ") "+message.content.strip()+" L("\n\n") "}}",
                                        "{{" NAME "+" L(": ") "+" NAME "|trim+" L("\n\n") "}}",
                                        "{{" NAME "+" L(": ") "+message.content|trim+" L("\n\n") "}}"};
    around_role opening = {0}, closing = {0};
    const char *behind = NULL, *turn = NULL;
    for (size_t i = 0; i < 2 && behind == NULL; i++) {
        behind = find_around(spelled, openings[i], &opening);
        opening.bos = i == 1;
    }
    for (size_t i = 0; i < sizeof turns / sizeof *turns && behind != NULL && turn == NULL; i++)
        turn = sah_jinja_find(behind, turns[i], NULL);
    if (turn == NULL ||
        find_around(turn, "{{" L("<END CONVERSATION>" TEXT) "+" NAME "+" L(TEXT) "}}", &closing) == NULL)
        return false;
    /* Where a policy comes in by another way, or the names differ, this is not the form. */
    if (!ends_with(&opening.after, "<BEGIN CONVERSATION>\n\n") ||
        sah_jinja_find(spelled, L("Agent"), NULL) == NULL || sah_jinja_find(spelled, L("User"), NULL) == NULL)
        return false;
    if (opening.bos) sah_text_adds(out, bos);
    sah_text_add(out, opening.before.text, opening.before.size);
    sah_text_adds(out, "Agent");
    sah_text_add(out, opening.after.text, opening.after.size);
    sah_text_adds(out, "User: ");
    add_trimmed(out, query);
    sah_text_adds(out, "\n\nAgent: ");
    add_trimmed(out, response);
    sah_text_adds(out, "\n\n<END CONVERSATION>");
    sah_text_add(out, closing.before.text, closing.before.size);
    sah_text_adds(out, "Agent");
    sah_text_add(out, closing.after.text, closing.after.size);
    return true;
}

sah_status sah_guard_prompt(const char *template_, const char *jinja, const char *bos, const char *query,
                            const char *response, char **prompt, sah_error *error)
{
    sah_text text = {0};
    sah_jinja spelled = {0};
    sah_status status = SAH_OK;
    *prompt = NULL;
    if (template_ != NULL) {
        status = fill_string(template_, query, response, &text, error);
    } else if (jinja == NULL || !sah_jinja_spell(jinja, &spelled) ||
               !fill_own(spelled.text.data, bos, query, response, &text)) {
        status = sah_fail(
            error, SAH_FAILED,
            "the judge's own template is not known as a guard's; give --judge-template \"...{query}..."
            "{response}...\"");
    }
    sah_jinja_free(&spelled);
    if (status == SAH_OK && text.failed) status = sah_fail_memory(error, "a prompt");
    if (status == SAH_OK)
        *prompt = text.data;
    else
        free(text.data);
    return status;
}
