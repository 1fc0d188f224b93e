/* SPDX-License-Identifier: Apache-2.0 */
#include "model/checkpoint/checkpoint.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "model/checkpoint/config.h"
#include "model/checkpoint/config_gguf.h"
#include "model/checkpoint/lora.h"
#include "model/checkpoint/quantization.h"
#include "model/checkpoint/weights.h"
#include "model/format/gguf_split.h"
#include "model/format/weight_files.h"
#include "model/template/template.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer/tokenizer_json.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/json.h"
#include "util/strings.h"

enum { MAX_CONFIG = 16 << 20, HASH_CHUNK = 64 << 20 /* bytes */ };

/* "DIR/NAME" for free(). */
static sah_status join(const char *directory, const char *name, char **out, sah_error *error)
{
    sah_text text = {0};
    sah_text_addf(&text, "%s/%s", directory, name);
    *out = text.data;
    if (!text.failed) return SAH_OK;
    free(text.data);
    *out = NULL;
    return sah_fail_memory(error, "a path");
}

static sah_status open_gguf(sah_checkpoint *c, sah_error *error)
{
    c->is_gguf = true;
    c->tensors = &c->gguf.tensors;
    return sah_gguf_open(c->path, &c->gguf, error);
}

/* A directory without config.json: what it is instead. */
static sah_status refuse_directory(const char *directory, sah_error *error)
{
    char *path;
    sah_status status = join(directory, "adapter_config.json", &path, error);
    if (status != SAH_OK) return status;
    const bool adapter = access(path, F_OK) == 0;
    free(path);
    if (adapter)
        return sah_fail(
            error, SAH_FAILED,
            "%s holds a LoRA adapter, not a model (no config.json): open the model it was made for, "
            "with this as its adapter",
            directory);
    return sah_fail(
        error, SAH_FAILED,
        "%s: no config.json in it: a model is a directory that holds config.json and weights, or a "
        ".gguf file",
        directory);
}

static sah_status open_directory(sah_checkpoint *c, sah_error *error)
{
    char *path;
    c->tensors = &c->owned;
    sah_status status = join(c->path, "config.json", &path, error);
    if (status != SAH_OK) return status;
    if (access(path, F_OK) != 0) status = refuse_directory(c->path, error);
    free(path);
    return status;
}

/* Configuration and weight files of a directory. */
static sah_status read_directory(sah_checkpoint *c, sah_error *error)
{
    char *path;
    json_t *json = NULL;
    sah_quantization quantization = {0};
    sah_status status = join(c->path, "config.json", &path, error);
    if (status != SAH_OK) return status;
    status = sah_json_read(path, MAX_CONFIG, &json, error);
    if (status == SAH_OK) status = sah_quantization_from_json(json, path, &quantization, error);
    if (status == SAH_OK) status = sah_config_from_json(json, path, &c->config, &c->family, error);
    if (status == SAH_OK) status = sah_weights_open_model(c->path, &c->owned, error);
    if (status == SAH_OK) status = sah_quantization_attach(&quantization, &c->owned, error);
    json_decref(json);
    free(path);
    return status;
}

static sah_status open_weights(sah_checkpoint *c, sah_error *error)
{
    sah_status status =
        c->is_gguf ? sah_config_from_gguf(&c->gguf, &c->config, &c->family, error) : read_directory(c, error);
    return status == SAH_OK ? sah_checkpoint_find_weights(c, error) : status;
}

static sah_status open_adapter(sah_checkpoint *c, const char *adapter, sah_tensors *tensors, sah_error *error)
{
    sah_status status = sah_weights_open_adapter(adapter, tensors, error);
    return status == SAH_OK ? sah_lora_attach(c, adapter, tensors, error) : status;
}

/* A model without a tokenizer is fine: token ids can be given. */
static sah_status open_tokenizer(sah_checkpoint *c, sah_error *error)
{
    if (!c->is_gguf) return sah_tokenizer_from_directory(c->path, &c->tokenizer, error);
    if (sah_gguf_find(&c->gguf, "tokenizer.ggml.model") == NULL) return SAH_OK;
    return sah_tokenizer_from_gguf(&c->gguf, &c->tokenizer, error);
}

static sah_status open_template(sah_checkpoint *c, sah_error *error)
{
    return c->is_gguf ? sah_chat_from_gguf(&c->gguf, c->tokenizer, &c->chat, error)
                      : sah_chat_from_directory(c->path, &c->chat, error);
}

/* What surgery did to make this checkpoint, where it was made so. */
static sah_status open_provenance(sah_checkpoint *c, sah_error *error)
{
    sah_status status;
    char *path = NULL;
    if (c->is_gguf) {
        const char *text;
        size_t length;
        status = sah_gguf_string(&c->gguf, SAH_GGUF_PROVENANCE, &text, &length, error);
        if (status != SAH_OK || text == NULL) return status;
        status = sah_json_parse(text, length, SAH_GGUF_PROVENANCE, &c->provenance, error);
    } else {
        status = join(c->path, "sahara.json", &path, error);
        if (status == SAH_OK && access(path, F_OK) == 0)
            status = sah_json_read(path, MAX_CONFIG, &c->provenance, error);
    }
    if (status == SAH_OK && c->provenance != NULL && !json_is_object(c->provenance))
        status =
            sah_fail(error, SAH_FAILED, "%s: not a JSON object", c->is_gguf ? SAH_GGUF_PROVENANCE : path);
    free(path);
    return status;
}

sah_status sah_watch_show(const sah_watch *watch, const char *what, uint64_t done, uint64_t total,
                          sah_error *error)
{
    if (watch == NULL || watch->progress == NULL || watch->progress(watch->user, what, done, total))
        return SAH_OK;
    return sah_fail(error, SAH_INTERRUPTED, "interrupted while the model was opened");
}

/* A checksum on its way. */
typedef struct hashing {
    XXH3_state_t *state;
    const sah_watch *watch;
    uint64_t done, total; /* bytes */
} hashing;

/* In chunks, letting each go, so that a model of any size passes without filling memory. */
static sah_status hash_file(hashing *h, const sah_mapfile *file, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t at = 0; at < file->size && status == SAH_OK; at += HASH_CHUNK) {
        size_t size = file->size - at < HASH_CHUNK ? file->size - at : HASH_CHUNK;
        XXH3_64bits_update(h->state, file->data + at, size);
        sah_mapfile_release(file, at, size);
        h->done += size;
        status = sah_watch_show(h->watch, "checksum: bytes", h->done, h->total, error);
    }
    return status;
}

static sah_status hash_files(hashing *h, const sah_tensors *tensors, sah_error *error)
{
    sah_status status = SAH_OK;
    for (size_t i = 0; i < tensors->n_files && status == SAH_OK; i++)
        status = hash_file(h, &tensors->files[i], error);
    return status;
}

static sah_status hash_adapter_config(hashing *h, const char *adapter, sah_error *error)
{
    char *path;
    sah_mapfile file;
    sah_status status = join(adapter, "adapter_config.json", &path, error);
    if (status != SAH_OK) return status;
    status = sah_mapfile_open(path, &file, error);
    free(path);
    if (status != SAH_OK) return status;
    h->total += file.size;
    status = hash_file(h, &file, error);
    sah_mapfile_close(&file);
    return status;
}

/* XXH3 over the weight files, which are in the order of their names, then the adapter's settings (they scale
 * it) and weights. */
static sah_status write_checksum(sah_checkpoint *c, const char *adapter, const sah_tensors *adapter_tensors,
                                 const sah_watch *watch, sah_error *error)
{
    XXH3_state_t *state = XXH3_createState();
    hashing h = {.state = state, .watch = watch};
    if (state == NULL) return sah_fail_memory(error, "the checksum");
    XXH3_64bits_reset(state);
    for (size_t i = 0; i < c->tensors->n_files; i++) h.total += c->tensors->files[i].size;
    for (size_t i = 0; i < adapter_tensors->n_files; i++) h.total += adapter_tensors->files[i].size;
    sah_status status = hash_files(&h, c->tensors, error);
    if (status == SAH_OK && adapter != NULL) status = hash_adapter_config(&h, adapter, error);
    if (status == SAH_OK) status = hash_files(&h, adapter_tensors, error);
    snprintf(c->info.checksum, sizeof c->info.checksum, "%016llx",
             (unsigned long long)XXH3_64bits_digest(state));
    XXH3_freeState(state);
    return status;
}

static void describe_rope(const sah_checkpoint *c, char *out, size_t size)
{
    double factor = c->config.ropes[0].factor;
    /* GGUF keeps Llama 3's scaling as one factor a pair; the largest is the one the long waves are stretched
     * by. */
    for (int i = 0; c->rope_factors != NULL && i < c->config.ropes[0].dims / 2; i++) {
        factor = i == 0 ? (double)c->rope_factors[0] : fmax(factor, (double)c->rope_factors[i]);
    }
    switch (c->config.ropes[0].scaling) {
    case SAH_ROPE_NONE:
        snprintf(out, size, "none");
        break;
    case SAH_ROPE_LINEAR:
        snprintf(out, size, "linear %g", factor);
        break;
    case SAH_ROPE_LLAMA3:
    case SAH_ROPE_FACTORS:
        snprintf(out, size, "llama3 %g", factor);
        break;
    case SAH_ROPE_DYNAMIC:
        snprintf(out, size, "dynamic %g", factor);
        break;
    case SAH_ROPE_YARN:
        snprintf(out, size, "yarn %g", factor);
        break;
    case SAH_ROPE_LONG:
        snprintf(out, size, "longrope, %d positions", c->config.ropes[0].limit);
        break;
    }
}

/* The last component of the path; of "." and the like, of the directory they stand for. */
static void describe_name(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/'), *last = slash != NULL ? slash + 1 : path;
    char *absolute = NULL;
    if (last[strspn(last, ".")] == '\0') {
        absolute = realpath(path, NULL);
        slash = absolute != NULL ? strrchr(absolute, '/') : NULL;
        if (slash != NULL) last = slash + 1;
    }
    snprintf(out, size, "%s", last);
    free(absolute);
}

static const char *container_name(const sah_checkpoint *c)
{
    return c->is_gguf ? "gguf" : c->tensors->is_torch ? "pytorch" : "safetensors";
}

/* Heads as layers of attention have them, the most of any; layers of the delta rule have no key heads of their own. */
static void describe_heads(const sah_config *config, sah_model_info *info)
{
    info->n_heads = config->n_heads;
    info->head_dim = config->head_dim;
    for (int l = 0; l < config->n_layers; l++) {
        const sah_layer_kind kind = sah_config_layer(config, l);
        if (kind.mixer == SAH_MIXER_ATTENTION && kind.n_kv_heads > info->n_kv_heads)
            info->n_kv_heads = kind.n_kv_heads;
    }
    if (info->n_kv_heads == 0) info->n_kv_heads = config->n_kv_heads;
}

static sah_status describe(sah_checkpoint *c, sah_error *error)
{
    const sah_config *config = &c->config;
    sah_model_info *info = &c->info;
    /* Of a model in parts the first gives the name, whichever was asked for. */
    describe_name(c->is_gguf ? c->tensors->files[0].path : c->path, info->name, sizeof info->name);
    snprintf(info->family, sizeof info->family, "%s", config->family);
    snprintf(info->format, sizeof info->format, "%s", container_name(c));
    const char *template_;
    sah_status status = sah_template_recognise(&c->chat, &template_, error);
    if (status != SAH_OK) return status;
    snprintf(info->chat_template, sizeof info->chat_template, "%s", template_);
    describe_rope(c, info->rope_scaling, sizeof info->rope_scaling);
    info->layers = config;
    info->n_layers = config->n_layers;
    describe_heads(config, info);
    info->d_model = config->d_model;
    info->d_ff = config->d_ff;
    info->n_vocab = config->n_vocab;
    info->max_positions = config->max_positions;
    info->sliding_window = config->sliding_window;
    info->tied_embeddings = config->tied;
    info->qk_norm = config->qk_norm;
    info->rope_theta = config->ropes[0].theta;
    for (size_t i = 0; i < c->tensors->n_files; i++) info->file_bytes += c->tensors->files[i].size;
    return SAH_OK;
}

/* A file of a Hugging Face directory, by its name. */
static bool is_part_of_directory(const char *path, size_t n)
{
    static const char *const endings[] = {".safetensors", ".bin", ".pt", ".pth", ".json"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t m = strlen(endings[i]);
        if (n > m && memcmp(path + n - m, endings[i], m) == 0) return true;
    }
    return false;
}

static sah_status open_files(sah_checkpoint *c, const char *path, sah_error *error)
{
    struct stat status;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    c->path = strndup(path, n);
    if (c->path == NULL) return sah_fail_memory(error, "a path");
    if (stat(path, &status) != 0) return sah_fail_errno(error, "cannot open model", path);
    if (S_ISDIR(status.st_mode)) return open_directory(c, error);
    if (is_part_of_directory(path, n)) {
        return sah_fail(error, SAH_FAILED, "%s: name the directory it is in, which also holds config.json",
                        path);
    }
    return open_gguf(c, error);
}

sah_status sah_checkpoint_open(const char *path, const char *adapter, bool describe_only,
                               sah_checkpoint **out, sah_error *error)
{
    return sah_checkpoint_load(path, adapter, describe_only, NULL, out, error);
}

sah_status sah_checkpoint_load(const char *path, const char *adapter, bool describe_only,
                               const sah_watch *watch, sah_checkpoint **out, sah_error *error)
{
    sah_tensors adapter_tensors = {0};
    *out = NULL;
    sah_checkpoint *c = sah_alloc(1, sizeof *c);
    if (c == NULL) return sah_fail_memory(error, "the model");
    sah_status status = open_files(c, path, error);
    if (status == SAH_OK) status = open_weights(c, error);
    if (status == SAH_OK && adapter != NULL) status = open_adapter(c, adapter, &adapter_tensors, error);
    if (status == SAH_OK) status = open_tokenizer(c, error);
    if (status == SAH_OK) status = open_template(c, error);
    if (status == SAH_OK) status = open_provenance(c, error);
    if (status == SAH_OK) status = describe(c, error);
    if (status == SAH_OK && !describe_only)
        status = write_checksum(c, adapter, &adapter_tensors, watch, error);
    sah_tensors_close(&adapter_tensors);
    if (status != SAH_OK)
        sah_checkpoint_close(c);
    else
        *out = c;
    return status;
}

sah_status sah_checkpoint_examine(const char *path, const char *adapter, sah_examination *out,
                                  sah_error *error)
{
    sah_tensors adapter_tensors = {0};
    sah_checkpoint *c = sah_alloc(1, sizeof *c);
    sah_status status = SAH_OK;
    *out = (sah_examination){.chat_template = "none"};
    sah_error *parts = out->parts;
    if (c == NULL) return sah_fail_memory(error, "the model");
    if (open_files(c, path, &parts[SAH_CHECKPOINT_FILES]) != SAH_OK) {
        for (int p = 1; p < SAH_CHECKPOINT_PARTS; p++) parts[p] = parts[SAH_CHECKPOINT_FILES];
    } else {
        if (open_weights(c, &parts[SAH_CHECKPOINT_WEIGHTS]) != SAH_OK)
            parts[SAH_CHECKPOINT_ADAPTER] = parts[SAH_CHECKPOINT_WEIGHTS];
        else if (adapter != NULL)
            open_adapter(c, adapter, &adapter_tensors, &parts[SAH_CHECKPOINT_ADAPTER]);
        open_tokenizer(c, &parts[SAH_CHECKPOINT_TOKENIZER]);
        const char *name = "none";
        if (open_template(c, &parts[SAH_CHECKPOINT_TEMPLATE]) == SAH_OK)
            status = sah_template_recognise(&c->chat, &name, error);
        snprintf(out->chat_template, sizeof out->chat_template, "%s", name);
    }
    /* A part that had no memory is not one that is not supported. */
    for (int p = 0; p < SAH_CHECKPOINT_PARTS; p++)
        if (parts[p].status == SAH_OUT_OF_MEMORY) status = sah_fail_memory(error, "the model");
    out->tokenizer = c->tokenizer != NULL;
    sah_tensors_close(&adapter_tensors);
    sah_checkpoint_close(c);
    return status;
}

void sah_checkpoint_close(sah_checkpoint *c)
{
    if (c == NULL) return;
    for (size_t i = 0; i < c->n_loras; i++) {
        free(c->loras[i].a);
        free(c->loras[i].b);
    }
    json_decref(c->provenance);
    sah_tokenizer_free(c->tokenizer);
    for (size_t i = 0; i < c->n_views; i++) {
        free(c->views[i]->held);
        free(c->views[i]);
    }
    free(c->views);
    for (size_t i = 0; i < c->n_blocks; i++) free(c->blocks[i]);
    free(c->blocks);
    sah_config_free(&c->config);
    sah_gguf_close(&c->gguf);
    sah_tensors_close(&c->owned);
    free(c->loras);
    free(c->layers);
    free(c->rope_factors);
    sah_chat_free(&c->chat);
    free(c->path);
    free(c);
}

void sah_checkpoint_release(const sah_checkpoint *checkpoint, const sah_tensor *tensor)
{
    sah_mapfile_release(&checkpoint->tensors->files[tensor->file], tensor->offset, tensor->bytes);
}
