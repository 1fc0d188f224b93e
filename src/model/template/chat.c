/* SPDX-License-Identifier: Apache-2.0 */
/* Where a model keeps its chat template: chat_template.jinja, else "chat_template" in tokenizer_config.json
 * (a text, or several with names, of which "default" is meant), or tokenizer.chat_template in GGUF. And which
 * special tokens it may name: as transformers 5 finds them, or those that GGUF names by id. */
#include "model/template/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/filekind.h"
#include "util/json.h"
#include "util/strings.h"
#include "util/utf8.h"
#include "util/wholefile.h"

enum { MAX_TEMPLATE = 4 << 20, MAX_CONFIG = 64 << 20 /* bytes */ };

static sah_status out_of_memory(sah_error *error)
{
    return sah_fail_memory(error, "the chat template");
}

/* ---- The template -------------------------------------------------------------------------------------- */

static sah_status set_problem(sah_chat *chat, const char *problem, sah_error *error)
{
    chat->present = true;
    chat->problem = strdup(problem);
    return chat->problem != NULL ? SAH_OK : out_of_memory(error);
}

sah_status sah_chat_set(sah_chat *chat, const char *source, size_t size, sah_error *error)
{
    sah_error why = {0};
    chat->present = true;
    const sah_status status = sah_jinja_new(source, size, &chat->jinja, &why);
    if (status == SAH_OK) return SAH_OK;
    if (status == SAH_OUT_OF_MEMORY) return out_of_memory(error);
    return set_problem(chat, why.message, error);
}

/* The text that is meant where several have names. */
static const json_t *named_default(const json_t *templates)
{
    size_t i;
    const json_t *item;
    if (json_is_object(templates)) return json_object_get(templates, "default");
    json_array_foreach(templates, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name != NULL && strcmp(name, "default") == 0) return json_object_get(item, "template");
    }
    return NULL;
}

static sah_status set_from_config(sah_chat *chat, const json_t *config, sah_error *error)
{
    const json_t *value = json_object_get(config, "chat_template");
    if (value == NULL || json_is_null(value)) return SAH_OK;
    const json_t *text = json_is_string(value) ? value : named_default(value);
    if (!json_is_string(text))
        return set_problem(chat, "there are several templates, and none is called \"default\"", error);
    return sah_chat_set(chat, json_string_value(text), json_string_length(text), error);
}

void sah_chat_free(sah_chat *chat)
{
    sah_jinja_free(chat->jinja);
    json_decref(chat->tokens);
    free(chat->problem);
    *chat = (sah_chat){0};
}

/* ---- Special tokens of a directory --------------------------------------------------------------------- */

/* What a tokenizer class of transformers 5 takes where its config does not name a token. */
static const struct {
    const char *class, *name, *token;
} class_tokens[] = {
    {"Qwen2", "eos_token", "<|endoftext|>"},   {"Qwen2", "unk_token", "<|endoftext|>"},
    {"Qwen2", "pad_token", "<|endoftext|>"},   {"GPT2", "bos_token", "<|endoftext|>"},
    {"GPT2", "eos_token", "<|endoftext|>"},    {"GPT2", "unk_token", "<|endoftext|>"},
    {"GPTNeoX", "bos_token", "<|endoftext|>"}, {"GPTNeoX", "eos_token", "<|endoftext|>"},
    {"GPTNeoX", "unk_token", "<|endoftext|>"}, {"GPTNeoX", "pad_token", "<|padding|>"},
    {"CodeLlama", "bos_token", "<s>"},         {"CodeLlama", "eos_token", "</s>"},
    {"CodeLlama", "unk_token", "<unk>"},       {"Gemma", "bos_token", "<bos>"},
    {"Gemma", "eos_token", "<eos>"},           {"Gemma", "unk_token", "<unk>"},
    {"Gemma", "pad_token", "<pad>"},           {"Gemma", "mask_token", "<mask>"},
    {"Cohere", "bos_token", "<BOS_TOKEN>"},    {"Cohere", "eos_token", "<|END_OF_TURN_TOKEN|>"},
    {"Cohere", "unk_token", "<UNK>"},          {"Cohere", "sep_token", "<SEP>"},
    {"Cohere", "pad_token", "<PAD>"},          {"Cohere", "cls_token", "<CLS>"},
    {"Cohere", "mask_token", "<MASK_TOKEN>"},
};

/* "Qwen2" of "Qwen2TokenizerFast". transformers overrides what some families' files say. */
static void class_of(const json_t *config, const char *model_type, char out[64])
{
    const char *name = json_string_value(json_object_get(config, "tokenizer_class"));
    if (model_type != NULL &&
        (strcmp(model_type, "qwen2") == 0 || (name == NULL && strncmp(model_type, "qwen", 4) == 0)))
        name = "Qwen2Tokenizer";
    if (name == NULL || (model_type != NULL && strcmp(model_type, "mistral") == 0)) name = "";
    snprintf(out, 64, "%s", name);
    char *end = strstr(out, "Tokenizer");
    if (end != NULL) *end = '\0';
}

/* A token's text: a string, or an object with "content". */
static const char *token_text(const json_t *value)
{
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

static bool is_token_name(const char *key)
{
    const size_t n = strlen(key);
    return n > 6 && strcmp(key + n - 6, "_token") == 0 && strncmp(key, "add_", 4) != 0;
}

/* Adds the tokens that `names` names; null takes one away. */
static bool add_tokens(json_t *tokens, const json_t *names)
{
    const char *key;
    json_t *value;
    bool good = true;
    json_object_foreach((json_t *)names, key, value)
    {
        const char *text = is_token_name(key) ? token_text(value) : NULL;
        if (text != NULL)
            good = good && json_object_set_new(tokens, key, json_string(text)) == 0;
        else if (is_token_name(key) && json_is_null(value))
            json_object_del(tokens, key);
    }
    return good;
}

static sah_status find_tokens(sah_chat *chat, const json_t *config, const json_t *map, const char *model_type,
                              sah_error *error)
{
    char class[64];
    class_of(config, model_type, class);
    chat->tokens = json_object();
    bool good = chat->tokens != NULL;
    for (size_t i = 0; i < sizeof class_tokens / sizeof *class_tokens && good; i++) {
        if (strcmp(class_tokens[i].class, class) == 0)
            good = json_object_set_new(chat->tokens, class_tokens[i].name,
                                       json_string(class_tokens[i].token)) == 0;
    }
    const json_t *more = json_object_get(config, "extra_special_tokens");
    good =
        good && add_tokens(chat->tokens, config) && (!json_is_object(more) || add_tokens(chat->tokens, more));
    /* special_tokens_map.json counts only for tokenizers saved without their added tokens. */
    if (good && map != NULL && json_object_get(config, "added_tokens_decoder") == NULL)
        good = add_tokens(chat->tokens, map);
    return good ? SAH_OK : out_of_memory(error);
}

/* ---- A directory --------------------------------------------------------------------------------------- */

/* DIR/NAME for free(), or NULL when no such file is there. */
static sah_status path_if_there(const char *directory, const char *name, char **path, sah_error *error)
{
    sah_text text = {0};
    sah_text_addf(&text, "%s/%s", directory, name);
    *path = text.data;
    if (!text.failed && access(text.data, F_OK) == 0) return SAH_OK;
    free(text.data);
    *path = NULL;
    return text.failed ? sah_fail_memory(error, "a path") : SAH_OK;
}

/* NULL where the file is not there. */
static sah_status read_if_there(const char *directory, const char *name, json_t **out, sah_error *error)
{
    char *path;
    *out = NULL;
    sah_status status = path_if_there(directory, name, &path, error);
    if (status == SAH_OK && path != NULL) status = sah_json_read_object(path, MAX_CONFIG, out, error);
    free(path);
    return status;
}

sah_status sah_chat_from_directory(const char *directory, sah_chat *out, sah_error *error)
{
    json_t *config = NULL, *map = NULL, *model = NULL;
    char *path = NULL, *text = NULL;
    size_t size;
    *out = (sah_chat){0};
    sah_status status = read_if_there(directory, "tokenizer_config.json", &config, error);
    if (status == SAH_OK) status = read_if_there(directory, "special_tokens_map.json", &map, error);
    if (status == SAH_OK) status = read_if_there(directory, "config.json", &model, error);
    if (status == SAH_OK)
        status =
            find_tokens(out, config, map, json_string_value(json_object_get(model, "model_type")), error);
    if (status == SAH_OK) status = path_if_there(directory, "chat_template.jinja", &path, error);
    if (status == SAH_OK && path != NULL) {
        sah_error why = {0};
        status = sah_file_read(path, MAX_TEMPLATE, &text, &size, error);
        if (status == SAH_OK && sah_expect_text(path, text, size, "a chat template", &why) != SAH_OK)
            status = set_problem(out, why.message, error);
        else if (status == SAH_OK)
            status = sah_chat_set(out, text, size, error);
    } else if (status == SAH_OK) {
        status = set_from_config(out, config, error);
    }
    json_decref(config);
    json_decref(map);
    json_decref(model);
    free(path);
    free(text);
    return status;
}

/* ---- GGUF ---------------------------------------------------------------------------------------------- */

sah_status sah_chat_from_gguf(const sah_gguf *gguf, const sah_tokenizer *tokenizer, sah_chat *out,
                              sah_error *error)
{
    static const struct {
        const char *key, *name;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", "bos_token"},       {"tokenizer.ggml.eos_token_id", "eos_token"},
        {"tokenizer.ggml.unknown_token_id", "unk_token"},   {"tokenizer.ggml.padding_token_id", "pad_token"},
        {"tokenizer.ggml.seperator_token_id", "sep_token"}, {"tokenizer.ggml.cls_token_id", "cls_token"},
        {"tokenizer.ggml.mask_token_id", "mask_token"},
    };
    const char *text;
    size_t length;
    *out = (sah_chat){0};
    out->tokens = json_object();
    if (out->tokens == NULL) return out_of_memory(error);
    for (size_t i = 0; i < sizeof ids / sizeof *ids && tokenizer != NULL; i++) {
        int64_t id;
        sah_status status = sah_gguf_int(gguf, ids[i].key, -1, -1, UINT32_MAX, &id, error);
        if (status != SAH_OK) return status;
        /* Some writers put 2^32 - 1 for "none". */
        const char *token = id >= 0 && id <= INT32_MAX ? sah_tokenizer_token(tokenizer, (int32_t)id) : NULL;
        if (token != NULL && sah_utf8_valid(token, strlen(token)) &&
            json_object_set_new(out->tokens, ids[i].name, json_string(token)) != 0)
            return out_of_memory(error);
    }
    sah_status status = sah_gguf_string(gguf, "tokenizer.chat_template", &text, &length, error);
    return status == SAH_OK && text != NULL ? sah_chat_set(out, text, length, error) : status;
}
