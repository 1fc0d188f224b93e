/* SPDX-License-Identifier: Apache-2.0 */
/* How the program behaves on a machine that it shares: threads that wait leave the processors to
 * others, and files may go away. */
#ifndef SAH_CLI_MACHINE_H
#define SAH_CLI_MACHINE_H

/* To be called first in main. GNU's OpenMP reads its settings from the environment before main begins, so the program
 * sets them and starts itself again, once. Where that is not possible it goes on as it is. */
void machine_settle(char **argv);

/* A file that gets shorter while it is mapped: the process is sent SIGBUS where the file used to be. Says so in
 * one line and ends with EXIT_FAILED; the lines of a result written so far are whole. */
void machine_catch_lost_files(void);

#endif
