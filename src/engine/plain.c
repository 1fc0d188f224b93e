/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/plain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

/* Sizes by their usual letters, and the states of all positions. */
typedef struct plain {
    const sah_checkpoint *checkpoint;
    const sah_config *c;
    const sah_edit *edits;
    size_t n_edits;
    int n, d;
    int H, D, Hkv; /* of the layer at hand */
    sah_layer_kind kind;
    double *x; /* [n, d] residual */
    double *q; /* [n, H D] */
    double *k, *v; /* [n, Hkv D] of the layer at hand, or of that from which it borrows, in: */
    double *keys, *values; /* [n_layers, n, Hkv D] */
    double *z; /* [n, H D] */
    double *edited_q, *edited_k, *edited_z;
    double *branch, *added, *one; /* [n, d] what attention adds, [d] what the MLP adds, and one expert */
    double *beside; /* [d] what experts beside the MLP add */
    double *normed; /* [d] */
    double *gate, *up; /* [d_ff], or the widest expert's */
    double *gates; /* [H D] */
    double *delta; /* what delta_rule() or convolution() keeps */
    double *given; /* [n, layers * P] (inputs.h) */
    double *scores; /* [n] */
    double *rope; /* [D / 2] */
    float *row; /* one row of weights, or a vector: the longest */
    const sah_observer *observer; /* or NULL */
} plain;

static void show(const plain *p, sah_place place, int layer, const double *states, int width)
{
    if (p->observer != NULL) p->observer->see(p->observer->ctx, place, layer, states + (p->n - 1) * width);
}

static void vector(plain *p, const sah_tensor *tensor)
{
    sah_vector_read(tensor, p->row);
}

/* y [n] = rows [from, from + n) of W x + bias */
static void multiply_rows(plain *p, const sah_matrix *w, const sah_tensor *bias, size_t from, size_t n,
                          const double *x, double *y)
{
    if (bias != NULL) sah_bias_read(w, bias, p->row);
    for (size_t r = 0; r < n; r++) y[r] = bias != NULL ? (double)p->row[from + r] : 0.0;
    for (size_t r = 0; r < n; r++) {
        sah_matrix_read(w, from + r, 1, p->row);
        for (size_t i = 0; i < w->columns; i++) y[r] += (double)p->row[i] * x[i];
    }
}

static void multiply(plain *p, const sah_matrix *w, const sah_tensor *bias, const double *x, double *y)
{
    multiply_rows(p, w, bias, 0, w->rows, x, y);
}

/* RMS norm; without weights where there are none. */
static void rms_norm(plain *p, const double *x, const sah_tensor *weight, int n, double *y)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    double scale = 1.0 / sqrt(sum / n + (double)p->c->norm_eps);
    if (weight != NULL) vector(p, weight);
    for (int i = 0; i < n; i++) y[i] = x[i] * scale * (weight != NULL ? (double)p->row[i] : 1.0);
}

/* The norm of a residual or a branch [d]: none without weights. */
static void norm(plain *p, const double *x, const sah_tensor *weight, const sah_tensor *bias, double *y)
{
    double mean = 0.0;
    if (weight == NULL) {
        memmove(y, x, (size_t)p->d * sizeof *y);
        return;
    }
    if (p->c->norm == SAH_NORM_RMS) {
        rms_norm(p, x, weight, p->d, y);
        return;
    }
    for (int i = 0; i < p->d; i++) mean += x[i] / p->d;
    for (int i = 0; i < p->d; i++) y[i] = x[i] - mean;
    rms_norm(p, y, weight, p->d, y);
    if (bias != NULL) vector(p, bias);
    for (int i = 0; bias != NULL && i < p->d; i++) y[i] += (double)p->row[i];
}

/* x [d] += scale * norm behind(branch). */
static void join(plain *p, const double *branch, const sah_tensor *behind, double *x)
{
    double *normed = p->normed;
    norm(p, branch, behind, NULL, normed);
    for (int i = 0; i < p->d; i++) x[i] += (double)p->c->residual_scale * normed[i];
}

/* Replaces a head's states by their scaled or mean form: out from the unedited in. */
static void edit(const plain *p, int layer, unsigned part, const double *in, int heads, double *out)
{
    memcpy(out, in, (size_t)(p->n * heads * p->D) * sizeof *out);
    for (size_t e = p->n_edits; e-- > 0;) { /* backwards: where two edit the same head, the first stands */
        const sah_edit *edit = &p->edits[e];
        if (edit->layer != layer || edit->part != part) continue;
        for (int t = 0; t < p->n; t++)
            for (int i = 0; i < p->D; i++) {
                int at = (t * heads + edit->head) * p->D + i;
                double mean = 0.0;
                for (int h = 0; h < heads; h++) mean += in[(t * heads + h) * p->D + i] / heads;
                out[at] = edit->op == SAH_OP_MEAN ? mean : (double)edit->factor * in[at];
            }
    }
}

/* The first `dims` values of each head, in pairs. */
static void rotate(const plain *p, double *states, int heads)
{
    if (p->kind.rope < 0) return;
    const sah_rope *rope = &p->c->ropes[p->kind.rope];
    int half = rope->dims / 2;
    double factor = (double)rope->attention_factor;
    sah_rope_frequencies(rope, p->rope);
    for (int t = 0; t < p->n; t++)
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < half; i++) {
                double *head = &states[(t * heads + h) * p->D];
                double *a = &head[rope->neighbours ? 2 * i : i], *b = rope->neighbours ? a + 1 : a + half;
                double c = factor * cos(t * p->rope[i]), s = factor * sin(t * p->rope[i]), x = *a, y = *b;
                *a = x * c - y * s;
                *b = y * c + x * s;
            }
}

/* z = softmax(scale q kᵀ) v, causal, within the window; scores capped, and with a sink's beside them. */
static void attend(plain *p, const sah_layer_files *w, const double *q, const double *k, double *z)
{
    int group = p->H / p->Hkv, D = p->D, window = p->kind.window;
    double scale = p->c->attention_scale > 0 ? (double)p->c->attention_scale : 1.0 / sqrt(D);
    double cap = (double)p->c->attention_softcap;
    if (w->sinks != NULL) vector(p, w->sinks);
    memset(z, 0, (size_t)(p->n * p->H * D) * sizeof *z);
    for (int t = 0; t < p->n; t++)
        for (int h = 0; h < p->H; h++) {
            int low = window > 0 && t >= window ? t - window + 1 : 0;
            double sink = w->sinks != NULL ? (double)p->row[h] : -INFINITY, max = sink, sum;
            for (int s = low; s <= t; s++) {
                double score = 0.0;
                for (int i = 0; i < D; i++)
                    score += q[(t * p->H + h) * D + i] * k[(s * p->Hkv + h / group) * D + i];
                score *= scale;
                p->scores[s] = cap > 0 ? cap * tanh(score / cap) : score;
                if (p->scores[s] > max) max = p->scores[s];
            }
            sum = exp(sink - max);
            for (int s = low; s <= t; s++) sum += p->scores[s] = exp(p->scores[s] - max);
            for (int s = low; s <= t; s++)
                for (int i = 0; i < D; i++)
                    z[(t * p->H + h) * D + i] += p->scores[s] / sum * p->v[(s * p->Hkv + h / group) * D + i];
        }
}

/* z *= sigmoid of the gates, a projection of the same input as q. */
static void gate_heads(plain *p, const sah_layer_files *w, double *z)
{
    double *gate = p->gates;
    for (int t = 0; p->c->attention_gate && t < p->n; t++) {
        norm(p, p->x + t * p->d, w->input_norm, w->input_norm_bias, p->normed);
        multiply(p, &w->attention_gate, w->attention_gate_bias, p->normed, gate);
        for (int i = 0; i < p->H * p->D; i++) z[t * p->H * p->D + i] /= 1.0 + exp(-gate[i]);
    }
}

static bool edits_part(const plain *p, int layer, unsigned parts)
{
    for (size_t e = 0; e < p->n_edits; e++)
        if (p->edits[e].layer == layer && (p->edits[e].part & parts)) return true;
    return false;
}

/* The norms of q and k: of every head, or of all heads of a row. */
static void norm_heads(plain *p, const sah_tensor *weight, int heads, double *states)
{
    int D = p->D;
    if (p->c->qk_norm == SAH_QK_NORM_ROW) rms_norm(p, states, weight, heads * D, states);
    for (int h = 0; h < heads && p->c->qk_norm == SAH_QK_NORM_HEAD; h++)
        rms_norm(p, states + h * D, weight, D, states + h * D);
}

/* p->edited_z = the heads' outputs. */
static void self_attention(plain *p, int layer)
{
    const sah_layer_files *w = &p->checkpoint->layers[layer];
    int D = p->D;
    for (int t = 0; t < p->n; t++) {
        double *q = p->q + t * p->H * D, *k = p->k + t * p->Hkv * D, *v = p->v + t * p->Hkv * D;
        norm(p, p->x + t * p->d, w->input_norm, w->input_norm_bias, p->normed);
        multiply(p, &w->q, w->q_bias, p->normed, q);
        norm_heads(p, w->q_norm, p->H, q);
        if (p->kind.borrows > 0) continue;
        multiply(p, &w->k, w->k_bias, p->normed, k);
        multiply(p, p->kind.v_is_k ? &w->k : &w->v, p->kind.v_is_k ? w->k_bias : w->v_bias, p->normed, v);
        norm_heads(p, w->k_norm, p->Hkv, k);
        for (int h = 0; p->c->v_norm && h < p->Hkv; h++) rms_norm(p, v + h * D, NULL, D, v + h * D);
    }
    edit(p, layer, SAH_PART_Q, p->q, p->H, p->edited_q);
    edit(p, layer, SAH_PART_K, p->k, p->Hkv, p->edited_k);
    rotate(p, p->q, p->H);
    rotate(p, p->edited_q, p->H);
    if (p->kind.borrows == 0) { /* else they have been, where they were made */
        rotate(p, p->k, p->Hkv);
        rotate(p, p->edited_k, p->Hkv);
    }

    /* A mean of outputs is taken from the unedited ones: those, edited, replace whatever edits of q and k
     * made. */
    attend(p, w, p->edited_q, p->edited_k, p->z);
    gate_heads(p, w, p->z);
    edit(p, layer, SAH_PART_V, p->z, p->H, p->edited_z);
    if (edits_part(p, layer, SAH_PART_V) && edits_part(p, layer, SAH_PART_Q | SAH_PART_K)) {
        double *unedited = p->edited_q; /* not needed any more */
        attend(p, w, p->q, p->k, unedited);
        gate_heads(p, w, unedited);
        for (size_t e = 0; e < p->n_edits; e++) {
            const sah_edit *mean = &p->edits[e];
            if (mean->layer != layer || mean->part != SAH_PART_V || mean->op != SAH_OP_MEAN) continue;
            for (int t = 0; t < p->n; t++)
                for (int i = 0; i < D; i++) {
                    double *out = &p->edited_z[(t * p->H + mean->head) * D + i];
                    *out = 0.0;
                    for (int h = 0; h < p->H; h++) *out += unedited[(t * p->H + h) * D + i] / p->H;
                }
        }
    }
}

static double silu(double x)
{
    return x / (1.0 + exp(-x));
}

/* The gated delta rule (delta.h), one position after the other: p->edited_z. */
static void delta_rule(plain *p, int layer)
{
    const sah_layer_files *w = &p->checkpoint->layers[layer];
    const sah_delta *c = &p->c->delta;
    int H = p->H, D = p->D, K = c->key_dim, keys = c->key_heads * K, columns = 2 * keys + H * D;
    double *in = p->delta, *mixed = in + p->n * columns, *gate = mixed + columns, *write = gate + H * D,
           *keep = write + H, *S = keep + H;
    memset(S, 0, (size_t)(H * K * D) * sizeof *S);
    for (int t = 0; t < p->n; t++) {
        norm(p, p->x + t * p->d, w->input_norm, w->input_norm_bias, p->normed);
        multiply(p, &w->delta_q, NULL, p->normed, in + t * columns);
        multiply(p, &w->delta_k, NULL, p->normed, in + t * columns + keys);
        multiply(p, &w->delta_v, NULL, p->normed, in + t * columns + 2 * keys);
        multiply(p, &w->delta_gate, NULL, p->normed, gate);
        multiply(p, &w->delta_write, NULL, p->normed, write);
        multiply(p, &w->delta_keep, NULL, p->normed, keep);
        vector(p, w->delta_kernel);
        for (int i = 0; i < columns; i++) {
            double sum = 0.0;
            for (int j = 0; j < c->kernel; j++) {
                int from = t - (c->kernel - 1) + j;
                if (from >= 0) sum += (double)p->row[i * c->kernel + j] * in[from * columns + i];
            }
            mixed[i] = silu(sum);
        }
        vector(p, w->delta_rate_bias);
        for (int h = 0; h < H; h++) keep[h] = log1p(exp(keep[h] + (double)p->row[h]));
        vector(p, w->delta_rate);
        for (int h = 0; h < H; h++) keep[h] = exp(-exp((double)p->row[h]) * keep[h]);
        for (int h = 0; h < H; h++) {
            const double *q = mixed + h / (H / c->key_heads) * K, *k = q + keys,
                         *v = mixed + 2 * keys + h * D;
            double *state = S + h * K * D, *z = p->z + (t * H + h) * D, q2 = 1e-6, k2 = 1e-6;
            for (int i = 0; i < K; i++) q2 += q[i] * q[i], k2 += k[i] * k[i];
            for (int j = 0; j < D; j++) {
                double old = 0.0, out = 0.0;
                for (int i = 0; i < K; i++) old += k[i] / sqrt(k2) * (state[i * D + j] *= keep[h]);
                for (int i = 0; i < K; i++) {
                    state[i * D + j] += k[i] / sqrt(k2) * (v[j] - old) / (1.0 + exp(-write[h]));
                    out += state[i * D + j] * q[i] / sqrt(q2) / sqrt(K);
                }
                z[j] = out;
            }
            rms_norm(p, z, w->delta_norm, D, z);
            for (int j = 0; j < D; j++) z[j] *= silu(gate[h * D + j]);
        }
    }
    edit(p, layer, SAH_PART_V, p->z, H, p->edited_z);
}

/* A short convolution (convolution.h): p->edited_z. */
static void convolution(plain *p, int layer)
{
    const sah_layer_files *w = &p->checkpoint->layers[layer];
    const int d = p->d, kernel = p->c->delta.kernel;
    double *u = p->delta, *row = u + p->n * d;
    for (int t = 0; t < p->n; t++) {
        norm(p, p->x + t * d, w->input_norm, w->input_norm_bias, p->normed);
        multiply(p, &w->convolution_in, NULL, p->normed, row);
        vector(p, w->convolution_kernel);
        for (int i = 0; i < d; i++) {
            double sum = 0.0;
            u[t * d + i] = row[i] * row[2 * d + i];
            for (int j = 0; j < kernel; j++) {
                int from = t - (kernel - 1) + j;
                if (from >= 0) sum += (double)p->row[i * kernel + j] * u[from * d + i];
            }
            p->z[t * d + i] = row[d + i] * sum;
        }
    }
    edit(p, layer, SAH_PART_V, p->z, 1, p->edited_z);
}

/* How much of the last position's branch comes through. */
static void show_factor(plain *p, int layer)
{
    const sah_layer_files *w = &p->checkpoint->layers[layer];
    const double *branch = p->branch + (p->n - 1) * p->d;
    double factor = (double)p->c->residual_scale, squares = 0.0;
    for (int i = 0; i < p->d; i++) squares += branch[i] * branch[i];
    if (w->attention_out_norm != NULL) factor /= sqrt(squares / p->d + (double)p->c->norm_eps);
    if (w->layer_scale != NULL) {
        vector(p, w->layer_scale);
        factor *= (double)p->row[0];
    }
    if (p->observer != NULL) p->observer->see(p->observer->ctx, SAH_PLACE_FACTOR, layer, &factor);
}

/* p->branch = what the heads add to each position, before the norm behind it. */
static void mix(plain *p, int layer)
{
    const sah_layer_files *w = &p->checkpoint->layers[layer];
    if (p->kind.mixer == SAH_MIXER_ATTENTION) self_attention(p, layer);
    if (p->kind.mixer == SAH_MIXER_DELTA) delta_rule(p, layer);
    if (p->kind.mixer == SAH_MIXER_CONVOLUTION) convolution(p, layer);
    show(p, SAH_PLACE_HEADS, layer, p->edited_z, p->H * p->D);
    for (int t = 0; t < p->n; t++)
        multiply(p, &w->o, w->o_bias, p->edited_z + t * p->H * p->D, p->branch + t * p->d);
    show_factor(p, layer);
}

static double activate(const sah_config *c, double gate, double up)
{
    switch (c->activation) {
    case SAH_ACT_GELU:
        return 0.5 * gate * (1.0 + erf(gate / sqrt(2.0))) * up;
    case SAH_ACT_GELU_TANH:
        return 0.5 * gate * (1.0 + tanh(sqrt(2.0 / M_PI) * (gate + 0.044715 * gate * gate * gate))) * up;
    case SAH_ACT_RELU:
        return fmax(gate, 0.0) * up;
    case SAH_ACT_RELU_SQUARED:
        return fmax(gate, 0.0) * fmax(gate, 0.0) * up;
    case SAH_ACT_CLAMPED_SWIGLU:
        gate = fmin(gate, (double)c->activation_limit);
        up = fmax(fmin(up, (double)c->activation_limit), -(double)c->activation_limit);
        return (up + 1.0) * gate / (1.0 + exp(-(double)c->activation_alpha * gate));
    default:
        return gate / (1.0 + exp(-gate)) * up;
    }
}

/* out [d] = what the MLP adds to a position of residual x [d], before the norm behind it. */
static void dense(plain *p, const sah_layer_files *w, const double *x, double *out)
{
    norm(p, x, w->post_norm, w->post_norm_bias, p->normed);
    multiply(p, &w->up, w->up_bias, p->normed, p->up);
    if (p->c->gated) multiply(p, &w->gate, w->gate_bias, p->normed, p->gate);
    for (int i = 0; i < p->kind.d_ff; i++)
        p->gate[i] = p->c->gated ? activate(p->c, p->gate[i], p->up[i]) : activate(p->c, p->up[i], 1.0);
    multiply(p, &w->down, w->down_bias, p->gate, out);
}

/* The experts a position takes: weight [n], 0 for the others. */
static void choose(plain *p, const sah_layer_files *w, const double *logits, double *weight)
{
    const sah_experts *e = &p->c->experts;
    double score[SAH_MAX_EXPERTS], choice[SAH_MAX_EXPERTS], all = 0.0, sum = 0.0;
    for (int i = 0; i < e->n; i++) all += exp(logits[i]);
    for (int i = 0; i < e->n; i++)
        score[i] = e->router == SAH_ROUTER_SIGMOID ? 1.0 / (1.0 + exp(-logits[i])) : exp(logits[i]) / all;
    if (w->router_correction != NULL) vector(p, w->router_correction);
    for (int i = 0; i < e->n; i++)
        choice[i] = score[i] + (w->router_correction != NULL ? (double)p->row[i] : 0.0);

    /* Rank of a group: how many groups have a higher sum of their two highest. */
    for (int g = 0, each = e->groups ? e->n / e->groups : 0; g < e->groups; g++) {
        double best[SAH_MAX_EXPERT_GROUPS];
        int rank = 0;
        for (int h = 0; h < e->groups; h++) {
            double first = -INFINITY, second = -INFINITY;
            for (int i = h * each; i < (h + 1) * each; i++) {
                double c = score[i] + (w->router_correction != NULL ? (double)p->row[i] : 0.0);
                second = fmax(second, fmin(first, c));
                first = fmax(first, c);
            }
            best[h] = first + (each > 1 ? second : 0.0);
        }
        for (int h = 0; h < e->groups; h++) rank += best[h] > best[g];
        for (int i = g * each; rank >= e->active_groups && i < (g + 1) * each; i++) choice[i] = -INFINITY;
    }
    for (int i = 0; i < e->n; i++) {
        int rank = 0;
        for (int j = 0; j < e->n; j++) rank += choice[j] > choice[i];
        weight[i] = rank < e->active && !isinf(choice[i]) ? score[i] : 0.0;
        sum += weight[i];
    }
    bool normalise = e->normalise || e->router == SAH_ROUTER_TOP_SOFTMAX;
    for (int i = 0; i < e->n; i++)
        weight[i] = (double)e->scale * weight[i] / (normalise ? sum + (double)e->sum_add : 1.0);
}

/* out [d] += share * an MLP of p->normed: rows [from, from + width) of gate and up, rows [down_from, + d) of
 * down; biases in the same places, or NULL. */
static void add_expert(plain *p, const sah_matrix *gate, const sah_matrix *up, const sah_matrix *down,
                       const sah_tensor *gate_bias, const sah_tensor *up_bias, const sah_tensor *down_bias,
                       size_t from, size_t width, size_t down_from, double share, double *out)
{
    size_t d = (size_t)p->d;
    multiply_rows(p, gate, gate_bias, from, width, p->normed, p->gate);
    multiply_rows(p, up, up_bias, from, width, p->normed, p->up);
    for (size_t i = 0; i < width; i++) p->gate[i] = activate(p->c, p->gate[i], p->up[i]);
    multiply_rows(p, down, down_bias, down_from, d, p->gate, p->one);
    for (size_t i = 0; i < d; i++) out[i] += share * p->one[i];
}

/* The same of a mixture of experts; those that stand beside an MLP have norms of their own. */
static void experts(plain *p, const sah_layer_files *w, const double *x, double *out)
{
    const sah_experts *e = &p->c->experts;
    double logits[SAH_MAX_EXPERTS], weight[SAH_MAX_EXPERTS], shared = 0.0;
    norm(p, x, e->beside ? w->router_norm : w->post_norm, w->post_norm_bias, p->normed);
    multiply(p, &w->router, w->router_bias, p->normed, logits);
    for (int i = 0; e->logit_scale > 0 && i < e->n; i++) logits[i] *= (double)e->logit_scale;
    choose(p, w, logits, weight);
    if (w->expert_scale != NULL) vector(p, w->expert_scale);
    for (int i = 0; w->expert_scale != NULL && i < e->n; i++) weight[i] *= (double)p->row[i];
    if (e->beside) norm(p, x, w->expert_norm, NULL, p->normed);
    memset(out, 0, (size_t)p->d * sizeof *out);
    for (size_t i = 0; i < (size_t)e->n; i++)
        if (weight[i] > 0 || weight[i] < 0)
            add_expert(p, &w->expert_gate, &w->expert_up, &w->expert_down, w->expert_gate_bias,
                       w->expert_up_bias, w->expert_down_bias, i * (size_t)e->width, (size_t)e->width,
                       i * (size_t)p->d, weight[i], out);
    if (e->shared_width == 0) return;
    if (w->shared_router.tensor != NULL) multiply(p, &w->shared_router, NULL, p->normed, &shared);
    add_expert(p, &w->shared_gate, &w->shared_up, &w->shared_down, NULL, NULL, NULL, 0,
               (size_t)e->shared_width, 0, w->shared_router.tensor != NULL ? 1.0 / (1.0 + exp(-shared)) : 1.0,
               out);
}

static void mlp(plain *p, const sah_layer_files *w, const double *x, double *out)
{
    const bool both = p->kind.experts && p->c->experts.beside;
    if (!p->kind.experts || both) dense(p, w, x, out);
    if (p->kind.experts) experts(p, w, x, both ? p->beside : out);
    if (!both) return;
    norm(p, out, w->dense_out_norm, NULL, out);
    norm(p, p->beside, w->expert_out_norm, NULL, p->beside);
    for (int i = 0; i < p->d; i++) out[i] += p->beside[i];
}

/* What layers are given of the token at position t, whose embedding is p->x[t]. */
static void make_given(plain *p, int t, int32_t token)
{
    const int width = p->c->input_width, all = width * p->c->n_layers;
    double *given = p->given + t * all;
    multiply(p, &p->checkpoint->input_projection, NULL, p->x + t * p->d, given);
    for (int i = 0; i < all; i++) given[i] /= sqrt(p->d);
    for (int l = 0; l < p->c->n_layers; l++)
        rms_norm(p, given + l * width, p->checkpoint->input_norm, width, given + l * width);
    sah_matrix_read(&p->checkpoint->input_table, (size_t)token, 1, p->row);
    for (int i = 0; i < all; i++) given[i] = (given[i] + sqrt(width) * (double)p->row[i]) / sqrt(2);
}

static void join_given(plain *p, int layer, int t)
{
    const sah_layer_files *w = &p->checkpoint->layers[layer];
    const int width = p->c->input_width;
    const double *given = p->given + (t * p->c->n_layers + layer) * width;
    multiply(p, &w->input_gate, NULL, p->x + t * p->d, p->gate);
    for (int i = 0; i < width; i++) p->gate[i] = activate(p->c, p->gate[i], given[i]);
    multiply(p, &w->input_out, NULL, p->gate, p->added);
    join(p, p->added, w->input_out_norm, p->x + t * p->d);
}

/* x + attention + MLP, the MLP of what attention has added to, or of x as it was. */
static void block(plain *p, int layer)
{
    const sah_layer_files *w = &p->checkpoint->layers[layer];
    bool parallel = p->c->residual == SAH_RESIDUAL_PARALLEL;
    p->kind = sah_config_layer(p->c, layer);
    p->H = p->kind.n_heads;
    p->D = p->kind.head_dim;
    p->Hkv = p->kind.n_kv_heads;
    p->k = p->keys + (size_t)(layer - p->kind.borrows) * (size_t)(p->n * p->c->n_kv_heads * p->c->head_dim);
    p->v = p->values + (p->k - p->keys);
    show(p, SAH_PLACE_INPUT, layer, p->x, p->d);
    mix(p, layer);
    for (int t = 0; t < p->n; t++) {
        double *x = p->x + t * p->d;
        if (parallel) mlp(p, w, x, p->added);
        join(p, p->branch + t * p->d, w->attention_out_norm, x);
        if (parallel) join(p, p->added, w->mlp_out_norm, x);
    }
    show(p, SAH_PLACE_MIDDLE, layer, p->x, p->d);
    for (int t = 0; t < p->n && !parallel; t++) {
        mlp(p, w, p->x + t * p->d, p->added);
        join(p, p->added, w->mlp_out_norm, p->x + t * p->d);
    }
    for (int t = 0; t < p->n && p->c->input_width > 0; t++) join_given(p, layer, t);
    if (w->layer_scale != NULL) vector(p, w->layer_scale);
    for (int i = 0; w->layer_scale != NULL && i < p->n * p->d; i++) p->x[i] *= (double)p->row[0];
}

static bool allocate(plain *p)
{
    size_t n = (size_t)p->n, d = (size_t)p->d; /* the others: the largest */
    size_t H = (size_t)p->c->n_heads, D = (size_t)p->c->head_dim, Hkv = (size_t)p->c->n_kv_heads;
    const sah_experts *e = &p->c->experts;
    size_t inner = (size_t)p->c->d_ff, longest;
    if ((size_t)p->c->input_width > inner) inner = (size_t)p->c->input_width;
    if ((size_t)e->width > inner) inner = (size_t)e->width;
    if ((size_t)e->shared_width > inner) inner = (size_t)e->shared_width;
    longest = d > inner ? d : inner;
    if (H * D > longest) longest = H * D;
    if ((size_t)e->n * (size_t)(e->width > p->d ? e->width : p->d) > longest) /* biases of all experts */
        longest = (size_t)e->n * (size_t)(e->width > p->d ? e->width : p->d);
    p->x = sah_alloc(n * d, sizeof(double));
    p->q = sah_alloc(n * H * D, sizeof(double));
    p->keys = sah_alloc((size_t)p->c->n_layers * n * Hkv * D, sizeof(double));
    p->values = sah_alloc((size_t)p->c->n_layers * n * Hkv * D, sizeof(double));
    p->z = sah_alloc(n * H * D, sizeof(double));
    p->edited_q = sah_alloc(n * H * D, sizeof(double));
    p->edited_k = sah_alloc(n * Hkv * D, sizeof(double));
    p->edited_z = sah_alloc(n * H * D, sizeof(double));
    p->normed = sah_alloc(longest, sizeof(double));
    p->gate = sah_alloc(inner, sizeof(double));
    p->up = sah_alloc(inner, sizeof(double));
    p->branch = sah_alloc(n * d, sizeof(double));
    p->added = sah_alloc(d, sizeof(double));
    p->one = sah_alloc(d, sizeof(double));
    p->beside = sah_alloc(d, sizeof(double));
    const sah_delta *delta = &p->c->delta;
    size_t columns = 2 * (size_t)(delta->key_heads * delta->key_dim) + H * D;
    size_t states = (n + 1) * columns + H * D + 2 * H + H * D * (size_t)delta->key_dim;
    p->gates = sah_alloc(H * D, sizeof(double));
    if (delta->key_dim == 0) states = (n + 3) * d;
    p->delta = sah_alloc(delta->kernel > 0 ? states : 1, sizeof(double));
    if (columns * (size_t)delta->kernel > longest) longest = columns * (size_t)delta->kernel;
    if (3 * d > longest) longest = 3 * d;
    const size_t given = (size_t)p->c->input_width * (size_t)p->c->n_layers;
    if (given > longest) longest = given;
    p->given = sah_alloc(n * given + 1, sizeof(double));
    p->scores = sah_alloc(n, sizeof(double));
    p->rope = sah_alloc(D / 2, sizeof(double));
    p->row = sah_alloc(longest, sizeof(float));
    return p->x != NULL && p->q != NULL && p->keys != NULL && p->values != NULL && p->z != NULL &&
           p->edited_q != NULL && p->edited_k != NULL && p->edited_z != NULL && p->branch != NULL &&
           p->added != NULL && p->one != NULL && p->beside != NULL && p->given != NULL && p->gates != NULL &&
           p->delta != NULL && p->normed != NULL && p->gate != NULL && p->up != NULL && p->scores != NULL &&
           p->rope != NULL && p->row != NULL;
}

/* `hidden` or `logits` NULL: not wanted. */
static sah_status run(const sah_checkpoint *checkpoint, const int32_t *tokens, size_t n,
                      const sah_edit *edits, size_t n_edits, const sah_observer *observer, double *hidden,
                      double *logits, sah_error *error)
{
    const sah_config *c = &checkpoint->config;
    plain p = {.checkpoint = checkpoint,
               .c = c,
               .edits = edits,
               .n_edits = n_edits,
               .n = (int)n,
               .d = c->d_model,
               .observer = observer};
    sah_status status = SAH_OK;
    if (!allocate(&p)) {
        status = sah_fail_memory(error, "the plain forward pass");
        goto done;
    }
    for (int t = 0; t < p.n; t++) {
        double *x = p.x + t * p.d;
        sah_matrix_read(&checkpoint->embedding, (size_t)tokens[t], 1, p.row);
        for (int i = 0; i < p.d; i++) x[i] = (double)c->embedding_scale * (double)p.row[i];
        if (c->input_width > 0) make_given(&p, t, tokens[t]);
        if (checkpoint->positions.tensor == NULL) continue;
        sah_matrix_read(&checkpoint->positions, (size_t)t, 1, p.row);
        for (int i = 0; i < p.d; i++) x[i] += (double)p.row[i];
    }
    for (int l = 0; l < c->n_layers; l++) block(&p, l);
    show(&p, SAH_PLACE_INPUT, c->n_layers, p.x, p.d);
    if (hidden != NULL)
        norm(&p, p.x + (p.n - 1) * p.d, checkpoint->final_norm, checkpoint->final_norm_bias, hidden);
    if (logits != NULL) multiply(&p, &checkpoint->lm_head, NULL, hidden, logits);
    for (int i = 0; logits != NULL && i < c->n_vocab; i++) {
        double cap = (double)c->final_softcap, scaled = (double)c->logit_scale * logits[i];
        logits[i] = cap > 0 ? cap * tanh(scaled / cap) : scaled;
    }

done:
    free(p.x);
    free(p.q);
    free(p.keys);
    free(p.values);
    free(p.z);
    free(p.edited_q);
    free(p.edited_k);
    free(p.edited_z);
    free(p.branch);
    free(p.added);
    free(p.one);
    free(p.beside);
    free(p.gates);
    free(p.delta);
    free(p.normed);
    free(p.gate);
    free(p.up);
    free(p.given);
    free(p.scores);
    free(p.rope);
    free(p.row);
    return status;
}

sah_status sah_plain_forward(const sah_checkpoint *checkpoint, const int32_t *tokens, size_t n,
                             const sah_edit *edits, size_t n_edits, double *hidden, double *logits,
                             sah_error *error)
{
    return run(checkpoint, tokens, n, edits, n_edits, NULL, hidden, logits, error);
}

sah_status sah_plain_observe(const sah_checkpoint *checkpoint, const int32_t *tokens, size_t n,
                             const sah_edit *edits, size_t n_edits, const sah_observer *observer,
                             sah_error *error)
{
    return run(checkpoint, tokens, n, edits, n_edits, observer, NULL, NULL, error);
}
