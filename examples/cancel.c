/* SPDX-License-Identifier: Apache-2.0 */
/* Ctrl-C, or a limit in seconds, stops a load or a run where the library next asks; what was finished is kept in
 * RESULT, and the same call carries on from there.
 *
 *     cancel MODEL QUERIES RESULT SECONDS
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sahara.h"

static volatile sig_atomic_t stopped;

static void stop(int signal_number)
{
    (void)signal_number;
    stopped = 1;
}

static bool go_on(void *user, const char *what, uint64_t done, uint64_t total)
{
    const time_t *until = user;
    (void)what;
    (void)done;
    (void)total;
    return !stopped && time(NULL) < *until;
}

int main(int argc, char **argv)
{
    sah_error error = {0};
    sah_model *model = NULL;
    sah_strings queries = {0};
    if (argc != 5) {
        fprintf(stderr, "usage: cancel MODEL QUERIES RESULT SECONDS\n");
        return 2;
    }
    time_t until = time(NULL) + atoi(argv[4]);
    signal(SIGINT, stop);
    const sah_model_options load = {.progress = go_on, .user = &until};
    sah_run_options run = sah_run_options_default();
    run.progress = go_on;
    run.user = &until;

    sah_status status = sah_model_open(argv[1], &load, &model, &error);
    if (status == SAH_OK) status = sah_queries_read(argv[2], NULL, 0, &queries, &error);
    if (status == SAH_OK) status = sah_ships(model, &queries, NULL, &run, argv[3], &error);
    if (status == SAH_INTERRUPTED)
        printf("stopped; call again to carry on\n");
    else if (status == SAH_OK)
        printf("done\n");
    else
        fprintf(stderr, "%s\n", error.message);

    sah_strings_free(&queries);
    sah_model_close(model);
    return status == SAH_OK || status == SAH_INTERRUPTED ? 0 : 1;
}
