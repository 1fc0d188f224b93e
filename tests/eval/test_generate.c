/* SPDX-License-Identifier: Apache-2.0 */
/* Generating end to end: greedy tokens and texts against generate() of transformers
 * (tests/golden/generations.json), every way to stop, and a result that depends neither on interruptions nor
 * on memory, threads or the other queries. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "engine/golden.h"
#include "eval/generate/respond.h"
#include "util/json.h"
#include "util/scratch.h"

#define FOLDER "tests/golden/utility/"

enum { MOST = 64, MOST_LINES = 64 };

/* ---- Against transformers ------------------------------------------------------------------------------ */

static json_t *read_golden(void)
{
    sah_error error = {0};
    json_t *json;
    expect_ok(sah_json_read("tests/golden/generations.json", 1u << 24, &json, &error), &error);
    return json;
}

static int32_t token_at(const json_t *list, size_t i)
{
    return (int32_t)json_integer_value(json_array_get(list, i));
}

typedef struct replies {
    int32_t tokens[MOST][MOST];
    size_t n[MOST];
    bool ended[MOST];
} replies;

static sah_status take_reply(void *ctx, const sah_reply *reply, sah_error *error)
{
    replies *all = ctx;
    (void)error;
    assert_true(reply->prompt < MOST && reply->n <= MOST);
    all->n[reply->prompt] = reply->n;
    all->ended[reply->prompt] = reply->ended;
    memcpy(all->tokens[reply->prompt], reply->tokens, reply->n * sizeof(int32_t));
    return SAH_OK;
}

/* The model's prompts under the edits; every one is answered. */
static void respond(const sah_model *model, const sah_prompt *prompts, size_t n, const sah_edit *edits,
                    size_t n_edits, size_t most, uint64_t memory, replies *out)
{
    sah_error error = {0};
    uint64_t done = 0, total = n * most;
    sah_respond_options options = {.sampling = {0.0, 0, 1.0},
                                   .most_tokens = most,
                                   .memory = memory,
                                   .done = &done,
                                   .total = &total,
                                   .take = take_reply,
                                   .ctx = out};
    memset(out, 0, sizeof *out);
    expect_ok(sah_respond(model, prompts, n, edits, n_edits, &options, &error), &error);
    assert_int_equal(done, total);
}

/* Two prompts of the golden text, an edit a golden edit. */
static void check_tokens(const json_t *entry)
{
    enum { NEW = 40 };
    const char *name = json_string_value(json_object_get(entry, "model"));
    golden g;
    golden_open(name, &g);
    sah_model *model = golden_model(name, NULL, &(sah_model_options){.threads = 1});
    json_t *cases = json_object_get(entry, "cases"), *list = json_object_get(entry, "prompts");
    assert_true(json_equal(list, json_object_get(g.json, "prompts")));
    assert_true(json_array_size(cases) >= 4);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        json_t *tokens = json_object_get(json_array_get(cases, c), "tokens");
        golden edited = {.json = (json_t *)(uintptr_t)entry};
        size_t n_edits;
        replies ours;
        sah_edit *edits = golden_edits(&edited, c, &n_edits);
        respond(model, g.prompts, g.n_prompts, edits, n_edits, NEW, 0, &ours);
        for (size_t p = 0; p < g.n_prompts; p++) {
            json_t *theirs = json_array_get(tokens, p);
            assert_int_equal(ours.n[p], NEW);
            assert_false(ours.ended[p]);
            for (size_t i = 0; i < json_array_size(theirs); i++)
                if (ours.tokens[p][i] != token_at(theirs, i))
                    fail_msg("%s, case %zu, prompt %zu, token %zu: %d where it is %d", name, c, p, i,
                             (int)ours.tokens[p][i], (int)token_at(theirs, i));
        }
        free(edits);
    }
    sah_model_close(model);
    golden_close(&g);
}

static void test_tokens(void **state)
{
    (void)state;
    json_t *json = read_golden(), *entries = json_object_get(json, "tokens");
    assert_int_equal(json_array_size(entries), 8);
    for (size_t i = 0; i < json_array_size(entries); i++) check_tokens(json_array_get(entries, i));
    json_decref(json);
}

/* ---- Models and runs ----------------------------------------------------------------------------------- */

/* A copy of a model of FOLDER in the scratch directory, to be changed. */
static const char *copy_model(const char *name)
{
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};
    static char folder[512];
    char from[512], to[1024];
    snprintf(folder, sizeof folder, "%s", scratch("model"));
    mkdir(folder, 0777);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t size;
        snprintf(from, sizeof from, FOLDER "%s/%s", name, files[i]);
        snprintf(to, sizeof to, "%s/%s", folder, files[i]);
        uint8_t *data = scratch_read(from, &size);
        scratch_write(to, data, size);
        free(data);
    }
    return folder;
}

/* Puts `value` into the copy's config.json. */
static void configure(const char *folder, const char *key, json_t *value)
{
    char path[1024];
    sah_error error = {0};
    json_t *config;
    snprintf(path, sizeof path, "%s/config.json", folder);
    expect_ok(sah_json_read(path, 1u << 20, &config, &error), &error);
    assert_int_equal(json_object_set(config, key, value), 0);
    assert_int_equal(json_dump_file(config, path, 0), 0);
    json_decref(config);
}

static sah_model *open_model(const char *path, int threads)
{
    sah_error error = {0};
    sah_model *model = NULL;
    expect_ok(
        sah_model_open(path, &(sah_model_options){.threads = threads, .generates = true}, &model, &error),
        &error);
    return model;
}

/* The lines of a result, the header first. */
static json_t *read_lines(const char *path)
{
    size_t size;
    char *text = (char *)scratch_read(path, &size);
    json_t *lines = json_array();
    assert_true(size > 0 && text[size - 1] == '\n');
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        assert_int_equal(json_array_append_new(lines, json_loads(line, 0, NULL)), 0);
    free(text);
    return lines;
}

static const char *string_at(const json_t *lines, size_t line, const char *key)
{
    const char *text = json_string_value(json_object_get(json_array_get(lines, line), key));
    assert_non_null(text);
    return text;
}

static size_t tokens_at(const json_t *lines, size_t line)
{
    return (size_t)json_integer_value(json_object_get(json_array_get(lines, line), "tokens"));
}

/* Runs into a new file `name` and returns its lines. */
static json_t *generate(const sah_model *model, const sah_strings *queries,
                        const sah_generate_options *options, const char *name)
{
    char path[512];
    sah_error error = {0};
    snprintf(path, sizeof path, "%s", scratch(name));
    remove(path);
    expect_ok(sah_generate(model, queries, options, path, &error), &error);
    return read_lines(path);
}

static const sah_generate_options greedy = {
    .template_ = "none", .max_new_tokens = 22, .ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}};

static char *texts[] = {
    "The river",         "In the morning it begins again", "Hello", "The river",
    "A bird sings: the", "zwölf Störche stehen",           "The",   "The river begins in the hills"};
/* The first and the fourth are the same. */
static const sah_strings queries = {texts, sizeof texts / sizeof *texts, 0};

/* ---- Texts against transformers ------------------------------------------------------------------------ */

/* The golden edits are heads whose queries are scaled by one factor. */
static void check_texts(const json_t *entry)
{
    const char *folder = copy_model(json_string_value(json_object_get(entry, "model")));
    json_t *cases = json_object_get(entry, "cases"), *list = json_object_get(entry, "queries");
    char *items[MOST];
    sah_strings asked = {items, json_array_size(list), 0};
    for (size_t i = 0; i < asked.n; i++)
        items[i] = (char *)(uintptr_t)json_string_value(json_array_get(list, i));
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *wanted = json_array_get(cases, c);
        configure(folder, "eos_token_id", json_object_get(wanted, "ends"));
        sah_model *model = open_model(folder, 1);
        golden edited = {.json = (json_t *)(uintptr_t)entry};
        size_t n_edits;
        sah_edit *edits = golden_edits(&edited, c, &n_edits);
        sah_head heads[MOST];
        for (size_t i = 0; i < n_edits; i++) heads[i] = (sah_head){edits[i].layer, edits[i].head};
        sah_generate_options options = greedy;
        options.heads = heads;
        options.n_heads = n_edits;
        if (n_edits > 0) options.ablation.factor = edits[0].factor;
        json_t *lines = generate(model, &asked, &options, "texts.jsonl");
        assert_int_equal(json_array_size(lines), asked.n + 1);
        for (size_t i = 0; i < asked.n; i++) {
            const char *response = json_string_value(json_array_get(json_object_get(wanted, "responses"), i));
            assert_string_equal(string_at(lines, i + 1, "query"), items[i]);
            assert_string_equal(string_at(lines, i + 1, "prompt"), items[i]);
            assert_string_equal(string_at(lines, i + 1, "response"), response);
            assert_string_equal(string_at(lines, i + 1, "stop"),
                                json_string_value(json_array_get(json_object_get(wanted, "stops"), i)));
            assert_int_equal(tokens_at(lines, i + 1),
                             json_array_size(json_array_get(json_object_get(wanted, "tokens"), i)));
        }
        json_decref(lines);
        free(edits);
        sah_model_close(model);
    }
}

static void test_texts(void **state)
{
    (void)state;
    json_t *json = read_golden(), *entries = json_object_get(json, "texts");
    assert_int_equal(json_array_size(entries), 2);
    for (size_t i = 0; i < json_array_size(entries); i++) check_texts(json_array_get(entries, i));
    json_decref(json);
}

/* ---- Ends ---------------------------------------------------------------------------------------------- */

static void test_length(void **state)
{
    (void)state;
    sah_model *model = open_model(FOLDER "bytes", 1);
    for (int most = 1; most <= 7; most += 3) {
        sah_generate_options options = greedy;
        options.max_new_tokens = most;
        json_t *lines = generate(model, &queries, &options, "length.jsonl");
        for (size_t i = 1; i < json_array_size(lines); i++) {
            assert_int_equal(tokens_at(lines, i), most);
            assert_string_equal(string_at(lines, i, "stop"), "length");
        }
        json_decref(lines);
    }
    sah_model_close(model);
}

/* The model has 40 positions: prompt and response fill them and no more. A prompt that fills them gets the
 * one token that its last position predicts; a longer one is an error. */
static void test_positions(void **state)
{
    (void)state;
    char text[200] = "";
    sah_error error = {0};
    sah_model *model = open_model(FOLDER "bytes", 1);
    sah_generate_options options = greedy;
    options.max_new_tokens = 1000;
    json_t *lines = generate(model, &queries, &options, "positions.jsonl");
    for (size_t i = 0; i < queries.n; i++) {
        int32_t *ids;
        size_t n;
        expect_ok(sah_encode(model, texts[i], strlen(texts[i]), &ids, &n, &error), &error);
        assert_int_equal(n + tokens_at(lines, i + 1), 40);
        assert_string_equal(string_at(lines, i + 1, "stop"), "length");
        free(ids);
    }
    json_decref(lines);

    /* One digit is one token here. */
    char *items[] = {text};
    const sah_strings one = {items, 1, 0};
    for (int digits = 39; digits <= 41; digits++) {
        memset(text, '7', (size_t)digits);
        remove(scratch("filled.jsonl"));
        sah_status status = sah_generate(model, &one, &options, scratch("filled.jsonl"), &error);
        if (digits <= 40) {
            expect_ok(status, &error);
            lines = read_lines(scratch("filled.jsonl"));
            assert_int_equal(tokens_at(lines, 1), 1);
            json_decref(lines);
        } else {
            expect_failure(status, &error, "40");
        }
    }
    sah_model_close(model);
}

/* A weight that is no number, or so large that logits become infinite: an error, and no response. */
static void test_broken_weights(void **state)
{
    (void)state;
    const uint32_t bad[] = {0x7fc00000u, 0x7f800000u}; /* NaN, infinity */
    char path[1024];
    sah_error error = {0};
    for (size_t b = 0; b < 2; b++)
        for (int drawn = 0; drawn < 2; drawn++) {
            const char *folder = copy_model("bytes");
            size_t size;
            snprintf(path, sizeof path, "%s/model.safetensors", folder);
            uint8_t *data = scratch_read(path, &size);
            memcpy(data + size - 4, &bad[b], 4); /* of the final norm: the names are in order */
            scratch_write(path, data, size);
            free(data);
            sah_model *model = open_model(folder, 1);
            sah_generate_options options = greedy;
            options.temperature = drawn ? 1.0 : 0.0;
            remove(scratch("broken.jsonl"));
            expect_failure(sah_generate(model, &queries, &options, scratch("broken.jsonl"), &error), &error,
                           "not finite");
            json_t *lines = read_lines(scratch("broken.jsonl"));
            assert_int_equal(json_array_size(lines), 1);
            json_decref(lines);
            sah_model_close(model);
        }
}

static void test_bad_options(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = open_model(FOLDER "bytes", 1);
    sah_strings none = {0};
    const sah_head outside = {2, 0}, inside = {0, 1};
    sah_head all[8];
    for (int i = 0; i < 8; i++) all[i] = (sah_head){i / 4, i % 4};
    sah_generate_options bad[8];
    for (size_t i = 0; i < 8; i++) bad[i] = greedy;
    bad[0].max_new_tokens = -1;
    bad[1].temperature = -1.0;
    bad[2].temperature = NAN;
    bad[3].top_k = -1;
    bad[4].top_p = 1.5;
    bad[5].heads = &outside, bad[5].n_heads = 1;
    bad[6].heads = &inside, bad[6].n_heads = 1, bad[6].ablation.factor = INFINITY;
    bad[7].heads = all, bad[7].n_heads = 5, bad[7].curve = bad[7].random = true; /* three are left */
    static const char *const parts[] = {
        "max_new_tokens -1", "temperature", "temperature", "top_k", "top_p", "2-0", "0-1", "random: "};
    for (size_t i = 0; i < 8; i++) {
        sah_status status = sah_generate(model, &queries, &bad[i], scratch("bad.jsonl"), &error);
        expect_failure(status, &error, parts[i]);
        if (status != SAH_BAD_ARGUMENT) fail_msg("%zu: status %d, %s", i, (int)status, error.message);
    }
    expect_failure(sah_generate(model, &none, &greedy, scratch("bad.jsonl"), &error), &error, "no query");
    FILE *file = fopen(scratch("bad.jsonl"), "r");
    assert_null(file);
    sah_model_close(model);
}

/* ---- Whatever happens beside --------------------------------------------------------------------------- */

static const sah_head some[] = {{1, 2}, {0, 0}};

/* The curve over two heads, drawn at random, random heads beside. */
static sah_generate_options drawn_curve(void)
{
    sah_generate_options options = greedy;
    options.temperature = 0.8;
    options.top_k = 40;
    options.top_p = 0.95;
    options.seed = 11;
    options.heads = some;
    options.n_heads = 2;
    options.curve = options.random = true;
    options.random_seed = 3;
    return options;
}

static char *run_drawn(const sah_model *model, const sah_generate_options *options, const char *name,
                       size_t *size)
{
    char path[512];
    sah_error error = {0};
    snprintf(path, sizeof path, "%s", scratch(name));
    remove(path);
    expect_ok(sah_generate(model, &queries, options, path, &error), &error);
    return (char *)scratch_read(path, size);
}

/* The smallest --memory that the longest prompt's decoding takes, which the error names: so little that
 * prompts follow each other in waves. */
static uint64_t least_memory(const sah_model *model, const sah_generate_options *options)
{
    sah_error error = {0};
    sah_generate_options small = *options;
    char *items[1];
    sah_strings one = {items, 1, 0};
    double most = 0.0;
    small.memory = 1;
    for (size_t i = 0; i < queries.n; i++) {
        items[0] = texts[i];
        expect_failure(sah_generate(model, &one, &small, scratch("small.jsonl"), &error), &error, "memory: ");
        const char *needs = strstr(error.message, "needs ");
        assert_non_null(needs);
        most = fmax(most, strtod(needs + 6, NULL));
        remove(scratch("small.jsonl"));
    }
    return (uint64_t)((most + 0.05) * 1e6); /* the message rounds */
}

static void test_memory_and_threads(void **state)
{
    (void)state;
    size_t size, again;
    sah_generate_options options = drawn_curve();
    options.max_new_tokens = 24;
    sah_model *one = open_model("models/organism", 1), *three = open_model("models/organism", 3);
    char *whole = run_drawn(one, &options, "whole.jsonl", &size);
    uint64_t least = least_memory(one, &options);
    for (int i = 0; i < 2; i++) {
        options.memory = least + 150000 * (uint64_t)i;
        char *waves = run_drawn(i == 0 ? three : one, &options, "waves.jsonl", &again);
        assert_int_equal(size, again);
        assert_memory_equal(whole, waves, size);
        free(waves);
    }
    free(whole);
    sah_model_close(one);
    sah_model_close(three);
}

/* With little memory prompts follow each other: the number that live together shows in the progress of one
 * step. */
typedef struct watch {
    uint64_t last, largest;
} watch;

static bool note_step(void *user, const char *what, uint64_t done, uint64_t total)
{
    watch *w = user;
    (void)what;
    assert_true(done <= total);
    if (done - w->last > w->largest) w->largest = done - w->last;
    w->last = done;
    return true;
}

static void test_waves(void **state)
{
    (void)state;
    sah_model *model = open_model("models/organism", 1);
    sah_generate_options options = greedy;
    options.max_new_tokens = 64;
    options.progress = note_step;
    uint64_t least = least_memory(model, &options);
    for (int i = 0; i < 2; i++) {
        watch seen = {0};
        options.user = &seen;
        options.memory = i == 0 ? least : 0;
        json_t *lines = generate(model, &queries, &options, "waves.jsonl");
        json_decref(lines);
        if (i == 0)
            assert_in_range(seen.largest, 1, 2);
        else
            assert_int_equal(seen.largest, queries.n);
    }
    sah_model_close(model);
}

/* Same seed, same text at the same place, whatever follows; another seed or place, another text. */
static void test_seed(void **state)
{
    (void)state;
    sah_model *model = open_model(FOLDER "bytes", 1);
    sah_generate_options options = drawn_curve();
    options.curve = options.random = false;
    options.n_heads = 0;
    json_t *all = generate(model, &queries, &options, "all.jsonl");
    sah_strings first = {texts, 3, 0};
    json_t *three = generate(model, &first, &options, "three.jsonl");
    for (size_t i = 1; i <= 3; i++) assert_true(json_equal(json_array_get(all, i), json_array_get(three, i)));
    assert_string_equal(string_at(all, 1, "query"), string_at(all, 4, "query"));
    assert_string_not_equal(string_at(all, 1, "response"), string_at(all, 4, "response"));
    options.seed = 12;
    json_t *other = generate(model, &queries, &options, "other.jsonl");
    for (size_t i = 1; i <= 3; i++)
        assert_string_not_equal(string_at(all, i, "response"), string_at(other, i, "response"));
    json_decref(all);
    json_decref(three);
    json_decref(other);
    sah_model_close(model);
}

/* ---- Interrupted --------------------------------------------------------------------------------------- */

/* Cut at any byte, in the header too, the run carries on to the same file. */
static void test_resume(void **state)
{
    (void)state;
    size_t size, again;
    sah_error error = {0};
    sah_model *model = open_model(FOLDER "bytes", 1);
    sah_generate_options options = drawn_curve();
    options.max_new_tokens = 6;
    char *whole = run_drawn(model, &options, "whole.jsonl", &size), path[512];
    snprintf(path, sizeof path, "%s", scratch("cut.jsonl"));
    for (size_t cut = 0; cut <= size; cut++) {
        bool edge = cut > 0 && (whole[cut - 1] == '\n' || (cut < size && whole[cut] == '\n'));
        if (!edge && cut % 397 != 0 && cut != size) continue;
        scratch_write(path, whole, cut);
        expect_ok(sah_generate(model, &queries, &options, path, &error), &error);
        char *resumed = (char *)scratch_read(path, &again);
        assert_int_equal(size, again);
        assert_memory_equal(whole, resumed, size);
        free(resumed);
    }
    /* A line of another run, or another setting, is not carried on from. */
    options.seed = 12;
    expect_failure(sah_generate(model, &queries, &options, path, &error), &error, "settings.seed");
    options.seed = 11;
    char *stranger = strstr(whole, "\n");
    *strstr(stranger, "\"query\":\"The") = '"'; /* the same byte: nothing changes */
    memcpy(strstr(stranger, "\"query\":\"The") + 9, "Thy", 3);
    scratch_write(path, whole, size);
    expect_failure(sah_generate(model, &queries, &options, path, &error), &error, "answers no query");
    free(whole);
    sah_model_close(model);
}

static bool stop_after(void *user, const char *what, uint64_t done, uint64_t total)
{
    int *left = user;
    (void)what;
    (void)done;
    (void)total;
    return (*left)-- > 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts the lines in place into `lines`; returns how many. */
static size_t sorted_lines(char *text, char **lines)
{
    size_t n = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        assert_true(n < MOST_LINES);
        lines[n++] = line;
    }
    qsort(lines, n, sizeof *lines, by_text);
    return n;
}

/* Stopped at any moment, responses that are finished are kept, and carrying on gives the same lines. */
static void test_interruption(void **state)
{
    (void)state;
    size_t size, again;
    sah_error error = {0};
    char path[512], *wanted[MOST_LINES], *have[MOST_LINES];
    const char *folder = copy_model("bytes");
    /* Tokens that come up early in some responses and late in others. */
    json_t *ends = json_array();
    for (int id = 2; id < 60; id++) json_array_append_new(ends, json_integer(id));
    configure(folder, "eos_token_id", ends);
    json_decref(ends);
    sah_model *model = open_model(folder, 1);
    sah_generate_options options = drawn_curve();
    char *whole = run_drawn(model, &options, "whole.jsonl", &size);
    size_t n = sorted_lines(whole, wanted);
    assert_int_equal(n, 1 + 5 * queries.n); /* no head; one, two; one, two at random */
    snprintf(path, sizeof path, "%s", scratch("stopped.jsonl"));
    for (int steps = 0; steps < 60; steps += 7) {
        sah_status status = SAH_INTERRUPTED;
        remove(path);
        for (int turn = 0; status == SAH_INTERRUPTED && turn < 100; turn++) {
            int left = steps + turn; /* in the end enough for what is left */
            options.progress = stop_after;
            options.user = &left;
            status = sah_generate(model, &queries, &options, path, &error);
            assert_true(status == SAH_OK || status == SAH_INTERRUPTED);
        }
        expect_ok(status, &error);
        char *text = (char *)scratch_read(path, &again);
        assert_int_equal(size, again);
        assert_int_equal(sorted_lines(text, have), n);
        for (size_t i = 0; i < n; i++) assert_string_equal(have[i], wanted[i]);
        free(text);
    }
    free(whole);
    sah_model_close(model);
}

/* ---- The curve ----------------------------------------------------------------------------------------- */

/* Every point of the curve is what a run of its own with these heads gives; random heads are as many, and
 * none of the given. */
static void test_curve(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = open_model(FOLDER "bytes", 1);
    sah_generate_options options = drawn_curve();
    options.temperature = 0.0;
    json_t *curve = generate(model, &queries, &options, "curve.jsonl");
    size_t sets = 5;
    assert_int_equal(json_array_size(curve), 1 + sets * queries.n);
    for (size_t s = 0; s < sets; s++) {
        const json_t *first = json_array_get(curve, 1 + s * queries.n),
                     *names = json_object_get(first, "ablated");
        bool random = json_is_true(json_object_get(first, "random"));
        size_t n = json_array_size(names);
        char text[64] = "";
        assert_int_equal(n, (s + 1) / 2);
        assert_int_equal(random, s == 2 || s == 4);
        for (size_t i = 0; i < n; i++) {
            const char *name = json_string_value(json_array_get(names, i));
            bool given = strcmp(name, "1-2") == 0 || strcmp(name, "0-0") == 0;
            assert_int_equal(given, !random);
            if (!random) assert_string_equal(name, i == 0 ? "1-2" : "0-0");
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i > 0 ? "," : "", name);
        }
        sah_generate_options alone = options;
        sah_head *heads;
        alone.curve = alone.random = false;
        expect_ok(
            sah_heads_parse(text, sah_model_describe(model), SAH_PART_Q, &heads, &alone.n_heads, &error),
            &error);
        alone.heads = heads;
        json_t *lines = generate(model, &queries, &alone, "alone.jsonl");
        for (size_t i = 0; i < queries.n; i++) {
            size_t at = 1 + s * queries.n + i;
            assert_true(json_equal(json_object_get(json_array_get(curve, at), "ablated"), names));
            assert_string_equal(string_at(curve, at, "query"), texts[i]);
            assert_string_equal(string_at(curve, at, "response"), string_at(lines, 1 + i, "response"));
        }
        json_decref(lines);
        free(heads);
    }
    /* Ablating two heads shows. */
    assert_string_not_equal(string_at(curve, 1, "response"), string_at(curve, 1 + 3 * queries.n, "response"));
    json_decref(curve);
    sah_model_close(model);
}

/* Numbers of heads by themselves: the same lines as in the curve over all of them, the others left out. */
static void test_curve_counts(void **state)
{
    (void)state;
    static const size_t two[] = {2}, falling[] = {2, 1}, none[] = {0, 2}, many[] = {1, 3};
    sah_error error = {0};
    sah_model *model = open_model(FOLDER "bytes", 1);
    sah_generate_options options = drawn_curve();
    options.temperature = 0.0;
    json_t *curve = generate(model, &queries, &options, "every.jsonl");
    options.counts = two;
    options.n_counts = 1;
    json_t *part = generate(model, &queries, &options, "two.jsonl");
    assert_int_equal(json_array_size(part), 1 + 3 * queries.n);
    const json_t *counts =
        json_object_get(json_object_get(json_array_get(part, 0), "settings"), "sweep_counts");
    assert_int_equal(json_array_size(counts), 1);
    assert_int_equal(json_integer_value(json_array_get(counts, 0)), 2);
    for (size_t i = 0; i < 3 * queries.n; i++) {
        const size_t of_curve = i < queries.n ? i : i + 2 * queries.n;
        assert_true(json_equal(json_array_get(part, 1 + i), json_array_get(curve, 1 + of_curve)));
    }
    json_decref(curve);
    json_decref(part);

    const struct {
        const size_t *counts;
        size_t n;
    } bad[] = {{falling, 2}, {none, 2}, {many, 2}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        options.counts = bad[i].counts;
        options.n_counts = bad[i].n;
        assert_int_equal(sah_generate(model, &queries, &options, scratch("bad-counts"), &error),
                         SAH_BAD_ARGUMENT);
        assert_string_equal(error.field, "counts");
    }
    options.counts = two;
    options.n_counts = 1;
    options.curve = options.random = false;
    assert_int_equal(sah_generate(model, &queries, &options, scratch("bad-counts"), &error),
                     SAH_BAD_ARGUMENT);
    sah_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_broken_weights),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_memory_and_threads),
        cmocka_unit_test(test_waves),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_interruption),
        cmocka_unit_test(test_curve),
        cmocka_unit_test(test_curve_counts),
    };
    return cmocka_run_group_tests_name("generating", tests, NULL, NULL);
}
