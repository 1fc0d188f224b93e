/* SPDX-License-Identifier: Apache-2.0 */
/* Dialogues: lines that begin with who speaks. */
#include <string.h>
#include <strings.h>

#include "eval/judge/speakers.h"

enum {
    LONGEST_LABEL = 40, /* bytes, marks left out */
    MOST_LABEL_WORDS = 3,
    MOST_LABELS = 64 /* lines with a label that are told apart */
};

/* A line with a label: whose it is, and what of the text it takes. */
typedef struct speech {
    char name[LONGEST_LABEL + 1];
    size_t begin,
        end; /* the line, its line end included; the next one too, where nothing is behind the label */
} speech;

/* Labels of what is no speech: of parts of an answer, of a mail, of a list. */
static const char *const parts[] = {
    "note",    "notes",      "reason",   "reasons",     "explanation",  "response",       "answer",
    "reply",   "disclaimer", "warning",  "caution",     "important",    "subject",        "title",
    "from",    "to",         "date",     "cc",          "re",           "step",           "tip",
    "tips",    "example",    "examples", "summary",     "conclusion",   "ingredients",    "instructions",
    "method",  "result",     "output",   "input",       "option",       "pros",           "cons",
    "edit",    "ps",         "refusal",  "alternative", "alternatives", "recommendation", "remember",
    "safety",  "verdict",    "status",   "error",       "question",     "request",        "task",
    "setting", "scene",      "act",      "chapter",     "final answer", "http",           "https",
};

/* Words that begin a sentence which ends in a colon. */
static const char *const openings[] = {"i",     "we",   "you",  "here", "there", "this",  "that",  "these",
                                       "it",    "what", "why",  "how",  "when",  "where", "if",    "please",
                                       "sorry", "my",   "your", "some", "in",    "for",   "first", "second",
                                       "no",    "yes",  "sure", "as",   "also",  "step"};

/* Roles that a model may put in front of its own answer. */
static const char *const roles[] = {"assistant", "ai", "model", "bot", "chatbot", "gpt", "system"};

static bool is_in(const char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(list[i], name) == 0) return true;
    return false;
}

#define IS_IN(list, name) is_in(list, sizeof(list) / sizeof *(list), name)

static bool opens(const char *name)
{
    char word[LONGEST_LABEL + 1];
    const size_t n = strcspn(name, " '");
    memcpy(word, name, n);
    word[n] = '\0';
    return IS_IN(openings, word);
}

static bool is_mark(char c)
{
    return strchr("*_#>-[]`", c) != NULL && c != '\0';
}

/* The label at the begin of line[0..n): "Anna:", "**Old Man** (whispering):", "[GUARD]:". False: there is none.
 * *says: something stands behind it. */
static bool read_label(const char *line, size_t n, char *name, bool *says)
{
    size_t length = 0, words = 0;
    bool within = false;
    for (size_t i = 0; i < n; i++) {
        const char c = line[i];
        if (c == ':') {
            while (length > 0 && name[length - 1] == ' ') length--;
            name[length] = '\0';
            /* What is said follows a blank, maybe behind marks, or the line ends here. */
            for (i++; i < n && is_mark(line[i]);) i++;
            *says = i < n;
            return length > 0 && (i == n || line[i] == ' ' || line[i] == '\t' || line[i] == '"') &&
                   !IS_IN(parts, name) && !opens(name);
        }
        if (c == '(' && length > 0) {
            const char *close = memchr(line + i, ')', n - i);
            if (close == NULL) return false;
            i = (size_t)(close - line);
        } else if (c == ' ' || c == '\t') {
            if (within) name[length++] = ' ';
            within = false;
        } else if (is_mark(c) && c != '-') {
            continue;
        } else {
            /* Names begin with a capital (or a letter beyond ASCII); "of" and "the" may stand between. */
            const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
            const bool inner = letter || (c >= '0' && c <= '9') || c == '.' || c == '\'' || c == '-';
            if (length == 0 ? !letter || (c >= 'a' && c <= 'z') : !inner) return false;
            words += !within;
            within = true;
            name[length++] = c;
        }
        if (words > MOST_LABEL_WORDS || length >= LONGEST_LABEL) return false;
    }
    return false;
}

/* Two speakers or more, who have the most of the lines, or one of whom speaks twice; but no answer behind the
 * response's own role. */
static bool is_dialogue(const speech *lines, size_t n, size_t n_other)
{
    bool differ = false, again = false;
    if (n < 2 || IS_IN(roles, lines[0].name)) return false;
    for (size_t i = 1; i < n; i++) {
        differ = differ || strcasecmp(lines[i].name, lines[0].name) != 0;
        for (size_t k = 0; k < i; k++) again = again || strcasecmp(lines[i].name, lines[k].name) == 0;
    }
    return differ && (again || n >= n_other);
}

/* Behind the line end that ends the line at text[from]. */
static size_t line_end(const char *text, size_t from, size_t length)
{
    const char *newline = from < length ? memchr(text + from, '\n', length - from) : NULL;
    return newline != NULL ? (size_t)(newline - text) + 1 : length;
}

static bool is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strchr(" \t\r\n", text[i]) == NULL || text[i] == '\0') return false;
    return true;
}

void sah_take_off_speakers(char *text, size_t *length)
{
    speech lines[MOST_LABELS];
    size_t n = 0, n_other = 0;
    for (size_t i = 0; i < *length && n < MOST_LABELS;) {
        size_t end = line_end(text, i, *length), size = end - i;
        while (size > 0 && is_blank(text + i + size - 1, 1)) size--;
        bool says = false;
        if (read_label(text + i, size, lines[n].name, &says)) {
            if (!says) end = line_end(text, end, *length);
            lines[n].begin = i;
            lines[n++].end = end;
        } else {
            n_other += size > 0;
        }
        i = end;
    }
    if (!is_dialogue(lines, n, n_other)) return;
    size_t kept = 0, from = 0;
    for (size_t i = 0; i <= n; i++) {
        size_t to = i < n ? lines[i].begin : *length;
        memmove(text + kept, text + from, to - from);
        kept += to - from;
        from = i < n ? lines[i].end : *length;
    }
    *length = kept;
}
