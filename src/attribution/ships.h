/* SPDX-License-Identifier: Apache-2.0 */
/* Ships with a report of the sweep (bench.c), and what all runs of it share. */
#ifndef SAH_ATTRIBUTION_SHIPS_H
#define SAH_ATTRIBUTION_SHIPS_H

#include "engine/sweep.h"
#include "util/json.h"

#define SAH_SHIPS_TEMPLATE "ships"

/* As sah_ships(); `report` (or NULL) is filled when heads were left to do. */
sah_status sah_ships_reported(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                              const sah_run_options *options, const char *path, sah_sweep_report *report,
                              sah_error *error);

/* The header of a run over the queries and contrast queries (or NULL) of `lists`; `screen` 0: every head is
 * scored on every query; `differs`: by differences. json_decref() frees it. */
sah_status sah_ships_header(const sah_model *model, const sah_strings *const lists[2],
                            const sah_run_options *options, size_t screen, bool differs, json_t **out,
                            sah_error *error);

#endif
