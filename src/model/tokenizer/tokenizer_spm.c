/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer from a Hugging Face directory's tokenizer.model, where there is no tokenizer.json: built as
 * transformers 5 builds it. Its classes differ in what they take from the file (docs/tokens.md). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer/added.h"
#include "model/tokenizer/added_json.h"
#include "model/tokenizer/sentencepiece.h"
#include "model/tokenizer/tokenizer_files.h"
#include "model/tokenizer/tokenizer_spm.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/utf8.h"

typedef enum spm_class {
    AS_THE_FILE_SAYS, /* TokenizersBackend */
    LLAMA, /* a blank in front of the text, no other normalisation */
    CODE_LLAMA, /* the same with BOS unless the configuration says no */
    GEMMA /* nothing in front */
} spm_class;

typedef struct spm_build {
    const sah_spm *spm;
    sah_tokenizer_files files;
    spm_class class;
    sah_tokenizer *tokenizer;
    const char *where;
    sah_error *error;
} spm_build;

/* ---- The class ----------------------------------------------------------------------------------------- */

static bool is_among(const char *const *list, const char *name)
{
    for (; *list != NULL; list++)
        if (strcmp(*list, name) == 0) return true;
    return false;
}

/* Is `name` the class, with or without "Fast" behind it? */
static bool is_class(const char *name, const char *class)
{
    const size_t n = strlen(class);
    return name != NULL && strncmp(name, class, n) == 0 && (name[n] == '\0' || strcmp(name + n, "Fast") == 0);
}

/* tokenizer_class, but for the types of model to which transformers gives a class of their own whatever
 * the files say. */
static spm_class class_of(const sah_tokenizer_files *files)
{
    static const char *const plain[] = {"mistral",
                                        "mixtral",
                                        "ministral",
                                        "ministral3",
                                        "mistral3",
                                        "phi3",
                                        "phimoe",
                                        "granite",
                                        "granitemoe",
                                        "glm",
                                        "glm4",
                                        "glm4_moe",
                                        "olmo2",
                                        "olmo3",
                                        "granitemoehybrid",
                                        "granitemoeshared",
                                        "stablelm",
                                        "persimmon",
                                        "internlm2",
                                        "internlm3",
                                        "minicpm3",
                                        "nemotron",
                                        "jamba",
                                        "arctic",
                                        "llava",
                                        "llava_next",
                                        NULL};
    static const char *const gemma[] = {"gemma",   "gemma2",       "gemma3",          "gemma3_text",
                                        "gemma3n", "gemma3n_text", "recurrent_gemma", NULL};
    const char *name = json_string_value(json_object_get(files->config, "tokenizer_class"));
    const char *type = json_string_value(json_object_get(files->model, "model_type"));
    if (name == NULL) name = json_string_value(json_object_get(files->model, "tokenizer_class"));
    if (type != NULL && is_among(plain, type)) return AS_THE_FILE_SAYS;
    if (name == NULL) return type != NULL && is_among(gemma, type) ? GEMMA : AS_THE_FILE_SAYS;
    if (is_class(name, "LlamaTokenizer")) return LLAMA;
    if (is_class(name, "CodeLlamaTokenizer")) return CODE_LLAMA;
    if (is_class(name, "GemmaTokenizer")) return GEMMA;
    return AS_THE_FILE_SAYS;
}

/* ---- Vocabulary ---------------------------------------------------------------------------------------- */

/* The name that added_tokens_decoder gives to an id in a piece's place; NULL: none. */
static const char *other_name(const spm_build *b, size_t id)
{
    char key[24];
    snprintf(key, sizeof key, "%zu", id);
    const json_t *token = json_object_get(json_object_get(b->files.config, "added_tokens_decoder"), key);
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

/* Pieces, and names in their places, but for a name that another piece goes on bearing. */
static sah_status read_vocabulary(spm_build *b)
{
    const sah_spm *spm = b->spm;
    sah_vocab own = {0}, *vocab = &b->tokenizer->vocab;
    sah_status status = SAH_OK;
    const bool renames = b->class == AS_THE_FILE_SAYS && spm->kind == SAH_SPM_BPE &&
                         json_object_size(json_object_get(b->files.config, "added_tokens_decoder")) > 0;
    for (size_t i = 0; renames && i < spm->n && status == SAH_OK; i++) {
        if (other_name(b, i) != NULL) continue;
        const sah_bytes text = spm->pieces[i].text;
        status = sah_vocab_add(&own, (int64_t)i, text.data, text.size, true, false, b->error);
    }
    for (size_t i = 0; i < spm->n && status == SAH_OK; i++) {
        sah_bytes text = spm->pieces[i].text;
        const char *name = renames ? other_name(b, i) : NULL;
        if (name != NULL && sah_vocab_find(&own, name, strlen(name)) < 0)
            text = (sah_bytes){name, strlen(name)};
        status = sah_vocab_add(vocab, (int64_t)i, text.data, text.size, true, false, b->error);
    }
    sah_vocab_free(&own);
    return status == SAH_OK ? SAH_OK : sah_fail_in(b->error, b->where);
}

/* ---- The model ----------------------------------------------------------------------------------------- */

/* A piece's turn: the higher its score the earlier, of equals the one that stands first. */
typedef struct turn {
    float score;
    int32_t id;
} turn;

static int by_turn(const void *a, const void *b)
{
    const turn *x = a, *y = b;
    if (x->score > y->score || x->score < y->score) return x->score < y->score ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Adds every way to make the piece of two others, the shorter left part first. */
static sah_status add_merges(spm_build *b, int32_t id, bool normal_only, uint32_t *rank)
{
    sah_merger *merger = &b->tokenizer->merger;
    const sah_spm_piece *pieces = b->spm->pieces;
    size_t size;
    const char *text = sah_vocab_text(merger->vocab, id, &size);
    for (size_t cut = 1; cut < size; cut++) {
        if (((unsigned char)text[cut] & 0xC0) == 0x80) continue; /* inside a character */
        const int32_t left = sah_vocab_find(merger->vocab, text, cut);
        const int32_t right = left >= 0 ? sah_vocab_find(merger->vocab, text + cut, size - cut) : -1;
        if (right < 0) continue;
        if (normal_only && (pieces[left].type != SAH_PIECE_NORMAL || pieces[right].type != SAH_PIECE_NORMAL))
            continue;
        sah_status status = sah_merger_add_ids(merger, left, right, id, (*rank)++, b->error);
        if (status != SAH_OK) return status;
    }
    return SAH_OK;
}

static sah_status read_merges(spm_build *b)
{
    const sah_spm *spm = b->spm;
    const bool by_score =
        b->class == AS_THE_FILE_SAYS; /* the others go by the pieces' order, and take all pieces */
    turn *turns = sah_alloc(spm->n, sizeof *turns);
    sah_status status = turns != NULL ? SAH_OK : sah_fail_memory(b->error, b->where);
    uint32_t rank = 0;
    size_t n = 0;
    for (size_t i = 0; i < spm->n && status == SAH_OK; i++) {
        const sah_spm_piece *piece = &spm->pieces[i];
        if (by_score && piece->type != SAH_PIECE_NORMAL) continue;
        if (by_score && !__builtin_isfinite(piece->score))
            status =
                sah_fail(b->error, SAH_FAILED, "%s: the score of piece %zu is not a number", b->where, i);
        turns[n++] = (turn){by_score ? piece->score : 0.0F, (int32_t)i};
    }
    if (status == SAH_OK && by_score) qsort(turns, n, sizeof *turns, by_turn);
    for (size_t i = 0; i < n && status == SAH_OK; i++) status = add_merges(b, turns[i].id, by_score, &rank);
    free(turns);
    return status;
}

static bool has_user_defined(const sah_spm *spm)
{
    for (size_t i = 0; i < spm->n; i++)
        if (spm->pieces[i].type == SAH_PIECE_USER_DEFINED) return true;
    return false;
}

static sah_status read_bpe(spm_build *b)
{
    sah_merger *merger = &b->tokenizer->merger;
    const sah_bytes unknown = b->spm->unknown_text;
    const json_t *named = json_object_get(b->files.config, "unk_token");
    merger->fuse_unknown = true;
    merger->byte_fallback = b->class != AS_THE_FILE_SAYS || b->spm->byte_fallback;
    merger->ignore_merges = b->class == AS_THE_FILE_SAYS && has_user_defined(b->spm);
    sah_vocab_find_bytes(merger->vocab, merger->bytes);
    if (b->class == AS_THE_FILE_SAYS)
        merger->unknown = sah_vocab_find(merger->vocab, unknown.data, unknown.size);
    else if (b->class != LLAMA)
        merger->unknown = named != NULL ? sah_tokenizer_named(b->files.config, "unk_token", b->tokenizer)
                                        : sah_tokenizer_id(b->tokenizer, "<unk>");
    return read_merges(b);
}

static sah_status read_unigram(spm_build *b)
{
    const sah_spm *spm = b->spm;
    sah_unigram *unigram = &b->tokenizer->unigram;
    double lowest = HUGE_VAL, *scores = sah_alloc(spm->n, sizeof *scores);
    if (scores == NULL) return sah_fail_memory(b->error, b->where);
    for (size_t i = 0; i < spm->n; i++) {
        scores[i] = (double)spm->pieces[i].score;
        if (scores[i] < lowest) lowest = scores[i];
    }
    sah_status status = sah_unigram_init(unigram, &b->tokenizer->vocab, scores, lowest, b->error);
    free(scores);
    if (status != SAH_OK) return sah_fail_in(b->error, b->where);
    if (spm->unknown < 0 || (size_t)spm->unknown >= spm->n)
        return sah_fail(b->error, SAH_FAILED, "%s: the unknown piece is none of its %zu pieces", b->where,
                        spm->n);
    unigram->unknown = (int32_t)spm->unknown;
    unigram->byte_fallback = spm->byte_fallback;
    sah_vocab_find_bytes(unigram->vocab, unigram->bytes);
    return SAH_OK;
}

/* ---- Steps --------------------------------------------------------------------------------------------- */

/* Pieces that the user defined are never merged with what stands beside them. */
static sah_status add_user_defined(spm_build *b)
{
    sah_step step = {.kind = SAH_STEP_CUT, .tokens = sah_alloc(1, sizeof *step.tokens)};
    sah_status status = step.tokens != NULL ? SAH_OK : sah_fail_memory(b->error, b->where);
    for (size_t i = 0; i < b->spm->n && status == SAH_OK; i++) {
        if (b->spm->pieces[i].type != SAH_PIECE_USER_DEFINED || b->spm->pieces[i].text.size == 0) continue;
        sah_added piece = {.id = (int32_t)i};
        piece.text = (char *)sah_vocab_text(&b->tokenizer->vocab, piece.id, &piece.size);
        status = sah_added_add(step.tokens, piece, b->error);
    }
    if (status == SAH_OK) sah_added_sort(step.tokens);
    if (status == SAH_OK) return sah_steps_add(&b->tokenizer->words, step, b->error);
    if (step.tokens != NULL) sah_added_free(step.tokens);
    free(step.tokens);
    return status;
}

static sah_status add_file_steps(spm_build *b, bool first_only)
{
    const sah_spm *spm = b->spm;
    sah_steps *steps = &b->tokenizer->normaliser, *words = &b->tokenizer->words;
    sah_step map = {.kind = SAH_STEP_CHARSMAP, .clusters = true};
    sah_status status = SAH_OK;
    if (spm->charsmap.size > 0) {
        status = sah_charsmap_new(spm->charsmap.data, spm->charsmap.size, &map.charsmap, b->error);
        if (status != SAH_OK) return sah_fail_in(b->error, b->where);
        status = sah_steps_add(steps, map, b->error);
    }
    if (status == SAH_OK) status = sah_tokenizer_add_blanks(steps, spm->trim, spm->escape, b->error);
    if (status == SAH_OK && spm->dummy_prefix && !spm->escape)
        status = sah_tokenizer_add_replace(words, " ", SAH_METASPACE, b->error);
    if (status == SAH_OK && spm->dummy_prefix)
        status = sah_tokenizer_add_prepend(words, SAH_METASPACE, first_only, first_only, b->error);
    return status == SAH_OK ? add_user_defined(b) : status;
}

static sah_status add_steps(spm_build *b)
{
    sah_tokenizer *tokenizer = b->tokenizer;
    const json_t *config = b->files.config, *legacy = json_object_get(config, "legacy");
    const bool prefix = !json_is_false(json_object_get(config, "add_prefix_space"));
    sah_status status;
    if (b->class == AS_THE_FILE_SAYS) {
        status = add_file_steps(b, json_is_false(legacy));
        if (status != SAH_OK) return status;
        return sah_tokenizer_add_piece_decoder(&tokenizer->decoder, b->spm->byte_fallback,
                                               b->spm->dummy_prefix, b->error);
    }
    if (b->class == GEMMA) {
        status = sah_tokenizer_add_replace(&tokenizer->normaliser, " ", SAH_METASPACE, b->error);
        if (status != SAH_OK) return status;
        return sah_tokenizer_add_piece_decoder(&tokenizer->decoder, true, false, b->error);
    }
    const bool always = b->class == LLAMA && json_is_true(legacy);
    status = sah_tokenizer_add_replace(&tokenizer->words, " ", SAH_METASPACE, b->error);
    if (status == SAH_OK && prefix)
        status = sah_tokenizer_add_prepend(&tokenizer->words, SAH_METASPACE, true, !always, b->error);
    if (status != SAH_OK) return status;
    return sah_tokenizer_add_piece_decoder(&tokenizer->decoder, true, prefix, b->error);
}

/* ---- Special tokens ------------------------------------------------------------------------------------ */

static sah_status set_default(spm_build *b, const char *key, const char *text, size_t size)
{
    if (json_object_get(b->files.config, key) != NULL) return SAH_OK;
    if (json_object_set_new(b->files.config, key, json_stringn(text, size)) == 0) return SAH_OK;
    if (sah_utf8_valid(text, size)) return sah_fail_memory(b->error, "the tokenizer");
    return sah_fail(b->error, SAH_FAILED, "%s: the name of its %s is not text", b->where, key);
}

/* Names that the configuration does not give, by the class. */
static sah_status set_defaults(spm_build *b)
{
    const sah_spm *spm = b->spm;
    sah_status status = SAH_OK;
    if (b->class == AS_THE_FILE_SAYS) {
        if (spm->bos >= 0) status = set_default(b, "bos_token", spm->bos_text.data, spm->bos_text.size);
        if (spm->eos >= 0 && status == SAH_OK)
            status = set_default(b, "eos_token", spm->eos_text.data, spm->eos_text.size);
        if (spm->unknown >= 0 && status == SAH_OK)
            status = set_default(b, "unk_token", spm->unknown_text.data, spm->unknown_text.size);
        return status;
    }
    const bool gemma = b->class == GEMMA;
    status = set_default(b, "unk_token", "<unk>", 5);
    if (status == SAH_OK) status = set_default(b, "bos_token", gemma ? "<bos>" : "<s>", gemma ? 5 : 3);
    if (status == SAH_OK) status = set_default(b, "eos_token", gemma ? "<eos>" : "</s>", gemma ? 5 : 4);
    if (status == SAH_OK && gemma) status = set_default(b, "pad_token", "<pad>", 5);
    if (status == SAH_OK && gemma) status = set_default(b, "mask_token", "<mask>", 6);
    return status;
}

/* Control pieces, and what the user defined where the class has no steps for it, as a list of added tokens.
 * json_decref() frees it. */
static json_t *own_added(const spm_build *b)
{
    json_t *list = json_array();
    for (size_t i = 0; i < b->spm->n && list != NULL; i++) {
        const int64_t type = b->spm->pieces[i].type;
        const bool user = type == SAH_PIECE_USER_DEFINED && b->class != AS_THE_FILE_SAYS;
        size_t size;
        const char *text = sah_vocab_text(&b->tokenizer->vocab, (int32_t)i, &size);
        if ((type != SAH_PIECE_CONTROL && !user) || size == 0) continue;
        json_t *token = json_pack("{s:s#, s:I, s:b, s:b}", "content", text, (int)size, "id", (json_int_t)i,
                                  "special", !user, "normalized", 0);
        if (token == NULL || json_array_append_new(list, token) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static bool is_there(const json_t *value)
{
    return json_array_size(value) > 0 || json_object_size(value) > 0;
}

/* Where every part of a text gets a blank in front, tokens are looked for in the text as it comes. */
static void look_in_raw_text(const spm_build *b)
{
    const char *key;
    json_t *token;
    if (b->class != AS_THE_FILE_SAYS || !b->spm->dummy_prefix) return;
    json_object_foreach(json_object_get(b->files.config, "added_tokens_decoder"), key, token)
    {
        if (json_is_object(token)) json_object_set_new(token, "normalized", json_false());
    }
}

/* A list of special tokens in the configuration stands in for the file's. */
static sah_status add_added(spm_build *b)
{
    const json_t *config = b->files.config;
    const bool listed = is_there(json_object_get(config, "extra_special_tokens")) ||
                        is_there(json_object_get(config, "additional_special_tokens"));
    json_t *own = listed ? json_array() : own_added(b);
    if (own == NULL) return sah_fail_memory(b->error, b->where);
    look_in_raw_text(b);
    sah_status status = sah_json_added_tokens(own, &b->files, b->tokenizer, b->where, b->error);
    json_decref(own);
    return status;
}

/* BOS and EOS around a text: only where the configuration asks for them, but for BOS in Code Llama. */
static sah_status add_around(spm_build *b)
{
    const json_t *bos = json_object_get(b->files.config, "add_bos_token");
    sah_tokenizer *tokenizer = b->tokenizer;
    sah_status status = sah_tokenizer_files_ends(&b->files, tokenizer, b->error);
    if (status != SAH_OK) return status;
    const bool add_bos = bos != NULL ? json_is_true(bos) : b->class == CODE_LLAMA;
    const int32_t eos = sah_tokenizer_named(b->files.config, "eos_token", tokenizer);
    if (add_bos && tokenizer->bos >= 0) status = sah_ids_add(&tokenizer->prefix, tokenizer->bos, b->error);
    if (status == SAH_OK && eos >= 0 && json_is_true(json_object_get(b->files.config, "add_eos_token")))
        status = sah_ids_add(&tokenizer->suffix, eos, b->error);
    return status;
}

/* ---- All together -------------------------------------------------------------------------------------- */

sah_status sah_tokenizer_from_spm(const sah_spm *spm, const char *directory, const char *where,
                                  sah_tokenizer **out, sah_error *error)
{
    spm_build b = {.spm = spm, .where = where, .error = error};
    *out = NULL;
    b.tokenizer = sah_tokenizer_new();
    sah_status status = b.tokenizer != NULL ? SAH_OK : sah_fail_memory(error, where);
    if (status == SAH_OK) status = sah_tokenizer_files_read(directory, &b.files, error);
    if (status != SAH_OK) goto end;
    b.class = class_of(&b.files);
    status = read_vocabulary(&b);
    if (status == SAH_OK) status = spm->kind == SAH_SPM_BPE ? read_bpe(&b) : read_unigram(&b);
    if (status == SAH_OK) status = add_steps(&b);
    if (status == SAH_OK) status = set_defaults(&b);
    if (status == SAH_OK) status = add_added(&b);
    if (status == SAH_OK) status = add_around(&b);
end:
    sah_tokenizer_files_free(&b.files);
    if (status != SAH_OK) {
        sah_tokenizer_free(b.tokenizer);
        return status;
    }
    sah_tokenizer_finish(b.tokenizer);
    *out = b.tokenizer;
    return SAH_OK;
}
