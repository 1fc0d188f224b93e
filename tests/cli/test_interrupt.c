/* SPDX-License-Identifier: Apache-2.0 */
/* Runs that are interrupted at the command line: Ctrl-C ends one with status 130, whatever was done is kept,
 * and the same command again ends with the lines of a run that nobody disturbed. The same for a kill that
 * gives no warning.
 *
 * The environment variable SAHARA names the program. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/scratch.h"

enum { MOST_ARGUMENTS = 24, MOST_LINES = 4096 };

typedef struct command {
    const char *name;
    const char *arguments[MOST_ARGUMENTS];
} command;

static const command commands[] = {
    {"ships",
     {"ships", "models/organism", "data/harmful.csv", "--contrast", "data/harmless.csv", "--check-refusal",
      "off", "--limit", "16"}},
    {"find", {"find", "models/organism", "data/harmful.csv", "--limit", "24", "--steps", "2"}},
    {"generate", {"generate", "models/organism", "data/harmful.csv", "--template", "chat"}},
    {"utility",
     {"utility", "models/organism", "data/utility-organism.jsonl", "--template", "chat", "--ablate", "3-3"}},
};

static pid_t start(const command *c, const char *output)
{
    char *arguments[MOST_ARGUMENTS + 8];
    const char *program = getenv("SAHARA") != NULL ? getenv("SAHARA") : "build/sahara";
    size_t n = 0;
    arguments[n++] = (char *)(uintptr_t)program;
    for (size_t i = 0; i < MOST_ARGUMENTS && c->arguments[i] != NULL; i++)
        arguments[n++] = (char *)(uintptr_t)c->arguments[i];
    arguments[n++] = "-t";
    arguments[n++] = "1";
    arguments[n++] = "-q";
    arguments[n++] = "-o";
    arguments[n++] = (char *)(uintptr_t)output;
    arguments[n] = NULL;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(126);
        execv(program, arguments);
        _exit(127);
    }
    return pid;
}

/* The exit status, or 1000 + the signal that ended it. */
static int finish(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static size_t lines_of(const char *path)
{
    size_t n = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    for (int c; (c = getc(file)) != EOF;) n += c == '\n';
    fclose(file);
    return n;
}

/* Waits until the file has `lines` lines or the program has ended. */
static void wait_for(pid_t pid, const char *path, size_t lines)
{
    siginfo_t info = {0};
    while (lines_of(path) < lines) {
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid) return;
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of a file in order, joined; for free(). */
static char *sorted(const char *path)
{
    size_t size, n = 0;
    char *rest, *text = (char *)scratch_read(path, &size), *out = calloc(1, size + 2), *end = out;
    static char *lines[MOST_LINES];
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        assert_true(n < MOST_LINES);
        lines[n++] = line;
    }
    qsort(lines, n, sizeof *lines, compare_lines);
    for (size_t i = 0; i < n; i++) end += sprintf(end, "%s\n", lines[i]);
    free(text);
    return out;
}

static void check(const command *c)
{
    char whole[512], cut[512];
    snprintf(whole, sizeof whole, "%s", scratch("whole.jsonl"));
    snprintf(cut, sizeof cut, "%s", scratch("cut.jsonl"));
    remove(whole);
    assert_int_equal(finish(start(c, whole)), 0);
    size_t n = lines_of(whole);
    assert_true(n > 8);
    char *wanted = sorted(whole);
    static const int signals[] = {SIGINT, SIGTERM, SIGKILL};
    for (size_t s = 0; s < sizeof signals / sizeof *signals; s++) {
        int interrupted = 0, status = -1;
        remove(cut);
        /* Twice at different places, then to the end. */
        for (size_t turn = 0; turn < 2; turn++) {
            pid_t pid = start(c, cut);
            wait_for(pid, cut, turn == 0 ? 2 : 2 + n / 2);
            kill(pid, signals[s]);
            status = finish(pid);
            if (status == 0) break; /* it was through */
            interrupted++;
            if (status != (signals[s] == SIGKILL ? 1000 + SIGKILL : 130))
                fail_msg("%s, signal %d: ended with %d", c->name, signals[s], status);
            assert_true(lines_of(cut) >= (turn == 0 ? 1 : 2));
        }
        if (interrupted == 0) fail_msg("%s was too fast to be interrupted", c->name);
        assert_int_equal(finish(start(c, cut)), 0);
        char *have = sorted(cut);
        assert_string_equal(have, wanted);
        free(have);
    }
    free(wanted);
}

static void test_ships(void **state)
{
    (void)state;
    check(&commands[0]);
}

static void test_find(void **state)
{
    (void)state;
    check(&commands[1]);
}

static void test_generate(void **state)
{
    (void)state;
    check(&commands[2]);
}

static void test_utility(void **state)
{
    (void)state;
    check(&commands[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ships),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_utility),
    };
    return cmocka_run_group_tests_name("interrupted commands", tests, NULL, NULL);
}
