/* SPDX-License-Identifier: Apache-2.0 */
/* Shards that need each other's lines: their journals lie in one folder, and each reads the others' while it waits.
 * Nobody is told anything: what all know makes all decide alike. */
#ifndef SAH_RUN_TOGETHER_H
#define SAH_RUN_TOGETHER_H

#include "sahara.h"
#include "util/json.h"

typedef struct sah_together sah_together;

/* A line of another shard's journal. Sets *later for a line that belongs to what is yet to come: it and those behind
 * it are given again the next time. */
typedef sah_status (*sah_together_line_fn)(void *ctx, const json_t *line, bool *later, sah_error *error);

/* Makes the folder where it is not there. `own` is this shard's journal, `header` what every journal of the run begins
 * with (referenced). */
sah_status sah_together_open(const char *folder, const char *own, json_t *header, sah_together **out,
                             sah_error *error);
void sah_together_close(sah_together *together);

/* Gives the whole lines that have come since the last time. A journal of the same command with another header is an
 * error that names the difference; other files are left alone. */
sah_status sah_together_read(sah_together *together, sah_together_line_fn each, void *ctx, sah_error *error);

/* Waits a little; `done` of `total` units of all shards are there. SAH_INTERRUPTED when the caller stops the run. */
sah_status sah_together_wait(const sah_run_options *options, const char *what, uint64_t done, uint64_t total,
                             sah_error *error);

#endif
