/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/candidate.h"

#include "engine/projection.h"

/* ---- Candidates ---------------------------------------------------------------------------------------- */

sah_candidate sah_candidate_of(const sah_config *config, sah_head head, const sah_ablation *ablation)
{
    sah_candidate candidate = {.layer = head.layer};
    const sah_layer_kind kind = sah_config_layer(config, head.layer);
    int group = kind.n_heads / kind.n_kv_heads;
    for (unsigned part = SAH_PART_Q; part <= SAH_PART_V; part <<= 1) {
        if (!(ablation->parts & part)) continue;
        int index = part == SAH_PART_K && ablation->parts != SAH_PART_K ? head.head / group : head.head;
        candidate.edits[candidate.n_edits++] =
            (sah_edit){head.layer, index, part, ablation->op, ablation->factor};
    }
    return candidate;
}

bool sah_candidate_edits(const sah_candidate *candidate, const sah_config *config, int head)
{
    const sah_layer_kind kind = sah_config_layer(config, candidate->layer);
    int group = kind.n_heads / kind.n_kv_heads;
    for (int i = 0; i < candidate->n_edits; i++) {
        const sah_edit *edit = &candidate->edits[i];
        if (edit->part == SAH_PART_K ? edit->head == head / group : edit->head == head) return true;
    }
    return false;
}

/* ---- Counting ------------------------------------------------------------------------------------------ */

void sah_forest_measure(const sah_forest *forest, int window, sah_forest_size *out)
{
    *out = (sah_forest_size){
        .nodes = forest->n_nodes,
        .ends = forest->n_ends,
        .prompts = forest->n_prompts,
        .tokens = (double)forest->n_tokens,
    };
    for (int32_t i = 0; i < forest->n_nodes; i++) {
        int32_t seen = forest->depth[i] + 1;
        out->pairs += seen;
        out->window_pairs += window > 0 && seen > window ? window : seen;
    }
    for (int32_t i = 0; i < forest->n_ends; i++) {
        int32_t seen = forest->depth[forest->ends[i]] + 1;
        out->end_pairs += seen;
        out->window_end_pairs += window > 0 && seen > window ? window : seen;
    }
}

/* Everything behind attention and its output: the MLP of `rows` rows, the experts that they take, and the router, which
 * counts as the first matrix. */
static void add_mlp(const sah_config *c, int layer, double rows, sah_operations *sum)
{
    const sah_experts *e = &c->experts;
    bool experts = sah_config_layer(c, layer).experts;
    double d = c->d_model, inner = experts ? (double)e->active * e->width + e->shared_width : 0.0;
    if (!experts || e->beside) inner += sah_config_layer(c, layer).d_ff;
    sum->gate_up += 2.0 * rows * d * ((c->gated ? 2.0 : 1.0) * inner + (experts ? e->n : 0));
    sum->down += 2.0 * rows * d * inner;
    sum->gate_up += 2.0 * rows * d * c->input_width;
    sum->down += 2.0 * rows * d * c->input_width;
}

/* `heads` heads of a layer: scores and the mixture of values, D multiply-adds a pair each. Or of the delta rule:
 * what is read, written and read again of a state, at every node; or a convolution's sums. */
static void add_attention(const sah_config *c, const sah_forest_size *size, int layer, double heads,
                          sah_operations *sum)
{
    const sah_layer_kind kind = sah_config_layer(c, layer);
    if (kind.mixer == SAH_MIXER_DELTA) {
        sum->attention += 6.0 * heads * size->nodes * c->delta.key_dim * kind.head_dim;
        return;
    }
    if (kind.mixer == SAH_MIXER_CONVOLUTION) {
        double rows = layer == c->n_layers - 1 ? size->ends : size->nodes;
        sum->attention += 2.0 * heads * rows * c->delta.kernel * kind.head_dim;
        return;
    }
    double pairs = kind.window > 0 ? size->window_pairs : size->pairs;
    if (layer == c->n_layers - 1) pairs = kind.window > 0 ? size->window_end_pairs : size->end_pairs;
    sum->attention += 4.0 * heads * pairs * kind.head_dim;
}

/* A whole layer; the last one wants keys and values of every node and the rest of the ends alone. */
static void add_layer(const sah_config *c, const sah_forest_size *size, int layer, sah_operations *sum)
{
    const sah_layer_kind kind = sah_config_layer(c, layer);
    double d = c->d_model, z = (double)kind.n_heads * kind.head_dim;
    double all = (double)sah_layer_qkv_width(c, &kind), q = (double)sah_layer_q_width(c, &kind);
    double rows = layer == c->n_layers - 1 ? size->ends : size->nodes;
    if (kind.mixer != SAH_MIXER_ATTENTION) q = 0; /* its states need every node */
    sum->qkv += 2.0 * d * (size->nodes * (all - q) + rows * q);
    add_attention(c, size, layer, kind.n_heads, sum);
    sum->output += 2.0 * rows * z * d;
    add_mlp(c, layer, rows, sum);
}

void sah_operations_of_base(const sah_config *config, const sah_forest_size *size, sah_operations *sum)
{
    for (int l = 0; l < config->n_layers; l++) add_layer(config, size, l, sum);
}

void sah_operations_of_candidate(const sah_config *config, const sah_forest_size *size,
                                 const sah_candidate *candidate, sah_operations *sum)
{
    bool attends = false;
    double rows = candidate->layer == config->n_layers - 1 ? size->ends : size->nodes, heads = 0.0;
    for (int h = 0; h < config->n_heads; h++) heads += sah_candidate_edits(candidate, config, h);
    for (int i = 0; i < candidate->n_edits; i++)
        attends = attends || candidate->edits[i].part != SAH_PART_V; /* v alone reuses the base's output */
    if (attends) add_attention(config, size, candidate->layer, heads, sum);
    sum->output += 2.0 * rows * heads * sah_config_layer(config, candidate->layer).head_dim * config->d_model;
    if (config->residual == SAH_RESIDUAL_SEQUENTIAL)
        add_mlp(config, candidate->layer, rows, sum); /* else the base's stands */
    for (int l = candidate->layer + 1; l < config->n_layers; l++) add_layer(config, size, l, sum);
}

void sah_operations_of_logits(const sah_config *config, const sah_forest_size *size, sah_operations *sum)
{
    sum->lm_head += 2.0 * size->prompts * config->d_model * config->n_vocab;
}

double sah_operations_total(const sah_operations *o)
{
    return o->qkv + o->output + o->gate_up + o->down + o->lm_head + o->attention;
}
