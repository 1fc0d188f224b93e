/* SPDX-License-Identifier: Apache-2.0 */
/* How a command ends: its exit status, and what is printed or written for it. */
#ifndef SAH_CLI_OUTCOME_H
#define SAH_CLI_OUTCOME_H

#include "options.h"

/* Exit statuses (cli.md: 0 done, 1 failed, 2 wrong usage, 130 interrupted). */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* Prints "sahara: MESSAGE" and returns the exit status that belongs to the error. */
int report_error(const sah_error *error);
/* The same for the commands that write a checkpoint whole or not at all; prints the notes when it was
 * written. */
int report_checkpoint(const cli_options *options, sah_status status, const sah_strings *notes,
                      const sah_error *error);
/* The same for wrong usage of a command that the option parser cannot see. */
int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same when the program itself finds no memory. */
int out_of_memory(void);

/* Writes `text` to the file of `-o`, or to standard output. Returns an exit status; errors are printed. */
int write_result(const char *path, const char *text);

#endif
