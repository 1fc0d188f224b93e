/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that score heads begin and end with: queries, harmless queries, the model, the checks of
 * both. */
#include "scoring.h"
#include "check_refusal.h"
#include "loading.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

sah_status read_contrast(const cli_options *o, const char *path, sah_strings *contrast, sah_error *error)
{
    if (path == NULL) return SAH_OK;
    return sah_queries_read(path, o->column, o->match_length ? 0 : o->limit, contrast, error);
}

sah_status match_length(const cli_options *o, const sah_model *model, const sah_strings *queries,
                        const char *default_template, sah_strings *contrast, sah_matching *out,
                        sah_error *error)
{
    const char *template_ = o->template_ != NULL ? o->template_ : default_template;
    *out = (sah_matching){0};
    if (!o->match_length || contrast->n == 0) return SAH_OK;
    sah_status status = sah_match_lengths(model, queries, template_, o->system, contrast, out, error);
    if (status == SAH_OK && !o->quiet)
        fprintf(stderr,
                "%zu of %zu harmless queries taken: %.1f tokens a prompt, beside %.1f for the harmful ones\n",
                contrast->n, out->from, out->contrast_tokens, out->tokens);
    return status;
}

/* Shards that work together write where the others look. */
static void choose_output(const cli_options *o, cli_scoring *s)
{
    s->output = options_output(o);
    if (o->together == NULL || o->given[OPT_OUTPUT]) return;
    snprintf(s->own_output, sizeof s->own_output, "%s/shard-%zu-of-%zu.jsonl", o->together, o->shard.index,
             o->shard.count > 0 ? o->shard.count : 1);
    s->output = s->own_output;
}

/* Whether a file can be written, as far as its permissions say: nothing is opened. */
static sah_status check_output(const char *path, sah_error *error)
{
    char folder[4096];
    const char *end = strrchr(path, '/');
    const size_t length = end == NULL || end == path ? 1 : (size_t)(end - path);
    if (strcmp(path, "-") == 0 || access(path, W_OK) == 0 || length >= sizeof folder) return SAH_OK;
    snprintf(folder, sizeof folder, "%.*s", (int)length, end == NULL ? "." : path);
    if (errno == ENOENT && access(folder, W_OK | X_OK) == 0) return SAH_OK;
    snprintf(error->message, sizeof error->message, "cannot write %.400s: %s", path, strerror(errno));
    return error->status = SAH_IO_ERROR;
}

/* What would stop the run is told before its responses, which may take long. (The folder of --together the run itself
 * makes.) */
static sah_status check_first(const cli_options *o, const char *default_template, const cli_scoring *s,
                              sah_error *error)
{
    sah_status status = o->together == NULL ? check_output(s->output, error) : SAH_OK;
    return status == SAH_OK
               ? sah_sweep_check(s->model, &s->queries, s->contrast, default_template, &s->options, error)
               : status;
}

sah_status scoring_open(const cli_options *o, const char *default_template, cli_scoring *s, sah_error *error)
{
    sah_model_options model_options = options_model(o);
    *s = (cli_scoring){.options = options_run(o)};
    choose_output(o, s);
    sah_status status = interchange_read(o, o->arguments[1], &s->queries, &s->interchange, error);
    if (status == SAH_OK) status = read_contrast(o, o->contrast, &s->contrast_queries, error);
    if (status == SAH_OK) status = model_load(o, o->arguments[0], &model_options, &s->model, error);
    if (status != SAH_OK) return status;
    progress_catch_signals();
    s->contrast = o->contrast != NULL ? &s->contrast_queries : NULL;
    status = match_length(o, s->model, &s->queries, default_template, &s->contrast_queries,
                          &s->options.matching, error);
    if (status == SAH_OK)
        status =
            interchange_pair(o, s->model, default_template, &s->queries, s->contrast, &s->interchange, error);
    s->options.interchange = s->interchange.options;
    if (status == SAH_OK) status = check_first(o, default_template, s, error);
    if (status == SAH_OK && o->direction == 0) /* of harmless queries it says nothing */
        status = check_refusal(o, s->model, &s->queries, default_template, &s->options.refusal, error);
    progress_init(&s->progress, o->quiet);
    s->options.progress = progress_show;
    s->options.user = &s->progress;
    return status;
}

static size_t count(const bool *is, size_t from, size_t to)
{
    size_t n = 0;
    for (size_t i = from; i < to; i++) n += is[i];
    return n;
}

sah_status scoring_openings(const cli_options *o, const char *default_template, cli_scoring *s,
                            sah_error *error)
{
    const size_t n = s->queries.n;
    if (o->given[OPT_OPENING] && o->opening == 0) return SAH_OK;
    const sah_openings_options options = {
        .template_ = o->template_ != NULL ? o->template_ : default_template,
        .system = o->system,
        .length = o->given[OPT_OPENING] ? o->opening : 0,
        .refusing = o->direction == 1 ? s->interchange.options.partners : NULL,
        .progress = progress_show,
        .user = &s->progress,
    };
    sah_status status = sah_openings_new(s->model, &s->queries, s->contrast, &options, &s->openings, error);
    progress_end(&s->progress);
    if (status != SAH_OK) return status;
    s->options.openings = &s->openings;
    s->options.opening_kl = o->opening_kl;
    const sah_openings *all = &s->openings;
    size_t refused = count(all->refused, 0, n), thinking = count(all->thinking, 0, all->n);
    if (s->options.refusal.sampled == 0)
        s->options.refusal =
            (sah_refusal_check){.sampled = n, .refused = refused, .thinking = count(all->thinking, 0, n)};
    if (o->quiet) return SAH_OK;
    fprintf(stderr, "%zu of %zu queries are refused within %zu tokens", refused, n, all->judged);
    if (s->contrast != NULL)
        fprintf(stderr, ", %zu of %zu contrast queries", count(all->refused, n, all->n), all->n - n);
    fprintf(stderr, "\n");
    if (thinking > 0)
        fprintf(
            stderr,
            "warning: %zu of %zu responses are still thinking by then: they count neither as refused nor as "
            "answered\n",
            thinking, all->n);
    return SAH_OK;
}

sah_status scoring_estimate(const cli_options *o, const char *default_template, size_t sweeps,
                            const cli_scoring *s, sah_error *error)
{
    const double worth_saying = 30;
    sah_estimate estimate;
    if (o->quiet) return SAH_OK;
    sah_status status = sah_sweep_estimate(s->model, &s->queries, s->contrast, default_template, &s->options,
                                           &estimate, error);
    estimate.seconds *= (double)sweeps;
    if (status != SAH_OK || estimate.seconds < worth_saying) return status;
    fprintf(stderr, "%zu heads x %zu queries: about ", estimate.heads, estimate.queries);
    if (estimate.seconds < 90 * 60)
        fprintf(stderr, "%.0f min\n", fmax(estimate.seconds / 60, 1));
    else
        fprintf(stderr, "%.1f h\n", estimate.seconds / 3600);
    return SAH_OK;
}

void scoring_close(cli_scoring *s)
{
    sah_openings_free(&s->openings);
    interchange_close(&s->interchange);
    sah_model_close(s->model);
    sah_strings_free(&s->queries);
    sah_strings_free(&s->contrast_queries);
}
