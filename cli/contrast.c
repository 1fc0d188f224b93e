/* --contrast and --match-length: the harmless queries that the commands share. */
#include "command.h"

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
        fprintf(stderr, "%zu of %zu harmless queries, %.1f tokens a prompt beside %.1f\n", contrast->n,
                out->from, out->contrast_tokens, out->tokens);
    return status;
}
