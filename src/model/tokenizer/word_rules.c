/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/word_rules.h"

#include <string.h>

/* The expressions are those of the models' own tokenizer.json where a model is known to have one: llama.cpp spells
 * some of them otherwise, for want of upper and lower case or of marks in its expressions, and cuts a few scripts
 * differently. Where only llama.cpp tells, they are llama.cpp's. docs/tokens.md names the differences. */

/* GPT-2's family: contractions, letters, digits and the rest, each with the blank before it. */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
static const char *const gpt2[] = {GPT2, NULL};
static const char *const digits_gpt2[] = {"\\p{N}", GPT2, NULL};
static const char *const falcon[] = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]", NULL};
/* What llama.cpp does where a file names no rule, or "default". */
static const char *const plain[] = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]", NULL};
static const char *const chameleon[] = {"<sentinel:[0-9]+>",
                                        "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                                        "([\\t\\n]|    |  )",
                                        "\\p{N}",
                                        "[\\p{P}!-/:-@\\[-`{-~]",
                                        GPT2,
                                        NULL};

/* cl100k's family, in which a sign in front belongs to the word; they differ in the digits of a word. */
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORD         "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SIGNS        " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define BLANKS       "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN2        CONTRACTIONS "|" WORD "|\\p{N}|" SIGNS "|" BLANKS
static const char *const llama3[] = {CONTRACTIONS "|" WORD "|\\p{N}{1,3}|" SIGNS "|" BLANKS, NULL};
static const char *const qwen2[] = {QWEN2, NULL};
static const char *const qwen35[] = {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"
                                                  " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" BLANKS,
                                     NULL};
static const char *const laguna[] = {"[^\\n]+|[\\n]+", QWEN2, NULL};
static const char *const ufakzeka[] = {WORD "|\\p{N}|" SIGNS "|" BLANKS, NULL};
static const char *const minicpm5[] = {"\\p{N}{1,3}", CONTRACTIONS "|" WORD "|\\p{N}+|" SIGNS "|" BLANKS,
                                       NULL};
static const char *const jais2[] = {
    CONTRACTIONS "|" WORD "|\\p{N}{1,3}|" SIGNS
                 "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|"
                 "\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|"
                 "\\s{1,2}(?!\\S)|\\s{1}",
    NULL};
static const char *const bailing[] = {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}|"
                                      " ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
                                      NULL};
static const char *const seed_coder[] = {
    CONTRACTIONS "|" WORD "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" BLANKS, NULL};
static const char *const exaone_moe[] = {
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|"
                 " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    NULL};

/* o200k's family, in which a new word begins where a lower-case letter is followed by an upper-case one. */
#define UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define CASED(behind)                                                                                        \
    "[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]*[" LOWER "]+" behind "|[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]+[" LOWER     \
    "]*" behind
#define SLASHED " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" BLANKS
#define O200K   CASED(CONTRACTIONS "?") "|\\p{N}{1,3}|" SLASHED
static const char *const o200k[] = {O200K, NULL};
static const char *const tekken[] = {CASED("") "|\\p{N}|" SLASHED, NULL};
static const char *const tiny_aya[] = {"\\d{1,3}(?=(?:\\d{3})*\\b)", O200K, NULL};
static const char *const youtu[] = {
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|"
    "[!\\x{2026}\\x{201c}\\x{201d}\\x{2018}\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}"
    "\\x{fe30}-\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{30ff}]+",
    CASED(CONTRACTIONS "?") "|\\p{N}|" SLASHED, NULL};
/* Kimi's, in which words of Han characters stand alone. */
#define NOT_HAN(class) "(?:(?!\\p{Han})[" class "])"
static const char *const kimi[] = {"\\p{Han}+|[^\\r\\n\\p{L}\\p{N}]?" NOT_HAN(UPPER) "*" NOT_HAN(
                                       LOWER) "+" CONTRACTIONS "?|"
                                              "[^\\r\\n\\p{L}\\p{N}]?" NOT_HAN(UPPER) "+" NOT_HAN(
                                                  LOWER) "*" CONTRACTIONS "?|\\p{N}{1,3}|" SIGNS "|" BLANKS,
                                   NULL};

/* DeepSeek's families: digits, then characters of East Asia, then the rest. */
#define HAN_KANA "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define SIGN_WORD                                                                                            \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
#define DEEPSEEK3 SIGN_WORD " ?[\\p{P}\\p{S}]+[\\r\\n]*|" BLANKS
static const char *const deepseek3[] = {"\\p{N}{1,3}", HAN_KANA, DEEPSEEK3, NULL};
static const char *const spark[] = {"\\p{N}{1,3}", HAN_KANA,
                                    SIGN_WORD " ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+", "\\p{N}", NULL};
static const char *const afmoe[] = {
    "(?<!\\p{N})\\p{N}{1,2}(?=(?:\\p{N}{3})*(?!\\p{N}))|\\p{N}{3}", /* by threes from the right */
    "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{f900}-\\x{faff}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}"
    "\\x{ff65}-\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{e7f}\\x{e80}-\\x{eff}\\x{1780}-\\x{17ff}"
    "\\x{1000}-\\x{109f}\\x{aa60}-\\x{aa7f}\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+",
    DEEPSEEK3, NULL};
#define EAST "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
static const char *const deepseek_coder[] = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", EAST, "\\p{N}", NULL};
/* Letters of scripts that have two cases. */
#define CASED_LETTERS                                                                                        \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}"          \
    "\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}"                    \
    "\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}"          \
    "\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}"          \
    "\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}"                           \
    "\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}"                           \
    "\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}"                   \
    "\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}"                  \
    "\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"         \
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}"          \
    "\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"          \
    "\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}"         \
    "\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}"                           \
    "\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}"                           \
    "\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}"                     \
    "\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"
static const char *const deepseek_llm[] = {
    "[\\r\\n]",
    "\\s?[" CASED_LETTERS "]+",
    "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
    "\\s+$",
    EAST,
    "\\p{N}+",
    NULL};

#define BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
static const char *const bloom[] = {BLOOM, NULL};
static const char *const viking[] = {BLOOM, "\\p{N}", NULL};
static const char *const superbpe[] = {"\\p{N}+", "(?=(\\d{3})+(?!\\d))", NULL};
/* Gemma 4 merges over whole lines. */
static const char *const lines[] = {"[^\\n]+|[\\n]+", NULL};

static const struct {
    const char *names; /* each between blanks */
    sah_word_rule rule;
} rules[] = {
    {" default ", {.patterns = plain}},
    {" gpt-2 phi-2 gigachat a.x-4.0 mellum jais trillion granite-docling exaone4 ", {.patterns = gpt2}},
    {" mpt olmo ", {.patterns = gpt2, .form = "NFC"}},
    {" starcoder refact smollm codeshell exaone minerva-7b mellum2 ", {.patterns = digits_gpt2}},
    {" command-r ", {.patterns = digits_gpt2, .form = "NFC"}},
    {" falcon ", {.patterns = falcon}},
    {" chameleon ", {.patterns = chameleon, .add_bos = true}},
    {" llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 ",
     {.patterns = llama3, .ignore_merges = true, .add_bos = true}},
    {" dbrx smaug-bpe chatglm-bpe ", {.patterns = llama3}},
    {" glm4 glm5 ", {.patterns = llama3, .ignore_merges = true}},
    {" jais-2 ", {.patterns = jais2}},
    {" minicpm5 ", {.patterns = minicpm5, .ignore_merges = true}},
    {" qwen2 kormo megrez ", {.patterns = qwen2, .form = "NFC"}},
    {" deepseek-r1-qwen f2llmv2 stablelm2 hunyuan solar-open grok-2 ", {.patterns = qwen2}},
    {" qwen35 ", {.patterns = qwen35, .form = "NFC"}},
    {" laguna ", {.patterns = laguna}},
    {" ufakzeka ", {.patterns = ufakzeka}},
    {" bailingmoe bailingmoe2 llada-moe ", {.patterns = bailing}},
    {" seed-coder ", {.patterns = seed_coder}},
    {" exaone-moe ", {.patterns = exaone_moe}},
    {" gpt-4o llama4 kanana2 talkie minimax-m2 ", {.patterns = o200k}},
    {" tekken ", {.patterns = tekken, .ignore_merges = true, .add_bos = true}},
    {" tiny_aya cohere2moe ", {.patterns = tiny_aya}},
    {" youtu ", {.patterns = youtu, .ignore_merges = true}},
    {" kimi-k2 ", {.patterns = kimi}},
    {" deepseek-v3 hunyuan-dense joyai-llm hy_v4 ", {.patterns = deepseek3}},
    {" spark2_5 ", {.patterns = spark}},
    {" afmoe ", {.patterns = afmoe}},
    {" deepseek-coder ", {.patterns = deepseek_coder}},
    {" deepseek-llm ", {.patterns = deepseek_llm}},
    {" poro-chat bloom gpt3-finnish ", {.patterns = bloom}},
    {" viking ", {.patterns = viking}},
    {" superbpe ", {.patterns = superbpe}},
    {" gemma4 ", {.patterns = lines, .alphabet = SAH_WORDS_PIECES, .always_bos = true}},
    {" sarvam-moe ", {.patterns = lines, .alphabet = SAH_WORDS_PIECES}},
};

const sah_word_rule *sah_word_rule_find(const char *name, size_t length)
{
    if (length == 0 || memchr(name, ' ', length) != NULL) return NULL;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const char *names = rules[i].names, *at = memmem(names, strlen(names), name, length);
        for (; at != NULL; at = memmem(at + 1, strlen(at + 1), name, length))
            if (at[-1] == ' ' && at[length] == ' ') return &rules[i].rule;
    }
    return NULL;
}
