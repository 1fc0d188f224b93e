/* SPDX-License-Identifier: Apache-2.0 */
#include "model/template/thinking.h"

#include <string.h>

/* From chat templates and model cards. */
const sah_thinking_marks sah_thinking[] = {
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
    {"assistantanalysis", "assistantfinal", false}, /* gpt-oss, special tokens left out */
    {NULL, NULL, false},
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

bool sah_mark_stands_at(const char *text, size_t at, size_t n, const char *mark)
{
    size_t i = 0;
    while (mark[i] != '\0' && at + i < n && lower(text[at + i]) == mark[i]) i++;
    return mark[i] == '\0';
}

static bool ends_with(const char *text, size_t n, const char *mark)
{
    const size_t length = strlen(mark);
    return n >= length && sah_mark_stands_at(text, n - length, n, mark);
}

/* Whether the mark begins or ends with token[0..n). */
static bool is_part(const char *mark, const char *token, size_t n)
{
    const size_t length = strlen(mark);
    bool begins = n <= length, ends = n <= length;
    for (size_t i = 0; i < n && (begins || ends); i++) {
        begins = begins && lower(token[i]) == mark[i];
        ends = ends && lower(token[i]) == mark[length - n + i];
    }
    return begins || ends;
}

bool sah_is_thinking_token(const char *token)
{
    const size_t n = strlen(token);
    for (const sah_thinking_marks *m = sah_thinking; m->open != NULL && n >= 3; m++)
        if (is_part(m->open, token, n) || is_part(m->close, token, n)) return true;
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Whether a mark behind prompt[0..n) is one, and not a word of a sentence, which has a blank in front of it: the
 * answer's own text begins on a new line or behind a role's mark or name ("<|assistant|>", "Assistant: "). */
static bool begins_answer(const char *prompt, size_t n)
{
    const size_t end = n;
    for (; n > 0 && is_blank(prompt[n - 1]); n--)
        if (prompt[n - 1] == '\n') return true;
    return n == end || n == 0 || strchr(">]:", prompt[n - 1]) != NULL;
}

const char *sah_opens_thinking(const char *prompt, size_t n)
{
    static const char message[] = "<|message|>"; /* gpt-oss's, between the channel's name and the thoughts */
    while (n > 0 && is_blank(prompt[n - 1])) n--;
    if (ends_with(prompt, n, message)) n -= sizeof message - 1;
    for (const sah_thinking_marks *m = sah_thinking; m->open != NULL; m++)
        if (ends_with(prompt, n, m->open) && begins_answer(prompt, n - strlen(m->open))) return m->open;
    return NULL;
}
