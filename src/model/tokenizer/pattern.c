/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/tokenizer/pattern.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

enum { LONGEST_REGEX = 1 << 16, MATCH_LIMIT = 20000000, DEPTH_LIMIT = 1000000, HEAP_LIMIT_KIB = 262144 };

struct sah_pattern {
    pcre2_code *code; /* NULL: a literal */
    pcre2_match_context *limits;
    char *literal;
    size_t literal_size;
};

/* ---- From Oniguruma's spelling to PCRE2's -------------------------------------------------------------- */

typedef struct translation {
    const char *regex, *at;
    bool in_class;
    sah_text out;
    sah_error *error;
} translation;

static sah_status refuse(const translation *t, const char *what)
{
    return sah_fail(t->error, SAH_NOT_SUPPORTED, "regular expression \"%s\": %s is not supported", t->regex,
                    what);
}

/* White space is Unicode's White_Space in Oniguruma; PCRE2 adds U+180E. Letters, marks, decimal numbers and
 * connectors make Oniguruma's word characters; PCRE2's lack the marks. Outside of brackets Oniguruma looks
 * characters up to U+00FF up in a table of its own, in which the small figures and fractions are word
 * characters too. */
static const char space_class[] = "\\t-\\r\\x{85}\\p{Z}";
static const char word_class[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
static const char word_table[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";

static void add_class(translation *t, const char *members, bool negated)
{
    if (t->in_class) {
        sah_text_adds(&t->out, members);
        return;
    }
    sah_text_adds(&t->out, negated ? "[^" : "[");
    sah_text_adds(&t->out, members);
    sah_text_adds(&t->out, "]");
}

/* \p{NAME} and \P{NAME}, `at` on the letter. Names of one or two letters are general categories in both
 * libraries; PCRE2 takes a longer one for script extensions where Oniguruma means the script. */
static sah_status translate_property(translation *t)
{
    const char *name = t->at + 2, *end = t->at[1] == '{' ? strchr(name, '}') : NULL;
    if (end == NULL) return refuse(t, "a property without braces");
    const char *caret = *name == '^' ? "^" : "";
    name += strlen(caret);
    size_t size = (size_t)(end - name);
    if (size == 0 || strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") != size)
        return refuse(t, "this form of a property");
    const bool script = size > 2 && strncmp(name, "Alphabetic}", 11) != 0;
    sah_text_addf(&t->out, "\\%c{%s%s%.*s}", *t->at, caret, script ? "sc:" : "", (int)size, name);
    t->at = end + 1;
    return SAH_OK;
}

static bool is_hexadecimal(const char *text, size_t n)
{
    return strspn(text, "0123456789abcdefABCDEF") >= n;
}

/* An escape, `at` on the letter behind the backslash. */
static sah_status translate_escape(translation *t)
{
    const char letter = *t->at;
    size_t size;
    switch (letter) {
    case 's':
        add_class(t, space_class, false);
        break;
    case 'S':
        /* Inside a class the one character that PCRE2 holds for white space and Oniguruma does not is added.
         */
        add_class(t, t->in_class ? "\\S\\x{180e}" : space_class, true);
        break;
    case 'w':
        add_class(t, t->in_class ? word_class : word_table, false);
        break;
    case 'W':
        if (t->in_class) return refuse(t, "\\W inside brackets");
        add_class(t, word_table, true);
        break;
    case 'h':
        add_class(t, "0-9a-fA-F", false);
        break;
    case 'v':
        sah_text_adds(&t->out, "\\x{0b}"); /* one vertical tab; PCRE2's \v is a class */
        break;
    case 'p':
    case 'P':
        return translate_property(t);
    case 'u':
        if (!is_hexadecimal(t->at + 1, 4)) return refuse(t, "\\u without four digits");
        sah_text_addf(&t->out, "\\x{%.4s}", t->at + 1);
        t->at += 5;
        return SAH_OK;
    case 'x':
        size = strspn(t->at + 1 + (t->at[1] == '{'), "0123456789abcdefABCDEF");
        if (t->at[1] != '{' || size == 0 || size > 6 || t->at[2 + size] != '}')
            return refuse(t, "\\x without one to six digits in braces");
        sah_text_addf(&t->out, "\\x{%.*s}", (int)size, t->at + 2);
        t->at += size + 3;
        return SAH_OK;
    case 'b':
    case 'B':
        if (t->in_class) return refuse(t, "\\b inside brackets");
        sah_text_addf(&t->out,
                      letter == 'b' ? "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))"
                                    : "(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))",
                      word_table, word_table, word_table, word_table);
        break;
    case 'd':
    case 'D':
    case 'n':
    case 'r':
    case 't':
    case 'f':
    case 'e':
    case 'a':
        sah_text_addf(&t->out, "\\%c", letter);
        break;
    case 'A':
    case 'z':
    case 'Z':
        if (t->in_class) return refuse(t, "an anchor inside brackets");
        sah_text_addf(&t->out, "\\%c", letter);
        break;
    default:
        /* An ASCII punctuation mark or blank stands for itself. */
        if (letter < ' ' || letter > '~' || (letter >= '0' && letter <= '9') ||
            (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z'))
            return refuse(t, (const char[]){'\\', letter, '\0'});
        sah_text_addf(&t->out, "\\%c", letter);
    }
    t->at++;
    return SAH_OK;
}

/* Behind '(': only groups that mean the same to both. `(?i)` does so at the very beginning only. */
static sah_status check_group(const translation *t)
{
    static const char *const kinds[] = {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:"};
    const char *inside = t->at + 1;
    if (*inside != '?' && *inside != '*') return SAH_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strncmp(inside, kinds[i], strlen(kinds[i])) == 0) return SAH_OK;
    }
    if (t->at == t->regex && strncmp(inside, "?i)", 3) == 0) return SAH_OK;
    return refuse(t, "this kind of group");
}

/* A counted repeat, `at` on '{'. In Ruby's syntax {n}? and {n,m}+ repeat the repeat; in PCRE2 they are lazy
 * and possessive. */
static sah_status check_repeat(const translation *t)
{
    size_t size = strspn(t->at + 1, "0123456789,");
    if (t->at[1] == ',') return refuse(t, "a repeat without a lower bound");
    if (size == 0 || t->at[1 + size] != '}') return SAH_OK; /* a plain brace */
    const char behind = t->at[2 + size];
    if (behind == '+') return refuse(t, "a plus behind a counted repeat");
    if (behind == '?' && memchr(t->at, ',', size + 1) == NULL)
        return refuse(t, "a question mark behind a counted repeat");
    return SAH_OK;
}

static sah_status translate_in_class(translation *t)
{
    const char c = *t->at;
    if (c == '[') return refuse(t, "a bracket inside brackets");
    if (c == '&' && t->at[1] == '&') return refuse(t, "&& inside brackets");
    if (c == ']') t->in_class = false;
    sah_text_add(&t->out, t->at++, 1);
    return SAH_OK;
}

static sah_status translate_plain(translation *t)
{
    sah_status status = SAH_OK;
    if (*t->at == '[') {
        size_t opening = t->at[1] == '^' ? 2 : 1;
        if (t->at[opening] == ']') return refuse(t, "] as the first of a class");
        sah_text_add(&t->out, t->at, opening);
        t->at += opening;
        t->in_class = true;
        return SAH_OK;
    }
    if (*t->at == '(') status = check_group(t);
    if (*t->at == '{') status = check_repeat(t);
    sah_text_add(&t->out, t->at++, 1);
    return status;
}

/* The PCRE2 spelling of `regex` in t->out. */
static sah_status translate(translation *t)
{
    sah_status status = SAH_OK;
    t->at = t->regex;
    while (status == SAH_OK && *t->at != '\0') {
        if (*t->at == '\\') {
            t->at++;
            status = translate_escape(t);
        } else if (t->in_class) {
            status = translate_in_class(t);
        } else {
            status = translate_plain(t);
        }
    }
    if (status == SAH_OK && t->out.failed) status = sah_fail_memory(t->error, "a regular expression");
    return status;
}

/* ---- Compiling ----------------------------------------------------------------------------------------- */

static sah_status compile(const char *regex, sah_pattern *pattern, sah_error *error)
{
    translation t = {.regex = regex, .error = error};
    pcre2_compile_context *context = NULL;
    int code = 0;
    PCRE2_SIZE place = 0;
    sah_status status = translate(&t);
    if (status != SAH_OK) goto end;

    context = pcre2_compile_context_create(NULL);
    pattern->limits = pcre2_match_context_create(NULL);
    if (context == NULL || pattern->limits == NULL) {
        status = sah_fail_memory(error, "a regular expression");
        goto end;
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_match_limit(pattern->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(pattern->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(pattern->limits, HEAP_LIMIT_KIB);
    /* In Ruby's syntax ^ and $ stand at every line. */
    pattern->code = pcre2_compile((PCRE2_SPTR)t.out.data, t.out.size, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE,
                                  &code, &place, context);
    if (pattern->code == NULL && code == PCRE2_ERROR_HEAP_FAILED) {
        status = sah_fail_memory(error, "a regular expression");
    } else if (pattern->code == NULL) {
        PCRE2_UCHAR message[128] = "";
        pcre2_get_error_message(code, message, sizeof message);
        status = sah_fail(error, SAH_FAILED, "regular expression \"%s\": %s", regex, (const char *)message);
    }
end:
    pcre2_compile_context_free(context);
    free(t.out.data);
    return status;
}

sah_status sah_pattern_regex(const char *regex, sah_pattern **out, sah_error *error)
{
    *out = NULL;
    if (regex[0] == '\0') return sah_fail(error, SAH_FAILED, "a regular expression is empty");
    if (strlen(regex) > LONGEST_REGEX)
        return sah_fail(error, SAH_FAILED, "a regular expression is longer than %d bytes", LONGEST_REGEX);
    sah_pattern *pattern = sah_alloc(1, sizeof *pattern);
    if (pattern == NULL) return sah_fail_memory(error, "a regular expression");
    sah_status status = compile(regex, pattern, error);
    if (status != SAH_OK) {
        sah_pattern_free(pattern);
        return status;
    }
    *out = pattern;
    return SAH_OK;
}

sah_status sah_pattern_literal(const char *text, sah_pattern **out, sah_error *error)
{
    *out = NULL;
    if (text[0] == '\0') return sah_fail(error, SAH_FAILED, "a pattern is empty");
    sah_pattern *pattern = sah_alloc(1, sizeof *pattern);
    if (pattern != NULL) pattern->literal = strdup(text);
    if (pattern == NULL || pattern->literal == NULL) {
        free(pattern);
        return sah_fail_memory(error, "a pattern");
    }
    pattern->literal_size = strlen(text);
    *out = pattern;
    return SAH_OK;
}

bool sah_pattern_matches_empty(const sah_pattern *pattern)
{
    uint32_t empty = 0;
    if (pattern->code != NULL) pcre2_pattern_info(pattern->code, PCRE2_INFO_MATCHEMPTY, &empty);
    return empty != 0;
}

void sah_pattern_free(sah_pattern *pattern)
{
    if (pattern == NULL) return;
    pcre2_code_free(pattern->code);
    pcre2_match_context_free(pattern->limits);
    free(pattern->literal);
    free(pattern);
}

/* ---- Searching ----------------------------------------------------------------------------------------- */

static sah_status add_span(sah_spans *spans, size_t begin, size_t end, bool match, sah_error *error)
{
    if (!sah_grow(&spans->items, &spans->capacity, spans->n + 1, sizeof *spans->items))
        return sah_fail_memory(error, "the parts of a text");
    spans->items[spans->n++] = (sah_span){begin, end, match};
    return SAH_OK;
}

/* The next match in text[at..size); *begin = size + 1 when there is none. */
static sah_status find_literal(const sah_pattern *pattern, const char *text, size_t size, size_t at,
                               size_t *begin, size_t *end)
{
    const char *found = memmem(text + at, size - at, pattern->literal, pattern->literal_size);
    *begin = found != NULL ? (size_t)(found - text) : size + 1;
    *end = *begin + pattern->literal_size;
    return SAH_OK;
}

static sah_status find_regex(const sah_pattern *pattern, const char *text, size_t size, size_t at,
                             pcre2_match_data *data, size_t *begin, size_t *end, sah_error *error)
{
    int found =
        pcre2_match(pattern->code, (PCRE2_SPTR)text, size, at, PCRE2_NO_UTF_CHECK, data, pattern->limits);
    *begin = *end = size + 1;
    if (found == PCRE2_ERROR_NOMATCH) return SAH_OK;
    if (found == PCRE2_ERROR_NOMEMORY) return sah_fail_memory(error, "splitting the text into words");
    if (found < 0) {
        PCRE2_UCHAR message[128] = "";
        pcre2_get_error_message(found, message, sizeof message);
        return sah_fail(error, SAH_FAILED, "splitting the text into words: %s", (const char *)message);
    }
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(data);
    *begin = range[0];
    *end = range[1];
    return SAH_OK;
}

static size_t character_size(const char *text, size_t at, size_t size)
{
    size_t n = 1;
    while (at + n < size && ((unsigned char)text[at + n] & 0xC0) == 0x80) n++;
    return n;
}

sah_status sah_pattern_cut(const sah_pattern *pattern, const char *text, size_t size, sah_spans *out,
                           sah_error *error)
{
    size_t at = 0, covered = 0, begin, end;
    bool matched = false;
    sah_status status = SAH_OK;
    out->n = 0;
    if (pattern->code != NULL && out->match_data == NULL) {
        out->match_data = pcre2_match_data_create(1, NULL);
        if (out->match_data == NULL) return sah_fail_memory(error, "the parts of a text");
    }
    while (at <= size) {
        status = pattern->code != NULL
                     ? find_regex(pattern, text, size, at, out->match_data, &begin, &end, error)
                     : find_literal(pattern, text, size, at, &begin, &end);
        if (status != SAH_OK || begin > size) break;
        if (begin == end && matched && end == covered) {
            at += character_size(text, at, size);
            continue;
        }
        if (begin > covered) status = add_span(out, covered, begin, false, error);
        if (status == SAH_OK) status = add_span(out, begin, end, true, error);
        if (status != SAH_OK) break;
        at = covered = end;
        matched = true;
    }
    if (status == SAH_OK && covered < size) status = add_span(out, covered, size, false, error);
    return status;
}

void sah_spans_free(sah_spans *spans)
{
    pcre2_match_data_free(spans->match_data);
    free(spans->items);
    *spans = (sah_spans){0};
}
