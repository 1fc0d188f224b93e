/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/judge/normalise.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "eval/judge/scripts.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/unicode.h"
#include "util/utf8.h"

/* ---- Cleaning: code points in, code points out --------------------------------------------------------- */

enum {
    LONGEST_TAG = 60, /* code points of an HTML tag */
    LONGEST_LINK = 300, /* of a markdown link's target */
    LONGEST_QUOTE = 500, /* of quoted speech */
    WORDS_BEFORE_QUOTE = 3 /* a quotation that opens the response is the response */
};

static bool is_word_code(uint32_t code)
{
    return sah_unicode_letter(code) || sah_unicode_number(code);
}

/* The apostrophes people and models type: typographic, modifier letters, prime, grave, acute, full width. */
static bool is_apostrophe(uint32_t code)
{
    static const uint32_t all[] = {'\'',   0x2018, 0x2019, 0x201B, 0x02BC, 0x02B9,
                                   0x2032, '`',    0x00B4, 0x055A, 0xFF07};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (code == all[i]) return true;
    }
    return false;
}

/* Quotation marks that are apostrophes as well. */
static bool is_single_quote(uint32_t code)
{
    return code == '\'' || code == 0x2018 || code == 0x201B;
}

/* Quotation marks: one that opens, and those that close what it opened. */
static const struct quote {
    uint32_t open, closes[2];
} quotes[] = {
    {'"', {'"', '"'}},          {0x201C, {0x201D, 0x201D}}, /* “ ” */
    {0x201E, {0x201C, 0x201D}}, /* „ “ */
    {0x00AB, {0x00BB, 0x00BB}}, /* « » */
    {0x300C, {0x300D, 0x300D}}, /* corner brackets */
    {0x300E, {0x300F, 0x300F}},
};

/* Position of the first code of codes[from..n), at most `most` further on, that is one of the two; 0: none. */
static size_t find_closing(const uint32_t *codes, size_t from, size_t n, size_t most, uint32_t one,
                           uint32_t other)
{
    size_t end = n - from < most ? n : from + most;
    for (size_t i = from; i < end; i++)
        if (codes[i] == one || codes[i] == other) return i;
    return 0;
}

/* Where the quotation that codes[i] opens closes; 0: it opens none. */
static size_t find_quote_closing(const uint32_t *codes, size_t i, size_t n)
{
    for (size_t k = 0; k < sizeof quotes / sizeof *quotes; k++)
        if (codes[i] == quotes[k].open)
            return find_closing(codes, i + 1, n, LONGEST_QUOTE, quotes[k].closes[0], quotes[k].closes[1]);
    return 0;
}

/* Where '...' that begins at codes[i] closes: an apostrophe that no letter follows; 0: it is no quotation. A
 * quotation begins behind a blank, in front of a letter, and stays in its line. */
static size_t find_single_closing(const uint32_t *codes, size_t i, size_t n)
{
    if (!is_single_quote(codes[i]) || (i > 0 && is_word_code(codes[i - 1]))) return 0;
    if (i + 1 >= n || !is_word_code(codes[i + 1])) return 0;
    size_t end = n - i < LONGEST_QUOTE ? n : i + LONGEST_QUOTE;
    for (size_t k = i + 2; k < end && codes[k] != '\n'; k++)
        if (is_apostrophe(codes[k]) && (k + 1 >= n || !is_word_code(codes[k + 1]))) return k;
    return 0;
}

/* True when a sentence goes on behind codes[i..n): "..." the guard said. */
static bool sentence_goes_on(const uint32_t *codes, size_t i, size_t n)
{
    while (i < n && codes[i] == ' ') i++;
    return i < n && utf8proc_category((utf8proc_int32_t)codes[i]) == UTF8PROC_CATEGORY_LL;
}

static bool is_ascii_letter(uint32_t code)
{
    return (code | 0x20) >= 'a' && (code | 0x20) <= 'z';
}

/* Where the thing that begins at codes[i] ends when it is no part of what is said: an HTML tag, a special
 * token, the target of a markdown link, quoted speech. Returns i when it is text. */
static size_t skip_markup(const uint32_t *codes, size_t i, size_t n, size_t words)
{
    size_t end = 0;
    if (codes[i] == '<' && i + 1 < n &&
        (codes[i + 1] == '/' || codes[i + 1] == '|' || is_ascii_letter(codes[i + 1]))) {
        end = find_closing(codes, i + 1, n, LONGEST_TAG, '>', '>');
    } else if (codes[i] == ']' && i + 1 < n && codes[i + 1] == '(') {
        end = find_closing(codes, i + 2, n, LONGEST_LINK, ')', ')');
    } else {
        end = is_single_quote(codes[i]) ? find_single_closing(codes, i, n) : find_quote_closing(codes, i, n);
        if (end != 0 && words < WORDS_BEFORE_QUOTE && !sentence_goes_on(codes, end + 1, n)) end = 0;
    }
    return end == 0 ? i : end + 1;
}

/* Takes markup and quoted speech out of codes[0..n) in place, makes every apostrophe an ASCII one; returns
 * the new n. */
static size_t clean(uint32_t *codes, size_t n)
{
    size_t kept = 0, words = 0;
    bool in_word = false;
    for (size_t i = 0; i < n;) {
        size_t next = skip_markup(codes, i, n, words);
        if (next > i) {
            codes[kept++] = ' ';
            in_word = false;
            i = next;
            continue;
        }
        uint32_t code = codes[i++];
        bool is_word = is_word_code(code);
        words += is_word && !in_word;
        in_word = is_word;
        codes[kept++] = is_apostrophe(code) ? '\'' : code;
    }
    return kept;
}

/* ---- Splitting into words and sentences ---------------------------------------------------------------- */

typedef struct splitter {
    sah_normal *out;
    char *word; /* the word being read */
    size_t word_size, word_capacity;
    size_t sentence_first;
    bool failed;
} splitter;

static void add_word(splitter *s, const char *word, size_t n)
{
    sah_normal *out = s->out;
    if (n == 0 || s->failed) return;
    if (!sah_grow(&out->text, &out->text_capacity, out->text_size + n + 1, 1) ||
        !sah_grow(&out->words, &out->words_capacity, out->n_words + 1, sizeof *out->words)) {
        s->failed = true;
        return;
    }
    out->words[out->n_words++] = out->text_size;
    memcpy(out->text + out->text_size, word, n);
    out->text[out->text_size + n] = '\0';
    out->text_size += n + 1;
}

/* English contractions, with the apostrophe and as they are typed without it: what is left of the word, and
 * the word that the rest stands for. Possessive 's becomes "is" as well, which no phrase minds. */
static const struct contraction {
    const char *ending;
    bool whole; /* the ending is the whole word */
    const char *stem, *tail;
} contractions[] = {
    {"cannot", true, "can", "not"}, {"can't", true, "can", "not"},   {"cant", true, "can", "not"},
    {"won't", true, "will", "not"}, {"wont", true, "will", "not"},   {"shan't", true, "shall", "not"},
    {"dont", true, "do", "not"},    {"doesnt", true, "does", "not"}, {"couldnt", true, "could", "not"},
    {"im", true, "i", "am"},        {"let's", true, "let", "us"},    {"n't", false, "", "not"},
    {"'m", false, "", "am"},        {"'re", false, "", "are"},       {"'ve", false, "", "have"},
    {"'ll", false, "", "will"},     {"'d", false, "", "would"},      {"'s", false, "", "is"},
};

/* Adds a word, spelled out; apostrophes that belong to no English contraction part it ("d'accord"). */
static void add_spelled_out(splitter *s, const char *word, size_t n)
{
    for (size_t i = 0; i < sizeof contractions / sizeof *contractions; i++) {
        const struct contraction *c = &contractions[i];
        size_t length = strlen(c->ending);
        if (n < length || memcmp(word + n - length, c->ending, length) != 0) continue;
        if (c->whole != (n == length)) continue;
        if (c->whole)
            add_word(s, c->stem, strlen(c->stem));
        else
            add_spelled_out(s, word, n - length);
        add_word(s, c->tail, strlen(c->tail));
        return;
    }
    const char *apostrophe = n > 0 ? memchr(word, '\'', n) : NULL;
    if (apostrophe == NULL) {
        add_word(s, word, n);
        return;
    }
    size_t before = (size_t)(apostrophe - word);
    add_word(s, word, before);
    add_spelled_out(s, apostrophe + 1, n - before - 1);
}

static void end_word(splitter *s)
{
    while (s->word_size > 0 && s->word[s->word_size - 1] == '\'') s->word_size--;
    if (s->word_size > 0) add_spelled_out(s, s->word, s->word_size);
    s->word_size = 0;
}

static void end_sentence(splitter *s)
{
    sah_normal *out = s->out;
    end_word(s);
    size_t n = out->n_words - s->sentence_first;
    if (n == 0 || s->failed) return;
    if (!sah_grow(&out->sentences, &out->sentences_capacity, out->n_sentences + 1, sizeof *out->sentences)) {
        s->failed = true;
        return;
    }
    out->sentences[out->n_sentences++] = (sah_sentence){s->sentence_first, n};
    s->sentence_first = out->n_words;
}

static void add_code(splitter *s, uint32_t code)
{
    char bytes[4];
    size_t n = sah_utf8_put(code, bytes);
    if (!sah_grow(&s->word, &s->word_capacity, s->word_size + n, 1)) {
        s->failed = true;
        return;
    }
    memcpy(s->word + s->word_size, bytes, n);
    s->word_size += n;
}

/* True when a sentence ends at `code`; `next` is what follows (0: nothing). A point inside "3.5" or "a.b"
 * ends nothing. */
static bool ends_sentence(uint32_t code, uint32_t next)
{
    switch (code) {
    case '.':
        return !is_word_code(next);
    case '!':
    case '?':
    case ';':
    case '\n':
    case '\r':
    case 0x061F: /* Arabic question mark */
    case 0x06D4: /* Urdu full stop */
    case 0x0964: /* danda */
    case 0x2028:
    case 0x2029:
    case 0x3002:
        return true; /* ideographic full stop; the full-width ! and ? are folded to ASCII */
    default:
        return false;
    }
}

/* "Answer:", "Final response:" in front of a sentence are labels, not part of it. */
static void drop_label(splitter *s)
{
    enum { LABEL_WORDS = 2 };
    end_word(s);
    if (s->out->n_words - s->sentence_first <= LABEL_WORDS) end_sentence(s);
}

static void split(splitter *s, const char *text, size_t size)
{
    for (size_t i = 0, length; i < size && !s->failed; i += length) {
        uint32_t code = sah_utf8_next(text + i, size - i, &length);
        size_t after = i + length, unused;
        uint32_t next = after < size ? sah_utf8_next(text + after, size - after, &unused) : 0;
        if (code != '\'' && is_word_code(code)) {
            bool alone = sah_script_unspaced(code);
            if (alone) end_word(s);
            add_code(s, code);
            if (alone) end_word(s);
        } else if (code == '\'') {
            if (s->word_size > 0) add_code(s, code);
        } else if (ends_sentence(code, next)) {
            end_sentence(s);
        } else if (code == ':' && !is_word_code(next)) {
            drop_label(s);
        } else {
            end_word(s);
        }
    }
    end_sentence(s);
}

/* ---- All of it ----------------------------------------------------------------------------------------- */

/* text[0..length) as code points, one per byte at most; *n of them. */
static uint32_t *decode(const char *text, size_t length, size_t *n)
{
    uint32_t *codes = sah_alloc(length, sizeof *codes);
    *n = 0;
    if (codes == NULL) return NULL;
    for (size_t i = 0, bytes; i < length; i += bytes)
        codes[(*n)++] = sah_utf8_next(text + i, length - i, &bytes);
    return codes;
}

static char *encode(const uint32_t *codes, size_t n, size_t *size)
{
    char *text = sah_alloc(n, 4);
    *size = 0;
    if (text == NULL) return NULL;
    for (size_t i = 0; i < n; i++) *size += sah_utf8_put(codes[i], text + *size);
    return text;
}

sah_status sah_normalise(const char *text, size_t length, sah_normal *out, sah_error *error)
{
    /* NFKD with case folding (Unicode, section 3.13); marks are stripped, so accents do not matter; IGNORE
     * drops zero-width characters and soft hyphens. */
    const utf8proc_option_t options =
        UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_STRIPMARK | UTF8PROC_IGNORE;
    utf8proc_uint8_t *folded = NULL;
    splitter s = {.out = out};
    char *cleaned = NULL;
    size_t n, size;
    *out = (sah_normal){0};
    uint32_t *codes = decode(text, length, &n);
    if (codes != NULL) cleaned = encode(codes, clean(codes, n), &size);
    if (cleaned == NULL) {
        s.failed = true;
        goto done;
    }
    utf8proc_ssize_t folded_size =
        utf8proc_map((const utf8proc_uint8_t *)cleaned, (utf8proc_ssize_t)size, &folded, options);
    if (folded_size < 0) {
        s.failed = true;
        goto done;
    }
    split(&s, (const char *)folded, (size_t)folded_size);
done:
    free(codes);
    free(cleaned);
    free(folded);
    free(s.word);
    if (!s.failed) return SAH_OK;
    sah_normal_free(out);
    return sah_fail_memory(error, "a response");
}

void sah_normal_free(sah_normal *normal)
{
    if (normal == NULL) return;
    free(normal->text);
    free(normal->words);
    free(normal->sentences);
    *normal = (sah_normal){0};
}
