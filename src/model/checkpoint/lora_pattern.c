/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/checkpoint/lora_pattern.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

/* Enough for any key that names modules; a path has some sixty characters. */
enum { LONGEST_KEY = 1 << 12, MATCH_LIMIT = 1000000, DEPTH_LIMIT = 10000, HEAP_LIMIT_KIB = 16384 };

typedef struct entry {
    const char *key; /* the object's */
    double value;
    pcre2_code *code;
} entry;

struct sah_lora_patterns {
    json_t *object;
    const char *name, *where;
    size_t n;
    entry *entries;
    pcre2_match_context *limits;
    pcre2_match_data *data;
};

/* ---- From re's spelling to PCRE2's --------------------------------------------------------------------- */

/* An escape, `at` on the backslash: bytes of it that mean the same to both libraries, 0 otherwise. */
static size_t escape_size(const char *at, bool in_class)
{
    const char letter = at[1];
    if (letter == '\0') return 0;
    if (letter == 'x')
        return strspn(at + 2, "0123456789abcdefABCDEF") >= 2 ? 4 : 0; /* PCRE2 takes fewer digits as well */
    if ((letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'z') ||
        (letter >= 'A' && letter <= 'Z'))
        return strchr(in_class ? "abdDfnrsStwW" : "aAbBdDfnrsStwWZ", letter) != NULL ? 2 : 0;
    return 2; /* a punctuation mark stands for itself */
}

/* Whether the group, `at` on its parenthesis, is of a kind that both know. */
static bool known_group(const char *at)
{
    static const char *const kinds[] = {"?:", "?=", "?!", "?<=", "?<!", "?>", "?P<"};
    const char *inside = at + 1;
    if (*inside == '*') return false; /* PCRE2's verbs */
    if (*inside != '?') return true;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strncmp(inside, kinds[i], strlen(kinds[i])) == 0) return true;
    }
    const size_t on = strspn(inside + 1, "ims"), dash = inside[1 + on] == '-';
    const size_t off = dash ? strspn(inside + 1 + on + 1, "ims") : 0;
    return on + off > 0 && (!dash || off > 0) && inside[1 + on + dash + off] == ':';
}

/* A brace outside brackets. In re {,n} begins at 0, which PCRE2 reads so from 10.43 on; with blanks in it a
 * brace is a plain character, which PCRE2 had until then. */
static size_t add_brace(const char *at, sah_text *out)
{
    const size_t low = strspn(at + 1, "0123456789"), comma = at[1 + low] == ',';
    const size_t high = comma ? strspn(at + 1 + low + 1, "0123456789") : 0;
    const size_t size = 1 + low + comma + high + 1;
    if (at[size - 1] != '}' || low + comma == 0) {
        sah_text_adds(out, "\\{");
        return 1;
    }
    sah_text_addf(out, "{%s%.*s", low == 0 ? "0" : "", (int)size - 1, at + 1);
    return size;
}

/* PCRE2's spelling of `regex`. What is not the same to both goes to *strange, borrowed. References to groups
 * are among it: in a key they would count PEFT's own groups. */
static void translate(const char *regex, sah_text *out, const char **strange)
{
    bool in_class = false;
    *strange = NULL;
    for (const char *at = regex; *at != '\0';) {
        size_t size = 1;
        if (*at == '\\') {
            size = escape_size(at, in_class);
        } else if (*at == '[' && in_class && at[1] != '\0' && strchr(":.=", at[1]) != NULL) {
            size = 0; /* a class by name in PCRE2 alone */
        } else if (*at == '[' && !in_class) {
            in_class = true;
            if (at[size] == '^') size++;
            if (at[size] == ']') size++; /* a member, as the first */
        } else if (*at == ']') {
            in_class = false;
        } else if (*at == '(' && !in_class && !known_group(at)) {
            size = 0;
        }
        if (size == 0) {
            *strange = at;
            return;
        }
        if (*at == '{' && !in_class) {
            at += add_brace(at, out);
            continue;
        }
        sah_text_add(out, at, size);
        at += size;
    }
}

static sah_status compile(const sah_lora_patterns *p, entry *e, sah_error *error)
{
    sah_text wrapped = {0}, regex = {0};
    const char *strange = NULL;
    int code = 0;
    PCRE2_SIZE place = 0;
    sah_status status = SAH_OK;
    if (strlen(e->key) > LONGEST_KEY)
        return sah_fail(error, SAH_FAILED, "%s: \"%s\": a pattern longer than %d bytes", p->where, p->name,
                        LONGEST_KEY);
    sah_text_addf(&wrapped, "(.*\\.)?(%s)$", e->key);
    if (!wrapped.failed) translate(wrapped.data, &regex, &strange);
    if (wrapped.failed || regex.failed) {
        status = sah_fail_memory(error, p->name);
    } else if (strange != NULL) {
        status =
            sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"%s\": the pattern %.200s: \"%.3s\" is not supported",
                     p->where, p->name, e->key, strange);
    } else {
        e->code = pcre2_compile((PCRE2_SPTR)regex.data, regex.size, PCRE2_UTF | PCRE2_ANCHORED, &code, &place,
                                NULL);
        if (e->code == NULL && code == PCRE2_ERROR_HEAP_FAILED) {
            status = sah_fail_memory(error, p->name);
        } else if (e->code == NULL) {
            PCRE2_UCHAR reason[128] = "";
            pcre2_get_error_message(code, reason, sizeof reason);
            status = sah_fail(error, SAH_FAILED, "%s: \"%s\": the pattern %.200s: %s", p->where, p->name,
                              e->key, (const char *)reason);
        }
    }
    free(wrapped.data);
    free(regex.data);
    return status;
}

/* ---- The list ------------------------------------------------------------------------------------------ */

static sah_status take_entries(sah_lora_patterns *p, sah_error *error)
{
    const char *key;
    json_t *value;
    p->entries = sah_alloc(json_object_size(p->object), sizeof *p->entries);
    p->limits = pcre2_match_context_create(NULL);
    p->data = pcre2_match_data_create(1, NULL);
    if (p->entries == NULL || p->limits == NULL || p->data == NULL) return sah_fail_memory(error, p->name);
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(p->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(p->limits, HEAP_LIMIT_KIB);
    json_object_foreach(p->object, key, value)
    {
        entry *e = &p->entries[p->n++];
        *e = (entry){.key = key, .value = json_number_value(value)};
        if (!json_is_number(value))
            return sah_fail(error, SAH_FAILED, "%s: \"%s\": %s is not a number", p->where, p->name, key);
        sah_status status = compile(p, e, error);
        if (status != SAH_OK) return status;
    }
    return SAH_OK;
}

sah_status sah_lora_patterns_new(const json_t *object, const char *name, const char *where,
                                 sah_lora_patterns **out, sah_error *error)
{
    *out = NULL;
    if (object != NULL && !json_is_null(object) && !json_is_object(object))
        return sah_fail(error, SAH_FAILED, "%s: \"%s\" must be an object", where, name);
    sah_lora_patterns *p = sah_alloc(1, sizeof *p);
    if (p == NULL) return sah_fail_memory(error, name);
    p->object = json_incref((json_t *)(uintptr_t)object);
    p->name = name;
    p->where = where;
    sah_status status = take_entries(p, error);
    if (status != SAH_OK)
        sah_lora_patterns_free(p);
    else
        *out = p;
    return status;
}

void sah_lora_patterns_free(sah_lora_patterns *p)
{
    if (p == NULL) return;
    for (size_t i = 0; i < p->n; i++) pcre2_code_free(p->entries[i].code);
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->limits);
    json_decref(p->object);
    free(p->entries);
    free(p);
}

sah_status sah_lora_patterns_find(const sah_lora_patterns *p, const char *path, double otherwise, double *out,
                                  sah_error *error)
{
    *out = otherwise;
    for (size_t i = 0; i < p->n; i++) {
        const entry *e = &p->entries[i];
        const int found = pcre2_match(e->code, (PCRE2_SPTR)path, strlen(path), 0, 0, p->data, p->limits);
        if (found == PCRE2_ERROR_NOMATCH) continue;
        if (found == PCRE2_ERROR_NOMEMORY) return sah_fail_memory(error, p->name);
        if (found < 0) {
            PCRE2_UCHAR reason[128] = "";
            pcre2_get_error_message(found, reason, sizeof reason);
            return sah_fail(error, SAH_FAILED, "%s: \"%s\": the pattern %.200s: %s", p->where, p->name,
                            e->key, (const char *)reason);
        }
        *out = e->value;
        return SAH_OK;
    }
    return SAH_OK;
}
