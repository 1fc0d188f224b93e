/* SPDX-License-Identifier: Apache-2.0 */
/* Do the queries' responses refuse at all? */
#ifndef SAH_CLI_CHECK_REFUSAL_H
#define SAH_CLI_CHECK_REFUSAL_H

#include "options.h"

/* --check-refusal: samples the queries' responses, unless it is off, and prints a warning when the model
 * hardly refuses them. Without the option it is on with a chat template. `out` is all 0 when nothing was
 * asked. */
sah_status check_refusal(const cli_options *options, const sah_model *model, const sah_strings *queries,
                         const char *default_template, sah_refusal_check *out, sah_error *error);

#endif
