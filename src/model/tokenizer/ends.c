/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens that end generation, known by their names. Files leave some of them out of their lists, or give them a
 * type that says nothing; the names are those that llama.cpp collects (llama-vocab.cpp, special_eog_ids), so that a
 * model answers alike as a directory, as GGUF, and there. */
#include <string.h>

#include "model/tokenizer/tokenizer_parts.h"

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
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81"
    "of\xE2\x96\x81"
    "sentence\xEF\xBD\x9C>", /* DeepSeek's */
};
/* Between files of code: behind an answer that has begun to fill in code. */
static const char *const fills[] = {"<|fim_pad|>", "<fim-pad>",    "<fim_pad>",     "<PAD>",
                                    "[PAD]",       "<|fim_repo|>", "<|repo_name|>", "<fim-repo>",
                                    "<REPO>",      "<reponame>",   "<|file_sep|>"};
enum { N_NAMES = sizeof names / sizeof *names, N_FILLS = sizeof fills / sizeof *fills };

bool sah_is_known_end(const char *text, size_t size)
{
    for (size_t i = 0; i < N_NAMES; i++)
        if (strlen(names[i]) == size && memcmp(names[i], text, size) == 0) return true;
    return false;
}

static bool has(const sah_tokenizer *tokenizer, const char *name)
{
    return sah_tokenizer_id(tokenizer, name) >= 0;
}

/* Two names mean something else in some vocabularies: where messages end in <|return|> or <|call|> (or <|flush|>
 * and <|calls|>), <|end|> stands between messages; beside <|tool_response>, </s> is a token of text. */
static bool is_end_here(const sah_tokenizer *tokenizer, const char *name)
{
    bool calls = has(tokenizer, "<|call|>") || has(tokenizer, "<|calls|>");
    if (strcmp(name, "<|end|>") == 0)
        return !(calls && (has(tokenizer, "<|return|>") || has(tokenizer, "<|flush|>")));
    if (strcmp(name, "</s>") == 0) return !has(tokenizer, "<|tool_response>");
    return true;
}

sah_status sah_tokenizer_add_known_ends(sah_tokenizer *tokenizer, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; i < N_NAMES + N_FILLS && status == SAH_OK; i++) {
        const char *name = i < N_NAMES ? names[i] : fills[i - N_NAMES];
        if (is_end_here(tokenizer, name))
            status = sah_tokenizer_add_end(tokenizer, sah_tokenizer_id(tokenizer, name), error);
    }
    return status;
}
