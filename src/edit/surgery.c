/* Ablations as changes of weights (docs/method.md, "Surgery"), and adapters merged into them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "edit/provenance.h"
#include "model/record.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

/* A weight or bias of one layer that surgery may touch. */
typedef struct job {
    const sah_matrix *matrix; /* NULL: a bias, or no job */
    const sah_edit *edits; /* the first of the surgery's edits */
    size_t n_edits;
    int layer;
    unsigned part; /* whose edits it takes; 0: none of them, an adapter only */
    sah_op op; /* and of which operation, where `one_op` */
    bool one_op;
    int n_heads; /* its rows (`columns`: its columns) are so many heads' */
    bool columns;
    bool wanted; /* an edit or an adapter changes it */
} job;

typedef struct surgery {
    const sah_checkpoint *checkpoint;
    job *jobs; /* [tensors->n] */
    sah_edit *edits;
    size_t n_edits;
} surgery;

/* ---- Which tensors ------------------------------------------------------------------------------------- */

static bool takes(const job *j, const sah_edit *edit)
{
    return edit->layer == j->layer && edit->part == j->part && (!j->one_op || edit->op == j->op);
}

static void add_job(surgery *s, const sah_tensor *tensor, job wanted)
{
    if (tensor == NULL) return;
    job *j = &s->jobs[tensor - s->checkpoint->tensors->items];
    *j = wanted;
    j->edits = s->edits;
    j->n_edits = s->n_edits;
    j->wanted = wanted.matrix != NULL && wanted.matrix->lora != NULL;
    for (size_t i = 0; i < s->n_edits && !j->wanted; i++) j->wanted = takes(j, &s->edits[i]);
}

/* q and k: rows and bias. v scaled: columns of o. v's mean: rows and bias of v. The MLP takes adapters only.
 */
static void add_jobs(surgery *s, int layer)
{
    const sah_layer_files *f = &s->checkpoint->layers[layer];
    const int heads = s->checkpoint->config.n_heads, key_heads = s->checkpoint->config.n_kv_heads;
    const job q = {.layer = layer, .part = SAH_PART_Q, .n_heads = heads};
    const job k = {.layer = layer, .part = SAH_PART_K, .n_heads = key_heads};
    const job v = {
        .layer = layer, .part = SAH_PART_V, .op = SAH_OP_MEAN, .one_op = true, .n_heads = key_heads};
    const job o = {.layer = layer,
                   .part = SAH_PART_V,
                   .op = SAH_OP_SCALE,
                   .one_op = true,
                   .n_heads = heads,
                   .columns = true};
    const job mlp = {.layer = layer};
    const struct {
        const sah_matrix *matrix;
        const sah_tensor *bias;
        job job;
    } all[] = {{&f->q, f->q_bias, q}, {&f->k, f->k_bias, k}, {&f->v, f->v_bias, v}, {&f->o, NULL, o},
               {&f->gate, NULL, mlp}, {&f->up, NULL, mlp},   {&f->down, NULL, mlp}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        job j = all[i].job;
        add_job(s, all[i].bias, j);
        j.matrix = all[i].matrix;
        add_job(s, all[i].matrix->tensor, j);
    }
}

/* ---- Their values -------------------------------------------------------------------------------------- */

/* The tensor [rows, columns] in the file's order of rows, adapter merged. A head's rows stay together in
 * either order. */
static void read_values(const sah_tensor *tensor, const sah_matrix *matrix, float *out)
{
    if (matrix == NULL) {
        sah_vector_read(tensor, 0, out);
        return;
    }
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < matrix->rows; row++)
        sah_matrix_read(matrix, row, 1, out + sah_matrix_file_row(matrix, row) * matrix->columns);
}

/* A head's weights inside [rows, columns]: `n` runs of `length` values, `stride` apart. */
typedef struct block {
    size_t first, n, length, stride;
} block;

static block head_block(const job *j, const sah_tensor *tensor, int head)
{
    const size_t rows = tensor->dims[0], columns = tensor->n_dims > 1 ? tensor->dims[1] : 1;
    const size_t n_heads = (size_t)j->n_heads, h = (size_t)head;
    if (j->columns) return (block){h * (columns / n_heads), rows, columns / n_heads, columns};
    const size_t size = rows / n_heads * columns;
    return (block){h * size, 1, size, size};
}

/* The mean over the heads of weights whose heads are rows: mean[rows / n_heads * columns]. */
static void mean_of_heads(const float *values, size_t size, int n_heads, float *mean)
{
    for (size_t i = 0; i < size; i++) {
        double sum = 0;
        for (int h = 0; h < n_heads; h++) sum += (double)values[(size_t)h * size + i];
        mean[i] = (float)(sum / n_heads);
    }
}

/* The edits, on values[] that no edit has touched yet: the mean is that of the unedited heads. */
static sah_status apply(const job *j, const sah_tensor *tensor, float *values, sah_error *error)
{
    float *mean = NULL;
    for (size_t i = 0; i < j->n_edits; i++) {
        const sah_edit *edit = &j->edits[i];
        const block b = head_block(j, tensor, edit->head);
        if (!takes(j, edit)) continue;
        if (edit->op == SAH_OP_MEAN && mean == NULL) {
            mean = sah_alloc_aligned(b.length, sizeof *mean);
            if (mean == NULL) return sah_fail_memory(error, tensor->name);
            mean_of_heads(values, b.length, j->n_heads, mean);
        }
        if (edit->op == SAH_OP_MEAN) {
            memcpy(values + b.first, mean, b.length * sizeof *mean);
            continue;
        }
        for (size_t r = 0; r < b.n; r++)
            for (size_t c = 0; c < b.length; c++) values[b.first + r * b.stride + c] *= edit->factor;
    }
    free(mean);
    return SAH_OK;
}

static sah_status job_values(const void *context, size_t index, float *out, sah_error *error)
{
    const surgery *s = context;
    const job *j = &s->jobs[index];
    const sah_tensor *tensor = &s->checkpoint->tensors->items[index];
    read_values(tensor, j->matrix, out);
    return j->part != 0 ? apply(j, tensor, out, error) : SAH_OK;
}

/* ---- Their types --------------------------------------------------------------------------------------- */

/* True when a 16-bit type holds the block as well as it holds numbers in its normal range: the largest error
 * of rounding is no more than half a unit in the last place of the block's largest number. Numbers that
 * overflow or that sink below float16's range (1e-4 times most weights does) fail it. */
static bool holds(sah_dtype type, const float *values, block b)
{
    const double roundoff = type == SAH_F16 ? 0x1p-11 : 0x1p-8;
    double largest = 0, worst = 0;
    for (size_t r = 0; r < b.n; r++) {
        for (size_t c = 0; c < b.length; c++) {
            const float value = values[b.first + r * b.stride + c];
            const float kept = type == SAH_F16 ? sah_f16_to_f32(sah_f32_to_f16(value))
                                               : sah_bf16_to_f32(sah_f32_to_bf16(value));
            largest = fmax(largest, fabs((double)value));
            worst = fmax(worst, fabs((double)kept - (double)value));
        }
    }
    return worst <= roundoff * largest;
}

static bool is_exact(const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float kept = sah_f16_to_f32(sah_f32_to_f16(values[i]));
        if (memcmp(&kept, &values[i], sizeof kept) != 0) return false;
    }
    return true;
}

/* The file's own type where it holds what was changed, else float32. What was quantised becomes float16 where
 * that is exact. */
static sah_dtype choose_type(const job *j, const sah_tensor *tensor, const float *values)
{
    const size_t n = sah_tensor_values(tensor);
    if (tensor->type == SAH_F32) return SAH_F32;
    if (tensor->type != SAH_F16 && tensor->type != SAH_BF16)
        return j->matrix != NULL && is_exact(values, n) ? SAH_F16 : SAH_F32;
    if (j->matrix != NULL && j->matrix->lora != NULL && !holds(tensor->type, values, (block){0, 1, n, n}))
        return SAH_F32;
    for (size_t i = 0; i < j->n_edits; i++) {
        if (takes(j, &j->edits[i]) && !holds(tensor->type, values, head_block(j, tensor, j->edits[i].head)))
            return SAH_F32;
    }
    return tensor->type;
}

static sah_status plan_tensor(const surgery *s, size_t index, sah_change *change, sah_error *error)
{
    const sah_tensor *tensor = &s->checkpoint->tensors->items[index];
    const size_t n = sah_tensor_values(tensor);
    size_t bytes;
    float *values = sah_alloc_aligned(n, sizeof *values);
    if (values == NULL) return sah_fail_memory(error, tensor->name);
    sah_status status = job_values(s, index, values, error);
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        if (!isfinite(values[i]))
            status =
                sah_fail(error, SAH_FAILED, "tensor %s would hold a number that is not finite", tensor->name);
    }
    if (status == SAH_OK) {
        *change = (sah_change){.changed = true, .type = choose_type(&s->jobs[index], tensor, values)};
        if (!sah_dtype_bytes(change->type, n, &bytes))
            status = sah_fail(error, SAH_FAILED, "tensor %s is too large", tensor->name);
    }
    free(values);
    return status;
}

static sah_status plan(const surgery *s, sah_rewrite *rewrite, sah_error *error)
{
    const size_t n = s->checkpoint->tensors->n;
    sah_status status = SAH_OK;
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        if (s->jobs[i].wanted) status = plan_tensor(s, i, &rewrite->changes[i], error);
        if (status == SAH_OK && rewrite->progress != NULL &&
            !rewrite->progress(rewrite->user, "bytes", 0, s->checkpoint->info.file_bytes))
            status = sah_fail(error, SAH_INTERRUPTED, "interrupted: nothing was written");
    }
    return status;
}

/* ---- What cannot be exact ------------------------------------------------------------------------------ */

static sah_status check(const sah_config *config, const sah_ablation *ablation, sah_strings *notes,
                        sah_error *error)
{
    static const char NOTE[] =
        "v mean is an approximation: the mean of the value weights stands for the mean of the heads' outputs";
    const bool mean = ablation->op == SAH_OP_MEAN;
    const bool q_or_k = (ablation->parts & (SAH_PART_Q | SAH_PART_K)) != 0;
    if (!mean && !isfinite(ablation->factor))
        return sah_fail(error, SAH_BAD_ARGUMENT, "--scale must be a finite number");
    if (q_or_k && config->qk_norm && mean) {
        return sah_fail(
            error, SAH_BAD_ARGUMENT,
            "--op mean of q or k: %s normalises each head's q and k, so no weights give their mean",
            config->family);
    }
    if (q_or_k && config->qk_norm && ablation->factor != 0.0F) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "--scale of q or k: %s normalises each head's q and k, which undoes the factor; only "
                        "--scale 0 is exact",
                        config->family);
    }
    if (!mean || !(ablation->parts & SAH_PART_V)) return SAH_OK;
    if (config->n_kv_heads != config->n_heads) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "--op mean of v: %d query heads share %d value heads (grouped-query attention), so "
                        "no weights give the "
                        "mean of one head's output; --op scale is exact",
                        config->n_heads, config->n_kv_heads);
    }
    return notes != NULL ? sah_strings_add(notes, NOTE, strlen(NOTE), error) : SAH_OK;
}

/* ---- All of it ----------------------------------------------------------------------------------------- */

static json_t *settings_of(const sah_surgery_options *options, const sah_head *heads, size_t n)
{
    const sah_ablation *ablation = &options->ablation;
    const bool scale = ablation->op == SAH_OP_SCALE;
    const char *slash = options->adapter != NULL ? strrchr(options->adapter, '/') : NULL;
    char parts[8];
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(list, json_sprintf("%d-%d", heads[i].layer, heads[i].head)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    json_t *settings = json_pack("{s:o, s:s?}", "heads", list, "adapter",
                                 slash != NULL && slash[1] != '\0' ? slash + 1 : options->adapter);
    if (settings == NULL || n == 0) return settings;
    sah_parts_name(ablation->parts, parts);
    json_t *how = json_pack("{s:s, s:s, s:o, s:b}", "part", parts, "op", scale ? "scale" : "mean", "scale",
                            scale ? sah_json_float(ablation->factor) : json_null(), "approximate",
                            !scale && (ablation->parts & SAH_PART_V) != 0);
    bool good = how != NULL && json_object_update(settings, how) == 0;
    json_decref(how);
    if (good) return settings;
    json_decref(settings);
    return NULL;
}

sah_status sah_surgery(const char *path, const sah_surgery_options *options, const char *out,
                       sah_strings *notes, sah_error *error)
{
    sah_checkpoint *checkpoint = NULL;
    surgery s = {0};
    sah_head *heads = NULL;
    size_t n = 0;
    char *provenance = NULL;
    const char *inputs[] = {path, options->adapter};
    sah_rewrite rewrite = {
        .values = job_values, .context = &s, .progress = options->progress, .user = options->user};
    sah_status status = sah_checkpoint_open(path, options->adapter, false, &checkpoint, error);
    if (status != SAH_OK) return status;
    const char *text = options->heads != NULL ? options->heads : "";
    status = sah_heads_parse(text, &checkpoint->info, options->ablation.parts, &heads, &n, error);
    if (status == SAH_OK && n == 0 && options->adapter == NULL)
        status = sah_fail(error, SAH_BAD_ARGUMENT, "neither heads to ablate nor an adapter to merge");
    if (status == SAH_OK && n > 0) status = check(&checkpoint->config, &options->ablation, notes, error);
    if (status == SAH_OK)
        status = sah_edits_new(&checkpoint->info, heads, n, &options->ablation, &s.edits, &s.n_edits, error);
    if (status != SAH_OK) goto done;
    s.checkpoint = rewrite.base = checkpoint;
    s.jobs = sah_alloc(checkpoint->tensors->n, sizeof *s.jobs);
    rewrite.changes = sah_alloc(checkpoint->tensors->n, sizeof *rewrite.changes);
    if (s.jobs == NULL || rewrite.changes == NULL) {
        status = sah_fail_memory(error, "the surgery");
        goto done;
    }
    for (int l = 0; l < checkpoint->config.n_layers; l++) add_jobs(&s, l);
    status = plan(&s, &rewrite, error);
    if (status == SAH_OK && notes != NULL)
        status = sah_provenance_notes(&rewrite, n > 0 ? "the edit" : "the adapter", notes, error);
    if (status == SAH_OK)
        status = sah_provenance_text("ablate", &rewrite, settings_of(options, heads, n), &provenance, error);
    rewrite.provenance = provenance;
    if (status == SAH_OK)
        status = sah_rewrite_run(&rewrite, out, inputs, options->adapter != NULL ? 2 : 1, error);
done:
    free(provenance);
    free(rewrite.changes);
    free(s.jobs);
    free(s.edits);
    free(heads);
    sah_checkpoint_close(checkpoint);
    return status;
}
