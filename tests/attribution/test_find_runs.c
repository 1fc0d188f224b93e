/* SPDX-License-Identifier: Apache-2.0 */
/* find against passes of their own: every part and operation, ranges, ranks and a starting group, head by
 * head in plain float64; runs stopped in different ways; checkpoints that are broken. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attribution/subspace.h"
#include "engine/model.h"
#include "engine/plain.h"
#include "models/planted.h"
#include "util/json.h"
#include "util/scratch.h"

enum { N = 6, D = 64, MOST_RANK = 2 };

static const planted model_of = {PLANTED_TWO, {{1, 0}, {2, 3}}, {0}, 4, 2, 91};

static const char *result_path(void)
{
    static char path[512];
    snprintf(path, sizeof path, "%s", scratch("find.jsonl"));
    remove(path);
    return path;
}

/* ---- Passes of their own ------------------------------------------------------------------------------- */

/* Final hidden states [N, D] of the queries with `heads` ablated, by the plain pass. */
static void states(const sah_model *model, const sah_checkpoint *checkpoint, const sah_strings *queries,
                   const sah_head *heads, size_t n, const sah_ablation *ablation, float *out)
{
    sah_error error = {0};
    sah_edit *edits = NULL;
    size_t n_edits = 0;
    if (n > 0)
        expect_ok(sah_edits_new(sah_model_describe(model), heads, n, ablation, &edits, &n_edits, &error),
                  &error);
    for (size_t q = 0; q < N; q++) {
        char *text;
        int32_t *tokens;
        size_t n_tokens;
        double hidden[D];
        expect_ok(sah_prompt_wrap(model, "sahara", NULL, queries->items[q], &text, &error), &error);
        expect_ok(sah_encode(model, text, strlen(text), &tokens, &n_tokens, &error), &error);
        expect_ok(sah_plain_forward(checkpoint, tokens, n_tokens, edits, n_edits, hidden, NULL, &error),
                  &error);
        for (size_t i = 0; i < D; i++) out[q * D + i] = (float)hidden[i];
        free(text);
        free(tokens);
    }
    free(edits);
}

/* What is compared, [rank, N] or of right vectors [rank, D]; these from the eigenvectors of Mᵀ M by plain
 * power iteration with deflation, not by the way of the left ones. */
static void space(const float *m, size_t rank, sah_variant variant, double *u)
{
    sah_error error = {0};
    size_t found;
    if (variant == SAH_VARIANT_RIGHT) {
        for (size_t i = 0; i < rank; i++) {
            double *v = u + i * D, next[D];
            for (size_t k = 0; k < D; k++) v[k] = (double)m[k] + (k == i ? 1e-3 : 0);
            for (int step = 0; step < 20000; step++) {
                double square = 0;
                memset(next, 0, sizeof next);
                for (size_t q = 0; q < N; q++) {
                    double along = 0;
                    for (size_t k = 0; k < D; k++) along += (double)m[q * D + k] * v[k];
                    for (size_t k = 0; k < D; k++) next[k] += along * (double)m[q * D + k];
                }
                for (size_t j = 0; j < i; j++) {
                    double along = 0;
                    for (size_t k = 0; k < D; k++) along += next[k] * u[j * D + k];
                    for (size_t k = 0; k < D; k++) next[k] -= along * u[j * D + k];
                }
                for (size_t k = 0; k < D; k++) square += next[k] * next[k];
                for (size_t k = 0; k < D; k++) v[k] = next[k] / sqrt(square);
            }
        }
        return;
    }
    if (variant == SAH_VARIANT_SPECTRAL)
        expect_ok(sah_first_column(m, N, D, "query", u, &found, &error), &error);
    else
        expect_ok(sah_subspace(m, N, D, rank, "query", u, &found, &error), &error);
    assert_int_equal(found, rank);
}

typedef struct setting {
    sah_ablation ablation;
    size_t rank;
    sah_variant variant;
    int layers[2], heads[2];
    const char *start;
    size_t candidates; /* of the first step */
} setting;

/* The float32 sweep and the float64 pass part by some 1e-7 of a state, which is 1e-5 degrees. */
static const double BOUND = 1e-4, RELATIVE = 1e-4;

static void check(const sah_model *model, const sah_checkpoint *checkpoint, const setting *s)
{
    sah_error error = {0};
    sah_strings queries = planted_queries(true, 40, N);
    const sah_model_info *info = sah_model_describe(model);
    static float base[N * D], ablated[N * D];
    double u[MOST_RANK * D], v[MOST_RANK * D], angles[MOST_RANK];
    size_t size, lines[2] = {0}, n_group = 0;
    sah_head *group = NULL, heads[8];
    const char *path = result_path();
    sah_run_options options = {.ablation = s->ablation,
                               .template_ = "sahara",
                               .layer_from = s->layers[0],
                               .layer_to = s->layers[1],
                               .head_from = s->heads[0],
                               .head_to = s->heads[1]};
    sah_find_options find = {
        .steps = 2, .rank = s->rank, .variant = s->variant, .start = s->start, .random_groups = 2};
    expect_ok(sah_find(model, &queries, NULL, &options, &find, path, &error), &error);
    if (s->start != NULL)
        expect_ok(sah_heads_parse(s->start, info, s->ablation.parts, &group, &n_group, &error), &error);
    if (n_group > 0) memcpy(heads, group, n_group * sizeof *heads);
    free(group);
    states(model, checkpoint, &queries, NULL, 0, &s->ablation, base);
    space(base, s->rank, s->variant, u);
    char *rest, *text = (char *)scratch_read(path, &size);
    strtok_r(text, "\n", &rest);
    for (char *line; (line = strtok_r(NULL, "\n", &rest)) != NULL;) {
        json_t *json = json_loads(line, 0, NULL), *random = json_object_get(json, "random");
        const char *name = json_string_value(json_object_get(json, "head")),
                   *chosen = json_string_value(json_object_get(json, "chosen"));
        double shift = json_number_value(json_object_get(json, "shift")), sum = 0;
        sah_head tried[8];
        size_t n = n_group;
        memcpy(tried, heads, sizeof tried);
        if (random != NULL) {
            n = json_array_size(random);
            assert_int_equal(n, n_group + 1);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(sscanf(json_string_value(json_array_get(random, i)), "%d-%d",
                                        &tried[i].layer, &tried[i].head),
                                 2);
        } else {
            assert_int_equal(sscanf(name ? name : chosen, "%d-%d", &tried[n].layer, &tried[n].head), 2);
            n++;
        }
        states(model, checkpoint, &queries, tried, n, &s->ablation, ablated);
        space(ablated, s->rank, s->variant, v);
        expect_ok(sah_principal_angles(u, s->rank, v, s->rank, s->variant == SAH_VARIANT_RIGHT ? D : N,
                                       angles, &error),
                  &error);
        for (size_t i = 0; i < s->rank; i++) sum += angles[i];
        if (!(fabs(sum - shift) <= BOUND + RELATIVE * sum))
            fail_msg("%s: %.9g, alone %.9g", line, shift, sum);
        if (name != NULL) lines[json_integer_value(json_object_get(json, "step"))]++;
        if (chosen != NULL) heads[n_group++] = tried[n - 1];
        json_decref(json);
    }
    assert_int_equal(lines[0], s->candidates);
    assert_int_equal(lines[1], s->candidates - 1);
    free(text);
    sah_strings_free(&queries);
}

static void test_against_plain(void **state)
{
    (void)state;
    static const unsigned q = SAH_PART_Q, k = SAH_PART_K, v = SAH_PART_V;
    const setting settings[] = {
        {{q, SAH_OP_SCALE, 1e-4f}, 1, 0, {0, 0}, {0, 0}, NULL, 16},
        {{q, SAH_OP_SCALE, 0}, 2, 0, {1, 3}, {0, 0}, NULL, 8},
        {{q, SAH_OP_MEAN, 0}, 1, 0, {0, 0}, {1, 3}, "1-0", 8},
        {{q, SAH_OP_SCALE, 1e-4f}, 1, 0, {2, 4}, {0, 0}, "0-0,2-3", 7},
        {{k, SAH_OP_SCALE, 1e-4f}, 1, 0, {0, 0}, {0, 0}, NULL, 8},
        {{k, SAH_OP_MEAN, 0}, 1, 0, {0, 0}, {0, 1}, "2-1", 4},
        {{v, SAH_OP_SCALE, 0.5f}, 1, 0, {0, 2}, {0, 0}, NULL, 8},
        {{v, SAH_OP_MEAN, 0}, 2, 0, {3, 4}, {0, 0}, "0-1", 4},
        {{q | v, SAH_OP_SCALE, 1e-4f}, 1, 0, {1, 2}, {0, 0}, NULL, 4},
        {{q | k | v, SAH_OP_SCALE, 1e-4f}, 1, 0, {0, 1}, {0, 0}, "3-3", 4},
        {{q, SAH_OP_SCALE, 1e-4f}, 1, SAH_VARIANT_SPECTRAL, {0, 0}, {0, 0}, NULL, 16},
        {{q, SAH_OP_SCALE, 1e-4f}, 1, SAH_VARIANT_RIGHT, {0, 0}, {0, 0}, NULL, 16},
        {{v, SAH_OP_SCALE, 0}, 2, SAH_VARIANT_RIGHT, {1, 3}, {0, 0}, "0-1", 8},
    };
    sah_error error = {0};
    sah_checkpoint *checkpoint;
    sah_model *model = planted_open(&model_of);
    expect_ok(sah_checkpoint_open(scratch("planted"), NULL, false, &checkpoint, &error), &error);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) check(model, checkpoint, &settings[i]);
    sah_checkpoint_close(checkpoint);
    sah_model_close(model);
}

/* ---- Runs stopped and carried on ----------------------------------------------------------------------- */

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of a file, sorted, as one text. */
static char *sorted(const char *path)
{
    size_t size, n = 0;
    char *rest, *text = (char *)scratch_read(path, &size), *lines[256], *out = calloc(1, size + 1);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        lines[n++] = line;
    qsort(lines, n, sizeof *lines, compare_lines);
    for (size_t i = 0; i < n; i++) strcat(strcat(out, lines[i]), "\n");
    free(text);
    return out;
}

/* Stops a run when it has been asked `calls` times. */
typedef struct patience {
    int calls;
} patience;

static bool stop(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    (void)done;
    (void)total;
    return ((patience *)user)->calls-- > 0;
}

static void expect_same(const char *path, const char *whole, const char *what, size_t where)
{
    char *again = sorted(path);
    if (strcmp(whole, again) != 0) fail_msg("%s at %zu: another result", what, where);
    free(again);
}

static void test_stopped(void **state)
{
    (void)state;
    static const char *const starts[] = {NULL, "3-1,0-2"};
    sah_error error = {0};
    sah_model *model = planted_open(&model_of);
    sah_strings harmful = planted_queries(true, 40, N), harmless = planted_queries(false, 40, N);
    for (int i = 0; i < 4; i++) {
        const sah_strings *contrast = i < 2 ? NULL : &harmless;
        size_t size;
        sah_run_options options = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "sahara"};
        sah_find_options find = {
            .steps = 3, .rank = 1, .start = starts[i % 2], .shortlist = 6, .random_groups = 3};
        const char *path = result_path();
        expect_ok(sah_find(model, &harmful, contrast, &options, &find, path, &error), &error);
        uint8_t *bytes = scratch_read(path, &size);
        char *whole = sorted(path);
        /* Cut anywhere: inside the header, inside lines of every kind, before and behind each line's end
         * (with contrast, which takes longer, not at all of them). */
        for (size_t cut = 1; cut < size; cut++) {
            bool end = bytes[cut] == '\n' || bytes[cut - 1] == '\n';
            if (cut % (size / 40) != 0 && !(end && contrast == NULL)) continue;
            scratch_write(path, bytes, cut);
            expect_ok(sah_find(model, &harmful, contrast, &options, &find, path, &error), &error);
            expect_same(path, whole, "cut", cut);
        }
        /* Interrupted by the progress function, again and again, with a little more patience each time. */
        remove(path);
        options.progress = stop;
        int tries = 0;
        for (sah_status status = SAH_INTERRUPTED; status == SAH_INTERRUPTED; tries++) {
            patience p = {4 * tries};
            options.user = &p;
            status = sah_find(model, &harmful, contrast, &options, &find, path, &error);
            if (status != SAH_INTERRUPTED) expect_ok(status, &error);
        }
        assert_true(tries > 3);
        expect_same(path, whole, "interrupted", 0);
        free(whole);
        free(bytes);
    }
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_model_close(model);
}

/* ---- Random groups ------------------------------------------------------------------------------------- */

/* The random groups of a run with this seed, in a list. */
static json_t *groups(const sah_model *model, uint64_t seed)
{
    sah_error error = {0};
    size_t size;
    sah_strings queries = planted_queries(true, 40, N);
    sah_run_options options = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "sahara"};
    sah_find_options find = {.steps = 2, .rank = 1, .random_groups = 20, .seed = seed};
    const char *path = result_path();
    json_t *list = json_array();
    expect_ok(sah_find(model, &queries, NULL, &options, &find, path, &error), &error);
    char *rest, *text = (char *)scratch_read(path, &size);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        json_t *json = json_loads(line, 0, NULL), *group = json_object_get(json, "random");
        if (group != NULL) json_array_append(list, group);
        json_decref(json);
    }
    free(text);
    sah_strings_free(&queries);
    assert_int_equal(json_array_size(list), 20);
    return list;
}

/* Another seed draws other groups: of 240 ordered pairs of 16 heads two lists of 20 share one or two. */
static void test_seeds(void **state)
{
    (void)state;
    sah_model *model = planted_open(&model_of);
    json_t *lists[3], *a, *b;
    size_t i, j;
    for (uint64_t seed = 0; seed < 3; seed++) lists[seed] = groups(model, seed);
    for (size_t l = 1; l < 3; l++) {
        int shared = 0;
        json_array_foreach(lists[0], i, a) json_array_foreach(lists[l], j, b) shared += json_equal(a, b);
        assert_true(shared < 8);
    }
    for (size_t l = 0; l < 3; l++) json_decref(lists[l]);
    sah_model_close(model);
}

/* ---- Broken checkpoints -------------------------------------------------------------------------------- */

static void test_not_finite(void **state)
{
    (void)state;
    sah_error error = {0};
    size_t size;
    char weights[600];
    sah_model *model = planted_open(&model_of);
    sah_strings queries = planted_queries(true, 40, N);
    /* An ablation that overflows: the message names the head; the starting group; a random one. */
    sah_run_options options = {
        .ablation = {SAH_PART_V, SAH_OP_SCALE, 3e38f}, .template_ = "sahara", .layer_to = 1};
    sah_find_options find = {.steps = 1, .rank = 1};
    expect_failure(sah_find(model, &queries, NULL, &options, &find, result_path(), &error), &error,
                   "head 0-");
    assert_non_null(strstr(error.message, "is not finite"));
    find.start = "1-0";
    expect_failure(sah_find(model, &queries, NULL, &options, &find, result_path(), &error), &error,
                   "the starting group, query 1 is not finite");
    sah_model_close(model);

    /* A weight that is no number: the last one of the file. */
    snprintf(weights, sizeof weights, "%s/model.safetensors", planted_write(&model_of, "broken"));
    uint8_t *bytes = scratch_read(weights, &size);
    float none = NAN;
    memcpy(bytes + size - sizeof none, &none, sizeof none);
    scratch_write(weights, bytes, size);
    free(bytes);
    expect_ok(sah_model_open(scratch("broken"), NULL, &model, &error), &error);
    options = (sah_run_options){.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "sahara"};
    find.start = NULL;
    for (sah_variant variant = SAH_VARIANT_SUBSPACE; variant <= SAH_VARIANT_RIGHT; variant++) {
        find.variant = variant;
        expect_failure(sah_find(model, &queries, NULL, &options, &find, result_path(), &error), &error,
                       "query 1 is not finite");
    }
    sah_model_close(model);
    sah_strings_free(&queries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_plain),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests_name("runs of find", tests, NULL, NULL);
}
