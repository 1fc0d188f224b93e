/* SPDX-License-Identifier: Apache-2.0 */
/* Processor time to load the tokenizer of a directory, the best of five; without an argument that of a vocabulary of
 * Gemma 3's size, made here: 262,144 tokens, and a merge for every way in which two tokens make a third. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/tokenizer/tokenizer_json.h"
#include "util/splitmix.h"

enum { TOKENS = 262144, LETTERS = 26, LONGEST = 12, TIMES = 5 };

/* Random words, each two shorter tokens joined. */
static sah_status make_vocabulary(sah_vocab *vocab, sah_error *error)
{
    uint64_t seed = 1;
    char word[2 * LONGEST];
    sah_status status = SAH_OK;
    for (int i = 0; i < LETTERS && status == SAH_OK; i++)
        status = sah_vocab_add(vocab, i, &"abcdefghijklmnopqrstuvwxyz"[i], 1, true, false, error);
    while (vocab->n < TOKENS && status == SAH_OK) {
        size_t a, b;
        const char *left = sah_vocab_text(vocab, (int32_t)(sah_splitmix(&seed) % vocab->n), &a);
        const char *right = sah_vocab_text(vocab, (int32_t)(sah_splitmix(&seed) % vocab->n), &b);
        if (a + b > LONGEST) continue;
        memcpy(word, left, a);
        memcpy(word + a, right, b);
        if (sah_vocab_find(vocab, word, a + b) >= 0) continue;
        status = sah_vocab_add(vocab, (int64_t)vocab->n, word, a + b, true, false, error);
    }
    return status;
}

/* As the tokenizers library writes it. */
static sah_status make_text(sah_text *out, sah_error *error)
{
    sah_vocab vocab = {0};
    size_t n, n_merges = 0;
    sah_status status = make_vocabulary(&vocab, error);
    sah_text_adds(out,
                  "{\n  \"added_tokens\": [],\n  \"model\": {\n    \"type\": \"BPE\",\n    \"vocab\": {");
    for (size_t i = 0; i < vocab.n; i++)
        sah_text_addf(out, "%s\n      \"%s\": %zu", i > 0 ? "," : "",
                      sah_vocab_text(&vocab, (int32_t)i, NULL), i);
    sah_text_adds(out, "\n    },\n    \"merges\": [");
    for (size_t i = 0; i < vocab.n; i++) {
        const char *text = sah_vocab_text(&vocab, (int32_t)i, &n);
        for (size_t cut = 1; cut < n; cut++) {
            if (sah_vocab_find(&vocab, text, cut) < 0 || sah_vocab_find(&vocab, text + cut, n - cut) < 0)
                continue;
            sah_text_addf(out, "%s\n      [\n        \"%.*s\",\n        \"%s\"\n      ]",
                          n_merges++ > 0 ? "," : "", (int)cut, text, text + cut);
        }
    }
    sah_text_adds(out, "\n    ]\n  }\n}\n");
    printf("%zu tokens, %zu merges, %.1f MB\n", vocab.n, n_merges, (double)out->size / 1e6);
    sah_vocab_free(&vocab);
    return status;
}

static sah_status load(const char *directory, const sah_text *text, sah_error *error)
{
    sah_tokenizer *tokenizer;
    const sah_status status =
        directory != NULL
            ? sah_tokenizer_from_directory(directory, &tokenizer, error)
            : sah_tokenizer_from_text(text->data, text->size, "/nonexistent", "made here", &tokenizer, error);
    sah_tokenizer_free(tokenizer);
    return status;
}

int main(int argc, char **argv)
{
    sah_error error = {0};
    sah_text text = {0};
    const char *directory = argc > 1 ? argv[1] : NULL;
    double best = 1e9;
    sah_status status = directory != NULL ? SAH_OK : make_text(&text, &error);
    for (int i = 0; i < TIMES && status == SAH_OK && !text.failed; i++) {
        const clock_t start = clock();
        status = load(directory, &text, &error);
        const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        if (seconds < best) best = seconds;
    }
    free(text.data);
    if (status != SAH_OK || text.failed) {
        fprintf(stderr, "tokenizer: %s\n", text.failed ? "not enough memory" : error.message);
        return 1;
    }
    printf("tokenizer loaded in %.3f s of processor time\n", best);
    return 0;
}
