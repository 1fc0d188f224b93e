/* SPDX-License-Identifier: Apache-2.0 */
/* Attention from one checkpoint, MLP from another: tensors by their role, whatever their names and types. */
#include <stdlib.h>
#include <string.h>

#include "edit/provenance.h"
#include "edit/edited_tensor.h"
#include "model/checkpoint/identity.h"
#include "util/alloc.h"
#include "util/error.h"

/* ---- Same shape
 * ----------------------------------------------------------------------------------------------- */

/* Scaling has more numbers than its name tells, and GGUF keeps some of it in a tensor: what counts are the
 * frequencies. */
static sah_status compare_rope(const sah_checkpoint *a, const sah_checkpoint *b, sah_error *error)
{
    const size_t n = (size_t)a->config.head_dim / 2;
    double *x = sah_alloc(n, sizeof *x), *y = sah_alloc(n, sizeof *y);
    sah_status status = x == NULL || y == NULL ? sah_fail_memory(error, "rotary frequencies") : SAH_OK;
    if (status == SAH_OK) sah_rope_frequencies(&a->config.ropes[0], x);
    if (status == SAH_OK) sah_rope_frequencies(&b->config.ropes[0], y);
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        if (x[i] < y[i] || x[i] > y[i])
            status = sah_fail(
                error, SAH_FAILED,
                "%s and %s cannot be mixed: RoPE frequency %zu is %.9g in the first, %.9g in the second",
                a->path, b->path, i, x[i], y[i]);
    }
    free(x);
    free(y);
    return status;
}

/* The first difference that would keep the two from being mixed, or from meaning the same. */
static sah_status compare(const sah_checkpoint *a, const sah_checkpoint *b, sah_error *error)
{
    const sah_config *x = &a->config, *y = &b->config;
    const sah_model_info *i = &a->info, *j = &b->info;
    const struct {
        const char *what;
        double a, b;
    } numbers[] = {
        {"layers", x->n_layers, y->n_layers},
        {"heads", x->n_heads, y->n_heads},
        {"key/value heads", x->n_kv_heads, y->n_kv_heads},
        {"head width", x->head_dim, y->head_dim},
        {"model width", x->d_model, y->d_model},
        {"MLP width", x->d_ff, y->d_ff},
        {"vocabulary", x->n_vocab, y->n_vocab},
        {"norms of q and k", x->qk_norm, y->qk_norm},
        {"biases of q, k and v", x->qkv_bias, y->qkv_bias},
        {"biases of o", x->o_bias, y->o_bias},
        {"biases of the MLP", x->mlp_bias, y->mlp_bias},
        {"RoPE theta", x->ropes[0].theta, y->ropes[0].theta},
        {"experts", x->experts.n, y->experts.n},
        {"experts of a token", x->experts.active, y->experts.active},
        {"width of an expert", x->experts.width, y->experts.width},
        {"width of the shared expert", x->experts.shared_width, y->experts.shared_width},
        {"router", x->experts.router, y->experts.router},
        {"weights of experts that add up to 1", x->experts.normalise, y->experts.normalise},
        {"factor of experts", (double)x->experts.scale, (double)y->experts.scale},
        {"groups of experts", x->experts.groups, y->experts.groups},
        {"groups of a token", x->experts.active_groups, y->experts.active_groups},
        {"gate of the shared expert", x->experts.shared_gate, y->experts.shared_gate},
        {"gates of heads", x->attention_gate, y->attention_gate},
        {"key heads of the delta rule", x->delta.key_heads, y->delta.key_heads},
        {"key width of the delta rule", x->delta.key_dim, y->delta.key_dim},
        {"width of the convolution", x->delta.kernel, y->delta.kernel},
        {"sliding window", x->sliding_window, y->sliding_window},
    };
    const char *texts[][3] = {{"format", i->format, j->format},
                              {"family", i->family, j->family},
                              {"RoPE scaling", i->rope_scaling, j->rope_scaling}};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        if (strcmp(texts[t][1], texts[t][2]) != 0)
            return sah_fail(error, SAH_FAILED,
                            "%s and %s cannot be mixed: %s %s in the first, %s in the second", a->path,
                            b->path, texts[t][0], texts[t][1], texts[t][2]);
    }
    for (size_t t = 0; t < sizeof numbers / sizeof *numbers; t++) {
        if (numbers[t].a < numbers[t].b || numbers[t].a > numbers[t].b)
            return sah_fail(error, SAH_FAILED,
                            "%s and %s cannot be mixed: %s %.15g in the first, %.15g in the second", a->path,
                            b->path, numbers[t].what, numbers[t].a, numbers[t].b);
    }
    for (int l = 0; l < x->n_layers; l++) {
        const sah_layer_kind p = sah_config_layer(x, l), q = sah_config_layer(y, l);
        if (p.experts != q.experts)
            return sah_fail(error, SAH_FAILED,
                            "%s and %s cannot be mixed: layer %d has experts in only one of them", a->path,
                            b->path, l);
        if (p.mixer != q.mixer || p.n_heads != q.n_heads || p.head_dim != q.head_dim ||
            p.n_kv_heads != q.n_kv_heads)
            return sah_fail(error, SAH_FAILED,
                            "%s and %s cannot be mixed: layer %d does not have the same heads in both",
                            a->path, b->path, l);
        if (p.d_ff != q.d_ff || p.borrows != q.borrows || p.v_is_k != q.v_is_k || p.window != q.window ||
            p.rope != q.rope)
            return sah_fail(error, SAH_FAILED,
                            "%s and %s cannot be mixed: layer %d is not of the same kind in both", a->path,
                            b->path, l);
    }
    return compare_rope(a, b, error);
}

/* ---- Whose tensors
 * ----------------------------------------------------------------------------------------------- */

/* Where a tensor of the result comes from. */
typedef struct source {
    const sah_tensor *tensor;
    sah_sharing matrices; /* that have adapters */
} source;

typedef struct graft {
    sah_checkpoint *models[2]; /* A, B */
    source *sources; /* [tensors of the base]; of the tensors that are made anew */
    size_t n_merged[2]; /* matrices taken with an adapter merged */
} graft;

/* The tensor `to` of the base becomes `from` of `side`: byte for byte and in its type, or made anew where an adapter
 * is merged or the bytes need scales. `matrix`: the one that it holds, or one of several; NULL: a bias or norm. */
static void take(graft *g, sah_rewrite *rewrite, const sah_tensor *to, const sah_tensor *from,
                 const sah_matrix *matrix, sah_side side)
{
    if (to == NULL) return;
    to = sah_tensor_whole(to);
    from = sah_tensor_whole(from);
    const size_t index = (size_t)(to - rewrite->base->tensors->items);
    const bool merged = matrix != NULL && matrix->lora != NULL;
    if (merged || (from->scales != NULL && from != to)) {
        source *s = &g->sources[index];
        s->tensor = from;
        if (matrix != NULL) sah_sharing_add(&s->matrices, matrix);
        g->n_merged[side] += merged;
        rewrite->changes[index] = (sah_change){.changed = true};
    } else if (from != to && g->sources[index].tensor == NULL) {
        rewrite->changes[index] = (sah_change){.changed = true, .type = from->type, .data = from->data};
    }
}

/* What a layer's attention and MLP are made of: the matrices of all roles, their biases, and the vectors that
 * go along. */
static void take_layer(graft *g, sah_rewrite *rewrite, const sah_graft_options *o, int l)
{
    sah_layer_files *to = &rewrite->base->layers[l];
    for (int r = 0; r < SAH_N_ROLES; r++) {
        if (!sah_layer_has(&rewrite->base->config, l, (sah_role)r)) continue;
        const sah_side side = sah_role_of((sah_role)r)->half == SAH_HALF_ATTENTION ? o->attention : o->mlp;
        sah_layer_files *from = &g->models[side]->layers[l];
        const sah_matrix *matrix = sah_role_matrix(from, (sah_role)r);
        const sah_matrix *own = sah_role_matrix(to, (sah_role)r);
        take(g, rewrite, own->tensor, matrix->tensor, matrix, side);
        for (size_t b = 1; own->blocks != NULL && b < own->rows / own->block_rows; b++)
            take(g, rewrite, own->blocks[b], matrix->blocks[b], matrix, side);
        if (sah_role_bias(to, (sah_role)r) != NULL)
            take(g, rewrite, *sah_role_bias(to, (sah_role)r), *sah_role_bias(from, (sah_role)r), NULL, side);
    }
    for (int v = 0; v < SAH_N_VECTORS; v++) {
        const sah_vector_info *info = sah_vector_of((sah_vector)v);
        const sah_side side = info->half == SAH_HALF_ATTENTION ? o->attention : o->mlp;
        if (info->grafted)
            take(g, rewrite, *sah_vector_place(to, (sah_vector)v),
                 *sah_vector_place(&g->models[side]->layers[l], (sah_vector)v), NULL, side);
    }
}

static sah_status merged_values(const void *context, size_t index, float *out, sah_error *error)
{
    const source *from = &((const graft *)context)->sources[index];
    return sah_values_read(from->tensor, &from->matrices, out, error);
}

static sah_dtype merged_type(const void *context, size_t index, const float *values)
{
    const source *from = &((const graft *)context)->sources[index];
    return sah_values_type(from->tensor, &from->matrices, values);
}

/* An adapter that leaves no trace was given by mistake. */
static sah_status check_adapters(const graft *g, const sah_graft_options *options, sah_error *error)
{
    for (int i = 0; i < 2; i++) {
        if (options->adapters[i] == NULL || g->n_merged[i] > 0) continue;
        return sah_fail(error, SAH_BAD_ARGUMENT, "adapter %s changes nothing that the graft takes from %s",
                        options->adapters[i], g->models[i]->path);
    }
    return SAH_OK;
}

/* ---- All of it
 * ----------------------------------------------------------------------------------------------- */

static json_t *settings_of(const graft *g, const sah_graft_options *options)
{
    static const char *const NAMES[] = {"A", "B"};
    json_t *settings = json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:s?, s:s?}", "attention", NAMES[options->attention], "mlp",
        NAMES[options->mlp], "rest", NAMES[options->rest], "A", sah_model_record(&g->models[0]->info), "B",
        sah_model_record(&g->models[1]->info), "adapter", sah_provenance_name(options->adapters[0]),
        "adapter_b", sah_provenance_name(options->adapters[1]));
    /* What had been done to the base is told as `before`; of the other it is told here. */
    json_t *other = g->models[1 - options->rest]->provenance;
    if (settings == NULL || other == NULL || json_object_set(settings, "before_other", other) == 0)
        return settings;
    json_decref(settings);
    return NULL;
}

sah_status sah_graft(const char *a, const char *b, const sah_graft_options *options, const char *out,
                     sah_strings *notes, sah_error *error)
{
    const char *inputs[4] = {a, b};
    size_t n_inputs = 2;
    graft g = {0};
    char *provenance = NULL;
    sah_rewrite rewrite = {.values = merged_values,
                           .type = merged_type,
                           .context = &g,
                           .progress = options->progress,
                           .user = options->user};
    sah_status status = SAH_OK;
    for (int i = 0; i < 2 && status == SAH_OK; i++) {
        status = sah_checkpoint_open(inputs[i], options->adapters[i], false, &g.models[i], error);
        if (options->adapters[i] != NULL) inputs[n_inputs++] = options->adapters[i];
    }
    if (status == SAH_OK) status = compare(g.models[0], g.models[1], error);
    if (status != SAH_OK) goto done;
    rewrite.base = g.models[options->rest];
    rewrite.changes = sah_alloc(rewrite.base->tensors->n, sizeof *rewrite.changes);
    g.sources = sah_alloc(rewrite.base->tensors->n, sizeof *g.sources);
    if (rewrite.changes == NULL || g.sources == NULL) {
        status = sah_fail_memory(error, "the graft");
        goto done;
    }
    for (int l = 0; l < rewrite.base->config.n_layers; l++) take_layer(&g, &rewrite, options, l);
    status = check_adapters(&g, options, error);
    if (status == SAH_OK) status = sah_rewrite_plan(&rewrite, error);
    if (status == SAH_OK && notes != NULL) status = sah_provenance_notes(&rewrite, NULL, notes, error);
    if (status == SAH_OK)
        status = sah_provenance_text("graft", &rewrite, settings_of(&g, options), &provenance, error);
    rewrite.provenance = provenance;
    if (status == SAH_OK) status = sah_rewrite_run(&rewrite, out, inputs, n_inputs, error);
done:
    free(provenance);
    free(rewrite.changes);
    free(g.sources);
    for (int i = 0; i < 2; i++) sah_checkpoint_close(g.models[i]);
    return status;
}
