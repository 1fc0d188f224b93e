/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer from a Hugging Face directory's tokenizer.json. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/tokenizer/tokenizer_json.h"
#include "model/tokenizer/tokenizer_text.h"
#include "model/tokenizer/tokenizer_spm.h"
#include "model/tokenizer/steps_json.h"
#include "model/tokenizer/normaliser_json.h"
#include "model/tokenizer/added_json.h"
#include "util/alloc.h"
#include "util/error.h"

enum { LARGEST_TOKENIZER = 256 << 20 }; /* bytes */

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
        status = sah_fail(error, SAH_NOT_SUPPORTED, "%s: model.dropout %g is not supported", where, dropout);
    for (size_t i = 0; i < 2 && status == SAH_OK; i++) {
        const char *text;
        status = sah_json_string(model, affixes[i], "", &text, where, error);
        if (status == SAH_OK && text[0] != '\0')
            status = sah_fail(error, SAH_NOT_SUPPORTED, "%s: model.%s \"%s\" is not supported", where,
                              affixes[i], text);
    }
    return status;
}

static sah_status read_bpe(const json_t *model, sah_tokenizer *tokenizer, const char *where, sah_error *error)
{
    sah_merger *merger = &tokenizer->merger;
    const char *unknown;
    sah_status status = refuse_options(model, where, error);
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
    sah_vocab_find_bytes(merger->vocab, merger->bytes);
    if (unknown == NULL) return SAH_OK;
    merger->unknown = sah_tokenizer_id(tokenizer, unknown);
    if (merger->unknown >= 0) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "%s: unk_token \"%s\" is not in the vocabulary", where, unknown);
}

/* Pieces with their scores: [["<unk>", 0.0], ...]. */
static sah_status read_pieces(const json_t *pieces, double *scores, double *lowest, sah_vocab *vocab,
                              const char *where, sah_error *error)
{
    const json_t *piece;
    size_t i;
    json_array_foreach(pieces, i, piece)
    {
        const json_t *text = json_array_get(piece, 0), *score = json_array_get(piece, 1);
        if (!json_is_string(text) || !json_is_number(score))
            return sah_fail(error, SAH_FAILED, "%s: piece %zu of model.vocab is not a text with a score",
                            where, i);
        if (sah_vocab_add(vocab, (int64_t)i, json_string_value(text), json_string_length(text), true, false,
                          error) != SAH_OK)
            return sah_fail_in(error, where);
        scores[i] = json_number_value(score);
        if (scores[i] < *lowest) *lowest = scores[i];
    }
    return SAH_OK;
}

static sah_status read_unigram(const json_t *model, sah_tokenizer *tokenizer, const char *where,
                               sah_error *error)
{
    sah_unigram *unigram = &tokenizer->unigram;
    const json_t *pieces = json_object_get(model, "vocab");
    const size_t n = json_array_size(pieces);
    double lowest = HUGE_VAL;
    int64_t unknown;
    if (n == 0) return sah_fail(error, SAH_FAILED, "%s: model.vocab is not an array of pieces", where);
    double *scores = sah_alloc(n, sizeof *scores);
    if (scores == NULL) return sah_fail_memory(error, where);
    sah_status status = sah_json_int(model, "unk_id", -1, 0, (int64_t)n - 1, &unknown, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(model, "byte_fallback", false, &unigram->byte_fallback, where, error);
    if (status == SAH_OK) status = read_pieces(pieces, scores, &lowest, &tokenizer->vocab, where, error);
    if (status == SAH_OK && sah_unigram_init(unigram, &tokenizer->vocab, scores, lowest, error) != SAH_OK)
        status = sah_fail_in(error, where);
    free(scores);
    if (status != SAH_OK) return status;
    unigram->unknown = (int32_t)unknown;
    sah_vocab_find_bytes(unigram->vocab, unigram->bytes);
    return SAH_OK;
}

/* Old files name no type: a list of pieces is a unigram model's. */
static sah_status read_model(const json_t *model, sah_tokenizer *tokenizer, const char *where,
                             sah_error *error)
{
    const char *type;
    if (!json_is_object(model)) return sah_fail(error, SAH_FAILED, "%s: \"model\" is missing", where);
    const bool list = json_is_array(json_object_get(model, "vocab"));
    sah_status status = sah_json_string(model, "type", list ? "Unigram" : "BPE", &type, where, error);
    if (status != SAH_OK) return status;
    if (strcmp(type, "BPE") == 0) return read_bpe(model, tokenizer, where, error);
    if (strcmp(type, "Unigram") == 0) return read_unigram(model, tokenizer, where, error);
    return sah_fail(error, SAH_NOT_SUPPORTED, "%s: model type \"%s\" is not supported (BPE and Unigram are)",
                    where, type);
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
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: two templates in one post_processor are not supported",
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

/* RoBERTa's and BERT's: "cls" before the text, "sep" behind it, each ["text", id]. */
static sah_status read_frame(const json_t *processor, sah_tokenizer *tokenizer, const char *where,
                             sah_error *error)
{
    const struct {
        const char *key;
        sah_ids *ids;
    } ends[] = {{"cls", &tokenizer->prefix}, {"sep", &tokenizer->suffix}};
    sah_status status = SAH_OK;
    if (tokenizer->prefix.n > 0 || tokenizer->suffix.n > 0)
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: two templates in one post_processor are not supported",
                        where);
    for (size_t i = 0; i < sizeof ends / sizeof *ends && status == SAH_OK; i++) {
        const json_t *id = json_array_get(json_object_get(processor, ends[i].key), 1);
        const json_int_t number = json_is_integer(id) ? json_integer_value(id) : -1;
        if (number < 0 || (size_t)number >= tokenizer->vocab.n)
            return sah_fail(error, SAH_FAILED, "%s: \"%s\" of the post_processor has no valid id", where,
                            ends[i].key);
        status = sah_ids_add(ends[i].ids, (int32_t)number, error);
    }
    return status;
}

enum { MAX_NESTED = 8 };

static sah_status read_post_processor(const json_t *json, int depth, sah_tokenizer *tokenizer,
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
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        return read_frame(json, tokenizer, where, error);
    if (strcmp(type, "Sequence") == 0 && depth < MAX_NESTED) {
        json_array_foreach(json_object_get(json, "processors"), i, item)
        {
            if (status == SAH_OK) status = read_post_processor(item, depth + 1, tokenizer, where, error);
        }
        return status;
    }
    return sah_fail(error, SAH_NOT_SUPPORTED, "%s: post_processor \"%s\" is not supported", where, type);
}

/* ---- All together -------------------------------------------------------------------------------------- */

/* Classes whose ByteLevel step takes its add_prefix_space from tokenizer_config.json (false where that is silent)
 * and not from tokenizer.json. */
static bool takes_prefix_space(const json_t *config)
{
    static const char *const classes[] = {"GPT2Tokenizer", "Qwen2Tokenizer", "GPTNeoXTokenizer",
                                          "CohereTokenizer", "CodeGenTokenizer"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (sah_tokenizer_is_class(config, classes[i])) return true;
    }
    return false;
}

/* The pre_tokenizer as such a class has it; json_decref() frees it. */
static json_t *words_of(const json_t *json, const json_t *config)
{
    const json_t *own = json_object_get(json, "pre_tokenizer");
    const char *type = json_string_value(json_object_get(own, "type"));
    bool prefix = json_is_true(json_object_get(config, "add_prefix_space"));
    json_t *words = own != NULL ? json_copy((json_t *)own) : json_null();
    if (json_object_size(words) !=
        json_object_size(own)) { /* json_copy() leaves out what it has no memory for */
        json_decref(words);
        return NULL;
    }
    if (type == NULL || strcmp(type, "ByteLevel") != 0 || !takes_prefix_space(config) || words == NULL)
        return words;
    if (json_object_set_new(words, "add_prefix_space", json_boolean(prefix)) == 0) return words;
    json_decref(words);
    return NULL;
}

static sah_status read_tokenizer(const json_t *json, const char *directory, sah_tokenizer *tokenizer,
                                 const char *where, sah_error *error)
{
    sah_tokenizer_files files = {0};
    json_t *words = NULL;
    sah_status status = sah_tokenizer_files_read(directory, &files, error);
    if (status == SAH_OK && (words = words_of(json, files.config)) == NULL)
        status = sah_fail_memory(error, "the tokenizer");
    if (status == SAH_OK) status = read_model(json_object_get(json, "model"), tokenizer, where, error);
    if (status == SAH_OK)
        status =
            sah_json_normaliser(json_object_get(json, "normalizer"), &tokenizer->normaliser, where, error);
    if (status == SAH_OK) status = sah_json_words(words, &tokenizer->words, where, error);
    if (status == SAH_OK)
        status = sah_json_decoder(json_object_get(json, "decoder"), &tokenizer->decoder, where, error);
    if (status == SAH_OK)
        status =
            sah_json_added_tokens(json_object_get(json, "added_tokens"), &files, tokenizer, where, error);
    /* The class that transformers has for GPT-NeoX puts nothing around a text, whatever tokenizer.json says. */
    if (status == SAH_OK && !sah_tokenizer_is_class(files.config, "GPTNeoXTokenizer"))
        status = read_post_processor(json_object_get(json, "post_processor"), 0, tokenizer, where, error);
    if (status == SAH_OK) status = sah_tokenizer_files_ends(&files, tokenizer, error);
    json_decref(words);
    sah_tokenizer_files_free(&files);
    return status;
}

sah_status sah_tokenizer_from_json(const json_t *json, const char *directory, const char *where,
                                   sah_tokenizer **out, sah_error *error)
{
    *out = NULL;
    sah_tokenizer *tokenizer = sah_tokenizer_new();
    if (tokenizer == NULL) return sah_fail_memory(error, where);
    sah_status status = read_tokenizer(json, directory, tokenizer, where, error);
    if (status != SAH_OK) {
        sah_tokenizer_free(tokenizer);
        return status;
    }
    sah_tokenizer_finish(tokenizer);
    *out = tokenizer;
    return SAH_OK;
}

/* The long lists from the text, the rest by jansson: *out stays NULL where that is not the way to read it. */
static sah_status from_lists(const char *text, size_t size, const char *directory, const char *where,
                             sah_tokenizer **out, sah_error *error)
{
    sah_text rest = {0};
    json_t *json = NULL;
    sah_tokenizer *tokenizer = sah_tokenizer_new();
    sah_status status = tokenizer != NULL ? sah_tokenizer_read_text(text, size, tokenizer, &rest, error)
                                          : sah_fail_memory(error, where);
    if (status == SAH_OK) status = sah_json_parse(rest.data, rest.size, where, &json, error);
    if (status == SAH_OK) status = read_tokenizer(json, directory, tokenizer, where, error);
    json_decref(json);
    free(rest.data);
    if (status == SAH_OK) {
        sah_tokenizer_finish(tokenizer);
        *out = tokenizer;
    } else {
        sah_tokenizer_free(tokenizer);
    }
    return status;
}

sah_status sah_tokenizer_from_text(const char *text, size_t size, const char *directory, const char *where,
                                   sah_tokenizer **out, sah_error *error)
{
    json_t *json = NULL;
    sah_error unsaid = {0};
    *out = NULL;
    sah_status status = from_lists(text, size, directory, where, out, &unsaid);
    if (status == SAH_OK) return SAH_OK;
    if (status == SAH_OUT_OF_MEMORY) return sah_fail_memory(error, where);
    /* Another form, or something wrong: all of it by jansson, which can say where. */
    status = sah_json_parse_object(text, size, where, &json, error);
    if (status == SAH_OK) status = sah_tokenizer_from_json(json, directory, where, out, error);
    json_decref(json);
    return status;
}

sah_status sah_tokenizer_from_directory(const char *directory, sah_tokenizer **out, sah_error *error)
{
    char *text = NULL;
    size_t size;
    sah_spm spm = {0};
    sah_text path = {0}, pieces = {0};
    sah_status status = SAH_OK;
    *out = NULL;
    sah_text_addf(&path, "%s/tokenizer.json", directory);
    sah_text_addf(&pieces, "%s/tokenizer.model", directory);
    if (path.failed || pieces.failed) {
        status = sah_fail_memory(error, "the tokenizer");
    } else if (access(path.data, F_OK) == 0) {
        status = sah_json_read_text(path.data, LARGEST_TOKENIZER, &text, &size, error);
        if (status == SAH_OK) status = sah_tokenizer_from_text(text, size, directory, path.data, out, error);
    } else if (access(pieces.data, F_OK) == 0) {
        status = sah_spm_read(pieces.data, &spm, error);
        if (status == SAH_OK) status = sah_tokenizer_from_spm(&spm, directory, pieces.data, out, error);
    }
    free(text);
    sah_spm_free(&spm);
    free(path.data);
    free(pieces.data);
    return status;
}
