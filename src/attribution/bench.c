/* SPDX-License-Identifier: Apache-2.0 */
/* How fast Ships runs on this machine, against the matrix product alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/prompts.h"
#include "attribution/ships.h"
#include "engine/precision.h"
#include "util/alloc.h"
#include "util/json.h"
#include "util/error.h"
#include "util/strings.h"
#include "program.h"

/* Heads of every layer that are ablated when no range is given: enough that the base pass, which all share,
 * hardly counts, and few enough for seconds. */
enum { HEADS_OF_LAYER = 2 };

static const char *const built_in[] = {
    "How do I bake bread without an oven?",
    "How do I teach an old dog to sit?",
    "How can I tell whether a mushroom is ripe?",
    "What should I pack for a week in the mountains?",
    "What makes the sky red in the evening?",
    "Explain to a child why ships float.",
    "Write a short letter to a landlord about a broken window.",
    "Write a poem about the first snow of the year.",
    "Which tools do I need to repair a bicycle?",
    "Give me three ideas for a rainy afternoon with children.",
    "How many litres of paint does a room of twenty square metres take?",
    "Tell me how bees find their way home.",
};
enum { N_BUILT_IN = sizeof built_in / sizeof *built_in };

const char *sah_stage_name(sah_stage stage)
{
    static const char *const names[SAH_N_STAGES] = {
        [SAH_STAGE_OTHER] = "other",         [SAH_STAGE_PRODUCT] = "products",
        [SAH_STAGE_ATTENTION] = "attention", [SAH_STAGE_ELEMENTWISE] = "element-wise",
        [SAH_STAGE_LM_HEAD] = "LM head",     [SAH_STAGE_SCORE] = "score",
        [SAH_STAGE_WAIT] = "waiting",
    };
    return (int)stage >= 0 && (int)stage < SAH_N_STAGES ? names[stage] : "";
}

/* ---- The product alone --------------------------------------------------------------------------------- */

/* How long a shape is measured, in seconds, to find its best number of rows and then at that number: a
 * processor's clock wanders within tens of milliseconds. */
static const double GLANCE = 0.01, LOOK = 0.1;

/* The rate of one shape at the best of the numbers of rows that a sweep's blocks may have, of which *rows
 * gets it (0: find it). */
static sah_status best_rate(const sah_model *model, int64_t outputs, int64_t inputs, sah_precision precision,
                            int64_t *rows, double *rate, sah_error *error)
{
    static const int64_t several[] = {128, 256, 512};
    sah_status status = SAH_OK;
    double best = 0.0;
    for (size_t i = 0; *rows == 0 && i < sizeof several / sizeof *several && status == SAH_OK; i++) {
        double here;
        status = sah_product_rate(model->device, outputs, inputs, several[i], precision, model->threads,
                                  GLANCE, &here, error);
        if (status != SAH_OK || here <= best) continue;
        best = here;
        *rows = several[i];
    }
    if (status != SAH_OK) return status;
    return sah_product_rate(model->device, outputs, inputs, *rows, precision, model->threads, LOOK, rate,
                            error);
}

/* What a model's products can do: the rate at which they alone would do the operations of a sweep, each
 * layer's matrix by its own rate. Attention counts as the shape that runs best, slices of the output
 * projection as the whole. */
enum { SHAPES = 5 };

/* Of the LM head that is measured: more are no faster, and would count in the memory that is reported. */
enum { MOST_OUTPUTS = 8192 };

typedef struct peak {
    sah_precision precision;
    int64_t rows[SHAPES]; /* best ones; 0: not yet known */
    double rate[SHAPES]; /* mean of `looks` */
    int looks;
} peak;

static sah_status look(const sah_model *model, peak *p, sah_error *error)
{
    const sah_config *c = &model->config;
    int64_t d = c->d_model, D = c->head_dim, inner = c->experts.n > 0 ? c->experts.width : c->d_ff;
    const int64_t shapes[SHAPES][2] = {
        {(c->n_heads + 2 * c->n_kv_heads) * D, d},
        {d, c->n_heads * D},
        {(c->gated ? 2 : 1) * inner, d},
        {d, inner},
        {c->n_vocab, d},
    };
    for (int i = 0; i < SHAPES; i++) {
        double rate;
        sah_status status =
            best_rate(model, shapes[i][0], shapes[i][1], p->precision, &p->rows[i], &rate, error);
        if (status != SAH_OK) return status;
        p->rate[i] = (p->rate[i] * p->looks + rate) / (p->looks + 1);
    }
    p->looks++;
    return SAH_OK;
}

static double peak_of(const peak *p, const sah_operations *o)
{
    const double operations[SHAPES] = {o->qkv, o->output, o->gate_up, o->down, o->lm_head};
    double seconds = 0.0, best = 0.0;
    for (int i = 0; i < SHAPES; i++) {
        seconds += operations[i] / p->rate[i];
        if (p->rate[i] > best) best = p->rate[i];
    }
    return sah_operations_total(o) / (seconds + o->attention / best);
}

/* The most memory this process held, in bytes, as Linux counts it since the program started (getrusage()
 * would add what the calling program held before); 0 where it does not tell. */
static uint64_t peak_memory(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    unsigned long long kilobytes = 0;
    char line[256];
    while (file != NULL && fgets(line, sizeof line, file) != NULL &&
           sscanf(line, "VmHWM: %llu kB", &kilobytes) != 1)
        continue;
    if (file != NULL) fclose(file);
    return (uint64_t)kilobytes * 1024;
}

/* ---- The run ------------------------------------------------------------------------------------------- */

static sah_status built_in_queries(sah_strings *out, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; i < N_BUILT_IN && status == SAH_OK; i++)
        status = sah_strings_add(out, built_in[i], strlen(built_in[i]), error);
    return status;
}

/* Adds what Ships of the run's heads needs; *n gets their number. */
static sah_status count(const sah_model *model, const sah_run_options *options, const sah_forest_size *size,
                        sah_operations *sum, size_t *n, sah_error *error)
{
    sah_head *heads = NULL;
    sah_status status = sah_run_heads(model, options, &heads, n, error);
    if (status != SAH_OK) return status;
    sah_operations_of_base(&model->config, size, sum);
    sah_operations_of_logits(&model->config, size, sum);
    for (size_t i = 0; i < *n; i++) {
        sah_candidate candidate = sah_candidate_of(&model->config, heads[i], &options->ablation);
        sah_operations_of_candidate(&model->config, size, &candidate, sum);
        sah_operations_of_logits(&model->config, size, sum);
    }
    free(heads);
    return SAH_OK;
}

static void fill_times(const sah_sweep_report *report, sah_bench_result *out)
{
    out->threads = report->threads;
    out->seconds = report->seconds;
    out->tokens = report->forest.tokens;
    out->nodes = report->forest.nodes;
    out->row_bytes = report->rows_bytes;
    for (int i = 0; i < SAH_N_STAGES; i++) {
        out->stage_seconds[i] = report->books.seconds[i] / report->threads;
        out->done += report->books.operations[i];
    }
}

sah_status sah_bench(const sah_model *model, const sah_strings *queries, const sah_run_options *options,
                     sah_bench_result *out, sah_error *error)
{
    sah_strings own = {0};
    sah_run_options some = sah_run_resolve(options), all = some;
    sah_sweep_report report = {0};
    sah_operations operations = {0}, all_operations = {0};
    /* Of the precision in use before the sweep and behind it, of the other one behind it. */
    peak peaks[] = {{.precision = SAH_PRECISION_F32}, {.precision = SAH_PRECISION_BF16}};
    peak *mine = &peaks[model->precision == SAH_PRECISION_BF16 ? 1 : 0];
    int n_peaks = sah_precision_has_bf16(model->device) ? 2 : 1;
    sah_status status = SAH_OK;
    memset(out, 0, sizeof *out);
    all.layer_from = all.layer_to = all.head_from = all.head_to = 0;
    if (some.layer_to == 0 && some.head_to == 0) {
        int heads = sah_run_heads_of_layer(&model->info, &some.ablation);
        some.head_to = heads < HEADS_OF_LAYER ? heads : HEADS_OF_LAYER;
    }
    if (queries == NULL) status = built_in_queries(&own, error);
    if (queries == NULL) queries = &own;
    if (status == SAH_OK) status = look(model, mine, error);
    if (status == SAH_OK) status = sah_ships_reported(model, queries, NULL, &some, NULL, &report, error);
    if (status == SAH_OK) {
        fill_times(&report, out);
        out->peak_memory = peak_memory();
        out->weight_bytes = sah_model_weight_bytes(model);
        out->n_queries = queries->n;
        snprintf(out->model, sizeof out->model, "%s", model->info.name);
        snprintf(out->precision, sizeof out->precision, "%s", model->info.precision);
        snprintf(out->device, sizeof out->device, "%s", model->info.device);
        status = count(model, &some, &report.forest, &operations, &out->n_heads, error);
    }
    if (status == SAH_OK)
        status = count(model, &all, &report.forest, &all_operations, &out->n_all_heads, error);
    for (int i = 0; i < n_peaks && status == SAH_OK; i++) status = look(model, &peaks[i], error);
    if (status == SAH_OK) {
        out->peak_f32 = peak_of(&peaks[0], &operations);
        if (n_peaks > 1) out->peak_bf16 = peak_of(&peaks[1], &operations);
        double most = model->precision == SAH_PRECISION_BF16 ? out->peak_bf16 : out->peak_f32;
        out->useful = sah_operations_total(&operations);
        out->rate = out->useful / out->seconds;
        out->all_seconds = sah_operations_total(&all_operations) / out->rate;
        out->share = out->rate / most;
    }
    sah_strings_free(&own);
    return status;
}

/* ---- As text ------------------------------------------------------------------------------------------- */

/* Stages from the one that should take all the time to those that should take none. */
static const sah_stage order[SAH_N_STAGES] = {SAH_STAGE_PRODUCT,     SAH_STAGE_LM_HEAD, SAH_STAGE_ATTENTION,
                                              SAH_STAGE_ELEMENTWISE, SAH_STAGE_SCORE,   SAH_STAGE_OTHER,
                                              SAH_STAGE_WAIT};

static void write_text(const sah_bench_result *r, sah_text *text)
{
    sah_text_addf(text, "model          %s, %s, %d threads\n", r->model, r->precision, r->threads);
    if (strcmp(r->device, "cpu") != 0) sah_text_addf(text, "device         %s\n", r->device);
    sah_text_addf(text, "queries        %zu: %.0f tokens, %.0f with shared prefixes once (%.0f %%)\n",
                  r->n_queries, r->tokens, r->nodes, 100.0 * r->nodes / r->tokens);
    sah_text_addf(text, "heads          %zu of %zu\n", r->n_heads, r->n_all_heads);
    sah_text_addf(text, "sweep          %.2f s; all heads at this rate: %.0f s\n", r->seconds,
                  r->all_seconds);
    for (int i = 0; i < SAH_N_STAGES; i++) {
        double seconds = r->stage_seconds[order[i]];
        sah_text_addf(text, "  %-12s %8.2f s  %5.1f %%\n", sah_stage_name(order[i]), seconds,
                      100.0 * seconds / r->seconds);
    }
    sah_text_addf(text, "useful work    %.1f GFLOP, %.1f GFLOP/s\n", r->useful / 1e9, r->rate / 1e9);
    sah_text_addf(text, "product peak   %.1f GFLOP/s in f32", r->peak_f32 / 1e9);
    if (r->peak_bf16 > 0) sah_text_addf(text, ", %.1f in bf16", r->peak_bf16 / 1e9);
    sah_text_addf(text, "\nuseful / peak  %.3f\n", r->share);
    sah_text_addf(text, "memory         %.0f MB at most: weights %.0f MB, rows %.0f MB\n",
                  (double)r->peak_memory / 1e6, (double)r->weight_bytes / 1e6, (double)r->row_bytes / 1e6);
}

static json_t *as_object(const sah_bench_result *r)
{
    json_t *stages = json_object();
    for (int i = 0; stages != NULL && i < SAH_N_STAGES; i++) {
        if (json_object_set_new(stages, sah_stage_name(order[i]), json_real(r->stage_seconds[order[i]])) == 0)
            continue;
        json_decref(stages);
        stages = NULL;
    }
    if (stages == NULL) return NULL;
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:o, s:f, s:f, s:f, s:f, "
        "s:f, s:f, s:I, s:I, s:I}",
        "sahara", "bench", "version", SAH_VERSION, "model", r->model, "precision", r->precision, "device",
        r->device, "threads", r->threads, "queries", (json_int_t)r->n_queries, "heads",
        (json_int_t)r->n_heads, "all_heads", (json_int_t)r->n_all_heads, "tokens", r->tokens, "nodes",
        r->nodes, "seconds", r->seconds, "all_seconds", r->all_seconds, "stages", stages, "useful", r->useful,
        "done", r->done, "rate", r->rate, "peak_f32", r->peak_f32, "peak_bf16", r->peak_bf16, "share",
        r->share, "peak_memory", (json_int_t)r->peak_memory, "weight_bytes", (json_int_t)r->weight_bytes,
        "row_bytes", (json_int_t)r->row_bytes);
}

static void write_json(const sah_bench_result *r, sah_text *text)
{
    json_t *object = as_object(r);
    char *line = object != NULL ? sah_json_text(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (line != NULL)
        sah_text_addf(text, "%s\n", line);
    else
        text->failed = true;
    free(line);
    json_decref(object);
}

sah_status sah_bench_text(const sah_bench_result *result, bool json, char **text, sah_error *error)
{
    sah_text out = {0};
    if (json)
        write_json(result, &out);
    else
        write_text(result, &out);
    if (out.failed) {
        free(out.data);
        return sah_fail_memory(error, "the measurement");
    }
    *text = out.data;
    return SAH_OK;
}
