/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a checkpoint's weights by their names in both containers, with the shapes the configuration gives
 * them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint/layout.h"
#include "model/checkpoint/weights.h"
#include "util/alloc.h"
#include "util/error.h"

enum { NAME_BYTES = 160 };

/* What the steps below share. */
typedef struct search {
    sah_checkpoint *c;
    const sah_family *family;
    const char *prefix; /* before Hugging Face names */
    bool *used; /* [tensors->n]: taken by name */
} search;

/* ---- One tensor ---------------------------------------------------------------------------------------- */

static sah_status expect_shape(const search *s, const sah_tensor *tensor, int n_dims, const size_t *dims,
                               sah_error *error)
{
    sah_tensor wanted = {.n_dims = n_dims};
    bool same = tensor->n_dims == n_dims;
    for (int i = 0; i < n_dims; i++) {
        wanted.dims[i] = dims[i];
        same = same && tensor->dims[i] == dims[i];
    }
    if (same) return SAH_OK;
    char have[SAH_SHAPE_TEXT], want[SAH_SHAPE_TEXT];
    sah_tensor_shape(tensor, have);
    sah_tensor_shape(&wanted, want);
    return sah_fail(error, SAH_FAILED, "%s: tensor %s is %s, but the configuration asks for %s", s->c->path,
                    tensor->name, have, want);
}

/* The tensor `name` of `n_dims` sizes, marked as used. */
static sah_status find(const search *s, const char *name, int n_dims, const size_t *dims,
                       const sah_tensor **out, sah_error *error)
{
    const sah_tensors *tensors = s->c->tensors;
    const sah_tensor *tensor = sah_tensors_find(tensors, name);
    if (tensor == NULL) {
        const char *type = sah_tensors_unsupported(tensors, name);
        if (type == NULL) return sah_fail(error, SAH_FAILED, "%s: tensor %s is missing", s->c->path, name);
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: tensor %s has type %s, which is not supported",
                        s->c->path, name, type);
    }
    sah_status status = expect_shape(s, tensor, n_dims, dims, error);
    if (status != SAH_OK) return status;
    s->used[tensor - tensors->items] = true;
    *out = tensor;
    return SAH_OK;
}

static sah_status find_vector(const search *s, const char *name, size_t n, const sah_tensor **out,
                              sah_error *error)
{
    return find(s, name, 1, (const size_t[]){n}, out, error);
}

static sah_status find_matrix(const search *s, const char *name, size_t rows, size_t columns, sah_matrix *out,
                              sah_error *error)
{
    *out = (sah_matrix){.rows = rows, .columns = columns};
    return find(s, name, 2, (const size_t[]){rows, columns}, &out->tensor, error);
}

/* ---- Views --------------------------------------------------------------------------------------------- */

/* A tensor of the checkpoint's own; NULL: no memory. Places of earlier ones stay. */
static sah_tensor *new_view(const search *s, const sah_tensor *whole)
{
    sah_tensor *view = sah_alloc(1, sizeof *view);
    sah_checkpoint *c = s->c;
    if (view == NULL || !sah_grow(&c->views, &c->view_capacity, c->n_views + 1, sizeof(sah_tensor *))) {
        free(view);
        return NULL;
    }
    *view = *whole;
    view->whole = whole;
    return c->views[c->n_views++] = view;
}

/* A tensor that is read with a number added to each value. */
static sah_status with_added(const search *s, const sah_tensor *whole, float add, const sah_tensor **out,
                             sah_error *error)
{
    sah_tensor *view = new_view(s, whole);
    if (view == NULL) return sah_fail_memory(error, whole->name);
    view->add = add;
    *out = view;
    return SAH_OK;
}

/* [width] ones, for norms without weights. */
static sah_status make_ones(const search *s, const sah_tensor **out, sah_error *error)
{
    const size_t width = (size_t)s->c->config.d_model;
    sah_tensor *ones = new_view(s, s->c->embedding.tensor);
    if (ones == NULL || (ones->held = sah_alloc_aligned(width, sizeof(float))) == NULL)
        return sah_fail_memory(error, "norms");
    for (size_t i = 0; i < width; i++) ones->held[i] = 1;
    ones->type = SAH_F32;
    ones->n_dims = 1;
    ones->dims[0] = width;
    ones->scales = NULL;
    ones->data = (const uint8_t *)ones->held;
    ones->bytes = width * sizeof(float);
    *out = ones;
    return SAH_OK;
}

/* ---- Matrices ------------------------------------------------------------------------------------------ */

static void layer_name(const search *s, int layer, const char *own, const char *kind, char name[NAME_BYTES])
{
    if (s->c->is_gguf)
        snprintf(name, NAME_BYTES, "blk.%d.%s%s", layer, own, kind);
    else
        snprintf(name, NAME_BYTES, "%s%s.%d.%s%s", s->prefix,
                 s->family->layers != NULL ? s->family->layers : "layers", layer, own, kind);
}

/* Whether one tensor has the matrices of all experts, [experts, rows, columns]. */
static bool is_stacked(sah_cut cut)
{
    return cut == SAH_CUT_EXPERT_BLOCK || cut == SAH_CUT_EXPERT_GATE_UP || cut == SAH_CUT_EXPERT_TURNS;
}

/* `all`: how many values the tensor has, of this matrix's bias and others. */
static sah_status find_bias(const search *s, int layer, const sah_matrix_name *n, const char *own, size_t all,
                            sah_error *error)
{
    const sah_config *config = &s->c->config;
    const sah_role_info *info = sah_role_of(n->role);
    sah_layer_files *files = &s->c->layers[layer];
    const sah_tensor **bias = sah_role_bias(files, n->role);
    const sah_matrix *matrix = sah_role_matrix(files, n->role);
    const bool stacked = is_stacked(s->c->is_gguf ? n->gguf_cut : n->cut);
    const size_t experts = stacked ? (size_t)config->experts.n : 1;
    char name[NAME_BYTES];
    bool has = n->role == SAH_ROLE_O              ? config->o_bias
               : info->half == SAH_HALF_ATTENTION ? config->qkv_bias
               : n->role >= SAH_ROLE_ROUTER       ? config->experts.bias
                                                  : config->mlp_bias;
    if (!has || bias == NULL) return SAH_OK;
    layer_name(s, layer, own, stacked && !s->c->is_gguf ? "_bias" : ".bias", name);
    sah_status status = stacked ? find(s, name, 2, (const size_t[]){experts, all / experts}, bias, error)
                                : find_vector(s, name, all, bias, error);
    if (status == SAH_OK && matrix->layout.run > 0 && sah_dtype_block_values((*bias)->type) != 1)
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: tensor %s is quantised, which is not supported for a bias", s->c->path, name);
    return status;
}

/* A tensor an expert: `own` has %d for its number. */
static sah_status find_experts(const search *s, int layer, const char *own, sah_matrix *m, sah_error *error)
{
    sah_checkpoint *c = s->c;
    const size_t n = (size_t)c->config.experts.n;
    const char *number = strstr(own, "%d");
    char name[NAME_BYTES], expert[NAME_BYTES / 2];
    if (!sah_grow(&c->blocks, &c->block_capacity, c->n_blocks + 1, sizeof *c->blocks))
        return sah_fail_memory(error, "the list of weights");
    const sah_tensor **blocks = sah_alloc(n, sizeof *blocks);
    if (blocks == NULL) return sah_fail_memory(error, "the list of weights");
    c->blocks[c->n_blocks++] = blocks;
    m->block_rows = m->rows / n;
    for (size_t i = 0; i < n; i++) {
        snprintf(expert, sizeof expert, "%.*s%zu%s", (int)(number - own), own, i, number + 2);
        layer_name(s, layer, expert, ".weight", name);
        sah_status status = find(s, name, 2, (const size_t[]){m->block_rows, m->columns}, &blocks[i], error);
        if (status != SAH_OK) return status;
    }
    m->tensor = blocks[0];
    m->blocks = blocks;
    return SAH_OK;
}

/* The full name of a matrix: without ".weight" where Hugging Face keeps those of all experts together. */
static void matrix_name(const search *s, int layer, const char *own, sah_cut cut, char name[NAME_BYTES])
{
    layer_name(s, layer, own, !s->c->is_gguf && is_stacked(cut) ? "" : ".weight", name);
}

/* Whether all experts' matrices [rows, columns] lie there as [columns, rows] (Qwen3-VL-MoE as published). */
static bool lies_turned(const sah_tensor *there, size_t rows, size_t columns)
{
    return there != NULL && there->n_dims == 3 && rows != columns && there->dims[1] == columns &&
           there->dims[2] == rows;
}

static sah_status find_layer_matrix(const search *s, int layer, const sah_matrix_name *n, sah_error *error)
{
    const sah_config *config = &s->c->config;
    const sah_role_info *info = sah_role_of(n->role);
    sah_matrix *m = sah_role_matrix(&s->c->layers[layer], n->role);
    const char *own = s->c->is_gguf ? n->gguf : n->hugging_face;
    const sah_cut cut = s->c->is_gguf ? n->gguf_cut : n->cut;
    bool turned = s->family->transposed && !s->c->is_gguf;
    const size_t experts = is_stacked(cut) ? (size_t)config->experts.n : 0;
    char name[NAME_BYTES];
    *m = (sah_matrix){.rows = sah_width_of(config, layer, info->rows),
                      .columns = sah_width_of(config, layer, info->columns)};
    if (cut == SAH_CUT_EXPERTS) return find_experts(s, layer, own, m, error);
    size_t all;
    m->layout = sah_layout_of(s->family, config, layer, n->role, cut, s->c->is_gguf, &all);
    m->columns_layout = sah_columns_layout_of(s->family, config, layer, n->role, s->c->is_gguf);
    matrix_name(s, layer, own, cut, name);
    const sah_tensor *there = sah_tensors_find(s->c->tensors, name);
    const size_t each = experts > 0 ? all / experts : 0;
    if (cut == SAH_CUT_EXPERT_TURNS) turned = there == NULL || there->type != SAH_F4;
    if (experts > 0 && !s->c->is_gguf && lies_turned(there, each, m->columns)) turned = true;
    m->turned = turned;
    const size_t dims[] = {turned ? m->columns : all, turned ? all : m->columns};
    const size_t blocks[] = {experts, turned ? m->columns : each, turned ? each : m->columns};
    sah_status status;
    if (experts > 0)
        status = find(s, name, 3, blocks, &m->tensor, error);
    else if (m->rows == 1 && there != NULL && there->n_dims == 1) /* a row that is kept as a vector */
        status = find_vector(s, name, m->columns, &m->tensor, error);
    else
        status = find(s, name, 2, dims, &m->tensor, error);
    return status == SAH_OK ? find_bias(s, layer, n, own, all, error) : status;
}

/* Of several names for a role: whether this one is to be taken. */
static bool is_meant(const search *s, int layer, const sah_matrix_name *n)
{
    const char *own = s->c->is_gguf ? n->gguf : n->hugging_face;
    const sah_cut cut = s->c->is_gguf ? n->gguf_cut : n->cut;
    char name[NAME_BYTES], first[NAME_BYTES / 2];
    bool is_last = true, taken = false;
    for (const sah_matrix_name *other = s->family->matrices; other->hugging_face != NULL; other++) {
        is_last = is_last && (other <= n || other->role != n->role);
        taken = taken || (other < n && other->role == n->role &&
                          sah_role_matrix(&s->c->layers[layer], n->role)->tensor != NULL);
    }
    if (taken || is_last || own == NULL) return !taken && own != NULL;
    const char *number = cut == SAH_CUT_EXPERTS ? strstr(own, "%d") : NULL;
    if (number != NULL) snprintf(first, sizeof first, "%.*s0%s", (int)(number - own), own, number + 2);
    matrix_name(s, layer, number != NULL ? first : own, cut, name);
    return sah_tensors_find(s->c->tensors, name) != NULL ||
           sah_tensors_unsupported(s->c->tensors, name) != NULL;
}

/* ---- Vectors ------------------------------------------------------------------------------------------- */

/* "….weight" to "….bias". */
static void bias_name(char name[NAME_BYTES])
{
    char *dot = strrchr(name, '.');
    if (dot != NULL) snprintf(dot, (size_t)(name + NAME_BYTES - dot), ".bias");
}

/* A vector of the delta rule as Hugging Face has it: value heads in its order, and the logarithm of the rate, of which
 * GGUF has minus the number itself. */
static sah_status convert_delta(const search *s, int layer, sah_vector vector, const sah_tensor **place,
                                sah_error *error)
{
    const sah_config *config = &s->c->config;
    const bool rate = vector == SAH_VECTOR_DELTA_RATE, kernel = vector == SAH_VECTOR_DELTA_KERNEL;
    const size_t n = sah_tensor_values(*place), length = kernel ? (size_t)config->delta.kernel : 1;
    const size_t before =
        kernel ? 2 * sah_width_of(config, layer, SAH_WIDTH_DELTA_KEY) : 0; /* rows of q and k */
    const sah_role role = kernel ? SAH_ROLE_DELTA_GATE : SAH_ROLE_DELTA_WRITE;
    size_t all;
    const sah_layout heads = sah_layout_of(s->family, config, layer, role, SAH_CUT_NONE, true, &all);
    sah_tensor *view = new_view(s, *place);
    if (view == NULL || (view->held = sah_alloc_aligned(n, sizeof(float))) == NULL)
        return sah_fail_memory(error, (*place)->name);
    for (size_t row = 0; row < n / length; row++) {
        const size_t from = row < before ? row : before + sah_layout_row(&heads, row - before);
        sah_tensor_read(*place, from * length, length, view->held + row * length);
    }
    for (size_t i = 0; i < n && rate; i++) {
        if (!(view->held[i] < 0) || !isfinite(view->held[i]))
            return sah_fail(error, SAH_FAILED, "%s: tensor %s: value %zu is not below 0", s->c->path,
                            (*place)->name, i);
        view->held[i] = logf(-view->held[i]);
    }
    view->type = SAH_F32;
    view->scales = NULL;
    view->data = (const uint8_t *)view->held;
    view->bytes = n * sizeof(float);
    *place = view;
    return SAH_OK;
}

static sah_status find_layer_vector(const search *s, int layer, const sah_vector_name *n, sah_error *error)
{
    const char *own = s->c->is_gguf ? n->gguf : n->hugging_face;
    const sah_vector vector = n->vector;
    const sah_tensor **place = sah_vector_place(&s->c->layers[layer], vector);
    const sah_tensor **bias = sah_vector_bias(&s->c->layers[layer], vector);
    const size_t length = sah_width_of(&s->c->config, layer, n->width);
    const size_t kernel = (size_t)s->c->config.delta.kernel,
                 dims[] = {length, s->c->is_gguf ? kernel : 1, kernel};
    char name[NAME_BYTES];
    if (own == NULL) return SAH_OK;
    layer_name(s, layer, own, "", name);
    const bool convolution = vector == SAH_VECTOR_DELTA_KERNEL || vector == SAH_VECTOR_CONVOLUTION_KERNEL;
    const int n_dims = !convolution ? 1 : s->c->is_gguf ? 2 : 3;
    sah_status status = find(s, name, n_dims, dims, place, error);
    if (status == SAH_OK && sah_vector_of(vector)->centred && s->family->norm_add > 0 && !s->c->is_gguf)
        status = with_added(s, *place, s->family->norm_add, place, error);
    if (status == SAH_OK && s->c->is_gguf &&
        (vector == SAH_VECTOR_DELTA_RATE || vector == SAH_VECTOR_DELTA_RATE_BIAS ||
         vector == SAH_VECTOR_DELTA_KERNEL))
        status = convert_delta(s, layer, vector, place, error);
    if (status != SAH_OK || bias == NULL || s->c->config.norm != SAH_NORM_LAYER || s->family->bare_norms)
        return status;
    bias_name(name);
    return find_vector(s, name, length, bias, error);
}

/* Of several names for a vector: whether this one is to be taken. */
static bool vector_is_meant(const search *s, int layer, const sah_vector_name *n)
{
    const char *own = s->c->is_gguf ? n->gguf : n->hugging_face;
    char name[NAME_BYTES];
    bool is_last = true;
    if (*sah_vector_place(&s->c->layers[layer], n->vector) != NULL) return false;
    for (const sah_vector_name *other = n + 1; other->hugging_face != NULL; other++)
        is_last = is_last && other->vector != n->vector;
    if (is_last || own == NULL) return is_last;
    layer_name(s, layer, own, "", name);
    return sah_tensors_find(s->c->tensors, name) != NULL;
}

static sah_status find_layer(const search *s, int layer, sah_error *error)
{
    sah_status status = SAH_OK;
    for (const sah_matrix_name *n = s->family->matrices; n->hugging_face != NULL && status == SAH_OK; n++)
        if (sah_layer_has(&s->c->config, layer, n->role) && is_meant(s, layer, n))
            status = find_layer_matrix(s, layer, n, error);
    for (const sah_vector_name *n = s->family->vectors; n->hugging_face != NULL && status == SAH_OK; n++)
        if (sah_layer_has_vector(&s->c->config, layer, n->vector) && vector_is_meant(s, layer, n))
            status = find_layer_vector(s, layer, n, error);
    sah_layer_files *files = &s->c->layers[layer];
    if (s->family->weightless) files->input_norm = files->post_norm = s->c->final_norm; /* all ones */
    return status;
}

/* ---- The ends ------------------------------------------------------------------------------------------ */

static sah_status find_final_norm(const search *s, sah_error *error)
{
    sah_checkpoint *c = s->c;
    const size_t width = (size_t)c->config.d_model;
    char name[NAME_BYTES];
    const char *own = s->family->final_norm != NULL ? s->family->final_norm : "norm";
    if (s->family->weightless) return make_ones(s, &c->final_norm, error);
    if (c->is_gguf)
        snprintf(name, sizeof name, "%s.weight",
                 s->family->gguf_final_norm != NULL ? s->family->gguf_final_norm : "output_norm");
    else
        snprintf(name, sizeof name, "%s%s.weight", s->prefix, own);
    sah_status status = find_vector(s, name, width, &c->final_norm, error);
    if (status == SAH_OK && s->family->norm_add > 0 && !c->is_gguf)
        status = with_added(s, c->final_norm, s->family->norm_add, &c->final_norm, error);
    if (status != SAH_OK || c->config.norm != SAH_NORM_LAYER || s->family->bare_norms) return status;
    bias_name(name);
    return find_vector(s, name, width, &c->final_norm_bias, error);
}

/* The LM head's name where the file has one: beside the model, or inside of its larger whole. */
static const char *head_name(const search *s)
{
    static const char *const names[] = {"lm_head.weight", "language_model.lm_head.weight"};
    if (s->c->is_gguf) return "output.weight";
    if (s->family->head != NULL) return s->family->head;
    for (size_t i = 0; i < 2; i++)
        if (sah_tensors_find(s->c->tensors, names[i]) != NULL) return names[i];
    return names[0];
}

static bool same_values(const sah_tensor *a, const sah_tensor *b)
{
    return a == NULL || b == NULL ||
           (a->type == b->type && a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0);
}

/* Embedding, LM head, final norm, learned positions. The LM head is the embedding when the file has none, or when the
 * configuration says so: but one of other values in the file counts over that, as in transformers 5. */
static sah_status find_ends(const search *s, sah_error *error)
{
    sah_checkpoint *c = s->c;
    const size_t vocab = (size_t)c->config.n_vocab, width = (size_t)c->config.d_model;
    const char *own = s->family->embedding != NULL ? s->family->embedding : "embed_tokens",
               *head = head_name(s);
    char name[NAME_BYTES], embedding[NAME_BYTES] = "token_embd.weight";
    if (!c->is_gguf) snprintf(embedding, sizeof embedding, "%s%s.weight", s->prefix, own);
    sah_status status = find_matrix(s, embedding, vocab, width, &c->embedding, error);
    if (status == SAH_OK) status = find_final_norm(s, error);
    if (status == SAH_OK && s->family->positions != NULL) {
        snprintf(name, sizeof name, "%s%s.weight", s->prefix, s->family->positions);
        status = find_matrix(s, c->is_gguf ? "position_embd.weight" : name, (size_t)c->config.max_positions,
                             width, &c->positions, error);
    }
    if (status != SAH_OK) return status;
    if (sah_tensors_find(c->tensors, head) == NULL && sah_tensors_unsupported(c->tensors, head) == NULL) {
        c->config.tied = true;
    } else if (c->config.tied) {
        c->config.tied =
            same_values(sah_tensors_find(c->tensors, head), sah_tensors_find(c->tensors, embedding));
    }
    c->lm_head = c->embedding;
    return c->config.tied ? SAH_OK : find_matrix(s, head, vocab, width, &c->lm_head, error);
}

/* What layers are given of each token. */
static sah_status find_inputs(const search *s, sah_error *error)
{
    static const char *const gguf[] = {"per_layer_token_embd.weight", "per_layer_model_proj.weight",
                                       "per_layer_proj_norm.weight"};
    sah_checkpoint *c = s->c;
    const size_t width = (size_t)c->config.input_width, all = width * (size_t)c->config.n_layers;
    char names[3][NAME_BYTES];
    if (width == 0) return SAH_OK;
    for (size_t i = 0; i < 3; i++) {
        if (c->is_gguf)
            snprintf(names[i], NAME_BYTES, "%s", gguf[i]);
        else
            snprintf(names[i], NAME_BYTES, "%s%s.weight", s->prefix, s->family->inputs[i]);
    }
    sah_status status = find_matrix(s, names[0], (size_t)c->config.n_vocab, all, &c->input_table, error);
    if (status == SAH_OK)
        status = find_matrix(s, names[1], all, (size_t)c->config.d_model, &c->input_projection, error);
    return status == SAH_OK ? find_vector(s, names[2], width, &c->input_norm, error) : status;
}

static sah_status read_rope_factors(const search *s, sah_error *error)
{
    const sah_tensor *tensor, *unused;
    const sah_rope *rope = &s->c->config.ropes[0];
    const size_t n = (size_t)rope->dims / 2;
    const bool is_long = rope->scaling == SAH_ROPE_LONG;
    if (!s->c->is_gguf || (rope->scaling != SAH_ROPE_FACTORS && !is_long)) return SAH_OK;
    sah_status status =
        find_vector(s, is_long ? "rope_factors_short.weight" : "rope_freqs.weight", n, &tensor, error);
    if (status == SAH_OK && is_long) status = find_vector(s, "rope_factors_long.weight", n, &unused, error);
    if (status != SAH_OK) return status;
    s->c->rope_factors = sah_alloc(n, sizeof(float));
    if (s->c->rope_factors == NULL) return sah_fail_memory(error, "rope factors");
    sah_vector_read(tensor, s->c->rope_factors);
    for (size_t i = 0; i < n; i++) {
        if (!(s->c->rope_factors[i] > 0) || !isfinite(s->c->rope_factors[i])) {
            return sah_fail(error, SAH_FAILED, "%s: tensor %s: factor %zu is not a positive number",
                            s->c->path, tensor->name, i);
        }
    }
    s->c->config.ropes[0].factors = s->c->rope_factors;
    return SAH_OK;
}

static bool ends_in(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

/* Of another part of the model than its text part, or of none. */
static bool is_ignored(const search *s, const char *name)
{
    if (s->c->config.is_part && strncmp(name, s->prefix, strlen(s->prefix)) != 0 &&
        strcmp(name, head_name(s)) != 0)
        return true;
    for (size_t i = 0; i < 4 && s->family->ignored[i] != NULL; i++)
        if (strncmp(name, s->family->ignored[i], strlen(s->family->ignored[i])) == 0) return true;
    return false;
}

/* Of a layer behind the model's last. */
static bool is_extra(const search *s, const char *name)
{
    char layers[NAME_BYTES];
    snprintf(layers, sizeof layers, "%s%s.", s->c->is_gguf ? "" : s->prefix,
             s->c->is_gguf               ? "blk"
             : s->family->layers != NULL ? s->family->layers
                                         : "layers");
    const size_t n = strlen(layers);
    return s->family->extra_layers && strncmp(name, layers, n) == 0 &&
           strtol(name + n, NULL, 10) >= s->c->config.n_layers;
}

/* Keys and values of a layer that borrows others: files have them, nothing reads them. */
static bool is_idle(const search *s, const char *name)
{
    const sah_config *c = &s->c->config;
    char own[NAME_BYTES];
    for (int l = 0; l < c->n_layers && c->layer_kind != NULL; l++) {
        if (c->layer_kind[l].borrows == 0) continue;
        for (const sah_matrix_name *n = s->family->matrices; n->hugging_face != NULL; n++) {
            if (n->role != SAH_ROLE_K && n->role != SAH_ROLE_V) continue;
            layer_name(s, l, s->c->is_gguf ? n->gguf : n->hugging_face, ".weight", own);
            if (strcmp(name, own) == 0) return true;
        }
        for (const sah_vector_name *n = s->family->vectors; n->hugging_face != NULL; n++) {
            layer_name(s, l, s->c->is_gguf ? n->gguf : n->hugging_face, "", own);
            if (n->vector == SAH_VECTOR_K_NORM && strcmp(name, own) == 0) return true;
        }
    }
    return false;
}

/* A tensor that nothing above asked for belongs to a model that is built differently, except for a copy of
 * the tied LM head and for the RoPE tables that old checkpoints carry. */
static sah_status refuse_unused(const search *s, sah_error *error)
{
    const sah_tensors *tensors = s->c->tensors;
    for (size_t i = 0; i < tensors->n; i++) {
        const char *name = tensors->items[i].name;
        if (s->used[i] || ends_in(name, "rotary_emb.inv_freq") || is_ignored(s, name) || is_extra(s, name))
            continue;
        if ((s->c->config.tied && strcmp(name, head_name(s)) == 0) || is_idle(s, name)) continue;
        return sah_fail(error, SAH_FAILED, "%s: tensor %s has no place in a %s model of this configuration",
                        s->c->path, name, s->c->config.family);
    }
    return SAH_OK;
}

/* Parameters, and the types by the bytes they take; RoPE factors are no parameters. */
static void count(const search *s)
{
    const sah_tensors *tensors = s->c->tensors;
    sah_model_info *info = &s->c->info;
    uint64_t bytes[SAH_DTYPES] = {0};
    for (size_t i = 0; i < tensors->n; i++) {
        const sah_tensor *tensor = &tensors->items[i];
        if (!s->used[i] || strncmp(tensor->name, "rope_f", 6) == 0) continue;
        info->n_parameters += sah_tensor_values(tensor);
        bytes[tensor->type] += tensor->bytes;
    }
    for (size_t length = 0;;) {
        int most = 0;
        for (int type = 1; type < SAH_DTYPES; type++) {
            if (bytes[type] > bytes[most]) most = type;
        }
        if (bytes[most] == 0) break;
        length += (size_t)snprintf(info->types + length, sizeof info->types - length, "%s%s",
                                   length > 0 ? " " : "", sah_dtype_name((sah_dtype)most));
        bytes[most] = 0;
    }
}

const char *const sah_part_prefixes[] = {"model.language_model.", "language_model.model.",
                                         "model.text_model.", "language_model.", NULL};

/* The prefix under which the embedding lies; the family's first where none does. */
static const char *find_prefix(const sah_checkpoint *c)
{
    const sah_family *f = c->family;
    char name[NAME_BYTES];
    for (int part = 0; part <= (int)c->config.is_part; part++) {
        const char *const *prefixes = part ? sah_part_prefixes : f->prefixes;
        for (size_t i = 0; i < 4 && prefixes[i] != NULL; i++) {
            snprintf(name, sizeof name, "%s%s.weight", prefixes[i],
                     f->embedding != NULL ? f->embedding : "embed_tokens");
            if (sah_tensors_find(c->tensors, name) != NULL) return prefixes[i];
        }
    }
    return f->prefixes[0];
}

sah_status sah_checkpoint_find_weights(sah_checkpoint *c, sah_error *error)
{
    const sah_config *config = &c->config;
    search s = {.c = c,
                .family = c->family,
                .prefix = find_prefix(c),
                .used = sah_alloc(c->tensors->n, sizeof(bool))};
    sah_status status;
    c->layers = sah_alloc((size_t)config->n_layers, sizeof *c->layers);
    if (c->layers == NULL || s.used == NULL) {
        status = sah_fail_memory(error, "the list of weights");
        goto done;
    }
    status = find_ends(&s, error);
    if (status == SAH_OK) status = find_inputs(&s, error);
    for (int layer = 0; layer < config->n_layers && status == SAH_OK; layer++)
        status = find_layer(&s, layer, error);
    if (status == SAH_OK) status = read_rope_factors(&s, error);
    if (status == SAH_OK) status = refuse_unused(&s, error);
    if (status == SAH_OK) count(&s);
done:
    free(s.used);
    return status;
}
