/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the model of a command. */
#ifndef SAH_CLI_LOADING_H
#define SAH_CLI_LOADING_H

#include "options.h"

/* sah_model_open(), which then says on standard error, unless --quiet, what `auto` chose. */
sah_status model_load(const cli_options *options, const char *path, const sah_model_options *model_options,
                      sah_model **out, sah_error *error);

#endif
