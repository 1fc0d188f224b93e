/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that print rankings share. */
#ifndef SAH_CLI_RANKING_H
#define SAH_CLI_RANKING_H

#include "options.h"

/* --sort. */
sah_order options_order(const cli_options *options);

/* --format, --sort, --top, --by-query. */
sah_rank_options options_rank(const cli_options *options);

/* Columns of a ranking that a narrow terminal can do without, the least needed first; NULL behind the last. */
extern const char *const rank_spare[];

/* How many heads got which verdict, for the eye: a line on standard error. */
sah_status print_verdicts(const sah_result *result, sah_error *error);

/* What a run of ships found, in two sentences on standard error; `path` is its journal, "-" for none. */
sah_status tell_heads(const char *path, sah_error *error);

#endif
