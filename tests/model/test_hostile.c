/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of hostile file that have broken other readers, one test a kind, over every format that has it: products of
 * dimensions that overflow, counts and strings without bound, alignment, offsets into each other, ids beyond the
 * vocabulary, deep nesting, merges that take quadratic time. Every file is read in a process of its own, within the
 * bounds of docs/security.md: memory a multiple of the file's size, time a bound a byte. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "model/format/gguf_split.h"
#include "model/format/weight_files.h"
#include "model/template/jinja.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer/tokenizer_json.h"
#include "model/writers.h"
#include "util/scratch.h"

#ifdef __SANITIZE_ADDRESS__
enum { MEMORY_TIMES = 4, TIME_TIMES = 10 }; /* what the sanitizers cost */
#else
enum { MEMORY_TIMES = 1, TIME_TIMES = 1 };
#endif
/* docs/security.md has these. */
enum { BYTES_A_BYTE = 100, SPARE_BYTES = 16 << 20 };
static const double SECONDS_A_BYTE = 1e-6, SPARE_SECONDS = 0.5;

/* ---- A reader in a process of its own -------------------------------------------------------------------- */

typedef sah_status read_fn(const char *path, sah_error *error);

typedef struct outcome {
    bool accepted;
    char message[1024];
    double seconds;
    long kilobytes; /* resident at most */
} outcome;

static sah_status read_nothing(const char *path, sah_error *error)
{
    (void)path, (void)error;
    return SAH_OK;
}

static outcome in_child(read_fn *read_file, const char *path)
{
    outcome out = {0};
    int tube[2], status;
    struct rusage used;
    assert_int_equal(pipe(tube), 0);
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sah_error error = {0};
        const bool accepted = read_file(path, &error) == SAH_OK;
        const size_t n = accepted ? 0 : strlen(error.message);
        if (write(tube[1], error.message, n) != (ssize_t)n) _exit(4);
        _exit(accepted ? 0 : 3);
    }
    close(tube[1]);
    ssize_t got;
    for (size_t n = 0; (got = read(tube[0], out.message + n, sizeof out.message - 1 - n)) > 0;)
        n += (size_t)got;
    close(tube[0]);
    assert_int_equal(wait4(child, &status, 0, &used), child);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3))
        fail_msg("%s: ended with status %d", path, status);
    out.accepted = WEXITSTATUS(status) == 0;
    out.seconds = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                  1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    out.kilobytes = used.ru_maxrss;
    return out;
}

static size_t size_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (size_t)info.st_size;
}

/* Reads the file within the bounds of its size, and of `work` bytes more that it makes of them. */
static outcome within_bounds(read_fn *read_file, const char *path, size_t work)
{
    const outcome out = in_child(read_file, path);
    const double kilobytes = (double)(out.kilobytes - in_child(read_nothing, path).kilobytes);
    const double bytes = (double)(size_of(path) + work);
    const double memory = (BYTES_A_BYTE * bytes + SPARE_BYTES) * MEMORY_TIMES,
                 seconds = (SECONDS_A_BYTE * bytes + SPARE_SECONDS) * TIME_TIMES;
    if (1024 * kilobytes > memory) fail_msg("%s: %.0f KB for %.0f bytes", path, kilobytes, bytes);
    if (getenv("SAHARA_TEST_SHOW") != NULL && bytes > 100000)
        print_message("%s, %.0f bytes: %.1f bytes and %.3f microseconds a byte\n", strrchr(path, '/') + 1,
                      bytes, 1024 * kilobytes / bytes, 1e6 * out.seconds / bytes);
    if (out.seconds > seconds) fail_msg("%s: %.2f s for %.0f bytes", path, out.seconds, bytes);
    return out;
}

static void refused(read_fn *read_file, const char *path, const char *part)
{
    const outcome out = within_bounds(read_file, path, 0);
    if (out.accepted || strstr(out.message, part) == NULL || strchr(out.message, '\n') != NULL)
        fail_msg("%s: expected \"%s\", found \"%s\"", path, part, out.accepted ? "no fault" : out.message);
}

/* ---- Readers --------------------------------------------------------------------------------------------- */

static sah_status read_tensors(const sah_tensors *tensors)
{
    for (size_t i = 0; i < tensors->n; i++) {
        float one[256];
        const sah_tensor *t = &tensors->items[i];
        const size_t n = sah_tensor_values(t);
        for (size_t at = 0; at + 256 <= n; at += 256) sah_tensor_read(t, at, 256, one);
    }
    return SAH_OK;
}

static sah_status read_gguf(const char *path, sah_error *error)
{
    sah_gguf gguf;
    sah_status status = sah_gguf_open(path, &gguf, error);
    if (status == SAH_OK) status = read_tensors(&gguf.tensors);
    if (status == SAH_OK) sah_gguf_close(&gguf);
    return status;
}

static sah_status read_gguf_tokenizer(const char *path, sah_error *error)
{
    sah_gguf gguf;
    sah_tokenizer *tokenizer = NULL;
    sah_status status = sah_gguf_open(path, &gguf, error);
    if (status != SAH_OK) return status;
    status = sah_tokenizer_from_gguf(&gguf, &tokenizer, error);
    sah_tokenizer_free(tokenizer);
    sah_gguf_close(&gguf);
    return status;
}

static sah_status read_weights(const char *path, sah_error *error)
{
    sah_tensors tensors;
    sah_status status = sah_weights_open_file(path, &tensors, error);
    if (status == SAH_OK) status = read_tensors(&tensors);
    if (status == SAH_OK) sah_tensors_close(&tensors);
    return status;
}

/* The folder that the file lies in. */
static sah_status read_model(const char *path, sah_error *error)
{
    char folder[1024];
    sah_model *model = NULL;
    const sah_model_options options = {.threads = 1};
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    sah_status status = sah_model_open(folder, &options, &model, error);
    sah_model_close(model);
    return status;
}

static sah_status read_tokenizer(const char *path, sah_error *error)
{
    char folder[1024];
    sah_tokenizer *tokenizer = NULL;
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    sah_status status = sah_tokenizer_from_directory(folder, &tokenizer, error);
    sah_tokenizer_free(tokenizer);
    return status;
}

static sah_status read_queries(const char *path, sah_error *error)
{
    sah_strings list;
    sah_status status = sah_queries_read(path, NULL, 0, &list, error);
    sah_strings_free(&list);
    return status;
}

static sah_status read_items(const char *path, sah_error *error)
{
    sah_items items;
    sah_status status = sah_items_read(path, 0, &items, error);
    sah_items_free(&items);
    return status;
}

static sah_status read_result(const char *path, sah_error *error)
{
    sah_result *result = NULL;
    sah_status status = sah_result_open(&path, 1, &result, error);
    sah_result_close(result);
    return status;
}

static sah_status read_phrases(const char *path, sah_error *error)
{
    sah_judge *judge = NULL;
    sah_status status = sah_judge_new(SAH_RULE_DEFAULT, path, &judge, error);
    sah_judge_free(judge);
    return status;
}

static sah_status read_template(const char *path, sah_error *error)
{
    size_t size;
    sah_jinja *jinja = NULL;
    char *text = (char *)scratch_read(path, &size);
    sah_status status = sah_jinja_new(text, size, &jinja, error);
    sah_jinja_free(jinja);
    free(text);
    return status;
}

/* ---- Files ----------------------------------------------------------------------------------------------- */

static gguf_writer fresh(void)
{
    return (gguf_writer){.version = 3, .alignment = 32};
}

static void refused_gguf(gguf_writer *w, const char *part)
{
    gguf_write(w, scratch("hostile.gguf"));
    refused(read_gguf, scratch("hostile.gguf"), part);
}

static void refused_header(const char *header, const char *part)
{
    static const uint8_t data[64];
    safetensors_write(scratch("hostile.safetensors"), header, data, sizeof data);
    refused(read_weights, scratch("hostile.safetensors"), part);
}

/* `times` times `piece`, between a head and a tail. */
static void write_repeated(const char *path, const char *head, const char *piece, size_t times,
                           const char *tail)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(head, file);
    for (size_t i = 0; i < times; i++) fputs(piece, file);
    fputs(tail, file);
    assert_int_equal(fclose(file), 0);
}

/* A copy of the organism's tokenizer with a change. */
static const char *tokenizer_with(json_t *(*change)(json_t *whole))
{
    sah_error error = {0};
    json_t *whole;
    expect_ok(sah_json_read("models/organism/tokenizer.json", 1 << 24, &whole, &error), &error);
    write_json(scratch("tokenizer.json"), change(whole));
    return scratch("tokenizer.json");
}

/* ---- The kinds ------------------------------------------------------------------------------------------- */

static void test_products_of_dimensions(void **state)
{
    (void)state;
    static const uint64_t products[][4] = {{1ULL << 32, 1ULL << 32, 1, 1},
                                           {1ULL << 62, 2, 2, 1},
                                           {1ULL << 63, 2, 1, 1},
                                           {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX},
                                           {1ULL << 16, 1ULL << 16, 1ULL << 16, 1ULL << 16},
                                           {(1ULL << 61) + 1, 8, 1, 1}};
    static const uint32_t types[] = {0, 1, 2, 8, 14, 30}; /* F32, F16, Q4_0, Q8_0, Q6_K, BF16 */
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            gguf_writer w = fresh();
            gguf_tensor(&w, "t", types[t], 4, products[i], 64);
            refused_gguf(&w, "tensor t cannot be");
        }
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        char header[512];
        const uint64_t *p = products[i];
        for (int end = 0; end <= 64; end += 64) {
            snprintf(header, sizeof header,
                     "{\"a\":{\"dtype\":\"F32\",\"shape\":[%llu,%llu,%llu,%llu],\"data_offsets\":[0,%d]}}",
                     (unsigned long long)p[0], (unsigned long long)p[1], (unsigned long long)p[2],
                     (unsigned long long)p[3], end);
            refused_header(header, "tensor a ");
        }
    }
    /* Sizes of a configuration, each allowed, whose product no machine has. */
    mkdir(scratch("sizes"), 0777);
    char path[512];
    snprintf(path, sizeof path, "%s/config.json", scratch("sizes"));
    scratch_write_text(path, "{\"model_type\":\"llama\",\"hidden_size\":4194304,\"num_hidden_layers\":4096,"
                             "\"num_attention_heads\":16384,\"num_key_value_heads\":16384,\"head_dim\":256,"
                             "\"intermediate_size\":4194304,\"vocab_size\":16777216,\"rms_norm_eps\":1e-5,"
                             "\"max_position_embeddings\":1048576}");
    refused(read_model, path, "");
}

static void test_counts_without_bound(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1ULL << 31, 1ULL << 32, 1ULL << 61, 1ULL << 62, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        for (uint32_t item = SAH_GGUF_U8; item <= SAH_GGUF_F64; item++) {
            gguf_writer w = fresh();
            uint8_t array[12];
            if (item == SAH_GGUF_ARRAY) continue;
            memcpy(array, &item, 4);
            memcpy(array + 4, &counts[i], 8);
            gguf_pair(&w, "key", SAH_GGUF_ARRAY, array, sizeof array);
            refused_gguf(&w, "ends inside its metadata");
        }
        gguf_writer w = fresh();
        w.n_pairs = counts[i];
        refused_gguf(&w, "metadata pairs do not fit");
        w = fresh();
        w.n_tensors = counts[i];
        refused_gguf(&w, "tensors do not fit");
    }
    /* A sparse result: a header that promises what no line brings. */
    scratch_write_text(
        scratch("counts.jsonl"),
        "{\"sahara\":\"ships\",\"version\":\"0.1.0\",\"model\":{\"n_layers\":4294967296,\"n_heads\":"
        "4294967296},\"settings\":{},\"queries\":[]}\n");
    refused(read_result, scratch("counts.jsonl"), "");
}

static void test_strings_without_bound(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {1ULL << 31, 1ULL << 32, 1ULL << 62, UINT64_MAX - 8, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        gguf_writer w = fresh();
        gguf_pair(&w, "key", SAH_GGUF_STRING, &lengths[i], 8);
        refused_gguf(&w, "ends inside its metadata");
        scratch_write(scratch("hostile.safetensors"), &lengths[i], 8);
        refused(read_weights, scratch("hostile.safetensors"), "");
    }
    /* Texts that do not end. */
    write_repeated(scratch("open.csv"), "goal\n\"", "a,", 500000, "");
    refused(read_queries, scratch("open.csv"), "");
    write_repeated(scratch("open.jsonl"), "{\"goal\": \"", "a", 1000000, "");
    refused(read_queries, scratch("open.jsonl"), "");
    write_repeated(scratch("open.items.jsonl"), "{\"context\": \"", "\\u00e4", 200000, "");
    refused(read_items, scratch("open.items.jsonl"), "");
    write_repeated(scratch("open.jinja"), "{{ '", "a", 1000000, "");
    refused(read_template, scratch("open.jinja"), "");
    mkdir(scratch("pieces"), 0777);
    char path[512];
    snprintf(path, sizeof path, "%s/tokenizer.model", scratch("pieces"));
    scratch_write(path, "\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 10);
    refused(read_tokenizer, path, "");
}

static void test_alignment(void **state)
{
    (void)state;
    static const uint32_t alignments[] = {0, 3, 24, 33, (1U << 20) + 1, 1U << 21, 1U << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        gguf_writer w = fresh();
        gguf_pair_u32(&w, "general.alignment", alignments[i]);
        gguf_tensor(&w, "t", 0, 1, (const uint64_t[]){8}, 32);
        refused_gguf(&w, "general.alignment");
    }
    /* A power of two that is allowed and larger than the file. */
    gguf_writer w = fresh();
    gguf_pair_u32(&w, "general.alignment", 1U << 20);
    gguf_tensor(&w, "t", 0, 1, (const uint64_t[]){8}, 32);
    refused_gguf(&w, "reaches past the end");
}

static void test_offsets_into_each_other(void **state)
{
    (void)state;
    static const char *const headers[][2] = {
        {"[0,32]", "[16,48]"}, {"[0,32]", "[0,32]"}, {"[32,64]", "[16,48]"}, {"[0,32]", "[31,63]"}};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        char header[512];
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":%s},"
                 "\"b\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":%s}}",
                 headers[i][0], headers[i][1]);
        refused_header(header, "overlap");
    }
    static const char *const beyond[] = {"[18446744073709551584,18446744073709551616]",
                                         "[9223372036854775776,9223372036854775808]",
                                         "[9223372036854775775,9223372036854775807]",
                                         "[-32,0]",
                                         "[64,32]",
                                         "[40,72]"};
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        char header[512];
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":%s}}",
                 beyond[i]);
        refused_header(header, "");
    }
    /* Many tensors of one name's beginning, all in one place: found without comparing each with each. */
    gguf_writer w = fresh();
    for (int i = 0; i < 20000; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%d.attn_q.weight", i);
        gguf_tensor(&w, name, 0, 1, (const uint64_t[]){16}, i == 0 ? 64 : 0);
    }
    refused_gguf(&w, "");
}

static json_t *id_beyond(json_t *whole)
{
    json_array_append_new(json_object_get(whole, "added_tokens"),
                          json_pack("{s:I,s:s,s:b,s:b,s:b,s:b,s:b}", "id", (json_int_t)1 << 40, "content",
                                    "<far>", "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                                    "special", 1));
    return whole;
}

static json_t *id_negative(json_t *whole)
{
    json_object_set_new(json_array_get(json_object_get(whole, "added_tokens"), 0), "id", json_integer(-1));
    return whole;
}

static json_t *id_of_word(json_t *whole)
{
    json_object_set_new(json_object_get(json_object_get(whole, "model"), "vocab"), "faraway",
                        json_integer((json_int_t)1 << 31));
    return whole;
}

static void test_ids_beyond_the_vocabulary(void **state)
{
    (void)state;
    json_t *(*const changes[])(json_t *) = {id_beyond, id_negative, id_of_word};
    for (size_t i = 0; i < 3; i++) refused(read_tokenizer, tokenizer_with(changes[i]), "");
    /* Of the caller. */
    sah_error error = {0};
    sah_model *model = NULL;
    static const int32_t ids[] = {-1, INT32_MIN, INT32_MAX, 1 << 24};
    expect_ok(sah_model_open("models/organism", &(sah_model_options){.threads = 1}, &model, &error), &error);
    const size_t n_vocab = (size_t)sah_model_describe(model)->n_vocab;
    float *logits = calloc(n_vocab, sizeof *logits);
    char *text = NULL;
    for (size_t i = 0; i < 5; i++) {
        const int32_t id = i < 4 ? ids[i] : (int32_t)n_vocab;
        expect_failure(sah_logits(model, &id, 1, NULL, 0, logits, &error), &error, "");
        expect_ok(sah_decode(model, &id, 1, false, &text, &error), &error); /* what is no token has no text */
        assert_string_equal(text, "");
        free(text);
    }
    free(logits);
    sah_model_close(model);
}

static void test_deep_nesting(void **state)
{
    (void)state;
    enum { DEEP = 1000000 };
    static const char *const pieces[] = {"[", "{\"a\":", "[{\"a\":"};
    char folder[512], path[600];
    snprintf(folder, sizeof folder, "%s", scratch("deep"));
    mkdir(folder, 0777);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/config.json", folder);
        write_repeated(path, "{\"model_type\":\"llama\",\"x\":", pieces[i], DEEP, "");
        refused(read_model, path, "");
        write_repeated(scratch("deep.jsonl"), "{\"goal\":\"a\",\"x\":", pieces[i], DEEP, "\n");
        refused(read_queries, scratch("deep.jsonl"), "");
        write_repeated(scratch("result.jsonl"), "{\"sahara\":\"ships\",\"settings\":", pieces[i], DEEP, "\n");
        refused(read_result, scratch("result.jsonl"), "");
        write_repeated(scratch("tokenizer.json"), "{\"version\":\"1.0\",\"model\":", pieces[i], DEEP, "");
        refused(read_tokenizer, scratch("tokenizer.json"), "");
        write_repeated(scratch("header"), "{\"a\":", pieces[i], DEEP, "");
        size_t size;
        char *header = (char *)scratch_read(scratch("header"), &size);
        refused_header(header, "");
        free(header);
    }
    static const char *const statements[] = {"{{ ", "{% if a %}", "{% for a in b %}",
                                             "{% if a %}{% for b in c %}"};
    static const char *const openings[] = {"(", "", "", ""};
    for (size_t i = 0; i < 4; i++) {
        write_repeated(scratch("deep.jinja"), i == 0 ? "{{ " : "", i == 0 ? openings[0] : statements[i],
                       20000, "");
        refused(read_template, scratch("deep.jinja"), "");
    }
}

/* Pieces a, aa, aaaa, ...: whatever is merged first, a run of the letter is merged again and again. */
static json_t *doubling(json_t *whole)
{
    json_t *vocab = json_object(), *merges = json_array();
    char text[256] = "a";
    json_object_set_new(vocab, "a", json_integer(0));
    for (int i = 1; i < 8; i++) {
        json_array_append_new(merges, json_sprintf("%s %s", text, text));
        memset(text, 'a', (size_t)1 << i);
        text[1 << i] = '\0';
        json_object_set_new(vocab, text, json_integer(i));
    }
    json_t *model = json_object_get(whole, "model");
    json_object_set_new(model, "vocab", vocab);
    json_object_set_new(model, "merges", merges);
    json_object_set_new(whole, "added_tokens", json_array());
    json_object_set_new(whole, "pre_tokenizer", json_null());
    json_object_set_new(whole, "normalizer", json_null());
    json_object_set_new(whole, "post_processor", json_null());
    json_object_set_new(whole, "decoder", json_null());
    return whole;
}

static sah_status encode_long(const char *path, sah_error *error)
{
    char folder[1024];
    sah_tokenizer *tokenizer = NULL;
    enum { LONG = 1 << 20 };
    int32_t *ids = NULL;
    size_t n;
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    char *text = malloc(LONG);
    memset(text, 'a', LONG);
    text[LONG / 3] = 'b';
    sah_status status = sah_tokenizer_from_directory(folder, &tokenizer, error);
    if (status == SAH_OK) status = sah_tokenizer_encode(tokenizer, text, LONG, false, &ids, &n, error);
    free(ids);
    free(text);
    sah_tokenizer_free(tokenizer);
    return status;
}

static void test_quadratic_merges(void **state)
{
    (void)state;
    const char *path = tokenizer_with(doubling);
    const outcome out = within_bounds(encode_long, path, 1 << 20);
    if (!out.accepted) fail_msg("%s", out.message);
}

/* Files of two megabytes made of the smallest things that each format can hold. */
static void test_many_small_things(void **state)
{
    (void)state;
    enum { MUCH = 2 << 20 };
    char path[512];
    mkdir(scratch("small"), 0777);
    snprintf(path, sizeof path, "%s/config.json", scratch("small"));
    write_repeated(path, "{\"model_type\":\"llama\",\"x\":[", "[],", MUCH / 3, "[]]}");
    refused(read_model, path, "");
    write_repeated(path, "{\"model_type\":\"llama\",\"x\":[", "{},", MUCH / 3, "{}]}");
    refused(read_model, path, "");
    write_repeated(scratch("small.json"), "[", "\"a\",", MUCH / 4, "\"a\"]");
    assert_true(within_bounds(read_queries, scratch("small.json"), 0).accepted);
    write_repeated(scratch("small.csv"), "goal\n", "a\n", MUCH / 2, "");
    assert_true(within_bounds(read_queries, scratch("small.csv"), 0).accepted);
    write_repeated(scratch("wide.csv"), "goal", ",", MUCH, "\n1");
    within_bounds(read_queries, scratch("wide.csv"), 0);
    write_repeated(scratch("small.jsonl"), "", "{\"goal\":\"\\u00e4\"}\n", MUCH / 18, "");
    assert_true(within_bounds(read_queries, scratch("small.jsonl"), 0).accepted);
    write_repeated(scratch("phrases.txt"), "", "a b\n", MUCH / 4, "");
    within_bounds(read_phrases, scratch("phrases.txt"), 0);
    write_repeated(scratch("result.jsonl"), "{\"sahara\":\"ships\"}\n", "{}\n", MUCH / 3, "");
    within_bounds(read_result, scratch("result.jsonl"), 0);
    write_repeated(scratch("small.jinja"), "", "{{a}}", (1 << 20) / 5 - 1, "");
    within_bounds(read_template, scratch("small.jinja"), 0);
    gguf_writer w = fresh();
    for (int i = 0; i < MUCH / 24; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        gguf_pair_bool(&w, key, true);
    }
    gguf_write(&w, scratch("small.gguf"));
    assert_true(within_bounds(read_gguf, scratch("small.gguf"), 0).accepted);
    write_repeated(scratch("header"), "{\"a\":{\"dtype\":\"F32\",\"shape\":[", "1,", MUCH / 2,
                   "1],\"data_offsets\":[0,4]}}");
    size_t size;
    char *header = (char *)scratch_read(scratch("header"), &size);
    safetensors_write(scratch("small.safetensors"), header, "\0\0\0", 4);
    within_bounds(read_weights, scratch("small.safetensors"), 0);
    free(header);
    gguf_small_llama(&w);
    gguf_write(&w, scratch("none.gguf"));
    within_bounds(read_gguf_tokenizer, scratch("none.gguf"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_of_dimensions),
        cmocka_unit_test(test_counts_without_bound),
        cmocka_unit_test(test_strings_without_bound),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_offsets_into_each_other),
        cmocka_unit_test(test_ids_beyond_the_vocabulary),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_quadratic_merges),
        cmocka_unit_test(test_many_small_things),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
