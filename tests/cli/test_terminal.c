/* SPDX-License-Identifier: Apache-2.0 */
/* What the program does for a person: tables in a terminal (a pseudo-terminal here), guesses what a slip meant, help in
 * groups, completion in bash. */
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/needs.h"
#include "util/scratch.h"

static const char *program;
static char said[1 << 16];

static const char result[] =
    "{\"sahara\":\"ships\",\"version\":\"0\",\"model\":{\"name\":\"m\",\"layers\":2,\"heads\":12,\"kv_"
    "heads\":12},"
    "\"settings\":{\"part\":\"q\"},\"queries\":[\"a\",\"b\"],\"contrast_queries\":[\"c\",\"d\"]}\n"
    "{\"head\":\"0-10\",\"kl\":[4.123456,4.2],\"kl_contrast\":[0.5,0.25]}\n"
    "{\"head\":\"1-0\",\"kl\":[0.0001,0],\"kl_contrast\":[0,0]}\n";

/* Runs a shell's command line, `sahara` standing for the program, in a terminal of so many columns (0: no terminal, its
 * output in a pipe), and leaves in `said` what it writes to standard output and, in a terminal, standard error. */
static int run(const char *line, int columns)
{
    char script[2048];
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    int end, pipes[2] = {-1, -1};
    snprintf(script, sizeof script, "sahara() { '%s' \"$@\"; }\n%s", program, line);
    fflush(NULL);
    if (columns == 0) assert_int_equal(pipe(pipes), 0);
    const pid_t child = columns > 0 ? forkpty(&end, NULL, NULL, &size) : fork();
    needs(child >= 0 || columns == 0, "pseudo-terminals (/dev/pts)");
    assert_true(child >= 0);
    if (child == 0) {
        if (columns == 0) dup2(pipes[1], STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", script, (char *)NULL);
        _exit(127);
    }
    if (columns == 0) {
        close(pipes[1]);
        end = pipes[0];
    }
    size_t n = 0;
    for (ssize_t got; n + 1 < sizeof said && (got = read(end, said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)got; /* a terminal whose other side is closed gives an error, not 0 */
    said[n] = '\0';
    close(end);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_said(const char *part)
{
    if (strstr(said, part) == NULL) fail_msg("no \"%s\" in: %s", part, said);
}

static void test_tables(void **state)
{
    (void)state;
    char line[1024];
    scratch_write_text(scratch("result.jsonl"), result);
    snprintf(line, sizeof line, "sahara rank '%s'", scratch("result.jsonl"));
    assert_int_equal(run(line, 0), 0);
    expect_said("rank\thead\tmean\tlow\thigh\tsum\t");
    expect_said("1\t0-10\t4.16173\t");
    assert_int_equal(run(line, 60), 0);
    /* Text to the left, numbers to the right, no column that ends behind the 60th. */
    expect_said("rank  head   mean  difference  p_adjusted  verdict\r\n");
    expect_said("   1  0-10   4.16        3.79       0.169  undecided\r\n");
    expect_said("   2  1-0   5e-05       5e-05");
    expect_said("columns left out");
    assert_int_equal(run(line, 250), 0);
    expect_said("contrast_mean");
    assert_null(strstr(said, "left out"));
    strcat(line, " --format json");
    assert_int_equal(run(line, 60), 0);
    expect_said("{\"rank\":1,\"head\":\"0-10\",\"mean\":4.16");
}

static void test_slips(void **state)
{
    (void)state;
    static const struct {
        const char *line, *said;
    } slips[] = {
        {"sahara shisp", "no command shisp; is ships meant?"},
        {"sahara genrate", "is generate meant?"},
        {"sahara frobnicate", "no command frobnicate (see"},
        {"sahara rank --frmat", "unknown option --frmat; is --format meant?"},
        {"sahara generate --max-new", "is --max-new-tokens meant?"},
        {"sahara ships --contarst=x", "unknown option --contarst; is --contrast meant?"},
        {"sahara ships --zzz", "unknown option --zzz (see"},
        {"sahara rank --screen", "this command has no option --screen (see"},
    };
    for (size_t i = 0; i < sizeof slips / sizeof *slips; i++) {
        assert_int_equal(run(slips[i].line, 200), 2);
        expect_said(slips[i].said);
    }
}

static void test_help(void **state)
{
    (void)state;
    assert_int_equal(run("sahara ships --help", 0), 0);
    const char *common = strstr(said, "\nCommon options:\n"),
               *own = strstr(said, "\nOptions of this command:\n"),
               *machine = strstr(said, "\nThe model and the machine:\n");
    assert_true(common != NULL && own > common && machine > own);
    const char *part = strstr(said, "--part q|k|v"), *screen = strstr(said, "\n      --screen "),
               *memory = strstr(said, "--memory SIZE");
    assert_true(part > common && part < own && screen > own && screen < machine && memory > machine);
}

static void test_completion(void **state)
{
    (void)state;
    needs(system("command -v bash > /dev/null") == 0, "bash");
    static const struct {
        const char *words, *completed;
    } cases[] = {
        {"sahara com", "compare completion\n"},
        {"sahara ships --pa", "--part --partners\n"},
        {"sahara rank --pa", "\n"},
        {"sahara ships --part ''", "q k v q,v\n"},
        {"sahara find --variant s", "subspace spectral\n"},
        {"sahara find model", "\n"}, /* files, which bash adds itself */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[1024];
        snprintf(line, sizeof line,
                 "sahara completion bash > '%s'; bash -c \"source '%s'; COMP_WORDS=(%s); "
                 "COMP_CWORD=\\$((\\${#COMP_WORDS[@]} - 1)); _sahara; echo \\\"\\${COMPREPLY[*]}\\\"\"",
                 scratch("completion"), scratch("completion"), cases[i].words);
        assert_int_equal(run(line, 0), 0);
        assert_string_equal(said, cases[i].completed);
    }
    assert_int_equal(run("sahara completion csh", 200), 2);
    expect_said("csh is not bash, zsh or fish");
}

/* Only that these shells can read them. */
static void test_other_shells(void **state)
{
    (void)state;
    char line[512];
    needs(system("command -v zsh > /dev/null && command -v fish > /dev/null") == 0, "zsh and fish");
    static const char *const shells[] = {"zsh", "fish"};
    for (int i = 0; i < 2; i++) {
        snprintf(line, sizeof line, "sahara completion %s > '%s' && %s -n '%s' 2>&1", shells[i],
                 scratch("completion"), shells[i], scratch("completion"));
        assert_int_equal(run(line, 0), 0);
        assert_string_equal(said, "");
    }
}

int main(void)
{
    program = getenv("SAHARA");
    if (program == NULL) program = "build/sahara";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),     cmocka_unit_test(test_slips),        cmocka_unit_test(test_help),
        cmocka_unit_test(test_completion), cmocka_unit_test(test_other_shells),
    };
    return cmocka_run_group_tests_name("terminal", tests, NULL, NULL);
}
