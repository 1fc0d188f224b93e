/* SPDX-License-Identifier: Apache-2.0 */
/* LoRA adapters in PEFT's layout: W becomes W + scaling B A (arXiv 2106.09685, section 4.1), A [r, inputs], B
 * [outputs, r], scaling = lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora (arXiv 2312.03732). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint/layout.h"
#include "model/checkpoint/lora.h"
#include "model/checkpoint/lora_pattern.h"
#include "model/checkpoint/weights.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/json.h"
#include "util/strings.h"

enum { MAX_CONFIG = 16 << 20 /* bytes */, MAX_RANK = 1 << 16, NAME_BYTES = 200 };

/* adapter_config.json, as far as the merge needs it. */
typedef struct settings {
    const char *where;
    const char *prefix; /* before the names of the adapted modules */
    json_t *json;
    int64_t rank;
    double alpha;
    bool rank_stabilised;
    sah_lora_patterns *ranks, *alphas; /* of modules that have their own */
    bool *used; /* [tensors of the adapter]: taken by a pair */
} settings;

/* What would make the merged weights different from W + scaling B A. */
static sah_status refuse_unknown(const settings *s, bool turned, sah_error *error)
{
    static const char *const KEYS[] = {"use_dora",
                                       "lora_bias",
                                       "use_qalora",
                                       "modules_to_save",
                                       "layer_replication",
                                       "use_bdlora",
                                       "trainable_token_indices",
                                       "alora_invocation_tokens",
                                       "arrow_config",
                                       "kasa_config",
                                       "monteclora_config",
                                       "megatron_config"};
    static const char *const STARTS[] = {"gaussian", "eva", "orthogonal"}; /* those that leave W as it is */
    const char *type, *bias, *start;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        const json_t *value = json_object_get(s->json, KEYS[i]);
        bool empty = value == NULL || json_is_null(value) || json_is_false(value) ||
                     (json_is_array(value) && json_array_size(value) == 0) ||
                     (json_is_object(value) && json_object_size(value) == 0);
        if (!empty)
            return sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"%s\" is not supported", s->where, KEYS[i]);
    }
    /* Matrices that are kept turned: PEFT turns what it adds, so that nothing changes here. */
    if (!turned && json_is_true(json_object_get(s->json, "fan_in_fan_out")))
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"fan_in_fan_out\" is not supported in this family",
                        s->where);
    sah_status status = sah_json_string(s->json, "peft_type", "", &type, s->where, error);
    if (status != SAH_OK) return status;
    if (strcmp(type, "LORA") != 0) {
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: adapter type \"%s\" is not supported: LORA is",
                        s->where, type);
    }
    status = sah_json_string(s->json, "bias", "none", &bias, s->where, error);
    if (status != SAH_OK) return status;
    if (strcmp(bias, "none") != 0) {
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"bias\": \"%s\" is not supported: none is", s->where,
                        bias);
    }
    start = json_string_value(json_object_get(s->json, "init_lora_weights"));
    for (size_t i = 0; start != NULL && i < sizeof STARTS / sizeof *STARTS; i++) {
        if (strcmp(start, STARTS[i]) == 0) start = NULL;
    }
    if (start == NULL) return SAH_OK;
    return sah_fail(error, SAH_NOT_SUPPORTED,
                    "%s: \"init_lora_weights\": \"%s\" changes the base weights: not supported", s->where,
                    start);
}

static sah_status read_settings(settings *s, bool turned, sah_error *error)
{
    sah_status status = sah_json_read(s->where, MAX_CONFIG, &s->json, error);
    if (status != SAH_OK) return status;
    if (!json_is_object(s->json)) return sah_fail(error, SAH_FAILED, "%s: not a JSON object", s->where);
    status = refuse_unknown(s, turned, error);
    if (status != SAH_OK) return status;
    status = sah_json_int(s->json, "r", 8, 1, MAX_RANK, &s->rank, s->where, error);
    if (status != SAH_OK) return status;
    status = sah_json_number(s->json, "lora_alpha", 8, &s->alpha, s->where, error);
    if (status != SAH_OK) return status;
    status = sah_json_bool(s->json, "use_rslora", false, &s->rank_stabilised, s->where, error);
    if (status == SAH_OK)
        status = sah_lora_patterns_new(json_object_get(s->json, "rank_pattern"), "rank_pattern", s->where,
                                       &s->ranks, error);
    if (status == SAH_OK)
        status = sah_lora_patterns_new(json_object_get(s->json, "alpha_pattern"), "alpha_pattern", s->where,
                                       &s->alphas, error);
    return status;
}

/* Rank and scaling of the module at `path`. */
static sah_status module_settings(const settings *s, const char *path, size_t *rank, float *scaling,
                                  sah_error *error)
{
    double alpha, r;
    sah_status status = sah_lora_patterns_find(s->ranks, path, (double)s->rank, &r, error);
    if (status == SAH_OK) status = sah_lora_patterns_find(s->alphas, path, s->alpha, &alpha, error);
    if (status != SAH_OK) return status;
    if (!(r >= 1 && r <= (double)MAX_RANK && r <= floor(r)))
        return sah_fail(error, SAH_FAILED, "%s: a rank of %g for %s", s->where, r, path);
    *rank = (size_t)r;
    *scaling = (float)(alpha / (s->rank_stabilised ? sqrt(r) : r));
    if (!isfinite(*scaling))
        return sah_fail(error, SAH_FAILED, "%s: no finite scaling for %s", s->where, path);
    return SAH_OK;
}

/* One of the two factors as float32; its shape must be [rows, columns]. */
static sah_status read_factor(const settings *s, const sah_tensors *adapter, const char *path,
                              const char *which, size_t rows, size_t columns, float **out, sah_error *error)
{
    const sah_tensor wanted = {.n_dims = 2, .dims = {rows, columns}};
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "base_model.model.%s.%s.weight", path, which);
    const char *file = adapter->files[0].path;
    const sah_tensor *tensor = sah_tensors_find(adapter, name);
    if (tensor == NULL) return sah_fail(error, SAH_FAILED, "%s: tensor %s is missing", file, name);
    if (tensor->n_dims != 2 || tensor->dims[0] != rows || tensor->dims[1] != columns) {
        char have[SAH_SHAPE_TEXT], want[SAH_SHAPE_TEXT];
        sah_tensor_shape(tensor, have);
        sah_tensor_shape(&wanted, want);
        return sah_fail(error, SAH_FAILED,
                        "%s: tensor %s is %s, but the model and adapter_config.json ask for %s", file, name,
                        have, want);
    }
    size_t values;
    *out = sah_mul(rows, columns, &values) ? sah_alloc_aligned(values, sizeof **out) : NULL;
    if (*out == NULL) return sah_fail_memory(error, "the adapter");
    sah_dequantize(tensor->type, tensor->data, values, *out);
    s->used[tensor - adapter->items] = true;
    return SAH_OK;
}

static const char *layers_of(const sah_checkpoint *c)
{
    return c->family->layers != NULL ? c->family->layers : "layers";
}

/* Where adapters find a layer: under the names that `transformers` gives the model's parts. */
static void module_path(const sah_checkpoint *c, const settings *s, int layer, const char *own,
                        char path[NAME_BYTES / 2])
{
    snprintf(path, NAME_BYTES / 2, "%s%s.%d.%s", s->prefix, layers_of(c), layer, own);
}

/* An adapter of a larger model names its modules as parts of that. */
static const char *prefix_of(const sah_checkpoint *c, const sah_tensors *adapter)
{
    char name[NAME_BYTES];
    for (size_t p = 0; sah_part_prefixes[p] != NULL; p++) {
        const int n =
            snprintf(name, sizeof name, "base_model.model.%s%s.", sah_part_prefixes[p], layers_of(c));
        for (size_t i = 0; i < adapter->n; i++)
            if (strncmp(adapter->items[i].name, name, (size_t)n) == 0) return sah_part_prefixes[p];
    }
    return c->family->prefixes[0];
}

/* The pair of one module, when the adapter has it; of a module that several weights share the role's rows. */
static sah_status attach(sah_checkpoint *c, const settings *s, const sah_tensors *adapter, int layer,
                         const sah_matrix_name *n, sah_error *error)
{
    sah_matrix *matrix = sah_role_matrix(&c->layers[layer], n->role);
    char path[NAME_BYTES / 2], name[NAME_BYTES];
    size_t rank = 0, rows, values;
    float *whole = NULL;
    if (n->cut >= SAH_CUT_EXPERTS) return SAH_OK;
    module_path(c, s, layer, n->hugging_face, path);
    snprintf(name, sizeof name, "base_model.model.%s.lora_A.weight", path);
    if (sah_tensors_find(adapter, name) == NULL) return SAH_OK; /* a lone B is refused as unused */
    const sah_layout layout = sah_layout_of(c->family, &c->config, layer, n->role, n->cut, false, &rows);
    sah_lora *lora = &c->loras[c->n_loras++];
    sah_status status = module_settings(s, path, &rank, &lora->scaling, error);
    if (status != SAH_OK) return status;
    lora->rank = (int)rank;
    status = read_factor(s, adapter, path, "lora_A", rank, matrix->columns, &lora->a, error);
    if (status != SAH_OK) return status;
    status = read_factor(s, adapter, path, "lora_B", rows, rank, &whole, error);
    if (status != SAH_OK) return status;
    lora->b = sah_mul(matrix->rows, rank, &values) ? sah_alloc_aligned(values, sizeof *lora->b) : NULL;
    for (size_t r = 0; lora->b != NULL && r < matrix->rows; r++)
        memcpy(lora->b + r * rank, whole + sah_layout_row(&layout, r) * rank, rank * sizeof *whole);
    free(whole);
    if (lora->b == NULL) return sah_fail_memory(error, "the adapter");
    matrix->lora = lora;
    return SAH_OK;
}

/* ---- Experts ------------------------------------------------------------------------------------------- */

/* An empty pair of the experts of a matrix: B is 0. NULL: no memory. */
static sah_lora *new_of_experts(sah_checkpoint *c, sah_matrix *matrix, size_t rank)
{
    const size_t n = (size_t)c->config.experts.n;
    sah_lora *lora = &c->loras[c->n_loras++];
    size_t values;
    *lora = (sah_lora){.rank = (int)rank, .scaling = 1, .block_rows = matrix->rows / n};
    if (sah_mul(n * rank, matrix->columns, &values)) lora->a = sah_alloc_aligned(values, sizeof *lora->a);
    if (sah_mul(matrix->rows, rank, &values)) lora->b = sah_alloc_aligned(values, sizeof *lora->b);
    if (lora->a == NULL || lora->b == NULL) return NULL;
    memset(lora->a, 0, n * rank * matrix->columns * sizeof *lora->a);
    memset(lora->b, 0, matrix->rows * rank * sizeof *lora->b);
    matrix->lora = lora;
    return lora;
}

/* A module an expert (`n->hugging_face` has its number): what PEFT made of models that kept them apart. Some of the
 * experts may have none, and ranks may differ. */
static sah_status attach_modules(sah_checkpoint *c, const settings *s, const sah_tensors *adapter, int layer,
                                 const sah_matrix_name *n, sah_error *error)
{
    sah_matrix *matrix = sah_role_matrix(&c->layers[layer], n->role);
    const size_t experts = (size_t)c->config.experts.n, rows = matrix->rows / experts;
    const char *number = strstr(n->hugging_face, "%d");
    char own[NAME_BYTES / 4], path[NAME_BYTES / 2], name[NAME_BYTES];
    size_t most = 0, rank;
    float scaling;
    sah_status status = SAH_OK;
    for (int pass = 0; pass < 2; pass++) { /* the largest rank first, then the pairs */
        sah_lora *lora = NULL;
        if (pass == 1 && most == 0) return SAH_OK;
        if (pass == 1 && (lora = new_of_experts(c, matrix, most)) == NULL)
            return sah_fail_memory(error, "the adapter");
        for (size_t e = 0; e < experts; e++) {
            float *a = NULL, *b = NULL;
            snprintf(own, sizeof own, "%.*s%zu%s", (int)(number - n->hugging_face), n->hugging_face, e,
                     number + 2);
            module_path(c, s, layer, own, path);
            snprintf(name, sizeof name, "base_model.model.%s.lora_A.weight", path);
            if (sah_tensors_find(adapter, name) == NULL) continue;
            status = module_settings(s, path, &rank, &scaling, error);
            if (status != SAH_OK) return status;
            if (rank > most) most = rank;
            if (pass == 0) continue;
            status = read_factor(s, adapter, path, "lora_A", rank, matrix->columns, &a, error);
            if (status == SAH_OK) status = read_factor(s, adapter, path, "lora_B", rows, rank, &b, error);
            if (status == SAH_OK)
                memcpy(lora->a + e * most * matrix->columns, a, rank * matrix->columns * sizeof *a);
            for (size_t r = 0; r < rows && status == SAH_OK; r++)
                for (size_t k = 0; k < rank; k++)
                    lora->b[(e * rows + r) * most + k] = scaling * b[r * rank + k];
            free(a);
            free(b);
            if (status != SAH_OK) return status;
        }
    }
    return SAH_OK;
}

/* The rows [first, first + rows of an expert) of one factor of all experts: A [experts, rank, columns] and
 * B [outputs, rank, experts], as PEFT keeps a parameter [experts, outputs, inputs]. */
static sah_status spread(sah_checkpoint *c, sah_matrix *matrix, size_t rank, float scaling, size_t first,
                         const float *a, const float *b, sah_error *error)
{
    const size_t n = (size_t)c->config.experts.n, rows = matrix->rows / n;
    sah_lora *lora = new_of_experts(c, matrix, rank);
    if (lora == NULL) return sah_fail_memory(error, "the adapter");
    memcpy(lora->a, a, n * rank * matrix->columns * sizeof *a);
    for (size_t row = 0; row < matrix->rows; row++)
        for (size_t k = 0; k < rank; k++)
            lora->b[row * rank + k] = scaling * b[((first + row % rows) * rank + k) * n + row / rows];
    return SAH_OK;
}

/* Where the experts' parameters lie in the model as transformers 5 has it. */
static void experts_path(const sah_checkpoint *c, const settings *s, int layer, bool inner,
                         char path[NAME_BYTES / 2])
{
    char own[NAME_BYTES / 4];
    snprintf(own, sizeof own, "%s%s", c->family->experts != NULL ? c->family->experts : "mlp.experts",
             inner ? ".base_layer" : "");
    module_path(c, s, layer, own, path);
}

/* The pair of a parameter of all experts: "gate_up_proj" or "down_proj", told by its shape; of two the first one's name
 * is the inner. */
static sah_status attach_parameter(sah_checkpoint *c, const settings *s, const sah_tensors *adapter,
                                   int layer, bool inner, sah_error *error)
{
    sah_layer_files *f = &c->layers[layer];
    const size_t n = (size_t)c->config.experts.n, width = (size_t)c->config.experts.width,
                 d = (size_t)c->config.d_model;
    char path[NAME_BYTES / 2], outer[NAME_BYTES / 2], name[NAME_BYTES];
    float *a = NULL, *b = NULL, scaling;
    size_t rank = 0;
    experts_path(c, s, layer, inner, path);
    experts_path(c, s, layer, false, outer);
    snprintf(name, sizeof name, "base_model.model.%s.lora_A.weight", path);
    const sah_tensor *tensor = sah_tensors_find(adapter, name);
    if (tensor == NULL) return SAH_OK;
    const bool down = tensor->n_dims == 2 && tensor->dims[1] == width && width != d;
    if (c->config.experts.bias || d == width || d == 2 * width)
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: an adapter of %s is not supported in this model: it cannot be told which way "
                        "round its experts' parameters are",
                        s->where, path);
    if ((down ? f->expert_down.lora : f->expert_gate.lora) != NULL)
        return sah_fail(error, SAH_FAILED, "%s: two adapters of the same experts in layer %d", s->where,
                        layer);
    snprintf(name, sizeof name, "%s.%s", outer, down ? "down_proj" : "gate_up_proj");
    sah_status status = module_settings(s, name, &rank, &scaling, error);
    if (status == SAH_OK)
        status = read_factor(s, adapter, path, "lora_A", n * rank, down ? width : d, &a, error);
    if (status == SAH_OK)
        status = read_factor(s, adapter, path, "lora_B", down ? d : 2 * width, n * rank, &b, error);
    if (status == SAH_OK)
        status = spread(c, down ? &f->expert_down : &f->expert_gate, rank, scaling, 0, a, b, error);
    if (status == SAH_OK && !down) status = spread(c, &f->expert_up, rank, scaling, width, a, b, error);
    free(a);
    free(b);
    return status;
}

static sah_status attach_experts(sah_checkpoint *c, const settings *s, const sah_tensors *adapter, int layer,
                                 sah_error *error)
{
    sah_status status = SAH_OK;
    if (!sah_layer_has(&c->config, layer, SAH_ROLE_EXPERT_DOWN)) return SAH_OK;
    for (const sah_matrix_name *n = c->family->matrices; n->hugging_face != NULL && status == SAH_OK; n++)
        if (n->cut == SAH_CUT_EXPERTS) status = attach_modules(c, s, adapter, layer, n, error);
    if (status == SAH_OK) status = attach_parameter(c, s, adapter, layer, true, error);
    return status == SAH_OK ? attach_parameter(c, s, adapter, layer, false, error) : status;
}

/* The first number between dots in a tensor's name, which is its layer's; -1: none. */
static long layer_in(const char *name)
{
    for (const char *at = strchr(name, '.'); at != NULL; at = strchr(at + 1, '.')) {
        char *end;
        if (at[1] < '0' || at[1] > '9') continue;
        const long layer = strtol(at + 1, &end, 10);
        if (*end == '.') return layer;
    }
    return -1;
}

/* A tensor that belongs to no pair: an adapted embedding or LM head, a saved module, a layer too many. */
static sah_status refuse_unused(const sah_checkpoint *c, const settings *s, const sah_tensors *adapter,
                                sah_error *error)
{
    const char *file = adapter->files[0].path;
    if (adapter->unsupported.n > 0) {
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: tensor %s has type %s, which is not supported", file,
                        adapter->unsupported.items[0], adapter->unsupported.items[1]);
    }
    for (size_t i = 0; i < adapter->n; i++) {
        if (s->used[i]) continue;
        const long layer = layer_in(adapter->items[i].name);
        if (layer >= c->config.n_layers)
            return sah_fail(error, SAH_FAILED,
                            "%s: tensor %s is of layer %ld, but the model has %d: this adapter is of another "
                            "model",
                            file, adapter->items[i].name, layer, c->config.n_layers);
        return sah_fail(
            error, SAH_FAILED,
            "%s: tensor %s cannot be merged: pairs lora_A, lora_B of attention and MLP matrices can", file,
            adapter->items[i].name);
    }
    if (adapter->n == 0) return sah_fail(error, SAH_FAILED, "%s: an adapter without tensors", file);
    return SAH_OK;
}

sah_status sah_lora_attach(sah_checkpoint *c, const char *directory, const sah_tensors *adapter,
                           sah_error *error)
{
    sah_text path = {0};
    settings s = {0};
    sah_text_addf(&path, "%s/adapter_config.json", directory);
    sah_status status = path.failed ? sah_fail_memory(error, "a path") : SAH_OK;
    if (status != SAH_OK) goto done;
    s.where = path.data;
    status = read_settings(&s, c->family->transposed, error);
    if (status != SAH_OK) goto done;
    s.prefix = prefix_of(c, adapter);
    c->loras = sah_alloc_table((size_t)c->config.n_layers, SAH_N_ROLES, sizeof *c->loras);
    s.used = sah_alloc(adapter->n, sizeof *s.used);
    if (c->loras == NULL || s.used == NULL) {
        status = sah_fail_memory(error, "the adapter");
        goto done;
    }
    for (int l = 0; l < c->config.n_layers && status == SAH_OK; l++) {
        for (const sah_matrix_name *n = c->family->matrices; n->hugging_face != NULL && status == SAH_OK; n++)
            status = attach(c, &s, adapter, l, n, error);
        if (status == SAH_OK) status = attach_experts(c, &s, adapter, l, error);
    }
    if (status == SAH_OK) status = refuse_unused(c, &s, adapter, error);
done:
    sah_lora_patterns_free(s.ranks);
    sah_lora_patterns_free(s.alphas);
    json_decref(s.json);
    free(s.used);
    free(path.data);
    return status;
}

void sah_lora_add(const sah_lora *lora, size_t row, size_t n, size_t columns, float *out)
{
    const size_t rank = (size_t)lora->rank;
    for (size_t i = 0; i < n; i++) {
        const float *b = lora->b + (row + i) * rank;
        const size_t block = lora->block_rows > 0 ? (row + i) / lora->block_rows : 0;
        float *restrict sum = out + i * columns;
        for (size_t k = 0; k < rank; k++) {
            const float weight = lora->scaling * b[k], *a = lora->a + (block * rank + k) * columns;
            for (size_t j = 0; j < columns; j++) sum[j] += weight * a[j];
        }
    }
}
