/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that score heads share. */
#ifndef SAH_CLI_SCORING_H
#define SAH_CLI_SCORING_H

#include "interchange.h"
#include "options.h"
#include "progress.h"

/* Reads the harmless queries of `path` (NULL: none). With --match-length all are read, for match_length(). */
sah_status read_contrast(const cli_options *options, const char *path, sah_strings *contrast,
                         sah_error *error);
/* --match-length: keeps those that are as long as the queries. */
sah_status match_length(const cli_options *options, const sah_model *model, const sah_strings *queries,
                        const char *default_template, sah_strings *contrast, sah_matching *out,
                        sah_error *error);

/* A run of ships or find, ready to start. */
typedef struct cli_scoring {
    sah_model *model;
    sah_strings queries, contrast_queries;
    const sah_strings *contrast; /* NULL without --contrast */
    sah_run_options options; /* with `progress` in it, which stays where it is */
    const char *output; /* of -o, else in the folder of --together; "-": standard output */
    char own_output[4096];
    cli_progress progress;
    cli_interchange interchange;
    sah_openings openings;
} cli_scoring;

/* Reads MODEL, QUERIES and --contrast, checks the refusal and matches lengths as the options say. The caller
 * closes it, in either case; progress_end(&scoring->progress) when the run is over. */
sah_status scoring_open(const cli_options *options, const char *default_template, cli_scoring *scoring,
                        sah_error *error);
/* The openings of the queries, unless --opening 0: says how many are refused, and warns when hardly any is. */
sah_status scoring_openings(const cli_options *options, const char *default_template, cli_scoring *scoring,
                            sah_error *error);
/* Before a run of more than half a minute, how long it will take: so many sweeps over all heads. */
sah_status scoring_estimate(const cli_options *options, const char *default_template, size_t sweeps,
                            const cli_scoring *scoring, sah_error *error);
void scoring_close(cli_scoring *scoring);

#endif
