/* SPDX-License-Identifier: Apache-2.0 */
/* What `--help` prints. */
#ifndef SAH_CLI_HELP_H
#define SAH_CLI_HELP_H

#include "command.h"

/* Of a command: what it does, then its options in groups, those that most runs need first. */
void help_print(const cli_command *command);

#endif
