/* SPDX-License-Identifier: Apache-2.0 */
#include "interchange.h"

#include <stdlib.h>
#include <string.h>

int interchange_usage(const cli_options *o, const char *command)
{
    static const option_id of_swap[] = {OPT_PARTNERS, OPT_CONTRAST_PARTNERS, OPT_MATCH, OPT_DIRECTION};
    static const char *const names[] = {"--partners", "--contrast-partners", "--match", "--direction"};
    const bool swap = o->ablation.op == SAH_OP_SWAP, mean_data = o->ablation.op == SAH_OP_MEAN_DATA;
    for (int i = 0; i < 4 && !swap; i++)
        if (o->given[of_swap[i]]) return usage_error("%s: %s needs --op swap", command, names[i]);
    if (!mean_data && (o->reference != NULL || o->given[OPT_POSITIONS]))
        return usage_error("%s: --reference and --positions need --op mean-data", command);
    if (mean_data && o->reference == NULL)
        return usage_error("%s: --op mean-data needs --reference FILE", command);
    if (o->given[OPT_MATCH] && o->partners == NULL)
        return usage_error("%s: --match needs --partners FILE to choose from", command);
    if (o->contrast_partners != NULL && o->contrast == NULL)
        return usage_error("%s: --contrast-partners needs --contrast", command);
    return EXIT_DONE;
}

sah_status interchange_read(const cli_options *o, const char *path, sah_strings *queries,
                            cli_interchange *out, sah_error *error)
{
    const bool swap = o->ablation.op == SAH_OP_SWAP;
    *out = (cli_interchange){0};
    if (swap && o->partners == NULL)
        return sah_pairs_read(path, o->column, o->limit, queries, &out->from, error);
    sah_status status = sah_queries_read(path, o->column, o->limit, queries, error);
    if (status == SAH_OK && swap)
        status = sah_partners_read(o->partners, NULL, o->given[OPT_MATCH] ? 0 : o->limit, &out->from, error);
    if (status == SAH_OK && o->contrast_partners != NULL)
        status = sah_partners_read(o->contrast_partners, NULL, o->limit, &out->contrast, error);
    if (status == SAH_OK && o->ablation.op == SAH_OP_MEAN_DATA)
        status = sah_queries_read(o->reference, NULL, 0, &out->reference, error);
    out->options.reference = &out->reference;
    out->options.all_positions = o->positions == 1;
    return status;
}

static sah_status no_memory(sah_error *error)
{
    snprintf(error->message, sizeof error->message, "not enough memory");
    return error->status = SAH_OUT_OF_MEMORY;
}

/* Appends copies of all of `list`. */
static sah_status append(sah_strings *to, const sah_strings *list, sah_error *error)
{
    char **items = realloc(to->items, (to->n + list->n + 1) * sizeof *items);
    if (items == NULL) return no_memory(error);
    to->items = items;
    to->capacity = to->n + list->n + 1;
    for (size_t i = 0; i < list->n; i++) {
        if ((items[to->n] = strdup(list->items[i])) == NULL) return no_memory(error);
        to->n++;
    }
    return SAH_OK;
}

/* Partners for `queries` behind those that are there: chosen from the list, or `given` line by line, from `file`. */
static sah_status add_partners(const cli_options *o, const sah_model *model, const char *template_,
                               const sah_strings *queries, const sah_strings *given, const char *file,
                               cli_interchange *x, const char **pairing, sah_error *error)
{
    const sah_pairing how = o->given[OPT_MATCH] ? o->match : SAH_PAIRING_LENGTH;
    sah_strings chosen = {0};
    if (given == NULL) {
        *pairing = how == SAH_PAIRING_WORDS ? "words" : "length";
        sah_status status =
            sah_partners_match(model, queries, &x->from, template_, o->system, how, &chosen, error);
        if (status == SAH_OK) status = append(&x->partners, &chosen, error);
        sah_strings_free(&chosen);
        return status;
    }
    *pairing = "given";
    if (given->n == queries->n) return append(&x->partners, given, error);
    snprintf(error->message, sizeof error->message,
             "%s: %zu partners for %zu %squeries: line i is the partner of query i (--match chooses)", file,
             given->n, queries->n, given == &x->contrast ? "contrast " : "");
    return error->status = SAH_BAD_ARGUMENT;
}

sah_status interchange_pair(const cli_options *o, const sah_model *model, const char *default_template,
                            sah_strings *queries, const sah_strings *contrast, cli_interchange *x,
                            sah_error *error)
{
    const char *template_ = o->template_ != NULL ? o->template_ : default_template;
    if (o->ablation.op != SAH_OP_SWAP) return SAH_OK;
    x->options.partners = &x->partners;
    x->options.direction = o->direction == 1 ? "sufficiency" : "necessity";
    sah_status status = add_partners(o, model, template_, queries, o->given[OPT_MATCH] ? NULL : &x->from,
                                     o->partners, x, &x->options.pairing, error);
    if (status == SAH_OK && o->direction == 1) {
        const sah_strings before = *queries;
        *queries = x->partners;
        x->partners = before;
    }
    if (status == SAH_OK && contrast != NULL)
        status =
            add_partners(o, model, template_, contrast, o->contrast_partners != NULL ? &x->contrast : NULL,
                         o->contrast_partners, x, &x->options.contrast_pairing, error);
    if (status == SAH_OK && !o->quiet)
        fprintf(stderr, "partners: %s%s%s\n", x->options.pairing,
                contrast != NULL ? "; of contrast queries: " : "",
                contrast != NULL ? x->options.contrast_pairing : "");
    return status;
}

void interchange_close(cli_interchange *x)
{
    sah_strings_free(&x->from);
    sah_strings_free(&x->partners);
    sah_strings_free(&x->reference);
    sah_strings_free(&x->contrast);
}
