/* SPDX-License-Identifier: Apache-2.0 */
/* The files beside a directory's vocabulary, and what they say of the tokens that begin a text and end an answer. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/tokenizer/tokenizer_files.h"
#include "model/tokenizer/ends.h"
#include "util/error.h"

enum { LARGEST_CONFIG = 16 << 20 }; /* bytes */

/* DIR/name, or an empty object when it is not there. */
static sah_status read_optional(const char *directory, const char *name, json_t **out, sah_error *error)
{
    sah_text path = {0};
    sah_text_addf(&path, "%s/%s", directory, name);
    sah_status status = SAH_OK;
    if (path.failed)
        status = sah_fail_memory(error, name);
    else if (access(path.data, F_OK) == 0)
        status = sah_json_read_object(path.data, LARGEST_CONFIG, out, error);
    else if ((*out = json_object()) == NULL)
        status = sah_fail_memory(error, name);
    free(path.data);
    return status;
}

int32_t sah_tokenizer_named(const json_t *config, const char *key, const sah_tokenizer *tokenizer)
{
    const json_t *value = json_object_get(config, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    return json_is_string(value) ? sah_tokenizer_id(tokenizer, json_string_value(value)) : -1;
}

static int32_t numbered_token(const json_t *value, const sah_tokenizer *tokenizer)
{
    const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && (size_t)id < tokenizer->vocab.n ? (int32_t)id : -1;
}

bool sah_tokenizer_is_class(const json_t *config, const char *name)
{
    const char *given = json_string_value(json_object_get(config, "tokenizer_class"));
    const size_t n = strlen(name);
    return given != NULL && strncmp(given, name, n) == 0 &&
           (given[n] == '\0' || strcmp(given + n, "Fast") == 0);
}

/* "eos_token_id": a number or a list of them. */
static sah_status add_numbered_ends(const json_t *config, sah_tokenizer *tokenizer, sah_error *error)
{
    const json_t *value = json_object_get(config, "eos_token_id"), *item;
    sah_status status = sah_tokenizer_add_end(tokenizer, numbered_token(value, tokenizer), error);
    size_t i;
    json_array_foreach(value, i, item)
    {
        if (status == SAH_OK)
            status = sah_tokenizer_add_end(tokenizer, numbered_token(item, tokenizer), error);
    }
    return status;
}

sah_status sah_tokenizer_files_read(const char *directory, sah_tokenizer_files *out, sah_error *error)
{
    const struct {
        const char *name;
        json_t **json;
    } files[] = {{"tokenizer_config.json", &out->config},
                 {"special_tokens_map.json", &out->specials},
                 {"added_tokens.json", &out->added},
                 {"generation_config.json", &out->generation},
                 {"config.json", &out->model}};
    sah_status status = SAH_OK;
    for (size_t i = 0; i < sizeof files / sizeof *files && status == SAH_OK; i++)
        status = read_optional(directory, files[i].name, files[i].json, error);
    return status;
}

void sah_tokenizer_files_free(sah_tokenizer_files *files)
{
    json_decref(files->config);
    json_decref(files->specials);
    json_decref(files->added);
    json_decref(files->generation);
    json_decref(files->model);
}

/* Which tokens begin a text and end an answer. Whether BOS and EOS are put around a text is the post-processor's
 * business alone: where there is a tokenizer.json, transformers 5 passes over add_bos_token and add_eos_token. */
sah_status sah_tokenizer_files_ends(const sah_tokenizer_files *files, sah_tokenizer *tokenizer,
                                    sah_error *error)
{
    int32_t eos = sah_tokenizer_named(files->config, "eos_token", tokenizer);
    if (eos < 0) eos = sah_tokenizer_named(files->specials, "eos_token", tokenizer);
    tokenizer->bos = sah_tokenizer_named(files->config, "bos_token", tokenizer);
    if (tokenizer->bos < 0) tokenizer->bos = sah_tokenizer_named(files->specials, "bos_token", tokenizer);
    if (tokenizer->bos < 0 && tokenizer->prefix.n > 0) tokenizer->bos = tokenizer->prefix.items[0];
    sah_status status = sah_tokenizer_add_end(tokenizer, eos, error);
    /* config.json stands in for a generation_config.json that is not there. */
    const bool has_generation = json_object_size(files->generation) > 0;
    if (status == SAH_OK)
        status = add_numbered_ends(has_generation ? files->generation : files->model, tokenizer, error);
    return status == SAH_OK ? sah_tokenizer_add_known_ends(tokenizer, 0, error) : status;
}
