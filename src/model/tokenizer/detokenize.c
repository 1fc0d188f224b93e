/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/detokenize.h"

#include <stdlib.h>
#include <string.h>

#include "model/tokenizer/characters.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/utf8.h"

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

static void free_step(sah_decode_step *step)
{
    sah_pattern_free(step->pattern);
    free(step->text);
}

sah_status sah_decoder_add(sah_decoder *decoder, sah_decode_step step, sah_error *error)
{
    if (!sah_grow(&decoder->items, &decoder->capacity, decoder->n + 1, sizeof *decoder->items)) {
        free_step(&step);
        return sah_fail_memory(error, "the tokenizer's decoder");
    }
    decoder->items[decoder->n++] = step;
    return SAH_OK;
}

void sah_decoder_free(sah_decoder *decoder)
{
    for (size_t i = 0; i < decoder->n; i++) free_step(&decoder->items[i]);
    free(decoder->items);
    *decoder = (sah_decoder){0};
}

/* Ends the item whose text has been appended to list->text. */
static sah_status end_item(sah_text_list *list, sah_error *error)
{
    if (list->text.data == NULL) sah_text_adds(&list->text, ""); /* so that places in it are places */
    if (list->text.failed || !sah_grow(&list->ends, &list->capacity, list->n + 1, sizeof *list->ends))
        return sah_fail_memory(error, "the text of tokens");
    list->ends[list->n++] = list->text.size;
    return SAH_OK;
}

sah_status sah_text_list_add(sah_text_list *list, const char *text, size_t size, sah_error *error)
{
    sah_text_add(&list->text, text, size);
    return end_item(list, error);
}

void sah_text_list_free(sah_text_list *list)
{
    free(list->text.data);
    free(list->ends);
    *list = (sah_text_list){0};
}

/* ---- The steps: one token's text ----------------------------------------------------------------------- */

/* Bytes of the byte alphabet's characters; a token with any other character stands for itself. */
static void add_bytes(const char *text, size_t size, sah_text *out)
{
    const size_t before = out->size;
    size_t length;
    for (size_t at = 0; at < size; at += length) {
        const int byte = sah_character_byte(sah_utf8_next(text + at, size - at, &length));
        if (byte < 0) {
            out->size = before;
            sah_text_add(out, text, size);
            return;
        }
        sah_text_add(out, &(char){(char)byte}, 1);
    }
}

static sah_status add_replaced(const sah_decode_step *step, const char *text, size_t size, sah_text *out,
                               sah_spans *spans, sah_error *error)
{
    sah_status status = sah_pattern_cut(step->pattern, text, size, spans, error);
    if (status != SAH_OK) return status;
    for (size_t i = 0; i < spans->n; i++) {
        const sah_span span = spans->items[i];
        if (span.match)
            sah_text_adds(out, step->text);
        else
            sah_text_add(out, text + span.begin, span.end - span.begin);
    }
    return SAH_OK;
}

static void add_stripped(const sah_decode_step *step, const char *text, size_t size, sah_text *out)
{
    const size_t length = strlen(step->text);
    for (size_t i = 0; i < step->begin && size >= length && memcmp(text, step->text, length) == 0; i++) {
        text += length;
        size -= length;
    }
    for (size_t i = 0; i < step->end && size >= length; i++) {
        if (memcmp(text + size - length, step->text, length) != 0) break;
        size -= length;
    }
    sah_text_add(out, text, size);
}

static void add_unspaced(const sah_decode_step *step, const char *text, size_t size, bool first,
                         sah_text *out)
{
    const size_t mark = strlen(step->text);
    for (size_t at = 0; at < size;) {
        if (size - at >= mark && memcmp(text + at, step->text, mark) == 0) {
            if (!(first && step->prefixed)) sah_text_adds(out, " ");
            at += mark;
        } else {
            sah_text_add(out, text + at++, 1);
        }
    }
}

/* ---- The steps: the list ------------------------------------------------------------------------------- */

/* Bytes of a maximal part of a sequence that cannot be completed (Unicode, 3.9, "Substitution of Maximal
 * Subparts"): what one U+FFFD stands for when bytes are decoded. text[0] begins no valid sequence. */
static size_t maximal_subpart(const unsigned char *text, size_t size)
{
    const unsigned first = text[0];
    size_t length = first < 0xC2 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 1;
    /* The second byte's range depends on the first (table 3-7). */
    const unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    size_t n = 1;
    if (length > size) length = size;
    if (n < length && text[1] >= low && text[1] <= high) {
        n++;
        while (n < length && text[n] >= 0x80 && text[n] <= 0xBF) n++;
    }
    return n;
}

static void add_lossy(const char *text, size_t size, sah_text *out)
{
    size_t length;
    for (size_t at = 0; at < size; at += length) {
        const uint32_t code = sah_utf8_next(text + at, size - at, &length);
        if (code == 0xFFFD && length == 1) {
            length = maximal_subpart((const unsigned char *)text + at, size - at);
            sah_text_adds(out, replacement);
        } else {
            sah_text_add(out, text + at, length);
        }
    }
}

static int hexadecimal(char digit)
{
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    return -1;
}

/* The byte that a token <0xNN> stands for; -1: it is none. */
static int fallback_byte(const char *text, size_t size)
{
    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const int high = hexadecimal(text[3]), low = hexadecimal(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Ends a run of bytes: their text, or U+FFFD for each. */
static sah_status flush_bytes(sah_text *bytes, sah_text_list *out, sah_error *error)
{
    sah_status status = SAH_OK;
    if (bytes->failed) return sah_fail_memory(error, "the text of tokens");
    if (bytes->size == 0) return SAH_OK;
    if (sah_utf8_valid(bytes->data, bytes->size)) {
        status = sah_text_list_add(out, bytes->data, bytes->size, error);
    } else {
        for (size_t i = 0; i < bytes->size && status == SAH_OK; i++)
            status = sah_text_list_add(out, replacement, 3, error);
    }
    bytes->size = 0;
    return status;
}

static sah_status byte_fallback(const sah_text_list *in, sah_text_list *out, sah_error *error)
{
    sah_text bytes = {0};
    sah_status status = SAH_OK;
    size_t begin = 0;
    for (size_t i = 0; i < in->n && status == SAH_OK; begin = in->ends[i++]) {
        const char *text = in->text.data + begin;
        const size_t size = in->ends[i] - begin;
        const int byte = fallback_byte(text, size);
        if (byte >= 0) {
            sah_text_add(&bytes, &(char){(char)byte}, 1);
            continue;
        }
        status = flush_bytes(&bytes, out, error);
        if (status == SAH_OK) status = sah_text_list_add(out, text, size, error);
    }
    if (status == SAH_OK) status = flush_bytes(&bytes, out, error);
    free(bytes.data);
    return status;
}

/* All tokens as one; `bytes`: each from the byte alphabet, and what is not UTF-8 then replaced. */
static sah_status fuse(const sah_text_list *in, bool bytes, sah_text_list *out, sah_error *error)
{
    sah_text joined = {0};
    size_t begin = 0;
    if (!bytes) return sah_text_list_add(out, in->text.data, in->text.size, error);
    for (size_t i = 0; i < in->n; begin = in->ends[i++])
        add_bytes(in->text.data + begin, in->ends[i] - begin, &joined);
    add_lossy(joined.data, joined.size, &out->text);
    sah_status status = joined.failed ? sah_fail_memory(error, "the text of tokens") : end_item(out, error);
    free(joined.data);
    return status;
}

static sah_status run_step(const sah_decode_step *step, const sah_text_list *in, sah_text_list *out,
                           sah_spans *spans, sah_error *error)
{
    sah_status status = SAH_OK;
    size_t begin = 0;
    if (step->kind == SAH_DECODE_BYTE_FALLBACK) return byte_fallback(in, out, error);
    if (step->kind == SAH_DECODE_FUSE || step->kind == SAH_DECODE_BYTES)
        return fuse(in, step->kind == SAH_DECODE_BYTES, out, error);
    for (size_t i = 0; i < in->n && status == SAH_OK; begin = in->ends[i++]) {
        const char *text = in->text.data + begin;
        const size_t size = in->ends[i] - begin;
        if (step->kind == SAH_DECODE_REPLACE)
            status = add_replaced(step, text, size, &out->text, spans, error);
        else if (step->kind == SAH_DECODE_STRIP)
            add_stripped(step, text, size, &out->text);
        else
            add_unspaced(step, text, size, i == 0, &out->text);
        if (status == SAH_OK) status = end_item(out, error);
    }
    return status;
}

sah_status sah_decoder_run(const sah_decoder *decoder, sah_text_list *tokens, sah_text *out, sah_error *error)
{
    sah_spans spans = {0};
    sah_status status = SAH_OK;
    for (size_t i = 0; i < decoder->n && status == SAH_OK; i++) {
        sah_text_list next = {0};
        status = run_step(&decoder->items[i], tokens, &next, &spans, error);
        sah_text_list_free(tokens);
        *tokens = next;
    }
    size_t begin = 0;
    for (size_t i = 0; i < tokens->n && status == SAH_OK; begin = tokens->ends[i++]) {
        if (decoder->spaced && i > 0) sah_text_adds(out, " ");
        sah_text_add(out, tokens->text.data + begin, tokens->ends[i] - begin);
    }
    sah_spans_free(&spans);
    return status;
}
