/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers against the ids and texts that the tokenizers library gives (tests/golden/README.md), and
 * against broken files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "model/format/gguf_split.h"
#include "model/template/chat.h"
#include "model/tokenizer/characters.h"
#include "model/tokenizer/pattern.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_build.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer/tokenizer_json.h"
#include "util/needs.h"
#include "util/strings.h"

#define GOLDEN "tests/golden/tokenizers/"

/* ---- Goldens ------------------------------------------------------------------------------------------- */

static json_t *load(const char *path)
{
    json_error_t at;
    json_t *json = json_load_file(path, JSON_ALLOW_NUL, &at);
    if (json == NULL) fail_msg("%s: line %d: %s", path, at.line, at.text);
    return json;
}

static sah_tokenizer *open_directory(const char *path)
{
    sah_error error = {0};
    sah_tokenizer *tokenizer = NULL;
    if (sah_tokenizer_from_directory(path, &tokenizer, &error) != SAH_OK)
        fail_msg("%s: %s", path, error.message);
    return tokenizer;
}

static sah_tokenizer *open_gguf(const char *path)
{
    sah_error error = {0};
    sah_gguf gguf;
    sah_tokenizer *tokenizer = NULL;
    if (sah_gguf_open(path, &gguf, &error) != SAH_OK) fail_msg("%s: %s", path, error.message);
    if (sah_tokenizer_from_gguf(&gguf, &tokenizer, &error) != SAH_OK) fail_msg("%s: %s", path, error.message);
    sah_gguf_close(&gguf);
    return tokenizer;
}

static void print_ids(const char *what, const int32_t *ids, size_t n)
{
    print_error("  %s:", what);
    for (size_t i = 0; i < n; i++) print_error(" %d", ids[i]);
    print_error("\n");
}

/* The library puts BOS before a text that begins with BOS already; ours has it once. */
static size_t doubled_bos(const sah_tokenizer *tokenizer, bool add_special, const json_t *expected)
{
    const json_int_t bos = sah_tokenizer_bos(tokenizer);
    return add_special && bos >= 0 && json_array_size(expected) > 1 &&
           json_integer_value(json_array_get(expected, 0)) == bos &&
           json_integer_value(json_array_get(expected, 1)) == bos;
}

/* Does encoding `text` give `expected`? Says so when it does not. */
static bool same_ids(const sah_tokenizer *tokenizer, const json_t *text, bool add_special,
                     const json_t *expected)
{
    sah_error error = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    if (sah_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), add_special, &ids,
                             &n, &error) != SAH_OK)
        fail_msg("\"%s\": %s", json_string_value(text), error.message);
    const size_t extra = doubled_bos(tokenizer, add_special, expected);
    bool same = n + extra == json_array_size(expected);
    for (size_t i = 0; i < n && same; i++)
        same = ids[i] == json_integer_value(json_array_get(expected, i + extra));
    if (!same) {
        char *dump = json_dumps(text, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
        char *wanted = json_dumps(expected, 0);
        print_error("%s\n  expected: %s\n", dump, wanted);
        print_ids("     found", ids, n);
        free(dump);
        free(wanted);
    }
    free(ids);
    return same;
}

/* The golden text as our decoder gives it: U+FFFD for U+0000, which cannot stand in a C string. */
static char *without_zeros(const json_t *text)
{
    sah_text out = {0};
    for (size_t i = 0; i < json_string_length(text); i++) {
        const char *byte = json_string_value(text) + i;
        if (*byte == '\0')
            sah_text_adds(&out, "\xEF\xBF\xBD");
        else
            sah_text_add(&out, byte, 1);
    }
    sah_text_adds(&out, "");
    assert_false(out.failed);
    return out.data;
}

static bool same_text(const sah_tokenizer *tokenizer, const json_t *list, bool skip_special,
                      const json_t *expected)
{
    const size_t n = json_array_size(list);
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    sah_error error = {0};
    char *text = NULL, *wanted = without_zeros(expected);
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    if (sah_tokenizer_decode(tokenizer, ids, n, skip_special, &text, &error) != SAH_OK)
        fail_msg("%s", error.message);
    const bool same = strcmp(text, wanted) == 0;
    if (!same) {
        print_ids("ids", ids, n);
        print_error("  expected \"%s\"\n     found \"%s\"\n", wanted, text);
    }
    free(ids);
    free(text);
    free(wanted);
    return same;
}

/* GGUF has no field for added tokens that take the blanks beside them along. */
static bool is_beyond_gguf(const json_t *text)
{
    return strstr(json_string_value(text), "<left>") != NULL ||
           strstr(json_string_value(text), "<right>") != NULL;
}

/* Compares every row of NAME's goldens; returns how many rows were compared. */
static size_t compare(const char *name, const sah_tokenizer *tokenizer, bool gguf)
{
    char path[256];
    const json_t *row;
    size_t i, compared = 0, wrong = 0;
    snprintf(path, sizeof path, GOLDEN "%s/golden.json", name);
    json_t *rows = load(path);
    json_array_foreach(rows, i, row)
    {
        const json_t *text = json_object_get(row, "text"), *plain = json_object_get(row, "ids_plain");
        if (gguf && is_beyond_gguf(text)) continue;
        bool same = same_ids(tokenizer, text, true, json_object_get(row, "ids"));
        same = same_ids(tokenizer, text, false, plain) && same;
        same = same_text(tokenizer, plain, false, json_object_get(row, "decoded")) && same;
        same = same_text(tokenizer, plain, true, json_object_get(row, "decoded_skip")) && same;
        wrong += !same;
        compared++;
    }
    json_decref(rows);
    snprintf(path, sizeof path, GOLDEN "%s/decode.json", name);
    rows = load(path);
    json_array_foreach(rows, i, row)
    {
        const json_t *ids = json_object_get(row, "ids");
        bool same = same_text(tokenizer, ids, false, json_object_get(row, "decoded"));
        same = same_text(tokenizer, ids, true, json_object_get(row, "decoded_skip")) && same;
        wrong += !same;
        compared++;
    }
    json_decref(rows);
    if (wrong > 0) fail_msg("%s: %zu of %zu rows differ", name, wrong, compared);
    return compared;
}

static void compare_both(const char *name, bool has_gguf)
{
    char path[256];
    snprintf(path, sizeof path, GOLDEN "%s", name);
    sah_tokenizer *tokenizer = open_directory(path);
    assert_true(compare(name, tokenizer, false) > 300);
    sah_tokenizer_free(tokenizer);
    if (!has_gguf) return;
    snprintf(path, sizeof path, GOLDEN "%s/tokenizer.gguf", name);
    tokenizer = open_gguf(path);
    assert_true(compare(name, tokenizer, true) > 300);
    sah_tokenizer_free(tokenizer);
}

static void goldens_smollm2(void **state)
{
    (void)state;
    compare_both("smollm2", true);
}

static void goldens_llama3(void **state)
{
    (void)state;
    compare_both("llama3", true);
}

static void goldens_qwen2(void **state)
{
    (void)state;
    compare_both("qwen2", true);
}

static void goldens_llama2(void **state)
{
    (void)state;
    compare_both("llama2", true);
}

static void goldens_llama2_metaspace(void **state)
{
    (void)state;
    compare_both("llama2-metaspace", false);
}

static void goldens_vicuna(void **state)
{
    (void)state;
    compare_both("vicuna", true);
}

static void goldens_added_flags(void **state)
{
    (void)state;
    compare_both("added-flags", false);
}

static void goldens_real_smollm2(void **state)
{
    (void)state;
    needs_smollm2();
    sah_tokenizer *tokenizer = open_gguf(SMOLLM2);
    json_t *rows = load(GOLDEN "smollm2-real.json");
    const json_t *row;
    size_t i, wrong = 0;
    json_array_foreach(rows, i, row) wrong +=
        !same_ids(tokenizer, json_object_get(row, "text"), true, json_object_get(row, "ids"));
    assert_true(json_array_size(rows) > 300);
    assert_int_equal(wrong, 0);
    assert_int_equal(sah_tokenizer_size(tokenizer), 49152);
    assert_int_equal(sah_tokenizer_bos(tokenizer), 1);
    assert_true(sah_tokenizer_is_end(tokenizer, 2));
    assert_false(sah_tokenizer_is_end(tokenizer, 1));
    assert_string_equal(sah_tokenizer_token(tokenizer, 2), "<|im_end|>");
    assert_null(sah_tokenizer_token(tokenizer, 49152));
    assert_null(sah_tokenizer_token(tokenizer, -1));
    json_decref(rows);
    sah_tokenizer_free(tokenizer);
}

/* ---- Files written by the test ------------------------------------------------------------------------- */

typedef struct folder {
    char path[64];
} folder;

static void write_file(const folder *at, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", at->path, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) < 0, 0);
    assert_int_equal(fclose(file), 0);
}

static folder new_folder(void)
{
    folder at = {"/tmp/sahara-tokenizer-XXXXXX"};
    assert_non_null(mkdtemp(at.path));
    return at;
}

static void remove_folder(const folder *at)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "generation_config.json",
                                        "special_tokens_map.json", "config.json"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", at->path, names[i]);
        unlink(path);
    }
    rmdir(at->path);
}

/* Opens a directory whose tokenizer.json is `json`; the message of a failure goes to `message`. */
static sah_tokenizer *open_text(const char *json, char message[1024])
{
    sah_error error = {0};
    sah_tokenizer *tokenizer = NULL;
    folder at = new_folder();
    write_file(&at, "tokenizer.json", json);
    sah_status status = sah_tokenizer_from_directory(at.path, &tokenizer, &error);
    assert_int_equal(status == SAH_OK, tokenizer != NULL);
    snprintf(message, 1024, "%s", error.message);
    remove_folder(&at);
    return tokenizer;
}

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

static void refuses_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"", "is empty"},
        {"[]", "not a JSON object"},
        {"{\"model\":{\"type\":\"WordPiece\"}}", "\"WordPiece\""},
        {"{\"model\":{\"type\":\"BPE\"}}", "model.vocab"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":7}}", "model.merges"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "id 0 is given twice"},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", "outside 0 to"},
        {"{\"model\":{\"vocab\":{\"a\":4294967296},\"merges\":[]}}", "outside 0 to"},
        {"{\"model\":{\"vocab\":{\"a\":\"0\"},\"merges\":[]}}", "not a number"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]}}", "their join"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"ab\":1},\"merges\":[\"a b\"]}}", "the second"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", "merge 0 is not a pair"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", "merge 0 is not a pair"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.5}}", "dropout"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}",
         "end_of_word_suffix"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"?\"}}", "unk_token \"?\""},
        {"{\"normalizer\":{\"type\":\"Bert\"}," MODEL "}", "normalizer \"Bert\""},
        {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"A?==\"}," MODEL "}",
         "not base64"},
        {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"CAAAAAAA\"}," MODEL "}",
         "is damaged"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":{}}}", "not an array of pieces"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0],[\"b\"]]}}", "piece 1 of model.vocab"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":1}}", "unk_id"},
        {"{\"normalizer\":{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{\"Regex\":\"x*\"}}," MODEL "}",
         "empty match"},
        {"{\"pre_tokenizer\":{\"type\":\"Bert\"}," MODEL "}", "pre_tokenizer \"Bert\""},
        {"{\"decoder\":{\"type\":\"CTC\"}," MODEL "}", "decoder \"CTC\""},
        {"{\"post_processor\":{\"type\":\"Roberta\"}," MODEL "}", "post_processor \"Roberta\""},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Odd\"}," MODEL "}", "\"Odd\""},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Removed\",\"pattern\":{\"Regex\":\"(\"}}"
         "," MODEL "}",
         "regular expression"},
        {"{\"added_tokens\":[{\"content\":\"<x>\",\"id\":9}]," MODEL "}", "has id 9 where 3 is expected"},
        {"{\"added_tokens\":[{\"content\":\"a\",\"id\":3}]," MODEL "}", "has id 3 where 0 is expected"},
        {"{\"added_tokens\":[{\"content\":\"\",\"id\":3}]," MODEL "}", "without content"},
        {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}," MODEL "}", "0 places"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char message[1024];
        sah_tokenizer *tokenizer = open_text(cases[i].json, message);
        if (tokenizer != NULL || strstr(message, cases[i].message) == NULL)
            fail_msg("%s\n  expected \"%s\", found \"%s\"", cases[i].json, cases[i].message, message);
    }
}

static void check_ids(const sah_tokenizer *tokenizer, const char *text, bool add_special, size_t n,
                      const int32_t *expected)
{
    sah_error error = {0};
    int32_t *ids = NULL;
    size_t found = 0;
    assert_int_equal(sah_tokenizer_encode(tokenizer, text, strlen(text), add_special, &ids, &found, &error),
                     SAH_OK);
    assert_int_equal(found, n);
    assert_memory_equal(ids, expected, n * sizeof *ids);
    free(ids);
}

/* The post-processor alone decides on BOS, whatever tokenizer_config.json says. The text may bring it along. */
static void bos_once(void **state)
{
    (void)state;
    static const char with_template[] =
        "{\"added_tokens\":[{\"content\":\"<s>\",\"id\":3,\"special\":true}],\"post_processor\":{\"type\":"
        "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{"
        "\"id\":\"A\","
        "\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[3],\"tokens\":[\"<s>\"]}}}"
        "," MODEL "}";
    static const char without[] =
        "{\"added_tokens\":[{\"content\":\"<s>\",\"id\":3,\"special\":true}]," MODEL "}";
    char message[1024];
    sah_tokenizer *tokenizer = open_text(with_template, message);
    assert_non_null(tokenizer);
    assert_int_equal(sah_tokenizer_bos(tokenizer), 3);
    check_ids(tokenizer, "ab", true, 2, (int32_t[]){3, 2});
    check_ids(tokenizer, "<s>ab", true, 2, (int32_t[]){3, 2});
    check_ids(tokenizer, "<s><s>ab", true, 3, (int32_t[]){3, 3, 2});
    check_ids(tokenizer, "ab", false, 1, (int32_t[]){2});
    check_ids(tokenizer, "", true, 1, (int32_t[]){3});
    check_ids(tokenizer, "", false, 0, (int32_t[]){0});
    sah_tokenizer_free(tokenizer);

    sah_error error = {0};
    folder at = new_folder();
    write_file(&at, "tokenizer.json", without);
    write_file(&at, "tokenizer_config.json", "{\"bos_token\":{\"content\":\"<s>\"},\"add_bos_token\":true}");
    assert_int_equal(sah_tokenizer_from_directory(at.path, &tokenizer, &error), SAH_OK);
    check_ids(tokenizer, "ab", true, 1, (int32_t[]){2});
    sah_tokenizer_free(tokenizer);
    write_file(&at, "tokenizer_config.json", "{\"bos_token\":\"<s>\"}");
    assert_int_equal(sah_tokenizer_from_directory(at.path, &tokenizer, &error), SAH_OK);
    check_ids(tokenizer, "ab", true, 1, (int32_t[]){2});
    assert_int_equal(sah_tokenizer_bos(tokenizer), 3);
    sah_tokenizer_free(tokenizer);
    remove_folder(&at);
}

#define ADDED                                                                                                \
    "\"added_tokens\":[{\"content\":\"<s>\",\"id\":3,\"special\":true},{\"content\":\"</s>\",\"id\":4,"      \
    "\"special\":true}]"
#define FRAME(type)  "{\"type\":\"" type "\",\"sep\":[\"</s>\",4],\"cls\":[\"<s>\",3]}"
#define SEQUENCE(of) "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}," of "]}"

/* RoBERTa's and BERT's put `cls` before a text and `sep` behind it; sequences may hold sequences. */
static void post_processors(void **state)
{
    (void)state;
    static const char *const good[] = {
        FRAME("RobertaProcessing"),
        FRAME("BertProcessing"),
        SEQUENCE(FRAME("RobertaProcessing")),
        SEQUENCE(SEQUENCE(FRAME("BertProcessing"))),
    };
    static const char *const bad[][2] = {
        {"{\"type\":\"BertProcessing\",\"sep\":[\"x\",5],\"cls\":[\"<s>\",3]}",
         "\"sep\" of the post_processor"},
        {"{\"type\":\"BertProcessing\",\"sep\":[\"</s>\",4]}", "\"cls\" of the post_processor"},
        {"{\"type\":\"Sequence\",\"processors\":[" FRAME("BertProcessing") "," FRAME("BertProcessing") "]}",
         "two templates"},
    };
    char json[2048], message[1024];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(json, sizeof json, "{\"post_processor\":%s," ADDED "," MODEL "}", good[i]);
        sah_tokenizer *tokenizer = open_text(json, message);
        if (tokenizer == NULL) fail_msg("%s", message);
        check_ids(tokenizer, "ab", true, 3, (int32_t[]){3, 2, 4});
        check_ids(tokenizer, "", true, 2, (int32_t[]){3, 4});
        check_ids(tokenizer, "ab", false, 1, (int32_t[]){2});
        sah_tokenizer_free(tokenizer);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(json, sizeof json, "{\"post_processor\":%s," ADDED "," MODEL "}", bad[i][0]);
        assert_null(open_text(json, message));
        assert_non_null(strstr(message, bad[i][1]));
    }
}

/* A token that tokenizer.json calls special and a later file does not is one to split all the same (as
 * transformers 5.24 has it). */
static void split_special_tokens(void **state)
{
    (void)state;
    static const char json[] = "{\"added_tokens\":[{\"content\":\"ba\",\"id\":3,\"special\":true},{"
                               "\"content\":\"bb\",\"id\":4}]," MODEL "}";
    static const char decoder[] =
        "\"added_tokens_decoder\":{\"3\":{\"content\":\"ba\"},\"4\":{\"content\":\"bb\"}}";
    sah_error error = {0};
    folder at = new_folder();
    write_file(&at, "tokenizer.json", json);
    for (int split = 0; split < 2; split++) {
        char config[512];
        sah_tokenizer *tokenizer;
        snprintf(config, sizeof config, "{\"split_special_tokens\":%s,%s}", split ? "true" : "false",
                 decoder);
        write_file(&at, "tokenizer_config.json", config);
        assert_int_equal(sah_tokenizer_from_directory(at.path, &tokenizer, &error), SAH_OK);
        if (split)
            check_ids(tokenizer, "bbba", false, 3, (int32_t[]){4, 1, 0});
        else
            check_ids(tokenizer, "bbba", false, 2, (int32_t[]){4, 3});
        sah_tokenizer_free(tokenizer);
    }
    remove_folder(&at);
}

static void end_tokens(void **state)
{
    (void)state;
    static const char json[] =
        "{\"added_tokens\":[{\"content\":\"</s>\",\"id\":3,\"special\":true},{\"content\":"
        "\"<|eot_id|>\",\"id\":4,\"special\":true},{\"content\":\"<|end|>\",\"id\":5}]," MODEL "}";
    sah_error error = {0};
    sah_tokenizer *tokenizer;
    folder at = new_folder();
    write_file(&at, "tokenizer.json", json);
    write_file(&at, "special_tokens_map.json", "{\"eos_token\":\"</s>\"}");
    write_file(&at, "generation_config.json", "{\"eos_token_id\":[1,99,-1]}");
    write_file(&at, "config.json", "{\"eos_token_id\":0}");
    assert_int_equal(sah_tokenizer_from_directory(at.path, &tokenizer, &error), SAH_OK);
    assert_true(sah_tokenizer_is_end(tokenizer, 3)); /* the map's */
    assert_true(sah_tokenizer_is_end(tokenizer, 4)); /* a well-known end of turn */
    assert_true(sah_tokenizer_is_end(tokenizer, 1)); /* the generation settings' */
    assert_false(
        sah_tokenizer_is_end(tokenizer, 0)); /* config.json counts only without generation settings */
    assert_true(
        sah_tokenizer_is_end(tokenizer, 5)); /* by its name, though the file does not call it special */
    assert_false(sah_tokenizer_is_end(tokenizer, 99));
    sah_tokenizer_free(tokenizer);
    remove_folder(&at);
}

/* ---- GGUF metadata written by the test ----------------------------------------------------------------- */

static void put(sah_text *out, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) sah_text_add(out, &(char){(char)(number >> (8 * i))}, 1);
}

static void put_string(sah_text *out, const char *text)
{
    put(out, strlen(text), 8);
    sah_text_adds(out, text);
}

static void put_key(sah_text *out, const char *key, sah_gguf_type type)
{
    put_string(out, key);
    put(out, type, 4);
}

static void put_array(sah_text *out, const char *key, sah_gguf_type item, size_t n)
{
    put_key(out, key, SAH_GGUF_ARRAY);
    put(out, item, 4);
    put(out, n, 8);
}

/* What a case changes in a vocabulary of seven tokens. */
typedef struct gguf_case {
    const char *model, *pre, *first, *merge; /* NULL: the key is left out */
    size_t n_types;
    uint32_t bos;
    float score;
    const char *message;
    const char *fifth; /* another text for "c"; NULL: "c" */
    uint32_t all_types; /* of every token when not 9 */
} gguf_case;

enum { OWN_TYPES = 9, NO_SCORES = -1000 };
static const gguf_case plain_case = {"llama", "default", "<unk>", "a b", 7, 1, -1.0F, "", NULL, OWN_TYPES};

/* Opens a GGUF file of the case. "ab" is unused: a step on the way to "abc" and never a token of its own. */
static sah_tokenizer *open_case(const gguf_case *c, char message[1024])
{
    static const char *const tokens[] = {"", "<s>", "a", "b", "c", "ab", "abc"};
    static const uint32_t types[] = {2, 3, 1, 1, 1, 5, 1};
    sah_text out = {0};
    sah_text_adds(&out, "GGUF");
    put(&out, 3, 4);
    put(&out, 0, 8);
    put(&out, 7U + (c->pre != NULL ? 1 : 0) + (c->merge != NULL ? 1 : 0), 8);
    put_key(&out, "tokenizer.ggml.model", SAH_GGUF_STRING);
    put_string(&out, c->model);
    if (c->pre != NULL) put_key(&out, "tokenizer.ggml.pre", SAH_GGUF_STRING);
    if (c->pre != NULL) put_string(&out, c->pre);
    put_array(&out, "tokenizer.ggml.tokens", SAH_GGUF_STRING, 7);
    for (size_t i = 0; i < 7; i++)
        put_string(&out, i == 0 ? c->first : i == 4 && c->fifth != NULL ? c->fifth : tokens[i]);
    put_array(&out, "tokenizer.ggml.token_type", SAH_GGUF_I32, c->n_types);
    for (size_t i = 0; i < c->n_types; i++) put(&out, c->all_types == OWN_TYPES ? types[i] : c->all_types, 4);
    put_array(&out, c->score < NO_SCORES ? "unscored" : "tokenizer.ggml.scores", SAH_GGUF_F32, 7);
    for (size_t i = 0; i < 7; i++) {
        const float score = i == 6 ? c->score : 0.0F;
        sah_text_add(&out, (const char *)&score, sizeof score);
    }
    if (c->merge != NULL) put_array(&out, "tokenizer.ggml.merges", SAH_GGUF_STRING, 1);
    if (c->merge != NULL) put_string(&out, c->merge);
    put_key(&out, "tokenizer.ggml.bos_token_id", SAH_GGUF_U32);
    put(&out, c->bos, 4);
    put_key(&out, "tokenizer.ggml.eos_token_id", SAH_GGUF_U32);
    put(&out, UINT32_MAX, 4);
    put_key(&out, "tokenizer.ggml.add_space_prefix", SAH_GGUF_BOOL);
    put(&out, 0, 1);
    assert_false(out.failed);

    char path[] = "/tmp/sahara-tokenizer-XXXXXX";
    const int file = mkstemp(path);
    sah_error error = {0};
    sah_gguf gguf;
    sah_tokenizer *tokenizer = NULL;
    assert_true(file >= 0);
    assert_int_equal(write(file, out.data, out.size), (ssize_t)out.size);
    close(file);
    if (sah_gguf_open(path, &gguf, &error) != SAH_OK) fail_msg("%s", error.message);
    const sah_status status = sah_tokenizer_from_gguf(&gguf, &tokenizer, &error);
    assert_int_equal(status == SAH_OK, tokenizer != NULL);
    snprintf(message, 1024, "%s", error.message);
    sah_chat chat = {0};
    if (tokenizer != NULL && sah_chat_from_gguf(&gguf, tokenizer, &chat, &error) != SAH_OK)
        fail_msg("%s", error.message); /* it reads the same ids */
    sah_chat_free(&chat);
    sah_gguf_close(&gguf);
    unlink(path);
    free(out.data);
    return tokenizer;
}

/* As llama.cpp has it: scores are 0 where there are none, and an id of 2^32 - 1 is none, so that the kind's own
 * stands. */
static void gguf_without_scores_and_ids(void **state)
{
    (void)state;
    gguf_case c = plain_case;
    char message[1024];
    c.score = 2 * NO_SCORES;
    c.bos = UINT32_MAX;
    sah_tokenizer *tokenizer = open_case(&c, message);
    if (tokenizer == NULL) fail_msg("%s", message);
    assert_int_equal(sah_tokenizer_bos(tokenizer), 1);
    check_ids(tokenizer, "cabc", true, 3, (int32_t[]){1, 4, 6});
    sah_tokenizer_free(tokenizer);
}

static void gguf_refuses_by_name(void **state)
{
    (void)state;
    static const gguf_case cases[] = {
        {"bert", "default", "<unk>", NULL, 7, 1, -1.0F, "model \"bert\"", NULL, OWN_TYPES},
        {"gpt2", "unheard", "<unk>", "a b", 7, 1, -1.0F, "pre \"unheard\"", NULL, OWN_TYPES},
        {"gpt2", "smollm", "<unk>", NULL, 7, 1, -1.0F, "tokenizer.ggml.merges is missing", NULL, OWN_TYPES},
        {"gpt2", "smollm", "<unk>", "a c", 7, 1, -1.0F, "their join", NULL, OWN_TYPES},
        {"gpt2", "smollm", "<unk>", "abc", 7, 1, -1.0F, "not a pair", NULL, OWN_TYPES},
        {"gpt2", "smollm", "a", "a b", 7, 1, -1.0F, "same text", NULL, OWN_TYPES},
        {"gpt2", "smollm", "\xFF", "a b", 7, 1, -1.0F, "not UTF-8", NULL, OWN_TYPES},
        {"llama", "default", "<unk>", NULL, 6, 1, -1.0F, "7 tokens but 6 token types", NULL, OWN_TYPES},
        {"llama", "default", "<unk>", NULL, 7, 7, -1.0F, "past the last token", NULL, OWN_TYPES},
        {"llama", "default", "<unk>", NULL, 7, 1, __builtin_nanf(""), "score of token 6", NULL, OWN_TYPES},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char message[1024];
        sah_tokenizer *tokenizer = open_case(&cases[i], message);
        if (tokenizer != NULL || strstr(message, cases[i].message) == NULL)
            fail_msg("case %zu: expected \"%s\", found \"%s\"", i, cases[i].message, message);
    }
}

static void unused_pieces_are_taken_apart(void **state)
{
    (void)state;
    char message[1024];
    sah_tokenizer *tokenizer = open_case(&plain_case, message);
    if (tokenizer == NULL) fail_msg("%s", message);
    check_ids(tokenizer, "abc", true, 2, (int32_t[]){1, 6});
    check_ids(tokenizer, "ab", true, 3, (int32_t[]){1, 2, 3});
    check_ids(tokenizer, "abab", false, 4, (int32_t[]){2, 3, 2, 3});
    check_ids(tokenizer, "<s>zab<unk>", true, 5,
              (int32_t[]){1, 0, 2, 3, 0}); /* z has no token and no bytes */
    sah_tokenizer_free(tokenizer);
}

/* Tokens that end an answer do so by their names, whatever type the file gives them; types may all be undefined; a
 * file need not say how words are cut. */
static void gguf_known_ends(void **state)
{
    (void)state;
    char message[1024];
    static const char *const names[] = {"<|im_end|>", "<|endoftext|>", "<end_of_turn>", "<|eot_id|>",
                                        "<turn|>"};
    for (size_t i = 0; i < 5; i++) {
        for (uint32_t type = 0; type < 5; type++) {
            gguf_case c = {"gpt2", type == 0 ? NULL : "default", "<unk>", "a b", 7, 1, -1.0F, "", names[i],
                           type};
            sah_tokenizer *tokenizer = open_case(&c, message);
            if (tokenizer == NULL) fail_msg("%s", message);
            assert_true(sah_tokenizer_is_end(tokenizer, 4));
            assert_false(sah_tokenizer_is_end(tokenizer, 3));
            char text[64];
            snprintf(text, sizeof text, "ab%s", names[i]);
            if (type == 0) check_ids(tokenizer, text, false, 2, (int32_t[]){5, 4});
            sah_tokenizer_free(tokenizer);
        }
    }
    gguf_case plain = {"gpt2", "default", "<unk>", "a b", 7, 1, -1.0F, "", "<|other|>", 1};
    sah_tokenizer *tokenizer = open_case(&plain, message);
    assert_non_null(tokenizer);
    assert_false(sah_tokenizer_is_end(tokenizer, 4));
    sah_tokenizer_free(tokenizer);
}

/* ---- Pieces of the machinery --------------------------------------------------------------------------- */

/* Cuts "text" by regex and joins the parts with '|', matches in upper brackets. */
static void check_cut(const char *regex, const char *text, const char *expected)
{
    sah_error error = {0};
    sah_pattern *pattern;
    sah_spans spans = {0};
    sah_text found = {0};
    if (sah_pattern_regex(regex, &pattern, &error) != SAH_OK) fail_msg("%s: %s", regex, error.message);
    assert_int_equal(sah_pattern_cut(pattern, text, strlen(text), &spans, &error), SAH_OK);
    for (size_t i = 0; i < spans.n; i++) {
        const sah_span span = spans.items[i];
        sah_text_addf(&found, span.match ? "[%.*s]" : "%.*s", (int)(span.end - span.begin),
                      text + span.begin);
    }
    assert_string_equal(found.data != NULL ? found.data : "", expected);
    free(found.data);
    sah_spans_free(&spans);
    sah_pattern_free(pattern);
}

static void patterns_as_oniguruma_reads_them(void **state)
{
    (void)state;
    check_cut("\\s+",
              "a \t\xC2\xA0"
              "b",
              "a[ \t\xC2\xA0]b");
    check_cut("\\s", "\xE1\xA0\x8E", "\xE1\xA0\x8E"); /* U+180E is no white space */
    check_cut("[^\\s]", "\xE1\xA0\x8E", "[\xE1\xA0\x8E]");
    check_cut("[\\S]", "\xE1\xA0\x8E ", "[\xE1\xA0\x8E] ");
    check_cut("[^\\S]", "\xE1\xA0\x8E ", "\xE1\xA0\x8E[ ]");
    check_cut("\\w+", "e\xCC\x81_1\xC2\xB2-",
              "[e\xCC\x81_1\xC2\xB2]-"); /* a combining mark belongs to the word */
    check_cut("\\w[\\w]|x", "x\xC2\xB2", "[x]\xC2\xB2"); /* a figure is one outside of brackets only */
    check_cut("\\h+", "xBEEFx", "x[BEEF]x");
    check_cut("\\u0041+", "AAB", "[AA]B");
    check_cut("\\p{Han}+", "\xE6\xBC\xA2\xE3\x80\x81",
              "[\xE6\xBC\xA2]\xE3\x80\x81"); /* the script, not its extensions */
    check_cut("^.", "a\nb", "[a]\n[b]");
    check_cut("x*", "axxb", "[]a[xx]b[]");
    check_cut("(?i:'S)", "a's", "a['s]");
}

static void patterns_refused(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "",     "(",       "a{2}+",   "a{2}?",  "a{,2}", "[\\b]", "\\Kx", "\\Qx\\E", "[a[b]]", "[a&&b]",
        "[]a]", "(?<n>x)", "(*FAIL)", "a(?i)b", "\\1",   "[\\W]", "\\pL", "\\p{L",   "\\R",    "a\\",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        sah_error error = {0};
        sah_pattern *pattern = NULL;
        if (sah_pattern_regex(refused[i], &pattern, &error) == SAH_OK) fail_msg("%s was taken", refused[i]);
        assert_null(pattern);
        assert_int_not_equal(error.message[0], '\0');
    }
}

/* A search that would not end in this lifetime is an error. */
static void patterns_have_limits(void **state)
{
    (void)state;
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
    sah_error error = {0};
    sah_pattern *pattern;
    sah_spans spans = {0};
    assert_int_equal(sah_pattern_regex("(?:a|a)+c|(?:a|a)+d", &pattern, &error), SAH_OK);
    assert_int_equal(sah_pattern_cut(pattern, text, sizeof text - 1, &spans, &error), SAH_FAILED);
    assert_non_null(strstr(error.message, "limit"));
    sah_spans_free(&spans);
    sah_pattern_free(pattern);
}

static void byte_alphabet(void **state)
{
    (void)state;
    bool seen[0x144] = {false};
    for (unsigned byte = 0; byte < 256; byte++) {
        const uint32_t character = sah_byte_character((unsigned char)byte);
        assert_true(character < 0x144 && !seen[character]);
        seen[character] = true;
        assert_int_equal(sah_character_byte(character), byte);
    }
    assert_int_equal(sah_byte_character(' '), 0x120);
    assert_int_equal(sah_byte_character('\n'), 0x10A);
    assert_int_equal(sah_byte_character('a'), 'a');
    assert_int_equal(sah_character_byte(' '), -1);
    assert_int_equal(sah_character_byte(0x144), -1);
}

/* ---- Bad text and long text ---------------------------------------------------------------------------- */

static void invalid_utf8_is_replaced(void **state)
{
    (void)state;
    static const char bad[] = "a\xFF\xC3(\xE2\x82z\xED\xA0\x80";
    static const char repaired[] =
        "a\xEF\xBF\xBD\xEF\xBF\xBD(\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD";
    sah_error error = {0};
    int32_t *a = NULL, *b = NULL;
    size_t n_a, n_b;
    sah_tokenizer *tokenizer = open_directory(GOLDEN "smollm2");
    assert_int_equal(sah_tokenizer_encode(tokenizer, bad, sizeof bad - 1, true, &a, &n_a, &error), SAH_OK);
    assert_int_equal(sah_tokenizer_encode(tokenizer, repaired, sizeof repaired - 1, true, &b, &n_b, &error),
                     SAH_OK);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(a, b, n_a * sizeof *a);
    free(a);
    free(b);
    sah_tokenizer_free(tokenizer);
}

/* A text of `n` bytes made by repeating `unit`. */
static char *repeated(const char *unit, size_t n)
{
    const size_t size = strlen(unit);
    char *text = malloc(n + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) text[i] = unit[i % size];
    text[n] = '\0';
    return text;
}

/* Nothing but an added token: no text is left to be cut. */
static void added_token_alone(void **state)
{
    (void)state;
    sah_tokenizer *tokenizer = open_directory(GOLDEN "llama2");
    sah_error error = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    assert_int_equal(sah_tokenizer_encode(tokenizer, "</s>", 4, false, &ids, &n, &error), SAH_OK);
    assert_int_equal(n, 1);
    assert_string_equal(sah_tokenizer_token(tokenizer, ids[0]), "</s>");
    free(ids);
    sah_tokenizer_free(tokenizer);
}

/* Many bytes without a place to cut: time that grew with the square would take minutes. */
static void long_words(void **state)
{
    (void)state;
    static const char *const names[] = {"smollm2", "llama3", "llama2"};
    static const char *const units[] = {"a", " ", "ab", "\n", "1", "<", "<s", "the ", "\xF0\x9F\x98\x80"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        snprintf(path, sizeof path, GOLDEN "%s", names[i]);
        sah_tokenizer *tokenizer = open_directory(path);
        for (size_t j = 0; j < sizeof units / sizeof *units; j++) {
            const size_t size = 300000;
            char *text = repeated(units[j], size), *back = NULL;
            sah_error error = {0};
            int32_t *ids = NULL;
            size_t n = 0;
            const clock_t start = clock();
            if (sah_tokenizer_encode(tokenizer, text, size, false, &ids, &n, &error) != SAH_OK)
                fail_msg("%s: %s", names[i], error.message);
            const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
            if (seconds > 10.0) fail_msg("%s, \"%s\" repeated: %.1f s", names[i], units[j], seconds);
            assert_int_equal(sah_tokenizer_decode(tokenizer, ids, n, false, &back, &error), SAH_OK);
            assert_string_equal(back, text);
            free(text);
            free(back);
            free(ids);
        }
        sah_tokenizer_free(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_smollm2),
        cmocka_unit_test(goldens_llama3),
        cmocka_unit_test(goldens_qwen2),
        cmocka_unit_test(goldens_llama2),
        cmocka_unit_test(goldens_llama2_metaspace),
        cmocka_unit_test(goldens_vicuna),
        cmocka_unit_test(goldens_added_flags),
        cmocka_unit_test(goldens_real_smollm2),
        cmocka_unit_test(refuses_by_name),
        cmocka_unit_test(bos_once),
        cmocka_unit_test(post_processors),
        cmocka_unit_test(split_special_tokens),
        cmocka_unit_test(end_tokens),
        cmocka_unit_test(gguf_refuses_by_name),
        cmocka_unit_test(gguf_without_scores_and_ids),
        cmocka_unit_test(unused_pieces_are_taken_apart),
        cmocka_unit_test(gguf_known_ends),
        cmocka_unit_test(patterns_as_oniguruma_reads_them),
        cmocka_unit_test(patterns_refused),
        cmocka_unit_test(patterns_have_limits),
        cmocka_unit_test(byte_alphabet),
        cmocka_unit_test(invalid_utf8_is_replaced),
        cmocka_unit_test(added_token_alone),
        cmocka_unit_test(long_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
