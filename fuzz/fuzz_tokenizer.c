/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes what tokenizers read from files, and any text against tokenizers that are sound.
 * The first byte chooses; where two inputs are needed a byte 0xFF (never in UTF-8) stands between them. */
#include <stdlib.h>
#include <string.h>

#include "fuzz_input.h"
#include "fuzz_json_mutate.h"
#include "model/format/gguf_split.h"
#include "model/tokenizer/pattern.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer/tokenizer_json.h"
#include "model/tokenizer/tokenizer_spm.h"
#include "util/strings.h"
#include "util/utf8.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool fuzz_holds_json(const uint8_t *data, size_t size)
{
    return size > 0 && data[0] % 6 == 0;
}

/* Of a text for a sound tokenizer: a longer one takes long and says nothing new. */
enum { LONGEST_TEXT = 1024 };

static sah_tokenizer *sound[3];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const names[] = {"smollm2", "llama2", "added-flags"};
    (void)argc;
    (void)argv;
    for (size_t i = 0; i < 3; i++) {
        char path[128] = "tests/golden/tokenizers/";
        sah_tokenizer_from_directory(strcat(path, names[i]), &sound[i], NULL);
    }
    return 0;
}

/* Text to ids and back: every id must be a token. */
static void round_trip(const sah_tokenizer *tokenizer, const char *text, size_t size)
{
    int32_t *ids;
    size_t n;
    char *back;
    if (tokenizer == NULL) return;
    if (sah_tokenizer_encode(tokenizer, text, size, true, &ids, &n, NULL) != SAH_OK) return;
    for (size_t i = 0; i < n; i++) {
        if (sah_tokenizer_token(tokenizer, ids[i]) == NULL) abort();
    }
    if (sah_tokenizer_decode(tokenizer, ids, n, size % 2 == 0, &back, NULL) == SAH_OK) free(back);
    free(ids);
}

/* By a tree of JSON and with the long lists read from the text: the same tokenizer, or the same message. */
static void fuzz_json(const char *data, size_t size, const char *text, size_t text_size)
{
    json_t *json;
    sah_tokenizer *tokenizer = NULL, *lists;
    sah_error errors[2] = {{0}};
    sah_status status = sah_json_parse_object(data, size, "input", &json, &errors[0]);
    if (status == SAH_OK)
        status = sah_tokenizer_from_json(json, "/nonexistent", "input", &tokenizer, &errors[0]);
    if (sah_tokenizer_from_text(data, size, "/nonexistent", "input", &lists, &errors[1]) != status) abort();
    if (strcmp(errors[0].message, errors[1].message) != 0) abort();
    if (status == SAH_OK) {
        int32_t *ids[2] = {NULL};
        size_t n[2];
        if (lists->vocab.n != tokenizer->vocab.n) abort();
        if (sah_tokenizer_encode(tokenizer, text, text_size, true, &ids[0], &n[0], NULL) !=
            sah_tokenizer_encode(lists, text, text_size, true, &ids[1], &n[1], NULL))
            abort();
        if (n[0] != n[1] || (n[0] > 0 && memcmp(ids[0], ids[1], n[0] * sizeof *ids[0]) != 0)) abort();
        free(ids[0]);
        free(ids[1]);
        round_trip(tokenizer, text, text_size);
    }
    sah_tokenizer_free(tokenizer);
    sah_tokenizer_free(lists);
    json_decref(json);
}

static void fuzz_gguf(const uint8_t *data, size_t size)
{
    static const char text[] = "Hello, w\xC3\xB6rld 42 <s>\n";
    sah_gguf gguf;
    sah_tokenizer *tokenizer;
    if (sah_gguf_open(fuzz_file_of(data, size).text, &gguf, NULL) == SAH_OK) {
        if (sah_tokenizer_from_gguf(&gguf, &tokenizer, NULL) == SAH_OK) {
            round_trip(tokenizer, text, sizeof text - 1);
            sah_tokenizer_free(tokenizer);
        }
        sah_gguf_close(&gguf);
    }
}

static void fuzz_spm(const uint8_t *data, size_t size)
{
    static const char text[] = "Hello, w\xC3\xB6rld  42 <s>\n\xEF\xAC\x81";
    sah_spm spm;
    sah_tokenizer *tokenizer;
    if (sah_spm_parse((const char *)data, size, "input", &spm, NULL) == SAH_OK &&
        sah_tokenizer_from_spm(&spm, "/nonexistent", "input", &tokenizer, NULL) == SAH_OK) {
        round_trip(tokenizer, text, sizeof text - 1);
        sah_tokenizer_free(tokenizer);
    }
    sah_spm_free(&spm);
}

/* A map of characters leaves valid text valid, whatever its trie says. */
static void fuzz_charsmap(const char *map, size_t map_size, const char *text, size_t size)
{
    sah_charsmap *charsmap;
    size_t repaired;
    char *valid = sah_utf8_repair(text, size, &repaired);
    if (valid != NULL && sah_charsmap_new(map, map_size, &charsmap, NULL) == SAH_OK) {
        for (int clusters = 0; clusters < 2; clusters++) {
            sah_text out = {0};
            sah_charsmap_apply(charsmap, clusters != 0, valid, repaired, &out);
            if (!sah_utf8_valid(out.data != NULL ? out.data : "", out.size)) abort();
            free(out.data);
        }
        sah_charsmap_free(charsmap);
    }
    free(valid);
}

static void fuzz_pattern(const char *regex, const char *text, size_t size)
{
    sah_pattern *pattern;
    sah_spans spans = {0};
    sah_text joined = {0};
    size_t repaired;
    char *valid = sah_utf8_repair(text, size, &repaired);
    if (valid != NULL && sah_pattern_regex(regex, &pattern, NULL) == SAH_OK) {
        if (sah_pattern_cut(pattern, valid, repaired, &spans, NULL) == SAH_OK) {
            for (size_t i = 0; i < spans.n; i++)
                sah_text_add(&joined, valid + spans.items[i].begin,
                             spans.items[i].end - spans.items[i].begin);
            if (joined.size != repaired || (repaired > 0 && memcmp(joined.data, valid, repaired) != 0))
                abort();
        }
        sah_pattern_free(pattern);
    }
    sah_spans_free(&spans);
    free(joined.data);
    free(valid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const uint8_t choice = data[0];
    data++;
    size--;
    /* Copies that end in NUL: some of the inputs are C strings. */
    const uint8_t *border = memchr(data, 0xFF, size);
    const size_t first_size = border != NULL ? (size_t)(border - data) : size;
    const size_t second_size = border != NULL ? size - first_size - 1 : 0;
    char *first = strndup((const char *)data, first_size), *second = calloc(second_size + 1, 1);
    if (first == NULL || second == NULL) abort();
    if (border != NULL) memcpy(second, border + 1, second_size);
    switch (choice % 6) {
    case 0:
        fuzz_json((const char *)data, first_size, second, second_size);
        break;
    case 1:
        fuzz_gguf(data, size);
        break;
    case 2:
        fuzz_pattern(first, second, second_size);
        break;
    case 3:
        fuzz_spm(data, size);
        break;
    case 4:
        fuzz_charsmap((const char *)data, size, second, second_size);
        break;
    default:
        round_trip(sound[choice / 6 % 3], (const char *)data, size < LONGEST_TEXT ? size : LONGEST_TEXT);
    }
    free(first);
    free(second);
    return 0;
}
