/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer from GGUF metadata (keys tokenizer.ggml.*): "gpt2" is byte-level BPE, whose word pattern goes
 * by the name in "pre"; "llama" is SentencePiece's BPE with scores,
 * "t5" its unigram model, "gemma4" merges of characters. */
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer/added.h"
#include "model/tokenizer/ends.h"
#include "model/tokenizer/tokenizer_build.h"
#include "model/tokenizer/word_rules.h"
#include "util/alloc.h"
#include "util/error.h"

enum { UNDEFINED, NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE }; /* the format's token types */

/* Is BOS put in front? */
typedef enum bos_rule { BOS_IF_ASKED, BOS_UNLESS_NOT, BOS_ALWAYS } bos_rule;

typedef struct gguf_kind {
    const char *name;
    int32_t bos, eos, unknown; /* ids without a key; -1: none */
    bool add_eos;
    const char *words; /* the word rule, whatever the file says; NULL: what it says */
    sah_status (*read)(const sah_gguf *gguf, const struct gguf_kind *kind, const sah_gguf_value *types,
                       sah_tokenizer *tokenizer, bos_rule *add_bos, sah_error *error);
} gguf_kind;

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

/* Phi-3's tokens take the white space behind them with them, but for those that come from Llama 2. The file does not
 * say so; llama.cpp goes by the model's name. */
static bool is_phi3(const sah_gguf *gguf)
{
    const char *name;
    size_t length;
    sah_error error = {0};
    if (sah_gguf_string(gguf, "general.name", &name, &length, &error) != SAH_OK || name == NULL) return false;
    for (size_t i = 0; i + 4 <= length; i++) {
        if (strncasecmp(name + i, "phi3", 4) == 0) return true;
        if (i + 5 <= length && strncasecmp(name + i, "phi-3", 5) == 0) return true;
    }
    return false;
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
        const bool in_model = is_model_type(types != NULL ? int_item(types, i) : NORMAL);
        status = sah_vocab_add(&tokenizer->vocab, (int64_t)i, text, size, in_model, false, error);
    }
    return status == SAH_OK ? SAH_OK : sah_fail_in(error, "GGUF tokenizer");
}

/* Which tokens are looked for in texts, and which of them are left out when a text is read: by their types, unless
 * the name of one says more. */
static sah_status read_added(const sah_gguf *gguf, const sah_gguf_value *types, unsigned given,
                             sah_tokenizer *tokenizer, sah_error *error)
{
    static const char *const plain[] = {"<unk>", "<s>", "<|endoftext|>"}; /* Phi-3's that strip nothing */
    const bool strips = is_phi3(gguf);
    sah_vocab *vocab = &tokenizer->vocab;
    sah_status status = SAH_OK;
    for (size_t i = 0; i < vocab->n && status == SAH_OK; i++) {
        sah_added added = {.id = (int32_t)i, .right_strip = strips};
        added.text = (char *)sah_vocab_text(vocab, added.id, &added.size);
        if (added.size == 0) continue;
        int32_t type = types != NULL ? int_item(types, i) : NORMAL;
        const sah_known known = sah_tokenizer_known(tokenizer, given, added.text);
        if (known == SAH_KNOWN_END || known == SAH_KNOWN_CONTROL) type = CONTROL;
        if (known == SAH_KNOWN_SHOWN || known == SAH_KNOWN_BETWEEN) type = USER_DEFINED;
        if (known == SAH_KNOWN_TEXT) type = NORMAL;
        vocab->items[i].special = type == CONTROL || type == UNKNOWN;
        if (!vocab->items[i].special && type != USER_DEFINED) continue;
        for (size_t p = 0; p < sizeof plain / sizeof *plain; p++)
            if (strcmp(plain[p], added.text) == 0) added.right_strip = false;
        status = sah_added_add(&tokenizer->raw_added, added, error);
    }
    return status == SAH_OK ? SAH_OK : sah_fail_in(error, "GGUF tokenizer");
}

/* A token id under `key`; `otherwise` (-1: none) when it is not there. */
static sah_status token_id(const sah_gguf *gguf, const char *key, const sah_vocab *vocab, int64_t otherwise,
                           int32_t *out, sah_error *error)
{
    int64_t id = -1;
    sah_status status = sah_gguf_int(gguf, key, otherwise, -1, UINT32_MAX, &id, error);
    if (status != SAH_OK) return status;
    /* Some writers put 2^32 - 1 for "none". */
    if (id >= (int64_t)vocab->n && id != UINT32_MAX)
        return sah_fail(error, SAH_FAILED, "GGUF key %s is %lld, past the last token", key, (long long)id);
    if (id == UINT32_MAX) id = otherwise; /* as llama.cpp has it */
    *out = id < (int64_t)vocab->n ? (int32_t)id : -1;
    return SAH_OK;
}

/* ---- Ranked merges ------------------------------------------------------------------------------------- */

/* The rule that the file names; the rule for "default" where it names none, as llama.cpp has it. */
static sah_status word_rule_of(const sah_gguf *gguf, const gguf_kind *kind, const sah_word_rule **out,
                               sah_error *error)
{
    const char *name = NULL;
    size_t length = 0;
    sah_status status = SAH_OK;
    if (kind->words == NULL) status = sah_gguf_string(gguf, "tokenizer.ggml.pre", &name, &length, error);
    if (status != SAH_OK) return status;
    if (name == NULL || length == 0) {
        name = kind->words != NULL ? kind->words : "default";
        length = strlen(name);
    }
    *out = sah_word_rule_find(name, length);
    if (*out != NULL) return SAH_OK;
    return sah_fail(error, SAH_NOT_SUPPORTED, "tokenizer.ggml.pre \"%.*s\" is not supported", (int)length,
                    name);
}

static sah_status add_word_steps(const sah_word_rule *rule, sah_tokenizer *tokenizer, sah_error *error)
{
    sah_steps *normaliser = &tokenizer->normaliser, *words = &tokenizer->words;
    sah_status status = SAH_OK;
    if (rule->form != NULL) status = sah_tokenizer_add_normal_form(normaliser, rule->form, error);
    if (rule->alphabet == SAH_WORDS_PIECES && status == SAH_OK)
        status = sah_tokenizer_add_replace(normaliser, " ", SAH_METASPACE, error);
    for (size_t i = 0; rule->patterns[i] != NULL && status == SAH_OK; i++)
        status = sah_tokenizer_add_split(words, rule->patterns[i], SAH_SPLIT_ISOLATED, error);
    if (status != SAH_OK || rule->alphabet == SAH_WORDS_PIECES) return status;
    return sah_tokenizer_add_byte_level(words, false, false, error);
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

/* ---- SentencePiece ------------------------------------------------------------------------------------- */

/* The scores of all tokens, 0 where the file has none (as llama.cpp has it); free() frees them. */
static sah_status scores_of(const sah_gguf *gguf, size_t n, float **out, sah_error *error)
{
    const sah_gguf_value *array;
    *out = NULL;
    sah_status status = find_array(gguf, "tokenizer.ggml.scores", SAH_GGUF_F32, &array, error);
    if (status != SAH_OK) return status;
    if (array != NULL && array->n != n)
        return sah_fail(error, SAH_FAILED, "GGUF has %zu tokens but %zu scores", n, array->n);
    *out = sah_alloc(n, sizeof **out);
    if (*out == NULL) return sah_fail_memory(error, "the scores of tokens");
    for (size_t i = 0; array == NULL && i < n; i++) (*out)[i] = 0;
    if (array != NULL && n > 0) memcpy(*out, array->bytes, n * sizeof **out);
    return SAH_OK;
}

static sah_status read_scores(const sah_gguf *gguf, const sah_gguf_value *types, sah_tokenizer *tokenizer,
                              sah_error *error)
{
    sah_merger *merger = &tokenizer->merger;
    const size_t n = tokenizer->vocab.n;
    float *scores;
    sah_status status = scores_of(gguf, n, &scores, error);
    if (status != SAH_OK) return status;
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

/* Ranked merges of words. */
static sah_status read_merging(const sah_gguf *gguf, const gguf_kind *kind, const sah_gguf_value *types,
                               sah_tokenizer *tokenizer, bos_rule *add_bos, sah_error *error)
{
    const sah_gguf_value *merges;
    const sah_word_rule *rule;
    (void)types;
    sah_status status = word_rule_of(gguf, kind, &rule, error);
    if (status == SAH_OK) status = add_word_steps(rule, tokenizer, error);
    if (status == SAH_OK) status = need_array(gguf, "tokenizer.ggml.merges", SAH_GGUF_STRING, &merges, error);
    if (status == SAH_OK) status = read_merges(merges, &tokenizer->merger, error);
    if (status != SAH_OK) return status;
    tokenizer->merger.ignore_merges = rule->ignore_merges;
    *add_bos = rule->always_bos ? BOS_ALWAYS : rule->add_bos ? BOS_UNLESS_NOT : BOS_IF_ASKED;
    if (rule->alphabet == SAH_WORDS_BYTES)
        return sah_decoder_add(&tokenizer->decoder, (sah_decode_step){.kind = SAH_DECODE_BYTES}, error);
    sah_vocab_find_bytes(&tokenizer->vocab, tokenizer->merger.bytes);
    tokenizer->merger.byte_fallback = true;
    return sah_tokenizer_add_piece_decoder(&tokenizer->decoder, true, false, error);
}

static sah_status read_sentencepiece(const sah_gguf *gguf, const gguf_kind *kind, const sah_gguf_value *types,
                                     sah_tokenizer *tokenizer, bos_rule *add_bos, sah_error *error)
{
    bool prefix;
    sah_status status = sah_gguf_bool(gguf, "tokenizer.ggml.add_space_prefix", true, &prefix, error);
    if (status == SAH_OK) status = read_scores(gguf, types, tokenizer, error);
    if (status == SAH_OK && prefix)
        status = sah_tokenizer_add_prepend(&tokenizer->normaliser, SAH_METASPACE, false, false, error);
    if (status == SAH_OK)
        status = sah_tokenizer_add_replace(&tokenizer->normaliser, " ", SAH_METASPACE, error);
    if (status == SAH_OK) status = sah_tokenizer_add_piece_decoder(&tokenizer->decoder, true, prefix, error);
    sah_vocab_find_bytes(&tokenizer->vocab, tokenizer->merger.bytes);
    tokenizer->merger.byte_fallback = true;
    *add_bos = BOS_UNLESS_NOT;
    if (status != SAH_OK) return status;
    return token_id(gguf, "tokenizer.ggml.unknown_token_id", &tokenizer->vocab, kind->unknown,
                    &tokenizer->merger.unknown, error);
}

/* The map of characters, where the file has one: an array of bytes. */
static sah_status add_charsmap(const sah_gguf *gguf, sah_steps *steps, sah_error *error)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const sah_gguf_value *value = sah_gguf_find(gguf, key);
    sah_step step = {.kind = SAH_STEP_CHARSMAP};
    if (value == NULL) return SAH_OK;
    if (value->type != SAH_GGUF_ARRAY || (value->item != SAH_GGUF_I8 && value->item != SAH_GGUF_U8))
        return sah_fail(error, SAH_FAILED, "GGUF key %s has an unexpected type", key);
    if (value->n == 0) return SAH_OK;
    sah_status status = sah_charsmap_new(value->bytes, value->n, &step.charsmap, error);
    return status == SAH_OK ? sah_steps_add(steps, step, error) : sah_fail_in(error, key);
}

/* User defined pieces score 0 here, so that they win. */
static sah_status read_unigram_scores(const sah_gguf *gguf, const sah_gguf_value *types,
                                      sah_tokenizer *tokenizer, sah_error *error)
{
    const size_t n = tokenizer->vocab.n;
    double lowest = FLT_MAX;
    float *own;
    sah_status status = scores_of(gguf, n, &own, error);
    if (status != SAH_OK) return status;
    double *scores = sah_alloc(n, sizeof *scores);
    if (scores == NULL) status = sah_fail_memory(error, "the scores of tokens");
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        const int32_t type = types != NULL ? int_item(types, i) : NORMAL;
        scores[i] = type == USER_DEFINED ? 0.0 : (double)own[i];
        if (type == NORMAL && scores[i] < lowest) lowest = scores[i];
    }
    if (status == SAH_OK)
        status = sah_unigram_init(&tokenizer->unigram, &tokenizer->vocab, scores, lowest, error);
    free(scores);
    free(own);
    return status;
}

static sah_status read_unigram(const sah_gguf *gguf, const gguf_kind *kind, const sah_gguf_value *types,
                               sah_tokenizer *tokenizer, bos_rule *add_bos, sah_error *error)
{
    sah_steps *normaliser = &tokenizer->normaliser;
    bool prefix, trim;
    sah_status status = sah_gguf_bool(gguf, "tokenizer.ggml.add_space_prefix", false, &prefix, error);
    if (status == SAH_OK)
        status = sah_gguf_bool(gguf, "tokenizer.ggml.remove_extra_whitespaces", false, &trim, error);
    if (status == SAH_OK) status = read_unigram_scores(gguf, types, tokenizer, error);
    if (status == SAH_OK) status = add_charsmap(gguf, normaliser, error);
    if (status == SAH_OK) status = sah_tokenizer_add_blanks(normaliser, trim, true, error);
    if (status == SAH_OK && (prefix || trim))
        status = sah_tokenizer_add_prepend(normaliser, SAH_METASPACE, false, false, error);
    if (status == SAH_OK)
        status = sah_tokenizer_add_piece_decoder(&tokenizer->decoder, true, prefix || trim, error);
    *add_bos = BOS_IF_ASKED;
    if (status != SAH_OK) return status;
    return token_id(gguf, "tokenizer.ggml.unknown_token_id", &tokenizer->vocab, kind->unknown,
                    &tokenizer->unigram.unknown, error);
}

/* ---- All together -------------------------------------------------------------------------------------- */

/* What tokenizer.ggml.model names, and what stands where the file does not say. */
static const gguf_kind kinds[] = {
    {"gpt2", -1, -1, -1, false, NULL, read_merging},
    {"gemma4", -1, -1, -1, false, "gemma4", read_merging},
    {"llama", 1, 2, 0, false, NULL, read_sentencepiece},
    {"t5", -1, 1, 2, true, NULL, read_unigram},
};

/* BOS, EOS and unknown token, and which of them stand around a text. */
static sah_status read_specials(const sah_gguf *gguf, const gguf_kind *kind, bos_rule add_bos,
                                sah_tokenizer *tokenizer, int32_t *eos, sah_error *error)
{
    const sah_vocab *vocab = &tokenizer->vocab;
    bool bos = add_bos != BOS_IF_ASKED, add_eos = kind->add_eos;
    sah_status status =
        token_id(gguf, "tokenizer.ggml.bos_token_id", vocab, kind->bos, &tokenizer->bos, error);
    if (status == SAH_OK)
        status = token_id(gguf, "tokenizer.ggml.eos_token_id", vocab, kind->eos, eos, error);
    if (status == SAH_OK) status = sah_gguf_bool(gguf, "tokenizer.ggml.add_bos_token", bos, &bos, error);
    if (status == SAH_OK)
        status = sah_gguf_bool(gguf, "tokenizer.ggml.add_eos_token", add_eos, &add_eos, error);
    if (status == SAH_OK && (bos || add_bos == BOS_ALWAYS) && tokenizer->bos >= 0)
        status = sah_ids_add(&tokenizer->prefix, tokenizer->bos, error);
    if (status == SAH_OK && add_eos && *eos >= 0) status = sah_ids_add(&tokenizer->suffix, *eos, error);
    return status;
}

static sah_status add_end(sah_tokenizer *tokenizer, int32_t id, sah_error *error)
{
    const char *text = sah_tokenizer_token(tokenizer, id);
    const sah_known known = text != NULL ? sah_tokenizer_known(tokenizer, 0, text) : SAH_KNOWN_NOT;
    if (known == SAH_KNOWN_BETWEEN || known == SAH_KNOWN_TEXT) return SAH_OK;
    return sah_tokenizer_add_end(tokenizer, id, error);
}

/* The tokens that end an answer by their keys; `given` gets a bit for each role of filling in that has one. */
static sah_status read_ends(const sah_gguf *gguf, int32_t eos, sah_tokenizer *tokenizer, unsigned *given,
                            sah_error *error)
{
    static const char *const turns[] = {"eot", "eom"};
    sah_status status = add_end(tokenizer, eos, error);
    bool ends = true;
    for (size_t i = 0; status == SAH_OK; i++) {
        const char *name = i < 2 ? turns[i] : sah_fill_role(i - 2, &ends);
        char key[64];
        int32_t id = -1;
        if (name == NULL) break;
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", name);
        status = token_id(gguf, key, &tokenizer->vocab, -1, &id, error);
        if (status == SAH_OK && ends) status = add_end(tokenizer, id, error);
        if (i >= 2 && id >= 0) *given |= 1U << (i - 2);
    }
    return status;
}

static sah_status find_kind(const sah_gguf *gguf, const gguf_kind **out, sah_error *error)
{
    const char *model;
    size_t length;
    sah_status status = sah_gguf_string(gguf, "tokenizer.ggml.model", &model, &length, error);
    if (status != SAH_OK) return status;
    if (model == NULL) return sah_fail(error, SAH_FAILED, "GGUF key tokenizer.ggml.model is missing");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        *out = &kinds[i];
        if (strlen(kinds[i].name) == length && memcmp(model, kinds[i].name, length) == 0) return SAH_OK;
    }
    return sah_fail(error, SAH_NOT_SUPPORTED, "tokenizer.ggml.model \"%.*s\" is not supported", (int)length,
                    model);
}

static sah_status read_tokenizer(const sah_gguf *gguf, sah_tokenizer *tokenizer, sah_error *error)
{
    const sah_gguf_value *tokens, *types;
    const gguf_kind *kind;
    bos_rule add_bos = BOS_IF_ASKED;
    int32_t eos = -1;
    unsigned given = 0;
    sah_status status = find_kind(gguf, &kind, error);
    if (status == SAH_OK) status = need_array(gguf, "tokenizer.ggml.tokens", SAH_GGUF_STRING, &tokens, error);
    if (status == SAH_OK) status = find_array(gguf, "tokenizer.ggml.token_type", SAH_GGUF_I32, &types, error);
    if (status == SAH_OK) status = read_tokens(tokens, types, tokenizer, error);
    if (status == SAH_OK) status = kind->read(gguf, kind, types, tokenizer, &add_bos, error);
    if (status == SAH_OK) status = read_specials(gguf, kind, add_bos, tokenizer, &eos, error);
    if (status == SAH_OK) status = read_ends(gguf, eos, tokenizer, &given, error);
    if (status == SAH_OK) status = sah_tokenizer_add_known_ends(tokenizer, given, error);
    if (status == SAH_OK) status = read_added(gguf, types, given, tokenizer, error);
    return status;
}

sah_status sah_tokenizer_from_gguf(const sah_gguf *gguf, sah_tokenizer **out, sah_error *error)
{
    *out = NULL;
    sah_tokenizer *tokenizer = sah_tokenizer_new();
    if (tokenizer == NULL) return sah_fail_memory(error, "the tokenizer");
    sah_status status = read_tokenizer(gguf, tokenizer, error);
    if (status != SAH_OK) {
        sah_tokenizer_free(tokenizer);
        return status;
    }
    sah_tokenizer_finish(tokenizer);
    *out = tokenizer;
    return SAH_OK;
}
