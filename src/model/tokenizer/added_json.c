/* SPDX-License-Identifier: Apache-2.0 */
/* The added tokens of a Hugging Face directory: those of tokenizer.json, and what the files beside it say of them
 * (tokenizer_config.json: added_tokens_decoder, the named special tokens, the extra ones; special_tokens_map.json
 * and added_tokens.json where there is no added_tokens_decoder). The order and the rules are those of transformers
 * 5: a token that is not there gets the next id, one that is there takes the flags that are given last. */
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer/added_json.h"
#include "model/tokenizer/added.h"
#include "util/alloc.h"
#include "util/error.h"

typedef struct added_token {
    sah_added token; /* its text belongs to the JSON it was read from */
    bool normalised, special;
    bool once_special; /* or was, as an earlier file had it: that is what split_special_tokens goes by */
} added_token;

typedef struct added_list {
    added_token *items;
    size_t n, capacity;
    uint32_t *places; /* by id: place in items + 1, 0: not there */
    size_t places_capacity;
    int32_t highest; /* id so far; -1: none */
} added_list;

/* Content and flags of a token that JSON describes; its id stays 0. */
static sah_status read_flags(const json_t *json, added_token *out, const char *where, sah_error *error)
{
    const char *content;
    *out = (added_token){0};
    sah_status status = sah_json_string(json, "content", NULL, &content, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "special", false, &out->special, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(json, "normalized", !out->special, &out->normalised, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "lstrip", false, &out->token.left_strip, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(json, "rstrip", false, &out->token.right_strip, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(json, "single_word", false, &out->token.single_word, where, error);
    if (status != SAH_OK) return status;
    if (content == NULL || content[0] == '\0')
        return sah_fail(error, SAH_FAILED, "%s: an added token without content", where);
    out->token.text = (char *)content;
    out->token.size = strlen(content);
    return SAH_OK;
}

/* The id that the token gets: its own in the vocabulary, else the next behind the vocabulary and all added ones. */
static int32_t id_of(const added_list *list, const sah_vocab *vocab, const sah_added *token)
{
    const int32_t there = sah_vocab_find(vocab, token->text, token->size), size = (int32_t)vocab->n_model;
    if (there >= 0) return there;
    return list->highest >= size ? list->highest + 1 : size;
}

static added_token *find_added(const added_list *list, const sah_vocab *vocab, const sah_added *token)
{
    const int32_t id = sah_vocab_find(vocab, token->text, token->size);
    if (id < 0 || (size_t)id >= list->places_capacity || list->places[id] == 0) return NULL;
    return &list->items[list->places[id] - 1];
}

/* A place for ids up to `id`. */
static bool make_places(added_list *list, int32_t id)
{
    const size_t before = list->places_capacity;
    if (!sah_grow(&list->places, &list->places_capacity, (size_t)id + 1, sizeof *list->places)) return false;
    memset(list->places + before, 0, (list->places_capacity - before) * sizeof *list->places);
    return true;
}

/* Adds the token, or gives the one that is there its flags. */
static sah_status put(added_list *list, sah_vocab *vocab, added_token added, sah_error *error)
{
    added_token *there = find_added(list, vocab, &added.token);
    const int32_t id = there != NULL ? there->token.id : id_of(list, vocab, &added.token);
    sah_status status = SAH_OK;
    if (sah_vocab_find(vocab, added.token.text, added.token.size) < 0)
        status = sah_vocab_add(vocab, id, added.token.text, added.token.size, false, false, error);
    if (status != SAH_OK) return status;
    added.token.id = id;
    vocab->items[id].special = added.special;
    if (id > list->highest) list->highest = id;
    added.once_special = added.special || (there != NULL && there->once_special);
    if (there != NULL) {
        *there = added;
        return SAH_OK;
    }
    if (!make_places(list, id) || !sah_grow(&list->items, &list->capacity, list->n + 1, sizeof *list->items))
        return sah_fail_memory(error, "the added tokens");
    list->items[list->n++] = added;
    list->places[id] = (uint32_t)list->n;
    return SAH_OK;
}

/* ---- tokenizer.json ------------------------------------------------------------------------------------ */

/* A file whose ids are not those that the library would count is refused rather than read in one of two ways. */
static sah_status put_own(const json_t *own, added_list *list, sah_vocab *vocab, const char *where,
                          sah_error *error)
{
    const json_t *item;
    size_t i;
    json_array_foreach(own, i, item)
    {
        added_token added;
        int64_t id;
        sah_status status = read_flags(item, &added, where, error);
        if (status == SAH_OK) status = sah_json_int(item, "id", -1, 0, SAH_MAX_TOKENS - 1, &id, where, error);
        if (status != SAH_OK) return status;
        if (id < 0) return sah_fail(error, SAH_FAILED, "%s: an added token without id", where);
        const int32_t expected = id_of(list, vocab, &added.token);
        if (expected != id)
            return sah_fail(error, SAH_FAILED, "%s: added token \"%s\" has id %d where %d is expected", where,
                            added.token.text, (int)id, expected);
        if (put(list, vocab, added, error) != SAH_OK) return sah_fail_in(error, where);
    }
    return SAH_OK;
}

/* ---- The files beside it ------------------------------------------------------------------------------- */

static const char *const named[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};
enum { N_NAMED = sizeof named / sizeof *named };

/* The text of a token given as "text" or {"content": "text"}; NULL: none. */
static const char *text_of(const json_t *value)
{
    if (json_is_object(value)) value = json_object_get(value, "content");
    const char *text = json_string_value(value);
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* The list of extra special tokens; extra_special_tokens may also be an object of tokens with names of their own,
 * which leaves the older list in force. */
static const json_t *extra_of(const json_t *names)
{
    const json_t *extra = json_object_get(names, "extra_special_tokens");
    return json_array_size(extra) > 0 ? extra : json_object_get(names, "additional_special_tokens");
}

static bool is_text_of(const json_t *value, const char *text)
{
    const char *own = text_of(value);
    return own != NULL && strcmp(own, text) == 0;
}

/* Whether a name stands for the text: bos_token and the like. */
static bool has_name(const json_t *names, const char *text)
{
    for (size_t i = 0; i < N_NAMED; i++)
        if (is_text_of(json_object_get(names, named[i]), text)) return true;
    return false;
}

/* Whether it is a special token, by a name or as an extra one. */
static bool is_special(const json_t *names, const char *text)
{
    const json_t *item;
    size_t i;
    json_array_foreach(extra_of(names), i, item)
    {
        if (is_text_of(item, text)) return true;
    }
    return has_name(names, text);
}

static bool same_flags(const added_token *a, const added_token *b)
{
    return a->special == b->special && a->normalised == b->normalised &&
           a->token.left_strip == b->token.left_strip && a->token.right_strip == b->token.right_strip &&
           a->token.single_word == b->token.single_word;
}

typedef struct numbered {
    long long number;
    const char *key;
    const json_t *value;
} numbered;

static int by_number(const void *a, const void *b)
{
    const numbered *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static sah_status put_one_numbered(const numbered *one, bool by_text, const json_t *names, added_list *list,
                                   sah_vocab *vocab, const char *where, sah_error *error)
{
    added_token added = {0};
    sah_status status = SAH_OK;
    if (by_text) {
        added.special = is_special(names, one->key);
        added.normalised = !added.special;
        added.token.text = (char *)one->key;
        added.token.size = strlen(one->key);
        if (added.token.size == 0) return SAH_OK;
    } else {
        status = read_flags(one->value, &added, where, error);
        if (status != SAH_OK) return status;
        const added_token *there = find_added(list, vocab, &added.token);
        if (there != NULL && same_flags(there, &added)) return SAH_OK;
        added.special = added.special || has_name(names, added.token.text);
    }
    if (status == SAH_OK && put(list, vocab, added, error) != SAH_OK) status = sah_fail_in(error, where);
    return status;
}

/* Tokens by their numbers: {"376": {"content": ...}}, or the other way round {"<tool>": 376}. */
static sah_status put_numbered(const json_t *object, bool by_text, const json_t *names, added_list *list,
                               sah_vocab *vocab, const char *where, sah_error *error)
{
    const char *key;
    json_t *value;
    size_t n = 0;
    sah_status status = SAH_OK;
    if (json_object_size(object) == 0) return SAH_OK;
    numbered *items = sah_alloc(json_object_size(object), sizeof *items);
    if (items == NULL) return sah_fail_memory(error, where);
    json_object_foreach((json_t *)object, key, value)
    {
        items[n++] = (numbered){by_text ? json_integer_value(value) : strtoll(key, NULL, 10), key, value};
    }
    qsort(items, n, sizeof *items, by_number);
    for (size_t i = 0; i < n && status == SAH_OK; i++)
        status = put_one_numbered(&items[i], by_text, names, list, vocab, where, error);
    free(items);
    return status;
}

/* Special tokens that a tokenizer class has where the configuration does not name others: they take ids of their
 * own when the vocabulary does not know them. */
static sah_status add_defaults(json_t *names)
{
    static const struct {
        const char *tokenizer_class;
        const char *tokens; /* of `named`, a letter each: "<|endoftext|>" */
        const char *padding; /* or pad_token's own */
    } classes[] = {{"GPT2Tokenizer", "beu", NULL},
                   {"Qwen2Tokenizer", "eup", NULL},
                   {"CodeGenTokenizer", "beu", NULL},
                   {"GPTNeoXTokenizer", "beup", "<|padding|>"}};
    for (size_t c = 0; c < sizeof classes / sizeof *classes; c++) {
        if (!sah_tokenizer_is_class(names, classes[c].tokenizer_class)) continue;
        for (size_t i = 0; i < N_NAMED; i++) {
            if (strchr(classes[c].tokens, named[i][0]) == NULL || json_object_get(names, named[i]) != NULL)
                continue;
            const bool own = named[i][0] == 'p' && classes[c].padding != NULL;
            json_t *text = json_string(own ? classes[c].padding : "<|endoftext|>");
            if (json_object_set_new(names, named[i], text) != 0) return SAH_FAILED;
        }
    }
    return SAH_OK;
}

/* A special token by name. One that stands among the first `n_known` added tokens is that token, flags and all. */
static sah_status put_special(const json_t *value, size_t n_known, added_list *list, sah_vocab *vocab,
                              const char *where, sah_error *error)
{
    const char *text = text_of(value);
    added_token added = {.special = true};
    sah_status status = SAH_OK;
    if (text == NULL) return SAH_OK;
    if (json_is_object(value)) status = read_flags(value, &added, where, error);
    if (status != SAH_OK) return status;
    added.special = true;
    added.normalised = json_is_true(json_object_get(value, "normalized"));
    added.token.text = (char *)text;
    added.token.size = strlen(text);
    const added_token *there = find_added(list, vocab, &added.token);
    if (there != NULL && (size_t)(there - list->items) < n_known) return SAH_OK;
    return put(list, vocab, added, error) == SAH_OK ? SAH_OK : sah_fail_in(error, where);
}

static sah_status put_specials(const json_t *names, added_list *list, sah_vocab *vocab, const char *where,
                               sah_error *error)
{
    const json_t *extra = extra_of(names), *item;
    const char *key;
    json_t *value;
    sah_status status = SAH_OK;
    const size_t n_known = list->n;
    size_t i;
    for (i = 0; i < N_NAMED && status == SAH_OK; i++)
        status = put_special(json_object_get(names, named[i]), n_known, list, vocab, where, error);
    json_object_foreach(json_object_get(names, "extra_special_tokens"), key, value)
    {
        if (status == SAH_OK) status = put_special(value, n_known, list, vocab, where, error);
    }
    json_array_foreach(extra, i, item)
    {
        if (status == SAH_OK) status = put_special(item, n_known, list, vocab, where, error);
    }
    return status;
}

/* ---- Where they are looked for ------------------------------------------------------------------------- */

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

/* Special tokens come first: of two that look the same once normalised the first counts. Where special tokens are
 * to be split they are not looked for at all. */
static sah_status look_for(const added_list *list, bool special, bool split, sah_tokenizer *tokenizer,
                           sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; i < list->n && status == SAH_OK; i++) {
        const added_token *added = &list->items[i];
        if (added->special != special || (split && added->once_special)) continue;
        status = added->normalised ? add_normalised(tokenizer, added->token, error)
                                   : sah_added_add(&tokenizer->raw_added, added->token, error);
    }
    return status;
}

sah_status sah_json_added_tokens(const json_t *own, const sah_tokenizer_files *files,
                                 sah_tokenizer *tokenizer, const char *where, sah_error *error)
{
    static const char beside[] = "tokenizer_config.json";
    added_list list = {.highest = -1};
    sah_vocab *vocab = &tokenizer->vocab;
    const json_t *decoder = json_object_get(files->config, "added_tokens_decoder");
    bool split = json_is_true(json_object_get(files->config, "split_special_tokens"));
    json_t *names = json_copy(files->config); /* the config, and what else names special tokens */
    json_t *extra = (json_t *)extra_of(files->config);
    bool good =
        names != NULL && json_object_size(names) == json_object_size(files->config); /* copied in full */
    if (good && decoder == NULL) good = json_object_update(names, files->specials) == 0;
    if (good && extra != NULL) good = json_object_set(names, "additional_special_tokens", extra) == 0;
    sah_status status = good ? SAH_OK : sah_fail_memory(error, where);
    if (status == SAH_OK && add_defaults(names) != SAH_OK) status = sah_fail_memory(error, where);
    if (status == SAH_OK) status = put_own(own, &list, vocab, where, error);
    if (status == SAH_OK)
        status = decoder != NULL
                     ? put_numbered(decoder, false, names, &list, vocab, beside, error)
                     : put_numbered(files->added, true, names, &list, vocab, "added_tokens.json", error);
    if (status == SAH_OK) status = put_specials(names, &list, vocab, beside, error);
    if (status == SAH_OK) status = look_for(&list, true, split, tokenizer, error);
    if (status == SAH_OK) status = look_for(&list, false, split, tokenizer, error);
    if (status != SAH_OK) sah_fail_in(error, where);
    json_decref(names);
    free(list.items);
    free(list.places);
    return status;
}
