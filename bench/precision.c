/* SPDX-License-Identifier: Apache-2.0 */
/* How near Ships is to float64's on SmolLM2, and what it costs: in float32, in bfloat16 with whole states rounded, and
 * by differences. The truth is tests/golden/smollm2-ships-float64.json: 270 heads, 20 queries.
 *
 *     build/bench/precision [HEADS] [THREADS] [cuda]     the first HEADS of each layer (1; 9 are all)
 *
 * Times are of all threads' processors, of the sweep alone, the smaller of two: the ways take turns. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attribution/ships.h"
#include "attribution/ships_sweep.h"
#include "stats/bootstrap.h"
#include "stats/rankings.h"

static const char MODEL[] = "models/cache/SmolLM2-135M-Instruct.Q4_1.gguf",
                  QUERIES[] = "tests/golden/reference/smollm2-ships.json",
                  TRUTH[] = "tests/golden/smollm2-ships-float64.json";
enum { LAYERS = 30, HEADS = 9, N_QUERIES = 20, MOST = LAYERS * HEADS, TIMES = 2 };

typedef struct way {
    const char *name;
    sah_precision precision;
    bool differences;
    double seconds;
    double kl[MOST][N_QUERIES];
} way;

static way ways[] = {{.name = "float32"},
                     {.name = "bfloat16", .precision = SAH_PRECISION_BF16},
                     {.name = "bfloat16, differences", .precision = SAH_PRECISION_BF16, .differences = true},
                     {.name = "float32, differences", .differences = true}}; /* on cards alone */
enum { N_WAYS = sizeof ways / sizeof *ways };
static sah_device_choice device = SAH_DEVICE_CPU;

static sah_status take(void *ctx, size_t target, const sah_head_scores *scores, sah_error *error)
{
    way *w = ctx;
    (void)error;
    memcpy(w->kl[target], scores->kl, sizeof w->kl[target]);
    return SAH_OK;
}

static sah_status measure(way *w, const sah_strings *queries, const sah_target *targets, size_t n,
                          int threads, sah_error *error)
{
    const sah_model_options options = {.precision = w->precision, .threads = threads, .device = device};
    const sah_run_options run = {.ablation = *targets->ablation, .template_ = SAH_SHIPS_TEMPLATE};
    const sah_strings *lists[2] = {queries, NULL};
    const sah_sweep_options sweep = {.what = "heads", .differences = w->differences};
    sah_model *model = NULL;
    sah_probes probes = {0};
    sah_status status = sah_model_open(MODEL, &options, &model, error);
    if (status == SAH_OK)
        status = sah_probes_new(model, lists, &run, SAH_SHIPS_TEMPLATE, NULL, &probes, error);
    const clock_t start = clock();
    if (status == SAH_OK) status = sah_scores(model, &probes, false, targets, n, &sweep, take, w, error);
    const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (!(w->seconds > 0 && w->seconds < seconds)) w->seconds = seconds;
    sah_probes_free(&probes);
    sah_model_close(model);
    return status;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Relative errors where the truth is above `least`. */
static void print_errors(const way *w, double (*truth)[N_QUERIES], size_t n, double least)
{
    static double off[MOST * N_QUERIES];
    size_t count = 0;
    for (size_t h = 0; h < n; h++)
        for (size_t q = 0; q < N_QUERIES; q++)
            if (truth[h][q] > least) off[count++] = fabs(w->kl[h][q] / truth[h][q] - 1);
    qsort(off, count, sizeof *off, ascending);
    printf("  above %g (%zu): median %.1e, 95th percentile %.1e, largest %.1e\n", least, count,
           sah_percentile(off, count, 0.5), sah_percentile(off, count, 0.95), off[count - 1]);
}

static bool is_high(const double *means, size_t n, size_t head)
{
    size_t higher = 0;
    for (size_t i = 0; i < n; i++) higher += means[i] > means[head];
    return higher < 10;
}

static sah_status print_way(const way *w, double (*truth)[N_QUERIES], size_t n, sah_error *error)
{
    double means[MOST] = {0.0}, true_means[MOST] = {0.0}, rho;
    size_t both = 0;
    for (size_t h = 0; h < n; h++)
        for (size_t q = 0; q < N_QUERIES; q++) {
            means[h] += w->kl[h][q];
            true_means[h] += truth[h][q];
        }
    for (size_t h = 0; h < n; h++) both += is_high(means, n, h) && is_high(true_means, n, h);
    sah_status status = sah_spearman(means, true_means, n, &rho, error);
    printf("%s: %.2f s of processor time; Spearman %.6f, %zu of the ten highest\n", w->name, w->seconds, rho,
           both);
    print_errors(w, truth, n, 1e-2);
    print_errors(w, truth, n, 1e-4);
    return status;
}

static sah_status run(int heads, int threads, sah_error *error)
{
    static double truth[MOST][N_QUERIES];
    static const sah_ablation ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f};
    sah_target targets[MOST];
    sah_strings queries = {0};
    json_t *exact = NULL, *reference = NULL;
    size_t n = 0;
    sah_status status = sah_json_read(TRUTH, 1u << 24, &exact, error);
    if (status == SAH_OK) status = sah_json_read(QUERIES, 1u << 24, &reference, error);
    for (size_t q = 0; q < N_QUERIES && status == SAH_OK; q++) {
        const char *text = json_string_value(json_array_get(json_object_get(reference, "queries"), q));
        status = sah_strings_add(&queries, text, strlen(text), error);
    }
    for (int l = 0; l < LAYERS && status == SAH_OK; l++)
        for (int h = 0; h < heads; h++, n++) {
            char name[32];
            snprintf(name, sizeof name, "%d-%d", l, h);
            const json_t *row = json_object_get(json_object_get(exact, "kl"), name);
            for (size_t q = 0; q < N_QUERIES; q++) truth[n][q] = json_number_value(json_array_get(row, q));
            targets[n] = (sah_target){{l, h}, &ablation};
        }
    const int n_ways = device == SAH_DEVICE_CPU ? N_WAYS - 1 : N_WAYS;
    for (int i = 0; i < TIMES * n_ways && status == SAH_OK; i++)
        status = measure(&ways[i % n_ways], &queries, targets, n, threads, error);
    for (int i = 0; i < n_ways && status == SAH_OK; i++) status = print_way(&ways[i], truth, n, error);
    sah_strings_free(&queries);
    json_decref(exact);
    json_decref(reference);
    return status;
}

int main(int argc, char **argv)
{
    const int heads = argc > 1 ? atoi(argv[1]) : 1, threads = argc > 2 ? atoi(argv[2]) : 1;
    sah_error error = {0};
    if (argc > 3 && strcmp(argv[3], "cuda") == 0) device = SAH_DEVICE_CUDA;
    FILE *file = fopen(MODEL, "rb");
    if (file == NULL) {
        printf("precision: not run, %s is not there (scripts/get-smollm2)\n", MODEL);
        return 0;
    }
    fclose(file);
    if (heads < 1 || heads > HEADS || threads < 1) {
        fprintf(stderr, "precision: heads of a layer from 1 to %d, threads from 1\n", HEADS);
        return 2;
    }
    if (run(heads, threads, &error) == SAH_OK) return 0;
    fprintf(stderr, "precision: %s\n", error.message);
    return 1;
}
