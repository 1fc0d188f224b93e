/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/judge/answer.h"

#include <string.h>

/* How open models mark what they think before they answer: their chat templates and model cards. Case does
 * not matter. */
static const struct marks {
    const char *open, *close;
    bool lone; /* the template may have written the opening mark: the closing one alone ends thinking */
} marks[] = {
    {"<think>", "</think>", true}, /* DeepSeek R1, Qwen 3, SmolLM3, GLM, Phi 4 reasoning */
    {"<thinking>", "</thinking>", true},
    {"<thought>", "</thought>", true}, /* EXAONE Deep, Marco-o1 */
    {"<thoughts>", "</thoughts>", true},
    {"<reasoning>", "</reasoning>", true},
    {"<reflection>", "</reflection>", true},
    {"<analysis>", "</analysis>", true},
    {"<scratchpad>", "</scratchpad>", true},
    {"<seed:think>", "</seed:think>", true}, /* Seed-OSS */
    {"<longcat_think>", "</longcat_think>", true}, /* LongCat */
    {"[think]", "[/think]", true}, /* Magistral */
    {"\xE2\x97\x81think\xE2\x96\xB7", "\xE2\x97\x81/think\xE2\x96\xB7", true}, /* Kimi */
    {"<|begin_of_thought|>", "<|end_of_thought|>", true}, /* OpenThinker, Sky-T1 */
    {"<|start_thinking|>", "<|end_thinking|>", true}, /* Command A Reasoning */
    {"<|inner_prefix|>", "<|inner_suffix|>", true}, /* Apertus */
    {"<|channel>thought", "<channel|>", true}, /* Gemma 4 */
    {"<unused94>thought", "<unused95>", true}, /* MedGemma */
    {"<|channel|>analysis", "<|channel|>final<|message|>", true}, /* gpt-oss */
    {"here is my thought process:", "here is my response:", false}, /* Granite 3 */
    {"here's my thought process:", "here's my response:", false},
    {"assistantanalysis", "assistantfinal",
     false}, /* gpt-oss, special tokens left out; last: opens_fused() */
};
enum { N_MARKS = sizeof marks / sizeof *marks };

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* True when text[at..n) begins with `mark`, which is in lower case. */
static bool stands_at(const char *text, size_t at, size_t n, const char *mark)
{
    size_t i = 0;
    while (mark[i] != '\0' && at + i < n && lower(text[at + i]) == mark[i]) i++;
    return mark[i] == '\0';
}

static bool is_quote(const char *text, size_t at, size_t n)
{
    return at < n && (text[at] == '`' || text[at] == '\'' || text[at] == '"');
}

/* Where `mark` stands in text[from..n); n: nowhere. One in backticks or quotes is only spoken of. */
static size_t find_mark(const char *text, size_t from, size_t n, const char *mark)
{
    const size_t length = strlen(mark);
    for (size_t i = from; i + length <= n; i++)
        if (stands_at(text, i, n, mark) &&
            !(i > 0 && is_quote(text, i - 1, n) && is_quote(text, i + length, n)))
            return i;
    return n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The marks whose opening one stands at text[at]; NULL: none. */
static const struct marks *opened_at(const char *text, size_t at, size_t n)
{
    for (size_t i = 0; i < N_MARKS; i++)
        if (stands_at(text, at, n, marks[i].open)) return &marks[i];
    return NULL;
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
static const struct marks *opening(const char *text, size_t from, size_t n, size_t *inside)
{
    for (;;) {
        while (from < n && is_blank(text[from])) from++;
        const struct marks *found = opened_at(text, from, n);
        *inside = from + (found != NULL ? strlen(found->open) : 0);
        if (found == NULL && from == 0 && opens_fused(text, n)) found = &marks[N_MARKS - 1];
        if (found != NULL || from + 1 >= n || text[from] != '<' || text[from + 1] != '|') return found;
        const char *end = memmem(text + from, n - from, "|>", 2);
        if (end == NULL) return NULL;
        from = (size_t)(end - text) + 2;
        if (stands_at(text, from, n, "assistant")) from += strlen("assistant");
    }
}

/* Where the text begins behind the last closing mark that nothing opened; `from` when there is none. A mark at
 * the very end closes nothing but an answer, unless it is the only one. */
static size_t behind_lone_mark(const char *text, size_t from, size_t n)
{
    size_t begin = from;
    for (size_t i = 0; i < N_MARKS; i++) {
        const size_t length = strlen(marks[i].close);
        if (!marks[i].lone) continue;
        const size_t opened = find_mark(text, from, n, marks[i].open);
        for (size_t at = find_mark(text, from, n, marks[i].close); at < opened;
             at = find_mark(text, at + length, n, marks[i].close)) {
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
        const struct marks *block = i > from && text[i - 1] == '\n' ? opened_at(text, i, n) : NULL;
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
    for (const struct marks *block; (block = opening(text, from, n, &inside)) != NULL;) {
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

const char *sah_opens_thinking(const char *prompt, size_t n)
{
    while (n > 0 && is_blank(prompt[n - 1])) n--;
    for (size_t i = 0; i < N_MARKS; i++) {
        const size_t length = strlen(marks[i].open);
        if (n >= length && stands_at(prompt, n - length, n, marks[i].open)) return marks[i].open;
    }
    return NULL;
}
