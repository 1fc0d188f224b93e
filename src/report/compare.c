/* SPDX-License-Identifier: Apache-2.0 */
/* How far two results agree on the heads: overlap of the highest, with what chance gives, and rank
 * correlation (docs/method.md, "Comparing results"). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/fields.h"
#include "report/rank.h"
#include "stats/rankings.h"
#include "util/alloc.h"
#include "util/error.h"

static const size_t tops[SAH_N_TOPS] = {5, 10, 20};

/* A result's heads by score, and by place. */
typedef struct ordered {
    sah_ranked *ranked;
    size_t n;
    size_t *rank_of; /* [n_layers * n_heads] 1 + index into ranked, 0 for heads without a score */
} ordered;

static void ordered_free(ordered *o)
{
    free(o->ranked);
    free(o->rank_of);
}

static sah_status order_heads(const sah_result *result, sah_order order, ordered *out, sah_error *error)
{
    const sah_result_info *info = &result->info;
    sah_status status = sah_rank(result, order, &out->ranked, &out->n, error);
    if (status != SAH_OK) return status;
    out->rank_of = sah_alloc_table((size_t)info->n_layers, (size_t)info->n_heads, sizeof *out->rank_of);
    if (out->rank_of == NULL) return sah_fail_memory(error, "the comparison");
    for (size_t i = 0; i < out->n; i++)
        out->rank_of[out->ranked[i].head.layer * info->n_heads + out->ranked[i].head.head] = i + 1;
    return SAH_OK;
}

/* Puts the heads that `other` has too first in `o`, in their order; returns how many. */
static size_t keep_common(ordered *o, const ordered *other, int n_heads)
{
    size_t n = 0;
    for (size_t i = 0; i < o->n; i++) {
        if (other->rank_of[o->ranked[i].head.layer * n_heads + o->ranked[i].head.head] > 0)
            o->ranked[n++] = o->ranked[i];
    }
    return n;
}

static size_t count_shared(const ordered *a, const ordered *b, size_t k)
{
    size_t shared = 0;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            shared += a->ranked[i].head.layer == b->ranked[j].head.layer &&
                      a->ranked[i].head.head == b->ranked[j].head.head;
    return shared;
}

/* a and b hold the same n heads, each in its own order. */
static sah_status measure(const sah_result *const results[2], const ordered sides[2], size_t n,
                          sah_order order, sah_comparison *out, sah_error *error)
{
    int n_heads = results[0]->info.n_heads;
    size_t cells = (size_t)results[0]->info.n_layers * (size_t)n_heads;
    *out = (sah_comparison){.n_heads = n, .spearman = NAN};
    double *scores = sah_alloc(cells, 2 * sizeof *scores), *x = scores, *y = scores + cells;
    if (scores == NULL) return sah_fail_memory(error, "the comparison");
    for (size_t i = 0; i < cells; i++) x[i] = NAN;
    for (size_t i = 0; i < n; i++) { /* by cell */
        const sah_ranked *a = &sides[0].ranked[i], *b = &sides[1].ranked[i];
        x[a->head.layer * n_heads + a->head.head] = sah_score_of(sah_order_of(results[0], order), a);
        y[b->head.layer * n_heads + b->head.head] = sah_score_of(sah_order_of(results[1], order), b);
    }
    size_t kept = 0;
    for (size_t i = 0; i < cells; i++) {
        if (isnan(x[i])) continue;
        x[kept] = x[i];
        y[kept++] = y[i];
    }
    sah_status status = sah_spearman(x, y, kept, &out->spearman, error);
    free(scores);
    for (size_t t = 0; t < SAH_N_TOPS && tops[t] < n; t++) {
        sah_overlap *top = &out->tops[out->n_tops++];
        top->k = tops[t];
        top->shared = count_shared(&sides[0], &sides[1], top->k);
        top->jaccard = sah_jaccard(top->k, top->shared);
        sah_overlap_chance(n, top->k, top->shared, &top->expected, &top->p);
    }
    return status;
}

sah_status sah_compare(const sah_result *a, const sah_result *b, sah_order order, sah_comparison *out,
                       sah_error *error)
{
    const sah_result *const results[2] = {a, b};
    ordered sides[2] = {{.n = 0}, {.n = 0}};
    if (a->info.n_layers != b->info.n_layers || a->info.n_heads != b->info.n_heads)
        return sah_fail(error, SAH_FAILED,
                        "%s has %d layers of %d heads, %s has %d of %d: their heads do not correspond",
                        a->files[0].path, a->info.n_layers, a->info.n_heads, b->files[0].path,
                        b->info.n_layers, b->info.n_heads);
    sah_status status = order_heads(a, order, &sides[0], error);
    if (status == SAH_OK) status = order_heads(b, order, &sides[1], error);
    if (status == SAH_OK) {
        size_t n = keep_common(&sides[0], &sides[1], a->info.n_heads);
        keep_common(&sides[1], &sides[0], a->info.n_heads);
        status = n > 0 ? measure(results, sides, n, order, out, error)
                       : sah_fail(error, SAH_FAILED, "%s and %s have no head in common", a->files[0].path,
                                  b->files[0].path);
    }
    ordered_free(&sides[0]);
    ordered_free(&sides[1]);
    return status;
}

/* ---- As text ------------------------------------------------------------------------------------------- */

static void add_tsv(sah_text *text, const char *a, const char *b, const sah_comparison *c)
{
    for (size_t t = 0; t < c->n_tops; t++) {
        const sah_overlap *top = &c->tops[t];
        sah_cell_tsv(text, a);
        sah_text_adds(text, "\t");
        sah_cell_tsv(text, b);
        sah_text_addf(text, "\t%zu\t", c->n_heads);
        sah_cell_number(text, c->spearman, true);
        sah_text_addf(text, "\t%zu\t%zu\t%.6g\t%.6g\t%.6g\n", top->k, top->shared, top->jaccard,
                      top->expected, top->p);
    }
}

static void add_side(sah_text *text, const char *key, const sah_result *result)
{
    sah_text_addf(text, "\"%s\":{\"file\":", key);
    sah_cell_json(text, result->files[0].path);
    sah_text_adds(text, ",\"model\":");
    sah_cell_json(text, result->info.model_name);
    sah_text_addf(text, ",\"sahara\":\"%s\"}", result->info.command);
}

static void add_json(sah_text *text, const sah_result *a, const sah_result *b, const sah_comparison *c)
{
    sah_text_adds(text, "{");
    add_side(text, "a", a);
    sah_text_adds(text, ",");
    add_side(text, "b", b);
    sah_text_addf(text, ",\"heads\":%zu,\"spearman\":", c->n_heads);
    sah_cell_number(text, c->spearman, false);
    sah_text_adds(text, ",\"top\":[");
    for (size_t t = 0; t < c->n_tops; t++) {
        const sah_overlap *top = &c->tops[t];
        sah_text_addf(text, "%s{\"k\":%zu,\"shared\":%zu,\"jaccard\":", t > 0 ? "," : "", top->k,
                      top->shared);
        sah_cell_number(text, top->jaccard, false);
        sah_text_adds(text, ",\"expected\":");
        sah_cell_number(text, top->expected, false);
        sah_text_adds(text, ",\"p\":");
        sah_cell_number(text, top->p, false);
        sah_text_adds(text, "}");
    }
    sah_text_adds(text, "]}\n");
}

sah_status sah_compare_text(const sah_result *const *results, size_t n, sah_order order,
                            sah_rank_format format, char **text, sah_error *error)
{
    sah_text out = {0};
    sah_status status = SAH_OK;
    bool tsv = format == SAH_FORMAT_TSV;
    *text = NULL;
    sah_text_adds(&out, tsv ? "a\tb\theads\tspearman\tk\tshared\tjaccard\texpected\tp\n" : "");
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        for (size_t j = i + 1; j < n && status == SAH_OK; j++) {
            sah_comparison c;
            status = sah_compare(results[i], results[j], order, &c, error);
            if (status != SAH_OK) break;
            if (tsv)
                add_tsv(&out, results[i]->files[0].path, results[j]->files[0].path, &c);
            else
                add_json(&out, results[i], results[j], &c);
        }
    }
    if (status == SAH_OK && out.failed) status = sah_fail_memory(error, "the comparison");
    if (status == SAH_OK)
        *text = out.data;
    else
        free(out.data);
    return status;
}
