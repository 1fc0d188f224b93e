/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for a person at a terminal: what goes elsewhere stays tab-separated. */
#ifndef SAH_CLI_TABLE_H
#define SAH_CLI_TABLE_H

#include "command.h"

/* Writes a table of tab-separated lines, the first of which names the columns, as write_result() does. At a terminal
 * its columns are aligned and its numbers have three significant digits; where it is too wide columns are left out,
 * those that stand first in `spare` (names, NULL behind the last) first. */
int table_write(const cli_options *options, const char *text, const char *const *spare);

/* Columns of the terminal at standard output; 80 where it does not tell. */
int terminal_width(void);

#endif
