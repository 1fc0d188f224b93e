/* SPDX-License-Identifier: Apache-2.0 */
/* A picture, for which cairo asks fontconfig and others for memory that test_failing_commands lets them have: the
 * program gets less and less address space, around the least that it can do with. Each time it draws the whole picture
 * or ends with one line, and never in a signal or with what the libraries say of their troubles.
 *
 * The environment variable SAHARA names the program. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/needs.h"
#include "util/scratch.h"

/* The sanitizers take terabytes of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool limits = false;
#else
static const bool limits = true;
#endif

enum { STEP = 64 << 10, MOST = 1 << 30, AROUND = 32 /* steps: 2 MB */ };

/* Runs the program, with `space` bytes of addresses if not 0; what it says goes to "said". Its exit status, or 1000 and
 * the signal. */
static int run(char *const argv[], rlim_t space)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit limit = {space, space};
        const int said = open(scratch("said"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (said < 0 || dup2(said, 1) != 1 || dup2(said, 2) != 2) _exit(120);
        setenv("OMP_WAIT_POLICY", "passive", 1);
        setenv("OMP_NUM_THREADS", "1", 1); /* each has a stack */
        if (space > 0 && setrlimit(RLIMIT_AS, &limit) != 0) _exit(121);
        execv(argv[0], argv);
        _exit(122);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void test_picture(void **state)
{
    (void)state;
    needs(limits, "a build without sanitizers");
    char program[512], result[512], picture[512];
    const char *name = getenv("SAHARA");
    snprintf(program, sizeof program, "%s", name != NULL ? name : "build/sahara");
    snprintf(result, sizeof result, "%s", scratch("ships.jsonl"));
    snprintf(picture, sizeof picture, "%s", scratch("map.png"));
    scratch_write_text(scratch("bad.csv"), "goal\nTake the bread\nTake it\n");
    char queries[512];
    snprintf(queries, sizeof queries, "%s", scratch("bad.csv"));
    char *const ships[] = {
        program, "ships", "tests/golden/utility/pieces", queries, "--opening", "0", "--quiet", "--output",
        result,  NULL};
    char *const report[] = {program, "report", result, "--output", picture, NULL};
    assert_int_equal(run(ships, 0), 0);
    assert_int_equal(run(report, 0), 0);
    size_t size, now;
    uint8_t *whole = scratch_read(picture, &size);

    /* The least that does. */
    rlim_t fails = 0, does = MOST;
    assert_int_equal(run(report, does), 0);
    while (does - fails > STEP) {
        const rlim_t middle = (fails + does) / 2 / STEP * STEP;
        if (run(report, middle) == 0)
            does = middle;
        else
            fails = middle;
    }
    int failures = 0;
    for (int i = -AROUND; i < AROUND / 4; i++) {
        remove(picture);
        const int status = run(report, does + (rlim_t)(STEP * i));
        uint8_t *said = scratch_read(scratch("said"), &now);
        const char *text = (const char *)said, *end = strchr(text, '\n');
        if (status != 0) {
            failures++;
            if (status != 1 || strncmp(text, "sahara: not enough memory", 25) != 0 || end == NULL ||
                end[1] != '\0')
                fail_msg("with %d kB less than %lu: status %d, \"%s\"", -STEP / 1024 * i, (unsigned long)does,
                         status, text);
            assert_int_not_equal(access(picture, F_OK), 0);
        } else {
            uint8_t *drawn = scratch_read(picture, &now);
            assert_int_equal(now, size);
            assert_memory_equal(drawn, whole, size);
            free(drawn);
        }
        free(said);
    }
    free(whole);
    assert_in_range(failures, 1, 2 * AROUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_picture)};
    return cmocka_run_group_tests_name("memory that ends", tests, NULL, NULL);
}
