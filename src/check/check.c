/* SPDX-License-Identifier: Apache-2.0 */
/* What of a model is supported, found by trying it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ablation.h"
#include "engine/model.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/json.h"
#include "util/strings.h"
#include "program.h"

static const struct {
    unsigned part;
    char letter;
} PARTS[] = {{SAH_PART_Q, 'q'}, {SAH_PART_K, 'k'}, {SAH_PART_V, 'v'}};
enum { N_PARTS = 3 };

/* ---- Lines --------------------------------------------------------------------------------------------- */

/* A part that had no memory is not one that is not supported. */
typedef struct checking {
    sah_checks *out;
    bool no_memory;
} checking;

static bool failed(checking *c, const sah_error *error)
{
    c->no_memory = c->no_memory || error->status == SAH_OUT_OF_MEMORY;
    return error->status != SAH_OK;
}

static void add(checking *c, const char *part, char letter, sah_support support, const char *note)
{
    sah_check_line *line = &c->out->lines[c->out->n++];
    *line = (sah_check_line){.support = support};
    snprintf(line->part, sizeof line->part, letter != '\0' ? "%s %c" : "%s", part, letter);
    snprintf(line->note, sizeof line->note, "%s", note);
}

/* A part whose test left `error`; `note` where there is none. */
static void add_tested(checking *c, const char *part, const sah_error *error, const char *note)
{
    const bool good = !failed(c, error);
    add(c, part, '\0', good ? SAH_SUPPORTED : SAH_UNSUPPORTED, good ? note : error->message);
}

/* ---- A prompt ------------------------------------------------------------------------------------------ */

typedef struct prompt {
    int32_t *ids;
    size_t n;
    float *base, *edited; /* [n_vocab] logits */
} prompt;

static bool has_template(const sah_model *model)
{
    return strcmp(model->info.chat_template, "none") != 0 &&
           strcmp(model->info.chat_template, "unsupported") != 0;
}

/* A greeting, wrapped where the model has a template; without a tokenizer some ids. */
static sah_status make_prompt(const sah_model *model, prompt *out, sah_error *error)
{
    static const char GREETING[] = "Hello! How are you today?";
    char *text = NULL;
    const char *name = has_template(model) ? "chat" : "none";
    if (model->checkpoint->tokenizer == NULL) {
        out->n = model->config.max_positions < 8 ? 1 : 8;
        out->ids = sah_alloc(out->n, sizeof *out->ids);
        if (out->ids == NULL) return sah_fail_memory(error, "the prompt");
        for (size_t i = 0; i < out->n; i++)
            out->ids[i] = (int32_t)((3 * i + 1) % (size_t)model->config.n_vocab);
        return SAH_OK;
    }
    sah_status status = sah_prompt_wrap(model, name, NULL, GREETING, &text, error);
    if (status == SAH_OK) status = sah_prompt_encode(model, name, text, &out->ids, &out->n, error);
    free(text);
    return status;
}

/* Logits under one edit, or none; they must be numbers. */
static sah_status run(const sah_model *model, const prompt *p, const sah_edit *edit, float *logits,
                      sah_error *error)
{
    sah_status status = sah_logits(model, p->ids, p->n, edit, edit != NULL, logits, error);
    for (int i = 0; i < model->config.n_vocab && status == SAH_OK; i++)
        if (!isfinite(logits[i]))
            status = sah_fail(error, SAH_FAILED, "logit %d is not finite: the checkpoint may be damaged", i);
    return status;
}

static void check_prompt(const sah_model *model, prompt *p, checking *c)
{
    sah_error error = {0};
    char note[64];
    const size_t vocab = (size_t)model->config.n_vocab;
    p->base = sah_alloc(vocab, sizeof *p->base);
    p->edited = sah_alloc(vocab, sizeof *p->edited);
    if (p->base == NULL || p->edited == NULL)
        sah_fail_memory(&error, "the logits");
    else if (make_prompt(model, p, &error) == SAH_OK)
        run(model, p, NULL, p->base, &error);
    snprintf(note, sizeof note, "%zu tokens", p->n);
    add_tested(c, "prompt", &error, note);
}

/* ---- Ablation ------------------------------------------------------------------------------------------ */

/* The first layer in which a part can be edited, or -1; how many there are, and why not in the others. */
static int editable(const sah_model *model, unsigned part, int *n, sah_error *refused)
{
    int first = -1;
    *n = 0;
    for (int l = 0; l < model->config.n_layers; l++) {
        const sah_edit edit = {l, 0, part, SAH_OP_SCALE, 0};
        if (sah_edits_check(&model->config, &edit, 1, refused) != SAH_OK) continue;
        if (first < 0) first = l;
        ++*n;
    }
    return first;
}

static void check_ablation(const sah_model *model, const prompt *p, int which, checking *c)
{
    const unsigned part = PARTS[which].part;
    sah_error refused = {0}, error = {0};
    int n;
    const int layer = editable(model, part, &n, &refused);
    const sah_edit edit = {layer, 0, part, SAH_OP_SCALE, 0};
    sah_support support = SAH_SUPPORTED;
    char note[sizeof c->out->lines->note] = "";
    if (layer >= 0) run(model, p, &edit, p->edited, &error);
    if (layer < 0 || failed(c, &error)) {
        support = SAH_UNSUPPORTED;
        snprintf(note, sizeof note, "%s", layer < 0 ? refused.message : error.message);
    } else if (n < model->config.n_layers) {
        support = SAH_PARTLY;
        snprintf(note, sizeof note, "in %d of %d layers (%.900s)", n, model->config.n_layers,
                 refused.message);
    }
    add(c, "ablation", PARTS[which].letter, support, note);
}

/* ---- Surgery ------------------------------------------------------------------------------------------- */

static sah_status plan(const char *path, const char *heads, sah_ablation ablation, const char *adapter,
                       sah_error *error)
{
    const sah_surgery_options options = {.heads = heads, .ablation = ablation, .adapter = adapter};
    return sah_surgery(path, &options, NULL, NULL, error);
}

/* Of a head in the first layer that has the part: any scale, else 0 alone; the mean. */
static void check_surgery(const sah_model *model, const char *path, int which, checking *c)
{
    const unsigned part = PARTS[which].part;
    sah_error scale = {0}, zero = {0}, mean = {0}, refused = {0};
    char head[32], note[sizeof c->out->lines->note] = "";
    int n;
    const int layer = editable(model, part, &n, &refused);
    snprintf(head, sizeof head, "%d-0", layer < 0 ? 0 : layer);
    plan(path, head, (sah_ablation){part, SAH_OP_SCALE, 0}, NULL, &zero);
    plan(path, head, (sah_ablation){part, SAH_OP_SCALE, 0.5F}, NULL, &scale);
    plan(path, head, (sah_ablation){part, SAH_OP_MEAN, 0}, NULL, &mean);
    failed(c, &scale);
    failed(c, &zero);
    failed(c, &mean);
    const bool none = layer < 0 || zero.status != SAH_OK;
    const sah_error *why = layer < 0 ? &refused : none ? &zero : scale.status != SAH_OK ? &scale : &mean;
    if (none)
        snprintf(note, sizeof note, "%s", why->message);
    else if (why->status != SAH_OK)
        snprintf(note, sizeof note, "%s (%.900s)",
                 scale.status != SAH_OK ? "the scale 0 alone" : "scales alone", why->message);
    add(c, "surgery", PARTS[which].letter,
        none                    ? SAH_UNSUPPORTED
        : why->status != SAH_OK ? SAH_PARTLY
                                : SAH_SUPPORTED,
        note);
}

/* ---- All of it ----------------------------------------------------------------------------------------- */

static void check_running(const char *path, const sah_model_options *options, const sah_model *model,
                          checking *c)
{
    prompt p = {0};
    sah_error error = {0};
    check_prompt(model, &p, c);
    const bool runs = c->out->lines[c->out->n - 1].support == SAH_SUPPORTED;
    for (int i = 0; i < N_PARTS; i++) {
        if (runs)
            check_ablation(model, &p, i, c);
        else
            add(c, "ablation", PARTS[i].letter, SAH_UNSUPPORTED, "the prompt does not run");
    }
    for (int i = 0; i < N_PARTS; i++) check_surgery(model, path, i, c);
    if (options->adapter != NULL) {
        plan(path, NULL, (sah_ablation){SAH_PART_Q, SAH_OP_SCALE, 1}, options->adapter, &error);
        add_tested(c, "merge", &error, "");
    }
    free(p.ids);
    free(p.base);
    free(p.edited);
}

static void check_template(const sah_model *model, const sah_examination *found, checking *c)
{
    sah_error error = found->parts[SAH_CHECKPOINT_TEMPLATE];
    char *text = NULL;
    if (error.status == SAH_OK && strcmp(found->chat_template, "none") == 0) {
        add(c, "template", '\0', SAH_ABSENT, "");
        return;
    }
    if (error.status == SAH_OK && model != NULL)
        sah_prompt_wrap(model, "chat", NULL, "Hello", &text, &error);
    else if (error.status == SAH_OK && strcmp(found->chat_template, "unsupported") == 0)
        sah_fail(&error, SAH_FAILED, "the model's own chat template cannot be used");
    free(text);
    add_tested(c, "template", &error, found->chat_template);
}

sah_status sah_check(const char *path, const sah_model_options *options, sah_checks *out, sah_error *error)
{
    sah_examination found;
    sah_error opening = {0};
    const sah_model_options defaults = {0};
    sah_model *model = NULL;
    checking c = {.out = out};
    char note[512] = "";
    if (options == NULL) options = &defaults;
    out->n = 0;
    sah_status status = sah_checkpoint_examine(path, options->adapter, &found, error);
    if (status != SAH_OK) return status;
    sah_model_options whole = *options;
    whole.describe_only = false;
    if (sah_model_open(path, &whole, &model, &opening) == SAH_OUT_OF_MEMORY)
        return sah_fail_memory(error, "the model");
    if (model != NULL)
        snprintf(note, sizeof note, "%s, %.1f million, %s", model->info.family,
                 (double)model->info.n_parameters / 1e6, model->info.format);
    if (model != NULL && options->device != SAH_DEVICE_CPU)
        add(&c, "device", '\0', SAH_SUPPORTED,
            model->info.device_note[0] != '\0' ? model->info.device_note : model->info.device);
    add_tested(&c, "weights", &found.parts[SAH_CHECKPOINT_WEIGHTS], note);
    if (options->adapter == NULL)
        add(&c, "adapter", '\0', SAH_ABSENT, "");
    else
        add_tested(&c, "adapter", &found.parts[SAH_CHECKPOINT_ADAPTER], "");
    if (found.tokenizer || found.parts[SAH_CHECKPOINT_TOKENIZER].status != SAH_OK)
        add_tested(&c, "tokenizer", &found.parts[SAH_CHECKPOINT_TOKENIZER], "");
    else
        add(&c, "tokenizer", '\0', SAH_ABSENT, "");
    check_template(model, &found, &c);
    if (model != NULL)
        check_running(path, options, model, &c);
    else
        add_tested(&c, "prompt", &opening, "");
    sah_model_close(model);
    return c.no_memory ? sah_fail_memory(error, "the checks") : SAH_OK;
}

static const char *name_of(sah_support support)
{
    static const char *const NAMES[] = {"yes", "partly", "no", "none"};
    return NAMES[support];
}

sah_status sah_checks_text(const sah_checks *checks, bool json, char **text, sah_error *error)
{
    sah_text out = {0};
    json_t *list = json_array();
    bool good = list != NULL;
    for (size_t i = 0; i < checks->n; i++) {
        const sah_check_line *line = &checks->lines[i];
        if (!json)
            sah_text_addf(&out, "%-13s  %-*s%s\n", line->part, line->note[0] != '\0' ? 8 : 0,
                          name_of(line->support), line->note);
        good =
            good && json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "part", line->part, "supported",
                                                          name_of(line->support), "note", line->note)) == 0;
    }
    if (json) {
        json_t *object = json_pack("{s:O}", "checks", list);
        char *dump = object != NULL ? sah_json_text(object, JSON_COMPACT) : NULL;
        if (dump != NULL) sah_text_addf(&out, "%s\n", dump);
        good = good && dump != NULL;
        free(dump);
        json_decref(object);
    }
    json_decref(list);
    if (good && !out.failed) {
        *text = out.data;
        return SAH_OK;
    }
    free(out.data);
    return sah_fail_memory(error, "the list of what is supported");
}
