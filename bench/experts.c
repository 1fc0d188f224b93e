/* SPDX-License-Identifier: Apache-2.0 */
/* How fast a layer of experts runs on one thread, as a share of what its products alone can do at their best
 * number of rows. Weights and rows are random. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/cpu/cpu.h"
#include "engine/mlp.h"
#include "engine/precision.h"
#include "util/splitmix.h"

typedef struct shape {
    int n, active, d, width;
    int64_t rows;
} shape;

/* Many experts and few, wide and narrow, tall batches and one of a few rows for each expert. */
static const shape SHAPES[] = {
    {8, 2, 1024, 1536, 2048},  {16, 2, 1024, 768, 2048},  {64, 8, 1024, 512, 2048},
    {128, 8, 1024, 384, 2048}, {128, 8, 1024, 384, 1024}, {128, 8, 1024, 384, 64},
};
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES, TIMES = 5 };

static void fill(uint64_t seed, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) out[i] = (float)(sah_splitmix(&seed) >> 40) * 0x1p-24f - 0.5f;
}

static void read_rows(const void *inputs, size_t row, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) fill(row + i, *(const size_t *)inputs, out + i * *(const size_t *)inputs);
}

static sah_status make(int64_t outputs, int64_t inputs, sah_weights **out, sah_error *error)
{
    size_t n = (size_t)inputs;
    return sah_weights_new(sah_cpu(), outputs, inputs, (sah_packing){.precision = SAH_PRECISION_F32},
                           read_rows, &n, out, error);
}

static sah_status measure(const shape *s, sah_error *error)
{
    sah_layer layer = {.kind.experts = true, .experts.n = s->n};
    sah_model model = {.config = sah_config_neutral(), .layers = &layer, .threads = 1};
    sah_pass pass = {.model = &model};
    sah_expert_layer *e = &layer.experts;
    double best = 1e9, first = 0, second = 0;
    float *x = calloc((size_t)s->rows * (size_t)s->d, sizeof *x);
    e->experts = calloc((size_t)s->n, sizeof *e->experts);
    model.config.d_model = s->d;
    model.config.experts = (sah_experts){.n = s->n, .active = s->active, .width = s->width, .scale = 1};
    sah_status status = sah_workspace_new(sah_cpu(), 1, &pass.workspace, error);
    if (status == SAH_OK) status = make(s->n, s->d, &e->router, error);
    for (int i = 0; i < s->n && status == SAH_OK; i++) {
        e->experts[i] = (sah_mlp_slice){.from = (int64_t)i * s->width, .n = s->width};
        status = make(2 * (int64_t)s->width, s->d, &e->experts[i].gate_up, error);
        if (status == SAH_OK) status = make(s->d, s->width, &e->experts[i].down, error);
    }
    for (int i = 0; i <= TIMES && status == SAH_OK; i++) { /* the first makes primitives */
        fill(1, (size_t)s->rows * (size_t)s->d, x);
        double start = omp_get_wtime();
        status = sah_mlp(&pass, 0, s->rows, x, error);
        double seconds = omp_get_wtime() - start;
        if (i > 0 && seconds < best) best = seconds;
    }
    if (status == SAH_OK)
        status = sah_product_rate(sah_cpu(), 2 * (int64_t)s->width, s->d, 256, SAH_PRECISION_F32, 1, 0.2,
                                  &first, error);
    if (status == SAH_OK)
        status = sah_product_rate(sah_cpu(), s->d, s->width, 256, SAH_PRECISION_F32, 1, 0.2, &second, error);
    double each = 2.0 * (double)s->rows * s->d, inner = (double)s->active * s->width;
    double rate = each * (3 * inner + s->n) / best, peak = 3 / (2 / first + 1 / second);
    if (status == SAH_OK)
        printf("%3d of %3d experts %4d wide, d %d, %4lld rows: %6.1f GFLOP/s, %.2f of %.1f\n", s->active,
               s->n, s->width, s->d, (long long)s->rows, rate / 1e9, rate / peak, peak / 1e9);
    for (int i = 0; i < s->n; i++) {
        sah_weights_free(e->experts[i].gate_up);
        sah_weights_free(e->experts[i].down);
    }
    sah_weights_free(e->router);
    sah_workspace_free(pass.workspace);
    free(e->experts);
    free(x);
    return status;
}

int main(void)
{
    sah_error error = {0};
    omp_set_num_threads(1);
    for (int i = 0; i < N_SHAPES; i++)
        if (measure(&SHAPES[i], &error) != SAH_OK) {
            fprintf(stderr, "experts: %s\n", error.message);
            return 1;
        }
    return 0;
}
