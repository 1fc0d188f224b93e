/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BAR_WIDTH = 24 };
static const double SECONDS_BETWEEN_BARS = 0.2, SECONDS_BETWEEN_LINES = 20;

static volatile sig_atomic_t stop_asked;

static void ask_to_stop(int signal_number)
{
    (void)signal_number;
    if (stop_asked) _exit(130);
    stop_asked = 1;
}

void progress_catch_signals(void)
{
    struct sigaction action = {.sa_handler = ask_to_stop, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* "42 s", "3 min 20 s", "2 h 05 min" */
static void format_time(double seconds, char out[32])
{
    long s = (long)(seconds + 0.5);
    if (s < 60)
        snprintf(out, 32, "%ld s", s);
    else if (s < 3600)
        snprintf(out, 32, "%ld min %02ld s", s / 60, s % 60);
    else
        snprintf(out, 32, "%ld h %02ld min", s / 3600, s / 60 % 60);
}

void progress_init(cli_progress *progress, bool quiet)
{
    *progress = (cli_progress){.quiet = quiet, .terminal = isatty(STDERR_FILENO) != 0};
}

static void print_bar(double share)
{
    int full = (int)(share * (double)BAR_WIDTH);
    fputc('[', stderr);
    for (int i = 0; i < BAR_WIDTH; i++) fputc(i < full ? '#' : '.', stderr);
    fputs("] ", stderr);
}

bool progress_show(void *user, const char *what, uint64_t done, uint64_t total)
{
    cli_progress *p = user;
    if (stop_asked) return false;
    double time = now();
    /* Of several stages each has a rate of its own. */
    if (strncmp(p->what, what, sizeof p->what - 1) != 0) {
        snprintf(p->what, sizeof p->what, "%s", what);
        p->started = time;
        p->first = done;
        p->shown = p->terminal ? 0 : time;
    }
    bool last = total > 0 && done >= total;
    if (p->quiet ||
        (!last && time - p->shown < (p->terminal ? SECONDS_BETWEEN_BARS : SECONDS_BETWEEN_LINES))) {
        return true;
    }
    p->shown = time;

    double elapsed = time - p->started;
    double rate = elapsed > 0 ? (double)(done - p->first) / elapsed : 0;
    double share = total > 0 ? (double)done / (double)total : 0;
    char left[32] = "", spent[32];
    format_time(elapsed, spent);
    if (rate > 0 && total > done) format_time((double)(total - done) / rate, left);

    if (p->terminal) {
        fputs("\r\033[K", stderr);
        print_bar(share);
    }
    fprintf(stderr, "%s %llu/%llu (%.0f %%)", what, (unsigned long long)done, (unsigned long long)total,
            100 * share);
    if (rate > 0) fprintf(stderr, "  %.1f/s", rate);
    if (last)
        fprintf(stderr, "  in %s", spent);
    else if (left[0] != '\0')
        fprintf(stderr, "  %s left", left);
    if (!p->terminal) fputc('\n', stderr);
    fflush(stderr);
    p->line_open = p->terminal;
    return true;
}

void progress_end(cli_progress *progress)
{
    if (progress->line_open) fputc('\n', stderr);
    progress->line_open = false;
}
