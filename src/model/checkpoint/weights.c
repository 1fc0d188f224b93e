/* Finding a checkpoint's weights by their names in both containers, with the shapes the configuration gives
 * them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint/weights.h"
#include "util/alloc.h"
#include "util/error.h"

enum { NAME_BYTES = 160 };

/* What the steps below share. */
typedef struct search {
    sah_checkpoint *c;
    const char *prefix; /* "model." before Hugging Face names, or "" where a checkpoint leaves it out */
    bool *used; /* [tensors->n]: taken by name */
    size_t width, q_width, kv_width, ff_width, head_width;
} search;

typedef enum width { D_MODEL, Q, KV, D_FF, HEAD } width;

static size_t width_of(const search *s, width w)
{
    const size_t widths[] = {s->width, s->q_width, s->kv_width, s->ff_width, s->head_width};
    return widths[w];
}

/* The matrices of a layer: names, places in sah_layer_files, and sizes. */
static const struct matrix_role {
    const char *hugging_face, *gguf;
    size_t matrix, bias;
    width rows, columns;
} MATRICES[] = {
#define PLACE(member) offsetof(sah_layer_files, member)
    {"self_attn.q_proj", "attn_q", PLACE(q), PLACE(q_bias), Q, D_MODEL},
    {"self_attn.k_proj", "attn_k", PLACE(k), PLACE(k_bias), KV, D_MODEL},
    {"self_attn.v_proj", "attn_v", PLACE(v), PLACE(v_bias), KV, D_MODEL},
    {"self_attn.o_proj", "attn_output", PLACE(o), PLACE(o_bias), D_MODEL, Q},
    {"mlp.gate_proj", "ffn_gate", PLACE(gate), PLACE(gate_bias), D_FF, D_MODEL},
    {"mlp.up_proj", "ffn_up", PLACE(up), PLACE(up_bias), D_FF, D_MODEL},
    {"mlp.down_proj", "ffn_down", PLACE(down), PLACE(down_bias), D_MODEL, D_FF},
};

static const struct norm_role {
    const char *hugging_face, *gguf;
    size_t place;
    width size;
} NORMS[] = {
    {"input_layernorm", "attn_norm", PLACE(input_norm), D_MODEL},
    {"post_attention_layernorm", "ffn_norm", PLACE(post_norm), D_MODEL},
    {"self_attn.q_norm", "attn_q_norm", PLACE(q_norm), HEAD}, /* these two with QK-norm only */
    {"self_attn.k_norm", "attn_k_norm", PLACE(k_norm), HEAD},
#undef PLACE
};

enum {
    N_MATRICES = sizeof MATRICES / sizeof *MATRICES,
    N_NORMS = sizeof NORMS / sizeof *NORMS,
    ATTENTION_IN = 3, /* the first so many matrices are q, k and v; the next is o, the rest the MLP's */
};

/* The tensor `name` of `n_dims` sizes, marked as used. */
static sah_status find(const search *s, const char *name, int n_dims, size_t rows, size_t columns,
                       const sah_tensor **out, sah_error *error)
{
    const sah_tensors *tensors = s->c->tensors;
    const sah_tensor wanted = {.n_dims = n_dims, .dims = {rows, columns}};
    const sah_tensor *tensor = sah_tensors_find(tensors, name);
    if (tensor == NULL) {
        const char *type = sah_tensors_unsupported(tensors, name);
        if (type == NULL) return sah_fail(error, SAH_FAILED, "%s: tensor %s is missing", s->c->path, name);
        return sah_fail(error, SAH_FAILED, "%s: tensor %s has type %s, which is not supported", s->c->path,
                        name, type);
    }
    if (tensor->n_dims != n_dims || tensor->dims[0] != rows || (n_dims > 1 && tensor->dims[1] != columns)) {
        char have[SAH_SHAPE_TEXT], want[SAH_SHAPE_TEXT];
        sah_tensor_shape(tensor, have);
        sah_tensor_shape(&wanted, want);
        return sah_fail(error, SAH_FAILED, "%s: tensor %s is %s, the configuration asks for %s", s->c->path,
                        name, have, want);
    }
    s->used[tensor - tensors->items] = true;
    *out = tensor;
    return SAH_OK;
}

static sah_status find_matrix(const search *s, const char *name, size_t rows, size_t columns, sah_matrix *out,
                              sah_error *error)
{
    *out = (sah_matrix){.rows = rows, .columns = columns};
    return find(s, name, 2, rows, columns, &out->tensor, error);
}

static void layer_name(const search *s, int layer, const char *hugging_face, const char *gguf,
                       const char *kind, char name[NAME_BYTES])
{
    if (s->c->is_gguf)
        snprintf(name, NAME_BYTES, "blk.%d.%s.%s", layer, gguf, kind);
    else
        snprintf(name, NAME_BYTES, "%slayers.%d.%s.%s", s->prefix, layer, hugging_face, kind);
}

static sah_status find_layer_matrix(const search *s, int layer, int m, sah_error *error)
{
    const sah_config *config = &s->c->config;
    const struct matrix_role *role = &MATRICES[m];
    char *files = (char *)&s->c->layers[layer], name[NAME_BYTES];
    sah_matrix *matrix = (sah_matrix *)(void *)(files + role->matrix);
    const sah_tensor **bias = (const sah_tensor **)(void *)(files + role->bias);
    const size_t rows = width_of(s, role->rows);
    layer_name(s, layer, role->hugging_face, role->gguf, "weight", name);
    sah_status status = find_matrix(s, name, rows, width_of(s, role->columns), matrix, error);
    if (status != SAH_OK) return status;
    /* Only the converter of the llama architecture reorders rows, and only those of q and k. */
    if (s->c->is_gguf && strcmp(config->family, "llama") == 0 && m < 2) {
        matrix->rotary_heads = m == 0 ? config->n_heads : config->n_kv_heads;
    }
    bool biased = m < ATTENTION_IN ? config->qkv_bias : m == ATTENTION_IN ? config->o_bias : config->mlp_bias;
    if (!biased) return SAH_OK;
    layer_name(s, layer, role->hugging_face, role->gguf, "bias", name);
    status = find(s, name, 1, rows, 0, bias, error);
    if (status == SAH_OK && matrix->rotary_heads > 0 && sah_dtype_block_values((*bias)->type) != 1) {
        status = sah_fail(error, SAH_FAILED, "%s: tensor %s is quantised, which is not supported for a bias",
                          s->c->path, name);
    }
    return status;
}

static sah_status find_layer(const search *s, int layer, sah_error *error)
{
    sah_status status = SAH_OK;
    for (int m = 0; m < N_MATRICES && status == SAH_OK; m++) status = find_layer_matrix(s, layer, m, error);
    for (int i = 0; i < N_NORMS && status == SAH_OK; i++) {
        const sah_tensor **place =
            (const sah_tensor **)(void *)((char *)&s->c->layers[layer] + NORMS[i].place);
        char name[NAME_BYTES];
        if (NORMS[i].size == HEAD && !s->c->config.qk_norm) continue;
        layer_name(s, layer, NORMS[i].hugging_face, NORMS[i].gguf, "weight", name);
        status = find(s, name, 1, width_of(s, NORMS[i].size), 0, place, error);
    }
    return status;
}

/* Embedding, LM head, final norm. The LM head is the embedding when the configuration says so or the file has
 * none. */
static sah_status find_ends(const search *s, sah_error *error)
{
    sah_checkpoint *c = s->c;
    const size_t vocab = (size_t)c->config.n_vocab;
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%sembed_tokens.weight", s->prefix);
    sah_status status =
        find_matrix(s, c->is_gguf ? "token_embd.weight" : name, vocab, s->width, &c->embedding, error);
    if (status != SAH_OK) return status;
    snprintf(name, sizeof name, "%snorm.weight", s->prefix);
    status = find(s, c->is_gguf ? "output_norm.weight" : name, 1, s->width, 0, &c->final_norm, error);
    if (status != SAH_OK) return status;
    const char *head = c->is_gguf ? "output.weight" : "lm_head.weight";
    if (sah_tensors_find(c->tensors, head) == NULL && sah_tensors_unsupported(c->tensors, head) == NULL) {
        c->config.tied = true;
    }
    c->lm_head = c->embedding;
    return c->config.tied ? SAH_OK : find_matrix(s, head, vocab, s->width, &c->lm_head, error);
}

static sah_status read_rope_factors(const search *s, sah_error *error)
{
    const sah_tensor *tensor;
    const size_t n = s->head_width / 2;
    if (s->c->config.ropes[0].scaling != SAH_ROPE_FACTORS) return SAH_OK;
    sah_status status = find(s, "rope_freqs.weight", 1, n, 0, &tensor, error);
    if (status != SAH_OK) return status;
    s->c->rope_factors = sah_alloc(n, sizeof(float));
    if (s->c->rope_factors == NULL) return sah_fail_memory(error, "rope factors");
    sah_vector_read(tensor, 0, s->c->rope_factors);
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

/* A tensor that nothing above asked for belongs to a model that is built differently, except for a copy of
 * the tied LM head and for the RoPE tables that old checkpoints carry. */
static sah_status refuse_unused(const search *s, sah_error *error)
{
    const sah_tensors *tensors = s->c->tensors;
    for (size_t i = 0; i < tensors->n; i++) {
        const char *name = tensors->items[i].name;
        if (s->used[i] || ends_in(name, "rotary_emb.inv_freq")) continue;
        if (s->c->config.tied && strcmp(name, "lm_head.weight") == 0) continue;
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
        if (!s->used[i] || strcmp(tensor->name, "rope_freqs.weight") == 0) continue;
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

sah_status sah_checkpoint_find_weights(sah_checkpoint *c, sah_error *error)
{
    const sah_config *config = &c->config;
    const size_t head = (size_t)config->head_dim;
    search s = {.c = c,
                .prefix = sah_tensors_find(c->tensors, "embed_tokens.weight") != NULL ? "" : "model.",
                .used = sah_alloc(c->tensors->n, sizeof(bool)),
                .width = (size_t)config->d_model,
                .q_width = head * (size_t)config->n_heads,
                .kv_width = head * (size_t)config->n_kv_heads,
                .ff_width = (size_t)config->d_ff,
                .head_width = head};
    sah_status status;
    c->layers = sah_alloc((size_t)config->n_layers, sizeof *c->layers);
    if (c->layers == NULL || s.used == NULL) {
        status = sah_fail_memory(error, "the list of weights");
        goto done;
    }
    status = find_ends(&s, error);
    for (int layer = 0; layer < config->n_layers && status == SAH_OK; layer++)
        status = find_layer(&s, layer, error);
    if (status == SAH_OK) status = read_rope_factors(&s, error);
    if (status == SAH_OK) status = refuse_unused(&s, error);
    if (status == SAH_OK) count(&s);
done:
    free(s.used);
    return status;
}
