/* SPDX-License-Identifier: Apache-2.0 */
/* --op swap and --op mean-data: whose states stand in, read and paired as the options say. */
#ifndef SAH_CLI_INTERCHANGE_H
#define SAH_CLI_INTERCHANGE_H

#include "command.h"

typedef struct cli_interchange {
    sah_strings from; /* of --partners, as they stand there; of a column `partner` likewise */
    sah_strings partners, reference, contrast;
    sah_interchange options; /* which points to the others */
} cli_interchange;

/* An exit status: wrong usage, or EXIT_DONE where the options go together. */
int interchange_usage(const cli_options *options, const char *command);

/* Reads QUERIES of `path`, and with swap or mean-data what stands in. The caller closes it, in either case. */
sah_status interchange_read(const cli_options *options, const char *path, sah_strings *queries,
                            cli_interchange *out, sah_error *error);
/* Pairs queries with partners, exchanges the two for --direction sufficiency, and finds partners for contrast queries
 * (or NULL). */
sah_status interchange_pair(const cli_options *options, const sah_model *model, const char *default_template,
                            sah_strings *queries, const sah_strings *contrast, cli_interchange *interchange,
                            sah_error *error);
void interchange_close(cli_interchange *interchange);

#endif
