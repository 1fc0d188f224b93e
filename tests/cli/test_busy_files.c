/* SPDX-License-Identifier: Apache-2.0 */
/* Files that others use at the same time: a model that is written to while it is read, one that is cut short under
 * a run, a result that another run is writing. Each ends in one line and a status, never in a signal. And what the
 * program asks of OpenMP, whatever the environment says.
 *
 * The environment variable SAHARA names the program. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/mapfile.h"
#include "util/scratch.h"

static void test_file_that_changes(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_mapfile file;
    char path[512], other[512];
    snprintf(path, sizeof path, "%s", scratch("weights"));
    snprintf(other, sizeof other, "%s", scratch("weights.new"));
    scratch_write_text(path, "12345678");
    expect_ok(sah_mapfile_open(path, &file, &error), &error);
    expect_ok(sah_mapfile_unchanged(&file, &error), &error);

    /* Another file under its name: what is mapped is the old one, whole. */
    scratch_write_text(other, "ABCD");
    assert_int_equal(rename(other, path), 0);
    expect_ok(sah_mapfile_unchanged(&file, &error), &error);
    assert_memory_equal(file.data, "12345678", 8);
    sah_mapfile_close(&file);

    expect_ok(sah_mapfile_open(path, &file, &error), &error);
    FILE *writer = fopen(path, "ab");
    assert_non_null(writer);
    fputs("E", writer);
    fclose(writer);
    expect_failure(sah_mapfile_unchanged(&file, &error), &error, "changed while it was read");
    sah_mapfile_close(&file);

    /* The same length, another time. */
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000000000}};
    expect_ok(sah_mapfile_open(path, &file, &error), &error);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    expect_failure(sah_mapfile_unchanged(&file, &error), &error, "changed while it was read");
    sah_mapfile_close(&file);
}

/* Runs a shell command line, "$SAHARA" in it the program; its exit status, and all that it printed. */
static int shell(const char *line, char *said, size_t size)
{
    size_t n = 0;
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    for (int c; (c = getc(pipe)) != EOF;) {
        if (n + 1 < size) said[n++] = (char)c;
    }
    said[n] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* The file is cut to nothing at a time that differs from try to try: before the program opens it, while it reads,
 * or when it has all it needs. None may end by a signal. */
static void test_file_cut_short(void **state)
{
    (void)state;
    int cut = 0;
    for (int i = 0; i < 24; i++) {
        char line[4096], said[4096], directory[512];
        snprintf(directory, sizeof directory, "%s", scratch("model"));
        snprintf(line, sizeof line,
                 "rm -rf %s && cp -r models/organism %s && { \"$SAHARA\" logits %s --text hello 2>&1 "
                 ">/dev/null & sleep 0.0%02d; : > %s/model.safetensors; wait $!; }",
                 directory, directory, directory, 2 * i, directory);
        int status = shell(line, said, sizeof said);
        assert_in_range(status, 0, 1);
        if (status == 1) {
            cut++;
            assert_non_null(strstr(said, "sahara: "));
        }
    }
    assert_in_range(cut, 1, 24);
}

static void test_result_in_use(void **state)
{
    (void)state;
    char line[1024], said[4096], expected[64], path[256];
    snprintf(path, sizeof path, "%s", scratch("busy.jsonl"));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    snprintf(line, sizeof line, "\"$SAHARA\" ships models/organism data/harmful.csv --limit 1 -q -o %s 2>&1",
             path);
    assert_int_equal(shell(line, said, sizeof said), 1);
    assert_non_null(strstr(said, "is writing this file"));
    snprintf(expected, sizeof expected, "another run, process %ld, is", (long)getpid());
    if (access("/proc/locks", R_OK) == 0) assert_non_null(strstr(said, expected));
    close(fd);
    assert_int_equal(shell(line, said, sizeof said), 0);
}

/* GNU's OpenMP prints its settings when OMP_DISPLAY_ENV asks for them: at every start, the program's second one too. */
static void test_waiting(void **state)
{
    (void)state;
    static const char *const settings[] = {"env -u OMP_WAIT_POLICY", "OMP_WAIT_POLICY=active",
                                           "OMP_WAIT_POLICY=passive"};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        char line[256], said[16384], *last = NULL;
        snprintf(line, sizeof line, "OMP_DISPLAY_ENV=true %s \"$SAHARA\" --version 2>&1", settings[i]);
        assert_int_equal(shell(line, said, sizeof said), 0);
        for (char *at = said; (at = strstr(at, "OMP_WAIT_POLICY")) != NULL; at++) last = at;
        assert_non_null(last);
        assert_int_equal(strncasecmp(last, "OMP_WAIT_POLICY = 'PASSIVE'", 27), 0);
    }
}

int main(void)
{
    if (getenv("SAHARA") == NULL) setenv("SAHARA", "build/sahara", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_file_that_changes),
                                       cmocka_unit_test(test_file_cut_short),
                                       cmocka_unit_test(test_result_in_use), cmocka_unit_test(test_waiting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
