/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens that end generation, known by their names. Files leave some of them out of their lists, or give them a
 * type that says nothing; the names are those that llama.cpp collects (llama-vocab.cpp, special_eog_ids), so that a
 * model answers alike as a directory, as GGUF, and there. */
#include <string.h>

#include "model/tokenizer/ends.h"
#include "model/tokenizer/tokenizer_build.h"

#define DEEPSEEK(name) "<\xEF\xBD\x9C" name "\xEF\xBD\x9C>"

static const char *const names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[", /* MiniMax's */
    DEEPSEEK("end" SAH_METASPACE "of" SAH_METASPACE "sentence"),
};
/* Between the parts of a message: read and written as text, whatever type a file gives them. */
static const char *const shown[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};
/* What a place of code to be filled in is made of. Some of it ends an answer: padding, and what stands between
 * files. */
static const struct {
    const char *key; /* under which a GGUF file names the token: then no name is looked for */
    bool ends;
    const char *names[8];
} roles[] = {
    {"fim_pad", true, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"fim_rep", true, {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"fim_sep", true, {"<|file_sep|>"}},
    {"fim_pre",
     false,
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", DEEPSEEK("fim" SAH_METASPACE "begin"), "<PRE>",
      SAH_METASPACE "<PRE>", "<|code_prefix|>", "<|prefix|>"}},
    {"fim_suf",
     false,
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", DEEPSEEK("fim" SAH_METASPACE "hole"), "<SUF>",
      SAH_METASPACE "<SUF>", "<|code_suffix|>", "<|suffix|>"}},
    {"fim_mid",
     false,
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", DEEPSEEK("fim" SAH_METASPACE "end"), "<MID>",
      SAH_METASPACE "<MID>", "<|code_middle|>", "<|middle|>"}},
};
enum { N_NAMES = sizeof names / sizeof *names, N_ROLES = sizeof roles / sizeof *roles, N_ROLE_NAMES = 8 };

const char *sah_fill_role(size_t role, bool *ends)
{
    if (role >= N_ROLES) return NULL;
    *ends = roles[role].ends;
    return roles[role].key;
}

static int32_t id_of(const sah_tokenizer *tokenizer, const char *name)
{
    return sah_vocab_find(&tokenizer->vocab, name, strlen(name));
}

static bool has(const sah_tokenizer *tokenizer, const char *name)
{
    return id_of(tokenizer, name) >= 0;
}

/* Two names mean something else in some vocabularies: where messages end in <|return|> or <|call|> (or <|flush|>
 * and <|calls|>), <|end|> stands between messages; beside <|tool_response>, or where answers end in <|plamo:eos|>,
 * </s> is a token of text. */
static sah_known what_here(const sah_tokenizer *tokenizer, const char *name)
{
    const bool calls = has(tokenizer, "<|call|>") || has(tokenizer, "<|calls|>");
    const bool plamo = sah_ids_has(&tokenizer->ends, id_of(tokenizer, "<|plamo:eos|>"));
    if (strcmp(name, "<|end|>") == 0 && calls &&
        (has(tokenizer, "<|return|>") || has(tokenizer, "<|flush|>")))
        return SAH_KNOWN_BETWEEN;
    if (strcmp(name, "</s>") == 0 && (plamo || has(tokenizer, "<|tool_response>"))) return SAH_KNOWN_TEXT;
    return SAH_KNOWN_END;
}

sah_known sah_tokenizer_known(const sah_tokenizer *tokenizer, unsigned given, const char *text)
{
    for (size_t i = 0; i < N_NAMES; i++)
        if (strcmp(names[i], text) == 0) return what_here(tokenizer, text);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        if (strcmp(shown[i], text) == 0) return SAH_KNOWN_SHOWN;
    for (size_t role = 0; role < N_ROLES; role++) {
        for (size_t i = 0; i < N_ROLE_NAMES && roles[role].names[i] != NULL; i++)
            if (strcmp(roles[role].names[i], text) == 0 && (given >> role & 1) == 0)
                return roles[role].ends ? SAH_KNOWN_END : SAH_KNOWN_CONTROL;
    }
    return SAH_KNOWN_NOT;
}

static sah_status add_end(sah_tokenizer *tokenizer, unsigned given, const char *name, sah_error *error)
{
    const int32_t id = id_of(tokenizer, name);
    if (id < 0 || sah_tokenizer_known(tokenizer, given, name) != SAH_KNOWN_END) return SAH_OK;
    return sah_tokenizer_add_end(tokenizer, id, error);
}

sah_status sah_tokenizer_add_known_ends(sah_tokenizer *tokenizer, unsigned given, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; i < N_NAMES && status == SAH_OK; i++)
        status = add_end(tokenizer, given, names[i], error);
    for (size_t role = 0; role < N_ROLES; role++) {
        for (size_t i = 0; i < N_ROLE_NAMES && roles[role].names[i] != NULL && status == SAH_OK; i++)
            status = add_end(tokenizer, given, roles[role].names[i], error);
    }
    return status;
}
