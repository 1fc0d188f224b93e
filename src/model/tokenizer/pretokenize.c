/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/pretokenize.h"
#include "model/tokenizer/added.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "model/tokenizer/characters.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/unicode.h"
#include "util/utf8.h"

static void free_step(sah_step *step)
{
    sah_pattern_free(step->pattern);
    sah_charsmap_free(step->charsmap);
    if (step->tokens != NULL) sah_added_free(step->tokens);
    free(step->tokens);
    free(step->text);
}

sah_status sah_steps_add(sah_steps *steps, sah_step step, sah_error *error)
{
    if (!sah_grow(&steps->items, &steps->capacity, steps->n + 1, sizeof *steps->items)) {
        free_step(&step);
        return sah_fail_memory(error, "the tokenizer's steps");
    }
    steps->items[steps->n++] = step;
    return SAH_OK;
}

void sah_steps_free(sah_steps *steps)
{
    for (size_t i = 0; i < steps->n; i++) free_step(&steps->items[i]);
    free(steps->items);
    *steps = (sah_steps){0};
}

static sah_status normalise(const sah_step *step, const char *text, size_t size, sah_text *out,
                            sah_error *error)
{
    utf8proc_uint8_t *normal = NULL;
    const utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &normal,
                                            (utf8proc_option_t)step->form);
    if (n == UTF8PROC_ERROR_NOMEM) return sah_fail_memory(error, "the normalised text");
    if (n < 0) return sah_fail(error, SAH_FAILED, "normalising the text: %s", utf8proc_errmsg(n));
    sah_text_add(out, (const char *)normal, (size_t)n);
    free(normal);
    return SAH_OK;
}

static void prepend(const sah_step *step, const char *text, size_t size, bool first, sah_text *out)
{
    const size_t length = strlen(step->text);
    const bool there = size >= length && memcmp(text, step->text, length) == 0;
    if (!(step->unless_there && there) && !(step->first_only && !first))
        sah_text_add(out, step->text, length);
    sah_text_add(out, text, size);
}

static sah_status replace(const sah_step *step, const char *text, size_t size, sah_text *out,
                          sah_spans *spans, bool *begins, sah_error *error)
{
    sah_status status = sah_pattern_cut(step->pattern, text, size, spans, error);
    if (status != SAH_OK) return status;
    *begins = !(spans->n > 0 && spans->items[0].match && step->text[0] == '\0');
    for (size_t i = 0; i < spans->n; i++) {
        const sah_span span = spans->items[i];
        if (span.match)
            sah_text_adds(out, step->text);
        else
            sah_text_add(out, text + span.begin, span.end - span.begin);
    }
    return SAH_OK;
}

static void strip(const sah_step *step, const char *text, size_t size, sah_text *out, bool *begins)
{
    size_t begin = size, end = 0, length;
    for (size_t at = 0; at < size; at += length) {
        if (sah_is_white_space(sah_utf8_next(text + at, size - at, &length))) continue;
        if (begin == size) begin = at;
        end = at + length;
    }
    if (end == 0) return; /* nothing but white space */
    if (!step->left) begin = 0;
    if (!step->right) end = size;
    *begins = begin == 0;
    sah_text_add(out, text + begin, end - begin);
}

/* One character at a time, without regard to its neighbours, as the tokenizers library does it. */
static void lowercase(const char *text, size_t size, sah_text *out)
{
    char character[4];
    size_t length;
    for (size_t at = 0; at < size; at += length) {
        const uint32_t code = sah_utf8_next(text + at, size - at, &length);
        const uint32_t lower = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
        sah_text_add(out, character, sah_utf8_put(code == 0x130 ? 'i' : lower, character));
        if (code == 0x130) sah_text_adds(out, "\xCC\x87"); /* the dot of I becomes one above */
    }
}

static void strip_marks(const char *text, size_t size, sah_text *out)
{
    size_t length;
    for (size_t at = 0; at < size; at += length) {
        const uint32_t code = sah_utf8_next(text + at, size - at, &length);
        const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
        if (category != UTF8PROC_CATEGORY_MN && category != UTF8PROC_CATEGORY_MC &&
            category != UTF8PROC_CATEGORY_ME)
            sah_text_add(out, text + at, length);
    }
}

static void nmt(const char *text, size_t size, sah_text *out)
{
    size_t length;
    for (size_t at = 0; at < size; at += length) {
        const uint32_t code = sah_utf8_next(text + at, size - at, &length);
        const bool blank = code == 0x09 || code == 0x0A || code == 0x0C || code == 0x0D || code == 0x1680 ||
                           (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 ||
                           code == 0x2581 || code == 0xFEFF || code == 0xFFFD;
        const bool gone = (code >= 0x01 && code <= 0x08) || code == 0x0B || (code >= 0x0E && code <= 0x1F) ||
                          code == 0x7F || code == 0x8F || code == 0x9F;
        if (blank)
            sah_text_adds(out, " ");
        else if (!gone)
            sah_text_add(out, text + at, length);
    }
}

static void to_byte_alphabet(const char *text, size_t size, sah_text *out)
{
    char character[4];
    for (size_t i = 0; i < size; i++)
        sah_text_add(out, character, sah_utf8_put(sah_byte_character((unsigned char)text[i]), character));
}

/* Joins or drops spans as `split` says; what is left are the pieces, in order, some of them empty. */
static void settle_spans(sah_split split, sah_spans *spans)
{
    sah_span *s = spans->items;
    size_t n = 0;
    bool previous = false; /* was the span before a match? */
    if (split == SAH_SPLIT_WITH_NEXT) {
        /* From the right: a match takes the beginning of the piece that stands behind it. */
        size_t kept = spans->n;
        for (size_t i = spans->n; i-- > 0;) {
            const sah_span span = s[i];
            if (span.match && !previous && kept < spans->n)
                s[kept].begin = span.begin;
            else
                s[--kept] = span;
            previous = span.match;
        }
        memmove(s, s + kept, (spans->n - kept) * sizeof *s);
        spans->n -= kept;
        return;
    }
    for (size_t i = 0; i < spans->n; i++) {
        const sah_span span = s[i];
        const bool joins = (split == SAH_SPLIT_CONTIGUOUS && span.match == previous) ||
                           (split == SAH_SPLIT_WITH_PREVIOUS && span.match && !previous);
        if (joins && n > 0)
            s[n - 1].end = span.end;
        else if (!(split == SAH_SPLIT_REMOVED && span.match))
            s[n++] = span;
        previous = span.match;
    }
    spans->n = n;
}

static sah_status split_piece(const sah_step *step, const char *text, sah_piece piece, sah_pieces *out,
                              sah_spans *spans, sah_error *error)
{
    sah_status status = sah_pattern_cut(step->pattern, text + piece.at, piece.size, spans, error);
    if (status != SAH_OK) return status;
    if (step->invert) {
        for (size_t i = 0; i < spans->n; i++) spans->items[i].match = !spans->items[i].match;
    }
    settle_spans(step->split, spans);
    const size_t base = out->text.size;
    sah_text_add(&out->text, text + piece.at, piece.size);
    for (size_t i = 0; i < spans->n && status == SAH_OK; i++) {
        const sah_span span = spans->items[i];
        const sah_piece part = {base + span.begin, span.end - span.begin, -1, piece.first && span.begin == 0};
        if (part.size > 0) status = sah_pieces_add(out, part, error);
    }
    return status;
}

static sah_status apply(const sah_step *step, const char *text, sah_piece piece, sah_pieces *out,
                        sah_spans *spans, sah_error *error)
{
    const size_t base = out->text.size;
    sah_status status = SAH_OK;
    bool begins = true; /* is the beginning of the piece still there? */
    if (piece.id >= 0) return sah_pieces_add(out, piece, error);
    if (step->kind == SAH_STEP_SPLIT) return split_piece(step, text, piece, out, spans, error);
    text += piece.at;
    switch (step->kind) {
    case SAH_STEP_NORMALISE:
        status = normalise(step, text, piece.size, &out->text, error);
        break;
    case SAH_STEP_PREPEND:
        prepend(step, text, piece.size, piece.first, &out->text);
        break;
    case SAH_STEP_REPLACE:
        status = replace(step, text, piece.size, &out->text, spans, &begins, error);
        break;
    case SAH_STEP_STRIP:
        strip(step, text, piece.size, &out->text, &begins);
        break;
    case SAH_STEP_CHARSMAP:
        sah_charsmap_apply(step->charsmap, step->clusters, text, piece.size, &out->text);
        break;
    case SAH_STEP_LOWERCASE:
        lowercase(text, piece.size, &out->text);
        break;
    case SAH_STEP_STRIP_MARKS:
        strip_marks(text, piece.size, &out->text);
        break;
    case SAH_STEP_NMT:
        nmt(text, piece.size, &out->text);
        break;
    default:
        to_byte_alphabet(text, piece.size, &out->text);
    }
    piece.at = base;
    piece.size = out->text.size - base;
    piece.first = piece.first && begins;
    return status == SAH_OK && piece.size > 0 ? sah_pieces_add(out, piece, error) : status;
}

sah_status sah_steps_apply(const sah_steps *steps, sah_pieces *pieces, sah_spans *scratch, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; i < steps->n && status == SAH_OK; i++) {
        sah_pieces out = {0};
        if (steps->items[i].kind == SAH_STEP_CUT) {
            status = sah_added_cut(steps->items[i].tokens, pieces, error);
            continue;
        }
        for (size_t j = 0; j < pieces->n && status == SAH_OK; j++)
            status = apply(&steps->items[i], pieces->text.data, pieces->items[j], &out, scratch, error);
        if (status == SAH_OK && out.text.failed) status = sah_fail_memory(error, "the words of a text");
        sah_pieces_free(pieces);
        *pieces = out;
    }
    return status;
}
