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

/* --check-refusal: samples the queries' responses, unless it is off, and prints a warning when the model
 * hardly refuses them. Without the option it is on with a chat template. `out` is all 0 when nothing was
 * asked. */
sah_status check_refusal(const cli_options *options, const sah_model *model, const sah_strings *queries,
                         const char *default_template, sah_refusal_check *out, sah_error *error);

#endif
