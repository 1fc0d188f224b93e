/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels with real threads under the thread sanitizer (tests/cuda/threads.cpp): no race; and where a barrier is left
 * out, one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "util/needs.h"

static char program[512];

/* Its exit status; what it said goes to `said` [size]. */
static int run(const char *argument, char *said, size_t size)
{
    char command[1024];
    /* Kernels of Linux whose addresses are more random than the sanitizer was built for stop it at once. */
    snprintf(command, sizeof command,
             "setarch -R true 2>/dev/null && R='setarch -R'; TSAN_OPTIONS=exitcode=66 $R %s %s 2>&1", program,
             argument);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(said, 1, size - 1, pipe);
    said[n] = '\0';
    while (fgetc(pipe) != EOF) continue;
    int status = pclose(pipe);
    needs(strstr(said, "unexpected memory mapping") == NULL,
          "the thread sanitizer, whose memory this machine's addresses lie in");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_no_race(void **state)
{
    char said[8192];
    (void)state;
    if (run("", said, sizeof said) != 0) fail_msg("%s", said);
}

static void test_missing_barrier(void **state)
{
    char said[8192];
    (void)state;
    assert_int_equal(run("fault", said, sizeof said), 66);
    assert_non_null(strstr(said, "data race"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_race),
        cmocka_unit_test(test_missing_barrier),
    };
    const char *end = argc > 0 ? strrchr(argv[0], '/') : NULL;
    snprintf(program, sizeof program, "%.*s/threads", end != NULL ? (int)(end - argv[0]) : 1,
             end != NULL ? argv[0] : ".");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
