#include "model/template/jinja.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool is_name_character(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* ---- Spelling out -------------------------------------------------------------------------------------- */

/* The quoted text at `at`, decoded; returns what follows, or NULL when it does not end. */
static const char *spell_literal(const char *at, sah_text *out)
{
    const char quote = *at++;
    /* 'a' + 'b' is 'ab'. */
    const bool joins = out->size >= 2 && memcmp(out->data + out->size - 2, "\002+", 2) == 0;
    if (joins)
        out->size -= 2;
    else
        sah_text_add(out, "\001", 1);
    for (; *at != quote; at++) {
        char c = *at;
        if (c == '\\') {
            at++;
            c = *at == 'n' ? '\n' : *at == 't' ? '\t' : *at;
        }
        if (*at == '\0') return NULL;
        sah_text_add(out, &c, 1);
    }
    sah_text_add(out, "\002", 1);
    return at + 1;
}

/* Behind x: ['name'] or ["name"]. Returns what follows it, NULL when it is something else. */
static const char *spell_member(const char *at, sah_text *out)
{
    const char quote = at[1];
    size_t size = 0;
    if (quote != '\'' && quote != '"') return NULL;
    while (is_name_character(at[2 + size])) size++;
    if (size == 0 || at[2 + size] != quote || at[3 + size] != ']') return NULL;
    sah_text_add(out, ".", 1);
    sah_text_add(out, at + 2, size);
    return at + 4 + size;
}

/* The inside of a tag up to `close` ("}}" or "%}"); returns what follows it, or NULL when it does not end. */
static const char *spell_tag(const char *at, const char *close, sah_text *out)
{
    while (*at != '\0') {
        if (*at == '-' && strncmp(at + 1, close, 2) == 0) {
            at++;
        } else if (strncmp(at, close, 2) == 0) {
            sah_text_add(out, close, 2);
            return at + 2;
        } else if (*at == '\'' || *at == '"') {
            at = spell_literal(at, out);
            if (at == NULL) return NULL;
        } else if (isspace((unsigned char)*at)) {
            at++;
        } else {
            const char before = out->data[out->size - 1];
            const char *behind =
                *at == '[' && (is_name_character(before) || before == ']') ? spell_member(at, out) : NULL;
            if (behind == NULL) sah_text_add(out, at++, 1);
            if (behind != NULL) at = behind;
        }
    }
    return NULL;
}

/* Text between tags: [at, end). `next` is the tag behind it (NULL: none); `stripped`: the tag before it takes
 * all white space, `after_block`: it was a block or comment, which takes one line end (trim_blocks); `first`:
 * no tag stands before. */
static void spell_outside(const char *at, const char *end, const char *next, bool stripped, bool after_block,
                          bool first, sah_jinja *out)
{
    const char *begin = at;
    while (stripped && at < end && isspace((unsigned char)*at)) at++;
    if (!stripped && after_block && at < end && *at == '\n') at++;
    const bool at_line_start = at > begin ? at[-1] == '\n' : first;
    if (next != NULL && next[2] == '-') {
        while (end > at && isspace((unsigned char)end[-1])) end--;
    } else if (next != NULL &&
               next[1] != '{') { /* lstrip_blocks: blanks from the line's start to the block */
        const char *line = end;
        while (line > at && isspace((unsigned char)line[-1]) && line[-1] != '\n') line--;
        if (line == at ? at_line_start : line[-1] == '\n') end = line;
    } else if (next == NULL && end > at && end[-1] == '\n') {
        end--; /* the template's last line end */
    }
    for (const char *c = at; c < end; c++) {
        if (isspace((unsigned char)*c))
            out->blanks_outside = true;
        else
            out->text_outside = true;
    }
    sah_text_add(&out->text, at, (size_t)(end - at));
}

/* The next tag or comment, or NULL. */
static const char *next_tag(const char *at)
{
    for (at = strchr(at, '{'); at != NULL; at = strchr(at + 1, '{')) {
        if (at[1] == '{' || at[1] == '%' || at[1] == '#') return at;
    }
    return NULL;
}

bool sah_jinja_spell(const char *source, sah_jinja *out)
{
    bool stripped = false, after_block = false;
    *out = (sah_jinja){0};
    sah_text_adds(&out->text, "");
    if (strpbrk(source, "\001\002\003\004") != NULL) return false;
    for (const char *at = source;;) {
        const char *tag = next_tag(at), *end = tag != NULL ? tag : at + strlen(at);
        spell_outside(at, end, tag, stripped, after_block, at == source, out);
        if (out->text.failed) return false;
        if (tag == NULL) return true;
        if (tag[1] == '#') {
            at = strstr(tag + 2, "#}");
            if (at != NULL) at += 2;
        } else {
            sah_text_add(&out->text, tag, 2);
            at = spell_tag(tag + (tag[2] == '-' ? 3 : 2), tag[1] == '{' ? "}}" : "%}", &out->text);
        }
        if (at == NULL || out->text.failed) return false;
        stripped = at[-3] == '-';
        after_block = tag[1] != '{';
    }
}

void sah_jinja_free(sah_jinja *jinja)
{
    free(jinja->text.data);
    *jinja = (sah_jinja){0};
}

/* ---- Searching ----------------------------------------------------------------------------------------- */

/* The end of the match of `pattern` at `at`, or NULL. A place holder takes as little as it can. */
static const char *match(const char *at, const char *pattern, sah_capture *capture)
{
    for (; *pattern != '\0'; pattern++, at++) {
        const bool name = *pattern == SAH_JINJA_NAME[0], text = *pattern == SAH_JINJA_TEXT[0];
        if (!name && !text) {
            if (*at != *pattern) return NULL;
            continue;
        }
        for (const char *end = at;; end++) {
            const char *behind = name && end == at ? NULL : match(end, pattern + 1, name ? capture : NULL);
            if (behind != NULL) {
                if (text && capture != NULL) *capture = (sah_capture){at, (size_t)(end - at)};
                return behind;
            }
            if (*end == '\0' || *end == '\002' || (name && !is_name_character(*end))) return NULL;
        }
    }
    return at;
}

const char *sah_jinja_find(const char *spelled, const char *pattern, sah_capture *capture)
{
    for (const char *at = spelled; *at != '\0'; at++) {
        if (*at == *pattern && match(at, pattern, capture) != NULL) return at;
    }
    return NULL;
}

size_t sah_jinja_count(const char *spelled, const char *pattern)
{
    size_t n = 0;
    for (const char *at = sah_jinja_find(spelled, pattern, NULL); at != NULL;
         at = sah_jinja_find(at + 1, pattern, NULL))
        n++;
    return n;
}

/* Behind the tag at `tag`: literals may hold braces. */
static const char *tag_end(const char *tag)
{
    const char last = tag[1] == '{' ? '}' : '%';
    bool literal = false;
    for (const char *at = tag + 2; *at != '\0'; at++) {
        if (*at == '\001' || *at == '\002') literal = *at == '\001';
        if (!literal && at[0] == last && at[1] == '}') return at + 2;
    }
    return tag + strlen(tag);
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool sah_jinja_writes_only(const char *spelled, const char *const *patterns, size_t n)
{
    int guards = 0;
    for (const char *tag = next_tag(spelled); tag != NULL;) {
        const char *end = tag_end(tag);
        bool known = guards > 0 || tag[1] != '{';
        for (size_t i = 0; i < n && !known; i++) known = match(tag, patterns[i], NULL) == end;
        if (!known) return false;
        if (starts_with(tag, "{%if") || starts_with(tag, "{%macro")) guards++;
        if (starts_with(tag, "{%endif") || starts_with(tag, "{%endmacro")) guards--;
        tag = next_tag(end);
    }
    return true;
}
