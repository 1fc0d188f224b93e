/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

/* Threads that wait for the next parallel loop shall sleep: left to itself GNU's OpenMP has them look for work for
 * milliseconds, which takes the processor from the other programs of a busy machine, and from the very thread that
 * they wait for (docs/performance.md). */
static const char policy[] = "OMP_WAIT_POLICY", passive[] = "passive";

void machine_settle(char **argv)
{
    const char *now = getenv(policy);
    if (now != NULL && strcmp(now, passive) == 0) return;
    if (setenv(policy, passive, 1) == 0) (void)execv("/proc/self/exe", argv);
}

static void lost_file(int signal_number)
{
    static const char message[] = "\nsahara: a file became shorter, or its disk went away, while it was "
                                  "read; what was finished is kept\n";
    (void)signal_number;
    ssize_t ignored = write(STDERR_FILENO, message, sizeof message - 1);
    (void)ignored;
    _exit(EXIT_FAILED);
}

void machine_catch_lost_files(void)
{
    struct sigaction action = {.sa_handler = lost_file};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}
