/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/judge/thinking.h"

#include <string.h>

#include "model/template/thinking.h"

static bool is_quote(const char *text, size_t at, size_t n)
{
    return at < n && (text[at] == '`' || text[at] == '\'' || text[at] == '"');
}

/* Where `mark` stands in text[from..n); n: nowhere. One in backticks or quotes is only spoken of. */
static size_t find_mark(const char *text, size_t from, size_t n, const char *mark)
{
    const size_t length = strlen(mark);
    const char low = mark[0], high = low >= 'a' && low <= 'z' ? (char)(low - 'a' + 'A') : low;
    for (size_t i = from; i + length <= n; i++)
        if ((text[i] == low || text[i] == high) && sah_mark_stands_at(text, i, n, mark) &&
            !(i > 0 && is_quote(text, i - 1, n) && is_quote(text, i + length, n)))
            return i;
    return n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The marks whose opening one stands at text[at]; NULL: none. */
static const sah_thinking_marks *opened_at(const char *text, size_t at, size_t n)
{
    for (const sah_thinking_marks *m = sah_thinking; m->open != NULL; m++)
        if (sah_mark_stands_at(text, at, n, m->open)) return m;
    return NULL;
}

static const sah_thinking_marks *last_marks(void)
{
    const sah_thinking_marks *m = sah_thinking;
    while (m[1].open != NULL) m++;
    return m;
}

/* What gpt-oss writes into its first channel, when special tokens were left out: a sentence that "analysis"
 * runs into without a blank. */
static bool opens_fused(const char *text, size_t n)
{
    static const char word[] = "analysis";
    const size_t length = sizeof word - 1;
    return n > length && memcmp(text, word, length) == 0 && text[length] >= 'A' && text[length] <= 'Z';
}

/* The marks that open thinking where text[from..n) begins, behind blanks and special tokens ("<|start|>");
 * *inside is the first byte of the thoughts. NULL: something else begins here. */
static const sah_thinking_marks *opening(const char *text, size_t from, size_t n, size_t *inside)
{
    for (;;) {
        while (from < n && is_blank(text[from])) from++;
        const sah_thinking_marks *found = opened_at(text, from, n);
        *inside = from + (found != NULL ? strlen(found->open) : 0);
        if (found == NULL && from == 0 && opens_fused(text, n)) found = last_marks();
        if (found != NULL || from + 1 >= n || text[from] != '<' || text[from + 1] != '|') return found;
        const char *end = memmem(text + from, n - from, "|>", 2);
        if (end == NULL) return NULL;
        from = (size_t)(end - text) + 2;
        if (sah_mark_stands_at(text, from, n, "assistant")) from += strlen("assistant");
    }
}

/* Where the text begins behind the last closing mark that nothing opened; `from` when there is none. A mark at
 * the very end closes nothing but an answer, unless it is the only one. */
static size_t behind_lone_mark(const char *text, size_t from, size_t n)
{
    size_t begin = from;
    for (const sah_thinking_marks *m = sah_thinking; m->open != NULL; m++) {
        const size_t length = strlen(m->close);
        if (!m->lone) continue;
        const size_t opened = find_mark(text, from, n, m->open);
        for (size_t at = find_mark(text, from, n, m->close); at < opened;
             at = find_mark(text, at + length, n, m->close)) {
            size_t next = at + length;
            while (next < n && is_blank(text[next])) next++;
            if (begin == from || next < n) begin = at + length > begin ? at + length : begin;
        }
    }
    return begin;
}

/* Takes out blocks that begin a line of text[from..n); one that never ends goes to the text's end. Returns the
 * new n. */
static size_t drop_blocks(char *text, size_t from, size_t n)
{
    size_t kept = from;
    for (size_t i = from; i < n;) {
        const sah_thinking_marks *block = i > from && text[i - 1] == '\n' ? opened_at(text, i, n) : NULL;
        if (block == NULL || !block->lone) {
            text[kept++] = text[i++];
            continue;
        }
        i = find_mark(text, i + strlen(block->open), n, block->close);
        i = i < n ? i + strlen(block->close) : n;
    }
    return kept;
}

bool sah_take_off_thinking(char *text, size_t *length)
{
    size_t n = *length, from = 0, inside;
    for (const sah_thinking_marks *block; (block = opening(text, from, n, &inside)) != NULL;) {
        size_t end = find_mark(text, inside, n, block->close);
        if (end == n) return false;
        from = end + strlen(block->close);
    }
    from = behind_lone_mark(text, from, n);
    n = drop_blocks(text, from, n);
    memmove(text, text + from, n - from);
    *length = n - from;
    return true;
}
