/* SPDX-License-Identifier: Apache-2.0 */
/* A model's description and its logits as text. */
#include <math.h>
#include <stdlib.h>

#include "engine/model.h"
#include "util/error.h"
#include "util/json.h"
#include "util/strings.h"
#include "program.h"

static char *as_json(const sah_model_info *i, json_t *provenance)
{
    /* Weights alone have one. (json_pack() would leave a text out for which memory is short.) */
    json_t *checksum = i->checksum[0] != '\0' ? json_string(i->checksum) : NULL;
    if (checksum == NULL && i->checksum[0] != '\0') return NULL;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:o*, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:b, s:f, s:s, s:I, "
        "s:I, s:s}",
        "name", i->name, "family", i->family, "format", i->format, "types", i->types, "xxh3", checksum,
        "layers", i->n_layers, "heads", i->n_heads, "kv_heads", i->n_kv_heads, "head_dim", i->head_dim,
        "d_model", i->d_model, "d_ff", i->d_ff, "vocab", i->n_vocab, "max_positions", i->max_positions,
        "sliding_window", i->sliding_window, "tied_embeddings", i->tied_embeddings, "qk_norm", i->qk_norm,
        "rope_theta", i->rope_theta, "rope_scaling", i->rope_scaling, "parameters",
        (json_int_t)i->n_parameters, "file_bytes", (json_int_t)i->file_bytes, "chat_template",
        i->chat_template);
    if (object != NULL && provenance != NULL && json_object_set(object, "provenance", provenance) != 0) {
        json_decref(object);
        object = NULL;
    }
    char *line = object != NULL ? sah_json_text(object, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    sah_text text = {0};
    if (line != NULL) sah_text_addf(&text, "%s\n", line);
    free(line);
    json_decref(object);
    if (text.failed) {
        free(text.data);
        return NULL;
    }
    return text.data;
}

/* What surgery did, the last first. */
static void add_provenance(sah_text *text, const json_t *record)
{
    for (; json_is_object(record); record = json_object_get(record, "before")) {
        const char *command = json_string_value(json_object_get(record, "sahara"));
        const char *name = json_string_value(json_object_get(json_object_get(record, "model"), "name"));
        char *settings =
            sah_json_text(json_object_get(record, "settings"), JSON_COMPACT | JSON_REAL_PRECISION(15));
        sah_text_addf(text, "made by        sahara %s, from %s: %s\n", command != NULL ? command : "?",
                      name != NULL ? name : "?", settings != NULL ? settings : "?");
        free(settings);
    }
}

/* Heads of the layers of attention; and where there are others, how many layers and what is theirs. */
static void add_heads(sah_text *text, const sah_model_info *i, const sah_config *c)
{
    sah_layer_kind attention = {.n_heads = i->n_heads, .head_dim = i->head_dim}, delta = attention;
    int n_delta = 0, n_convolutions = 0;
    for (int l = c->n_layers - 1; l >= 0; l--) {
        const sah_layer_kind kind = sah_config_layer(c, l);
        bool is_delta = kind.mixer == SAH_MIXER_DELTA;
        n_delta += is_delta;
        n_convolutions += kind.mixer == SAH_MIXER_CONVOLUTION;
        if (is_delta)
            delta = kind;
        else if (c->delta.key_heads > 0)
            attention = kind;
    }
    sah_text_addf(text, "heads          %d a layer, %d key/value heads, width %d%s\n", attention.n_heads,
                  i->n_kv_heads, attention.head_dim, i->qk_norm ? ", QK-norm" : "");
    if (n_delta > 0)
        sah_text_addf(text, "delta rule     in %d of %d layers, %d heads, %d key heads, width %d\n", n_delta,
                      c->n_layers, delta.n_heads, c->delta.key_heads, delta.head_dim);
    if (n_convolutions > 0)
        sah_text_addf(text, "convolutions   in %d of %d layers, over %d positions\n", n_convolutions,
                      c->n_layers, c->delta.kernel);
}

static char *as_text(const sah_model_info *i, const sah_config *config, const json_t *provenance)
{
    sah_text text = {0};
    sah_text_addf(&text, "model          %s\n", i->name);
    sah_text_addf(&text, "family         %s (%s)\n", i->family, i->format);
    sah_text_addf(&text, "layers         %d\n", i->n_layers);
    add_heads(&text, i, config);
    sah_text_addf(&text, "model width    %d, MLP %d\n", i->d_model, i->d_ff);
    sah_text_addf(&text, "vocabulary     %d%s\n", i->n_vocab,
                  i->tied_embeddings ? ", embedding and LM head shared" : "");
    sah_text_addf(&text, "positions      %d, RoPE theta %g, scaling %s", i->max_positions, i->rope_theta,
                  i->rope_scaling);
    if (i->sliding_window) sah_text_addf(&text, ", sliding window %d", i->sliding_window);
    sah_text_addf(&text, "\nparameters     %.1f million\n", (double)i->n_parameters / 1e6);
    sah_text_addf(&text, "files          %.1f MB: %s\n", (double)i->file_bytes / 1e6, i->types);
    sah_text_addf(&text, "chat template  %s\n", i->chat_template);
    add_provenance(&text, provenance);
    if (text.failed) {
        free(text.data);
        return NULL;
    }
    return text.data;
}

sah_status sah_model_text(const sah_model *model, bool json, char **text, sah_error *error)
{
    json_t *provenance = model->checkpoint->provenance;
    *text = json ? as_json(&model->info, provenance) : as_text(&model->info, &model->config, provenance);
    return *text != NULL ? SAH_OK : sah_fail_memory(error, "the description");
}

sah_status sah_logits_text(const int32_t *tokens, size_t n, const float *logits, size_t n_vocab, char **text,
                           sah_error *error)
{
    sah_text out = {0};
    char number[32];
    sah_text_adds(&out, "{\"tokens\":[");
    for (size_t i = 0; i < n; i++) sah_text_addf(&out, "%s%d", i > 0 ? "," : "", (int)tokens[i]);
    sah_text_adds(&out, "],\"logits\":[");
    for (size_t i = 0; i < n_vocab; i++) {
        if (!isfinite(logits[i])) {
            free(out.data);
            return sah_fail(error, SAH_FAILED, "logit %zu is not finite; the checkpoint may be damaged", i);
        }
        sah_format_float(logits[i], number);
        sah_text_addf(&out, "%s%s", i > 0 ? "," : "", number);
    }
    sah_text_adds(&out, "]}\n");
    if (out.failed) {
        free(out.data);
        return sah_fail_memory(error, "the logits");
    }
    *text = out.data;
    return SAH_OK;
}
