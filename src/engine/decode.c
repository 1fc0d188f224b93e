/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/decode.h"

#include <stdlib.h>
#include <string.h>

#include "engine/block.h"
#include "engine/convolution.h"
#include "engine/delta.h"
#include "engine/donors.h"
#include "engine/forward.h"
#include "engine/inputs.h"
#include "engine/lent.h"
#include "util/alloc.h"
#include "util/error.h"

/* Rows of keys and values are given to a sequence in runs, so that attention reads what lies together: rows
 * dealt out singly, one a step to each of a hundred sequences, would have every key on a memory page of its
 * own. */
enum { RUN = 16 };

struct sah_decoding {
    const sah_model *model;
    sah_forest *forest;
    sah_plan *plans;
    sah_donor_set set; /* what stands in, in every step */
    sah_pass pass;
    float **kv; /* [n_layers] of [capacity, 2 Hkv D]: a row is a node, the forest's first; or of states of the
                   sequences (delta.h) */
    int32_t capacity, used; /* rows; those below `used` belong to the forest or to a run */
    int32_t *free_runs; /* [n_free] first rows of runs of sequences that left */
    int32_t n_free;
    int32_t *kept_position, *kept_source; /* [capacity] of the rows, where donors stand in; else NULL */
    int32_t *new_source; /* [n_prompts] of new tokens, likewise */
    int32_t longest; /* of a path */
    int32_t *paths; /* [n_prompts, longest] the rows of a sequence's tokens */
    int32_t *lengths; /* [n_prompts] tokens of a sequence */
    int32_t *live; /* [n_live] */
    int32_t n_live;
    /* One row a live sequence: */
    sah_segment *segments;
    int32_t *positions, *tokens, *kv_rows;
    float *x, *hidden; /* [d] in the device's memory and in the host's */
    float *qkv; /* [qkv width] */
    float *q; /* [H D] */
};

/* ---- Memory -------------------------------------------------------------------------------------------- */

static bool is_attention(const sah_config *c, int layer)
{
    return sah_config_layer(c, layer).mixer == SAH_MIXER_ATTENTION;
}

/* What a layer keeps of a token, or, where its states run along a path, of a sequence. */
static size_t kept_width(const sah_config *c, int layer)
{
    const sah_layer_kind kind = sah_config_layer(c, layer);
    if (kind.mixer == SAH_MIXER_DELTA) return (size_t)sah_delta_kept(c, &kind);
    if (kind.mixer == SAH_MIXER_CONVOLUTION) return (size_t)sah_convolution_kept(c, &kind);
    if (kind.borrows > 0) return 0;
    return 2 * (size_t)kind.n_kv_heads * (size_t)kind.head_dim;
}

/* Numbers that all layers keep of so many tokens and sequences; false when that overflows. */
static bool kept_size(const sah_config *c, size_t tokens, size_t sequences, size_t *size)
{
    *size = 0;
    for (int l = 0; l < c->n_layers; l++) {
        size_t here;
        if (!sah_mul(is_attention(c, l) ? tokens : sequences, kept_width(c, l), &here) ||
            !sah_add(*size, here, size))
            return false;
    }
    return true;
}

/* Rows of a sequence's runs. */
static bool in_runs(size_t most_steps, size_t *rows)
{
    return sah_mul(most_steps / RUN + (most_steps % RUN != 0), RUN, rows);
}

bool sah_decoding_bytes(const sah_config *c, size_t n, size_t n_tokens, size_t most_steps, size_t *bytes)
{
    size_t d = (size_t)c->d_model, qkv = (size_t)sah_qkv_width(c), given = sah_inputs_width(c);
    size_t kept, kept_bytes, pass_bytes, row_bytes, steps, nodes;
    return in_runs(most_steps, &steps) && sah_mul(n, steps, &steps) && sah_add(steps, n_tokens, &nodes) &&
           kept_size(c, nodes, n, &kept) && sah_mul(kept, sizeof(float), &kept_bytes) &&
           sah_mul(n_tokens, (d + qkv + given) * sizeof(float), &pass_bytes) &&
           sah_mul(n, (2 * d + 2 * qkv + given) * sizeof(float), &row_bytes) &&
           sah_add(kept_bytes, pass_bytes, bytes) && sah_add(*bytes, row_bytes, bytes);
}

static sah_status make_memory(sah_decoding *s, int32_t most_steps, sah_error *error)
{
    const sah_config *c = &s->model->config;
    const sah_device *device = s->model->device;
    size_t n = (size_t)s->forest->n_prompts, d = (size_t)c->d_model, rows, size, path;
    bool fits = in_runs((size_t)most_steps, &rows) && sah_mul(n, rows, &rows) &&
                sah_add(rows, (size_t)s->forest->n_nodes, &rows) && rows <= INT32_MAX &&
                kept_size(c, rows, n, &size) &&
                sah_add((size_t)s->forest->longest, (size_t)most_steps, &path) && path <= INT32_MAX &&
                sah_mul(n, path, &path);
    if (!fits) return sah_fail_memory(error, "the sequences: too many tokens");
    s->capacity = (int32_t)rows;
    s->longest = s->forest->longest + most_steps;
    s->kv = sah_alloc((size_t)c->n_layers, sizeof *s->kv);
    s->free_runs = sah_alloc(rows / RUN + 1, sizeof *s->free_runs);
    s->paths = sah_alloc_aligned(path, sizeof *s->paths);
    s->lengths = sah_alloc(n, sizeof *s->lengths);
    s->live = sah_alloc(n, sizeof *s->live);
    s->segments = sah_alloc(n, sizeof *s->segments);
    s->positions = sah_alloc(n, sizeof *s->positions);
    s->tokens = sah_alloc(n, sizeof *s->tokens);
    s->kv_rows = sah_alloc(n, sizeof *s->kv_rows);
    s->x = sah_device_alloc(device, n * d, sizeof *s->x);
    s->hidden = sah_alloc_aligned(n * d, sizeof *s->hidden);
    s->qkv = sah_device_alloc(device, n * (size_t)sah_qkv_width(c), sizeof *s->qkv);
    s->q = sah_device_alloc(device, n * (size_t)sah_q_width(c), sizeof *s->q);
    bool there = s->kv != NULL && s->free_runs != NULL && s->paths != NULL && s->lengths != NULL &&
                 s->live != NULL && s->segments != NULL && s->positions != NULL && s->tokens != NULL &&
                 s->kv_rows != NULL && s->x != NULL && s->hidden != NULL && s->qkv != NULL && s->q != NULL;
    for (int l = 0; l < c->n_layers && there; l++) {
        size = (is_attention(c, l) ? rows : n) * kept_width(c, l);
        if (size == 0) continue;
        s->kv[l] = sah_device_alloc(device, size, sizeof **s->kv); /* pages are taken as rows are filled */
        there = s->kv[l] != NULL;
    }
    return there ? SAH_OK : sah_fail_memory(error, "the keys and values of all sequences");
}

void sah_decoding_free(sah_decoding *s)
{
    if (s == NULL) return;
    const sah_device *device = s->model->device;
    for (int l = 0; s->kv != NULL && l < s->model->config.n_layers; l++) sah_device_free(device, s->kv[l]);
    sah_workspace_free(s->pass.workspace);
    sah_plans_free(s->plans);
    sah_donor_set_free(&s->set);
    sah_forest_free(s->forest);
    s->pass.ends = (sah_view){0}; /* the same as its nodes */
    sah_view_forget(s->model, &s->pass.kept);
    sah_pass_end(&s->pass);
    free(s->kept_position);
    free(s->kept_source);
    free(s->new_source);
    free(s->kv);
    free(s->free_runs);
    free(s->paths);
    free(s->lengths);
    free(s->live);
    free(s->segments);
    free(s->positions);
    free(s->tokens);
    free(s->kv_rows);
    sah_device_free(device, s->x);
    free(s->hidden);
    sah_device_free(device, s->qkv);
    sah_device_free(device, s->q);
    free(s);
}

/* ---- Prompts ------------------------------------------------------------------------------------------- */

static int32_t prompt_length(const sah_decoding *s, int32_t sequence)
{
    return s->forest->end_segments[s->forest->end_of[sequence]].depth + 1;
}

/* Prompts that are equal begin with the same states. */
static sah_status share_states(sah_decoding *s, sah_error *error)
{
    int32_t *first = sah_first_of_ends(s->forest);
    if (first == NULL) return sah_fail_memory(error, "the sequences");
    for (int l = 0; l < s->model->config.n_layers; l++) {
        size_t width = kept_width(&s->model->config, l);
        for (int32_t i = 0; i < s->forest->n_prompts && !is_attention(&s->model->config, l); i++) {
            int32_t from = first[s->forest->end_of[i]];
            const sah_rows theirs = {s->kv[l] + (size_t)from * width, (int64_t)width, NULL};
            if (from != i) sah_copy_rows(&s->pass, theirs, 1, (int64_t)width, s->kv[l] + (size_t)i * width);
        }
    }
    free(first);
    return SAH_OK;
}

/* Every sequence begins as the path to its prompt's last node. */
static void start_sequences(sah_decoding *s)
{
    const sah_forest *f = s->forest;
    s->used = f->n_nodes;
    s->n_live = f->n_prompts;
    for (int32_t i = 0; i < f->n_prompts; i++) {
        const sah_segment *end = &f->end_segments[f->end_of[i]];
        s->live[i] = i;
        s->lengths[i] = prompt_length(s, i);
        memcpy(s->paths + (int64_t)i * s->longest, end->path, (size_t)s->lengths[i] * sizeof *s->paths);
    }
}

/* Positions and sources of the rows that are kept: the forest's nodes as they are, all others new tokens. */
static sah_status note_sources(sah_decoding *s, const sah_donors *donors, sah_error *error)
{
    const sah_forest *f = s->forest;
    if (s->set.layers == NULL) return SAH_OK;
    s->kept_position = sah_alloc((size_t)s->capacity, sizeof *s->kept_position);
    s->kept_source = sah_alloc((size_t)s->capacity, sizeof *s->kept_source);
    s->new_source = sah_alloc((size_t)f->n_prompts, sizeof *s->new_source);
    if (s->kept_position == NULL || s->kept_source == NULL || s->new_source == NULL)
        return sah_fail_memory(error, "the sequences");
    memcpy(s->kept_position, f->depth, (size_t)f->n_nodes * sizeof *f->depth);
    memcpy(s->kept_source, f->source, (size_t)f->n_nodes * sizeof *f->source);
    for (int32_t i = f->n_nodes; i < s->capacity; i++) s->kept_source[i] = sah_donors_beyond(donors);
    for (int32_t i = 0; i < f->n_prompts; i++) s->new_source[i] = sah_donors_beyond(donors);
    return SAH_OK;
}

sah_status sah_decoding_new(const sah_model *model, const sah_prompt *prompts, size_t n, int32_t most_steps,
                            const sah_edit *edits, size_t n_edits, const sah_donors *donors,
                            sah_decoding **out, sah_error *error)
{
    const sah_config *c = &model->config;
    sah_decoding *s = sah_alloc(1, sizeof *s);
    int32_t longest = donors != NULL ? donors->forest->longest : 0;
    *out = NULL;
    if (s == NULL) return sah_fail_memory(error, "the sequences");
    s->model = model;
    sah_status status = sah_forest_new(prompts, n, c->n_vocab, &s->forest, error);
    if (status == SAH_OK) status = make_memory(s, most_steps, error);
    if (status == SAH_OK) status = sah_plans_new(c, edits, n_edits, &s->plans, error);
    if (status == SAH_OK) {
        s->forest->donors = donors;
        status = sah_pass_begin(model, longest > s->longest ? longest : s->longest, &s->pass, error);
    }
    if (status == SAH_OK && c->input_width > 0) {
        s->pass.given = sah_device_alloc(model->device, n * sah_inputs_width(c), sizeof *s->pass.given);
        if (s->pass.given == NULL) status = sah_fail_memory(error, "the layers' inputs");
    }
    if (status == SAH_OK)
        status = sah_workspace_new(model->device, model->threads, &s->pass.workspace, error);
    if (status == SAH_OK) sah_workspace_fix_rows(s->pass.workspace);
    if (status == SAH_OK)
        status = sah_donor_set_new(model, donors, edits, n_edits, s->pass.workspace, &s->set, error);
    if (status == SAH_OK) status = note_sources(s, donors, error);
    if (status == SAH_OK)
        status = sah_forward_keep(model, s->forest, edits, n_edits, s->kv, s->hidden, error);
    if (status == SAH_OK) status = share_states(s, error);
    if (status != SAH_OK) {
        sah_decoding_free(s);
        return status;
    }
    start_sequences(s);
    *out = s;
    return SAH_OK;
}

const int32_t *sah_decoding_live(const sah_decoding *s, int32_t *n)
{
    *n = s->n_live;
    return s->live;
}

const float *sah_decoding_hidden(const sah_decoding *s)
{
    return s->hidden;
}

/* ---- A step -------------------------------------------------------------------------------------------- */

/* Gives a sequence's runs back; the rows of its prompt stay, other prompts may share them. */
static void leave(sah_decoding *s, int32_t sequence)
{
    const int32_t *path = s->paths + (int64_t)sequence * s->longest;
    for (int32_t i = prompt_length(s, sequence); i < s->lengths[sequence]; i += RUN)
        s->free_runs[s->n_free++] = path[i];
}

/* A row for the token that makes the sequence longer than `depth`; -1: there is none. */
static int32_t next_row(sah_decoding *s, int32_t sequence, int32_t depth)
{
    if ((depth - prompt_length(s, sequence)) % RUN != 0)
        return s->paths[(int64_t)sequence * s->longest + depth - 1] + 1;
    if (s->n_free > 0) return s->free_runs[--s->n_free];
    if (s->capacity - s->used < RUN) return -1;
    s->used += RUN;
    return s->used - RUN;
}

/* The sequences that go on, each with a new node: fills live, tokens, positions and segments. */
static sah_status append(sah_decoding *s, const int32_t *tokens, sah_error *error)
{
    int32_t rows = 0;
    for (int32_t i = 0; i < s->n_live; i++)
        if (tokens[i] < 0) leave(s, s->live[i]);
    for (int32_t i = 0; i < s->n_live; i++) {
        int32_t sequence = s->live[i];
        int32_t *path = s->paths + (int64_t)sequence * s->longest;
        if (tokens[i] < 0) continue;
        if (tokens[i] >= s->model->config.n_vocab)
            return sah_fail(error, SAH_BAD_ARGUMENT, "token %d is outside the vocabulary", (int)tokens[i]);
        int32_t depth = s->lengths[sequence], row = depth < s->longest ? next_row(s, sequence, depth) : -1;
        if (row < 0)
            return sah_fail(error, SAH_BAD_ARGUMENT, "sequence %d is given more tokens than it was made for",
                            (int)sequence);
        s->lengths[sequence]++;
        path[depth] = row;
        s->live[rows] = sequence;
        s->tokens[rows] = tokens[i];
        s->positions[rows] = depth;
        s->kv_rows[rows] = row;
        if (s->kept_position != NULL) s->kept_position[row] = depth;
        s->segments[rows] = (sah_segment){rows, 1, depth, path};
        rows++;
    }
    s->n_live = rows;
    return SAH_OK;
}

/* The live sequences' new tokens as the rows of a pass; all of them go on in every layer. */
static sah_view live_rows(const sah_decoding *s)
{
    return (sah_view){
        .n = s->n_live,
        .position = s->positions,
        .source = s->new_source,
        .node = s->kv_rows,
        .segments = s->segments,
        .n_segments = s->n_live,
        .single = true,
        .sequence = s->live,
    };
}

/* All layers of a step. */
static sah_status run_layers(sah_decoding *s, sah_error *error)
{
    const int n = s->model->config.n_layers;
    sah_states states = {.qkv = s->qkv, .q = s->q};
    sah_status status = SAH_OK;
    for (int l = 0; l < n && status == SAH_OK; l++) {
        states.kept = s->kv[sah_lent_from(&s->model->config, l)];
        status = sah_layer_take(s->model, l, (l + 1) % n, error);
        if (status != SAH_OK) break;
        status = sah_block(&s->pass, l, &s->plans[l], &states, s->x, s->x, error);
        sah_layer_release(s->model, l);
    }
    return status;
}

sah_status sah_decoding_step(sah_decoding *s, const int32_t *tokens, sah_error *error)
{
    sah_status status = append(s, tokens, error);
    if (status != SAH_OK || s->n_live == 0) return status;
    const sah_view rows = live_rows(s),
                   kept = {.n = s->used, .position = s->kept_position, .source = s->kept_source};
    sah_view_forget(s->model, &s->pass.nodes);
    status = sah_view_lend(s->model, &rows, &s->pass.nodes, error);
    s->pass.ends = s->pass.nodes;
    sah_view_forget(s->model, &s->pass.kept);
    if (status == SAH_OK) status = sah_view_lend(s->model, &kept, &s->pass.kept, error);
    s->pass.donors = s->set.layers;
    if (status == SAH_OK) status = sah_embed(s->model, s->tokens, s->positions, s->n_live, s->x, error);
    if (status == SAH_OK && s->pass.given != NULL)
        status =
            sah_inputs_make(s->model, s->pass.workspace, s->tokens, s->n_live, s->x, s->pass.given, error);
    if (status == SAH_OK) status = run_layers(s, error);
    if (status != SAH_OK) return status;
    sah_final_norm(s->model, s->pass.workspace, s->x, s->n_live, s->x);
    const size_t bytes = (size_t)s->n_live * (size_t)s->model->config.d_model * sizeof *s->x;
    return s->model->device->download(s->x, bytes, s->hidden, error);
}
