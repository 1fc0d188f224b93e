/* A tokenizer from a Hugging Face directory: tokenizer.json, and what the files beside it say of BOS and end
 * tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/tokenizer/tokenizer_parts.h"
#include "util/alloc.h"
#include "util/error.h"

enum { LARGEST_TOKENIZER = 256 << 20, LARGEST_CONFIG = 16 << 20 }; /* bytes */

/* ---- The model: vocabulary and merges ------------------------------------------------------------------ */

static sah_status read_vocabulary(const json_t *model, sah_vocab *vocab, const char *where, sah_error *error)
{
    const json_t *tokens = json_object_get(model, "vocab");
    const char *text;
    json_t *id;
    sah_status status = SAH_OK;
    if (!json_is_object(tokens))
        return sah_fail(error, SAH_FAILED, "%s: model.vocab is not an object", where);
    json_object_foreach((json_t *)tokens, text, id)
    {
        if (!json_is_integer(id))
            return sah_fail(error, SAH_FAILED, "%s: the id of \"%s\" is not a number", where, text);
        status = sah_vocab_add(vocab, json_integer_value(id), text, strlen(text), true, false, error);
        if (status != SAH_OK) return sah_fail_in(error, where);
    }
    return SAH_OK;
}

/* One merge: "a b" or ["a", "b"]. */
static sah_status read_merge(const json_t *json, sah_merger *merger, uint32_t rank, sah_error *error)
{
    const json_t *a = json_array_get(json, 0), *b = json_array_get(json, 1);
    if (json_is_string(a) && json_is_string(b) && json_array_size(json) == 2) {
        return sah_merger_add(merger, json_string_value(a), json_string_length(a), json_string_value(b),
                              json_string_length(b), rank, error);
    }
    const char *text = json_string_value(json), *blank = text != NULL ? strchr(text, ' ') : NULL;
    if (blank == NULL || strchr(blank + 1, ' ') != NULL)
        return sah_fail(error, SAH_FAILED, "merge %u is not a pair of tokens", rank);
    return sah_merger_add(merger, text, (size_t)(blank - text), blank + 1, strlen(blank + 1), rank, error);
}

static sah_status read_merges(const json_t *model, sah_merger *merger, const char *where, sah_error *error)
{
    const json_t *merges = json_object_get(model, "merges"), *merge;
    uint32_t rank = 0;
    size_t i;
    if (!json_is_array(merges)) return sah_fail(error, SAH_FAILED, "%s: model.merges is not an array", where);
    json_array_foreach(merges, i, merge)
    {
        const char *text = json_string_value(merge);
        if (text != NULL && strncmp(text, "#version", 8) == 0) continue; /* a line of merges.txt */
        if (read_merge(merge, merger, rank++, error) != SAH_OK) return sah_fail_in(error, where);
    }
    return SAH_OK;
}

/* Options of the model that change what it does and that no supported family uses. */
static sah_status refuse_options(const json_t *model, const char *where, sah_error *error)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    double dropout;
    sah_status status = sah_json_number(model, "dropout", 0.0, &dropout, where, error);
    if (status == SAH_OK && dropout > 0.0)
        status = sah_fail(error, SAH_FAILED, "%s: model.dropout %g is not supported", where, dropout);
    for (size_t i = 0; i < 2 && status == SAH_OK; i++) {
        const char *text;
        status = sah_json_string(model, affixes[i], "", &text, where, error);
        if (status == SAH_OK && text[0] != '\0')
            status =
                sah_fail(error, SAH_FAILED, "%s: model.%s \"%s\" is not supported", where, affixes[i], text);
    }
    return status;
}

static sah_status read_model(const json_t *model, sah_tokenizer *tokenizer, const char *where,
                             sah_error *error)
{
    sah_merger *merger = &tokenizer->merger;
    const char *type, *unknown;
    if (!json_is_object(model)) return sah_fail(error, SAH_FAILED, "%s: \"model\" is missing", where);
    sah_status status = sah_json_string(model, "type", "BPE", &type, where, error);
    if (status == SAH_OK && strcmp(type, "BPE") != 0)
        status = sah_fail(error, SAH_FAILED, "%s: model type \"%s\" is not supported (BPE is)", where, type);
    if (status == SAH_OK) status = refuse_options(model, where, error);
    if (status == SAH_OK) status = read_vocabulary(model, &tokenizer->vocab, where, error);
    if (status == SAH_OK) status = read_merges(model, merger, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(model, "byte_fallback", false, &merger->byte_fallback, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(model, "fuse_unk", false, &merger->fuse_unknown, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(model, "ignore_merges", false, &merger->ignore_merges, where, error);
    if (status == SAH_OK) status = sah_json_string(model, "unk_token", NULL, &unknown, where, error);
    if (status != SAH_OK) return status;
    sah_merger_find_bytes(merger);
    if (unknown == NULL) return SAH_OK;
    merger->unknown = sah_tokenizer_id(tokenizer, unknown);
    if (merger->unknown >= 0) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "%s: unk_token \"%s\" is not in the vocabulary", where, unknown);
}

/* ---- Added tokens -------------------------------------------------------------------------------------- */

typedef struct added_token {
    sah_added token;
    bool normalised, special;
} added_token;

static sah_status read_added(const json_t *json, added_token *out, const char *where, sah_error *error)
{
    const char *content;
    int64_t id;
    *out = (added_token){0};
    sah_status status = sah_json_string(json, "content", NULL, &content, where, error);
    if (status == SAH_OK) status = sah_json_int(json, "id", -1, 0, SAH_MAX_TOKENS - 1, &id, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "special", false, &out->special, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(json, "normalized", !out->special, &out->normalised, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "lstrip", false, &out->token.left_strip, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(json, "rstrip", false, &out->token.right_strip, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(json, "single_word", false, &out->token.single_word, where, error);
    if (status != SAH_OK) return status;
    if (content == NULL || content[0] == '\0' || id < 0)
        return sah_fail(error, SAH_FAILED, "%s: an added token without content or id", where);
    out->token.text = (char *)content;
    out->token.size = strlen(content);
    out->token.id = (int32_t)id;
    return SAH_OK;
}

/* Gives the token its id. The library counts ids on from the vocabulary's size, or from the highest added id
 * behind it, whatever the file says; a file that disagrees is refused rather than read in one of two ways. */
static sah_status place_added(sah_vocab *vocab, const added_token *added, int32_t *highest, sah_error *error)
{
    const sah_added *token = &added->token;
    const int32_t there = sah_vocab_find(vocab, token->text, token->size);
    const int32_t size = (int32_t)vocab->n_model;
    const int32_t expected = there >= 0 ? there : *highest >= size ? *highest + 1 : size;
    sah_status status = SAH_OK;
    if (expected != token->id) {
        return sah_fail(error, SAH_FAILED, "added token \"%s\" has id %d where %d is due", token->text,
                        token->id, expected);
    }
    if (there < 0) status = sah_vocab_add(vocab, expected, token->text, token->size, false, false, error);
    if (status == SAH_OK && added->special) vocab->items[expected].special = true;
    if (expected > *highest) *highest = expected;
    return status;
}

/* The token as it looks in normalised text, where it is looked for; decoding gives it that way too. */
static sah_status add_normalised(sah_tokenizer *tokenizer, sah_added token, sah_error *error)
{
    sah_pieces pieces = {0};
    sah_spans spans = {0};
    sah_text_add(&pieces.text, token.text, token.size);
    sah_status status = pieces.text.failed ? sah_fail_memory(error, "the added tokens") : SAH_OK;
    if (status == SAH_OK) status = sah_pieces_add(&pieces, (sah_piece){0, token.size, -1, true}, error);
    if (status == SAH_OK) status = sah_steps_apply(&tokenizer->normaliser, &pieces, &spans, error);
    if (status == SAH_OK) {
        token.text = pieces.n > 0 ? pieces.text.data + pieces.items[0].at : NULL;
        token.size = pieces.n > 0 ? pieces.items[0].size : 0;
        status = sah_added_add(&tokenizer->normal_added, token, error);
        if (status == SAH_OK)
            status = sah_vocab_set_decoded(&tokenizer->vocab, token.id, token.text, token.size, error);
    }
    sah_spans_free(&spans);
    sah_pieces_free(&pieces);
    return status;
}

/* Special tokens come first: of two that look the same once normalised the first counts. */
static sah_status add_matches(const json_t *list, bool special, sah_tokenizer *tokenizer, const char *where,
                              sah_error *error)
{
    const json_t *item;
    size_t i;
    sah_status status = SAH_OK;
    json_array_foreach(list, i, item)
    {
        added_token added;
        status = read_added(item, &added, where, error);
        if (status == SAH_OK && added.special == special) {
            status = added.normalised ? add_normalised(tokenizer, added.token, error)
                                      : sah_added_add(&tokenizer->raw_added, added.token, error);
            if (status != SAH_OK) status = sah_fail_in(error, where);
        }
        if (status != SAH_OK) break;
    }
    return status;
}

static sah_status read_added_tokens(const json_t *list, sah_tokenizer *tokenizer, const char *where,
                                    sah_error *error)
{
    const json_t *item;
    int32_t highest = -1;
    size_t i;
    json_array_foreach(list, i, item)
    {
        added_token added;
        sah_status status = read_added(item, &added, where, error);
        if (status != SAH_OK) return status;
        if (place_added(&tokenizer->vocab, &added, &highest, error) != SAH_OK)
            return sah_fail_in(error, where);
    }
    sah_status status = add_matches(list, true, tokenizer, where, error);
    return status == SAH_OK ? add_matches(list, false, tokenizer, where, error) : status;
}

/* ---- Post-processor ------------------------------------------------------------------------------------ */

/* The ids of special token `name` of a TemplateProcessing. */
static sah_status add_template_token(const json_t *processor, const char *name, const sah_vocab *vocab,
                                     sah_ids *out, const char *where, sah_error *error)
{
    const json_t *entry = json_object_get(json_object_get(processor, "special_tokens"), name), *id;
    sah_status status = SAH_OK;
    size_t i;
    if (entry == NULL)
        return sah_fail(error, SAH_FAILED, "%s: special token \"%s\" is not described", where, name);
    json_array_foreach(json_object_get(entry, "ids"), i, id)
    {
        const json_int_t number = json_is_integer(id) ? json_integer_value(id) : -1;
        if (number < 0 || (size_t)number >= vocab->n)
            return sah_fail(error, SAH_FAILED, "%s: special token \"%s\" has no valid id", where, name);
        status = sah_ids_add(out, (int32_t)number, error);
        if (status != SAH_OK) break;
    }
    return status;
}

static sah_status read_template(const json_t *processor, sah_tokenizer *tokenizer, const char *where,
                                sah_error *error)
{
    const json_t *item;
    sah_status status = SAH_OK;
    size_t i, texts = 0;
    if (tokenizer->prefix.n > 0 || tokenizer->suffix.n > 0)
        return sah_fail(error, SAH_FAILED, "%s: two templates in one post_processor are not supported",
                        where);
    json_array_foreach(json_object_get(processor, "single"), i, item)
    {
        const json_t *special = json_object_get(item, "SpecialToken");
        const char *name;
        if (special == NULL) {
            texts++;
            continue;
        }
        status = sah_json_string(special, "id", "", &name, where, error);
        if (status == SAH_OK)
            status = add_template_token(processor, name, &tokenizer->vocab,
                                        texts > 0 ? &tokenizer->suffix : &tokenizer->prefix, where, error);
        if (status != SAH_OK) return status;
    }
    if (texts == 1) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "%s: a post_processor template with %zu places for the text", where,
                    texts);
}

static sah_status read_post_processor(const json_t *json, bool nested, sah_tokenizer *tokenizer,
                                      const char *where, sah_error *error)
{
    const char *type;
    const json_t *item;
    size_t i;
    if (json == NULL || json_is_null(json)) return SAH_OK;
    sah_status status = sah_json_string(json, "type", "", &type, where, error);
    if (status != SAH_OK) return status;
    if (strcmp(type, "ByteLevel") == 0) return SAH_OK; /* changes offsets, not ids */
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(json, tokenizer, where, error);
    if (strcmp(type, "Sequence") == 0 && !nested) {
        json_array_foreach(json_object_get(json, "processors"), i, item)
        {
            if (status == SAH_OK) status = read_post_processor(item, true, tokenizer, where, error);
        }
        return status;
    }
    return sah_fail(error, SAH_FAILED, "%s: post_processor \"%s\" is not supported", where, type);
}

/* ---- The files beside it ------------------------------------------------------------------------------- */

/* DIR/name, or an empty object when it is not there. */
static sah_status read_optional(const char *directory, const char *name, json_t **out, sah_error *error)
{
    sah_text path = {0};
    sah_text_addf(&path, "%s/%s", directory, name);
    sah_status status = SAH_OK;
    if (path.failed)
        status = sah_fail_memory(error, name);
    else if (access(path.data, F_OK) == 0)
        status = sah_json_read(path.data, LARGEST_CONFIG, out, error);
    else if ((*out = json_object()) == NULL)
        status = sah_fail_memory(error, name);
    free(path.data);
    return status;
}

/* A token given as "text" or as {"content": "text"}; -1 when it is not there or no token. */
static int32_t named_token(const json_t *config, const char *key, const sah_tokenizer *tokenizer)
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

/* Without a post-processor tokenizer_config.json says whether BOS and EOS are put around the text. */
static sah_status add_configured(const json_t *config, int32_t eos, sah_tokenizer *tokenizer,
                                 sah_error *error)
{
    sah_status status = SAH_OK;
    if (json_is_true(json_object_get(config, "add_bos_token")) && tokenizer->bos >= 0)
        status = sah_ids_add(&tokenizer->prefix, tokenizer->bos, error);
    if (status == SAH_OK && json_is_true(json_object_get(config, "add_eos_token")) && eos >= 0)
        status = sah_ids_add(&tokenizer->suffix, eos, error);
    return status;
}

static sah_status read_configs(const char *directory, bool has_post_processor, sah_tokenizer *tokenizer,
                               sah_error *error)
{
    enum { TOKENIZER, SPECIAL, GENERATION, MODEL, FILES };
    static const char *const names[FILES] = {"tokenizer_config.json", "special_tokens_map.json",
                                             "generation_config.json", "config.json"};
    json_t *files[FILES] = {NULL};
    sah_status status = SAH_OK;
    for (size_t i = 0; i < FILES && status == SAH_OK; i++)
        status = read_optional(directory, names[i], &files[i], error);
    if (status != SAH_OK) goto end;

    int32_t eos = named_token(files[TOKENIZER], "eos_token", tokenizer);
    if (eos < 0) eos = named_token(files[SPECIAL], "eos_token", tokenizer);
    tokenizer->bos = named_token(files[TOKENIZER], "bos_token", tokenizer);
    if (tokenizer->bos < 0) tokenizer->bos = named_token(files[SPECIAL], "bos_token", tokenizer);
    if (tokenizer->bos < 0 && tokenizer->prefix.n > 0) tokenizer->bos = tokenizer->prefix.items[0];
    if (!has_post_processor) status = add_configured(files[TOKENIZER], eos, tokenizer, error);

    if (status == SAH_OK) status = sah_tokenizer_add_end(tokenizer, eos, error);
    /* config.json stands in for a generation_config.json that is not there. */
    const bool has_generation = json_object_size(files[GENERATION]) > 0;
    if (status == SAH_OK)
        status = add_numbered_ends(files[has_generation ? GENERATION : MODEL], tokenizer, error);
    if (status == SAH_OK) status = sah_tokenizer_add_turn_ends(tokenizer, error);
end:
    for (size_t i = 0; i < FILES; i++) json_decref(files[i]);
    return status;
}

/* ---- All together -------------------------------------------------------------------------------------- */

static sah_status read_tokenizer(const json_t *json, const char *directory, sah_tokenizer *tokenizer,
                                 const char *where, sah_error *error)
{
    const json_t *post_processor = json_object_get(json, "post_processor");
    const bool has_post_processor = post_processor != NULL && !json_is_null(post_processor);
    sah_status status = read_model(json_object_get(json, "model"), tokenizer, where, error);
    if (status == SAH_OK)
        status =
            sah_json_normaliser(json_object_get(json, "normalizer"), &tokenizer->normaliser, where, error);
    if (status == SAH_OK)
        status = sah_json_words(json_object_get(json, "pre_tokenizer"), &tokenizer->words, where, error);
    if (status == SAH_OK)
        status = sah_json_decoder(json_object_get(json, "decoder"), &tokenizer->decoder, where, error);
    if (status == SAH_OK)
        status = read_added_tokens(json_object_get(json, "added_tokens"), tokenizer, where, error);
    if (status == SAH_OK) status = read_post_processor(post_processor, false, tokenizer, where, error);
    if (status == SAH_OK) status = read_configs(directory, has_post_processor, tokenizer, error);
    return status;
}

sah_status sah_tokenizer_from_json(const json_t *json, const char *directory, const char *where,
                                   sah_tokenizer **out, sah_error *error)
{
    *out = NULL;
    sah_tokenizer *tokenizer = sah_alloc(1, sizeof *tokenizer);
    if (tokenizer == NULL) return sah_fail_memory(error, where);
    tokenizer->bos = -1;
    tokenizer->merger.unknown = -1;
    tokenizer->merger.vocab = &tokenizer->vocab;
    sah_status status = read_tokenizer(json, directory, tokenizer, where, error);
    if (status != SAH_OK) {
        sah_tokenizer_free(tokenizer);
        return status;
    }
    sah_tokenizer_finish(tokenizer);
    *out = tokenizer;
    return SAH_OK;
}

sah_status sah_tokenizer_from_directory(const char *directory, sah_tokenizer **out, sah_error *error)
{
    json_t *json = NULL;
    sah_text path = {0};
    *out = NULL;
    sah_text_addf(&path, "%s/tokenizer.json", directory);
    sah_status status = path.failed ? sah_fail_memory(error, "the tokenizer")
                                    : sah_json_read(path.data, LARGEST_TOKENIZER, &json, error);
    if (status == SAH_OK) status = sah_tokenizer_from_json(json, directory, path.data, out, error);
    json_decref(json);
    free(path.data);
    return status;
}
