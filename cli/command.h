/* SPDX-License-Identifier: Apache-2.0 */
/* A command of the program: what main.c needs to list it, check its arguments and run it. */
#ifndef SAH_CLI_COMMAND_H
#define SAH_CLI_COMMAND_H

#include "options.h"
#include "outcome.h"
#include "program.h"

typedef struct cli_command {
    const char *name;
    const char *arguments; /* "MODEL QUERIES -o OUT", for the usage line */
    const char *summary; /* one line for `sahara --help` */
    const char *details; /* paragraphs for `sahara COMMAND --help` */
    option_id options[N_OPTIONS]; /* what it understands beside help and quiet; ends with OPT_HELP (0) */
    int least, most; /* number of arguments; most < 0: any number */
    int (*run)(const cli_options *options);
} cli_command;

/* One per file of this folder. */
extern const cli_command command_inspect, command_logits, command_ships, command_find, command_direction,
    command_rank, command_compare, command_generate, command_judge, command_utility, command_ablate,
    command_graft, command_bench, command_report, command_merge, command_audit, command_completion;

/* All of them, in the order in which help lists them. */
extern const cli_command *const cli_commands[];
extern const size_t n_cli_commands;

#endif
