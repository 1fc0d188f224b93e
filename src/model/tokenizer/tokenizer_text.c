/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/tokenizer_text.h"

#include <string.h>

#include "model/tokenizer/tokenizer_build.h"
#include "util/error.h"
#include "util/utf8.h"

typedef struct reader {
    const char *at, *end;
    char *unescaped[2]; /* [SAH_MAX_TOKEN_BYTES] each: strings that hold escapes */
    sah_tokenizer *tokenizer;
    sah_error *error;
} reader;

typedef struct string {
    const char *text; /* in the file, or unescaped */
    size_t size;
} string;

static const sah_status OTHER_FORM = SAH_NOT_SUPPORTED;

/* ---- Signs and strings --------------------------------------------------------------------------------- */

/* Passes white space and then `sign`; false, where it stands, if something else is there. */
static bool take(reader *r, char sign)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')) r->at++;
    if (r->at == r->end || *r->at != sign) return false;
    r->at++;
    return true;
}

/* Four hexadecimal digits; -1: they are not that, and 0 for U+0000, which no text may hold. */
static int32_t hex(reader *r)
{
    int32_t value = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        if (r->at == r->end) return -1;
        const char c = *r->at;
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* \u and what follows; surrogates in pairs only. */
static bool read_code(reader *r, uint32_t *code)
{
    const int32_t first = hex(r);
    if (first <= 0 || (first >= 0xDC00 && first <= 0xDFFF)) return false;
    *code = (uint32_t)first;
    if (first < 0xD800 || first > 0xDBFF) return true;
    if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u') return false;
    r->at += 2;
    const int32_t second = hex(r);
    if (second < 0xDC00 || second > 0xDFFF) return false;
    *code = 0x10000 + ((uint32_t)(first - 0xD800) << 10) + (uint32_t)(second - 0xDC00);
    return true;
}

/* A string from its first escape on, which r->at is at; `begin`: of the string. */
static bool unescape(reader *r, const char *begin, char *space, string *out)
{
    static const char signs[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    size_t n = (size_t)(r->at - begin);
    if (n > SAH_MAX_TOKEN_BYTES) return false;
    memcpy(space, begin, n);
    while (r->at < r->end && *r->at != '"') {
        const char *sign;
        uint32_t code;
        if (n + 4 > SAH_MAX_TOKEN_BYTES || (unsigned char)*r->at < 0x20) return false;
        if (*r->at != '\\') {
            space[n++] = *r->at++;
            continue;
        }
        if (++r->at == r->end || *r->at == '\0') return false;
        const char kind = *r->at++;
        if (kind == 'u') {
            if (!read_code(r, &code)) return false;
            n += sah_utf8_put(code, space + n);
        } else {
            if ((sign = strchr(signs, kind)) == NULL) return false;
            space[n++] = meanings[sign - signs];
        }
    }
    *out = (string){space, n};
    return r->at++ < r->end;
}

/* A string, of which there may be two at a time, each with a `space` of its own. */
static bool read_string(reader *r, char *space, string *out)
{
    if (!take(r, '"')) return false;
    const char *begin = r->at;
    unsigned char any = 0;
    while (r->at < r->end && *r->at != '"' && *r->at != '\\') {
        if ((unsigned char)*r->at < 0x20) return false;
        any |= (unsigned char)*r->at++;
    }
    if (r->at == r->end) return false;
    if (any >= 0x80 && !sah_utf8_valid(begin, (size_t)(r->at - begin))) return false;
    if (*r->at == '\\') return unescape(r, begin, space, out) && sah_utf8_valid(out->text, out->size);
    *out = (string){begin, (size_t)(r->at - begin)};
    r->at++;
    return true;
}

/* ---- The two lists ------------------------------------------------------------------------------------- */

/* A number of at most seven digits: SAH_MAX_TOKENS has as many. */
static bool read_id(reader *r, int64_t *id)
{
    while (r->at < r->end && *r->at == ' ') r->at++;
    const char *begin = r->at;
    for (*id = 0; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        if (r->at - begin == 7) return false;
        *id = *id * 10 + (*r->at - '0');
    }
    return r->at > begin && (*begin != '0' || r->at == begin + 1);
}

/* {"a": 0, ...}, behind the brace. */
static sah_status read_vocabulary(reader *r)
{
    string token;
    int64_t id;
    do {
        if (!read_string(r, r->unescaped[0], &token) || !take(r, ':') || !read_id(r, &id)) return OTHER_FORM;
        if (token.size == 0) return OTHER_FORM; /* that there is one only would have to be seen to */
        sah_status status =
            sah_vocab_add(&r->tokenizer->vocab, id, token.text, token.size, true, false, r->error);
        if (status != SAH_OK) return status;
    } while (take(r, ','));
    return take(r, '}') ? SAH_OK : OTHER_FORM;
}

/* "a b" or ["a", "b"]. */
static bool read_pair(reader *r, string *a, string *b)
{
    if (take(r, '[')) {
        return read_string(r, r->unescaped[0], a) && take(r, ',') && read_string(r, r->unescaped[1], b) &&
               take(r, ']');
    }
    if (!read_string(r, r->unescaped[0], a)) return false;
    const char *blank = memchr(a->text, ' ', a->size);
    if (blank == NULL || (a->size >= 8 && memcmp(a->text, "#version", 8) == 0)) return false;
    const size_t left = (size_t)(blank - a->text);
    *b = (string){blank + 1, a->size - left - 1};
    a->size = left;
    return memchr(b->text, ' ', b->size) == NULL;
}

/* ["a b", ...], behind the bracket. */
static sah_status read_merges(reader *r)
{
    sah_merger *merger = &r->tokenizer->merger;
    uint32_t rank = 0;
    string a, b;
    do {
        if (!read_pair(r, &a, &b)) return OTHER_FORM;
        sah_status status = sah_merger_add(merger, a.text, a.size, b.text, b.size, rank++, r->error);
        if (status != SAH_OK) return status;
    } while (take(r, ','));
    return take(r, ']') ? SAH_OK : OTHER_FORM;
}

/* ---- The objects around them --------------------------------------------------------------------------- */

/* Passes any value; its soundness is for who parses the rest. */
static bool pass_value(reader *r)
{
    size_t depth = 0;
    for (bool in_string = false; r->at < r->end; r->at++) {
        const char c = *r->at;
        if (in_string) {
            if (c == '\\' && ++r->at == r->end) return false;
            if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']' || c == ',') {
            if (depth == 0) return true;
            if (c != ',') depth--;
        }
    }
    return false;
}

static bool is_key(string key, const char *name)
{
    return key.size == strlen(name) && memcmp(key.text, name, key.size) == 0;
}

/* The members of "model", behind the brace; `from`: the text from there on is not yet in the rest. */
static sah_status read_model(reader *r, const char **from, sah_text *rest)
{
    bool vocabulary = false, merges = false;
    string key;
    do {
        sah_status status = SAH_OK;
        if (!read_string(r, r->unescaped[0], &key) || !take(r, ':')) return OTHER_FORM;
        const bool is_vocabulary = is_key(key, "vocab"), is_merges = is_key(key, "merges");
        if (!is_vocabulary && !is_merges) {
            if (!pass_value(r)) return OTHER_FORM;
            continue;
        }
        /* Ids are needed for merges; a second of either is no valid JSON here. */
        if (is_vocabulary ? vocabulary : merges || !vocabulary) return OTHER_FORM;
        if (!take(r, is_vocabulary ? '{' : '[')) return OTHER_FORM;
        sah_text_add(rest, *from, (size_t)(r->at - *from));
        status = is_vocabulary ? read_vocabulary(r) : read_merges(r);
        if (status != SAH_OK) return status;
        *from = r->at - 1;
        vocabulary = true;
        merges = merges || is_merges;
    } while (take(r, ','));
    return merges && take(r, '}') ? SAH_OK : OTHER_FORM;
}

static sah_status read_file(reader *r, sah_text *rest)
{
    const char *from = r->at;
    bool model = false;
    string key;
    if (!take(r, '{')) return OTHER_FORM;
    do {
        if (!read_string(r, r->unescaped[0], &key) || !take(r, ':')) return OTHER_FORM;
        if (!is_key(key, "model")) {
            if (!pass_value(r)) return OTHER_FORM;
            continue;
        }
        if (model || !take(r, '{')) return OTHER_FORM;
        sah_status status = read_model(r, &from, rest);
        if (status != SAH_OK) return status;
        model = true;
    } while (take(r, ','));
    sah_text_add(rest, from, (size_t)(r->end - from));
    return model ? SAH_OK : OTHER_FORM;
}

sah_status sah_tokenizer_read_text(const char *text, size_t size, sah_tokenizer *tokenizer, sah_text *rest,
                                   sah_error *error)
{
    char unescaped[2][SAH_MAX_TOKEN_BYTES];
    reader r = {text, text + size, {unescaped[0], unescaped[1]}, tokenizer, error};
    sah_status status = read_file(&r, rest);
    if (status == SAH_OK && rest->failed) status = sah_fail_memory(error, "the tokenizer");
    return status;
}
