/* SPDX-License-Identifier: Apache-2.0 */
/* Results: one file, or several as one, and the step that is looked at. */
#include "report/result.h"
#include "report/result_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/journal.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

/* ---- Several as one ------------------------------------------------------------------------------------ */

/* The same model and settings, whatever the version and the queries. */
static sah_status check_same(const sah_result_file *first, const sah_result_file *f, sah_error *error)
{
    static const char *const keys[] = {"model", "settings"};
    char what[512];
    if (first->kind != SAH_KIND_SHIPS || f->kind != SAH_KIND_SHIPS)
        return sah_fail(error, SAH_FAILED,
                        "%s and %s: only results of `ships` can be taken together; `compare` compares others",
                        first->path, f->path);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (sah_json_difference(json_object_get(first->header, keys[i]), json_object_get(f->header, keys[i]),
                                what, sizeof what)) {
            return sah_fail(error, SAH_FAILED, "%s and %s are not of one kind: %s.%s", first->path, f->path,
                            keys[i], what);
        }
    }
    if ((first->n_contrast == 0) != (f->n_contrast == 0)) {
        return sah_fail(error, SAH_FAILED,
                        "%s and %s cannot be taken together: one has contrast queries, the other has none",
                        first->path, f->path);
    }
    return SAH_OK;
}

/* The same queries with the same settings are the same scores: taken twice they would count as more evidence. */
static sah_status check_other_queries(const sah_result_file *first, const sah_result_file *f,
                                      sah_error *error)
{
    static const char *const keys[] = {"queries", "contrast_queries", "partners", "contrast_partners"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *a = json_object_get(first->header, keys[i]), *b = json_object_get(f->header, keys[i]);
        if (a != b && !json_equal(a, b)) return SAH_OK;
    }
    return sah_fail(error, SAH_FAILED, "%s and %s have the same queries, which would count twice",
                    first->path, f->path);
}

static sah_status add_strings(const json_t *array, sah_strings *out, sah_error *error)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        sah_status status = sah_strings_add(out, json_string_value(item), json_string_length(item), error);
        if (status != SAH_OK) return status;
    }
    return SAH_OK;
}

/* The row of a cell in the step that is looked at; NULL where the file has none. */
static const double *row_at(const sah_result *r, size_t file, size_t cell)
{
    const sah_result_file *f = &r->files[file];
    if (f->n_steps <= r->info.step || f->steps[r->info.step].rows == NULL) return NULL;
    return f->steps[r->info.step].rows[cell];
}

static size_t cell_of(const sah_result *r, sah_head head)
{
    return (size_t)head.layer * (size_t)r->info.n_heads + (size_t)head.head;
}

/* Lists the heads that every file has. */
static sah_status list_heads(sah_result *r, sah_error *error)
{
    size_t cells = (size_t)r->info.n_layers * (size_t)r->info.n_heads;
    free(r->heads);
    r->info.n_scored = 0;
    r->heads = sah_alloc(cells, sizeof *r->heads);
    if (r->heads == NULL) return sah_fail_memory(error, "the heads");
    for (size_t cell = 0; cell < cells; cell++) {
        bool everywhere = true;
        for (size_t i = 0; i < r->n_files; i++) everywhere = everywhere && row_at(r, i, cell) != NULL;
        if (!everywhere) continue;
        r->heads[r->info.n_scored++] = (sah_head){(int)cell / r->info.n_heads, (int)cell % r->info.n_heads};
    }
    return SAH_OK;
}

/* Ships: the scores of all files side by side. */
static sah_status merge_scores(sah_result *r, sah_error *error)
{
    size_t numbers, contrast_numbers;
    if (!sah_mul(r->info.n_scored, r->info.n_queries, &numbers) ||
        !sah_mul(r->info.n_scored, r->info.n_contrast, &contrast_numbers)) {
        return sah_fail_memory(error, "the scores");
    }
    double *kl = r->kl = sah_alloc(numbers, sizeof *r->kl);
    double *contrast = r->contrast_kl = sah_alloc(contrast_numbers, sizeof *r->contrast_kl);
    if (kl == NULL || contrast == NULL) return sah_fail_memory(error, "the scores");
    for (size_t h = 0; h < r->info.n_scored; h++) {
        for (size_t i = 0; i < r->n_files; i++) {
            const sah_result_file *f = &r->files[i];
            const double *row = row_at(r, i, cell_of(r, r->heads[h]));
            memcpy(kl, row, f->n_queries * sizeof *kl);
            if (f->n_contrast > 0) memcpy(contrast, row + f->n_queries, f->n_contrast * sizeof *contrast);
            kl += f->n_queries;
            contrast += f->n_contrast;
        }
    }
    return SAH_OK;
}

static void effects_free(sah_effects *e)
{
    free(e->kinds);
    for (int l = 0; l < SAH_N_EFFECTS; l++) free(e->values[l]);
    *e = (sah_effects){0};
}

static sah_status effects_new(size_t n, size_t n_scored, sah_effects *out, sah_error *error)
{
    size_t numbers;
    *out = (sah_effects){.n = n, .kinds = sah_alloc(n, sizeof *out->kinds)};
    bool good = out->kinds != NULL && sah_mul(n, n_scored, &numbers);
    for (int l = 0; l < SAH_N_EFFECTS && good; l++) {
        out->values[l] = sah_alloc(numbers, sizeof *out->values[l]);
        good = out->values[l] != NULL;
    }
    if (good) return SAH_OK;
    effects_free(out);
    return sah_fail_memory(error, "the effects");
}

/* What the files say of openings, side by side; nothing where one says nothing. */
static sah_status merge_effects(sah_result *r, sah_error *error)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < r->n_files; i++) {
        if (r->files[i].openings == NULL) return SAH_OK;
        n += r->files[i].n_queries + r->files[i].n_contrast;
    }
    sah_status status = effects_new(n, r->info.n_scored, &r->effects, error);
    if (status != SAH_OK) return status;
    for (size_t i = 0; i < r->n_files; i++) {
        const sah_result_file *f = &r->files[i];
        size_t own = f->n_queries + f->n_contrast;
        memcpy(r->effects.kinds + at, f->openings, own * sizeof *f->openings);
        for (size_t h = 0; h < r->info.n_scored; h++)
            for (size_t l = 0; l < SAH_N_EFFECTS; l++)
                memcpy(r->effects.values[l] + h * n + at,
                       row_at(r, i, cell_of(r, r->heads[h])) + (1 + l) * own, own * sizeof(double));
        at += own;
    }
    return SAH_OK;
}

/* How many queries are of a kind; `opened`: and have an opening, whose effect every head has or none. */
static size_t count_kind(const sah_result *r, sah_opening_kind kind, bool opened)
{
    size_t n = 0;
    for (size_t q = 0; q < r->effects.n; q++)
        n += r->effects.kinds[q] == kind && !(opened && isnan(r->effects.values[SAH_EFFECT][q]));
    return n;
}

static void count_refused(sah_result *r)
{
    sah_result_info *info = &r->info;
    info->n_refused = count_kind(r, SAH_OPENING_REFUSES, false);
    info->n_answered = count_kind(r, SAH_OPENING_ANSWERS, false);
    info->effect_judged = false;
    info->effect_reason[0] = '\0';
    if (r->effects.n == 0 || info->n_scored == 0 || info->n_screened > 0) return;
    const size_t refused = count_kind(r, SAH_OPENING_REFUSES, true),
                 answered = count_kind(r, SAH_OPENING_ANSWERS, true);
    info->effect_judged = refused >= SAH_LEAST_OPENINGS && answered >= SAH_LEAST_OPENINGS;
    if (!info->effect_judged)
        snprintf(info->effect_reason, sizeof info->effect_reason,
                 "%zu refused and %zu answered queries: a verdict takes %d of either kind", refused, answered,
                 SAH_LEAST_OPENINGS);
}

/* The effects of the heads chosen[] of a result, those of other[] of another behind them. */
static sah_status join_effects(sah_result *r, const size_t *chosen, const sah_result *more,
                               const size_t *other, size_t n_heads, sah_error *error)
{
    size_t a = r->effects.n, b = more->effects.n, n = a + b;
    sah_effects both = {0};
    if (a == 0 || b == 0) { /* one of the two was scored without openings */
        effects_free(&r->effects);
        return SAH_OK;
    }
    sah_status status = effects_new(n, n_heads, &both, error);
    if (status != SAH_OK) return status;
    memcpy(both.kinds, r->effects.kinds, a * sizeof *both.kinds);
    memcpy(both.kinds + a, more->effects.kinds, b * sizeof *both.kinds);
    for (size_t h = 0; h < n_heads; h++)
        for (size_t l = 0; l < SAH_N_EFFECTS; l++) {
            memcpy(both.values[l] + h * n, r->effects.values[l] + chosen[h] * a, a * sizeof(double));
            memcpy(both.values[l] + h * n + a, more->effects.values[l] + other[h] * b, b * sizeof(double));
        }
    effects_free(&r->effects);
    r->effects = both;
    return SAH_OK;
}

/* Index of a head in r->heads, or n_scored. */
static size_t index_of(const sah_result *r, sah_head head)
{
    size_t low = 0, high = r->info.n_scored;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cell_of(r, r->heads[middle]) < cell_of(r, head))
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < r->info.n_scored && cell_of(r, r->heads[low]) == cell_of(r, head);
    return found ? low : r->info.n_scored;
}

static sah_status check_contrast(const sah_result *harmful, const sah_result *harmless, sah_error *error)
{
    for (size_t i = 0; i < harmless->n_files; i++) {
        sah_status status = check_same(&harmful->files[0], &harmless->files[i], error);
        if (status != SAH_OK) return status;
    }
    if (harmful->info.n_contrast == 0 && harmless->info.n_contrast == 0) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "%s and %s have contrast queries of their own", harmful->files[0].path,
                    harmless->files[0].path);
}

sah_status sah_result_contrast(sah_result *r, const sah_result *harmless, sah_error *error)
{
    size_t n_queries = r->info.n_queries, n_contrast = harmless->info.n_queries, n = 0, numbers;
    double *contrast_kl = NULL;
    size_t *chosen = sah_alloc(r->info.n_scored, sizeof *chosen);
    size_t *other = sah_alloc(r->info.n_scored, sizeof *other);
    sah_status status = chosen != NULL && other != NULL ? SAH_OK : sah_fail_memory(error, "the scores");
    if (status == SAH_OK) status = check_contrast(r, harmless, error);
    for (size_t i = 0; i < harmless->queries.n && status == SAH_OK; i++)
        status = sah_strings_add(&r->contrast, harmless->queries.items[i], strlen(harmless->queries.items[i]),
                                 error);
    for (size_t h = 0; h < r->info.n_scored && status == SAH_OK; h++) {
        other[n] = index_of(harmless, r->heads[h]);
        chosen[n] = h;
        n += other[n] < harmless->info.n_scored;
    }
    if (status == SAH_OK) {
        contrast_kl = sah_mul(n, n_contrast, &numbers) ? sah_alloc(numbers, sizeof *contrast_kl) : NULL;
        if (contrast_kl == NULL) status = sah_fail_memory(error, "the scores");
    }
    if (status == SAH_OK) status = join_effects(r, chosen, harmless, other, n, error);
    if (status != SAH_OK) goto done;
    for (size_t h = 0; h < n; h++) {
        r->heads[h] = r->heads[chosen[h]];
        memmove(r->kl + h * n_queries, r->kl + chosen[h] * n_queries, n_queries * sizeof *r->kl);
        memcpy(contrast_kl + h * n_contrast, harmless->kl + other[h] * n_contrast,
               n_contrast * sizeof *r->kl);
    }
    free(r->contrast_kl);
    r->contrast_kl = contrast_kl;
    contrast_kl = NULL;
    r->info.n_scored = n;
    r->info.n_contrast = n_contrast;
    r->info.judged = true;
    count_refused(r);

done:
    free(contrast_kl);
    free(chosen);
    free(other);
    return status;
}

/* ---- Steps --------------------------------------------------------------------------------------------- */

/* Heads of settings.start, a list or "5-6,18-8". */
static bool has_start(const sah_result *r)
{
    const json_t *start = json_object_get(json_object_get(r->files[0].header, "settings"), "start");
    return json_array_size(start) > 0 || json_string_length(start) > 0;
}

sah_status sah_result_select(sah_result *r, size_t step, sah_error *error)
{
    if (step > 0 && step >= r->info.n_steps)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "step", " %zu: %s has %zu step%s, counted from 0",
                              step, r->files[0].path, r->info.n_steps, r->info.n_steps == 1 ? "" : "s");
    if (r->kind == SAH_KIND_SHIPS) return SAH_OK;
    r->info.step = step;
    sah_status status = list_heads(r, error);
    free(r->rows);
    r->rows = sah_alloc(r->info.n_scored, sizeof *r->rows);
    if (status == SAH_OK && r->rows == NULL) status = sah_fail_memory(error, "the scores");
    for (size_t h = 0; h < r->info.n_scored && status == SAH_OK; h++)
        r->rows[h] = row_at(r, 0, cell_of(r, r->heads[h]));

    /* Later steps may try fewer heads: those that are not in the group yet, or on a short list. */
    bool finished = step < r->files[0].n_steps && r->files[0].steps[step].finished;
    r->grouped = step > 0 || has_start(r);
    bool screened = json_object_get(json_object_get(r->files[0].header, "settings"), "screen") != NULL;
    r->info.judged = r->kind == SAH_KIND_FIND && r->info.n_contrast > 0 && !r->grouped && !screened;
    r->info.n_expected = r->files[0].n_expected;
    if (finished || (r->grouped && r->info.n_scored >= r->info.n_expected))
        r->info.n_expected = r->info.n_scored;
    return status;
}

bool sah_result_chosen(const sah_result *r, size_t step, sah_chosen *out)
{
    const sah_result_file *f = &r->files[0];
    if (f->kind != SAH_KIND_FIND || step >= f->n_steps || !f->steps[step].finished) return false;
    *out = f->steps[step].chosen;
    return true;
}

/* ---- Opening ------------------------------------------------------------------------------------------- */

static unsigned parts_of(const json_t *header)
{
    const char *text = json_string_value(json_object_get(json_object_get(header, "settings"), "part"));
    unsigned parts = 0;
    return text != NULL && sah_parts_parse(text, &parts, NULL) == SAH_OK ? parts : 0;
}

static sah_status fill(sah_result *r, sah_error *error)
{
    const sah_result_file *first = &r->files[0];
    const char *name = json_string_value(json_object_get(json_object_get(first->header, "model"), "name"));
    sah_status status = SAH_OK;
    snprintf(r->info.command, sizeof r->info.command, "%s",
             json_string_value(json_object_get(first->header, "sahara")));
    snprintf(r->info.model_name, sizeof r->info.model_name, "%s", name != NULL ? name : "");
    r->kind = first->kind;
    r->info.n_layers = first->n_layers;
    r->info.n_heads = first->n_heads;
    r->info.parts = parts_of(first->header);
    r->info.n_expected = first->n_expected;
    r->info.n_steps = first->kind == SAH_KIND_FIND ? first->n_steps : 1;
    for (size_t i = 0; i < r->n_files && status == SAH_OK; i++) {
        const sah_result_file *f = &r->files[i];
        r->info.n_queries += f->n_queries;
        r->info.n_contrast += f->n_contrast;
        if (f->n_screened > r->info.n_screened) r->info.n_screened = f->n_screened;
        status = add_strings(json_object_get(f->header, "queries"), &r->queries, error);
        if (status == SAH_OK)
            status = add_strings(json_object_get(f->header, "contrast_queries"), &r->contrast, error);
    }
    if (status != SAH_OK) return status;
    if (r->kind != SAH_KIND_SHIPS) return sah_result_select(r, 0, error);
    /* Chance is judged for a whole family of heads, of which a race scored only the highest. */
    r->info.judged = r->info.n_contrast > 0 && r->info.n_screened == 0;
    status = list_heads(r, error);
    if (status == SAH_OK) status = merge_scores(r, error);
    if (status == SAH_OK) status = merge_effects(r, error);
    if (status == SAH_OK) count_refused(r);
    return status;
}

sah_status sah_result_open(const char *const *paths, size_t n, sah_result **out, sah_error *error)
{
    sah_status status = SAH_OK;
    *out = NULL;
    if (n == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no result file");
    sah_result *r = sah_alloc(1, sizeof *r);
    if (r == NULL) return sah_fail_memory(error, "the results");
    r->files = sah_alloc(n, sizeof *r->files);
    if (r->files == NULL) status = sah_fail_memory(error, "the results");
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        r->n_files++;
        status = sah_result_file_open(paths[i], &r->files[i], error);
        if (status == SAH_OK && i > 0) status = check_same(&r->files[0], &r->files[i], error);
        for (size_t j = 0; j < i && status == SAH_OK; j++)
            status = check_other_queries(&r->files[j], &r->files[i], error);
    }
    if (status == SAH_OK) status = fill(r, error);
    if (status == SAH_OK)
        *out = r;
    else
        sah_result_close(r);
    return status;
}

sah_status sah_result_parse(const char *text, size_t size, sah_result **out, sah_error *error)
{
    *out = NULL;
    sah_result *r = sah_alloc(1, sizeof *r);
    if (r == NULL) return sah_fail_memory(error, "the results");
    r->files = sah_alloc(1, sizeof *r->files);
    r->n_files = r->files != NULL;
    sah_status status = r->files != NULL
                            ? sah_result_file_parse(text, size, "the result", &r->files[0], error)
                            : sah_fail_memory(error, "the results");
    if (status == SAH_OK) status = fill(r, error);
    if (status == SAH_OK)
        *out = r;
    else
        sah_result_close(r);
    return status;
}

/* Row h of a score: the queries' columns, then the contrast queries'. */
static void score_row(const sah_result *r, sah_score score, size_t h, double *out)
{
    const size_t n = r->info.n_queries, n_contrast = r->info.n_contrast;
    if (score == SAH_SCORE_KL) {
        memcpy(out, r->kl + h * n, n * sizeof *out);
        if (n_contrast > 0) memcpy(out + n, r->contrast_kl + h * n_contrast, n_contrast * sizeof *out);
        return;
    }
    /* A file's contrast queries stand behind its own queries there, and another file's behind those. */
    const double *from = r->effects.values[score - SAH_SCORE_EFFECT] + h * r->effects.n;
    double *contrast = out + n;
    for (size_t i = 0; i < r->n_files; i++) {
        const sah_result_file *f = &r->files[i];
        memcpy(out, from, f->n_queries * sizeof *out);
        out += f->n_queries;
        from += f->n_queries;
        if (f->n_contrast > 0) memcpy(contrast, from, f->n_contrast * sizeof *out);
        contrast += f->n_contrast;
        from += f->n_contrast;
    }
}

sah_status sah_result_scores(const sah_result *r, sah_score score, sah_head **heads, double **scores,
                             sah_error *error)
{
    const size_t width = r->info.n_queries + r->info.n_contrast, n = r->info.n_scored;
    size_t numbers;
    const bool joined = score != SAH_SCORE_KL && r->effects.n != 0 &&
                        r->files[0].n_contrast != r->info.n_contrast &&
                        r->n_files == 1; /* sah_result_contrast() put another result's queries behind */
    *heads = NULL;
    *scores = NULL;
    if (r->kind != SAH_KIND_SHIPS)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "score",
                              ": %s is a result of %s; those of ships have scores", r->files[0].path,
                              r->info.command);
    if (score < SAH_SCORE_KL || score > SAH_SCORE_OPENING_KL ||
        (score != SAH_SCORE_KL && r->effects.n == 0) ||
        (score == SAH_SCORE_OPENING_KL && !sah_result_has_opening_kl(r)) || joined)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "score", ": %s has no such scores", r->files[0].path);
    *heads = sah_alloc(n, sizeof **heads);
    if (sah_mul(n, width, &numbers)) *scores = sah_alloc(numbers, sizeof **scores);
    if (*heads == NULL || *scores == NULL) {
        free(*heads);
        free(*scores);
        *heads = NULL;
        *scores = NULL;
        return sah_fail_memory(error, "the scores");
    }
    memcpy(*heads, r->heads, n * sizeof **heads);
    for (size_t h = 0; h < n; h++) score_row(r, score, h, *scores + h * width);
    return SAH_OK;
}

void sah_result_close(sah_result *r)
{
    if (r == NULL) return;
    for (size_t i = 0; i < r->n_files; i++) sah_result_file_close(&r->files[i]);
    free(r->files);
    sah_strings_free(&r->queries);
    sah_strings_free(&r->contrast);
    free(r->heads);
    free(r->kl);
    free(r->contrast_kl);
    effects_free(&r->effects);
    free(r->rows);
    free(r);
}

const sah_result_info *sah_result_describe(const sah_result *result)
{
    return &result->info;
}

bool sah_result_has_difference(const sah_result *result)
{
    return result->kind == SAH_KIND_DIRECTION || result->info.n_contrast > 0;
}

bool sah_result_has_opening_kl(const sah_result *result)
{
    return json_is_true(json_object_get(json_object_get(result->files[0].header, "settings"), "opening_kl"));
}
