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
    int n, d, D, H, Hkv;
    double *x; /* [n, d] residual */
    double *q; /* [n, H D] */
    double *k, *v; /* [n, Hkv D] */
    double *z; /* [n, H D] */
    double *edited_q, *edited_k, *edited_z;
    double *normed; /* [d] */
    double *gate, *up; /* [d_ff] */
    double *scores; /* [n] */
    double *rope; /* [D / 2] */
    float *row; /* one row of weights, or a vector: the longest */
    const sah_observer *observer; /* or NULL */
} plain;

static void show(const plain *p, sah_place place, int layer, const double *states, int width)
{
    if (p->observer) p->observer->see(p->observer->ctx, place, layer, states + (p->n - 1) * width);
}

static void vector(plain *p, const sah_tensor *tensor, int rotary_heads)
{
    sah_vector_read(tensor, rotary_heads, p->row);
}

/* y = W x + bias */
static void multiply(plain *p, const sah_matrix *w, const sah_tensor *bias, const double *x, double *y)
{
    for (size_t r = 0; r < w->rows; r++) {
        sah_matrix_read(w, r, 1, p->row);
        y[r] = 0.0;
        for (size_t i = 0; i < w->columns; i++) y[r] += (double)p->row[i] * x[i];
    }
    if (!bias) return;
    vector(p, bias, w->rotary_heads);
    for (size_t r = 0; r < w->rows; r++) y[r] += (double)p->row[r];
}

static void norm(plain *p, const double *x, const sah_tensor *weight, int n, double *y)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    double scale = 1.0 / sqrt(sum / n + (double)p->c->norm_eps);
    vector(p, weight, 0);
    for (int i = 0; i < n; i++) y[i] = x[i] * scale * (double)p->row[i];
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

static void rotate(const plain *p, double *states, int heads)
{
    for (int t = 0; t < p->n; t++)
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < p->D / 2; i++) {
                double *a = &states[(t * heads + h) * p->D + i], *b = a + p->D / 2;
                double c = cos(t * p->rope[i]), s = sin(t * p->rope[i]), x = *a, y = *b;
                *a = x * c - y * s;
                *b = y * c + x * s;
            }
}

/* z = softmax(q kᵀ / sqrt(D)) v, causal, within the window. */
static void attend(plain *p, const double *q, const double *k, double *z)
{
    int group = p->H / p->Hkv, D = p->D;
    memset(z, 0, (size_t)(p->n * p->H * D) * sizeof *z);
    for (int t = 0; t < p->n; t++)
        for (int h = 0; h < p->H; h++) {
            int low =
                p->c->sliding_window > 0 && t >= p->c->sliding_window ? t - p->c->sliding_window + 1 : 0;
            double max = -INFINITY, sum = 0.0;
            for (int s = low; s <= t; s++) {
                p->scores[s] = 0.0;
                for (int i = 0; i < D; i++)
                    p->scores[s] += q[(t * p->H + h) * D + i] * k[(s * p->Hkv + h / group) * D + i];
                p->scores[s] /= sqrt(D);
                if (p->scores[s] > max) max = p->scores[s];
            }
            for (int s = low; s <= t; s++) sum += p->scores[s] = exp(p->scores[s] - max);
            for (int s = low; s <= t; s++)
                for (int i = 0; i < D; i++)
                    z[(t * p->H + h) * D + i] += p->scores[s] / sum * p->v[(s * p->Hkv + h / group) * D + i];
        }
}

static bool edits_part(const plain *p, int layer, unsigned parts)
{
    for (size_t e = 0; e < p->n_edits; e++)
        if (p->edits[e].layer == layer && (p->edits[e].part & parts)) return true;
    return false;
}

static void self_attention(plain *p, int layer)
{
    const sah_layer_files *w = &p->checkpoint->layers[layer];
    int D = p->D;
    for (int t = 0; t < p->n; t++) {
        double *q = p->q + t * p->H * D, *k = p->k + t * p->Hkv * D;
        norm(p, p->x + t * p->d, w->input_norm, p->d, p->normed);
        multiply(p, &w->q, w->q_bias, p->normed, q);
        multiply(p, &w->k, w->k_bias, p->normed, k);
        multiply(p, &w->v, w->v_bias, p->normed, p->v + t * p->Hkv * D);
        for (int h = 0; w->q_norm && h < p->H; h++) norm(p, q + h * D, w->q_norm, D, q + h * D);
        for (int h = 0; w->k_norm && h < p->Hkv; h++) norm(p, k + h * D, w->k_norm, D, k + h * D);
    }
    edit(p, layer, SAH_PART_Q, p->q, p->H, p->edited_q);
    edit(p, layer, SAH_PART_K, p->k, p->Hkv, p->edited_k);
    rotate(p, p->q, p->H);
    rotate(p, p->k, p->Hkv);
    rotate(p, p->edited_q, p->H);
    rotate(p, p->edited_k, p->Hkv);

    /* A mean of outputs is taken from the unedited ones: those, edited, replace whatever edits of q and k
     * made. */
    attend(p, p->edited_q, p->edited_k, p->z);
    edit(p, layer, SAH_PART_V, p->z, p->H, p->edited_z);
    if (edits_part(p, layer, SAH_PART_V) && edits_part(p, layer, SAH_PART_Q | SAH_PART_K)) {
        double *unedited = p->edited_q; /* not needed any more */
        attend(p, p->q, p->k, unedited);
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
    show(p, SAH_PLACE_HEADS, layer, p->edited_z, p->H * D);
    for (int t = 0; t < p->n; t++) {
        multiply(p, &w->o, w->o_bias, p->edited_z + t * p->H * D, p->normed);
        for (int i = 0; i < p->d; i++) p->x[t * p->d + i] += p->normed[i];
    }
}

static void mlp(plain *p, int layer)
{
    const sah_layer_files *w = &p->checkpoint->layers[layer];
    for (int t = 0; t < p->n; t++) {
        norm(p, p->x + t * p->d, w->post_norm, p->d, p->normed);
        multiply(p, &w->gate, w->gate_bias, p->normed, p->gate);
        multiply(p, &w->up, w->up_bias, p->normed, p->up);
        for (int i = 0; i < p->c->d_ff; i++) p->gate[i] = p->gate[i] / (1.0 + exp(-p->gate[i])) * p->up[i];
        multiply(p, &w->down, w->down_bias, p->gate, p->normed);
        for (int i = 0; i < p->d; i++) p->x[t * p->d + i] += p->normed[i];
    }
}

static bool allocate(plain *p)
{
    size_t n = (size_t)p->n, d = (size_t)p->d, D = (size_t)p->D, H = (size_t)p->H, Hkv = (size_t)p->Hkv;
    size_t d_ff = (size_t)p->c->d_ff, longest = d > d_ff ? d : d_ff;
    longest = longest > H * D ? longest : H * D;
    p->x = sah_alloc(n * d, sizeof(double));
    p->q = sah_alloc(n * H * D, sizeof(double));
    p->k = sah_alloc(n * Hkv * D, sizeof(double));
    p->v = sah_alloc(n * Hkv * D, sizeof(double));
    p->z = sah_alloc(n * H * D, sizeof(double));
    p->edited_q = sah_alloc(n * H * D, sizeof(double));
    p->edited_k = sah_alloc(n * Hkv * D, sizeof(double));
    p->edited_z = sah_alloc(n * H * D, sizeof(double));
    p->normed = sah_alloc(longest, sizeof(double));
    p->gate = sah_alloc(d_ff, sizeof(double));
    p->up = sah_alloc(d_ff, sizeof(double));
    p->scores = sah_alloc(n, sizeof(double));
    p->rope = sah_alloc(D / 2, sizeof(double));
    p->row = sah_alloc(longest, sizeof(float));
    return p->x && p->q && p->k && p->v && p->z && p->edited_q && p->edited_k && p->edited_z && p->normed &&
           p->gate && p->up && p->scores && p->rope && p->row;
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
               .D = c->head_dim,
               .H = c->n_heads,
               .Hkv = c->n_kv_heads,
               .observer = observer};
    sah_status status = SAH_OK;
    if (!allocate(&p)) {
        status = sah_fail_memory(error, "the plain forward pass");
        goto done;
    }
    sah_rope_frequencies(c, checkpoint->rope_factors, p.rope);
    for (int t = 0; t < p.n; t++) {
        sah_matrix_read(&checkpoint->embedding, (size_t)tokens[t], 1, p.row);
        for (int i = 0; i < p.d; i++) p.x[t * p.d + i] = (double)p.row[i];
    }
    for (int l = 0; l < c->n_layers; l++) {
        show(&p, SAH_PLACE_INPUT, l, p.x, p.d);
        self_attention(&p, l);
        show(&p, SAH_PLACE_MIDDLE, l, p.x, p.d);
        mlp(&p, l);
    }
    show(&p, SAH_PLACE_INPUT, c->n_layers, p.x, p.d);
    if (hidden) norm(&p, p.x + (p.n - 1) * p.d, checkpoint->final_norm, p.d, hidden);
    if (logits) multiply(&p, &checkpoint->lm_head, NULL, hidden, logits);

done:
    free(p.x);
    free(p.q);
    free(p.k);
    free(p.v);
    free(p.z);
    free(p.edited_q);
    free(p.edited_k);
    free(p.edited_z);
    free(p.normed);
    free(p.gate);
    free(p.up);
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
