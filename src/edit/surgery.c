/* SPDX-License-Identifier: Apache-2.0 */
/* Ablations as changes of weights (docs/method.md, "Surgery"), and adapters merged into them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "edit/provenance.h"
#include "edit/edited_tensor.h"
#include "model/checkpoint/heads.h"
#include "model/checkpoint/identity.h"
#include "model/checkpoint/layout.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

/* A weight of one layer that surgery may touch, in a tensor that may hold others too; or its bias, or the weights of
 * a norm over all heads. */
typedef struct job {
    const sah_matrix *matrix; /* where the values lie; NULL: a vector that has them in order */
    bool single; /* a value a row: the matrix's bias, or the vector */
    int layer;
    unsigned part; /* whose edits it takes; 0: none of them, an adapter only */
    sah_op op; /* and of which operation, where `one_op` */
    bool one_op;
    int n_heads; /* its rows (`columns`: its columns) are so many heads' */
    size_t width; /* of one */
    bool columns;
    size_t next; /* of the same tensor: its number + 1, or 0 */
} job;

/* What is to become of a tensor. */
typedef struct target {
    size_t first; /* the number of its first job + 1, or 0 */
    sah_sharing matrices;
    bool wanted; /* an edit or an adapter changes it */
} target;

typedef struct surgery {
    const sah_checkpoint *checkpoint;
    target *targets; /* [tensors->n] */
    job *jobs;
    size_t n_jobs, job_capacity;
    sah_edit *edits;
    size_t n_edits;
} surgery;

/* ---- Which tensors ------------------------------------------------------------------------------------- */

static bool takes(const job *j, const sah_edit *edit)
{
    return edit->layer == j->layer && edit->part == j->part && (!j->one_op || edit->op == j->op);
}

/* The edit that the job takes as number i or later; s->n_edits: none. */
static size_t next_edit(const surgery *s, const job *j, size_t i)
{
    while (i < s->n_edits && !takes(j, &s->edits[i])) i++;
    return i;
}

static sah_status add_job(surgery *s, const sah_tensor *tensor, job wanted, sah_error *error)
{
    if (tensor == NULL) return SAH_OK;
    target *t = &s->targets[sah_tensor_whole(tensor) - s->checkpoint->tensors->items];
    if (!wanted.single) sah_sharing_add(&t->matrices, wanted.matrix);
    t->wanted = t->wanted || sah_sharing_merges(&t->matrices);
    if (next_edit(s, &wanted, 0) == s->n_edits) return SAH_OK;
    if (!sah_grow(&s->jobs, &s->job_capacity, s->n_jobs + 1, sizeof *s->jobs))
        return sah_fail_memory(error, "the surgery");
    wanted.next = t->first;
    s->jobs[s->n_jobs] = wanted;
    t->first = ++s->n_jobs;
    t->wanted = true;
    return SAH_OK;
}

/* q and k: rows and bias, or with a norm over all heads its weights. v scaled: columns of o. v's mean: rows and
 * bias of v. Other matrices take adapters only. */
static job job_of(const sah_config *config, int layer, sah_role role)
{
    const sah_layer_kind kind = sah_config_layer(config, layer);
    const size_t width = (size_t)kind.head_dim;
    const bool normed = config->qk_norm == SAH_QK_NORM_ROW;
    job j = {.layer = layer, .width = width, .n_heads = kind.n_heads, .one_op = true};
    switch (role) {
    case SAH_ROLE_Q:
        j.part = normed ? 0 : SAH_PART_Q;
        j.one_op = false;
        break;
    case SAH_ROLE_K:
        j.part = normed ? 0 : SAH_PART_K;
        j.one_op = false;
        j.n_heads = kind.n_kv_heads;
        break;
    case SAH_ROLE_V:
        j.part = SAH_PART_V;
        j.op = SAH_OP_MEAN;
        j.n_heads = kind.n_kv_heads;
        break;
    case SAH_ROLE_O:
    case SAH_ROLE_DELTA_O:
    case SAH_ROLE_CONVOLUTION_O:
        j.part = SAH_PART_V;
        j.op = SAH_OP_SCALE;
        j.columns = true;
        break;
    default:
        break;
    }
    return j;
}

static sah_status add_jobs(surgery *s, int layer, sah_error *error)
{
    const sah_config *config = &s->checkpoint->config;
    sah_layer_files *f = &s->checkpoint->layers[layer];
    sah_status status = SAH_OK;
    for (int r = 0; r < SAH_N_ROLES && status == SAH_OK; r++) {
        const sah_role role = (sah_role)r;
        if (!sah_layer_has(config, layer, role)) continue;
        job j = job_of(config, layer, role);
        j.matrix = sah_role_matrix(f, role);
        status = add_job(s, j.matrix->tensor, j, error);
        for (size_t b = 1; j.matrix->blocks != NULL && b < j.matrix->rows / j.matrix->block_rows; b++)
            if (status == SAH_OK) status = add_job(s, j.matrix->blocks[b], j, error);
        j.single = true;
        if (status == SAH_OK && role <= SAH_ROLE_V) status = add_job(s, *sah_role_bias(f, role), j, error);
    }
    if (status != SAH_OK || f->q_norm == NULL || config->qk_norm != SAH_QK_NORM_ROW) return status;
    job q = job_of(config, layer, SAH_ROLE_Q), k = job_of(config, layer, SAH_ROLE_K);
    q.single = k.single = true;
    q.part = SAH_PART_Q;
    k.part = SAH_PART_K;
    status = add_job(s, f->q_norm, q, error);
    return status == SAH_OK ? add_job(s, f->k_norm, k, error) : status;
}

/* ---- Their values -------------------------------------------------------------------------------------- */

/* Value i of a head, of head_values(). */
static size_t place_of(const job *j, int head, size_t i)
{
    const size_t from = (size_t)head * j->width;
    if (j->single) return j->matrix != NULL ? sah_layout_row(&j->matrix->layout, from + i) : from + i;
    if (j->columns) return sah_matrix_at(j->matrix, i / j->width, from + i % j->width);
    return sah_matrix_at(j->matrix, from + i / j->matrix->columns, i % j->matrix->columns);
}

static size_t head_values(const job *j)
{
    return j->single ? j->width : j->width * (j->columns ? j->matrix->rows : j->matrix->columns);
}

/* The edits, on values[] that no edit has touched yet: the mean is that of the unedited heads. */
static sah_status apply(const surgery *s, const job *j, const sah_tensor *tensor, float *values,
                        sah_error *error)
{
    const size_t n = head_values(j);
    float *mean = NULL;
    for (size_t e = next_edit(s, j, 0); e < s->n_edits; e = next_edit(s, j, e + 1)) {
        const sah_edit *edit = &s->edits[e];
        if (edit->op == SAH_OP_SCALE) {
            for (size_t i = 0; i < n; i++) values[place_of(j, edit->head, i)] *= edit->factor;
            continue;
        }
        if (mean == NULL) {
            mean = sah_alloc_aligned(n, sizeof *mean);
            if (mean == NULL) return sah_fail_memory(error, tensor->name);
            for (size_t i = 0; i < n; i++) {
                double sum = 0;
                for (int h = 0; h < j->n_heads; h++) sum += (double)values[place_of(j, h, i)];
                mean[i] = (float)(sum / j->n_heads);
            }
        }
        for (size_t i = 0; i < n; i++) values[place_of(j, edit->head, i)] = mean[i];
    }
    free(mean);
    return SAH_OK;
}

static sah_status new_values(const void *context, size_t index, float *out, sah_error *error)
{
    const surgery *s = context;
    const sah_tensor *tensor = &s->checkpoint->tensors->items[index];
    sah_status status = sah_values_read(tensor, &s->targets[index].matrices, out, error);
    for (size_t i = s->targets[index].first; i > 0 && status == SAH_OK; i = s->jobs[i - 1].next)
        status = apply(s, &s->jobs[i - 1], tensor, out, error);
    return status;
}

/* ---- Their types --------------------------------------------------------------------------------------- */

/* That of the whole tensor, and where it has 16 bits each edited head must fit as well. */
static sah_dtype new_type(const void *context, size_t index, const float *values)
{
    const surgery *s = context;
    const target *t = &s->targets[index];
    const sah_tensor *tensor = &s->checkpoint->tensors->items[index];
    const sah_dtype type = sah_values_type(tensor, &t->matrices, values);
    if (type != tensor->type || type == SAH_F32) return type;
    for (size_t i = t->first; i > 0; i = s->jobs[i - 1].next) {
        const job *j = &s->jobs[i - 1];
        for (size_t e = next_edit(s, j, 0); e < s->n_edits; e = next_edit(s, j, e + 1)) {
            sah_fit fit = {.type = type};
            for (size_t v = 0; v < head_values(j); v++)
                sah_fit_see(&fit, values[place_of(j, s->edits[e].head, v)]);
            if (!sah_fits(&fit)) return SAH_F32;
        }
    }
    return type;
}

/* ---- What cannot be exact ------------------------------------------------------------------------------ */

/* The mean of a head's outputs: weights give it nearly, and only where heads do not share values, have no gates and
 * no state. */
static sah_status check_mean(const sah_config *config, int layer, sah_error *error)
{
    const sah_layer_kind kind = sah_config_layer(config, layer);
    if (kind.mixer != SAH_MIXER_ATTENTION || config->attention_gate) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "the mean of v: in layer %d of a %s model gates follow the heads, so no weights "
                        "give the mean of their outputs; a scale is exact",
                        layer, config->family);
    }
    if (kind.n_kv_heads == kind.n_heads) return SAH_OK;
    return sah_fail(error, SAH_BAD_ARGUMENT,
                    "the mean of v: %d query heads share %d value heads (grouped-query attention), so no "
                    "weights give the mean of one head's output; a scale is exact",
                    kind.n_heads, kind.n_kv_heads);
}

static sah_status check(const surgery *s, const sah_config *config, const sah_ablation *ablation,
                        sah_strings *notes, sah_error *error)
{
    static const char NOTE[] =
        "v mean is an approximation: the mean of the value weights stands for the mean of the heads' outputs";
    const bool mean = ablation->op == SAH_OP_MEAN;
    if (!mean && ablation->op != SAH_OP_SCALE)
        return sah_fail(
            error, SAH_BAD_ARGUMENT,
            "swap and mean-data put the states of other prompts into a pass: no edit of weights does "
            "that");
    const bool q_or_k = (ablation->parts & (SAH_PART_Q | SAH_PART_K)) != 0;
    if (!mean && !isfinite(ablation->factor))
        return sah_fail(error, SAH_BAD_ARGUMENT, "the scale must be a finite number");
    sah_status status = sah_edits_check(config, s->edits, s->n_edits, error);
    if (status != SAH_OK) return status;
    if (q_or_k && config->qk_norm && mean) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "the mean of q or k: %s normalises each head's q and k, so no weights give it",
                        config->family);
    }
    if (q_or_k && config->qk_norm == SAH_QK_NORM_HEAD && ablation->factor != 0.0F) {
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "a scale of q or k: %s normalises each head's q and k, which undoes the factor; only "
                        "the scale 0 is exact",
                        config->family);
    }
    if (!mean || !(ablation->parts & SAH_PART_V)) return SAH_OK;
    for (size_t i = 0; i < s->n_edits && status == SAH_OK; i++)
        if (s->edits[i].part == SAH_PART_V) status = check_mean(config, s->edits[i].layer, error);
    if (status != SAH_OK || notes == NULL) return status;
    return sah_strings_add(notes, NOTE, strlen(NOTE), error);
}

/* Keys and values that several layers read, or that are one, have no weights of a head's own. */
static sah_status check_layers(const sah_config *config, const sah_edit *edits, size_t n, sah_error *error)
{
    for (size_t e = 0; e < n; e++) {
        const int l = edits[e].layer;
        const sah_layer_kind kind = sah_config_layer(config, l);
        const bool is_k = edits[e].part == SAH_PART_K;
        if (!is_k && (edits[e].part != SAH_PART_V || edits[e].op != SAH_OP_MEAN)) continue;
        const char *why = kind.borrows > 0 ? "shares its keys and values with a layer below"
                          : kind.v_is_k    ? "makes keys and values of the same weights"
                                           : NULL;
        for (int other = l + 1; other < config->n_layers && why == NULL; other++)
            if (other - sah_config_layer(config, other).borrows == l)
                why = "lends its keys and values to others";
        if (why != NULL)
            return sah_fail(error, SAH_BAD_ARGUMENT,
                            "%s in layer %d: the layer %s, so no weights are that head's alone",
                            is_k ? "k" : "the mean of v", l, why);
    }
    return SAH_OK;
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
    sah_rewrite rewrite = {.values = new_values,
                           .type = new_type,
                           .context = &s,
                           .progress = options->progress,
                           .user = options->user};
    sah_status status = sah_checkpoint_open(path, options->adapter, out == NULL, &checkpoint, error);
    if (status != SAH_OK) return status;
    const char *text = options->heads != NULL ? options->heads : "";
    status = sah_heads_parse(text, &checkpoint->info, options->ablation.parts, &heads, &n, error);
    if (status == SAH_OK && n == 0 && options->adapter == NULL)
        status = sah_fail(error, SAH_BAD_ARGUMENT,
                          "nothing to do: give heads to ablate, an adapter to merge, or both");
    if (status == SAH_OK)
        status = sah_edits_new(&checkpoint->info, heads, n, &options->ablation, &s.edits, &s.n_edits, error);
    if (status == SAH_OK && n > 0) status = check(&s, &checkpoint->config, &options->ablation, notes, error);
    if (status == SAH_OK) status = check_layers(&checkpoint->config, s.edits, s.n_edits, error);
    if (status != SAH_OK) goto done;
    s.checkpoint = rewrite.base = checkpoint;
    s.targets = sah_alloc(checkpoint->tensors->n, sizeof *s.targets);
    rewrite.changes = sah_alloc(checkpoint->tensors->n, sizeof *rewrite.changes);
    if (s.targets == NULL || rewrite.changes == NULL) {
        status = sah_fail_memory(error, "the surgery");
        goto done;
    }
    for (int l = 0; l < checkpoint->config.n_layers && status == SAH_OK; l++) status = add_jobs(&s, l, error);
    if (status != SAH_OK) goto done;
    for (size_t i = 0; i < checkpoint->tensors->n; i++) rewrite.changes[i].changed = s.targets[i].wanted;
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
    free(s.targets);
    free(s.jobs);
    free(s.edits);
    free(heads);
    sah_checkpoint_close(checkpoint);
    return status;
}
