/* Attention from one checkpoint, MLP from another: tensors by their role, whatever their names and types. */
#include <stdlib.h>
#include <string.h>

#include "edit/provenance.h"
#include "model/record.h"
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
    if (status == SAH_OK) sah_rope_frequencies(&a->config, a->rope_factors, x);
    if (status == SAH_OK) sah_rope_frequencies(&b->config, b->rope_factors, y);
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        if (x[i] < y[i] || x[i] > y[i])
            status = sah_fail(error, SAH_FAILED,
                              "%s and %s cannot be mixed: RoPE frequency %zu is %.9g there, %.9g here",
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
        {"RoPE theta", x->rope_theta, y->rope_theta},
        {"sliding window", x->sliding_window, y->sliding_window},
    };
    const char *texts[][3] = {{"format", i->format, j->format},
                              {"family", i->family, j->family},
                              {"RoPE scaling", i->rope_scaling, j->rope_scaling}};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        if (strcmp(texts[t][1], texts[t][2]) != 0)
            return sah_fail(error, SAH_FAILED, "%s and %s cannot be mixed: %s %s there, %s here", a->path,
                            b->path, texts[t][0], texts[t][1], texts[t][2]);
    }
    for (size_t t = 0; t < sizeof numbers / sizeof *numbers; t++) {
        if (numbers[t].a < numbers[t].b || numbers[t].a > numbers[t].b)
            return sah_fail(error, SAH_FAILED, "%s and %s cannot be mixed: %s %.15g there, %.15g here",
                            a->path, b->path, numbers[t].what, numbers[t].a, numbers[t].b);
    }
    return compare_rope(a, b, error);
}

/* ---- Whose tensors
 * ----------------------------------------------------------------------------------------------- */

enum { ATTENTION_TENSORS = 10, MLP_TENSORS = 6 };

/* NULL where the model has none. */
static void attention_of(const sah_layer_files *f, const sah_tensor *out[ATTENTION_TENSORS])
{
    const sah_tensor *all[ATTENTION_TENSORS] = {f->q.tensor, f->k.tensor, f->v.tensor, f->o.tensor,
                                                f->q_bias,   f->k_bias,   f->v_bias,   f->o_bias,
                                                f->q_norm,   f->k_norm};
    memcpy(out, all, sizeof all);
}

static void mlp_of(const sah_layer_files *f, const sah_tensor *out[MLP_TENSORS])
{
    const sah_tensor *all[MLP_TENSORS] = {f->gate.tensor, f->up.tensor, f->down.tensor,
                                          f->gate_bias,   f->up_bias,   f->down_bias};
    memcpy(out, all, sizeof all);
}

/* The tensors `to` of the base become those of the donor, byte for byte and in their type. */
static void take(sah_rewrite *rewrite, const sah_tensor *const *to, const sah_tensor *const *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (to[i] == NULL) continue;
        rewrite->changes[to[i] - rewrite->base->tensors->items] =
            (sah_change){.changed = true, .type = from[i]->type, .data = from[i]->data};
    }
}

static void plan(sah_rewrite *rewrite, const sah_checkpoint *donor, bool attention, bool mlp)
{
    for (int l = 0; l < donor->config.n_layers; l++) {
        const sah_tensor *to[ATTENTION_TENSORS], *from[ATTENTION_TENSORS];
        attention_of(&rewrite->base->layers[l], to);
        attention_of(&donor->layers[l], from);
        if (attention) take(rewrite, to, from, ATTENTION_TENSORS);
        mlp_of(&rewrite->base->layers[l], to);
        mlp_of(&donor->layers[l], from);
        if (mlp) take(rewrite, to, from, MLP_TENSORS);
    }
}

/* ---- All of it
 * ----------------------------------------------------------------------------------------------- */

static json_t *settings_of(sah_checkpoint *const models[2], const sah_graft_options *options)
{
    static const char *const NAMES[] = {"A", "B"};
    json_t *settings = json_pack("{s:s, s:s, s:s, s:o, s:o}", "attention", NAMES[options->attention], "mlp",
                                 NAMES[options->mlp], "rest", NAMES[options->rest], "A",
                                 sah_model_record(&models[0]->info), "B", sah_model_record(&models[1]->info));
    /* What had been done to the base is told as `before`; of the other it is told here. */
    json_t *other = models[1 - options->rest]->provenance;
    if (settings == NULL || other == NULL || json_object_set(settings, "before_other", other) == 0)
        return settings;
    json_decref(settings);
    return NULL;
}

sah_status sah_graft(const char *a, const char *b, const sah_graft_options *options, const char *out,
                     sah_strings *notes, sah_error *error)
{
    const char *inputs[] = {a, b};
    sah_checkpoint *models[2] = {0};
    char *provenance = NULL;
    sah_rewrite rewrite = {.progress = options->progress, .user = options->user};
    sah_status status = SAH_OK;
    for (int i = 0; i < 2 && status == SAH_OK; i++)
        status = sah_checkpoint_open(inputs[i], NULL, false, &models[i], error);
    if (status == SAH_OK) status = compare(models[0], models[1], error);
    if (status != SAH_OK) goto done;
    rewrite.base = models[options->rest];
    rewrite.changes = sah_alloc(rewrite.base->tensors->n, sizeof *rewrite.changes);
    if (rewrite.changes == NULL) {
        status = sah_fail_memory(error, "the graft");
        goto done;
    }
    plan(&rewrite, models[1 - options->rest], options->attention != options->rest,
         options->mlp != options->rest);
    if (notes != NULL) status = sah_provenance_notes(&rewrite, NULL, notes, error);
    if (status == SAH_OK)
        status = sah_provenance_text("graft", &rewrite, settings_of(models, options), &provenance, error);
    rewrite.provenance = provenance;
    if (status == SAH_OK) status = sah_rewrite_run(&rewrite, out, inputs, 2, error);
done:
    free(provenance);
    free(rewrite.changes);
    for (int i = 0; i < 2; i++) sah_checkpoint_close(models[i]);
    return status;
}
