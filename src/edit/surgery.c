/* SPDX-License-Identifier: Apache-2.0 */
/* Ablations as changes of weights (docs/method.md, "Surgery"), and adapters merged into them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "edit/provenance.h"
#include "edit/edited_tensor.h"
#include "model/checkpoint/identity.h"
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
    const sah_tensor
        *shared; /* a wanted tensor that holds more than one weight, or keeps it turned; NULL: none */
} surgery;

/* ---- Which tensors ------------------------------------------------------------------------------------- */

static bool takes(const job *j, const sah_edit *edit)
{
    return edit->layer == j->layer && edit->part == j->part && (!j->one_op || edit->op == j->op);
}

static void add_job(surgery *s, const sah_tensor *tensor, job wanted)
{
    if (tensor == NULL) return;
    job *j = &s->jobs[sah_tensor_whole(tensor) - s->checkpoint->tensors->items];
    *j = wanted;
    j->edits = s->edits;
    j->n_edits = s->n_edits;
    j->wanted = wanted.matrix != NULL && wanted.matrix->lora != NULL;
    for (size_t i = 0; i < s->n_edits && !j->wanted; i++) j->wanted = takes(j, &s->edits[i]);
    if (j->wanted && tensor->whole != NULL) s->shared = sah_tensor_whole(tensor);
}

/* q and k: rows and bias. v scaled: columns of o. v's mean: rows and bias of v. The MLP takes adapters only.
 */
static void add_jobs(surgery *s, int layer)
{
    sah_layer_files *f = &s->checkpoint->layers[layer];
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
    const job mlp = {.layer = layer}; /* takes adapters only */
    for (int r = 0; r < SAH_N_ROLES; r++) {
        const sah_role role = (sah_role)r;
        const sah_matrix *matrix = sah_role_matrix(f, role);
        job j = role == SAH_ROLE_Q   ? q
                : role == SAH_ROLE_K ? k
                : role == SAH_ROLE_V ? v
                : role == SAH_ROLE_O ? o
                                     : mlp;
        if (role <= SAH_ROLE_V) add_job(s, *sah_role_bias(f, role), j);
        j.matrix = matrix;
        add_job(s, matrix->tensor, j);
    }
}

/* ---- Their values -------------------------------------------------------------------------------------- */

/* A head's weights inside [rows, columns]. */
static sah_block head_block(const job *j, const sah_tensor *tensor, int head)
{
    const size_t rows = tensor->dims[0], columns = tensor->n_dims > 1 ? tensor->dims[1] : 1;
    const size_t n_heads = (size_t)j->n_heads, h = (size_t)head;
    if (j->columns) return (sah_block){h * (columns / n_heads), rows, columns / n_heads, columns};
    const size_t size = rows / n_heads * columns;
    return (sah_block){h * size, 1, size, size};
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
        const sah_block b = head_block(j, tensor, edit->head);
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
    sah_values_read(tensor, j->matrix, out);
    return j->part != 0 ? apply(j, tensor, out, error) : SAH_OK;
}

/* ---- Their types --------------------------------------------------------------------------------------- */

/* That of the whole tensor, and where it has 16 bits each edited head must fit as well. */
static sah_dtype job_type(const void *context, size_t index, const float *values)
{
    const surgery *s = context;
    const job *j = &s->jobs[index];
    const sah_tensor *tensor = &s->checkpoint->tensors->items[index];
    const sah_dtype type = sah_values_type(tensor, j->matrix, values);
    if (type != tensor->type || type == SAH_F32) return type;
    for (size_t i = 0; i < j->n_edits; i++) {
        if (takes(j, &j->edits[i]) && !sah_values_fit(type, values, head_block(j, tensor, j->edits[i].head)))
            return SAH_F32;
    }
    return type;
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
        return sah_fail(error, SAH_BAD_ARGUMENT, "the scale must be a finite number");
    if (q_or_k && config->qk_norm && mean) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "the mean of q or k: %s normalises each head's q and k, so no weights give it",
                        config->family);
    }
    if (q_or_k && config->qk_norm && ablation->factor != 0.0F) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "a scale of q or k: %s normalises each head's q and k, which undoes the factor; only "
                        "the scale 0 is exact",
                        config->family);
    }
    if (!mean || !(ablation->parts & SAH_PART_V)) return SAH_OK;
    if (config->n_kv_heads != config->n_heads) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "the mean of v: %d query heads share %d value heads (grouped-query attention), so no "
                        "weights give the mean of one head's output; a scale is exact",
                        config->n_heads, config->n_kv_heads);
    }
    return notes != NULL ? sah_strings_add(notes, NOTE, strlen(NOTE), error) : SAH_OK;
}

/* ---- All of it ----------------------------------------------------------------------------------------- */

static json_t *settings_of(const sah_surgery_options *options, const sah_head *heads, size_t n)
{
    const sah_ablation *ablation = &options->ablation;
    const bool scale = ablation->op == SAH_OP_SCALE;
    char parts[8];
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(list, json_sprintf("%d-%d", heads[i].layer, heads[i].head)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    json_t *settings =
        json_pack("{s:o, s:s?}", "heads", list, "adapter", sah_provenance_name(options->adapter));
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
    sah_rewrite rewrite = {.values = job_values,
                           .type = job_type,
                           .context = &s,
                           .progress = options->progress,
                           .user = options->user};
    sah_status status = sah_checkpoint_open(path, options->adapter, out == NULL, &checkpoint, error);
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
    if (s.shared != NULL) {
        status = sah_fail(
            error, SAH_BAD_ARGUMENT,
            "%s: tensor %s of a %s model holds several weights, or keeps them turned: editing it is not "
            "supported",
            path, s.shared->name, checkpoint->family->title);
        goto done;
    }
    for (size_t i = 0; i < checkpoint->tensors->n; i++) rewrite.changes[i].changed = s.jobs[i].wanted;
    status = sah_rewrite_plan(&rewrite, error);
    if (status == SAH_OK && notes != NULL)
        status = sah_provenance_notes(&rewrite, n > 0 ? "the edit" : "the adapter", notes, error);
    if (status != SAH_OK || out == NULL) goto done;
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
