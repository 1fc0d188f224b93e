/* SPDX-License-Identifier: Apache-2.0 */
/* The rules are those of Jinja 3.1's lexer, with its default delimiters. */
#include "model/template/jinja_lex.h"

#include <string.h>

#include "util/error.h"
#include "util/utf8.h"

typedef struct lexer {
    const char *text; /* line ends are \n; a last one is gone */
    size_t size, at;
    int line;
    bool line_starts; /* what was matched last ended in a line end (or nothing was) */
    sah_arena *arena;
    sah_jtokens *out;
    sah_error *error;
    char brackets[256]; /* closing brackets that are awaited inside a tag */
    size_t n_brackets;
} lexer;

sah_status sah_jinja_out_of_memory(const sah_arena *arena, sah_error *error)
{
    if (!arena->exhausted) return sah_fail_memory(error, "the chat template");
    return sah_fail(error, SAH_FAILED, "the chat template is too large (more than %zu MB when read)",
                    arena->limit >> 20);
}

/* ---- Tokens -------------------------------------------------------------------------------------------- */

static sah_status add(lexer *l, sah_jtoken_kind kind, const char *data, size_t size)
{
    sah_jtokens *out = l->out;
    if (out->n == out->capacity) {
        const size_t capacity = out->capacity == 0 ? 64 : 2 * out->capacity;
        sah_jtoken *items = sah_arena_alloc(l->arena, capacity, sizeof *items);
        if (items == NULL) return sah_jinja_out_of_memory(l->arena, l->error);
        if (out->n > 0) memcpy(items, out->items, out->n * sizeof *items);
        out->items = items;
        out->capacity = capacity;
    }
    out->items[out->n++] = (sah_jtoken){kind, l->line, sah_jtext_of(data, size)};
    return SAH_OK;
}

/* Goes on to byte `to`. */
static void advance(lexer *l, size_t to)
{
    for (size_t i = l->at; i < to; i++) l->line += l->text[i] == '\n';
    if (to > l->at) l->line_starts = l->text[to - 1] == '\n';
    l->at = to;
}

static size_t skip_space(const lexer *l, size_t at)
{
    size_t length;
    while (at < l->size && sah_jtext_is_space(sah_utf8_next(l->text + at, l->size - at, &length)))
        at += length;
    return at;
}

static bool starts(const lexer *l, size_t at, const char *string)
{
    size_t n = strlen(string);
    return l->size - at >= n && memcmp(l->text + at, string, n) == 0;
}

static sah_status wrong(const lexer *l, const char *what)
{
    return sah_fail(l->error, SAH_FAILED, "line %d: %s", l->line, what);
}

/* ---- Text outside of tags ------------------------------------------------------------------------------ */

/* [l->at, end) becomes text; `sign` is that of the tag behind it, `strips`: which is no output tag. */
static sah_status add_data(lexer *l, size_t end, char sign, bool strips)
{
    const sah_jtext text = sah_jtext_of(l->text + l->at, end - l->at);
    size_t size = text.size;
    if (sign == '-') {
        size = sah_jtext_strip(text, NULL, false, true).size;
    } else if (sign != '+' && strips) {
        const char *newline = memrchr(text.data, '\n', text.size);
        const size_t from = newline != NULL ? (size_t)(newline - text.data) + 1 : 0;
        if ((from > 0 || l->line_starts) && skip_space(l, l->at + from) >= end) size = from;
    }
    return size > 0 ? add(l, SAH_JT_DATA, text.data, size) : SAH_OK;
}

static char sign_at(const lexer *l, size_t at)
{
    return at < l->size && (l->text[at] == '-' || l->text[at] == '+') ? l->text[at] : '\0';
}

/* Behind the end of a block or comment, which takes the line end behind it; 0: none begins at `at`. */
static size_t block_end(const lexer *l, size_t at, const char *end)
{
    const char sign = sign_at(l, at);
    const size_t from = at + (sign != '\0');
    if (!starts(l, from, end)) return 0;
    if (sign == '-') return skip_space(l, from + 2);
    return from + 2 + (sign == '\0' && starts(l, from + 2, "\n"));
}

/* Behind "{% raw %}" (`name` "raw") that begins at `at`; 0: something else stands there. */
static size_t raw_tag(const lexer *l, size_t at, const char *name)
{
    if (!starts(l, at, "{%")) return 0;
    at = skip_space(l, at + 2 + (sign_at(l, at + 2) != '\0'));
    if (!starts(l, at, name)) return 0;
    at = skip_space(l, at + strlen(name));
    if (name[0] == 'e') return block_end(l, at, "%}");
    if (starts(l, at, "-%}")) return skip_space(l, at + 3);
    return starts(l, at, "%}") ? at + 2 : 0;
}

static sah_status lex_raw(lexer *l)
{
    for (size_t at = l->at; at < l->size; at++) {
        const size_t behind = l->text[at] == '{' ? raw_tag(l, at, "endraw") : 0;
        if (behind == 0) continue;
        sah_status status = add_data(l, at, sign_at(l, at + 2), true);
        advance(l, behind);
        return status;
    }
    return wrong(l, "{% raw %} has no {% endraw %}");
}

static sah_status lex_comment(lexer *l)
{
    for (size_t at = l->at; at < l->size; at++) {
        const size_t behind = block_end(l, at, "#}");
        if (behind == 0) continue;
        advance(l, behind);
        return SAH_OK;
    }
    return wrong(l, "a comment does not end: {# without #}");
}

/* ---- Inside of tags ------------------------------------------------------------------------------------ */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(const lexer *l, size_t at, size_t *length)
{
    const char c = l->text[at];
    *length = 1;
    if ((unsigned char)c < 0x80)
        return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    const uint32_t code = sah_utf8_next(l->text + at, l->size - at, length);
    return sah_jtext_is_alpha(code) || sah_jtext_is_decimal(code);
}

/* Digits of `set`, single _ between them; behind the last, or `at` when there is none. */
static size_t skip_digits(const lexer *l, size_t at, const char *set)
{
    size_t end = at;
    while (at < l->size && l->text[at] != '\0' && strchr(set, l->text[at]) != NULL) {
        end = ++at;
        if (at < l->size && l->text[at] == '_') at++;
    }
    return end;
}

static const char DECIMAL[] = "0123456789";

/* Behind a number with a point or an exponent that begins at `at`; 0: there is none. */
static size_t float_end(const lexer *l, size_t at)
{
    if (at > 0 && l->text[at - 1] == '.') return 0;
    const size_t whole = skip_digits(l, at, DECIMAL);
    if (whole == at) return 0;
    size_t end = whole;
    if (starts(l, whole, ".")) {
        const size_t fraction = skip_digits(l, whole + 1, DECIMAL);
        if (fraction > whole + 1) end = fraction;
    }
    if (starts(l, end, "e") || starts(l, end, "E")) {
        const size_t digits = end + 1 + (sign_at(l, end + 1) != '\0');
        const size_t exponent = skip_digits(l, digits, DECIMAL);
        if (exponent > digits) return exponent;
    }
    return end > whole ? end : 0;
}

static size_t integer_end(const lexer *l, size_t at)
{
    static const struct {
        char letter;
        const char *digits;
    } bases[] = {{'b', "01"}, {'o', "01234567"}, {'x', "0123456789abcdefABCDEF"}};
    if (l->text[at] != '0') return skip_digits(l, at, DECIMAL);
    for (size_t i = 0; i < 3 && at + 1 < l->size; i++) {
        if ((l->text[at + 1] | 0x20) != bases[i].letter) continue;
        const size_t digits = at + 2 + starts(l, at + 2, "_"), end = skip_digits(l, digits, bases[i].digits);
        if (end > digits) return end;
    }
    return skip_digits(l, at, "0");
}

static sah_status lex_string(lexer *l)
{
    const char quote = l->text[l->at];
    for (size_t at = l->at + 1; at < l->size; at++) {
        if (l->text[at] == '\\') {
            at++;
        } else if (l->text[at] == quote) {
            sah_status status = add(l, SAH_JT_STRING, l->text + l->at + 1, at - l->at - 1);
            advance(l, at + 1);
            return status;
        }
    }
    return wrong(l, "a string literal does not end");
}

static sah_status keep_balance(lexer *l, char c)
{
    if (c == '(' || c == '[' || c == '{') {
        if (l->n_brackets == sizeof l->brackets) return wrong(l, "brackets are nested too deeply");
        l->brackets[l->n_brackets++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (l->n_brackets == 0 || l->brackets[--l->n_brackets] != c)
            return sah_fail(l->error, SAH_FAILED, "line %d: unexpected '%c'", l->line, c);
    }
    return SAH_OK;
}

static sah_status lex_operator(lexer *l)
{
    static const char *const twos[] = {"//", "**", "==", "!=", ">=", "<="};
    size_t n = 1;
    for (size_t i = 0; i < sizeof twos / sizeof *twos; i++)
        if (starts(l, l->at, twos[i])) n = 2;
    const char c = l->text[l->at];
    if (n == 1 && (c == '\0' || strchr("+-/*%~[](){}><=.:|,;", c) == NULL)) {
        size_t length;
        sah_utf8_next(l->text + l->at, l->size - l->at, &length);
        return sah_fail(l->error, SAH_FAILED, "line %d: unexpected character '%.*s'", l->line, (int)length,
                        l->text + l->at);
    }
    sah_status status = keep_balance(l, c);
    if (status == SAH_OK) status = add(l, SAH_JT_OPERATOR, l->text + l->at, n);
    advance(l, l->at + n);
    return status;
}

/* One token of a tag. */
static sah_status lex_inside(lexer *l)
{
    size_t length, end = float_end(l, l->at);
    const char c = l->text[l->at];
    sah_jtoken_kind kind = SAH_JT_FLOAT;
    if (end == 0 && is_digit(c)) {
        kind = SAH_JT_INTEGER;
        end = integer_end(l, l->at);
    } else if (end == 0 && is_name(l, l->at, &length)) {
        kind = SAH_JT_NAME;
        for (end = l->at; end < l->size && is_name(l, end, &length);) end += length;
    }
    if (end != 0) {
        sah_status status = add(l, kind, l->text + l->at, end - l->at);
        advance(l, end);
        return status;
    }
    return c == '\'' || c == '"' ? lex_string(l) : lex_operator(l);
}

/* Behind the end of an output tag at `at`; 0: it does not end there. */
static size_t output_end(const lexer *l, size_t at)
{
    if (starts(l, at, "-}}")) return skip_space(l, at + 3);
    return starts(l, at, "}}") ? at + 2 : 0;
}

static sah_status lex_tag(lexer *l, bool block)
{
    sah_status status = add(l, block ? SAH_JT_BLOCK_BEGIN : SAH_JT_OUTPUT_BEGIN, "", 0);
    l->n_brackets = 0;
    while (status == SAH_OK && l->at < l->size) {
        /* Inside of brackets }} and %} are operators. */
        size_t end = l->n_brackets > 0 ? 0 : block ? block_end(l, l->at, "%}") : output_end(l, l->at);
        if (end != 0) {
            status = add(l, block ? SAH_JT_BLOCK_END : SAH_JT_OUTPUT_END, "", 0);
            advance(l, end);
            return status;
        }
        const size_t behind = skip_space(l, l->at);
        if (behind > l->at)
            advance(l, behind);
        else
            status = lex_inside(l);
    }
    return status == SAH_OK
               ? wrong(l, block ? "a tag does not end: {% without %}" : "a tag does not end: {{ without }}")
               : status;
}

/* ---- The whole ----------------------------------------------------------------------------------------- */

static sah_status lex_next(lexer *l)
{
    size_t at = l->at;
    while (at + 1 < l->size &&
           !(l->text[at] == '{' && strchr("{%#", l->text[at + 1]) != NULL && l->text[at + 1] != '\0'))
        at++;
    if (at + 1 >= l->size) {
        sah_status status = add(l, SAH_JT_DATA, l->text + l->at, l->size - l->at);
        advance(l, l->size);
        return status;
    }
    const char kind = l->text[at + 1], sign = sign_at(l, at + 2);
    const size_t raw = raw_tag(l, at, "raw");
    sah_status status = add_data(l, at, sign, kind != '{');
    if (status != SAH_OK) return status;
    advance(l, raw != 0 ? raw : at + 2 + (sign != '\0'));
    if (raw != 0) return lex_raw(l);
    return kind == '#' ? lex_comment(l) : lex_tag(l, kind == '%');
}

/* A copy with \r\n and \r as \n, without a last line end. */
static sah_status normalise(const char *source, size_t size, lexer *l)
{
    char *text = sah_arena_bytes(l->arena, size + 1);
    size_t n = 0;
    if (text == NULL) return sah_jinja_out_of_memory(l->arena, l->error);
    for (size_t i = 0; i < size; i++) {
        if (source[i] == '\r' && i + 1 < size && source[i + 1] == '\n') i++;
        text[n++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (n > 0 && text[n - 1] == '\n') n--;
    l->text = text;
    l->size = n;
    return SAH_OK;
}

sah_status sah_jinja_lex(const char *source, size_t size, sah_arena *arena, sah_jtokens *out,
                         sah_error *error)
{
    lexer l = {.line = 1, .line_starts = true, .arena = arena, .out = out, .error = error};
    *out = (sah_jtokens){0};
    sah_status status = normalise(source, size, &l);
    while (status == SAH_OK && l.at < l.size) status = lex_next(&l);
    return status == SAH_OK ? add(&l, SAH_JT_END, "", 0) : status;
}

/* ---- String literals ----------------------------------------------------------------------------------- */

/* Up to `most` digits of the base at `at`; how many there were. */
static size_t read_digits(sah_jtext text, size_t at, size_t most, uint32_t base, uint32_t *out)
{
    size_t n = 0;
    *out = 0;
    for (; n < most && at + n < text.size; n++) {
        const char c = text.data[at + n];
        const uint32_t digit = is_digit(c)            ? (uint32_t)(c - '0')
                               : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                               : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
                                                      : 16;
        if (digit >= base) break;
        *out = *out * base + digit;
    }
    return n;
}

/* The escape at text[at] = '\\', at most four bytes more than its own; moves *at behind it. */
static sah_status unescape_one(sah_jtext text, size_t *at, int line, char *out, size_t *n, sah_error *error)
{
    static const char letters[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    const char c = text.data[*at + 1];
    uint32_t code;
    size_t digits;
    for (size_t i = 0; i + 1 < sizeof letters; i += 2) {
        if (letters[i] != c) continue;
        out[(*n)++] = letters[i + 1];
        *at += 2;
        return SAH_OK;
    }
    if (c == '\n') {
        *at += 2;
        return SAH_OK;
    }
    if (c >= '0' && c <= '7') {
        digits = read_digits(text, *at + 1, 3, 8, &code);
        *at += 1 + digits;
    } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t wanted = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        digits = read_digits(text, *at + 2, wanted, 16, &code);
        if (digits < wanted)
            return sah_fail(error, SAH_FAILED, "line %d: \\%c needs %zu hexadecimal digits", line, c, wanted);
        *at += 2 + digits;
    } else if (c == 'N') {
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "line %d: \\N{...} (a character by its name) in a string literal is not supported",
                        line);
    } else if ((unsigned char)c >= 0x80) {
        /* The codec sees such a character as an escape of its own, whose backslash this one doubles. */
        size_t length;
        code = sah_utf8_next(text.data + *at + 1, text.size - *at - 1, &length);
        static const char hex[] = "0123456789abcdef";
        const int width = code < 0x100 ? 2 : code < 0x10000 ? 4 : 8;
        out[(*n)++] = '\\';
        out[(*n)++] = code < 0x100 ? 'x' : code < 0x10000 ? 'u' : 'U';
        for (int shift = 4 * (width - 1); shift >= 0; shift -= 4) out[(*n)++] = hex[code >> shift & 15];
        *at += 1 + length;
        return SAH_OK;
    } else {
        out[(*n)++] = '\\';
        *at += 1;
        return SAH_OK;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        return sah_fail(error, SAH_FAILED, "line %d: a string literal names U+%04X, which is no character",
                        line, (unsigned)code);
    *n += sah_utf8_put(code, out + *n);
    return SAH_OK;
}

sah_status sah_jinja_unescape(sah_jtext literal, int line, sah_arena *arena, sah_jtext *out, sah_error *error)
{
    *out = literal;
    if (literal.size == 0 || memchr(literal.data, '\\', literal.size) == NULL) return SAH_OK;
    size_t room = literal.size, n = 0;
    for (size_t i = 0; i < literal.size; i++) room += literal.data[i] == '\\' ? 10 : 0;
    char *text = sah_arena_bytes(arena, room);
    if (text == NULL) return sah_jinja_out_of_memory(arena, error);
    for (size_t at = 0; at < literal.size;) {
        if (literal.data[at] != '\\') {
            text[n++] = literal.data[at++];
            continue;
        }
        sah_status status = unescape_one(literal, &at, line, text, &n, error);
        if (status != SAH_OK) return status;
    }
    *out = sah_jtext_of(text, n);
    return SAH_OK;
}
