/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint whose weights take three times the memory allowed, written here: commands give what they give
 * without a bound, to the last byte, while the kernel refuses all memory beyond the bound. Without --memory they
 * fail under it, so that the limit is known to bite.
 *
 * The environment variable SAHARA names the program. */
#include <errno.h>
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

#include "util/scratch.h"
#include "util/splitmix.h"

/* 3.4 million values a layer and 0.8 million in the LM head: 218 MB as float32. */
enum { LAYERS = 16, WIDTH = 512, INNER = 1536, VOCABULARY = 1536, HEADS = 8 };
/* RLIMIT_DATA holds for the stacks of threads (8 MB each) and the libraries' data as well; the mapped files are
 * not counted. */
enum { ALLOWED_MB = 72, BESIDE_MB = 32 };

#define ALLOWED "72M"

/* The address sanitizer takes terabytes of its own for what it knows: under it the bytes are compared, and no
 * limit set. */
#ifdef __SANITIZE_ADDRESS__
static const bool limits = false;
#else
static const bool limits = true;
#endif

/* ---- The checkpoint ------------------------------------------------------------------------------------ */

typedef struct tensor {
    const char *name;
    int rows, columns; /* rows 0: a vector */
} tensor;

static const tensor OF_LAYER[] = {
    {"self_attn.q_proj", WIDTH, WIDTH},     {"self_attn.k_proj", WIDTH, WIDTH},
    {"self_attn.v_proj", WIDTH, WIDTH},     {"self_attn.o_proj", WIDTH, WIDTH},
    {"mlp.gate_proj", INNER, WIDTH},        {"mlp.up_proj", INNER, WIDTH},
    {"mlp.down_proj", WIDTH, INNER},        {"input_layernorm", 0, WIDTH},
    {"post_attention_layernorm", 0, WIDTH},
};
enum { N_OF_LAYER = sizeof OF_LAYER / sizeof *OF_LAYER };
static const tensor OTHERS[] = {{"embed_tokens", VOCABULARY, WIDTH}, {"norm", 0, WIDTH}};

/* The next tensor of the header, or of the data: bfloat16 values within 0.04, norms 1. */
static void add_header(FILE *file, const char *prefix, const tensor *t, size_t *at)
{
    size_t bytes = 2 * (size_t)(t->rows > 0 ? t->rows : 1) * (size_t)t->columns;
    fprintf(file, "%s\"model.%s%s.weight\":{\"dtype\":\"BF16\",\"shape\":[", *at > 0 ? "," : "{", prefix,
            t->name);
    if (t->rows > 0) fprintf(file, "%d,", t->rows);
    fprintf(file, "%d],\"data_offsets\":[%zu,%zu]}", t->columns, *at, *at + bytes);
    *at += bytes;
}

static void add_data(FILE *file, const tensor *t, uint64_t *random)
{
    static uint16_t row[INNER > WIDTH ? INNER : WIDTH];
    for (int r = 0; r < (t->rows > 0 ? t->rows : 1); r++) {
        for (int i = 0; i < t->columns; i++) {
            float value =
                t->rows > 0 ? 0.08f * (float)(sah_splitmix(random) >> 40) / 16777216.0f - 0.04f : 1.0f;
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            row[i] = (uint16_t)(bits >> 16);
        }
        assert_int_equal(fwrite(row, 2, (size_t)t->columns, file), t->columns);
    }
}

static void copy(const char *name, const char *folder)
{
    char from[256], to[512];
    size_t size;
    snprintf(from, sizeof from, "models/organism/%s", name);
    snprintf(to, sizeof to, "%s/%s", folder, name);
    uint8_t *data = scratch_read(from, &size);
    scratch_write(to, data, size);
    free(data);
}

static void write_tensors(const char *path, const char *header_path)
{
    char prefix[32];
    size_t at = 0, size;
    uint64_t random = 5;
    FILE *file = fopen(header_path, "w");
    assert_non_null(file);
    for (int l = 0; l < LAYERS; l++) {
        snprintf(prefix, sizeof prefix, "layers.%d.", l);
        for (int i = 0; i < N_OF_LAYER; i++) add_header(file, prefix, &OF_LAYER[i], &at);
    }
    for (int i = 0; i < 2; i++) add_header(file, "", &OTHERS[i], &at);
    fprintf(file, "}");
    assert_int_equal(fclose(file), 0);

    uint8_t *header = scratch_read(header_path, &size);
    uint64_t length = size;
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(&length, 8, 1, file), 1);
    assert_int_equal(fwrite(header, 1, size, file), size);
    free(header);
    for (int l = 0; l < LAYERS; l++)
        for (int i = 0; i < N_OF_LAYER; i++) add_data(file, &OF_LAYER[i], &random);
    for (int i = 0; i < 2; i++) add_data(file, &OTHERS[i], &random);
    assert_int_equal(fclose(file), 0);
}

static const char *write_checkpoint(void)
{
    static char folder[256];
    char path[512], header[512], text[1024];
    snprintf(folder, sizeof folder, "%s", scratch("wide"));
    assert_int_equal(mkdir(folder, 0777), 0);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    snprintf(header, sizeof header, "%s", scratch("header.json"));
    write_tensors(path, header);
    snprintf(text, sizeof text,
             "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_act\":\"silu\","
             "\"hidden_size\":%d,"
             "\"intermediate_size\":%d,\"num_hidden_layers\":%d,\"num_attention_heads\":%d,\"num_key_value_"
             "heads\":%d,"
             "\"max_position_embeddings\":512,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"tie_word_"
             "embeddings\":true,"
             "\"vocab_size\":%d}",
             WIDTH, INNER, LAYERS, HEADS, HEADS, VOCABULARY);
    snprintf(path, sizeof path, "%s/config.json", folder);
    scratch_write_text(path, text);
    copy("tokenizer.json", folder);
    copy("tokenizer_config.json", folder);
    return folder;
}

/* ---- The program --------------------------------------------------------------------------------------- */

/* Exit status of "sahara ARGUMENTS..."; what it says goes to `said`. */
static int run(const char *const *arguments, const char *output, const char *memory, bool limited,
               const char *said)
{
    const char *program = getenv("SAHARA") != NULL ? getenv("SAHARA") : "build/sahara";
    char *words[24];
    size_t n = 0;
    int status = 0;
    words[n++] = (char *)(uintptr_t)program;
    while (*arguments != NULL) words[n++] = (char *)(uintptr_t)*arguments++;
    words[n++] = "-t";
    words[n++] = "2";
    words[n++] = "-q";
    words[n++] = "-o";
    words[n++] = (char *)(uintptr_t)output;
    words[n] = memory != NULL ? "--memory" : NULL;
    words[n + 1] = (char *)(uintptr_t)memory;
    words[n + 2] = NULL;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const rlim_t most = (rlim_t)(ALLOWED_MB + BESIDE_MB) << 20;
        const struct rlimit limit = {most, most};
        if (limited && limits && setrlimit(RLIMIT_DATA, &limit) != 0) _exit(126);
        if (freopen(said, "w", stderr) == NULL) _exit(126);
        execv(program, words);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0) assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The file's lines in order, as one text for free(). */
static char *sorted(const char *path)
{
    enum { MOST = 512 };
    char *lines[MOST], *rest;
    size_t size, n = 0, at = 0;
    char *text = (char *)scratch_read(path, &size), *out = calloc(size + 2, 1);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL && n < MOST;
         line = strtok_r(NULL, "\n", &rest))
        lines[n++] = line;
    qsort(lines, n, sizeof *lines, compare_lines);
    for (size_t i = 0; i < n; i++) at += (size_t)sprintf(out + at, "%s\n", lines[i]);
    free(text);
    return out;
}

static void check(const char *const *arguments)
{
    char whole[256], streamed[256], said[256];
    size_t size;
    snprintf(whole, sizeof whole, "%s", scratch("whole.jsonl"));
    snprintf(streamed, sizeof streamed, "%s", scratch("streamed.jsonl"));
    snprintf(said, sizeof said, "%s", scratch("said"));
    assert_int_equal(run(arguments, whole, NULL, false, said), 0);
    int status = run(arguments, streamed, ALLOWED, true, said);
    if (status != 0) {
        char *line = (char *)scratch_read(said, &size);
        fail_msg("under %s: status %d, %s", ALLOWED, status, line);
    }
    char *a = sorted(whole), *b = sorted(streamed);
    assert_true(strlen(a) > 500);
    assert_string_equal(a, b);
    free(a);
    free(b);
    unlink(whole);
    unlink(streamed);
    if (!limits) return;
    assert_int_equal(run(arguments, whole, NULL, true, said), 1);
    char *line = (char *)scratch_read(said, &size);
    if (strstr(line, "not enough memory") == NULL) fail_msg("%s", line);
    free(line);
    unlink(whole);
}

static const char *folder;

static void test_ships(void **state)
{
    (void)state;
    const char *const arguments[] = {"ships",   folder, "data/harmful.csv", "--limit", "4",
                                     "--heads", "0:2",  "--opening",        "0",       "--check-refusal",
                                     "off",     NULL};
    check(arguments);
}

static void test_generate(void **state)
{
    (void)state;
    const char *const arguments[] = {
        "generate", folder,     "data/harmful.csv", "--limit",    "3",    "--max-new-tokens",
        "4",        "--ablate", "3-1,9-0",          "--template", "none", NULL};
    check(arguments);
}

static void test_direction(void **state)
{
    (void)state;
    const char *const arguments[] = {"direction", folder, "data/harmful.csv", "data/harmless.csv", "--limit",
                                     "3",         NULL};
    check(arguments);
}

static void test_logits(void **state)
{
    (void)state;
    const char *const arguments[] = {"logits", folder, "--text", "How do I", "--ablate", "3-1", NULL};
    check(arguments);
}

int main(void)
{
    folder = write_checkpoint();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ships), cmocka_unit_test(test_generate),
                                       cmocka_unit_test(test_direction), cmocka_unit_test(test_logits)};
    return cmocka_run_group_tests_name("weights beyond the memory", tests, NULL, NULL);
}
