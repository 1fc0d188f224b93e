/* SPDX-License-Identifier: Apache-2.0 */
#include "attribution/probes.h"

#include <stdlib.h>
#include <string.h>

#include "run/interchange.h"
#include "util/alloc.h"
#include "util/error.h"

/* Paths through the forest: a query with an opening behind it, all but the last token, which is only predicted.
 */
typedef struct paths {
    sah_prompt *items; /* [n], tokens are the path's own */
    size_t *first; /* [n] the first position that is scored */
    size_t n;
} paths;

static void paths_free(paths *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free((void *)(uintptr_t)p->items[i].tokens);
        free((void *)(uintptr_t)p->items[i].source);
    }
    free(p->items);
    free(p->first);
}

/* A query with all but the last of n tokens behind it, scored from its position `first` on. What stands in for the
 * query's states does so here, and in new tokens what `donors` say. */
static sah_status add_path(const sah_model *model, const sah_donors *donors, paths *p,
                           const sah_prompt *query, const int32_t *tokens, size_t n, size_t first,
                           sah_error *error)
{
    size_t more = n > 0 ? n - 1 : 0, limit = (size_t)model->config.max_positions;
    if (limit > 0 && query->n + more > limit)
        return sah_fail(
            error, SAH_FAILED,
            "a query of %zu tokens and its opening are together longer than the %zu tokens the model takes",
            query->n, limit);
    int32_t *path = sah_alloc(query->n + more, sizeof *path),
            *source = query->source != NULL ? sah_alloc(query->n + more, sizeof *source) : NULL;
    if (path == NULL || (query->source != NULL && source == NULL)) {
        free(path);
        free(source);
        return sah_fail_memory(error, "the openings");
    }
    if (source != NULL) {
        memcpy(source, query->source, query->n * sizeof *source);
        for (size_t i = query->n; i < query->n + more; i++) source[i] = sah_donors_beyond(donors);
    }
    memcpy(path, query->tokens, query->n * sizeof *path);
    if (more > 0) memcpy(path + query->n, tokens, more * sizeof *path);
    p->first[p->n] = first;
    p->items[p->n++] = (sah_prompt){.tokens = path, .n = query->n + more, .source = source};
    return SAH_OK;
}

/* The paths and probes of one query. */
static sah_status add_query(const sah_model *model, const sah_openings *o, size_t opening,
                            const sah_prompt *query, size_t index, paths *p, sah_probes *out,
                            sah_error *error)
{
    size_t own = o->lengths[opening],
           refusal = o->refused[opening] || o->thinking[opening] ? 0 : o->refusal_length;
    const int32_t *tokens = o->tokens + opening * o->length;
    sah_status status = add_path(model, out->donors, p, query, tokens, own, query->n - 1, error);
    if (status == SAH_OK && refusal > 1)
        status = add_path(model, out->donors, p, query, o->refusal, refusal, query->n, error);
    if (status != SAH_OK) return status;
    for (size_t j = 0; j < own || j == 0; j++)
        out->items[out->n++] = (sah_probe){.query = index,
                                           .first = j == 0,
                                           .own = j < own ? tokens[j] : -1,
                                           .refusal = j == 0 && refusal > 0 ? o->refusal[0] : -1};
    for (size_t j = 1; j < refusal; j++)
        out->items[out->n++] = (sah_probe){.query = index, .own = -1, .refusal = o->refusal[j]};
    out->own_length[index] = own;
    out->refusal_length[index] = refusal;
    return SAH_OK;
}

static sah_status with_openings(const sah_model *model, const sah_run_prompts *prompts, const sah_openings *o,
                                const size_t *query_of, sah_probes *out, sah_error *error)
{
    size_t n = prompts->n, most;
    paths p = {0};
    sah_status status = SAH_OK;
    if (!sah_mul(n, 2 * o->length, &most)) return sah_fail_memory(error, "the openings");
    p.items = sah_alloc(2 * n, sizeof *p.items);
    p.first = sah_alloc(2 * n, sizeof *p.first);
    out->items = sah_alloc(most, sizeof *out->items);
    out->own_length = sah_alloc(n, sizeof *out->own_length);
    out->refusal_length = sah_alloc(n, sizeof *out->refusal_length);
    if (p.items == NULL || p.first == NULL || out->items == NULL || out->own_length == NULL ||
        out->refusal_length == NULL)
        status = sah_fail_memory(error, "the openings");
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        size_t opening = query_of != NULL ? query_of[i] : i;
        if (opening >= o->n)
            status = sah_fail(error, SAH_BAD_ARGUMENT, "%zu openings for %zu queries", o->n, n);
        else
            status = add_query(model, o, opening, &prompts->items[i], i, &p, out, error);
    }
    if (status == SAH_OK)
        status = sah_forest_new_positions(p.items, p.first, p.n, model->config.n_vocab, &out->forest, error);
    paths_free(&p);
    return status;
}

static sah_status without_openings(const sah_model *model, const sah_run_prompts *prompts, sah_probes *out,
                                   sah_error *error)
{
    out->items = sah_alloc(prompts->n, sizeof *out->items);
    if (out->items == NULL) return sah_fail_memory(error, "the prompts");
    for (; out->n < prompts->n; out->n++)
        out->items[out->n] = (sah_probe){.query = out->n, .first = true, .own = -1, .refusal = -1};
    return sah_forest_new(prompts->items, prompts->n, model->config.n_vocab, &out->forest, error);
}

sah_status sah_probes_new(const sah_model *model, const sah_strings *const lists[2],
                          const sah_run_options *options, const char *default_template,
                          const size_t *query_of, sah_probes *out, sah_error *error)
{
    const char *template_ = options->template_ != NULL ? options->template_ : default_template;
    const sah_openings *o = options->openings;
    sah_run_prompts prompts;
    *out = (sah_probes){0};
    sah_status status = sah_run_prompts_new(model, lists, 2, template_, options->system, &prompts, error);
    out->n_queries = prompts.n;
    if (status == SAH_OK)
        status = sah_interchange_donors(model, &options->ablation, &options->interchange, template_,
                                        options->system, query_of, &prompts, &out->donors, error);
    if (status == SAH_OK)
        status = o != NULL ? with_openings(model, &prompts, o, query_of, out, error)
                           : without_openings(model, &prompts, out, error);
    if (status == SAH_OK) out->forest->donors = out->donors;
    sah_run_prompts_free(&prompts);
    return status;
}

void sah_probes_free(sah_probes *probes)
{
    sah_forest_free(probes->forest);
    sah_donors_free(probes->donors);
    free(probes->items);
    free(probes->own_length);
    free(probes->refusal_length);
    *probes = (sah_probes){0};
}
