/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "model/template/thinking.h"
#include "model/tokenizer/added.h"
#include "model/tokenizer/ends.h"
#include "model/tokenizer/tokenizer_build.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/utf8.h"

void sah_tokenizer_free(sah_tokenizer *tokenizer)
{
    if (tokenizer == NULL) return;
    sah_vocab_free(&tokenizer->vocab);
    sah_added_free(&tokenizer->raw_added);
    sah_added_free(&tokenizer->normal_added);
    sah_steps_free(&tokenizer->normaliser);
    sah_steps_free(&tokenizer->words);
    sah_merger_free(&tokenizer->merger);
    sah_unigram_free(&tokenizer->unigram);
    sah_decoder_free(&tokenizer->decoder);
    free(tokenizer->prefix.items);
    free(tokenizer->suffix.items);
    free(tokenizer->ends.items);
    free(tokenizer);
}

/* ---- Encoding ------------------------------------------------------------------------------------------ */

/* The text as pieces: added tokens, and words in the model's alphabet. */
static sah_status cut_into_words(const sah_tokenizer *tokenizer, const char *text, size_t length,
                                 sah_pieces *pieces, sah_error *error)
{
    sah_spans spans = {0};
    pieces->text.data = sah_utf8_repair(text, length, &pieces->text.size);
    if (pieces->text.data == NULL) return sah_fail_memory(error, "a text");
    pieces->text.capacity = pieces->text.size + 1;
    const sah_piece whole = {0, pieces->text.size, -1, true};
    sah_status status = whole.size > 0 ? sah_pieces_add(pieces, whole, error) : SAH_OK;
    if (status == SAH_OK) status = sah_added_cut(&tokenizer->raw_added, pieces, error);
    if (status == SAH_OK) status = sah_steps_apply(&tokenizer->normaliser, pieces, &spans, error);
    if (status == SAH_OK) status = sah_added_cut(&tokenizer->normal_added, pieces, error);
    if (status == SAH_OK) status = sah_steps_apply(&tokenizer->words, pieces, &spans, error);
    sah_spans_free(&spans);
    return status;
}

static sah_status encode_pieces(const sah_tokenizer *tokenizer, const sah_pieces *pieces, sah_ids *ids,
                                sah_error *error)
{
    const sah_unigram *unigram = &tokenizer->unigram;
    sah_merge_scratch scratch = {0};
    sah_unigram_scratch ways = {0};
    sah_status status = SAH_OK;
    for (size_t i = 0; i < pieces->n && status == SAH_OK; i++) {
        const sah_piece piece = pieces->items[i];
        if (piece.id >= 0) { /* where all are, there may be no text */
            status = sah_ids_add(ids, piece.id, error);
            continue;
        }
        const char *text = pieces->text.data + piece.at;
        if (unigram->scores != NULL)
            status = sah_unigram_word(unigram, text, piece.size, &ways, ids, error);
        else
            status = sah_merge_word(&tokenizer->merger, text, piece.size, &scratch, ids, error);
    }
    sah_unigram_scratch_free(&ways);
    sah_merge_scratch_free(&scratch);
    return status;
}

/* Puts the special tokens around the ids. BOS is left out where the text has it already. */
static sah_status add_specials(const sah_tokenizer *tokenizer, sah_ids *ids, sah_error *error)
{
    const sah_ids *prefix = &tokenizer->prefix, *suffix = &tokenizer->suffix;
    sah_ids out = {0};
    sah_status status = SAH_OK;
    for (size_t i = 0; i < prefix->n && status == SAH_OK; i++) {
        const bool twice =
            prefix->items[i] == tokenizer->bos && ids->n > 0 && ids->items[0] == tokenizer->bos;
        if (!twice) status = sah_ids_add(&out, prefix->items[i], error);
    }
    for (size_t i = 0; i < ids->n && status == SAH_OK; i++) status = sah_ids_add(&out, ids->items[i], error);
    for (size_t i = 0; i < suffix->n && status == SAH_OK; i++)
        status = sah_ids_add(&out, suffix->items[i], error);
    free(ids->items);
    *ids = out;
    return status;
}

sah_status sah_tokenizer_encode(const sah_tokenizer *tokenizer, const char *text, size_t length,
                                bool add_special, int32_t **ids, size_t *n, sah_error *error)
{
    sah_pieces pieces = {0};
    sah_ids out = {0};
    *ids = NULL;
    *n = 0;
    sah_status status = cut_into_words(tokenizer, text, length, &pieces, error);
    if (status == SAH_OK) status = encode_pieces(tokenizer, &pieces, &out, error);
    if (status == SAH_OK && add_special) status = add_specials(tokenizer, &out, error);
    sah_pieces_free(&pieces);
    if (status != SAH_OK) {
        free(out.items);
        return status;
    }
    if (out.items == NULL)
        out.items = sah_alloc(1, sizeof *out.items); /* no ids: still a pointer for free() */
    if (out.items == NULL) return sah_fail_memory(error, "the tokens of a text");
    *ids = out.items;
    *n = out.n;
    return SAH_OK;
}

/* ---- Decoding ------------------------------------------------------------------------------------------ */

/* A C string ends at the first NUL, so a NUL in the text becomes U+FFFD, as do bytes of a GGUF token that are
 * not UTF-8. */
static char *as_string(const sah_text *text)
{
    size_t size, at = 0;
    char *valid = sah_utf8_repair(text->data != NULL ? text->data : "", text->size, &size);
    if (valid == NULL) return NULL;
    size_t room = size + 1;
    for (size_t i = 0; i < size; i++) room += valid[i] == '\0' ? 2 : 0;
    if (room == size + 1) return valid;
    char *out = sah_alloc(room, 1);
    for (size_t i = 0; i < size && out != NULL; i++) {
        if (valid[i] == '\0')
            at += sah_utf8_put(0xFFFD, out + at);
        else
            out[at++] = valid[i];
    }
    if (out != NULL) out[at] = '\0';
    free(valid);
    return out;
}

static bool keeps_all(const sah_tokenizer *tokenizer, int32_t id)
{
    (void)tokenizer;
    (void)id;
    return true;
}

static bool keeps_text(const sah_tokenizer *tokenizer, int32_t id)
{
    return !tokenizer->vocab.items[id].special;
}

/* Between the parts of a message, too, a GGUF file's tokens are text. */
static bool keeps_thinking(const sah_tokenizer *tokenizer, int32_t id)
{
    if (keeps_text(tokenizer, id)) return true;
    const char *token = sah_vocab_text(&tokenizer->vocab, id, NULL);
    const sah_known known = sah_tokenizer_known(tokenizer, 0, token);
    return known == SAH_KNOWN_SHOWN || known == SAH_KNOWN_BETWEEN || sah_is_thinking_token(token);
}

static sah_status decode(const sah_tokenizer *tokenizer, const int32_t *ids, size_t n,
                         bool (*keeps)(const sah_tokenizer *tokenizer, int32_t id), char **text,
                         sah_error *error)
{
    sah_text_list tokens = {0};
    sah_text out = {0};
    sah_status status = SAH_OK;
    *text = NULL;
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        size_t size;
        const char *token = sah_vocab_decoded(&tokenizer->vocab, ids[i], &size);
        if (token == NULL) continue; /* rows of the embedding past the last token have no text */
        if (!keeps(tokenizer, ids[i])) continue;
        status = sah_text_list_add(&tokens, token, size, error);
    }
    if (status == SAH_OK) status = sah_decoder_run(&tokenizer->decoder, &tokens, &out, error);
    if (status == SAH_OK) {
        *text = out.failed ? NULL : as_string(&out);
        if (*text == NULL) status = sah_fail_memory(error, "the text of tokens");
    }
    sah_text_list_free(&tokens);
    free(out.data);
    return status;
}

sah_status sah_tokenizer_decode(const sah_tokenizer *tokenizer, const int32_t *ids, size_t n,
                                bool skip_special, char **text, sah_error *error)
{
    return decode(tokenizer, ids, n, skip_special ? keeps_text : keeps_all, text, error);
}

sah_status sah_tokenizer_decode_response(const sah_tokenizer *tokenizer, const int32_t *ids, size_t n,
                                         char **text, sah_error *error)
{
    return decode(tokenizer, ids, n, keeps_thinking, text, error);
}

/* ---- Questions ----------------------------------------------------------------------------------------- */

size_t sah_tokenizer_size(const sah_tokenizer *tokenizer)
{
    return tokenizer->vocab.n;
}

int32_t sah_tokenizer_bos(const sah_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t sah_tokenizer_eos(const sah_tokenizer *tokenizer)
{
    return tokenizer->ends.n > 0 ? tokenizer->ends.items[0] : -1;
}

const char *sah_tokenizer_token(const sah_tokenizer *tokenizer, int32_t id)
{
    return sah_vocab_text(&tokenizer->vocab, id, NULL);
}

bool sah_tokenizer_is_end(const sah_tokenizer *tokenizer, int32_t id)
{
    return sah_ids_has(&tokenizer->ends, id);
}

int32_t sah_tokenizer_id(const sah_tokenizer *tokenizer, const char *token)
{
    return sah_vocab_find(&tokenizer->vocab, token, strlen(token));
}
