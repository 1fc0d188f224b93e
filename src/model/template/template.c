#include "model/template/template.h"

#include <stdlib.h>
#include <string.h>

#include "model/tokenizer/pretokenize.h"
#include "model/template/template_shape.h"
#include "util/error.h"
#include "util/utf8.h"

/* The two templates of the method, around the query only. */
static const struct {
    const char *name, *text;
} bare[] = {
    {"ships", "## Query:{} \n## Answer:"},
    {"sahara", "## Query:{}\n## Answer:"},
    {"none", "{}"},
};

const char *sah_template_recognise(const char *jinja)
{
    sah_shape shape;
    if (jinja == NULL) return "none";
    if (!sah_shape_recognise(jinja, &shape)) return "unknown";
    const char *family = shape.family;
    sah_shape_free(&shape);
    return family;
}

/* ---- Strings with {} ----------------------------------------------------------------------------------- */

static const char *bare_text(const char *name)
{
    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++) {
        if (strcmp(bare[i].name, name) == 0) return bare[i].text;
    }
    return NULL;
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
            "template \"%s\" is no name (ships, sahara, none, chat, %s) and holds no {} for the query",
            string, sah_shape_names());
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

/* ---- Chat families ------------------------------------------------------------------------------------- */

/* White space as Python's str.strip() has it. */
static bool is_stripped(uint32_t code)
{
    return sah_is_white_space(code) || (code >= 0x1C && code <= 0x1F);
}

static void add_trimmed(sah_text *out, const char *text, bool left, bool right)
{
    const size_t size = strlen(text);
    size_t begin = size, end = 0, length;
    for (size_t at = 0; at < size; at += length) {
        if (is_stripped(sah_utf8_next(text + at, size - at, &length))) continue;
        if (begin == size) begin = at;
        end = at + length;
    }
    if (!left) begin = 0;
    if (!right) end = size;
    if (begin < end) sah_text_add(out, text + begin, end - begin);
}

static sah_status wrap_shape(const sah_shape *shape, const char *bos, const char *system, const char *query,
                             sah_text *out, sah_error *error)
{
    if (system != NULL && !shape->takes_system) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "this model's chat template (%s) has no place for a system prompt", shape->family);
    }
    if (system == NULL) system = shape->default_system;
    if (system != NULL && system[0] == '\0' && shape->skips_empty_system) system = NULL;
    if (shape->writes_bos) sah_text_adds(out, bos);
    sah_text_adds(out, shape->opening);
    if (system != NULL) {
        sah_text_adds(out, shape->system_open);
        add_trimmed(out, system, shape->trims_inside, shape->trims_inside);
        sah_text_adds(out, shape->system_close);
    }
    sah_text_adds(out, shape->user_open);
    add_trimmed(out, query, shape->trims && (system == NULL || shape->trims_inside), shape->trims);
    sah_text_adds(out, shape->user_close);
    return SAH_OK;
}

/* `chat`, or a family's name: then the model's own template counts where it is of that family. */
static sah_status wrap_chat(const char *name, const char *jinja, const char *bos, const char *system,
                            const char *query, sah_text *out, sah_error *error)
{
    const bool chat = strcmp(name, "chat") == 0;
    sah_shape own = {0};
    const bool known = jinja != NULL && sah_shape_recognise(jinja, &own);
    sah_status status;
    if (chat && jinja == NULL) {
        status =
            sah_fail(error, SAH_FAILED, "the model has no chat template; name one (%s)", sah_shape_names());
    } else if (chat && !known) {
        status = sah_fail(error, SAH_FAILED, "the model's chat template is of no known family; name one (%s)",
                          sah_shape_names());
    } else {
        const bool own_counts = chat || (known && strcmp(own.family, name) == 0);
        status = wrap_shape(own_counts ? &own : sah_shape_named(name), bos, system, query, out, error);
    }
    sah_shape_free(&own);
    return status;
}

sah_status sah_template_wrap(const char *name, const char *jinja, const char *bos, const char *system,
                             const char *query, char **prompt, sah_error *error)
{
    sah_text out = {0};
    sah_status status;
    const char *text = bare_text(name);
    *prompt = NULL;
    sah_text_adds(&out, ""); /* an empty prompt is a text too */
    if (strcmp(name, "chat") == 0 || sah_shape_named(name) != NULL) {
        status = wrap_chat(name, jinja, bos, system, query, &out, error);
    } else {
        status = wrap_string(text != NULL ? text : name, text == NULL, query, &out, error);
        if (status == SAH_OK && system != NULL)
            status =
                sah_fail(error, SAH_BAD_ARGUMENT, "template \"%s\" has no place for a system prompt", name);
    }
    if (status == SAH_OK && out.failed) status = sah_fail_memory(error, "a prompt");
    if (status != SAH_OK) {
        free(out.data);
        return status;
    }
    *prompt = out.data;
    return SAH_OK;
}
