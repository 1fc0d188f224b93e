/* Where a model keeps its chat template: chat_template.jinja, else "chat_template" in tokenizer_config.json
 * (a text, or several with names, of which "default" is meant), or tokenizer.chat_template in GGUF. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/template/chat.h"
#include "util/error.h"
#include "util/json.h"
#include "util/strings.h"

enum { MAX_TEMPLATE = 4 << 20, MAX_CONFIG = 64 << 20 /* bytes */ };

static sah_status copy(const char *text, size_t length, char **out, sah_error *error)
{
    *out = strndup(text, length);
    return *out != NULL ? SAH_OK : sah_fail_memory(error, "the chat template");
}

/* DIR/NAME when that file is there, else NULL in *path. */
static sah_status path_if_there(const char *directory, const char *name, char **path, sah_error *error)
{
    sah_text text = {0};
    sah_text_addf(&text, "%s/%s", directory, name);
    *path = text.data;
    if (text.failed) {
        free(text.data);
        *path = NULL;
        return sah_fail_memory(error, "a path");
    }
    if (access(text.data, F_OK) != 0) {
        free(text.data);
        *path = NULL;
    }
    return SAH_OK;
}

static const char *named_default(const json_t *templates)
{
    size_t i;
    const json_t *item;
    json_array_foreach(templates, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name != NULL && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(item, "template"));
    }
    return NULL;
}

static sah_status from_config(const char *path, char **out, sah_error *error)
{
    json_t *config;
    sah_status status = sah_json_read(path, MAX_CONFIG, &config, error);
    if (status != SAH_OK) return status;
    const json_t *value = json_object_get(config, "chat_template");
    const char *text = json_is_array(value) ? named_default(value) : json_string_value(value);
    if (text != NULL) status = copy(text, strlen(text), out, error);
    json_decref(config);
    return status;
}

sah_status sah_chat_from_directory(const char *directory, char **out, sah_error *error)
{
    char *path;
    size_t size;
    *out = NULL;
    sah_status status = path_if_there(directory, "chat_template.jinja", &path, error);
    if (status != SAH_OK) return status;
    if (path != NULL) {
        status = sah_file_read(path, MAX_TEMPLATE, out, &size, error);
        free(path);
        return status;
    }
    status = path_if_there(directory, "tokenizer_config.json", &path, error);
    if (path != NULL) status = from_config(path, out, error);
    free(path);
    return status;
}

sah_status sah_chat_from_gguf(const sah_gguf *gguf, char **out, sah_error *error)
{
    const char *text;
    size_t length;
    *out = NULL;
    sah_status status = sah_gguf_string(gguf, "tokenizer.chat_template", &text, &length, error);
    return status == SAH_OK && text != NULL ? copy(text, length, out, error) : status;
}
