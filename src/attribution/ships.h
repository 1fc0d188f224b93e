/* Ships with a report of the sweep (bench.c). */
#ifndef SAH_ATTRIBUTION_SHIPS_H
#define SAH_ATTRIBUTION_SHIPS_H

#include "engine/sweep.h"

/* As sah_ships(); `report` (or NULL) is filled when heads were left to do. */
sah_status sah_ships_reported(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                              const sah_run_options *options, const char *path, sah_sweep_report *report,
                              sah_error *error);

#endif
