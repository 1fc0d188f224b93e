/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer from GGUF metadata (keys tokenizer.ggml.*): "gpt2" is byte-level BPE, whose word pattern goes
 * by the name in "pre"; "llama" is SentencePiece's BPE with scores. */
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer/tokenizer_parts.h"
#include "util/alloc.h"
#include "util/error.h"

enum { UNDEFINED, NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE }; /* the format's token types */

/* Llama 3's word pattern; Qwen 2's differs in how many digits make a word. */
#define WORDS_BEFORE_DIGITS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define WORDS_BEHIND_DIGITS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const char llama3_words[] = WORDS_BEFORE_DIGITS "\\p{N}{1,3}" WORDS_BEHIND_DIGITS;
static const char qwen2_words[] = WORDS_BEFORE_DIGITS "\\p{N}" WORDS_BEHIND_DIGITS;

/* What llama.cpp does where a file names no rule, or "default": one pattern after the other. */
static const char *const default_words[] = {
    "[\\p{P}\\$\\+<=>\\^~\\|]+",
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)",
    "\\p{N}+",
    "[0-9][0-9][0-9]",
};

typedef enum word_rule { DEFAULT_WORDS, GPT2_WORDS, SMOLLM_WORDS, LLAMA3_WORDS, QWEN2_WORDS } word_rule;

static const struct {
    const char *name;
    word_rule rule;
} word_rules[] = {
    {"default", DEFAULT_WORDS},  {"gpt-2", GPT2_WORDS},    {"smollm", SMOLLM_WORDS},
    {"llama-bpe", LLAMA3_WORDS}, {"llama3", LLAMA3_WORDS}, {"llama-v3", LLAMA3_WORDS},
    {"qwen2", QWEN2_WORDS},
};

/* ---- Reading arrays ------------------------------------------------------------------------------------ */

static sah_status find_array(const sah_gguf *gguf, const char *key, sah_gguf_type item,
                             const sah_gguf_value **out, sah_error *error)
{
    const sah_gguf_value *value = sah_gguf_find(gguf, key);
    *out = value;
    if (value == NULL) return SAH_OK;
    const bool same = value->item == item || (item == SAH_GGUF_I32 && value->item == SAH_GGUF_U32);
    if (value->type == SAH_GGUF_ARRAY && same) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "GGUF key %s has an unexpected type", key);
}

static sah_status need_array(const sah_gguf *gguf, const char *key, sah_gguf_type item,
                             const sah_gguf_value **out, sah_error *error)
{
    sah_status status = find_array(gguf, key, item, out, error);
    if (status == SAH_OK && *out == NULL) status = sah_fail(error, SAH_FAILED, "GGUF key %s is missing", key);
    return status;
}

/* An item of an array of 4-byte numbers; the file keeps no alignment. */
static int32_t int_item(const sah_gguf_value *array, size_t i)
{
    int32_t number;
    memcpy(&number, array->bytes + 4 * i, sizeof number);
    return number;
}

/* ---- Vocabulary ---------------------------------------------------------------------------------------- */

/* Does merging produce tokens of this type? Some writers leave all types undefined. */
static bool is_model_type(int32_t type)
{
    return type == UNDEFINED || type == NORMAL || type == USER_DEFINED || type == UNUSED;
}

/* `types` may be NULL: then all tokens are normal. */
static sah_status read_tokens(const sah_gguf_value *tokens, const sah_gguf_value *types,
                              sah_tokenizer *tokenizer, sah_error *error)
{
    sah_status status = SAH_OK;
    size_t at = 0;
    if (types != NULL && types->n != tokens->n)
        return sah_fail(error, SAH_FAILED, "GGUF has %zu tokens but %zu token types", tokens->n, types->n);
    for (size_t i = 0; i < tokens->n && status == SAH_OK; i++) {
        const char *text;
        size_t size;
        sah_gguf_next_string(tokens, &at, &text, &size);
        const int32_t type = types != NULL ? int_item(types, i) : NORMAL;
        /* A token that ends an answer by its name is a control token, whatever its type says. */
        const bool special = type == CONTROL || type == UNKNOWN || sah_is_known_end(text, size);
        status =
            sah_vocab_add(&tokenizer->vocab, (int64_t)i, text, size, is_model_type(type), special, error);
        if (status == SAH_OK && size > 0 && (special || type == USER_DEFINED)) {
            const sah_added added = {.text = (char *)text, .size = size, .id = (int32_t)i};
            status = sah_added_add(&tokenizer->raw_added, added, error);
        }
    }
    return status == SAH_OK ? SAH_OK : sah_fail_in(error, "GGUF tokenizer");
}

/* A token id under `key`, -1 when it is not there. */
static sah_status token_id(const sah_gguf *gguf, const char *key, const sah_vocab *vocab, int64_t otherwise,
                           int32_t *out, sah_error *error)
{
    int64_t id = -1;
    sah_status status = sah_gguf_int(gguf, key, otherwise, -1, UINT32_MAX, &id, error);
    if (status != SAH_OK) return status;
    /* Some writers put 2^32 - 1 for "none". */
    if (id >= (int64_t)vocab->n && id != UINT32_MAX)
        return sah_fail(error, SAH_FAILED, "GGUF key %s is %lld, past the last token", key, (long long)id);
    *out = id < (int64_t)vocab->n ? (int32_t)id : -1;
    return SAH_OK;
}

/* ---- Byte-level BPE ------------------------------------------------------------------------------------ */

static sah_status word_rule_of(const sah_gguf *gguf, word_rule *out, sah_error *error)
{
    const char *name;
    size_t length;
    sah_status status = sah_gguf_string(gguf, "tokenizer.ggml.pre", &name, &length, error);
    if (status != SAH_OK) return status;
    *out = DEFAULT_WORDS; /* as llama.cpp reads a file that does not say */
    if (name == NULL) return SAH_OK;
    for (size_t i = 0; i < sizeof word_rules / sizeof *word_rules; i++) {
        if (strlen(word_rules[i].name) == length && memcmp(name, word_rules[i].name, length) == 0) {
            *out = word_rules[i].rule;
            return SAH_OK;
        }
    }
    return sah_fail(error, SAH_FAILED, "tokenizer.ggml.pre \"%.*s\" is not supported", (int)length, name);
}

static sah_status add_word_steps(word_rule rule, sah_tokenizer *tokenizer, sah_error *error)
{
    sah_steps *words = &tokenizer->words;
    sah_status status = SAH_OK;
    switch (rule) {
    case DEFAULT_WORDS:
        for (size_t i = 0; i < sizeof default_words / sizeof *default_words && status == SAH_OK; i++)
            status = sah_tokenizer_add_split(words, default_words[i], SAH_SPLIT_ISOLATED, error);
        break;
    case GPT2_WORDS:
        return sah_tokenizer_add_byte_level(words, false, true, error);
    case SMOLLM_WORDS:
        status = sah_tokenizer_add_split(words, "\\p{N}", SAH_SPLIT_ISOLATED, error);
        return status == SAH_OK ? sah_tokenizer_add_byte_level(words, false, true, error) : status;
    case LLAMA3_WORDS:
        status = sah_tokenizer_add_split(words, llama3_words, SAH_SPLIT_ISOLATED, error);
        break;
    case QWEN2_WORDS:
        status = sah_tokenizer_add_normal_form(&tokenizer->normaliser, "NFC", error);
        if (status == SAH_OK) status = sah_tokenizer_add_split(words, qwen2_words, SAH_SPLIT_ISOLATED, error);
        break;
    }
    return status == SAH_OK ? sah_tokenizer_add_byte_level(words, false, false, error) : status;
}

/* "a b", the blank not being the first byte: a token may begin with one. */
static sah_status read_merges(const sah_gguf_value *merges, sah_merger *merger, sah_error *error)
{
    size_t at = 0;
    for (size_t i = 0; i < merges->n; i++) {
        const char *text, *blank;
        size_t size;
        sah_gguf_next_string(merges, &at, &text, &size);
        blank = size > 1 ? memchr(text + 1, ' ', size - 1) : NULL;
        if (blank == NULL) return sah_fail(error, SAH_FAILED, "GGUF merge %zu is not a pair of tokens", i);
        const size_t left = (size_t)(blank - text);
        if (sah_merger_add(merger, text, left, blank + 1, size - left - 1, (uint32_t)i, error) != SAH_OK)
            return sah_fail_in(error, "GGUF tokenizer");
    }
    return SAH_OK;
}

static sah_status read_byte_level(const sah_gguf *gguf, sah_tokenizer *tokenizer, bool *add_bos,
                                  sah_error *error)
{
    const sah_gguf_value *merges;
    word_rule rule = GPT2_WORDS;
    sah_status status = word_rule_of(gguf, &rule, error);
    if (status == SAH_OK) status = add_word_steps(rule, tokenizer, error);
    if (status == SAH_OK) status = need_array(gguf, "tokenizer.ggml.merges", SAH_GGUF_STRING, &merges, error);
    if (status == SAH_OK) status = read_merges(merges, &tokenizer->merger, error);
    if (status == SAH_OK)
        status = sah_decoder_add(&tokenizer->decoder, (sah_decode_step){.kind = SAH_DECODE_BYTES}, error);
    tokenizer->merger.ignore_merges = rule == LLAMA3_WORDS;
    *add_bos = rule == LLAMA3_WORDS;
    return status;
}

/* ---- SentencePiece ------------------------------------------------------------------------------------- */

static sah_status read_scores(const sah_gguf *gguf, const sah_gguf_value *types, sah_tokenizer *tokenizer,
                              sah_error *error)
{
    sah_merger *merger = &tokenizer->merger;
    const size_t n = tokenizer->vocab.n;
    const sah_gguf_value *array;
    float *scores = NULL;
    sah_status status = need_array(gguf, "tokenizer.ggml.scores", SAH_GGUF_F32, &array, error);
    if (status != SAH_OK) return status;
    if (array->n != n) return sah_fail(error, SAH_FAILED, "GGUF has %zu tokens but %zu scores", n, array->n);
    scores = sah_alloc(n, sizeof *scores);
    if (scores == NULL) return sah_fail_memory(error, "the scores of tokens");
    if (n > 0) memcpy(scores, array->bytes, n * sizeof *scores);
    status = sah_merger_score(merger, scores, error);
    free(scores);
    for (size_t i = 0; i < n && types != NULL && status == SAH_OK; i++) {
        if (int_item(types, i) != UNUSED) continue;
        if (merger->unused == NULL) merger->unused = sah_alloc(n, sizeof *merger->unused);
        if (merger->unused == NULL) return sah_fail_memory(error, "the types of tokens");
        merger->unused[i] = true;
    }
    return status;
}

static sah_status add_piece_decoder(bool prefix, sah_decoder *decoder, sah_error *error)
{
    sah_decode_step blanks = {.kind = SAH_DECODE_REPLACE, .text = strdup(" ")};
    if (blanks.text == NULL) return sah_fail_memory(error, "the tokenizer's decoder");
    sah_status status = sah_pattern_literal(SAH_METASPACE, &blanks.pattern, error);
    if (status != SAH_OK) {
        free(blanks.text);
        return status;
    }
    status = sah_decoder_add(decoder, blanks, error);
    if (status == SAH_OK)
        status = sah_decoder_add(decoder, (sah_decode_step){.kind = SAH_DECODE_BYTE_FALLBACK}, error);
    if (status == SAH_OK)
        status = sah_decoder_add(decoder, (sah_decode_step){.kind = SAH_DECODE_FUSE}, error);
    if (status != SAH_OK || !prefix) return status;
    sah_decode_step strip = {.kind = SAH_DECODE_STRIP, .text = strdup(" "), .begin = 1};
    if (strip.text == NULL) return sah_fail_memory(error, "the tokenizer's decoder");
    return sah_decoder_add(decoder, strip, error);
}

static sah_status read_sentencepiece(const sah_gguf *gguf, const sah_gguf_value *types,
                                     sah_tokenizer *tokenizer, bool *add_bos, sah_error *error)
{
    bool prefix;
    if (sah_gguf_find(gguf, "tokenizer.ggml.precompiled_charsmap") != NULL)
        return sah_fail(error, SAH_FAILED, "GGUF key tokenizer.ggml.precompiled_charsmap is not supported");
    sah_status status = sah_gguf_bool(gguf, "tokenizer.ggml.add_space_prefix", true, &prefix, error);
    if (status == SAH_OK) status = read_scores(gguf, types, tokenizer, error);
    if (status == SAH_OK && prefix)
        status = sah_tokenizer_add_prepend(&tokenizer->normaliser, SAH_METASPACE, false, false, error);
    if (status == SAH_OK)
        status = sah_tokenizer_add_replace(&tokenizer->normaliser, " ", SAH_METASPACE, error);
    if (status == SAH_OK) status = add_piece_decoder(prefix, &tokenizer->decoder, error);
    sah_vocab_find_bytes(&tokenizer->vocab, tokenizer->merger.bytes);
    tokenizer->merger.byte_fallback = true;
    *add_bos = true;
    return status;
}

/* ---- All together -------------------------------------------------------------------------------------- */

/* BOS, EOS and end tokens. Without a key SentencePiece's own numbers stand: unknown 0, BOS 1, EOS 2. */
static sah_status read_specials(const sah_gguf *gguf, bool sentencepiece, bool add_bos,
                                sah_tokenizer *tokenizer, sah_error *error)
{
    static const char *const ends[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    const sah_vocab *vocab = &tokenizer->vocab;
    const int64_t none = -1;
    bool add_eos = false;
    int32_t eos = -1, id = -1;
    sah_status status = token_id(gguf, "tokenizer.ggml.bos_token_id", vocab, sentencepiece ? 1 : none,
                                 &tokenizer->bos, error);
    if (status == SAH_OK)
        status = token_id(gguf, "tokenizer.ggml.eos_token_id", vocab, sentencepiece ? 2 : none, &eos, error);
    if (status == SAH_OK)
        status =
            token_id(gguf, "tokenizer.ggml.unknown_token_id", vocab, sentencepiece ? 0 : none, &id, error);
    if (status == SAH_OK && sentencepiece) tokenizer->merger.unknown = id;
    if (status == SAH_OK)
        status = sah_gguf_bool(gguf, "tokenizer.ggml.add_bos_token", add_bos, &add_bos, error);
    if (status == SAH_OK)
        status = sah_gguf_bool(gguf, "tokenizer.ggml.add_eos_token", false, &add_eos, error);
    if (status == SAH_OK && add_bos && tokenizer->bos >= 0)
        status = sah_ids_add(&tokenizer->prefix, tokenizer->bos, error);
    if (status == SAH_OK && add_eos && eos >= 0) status = sah_ids_add(&tokenizer->suffix, eos, error);
    if (status == SAH_OK) status = sah_tokenizer_add_end(tokenizer, eos, error);
    for (size_t i = 0; i < 2 && status == SAH_OK; i++) {
        status = token_id(gguf, ends[i], vocab, none, &id, error);
        if (status == SAH_OK) status = sah_tokenizer_add_end(tokenizer, id, error);
    }
    return status == SAH_OK ? sah_tokenizer_add_known_ends(tokenizer, error) : status;
}

static sah_status read_tokenizer(const sah_gguf *gguf, sah_tokenizer *tokenizer, sah_error *error)
{
    const sah_gguf_value *tokens, *types;
    const char *model;
    size_t length;
    bool add_bos = false;
    sah_status status = sah_gguf_string(gguf, "tokenizer.ggml.model", &model, &length, error);
    if (status != SAH_OK) return status;
    if (model == NULL) return sah_fail(error, SAH_FAILED, "GGUF key tokenizer.ggml.model is missing");
    const bool byte_level = length == 4 && memcmp(model, "gpt2", 4) == 0;
    const bool sentencepiece = length == 5 && memcmp(model, "llama", 5) == 0;
    if (!byte_level && !sentencepiece)
        return sah_fail(error, SAH_FAILED, "tokenizer.ggml.model \"%.*s\" is not supported", (int)length,
                        model);
    status = need_array(gguf, "tokenizer.ggml.tokens", SAH_GGUF_STRING, &tokens, error);
    if (status == SAH_OK) status = find_array(gguf, "tokenizer.ggml.token_type", SAH_GGUF_I32, &types, error);
    if (status == SAH_OK) status = read_tokens(tokens, types, tokenizer, error);
    if (status == SAH_OK)
        status = byte_level ? read_byte_level(gguf, tokenizer, &add_bos, error)
                            : read_sentencepiece(gguf, types, tokenizer, &add_bos, error);
    if (status == SAH_OK) status = read_specials(gguf, sentencepiece, add_bos, tokenizer, error);
    return status;
}

sah_status sah_tokenizer_from_gguf(const sah_gguf *gguf, sah_tokenizer **out, sah_error *error)
{
    *out = NULL;
    sah_tokenizer *tokenizer = sah_alloc(1, sizeof *tokenizer);
    if (tokenizer == NULL) return sah_fail_memory(error, "the tokenizer");
    tokenizer->bos = -1;
    tokenizer->merger.unknown = -1;
    tokenizer->merger.vocab = &tokenizer->vocab;
    sah_status status = read_tokenizer(gguf, tokenizer, error);
    if (status != SAH_OK) {
        sah_tokenizer_free(tokenizer);
        return status;
    }
    sah_tokenizer_finish(tokenizer);
    *out = tokenizer;
    return SAH_OK;
}
