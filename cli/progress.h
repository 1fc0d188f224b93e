/* SPDX-License-Identifier: Apache-2.0 */
/* Progress on standard error: a bar with rate and time left on a terminal, a plain line now and then
 * elsewhere. Also where a run learns that it was asked to stop. */
#ifndef SAH_CLI_PROGRESS_H
#define SAH_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cli_progress {
    bool quiet, terminal;
    char what[64]; /* the stage that is shown, or its beginning */
    double started, shown; /* seconds, monotonic clock; 0: not yet */
    uint64_t first; /* units that were done when this run began: they do not count for the rate */
    bool line_open; /* a bar stands on the terminal's current line */
} cli_progress;

void progress_init(cli_progress *progress, bool quiet);
/* A sah_progress_fn; `user` is the progress. False once SIGINT or SIGTERM has come. */
bool progress_show(void *user, const char *what, uint64_t done, uint64_t total);
/* Ends the bar's line. */
void progress_end(cli_progress *progress);

/* From now on SIGINT and SIGTERM ask the run to stop; the second one ends the process with status 130. */
void progress_catch_signals(void);

#endif
