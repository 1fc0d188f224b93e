/* SPDX-License-Identifier: Apache-2.0 */
/* The totals of a result whose items and windows were measured by shards, from its lines alone. */
#include <stdlib.h>
#include <string.h>

#include "eval/utility/utility_totals.h"
#include "program.h"
#include "run/journal.h"
#include "util/alloc.h"
#include "util/error.h"

enum { MOST = 1 << 24 /* items, or windows */ };

/* Log-likelihoods of a window's tokens. */
typedef struct window {
    double *tokens, *base;
    size_t n;
    bool there;
} window;

typedef struct result {
    sah_utility_counts counts;
    size_t n_windows, n_there; /* n_there: items and windows */
    bool *there; /* [n_items] */
    window *windows;
    bool finished; /* the totals are there */
} result;

/* ---- Lines --------------------------------------------------------------------------------------------- */

static bool read_size(const json_t *value, uint64_t *out)
{
    const json_int_t size = json_integer_value(value);
    *out = (uint64_t)size;
    return json_is_integer(value) && size >= 0;
}

static bool is_right(const json_t *line, const char *key)
{
    return json_equal(json_object_get(line, key), json_object_get(line, "label"));
}

static void count_right(sah_rights *rights, const json_t *line, const char *key, const char *base_key)
{
    const bool right = is_right(line, key), base_right = is_right(line, base_key);
    rights->asked += right;
    rights->base += base_right;
    rights->both += right && base_right;
}

static sah_status read_tokens(const json_t *list, double **out, size_t *n, sah_error *error)
{
    *n = json_array_size(list);
    *out = sah_alloc(*n, sizeof **out);
    if (*out == NULL) return sah_fail_memory(error, "a window");
    for (size_t i = 0; i < *n; i++) (*out)[i] = json_number_value(json_array_get(list, i));
    return SAH_OK;
}

static sah_status take_window(result *r, const json_t *line, window *w, sah_error *error)
{
    size_t n_base;
    sah_status status = read_tokens(json_object_get(line, "loglikelihood"), &w->tokens, &w->n, error);
    if (status == SAH_OK)
        status = read_tokens(json_object_get(line, "base_loglikelihood"), &w->base, &n_base, error);
    if (status == SAH_OK && r->counts.compared && n_base != w->n)
        return sah_fail(error, SAH_FAILED, "a window has %zu tokens, and %zu without the ablation", w->n,
                        n_base);
    r->counts.n_tokens += w->n;
    return status;
}

static sah_status take_line(void *ctx, const json_t *line, size_t number, sah_error *error)
{
    result *r = ctx;
    uint64_t i;
    (void)number;
    if (read_size(json_object_get(line, "item"), &i) && i < r->counts.n_items) {
        if (r->there[i]) return SAH_OK;
        r->there[i] = true;
        r->n_there++;
        count_right(&r->counts.plain, line, "choice", "base_choice");
        count_right(&r->counts.by_length, line, "choice_norm", "base_choice_norm");
    } else if (read_size(json_object_get(line, "window"), &i) && i < r->n_windows) {
        if (r->windows[i].there) return SAH_OK;
        r->windows[i].there = true;
        r->n_there++;
        return take_window(r, line, &r->windows[i], error);
    } else {
        r->finished = true;
    }
    return SAH_OK;
}

/* ---- Totals -------------------------------------------------------------------------------------------- */

/* How much there must be. False: the header does not tell. */
static bool read_sizes(const json_t *header, result *r)
{
    const json_t *items = json_object_get(header, "items"), *text = json_object_get(header, "text");
    uint64_t n_windows = 0;
    r->counts.compared = json_is_string(json_object_get(json_object_get(header, "settings"), "ablate"));
    const bool good = (items == NULL || read_size(json_object_get(items, "n"), &r->counts.n_items)) &&
                      (text == NULL || (read_size(json_object_get(text, "windows"), &n_windows) &&
                                        read_size(json_object_get(text, "bytes"), &r->counts.n_bytes) &&
                                        read_size(json_object_get(text, "words"), &r->counts.n_words)));
    r->n_windows = (size_t)n_windows;
    return good && r->counts.n_items <= MOST && n_windows <= MOST;
}

static void join_windows(const result *r, double *tokens, double *base)
{
    for (size_t i = 0; i < r->n_windows; i++) {
        const window *w = &r->windows[i];
        memcpy(tokens, w->tokens, w->n * sizeof *tokens);
        if (r->counts.compared) memcpy(base, w->base, w->n * sizeof *base);
        tokens += w->n;
        base += w->n;
    }
}

static sah_status write_totals(result *r, sah_journal *journal, sah_error *error)
{
    sah_utility_totals totals;
    sah_text line = {0};
    double *tokens = sah_alloc(r->counts.n_tokens, sizeof *tokens);
    double *base = sah_alloc(r->counts.n_tokens, sizeof *base);
    sah_status status = tokens != NULL && base != NULL ? SAH_OK : sah_fail_memory(error, "the totals");
    if (status == SAH_OK) join_windows(r, tokens, base);
    r->counts.tokens = tokens;
    r->counts.tokens_base = r->counts.compared ? base : NULL;
    if (status == SAH_OK) status = sah_utility_total(&r->counts, &totals, error);
    if (status == SAH_OK) {
        sah_utility_text(&totals, &line);
        status = line.failed ? sah_fail_memory(error, "the totals")
                             : sah_journal_add(journal, line.data, line.size, error);
    }
    free(line.data);
    free(tokens);
    free(base);
    return status;
}

static sah_status conclude(result *r, json_t *header, const char *path, bool *done, sah_error *error)
{
    sah_journal *journal = NULL;
    r->there = sah_alloc((size_t)r->counts.n_items, sizeof *r->there);
    r->windows = sah_alloc(r->n_windows, sizeof *r->windows);
    if (r->there == NULL || r->windows == NULL) return sah_fail_memory(error, "the items");
    sah_status status = sah_journal_open(path, header, take_line, r, (sah_line_sink){0}, &journal, error);
    *done = r->finished;
    if (status == SAH_OK && !r->finished && r->n_there > 0 &&
        r->n_there == r->counts.n_items + r->n_windows) {
        status = write_totals(r, journal, error);
        *done = true;
    }
    sah_status closed = sah_journal_close(journal, status == SAH_OK ? error : NULL);
    return status == SAH_OK ? closed : status;
}

sah_status sah_utility_conclude(const char *path, bool *done, sah_error *error)
{
    json_t *header;
    result r = {0};
    *done = false;
    sah_status status = sah_journal_read_header(path, "utility", &header, error);
    if (status != SAH_OK || header == NULL) return status;
    if (read_sizes(header, &r)) status = conclude(&r, header, path, done, error);
    for (size_t i = 0; i < r.n_windows && r.windows != NULL; i++) {
        free(r.windows[i].tokens);
        free(r.windows[i].base);
    }
    free(r.windows);
    free(r.there);
    json_decref(header);
    return status;
}
