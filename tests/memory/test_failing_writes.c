/* SPDX-License-Identifier: Apache-2.0 */
/* Every command of the program, on a disk that fails it: each runs again and again in a process of its own, and each
 * time a later one of its calls that open, write, flush, close, rename or shorten a file fails, once or from then on (a
 * full disk, which takes half of what is written first). The command says so in one line and ends with 1; the same
 * command again, on what the failed one left, gives what it always gives. The functions below stand before the C
 * library's for everything that is linked. */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "util/needs.h"

static bool armed, full, went_wrong; /* full: the disk stays so */
static long chances, wrong_at;

static void arm(long n)
{
    chances = 0;
    wrong_at = n;
    went_wrong = false;
    armed = n >= 0;
}

static outcome disarm(void)
{
    armed = false;
    return (outcome){went_wrong, false, chances};
}

#define REAL(name, type, ...)                                                                                \
    type (*real)(__VA_ARGS__);                                                                               \
    *(void **)(void *)&real = dlsym(RTLD_NEXT, #name)

static bool goes_wrong(void)
{
    if (!armed) return false;
    const long chance = chances++;
    if (chance != wrong_at && !(full && went_wrong)) return false;
    went_wrong = true;
    errno = ENOSPC;
    return true;
}

/* Messages get through, and so does what is only read. */
static bool writes(int fd)
{
    const int old = errno, flags = fd >= 0 && fd != 2 ? fcntl(fd, F_GETFL) : -1;
    errno = old;
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

#pragma GCC visibility push(default) /* for the shared libraries */
int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    REAL(open, int, const char *, int, ...);
    if ((flags & O_ACCMODE) != O_RDONLY && goes_wrong()) return -1;
    return real(path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    REAL(fopen, FILE *, const char *, const char *);
    if (mode[0] != 'r' && goes_wrong()) return NULL;
    return real(path, mode);
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write, ssize_t, int, const void *, size_t);
    const bool first = !went_wrong;
    if (!writes(fd) || !goes_wrong()) return real(fd, data, size);
    return full && first && size > 1 ? real(fd, data, size / 2) : -1;
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *file)
{
    REAL(fwrite, size_t, const void *, size_t, size_t, FILE *);
    const bool first = !went_wrong;
    if (!writes(fileno(file)) || !goes_wrong()) return real(data, size, n, file);
    return full && first ? real(data, size, n / 2, file) : 0;
}

int fputs(const char *text, FILE *file)
{
    REAL(fputs, int, const char *, FILE *);
    return writes(fileno(file)) && goes_wrong() ? EOF : real(text, file);
}

int fflush(FILE *file)
{
    REAL(fflush, int, FILE *);
    return file != NULL && writes(fileno(file)) && goes_wrong() ? EOF : real(file);
}

int fclose(FILE *file)
{
    REAL(fclose, int, FILE *);
    const bool wrong = writes(fileno(file)) && goes_wrong();
    const int status = real(file);
    if (wrong) errno = ENOSPC;
    return wrong ? EOF : status;
}

int close(int fd)
{
    REAL(close, int, int);
    const bool wrong = writes(fd) && goes_wrong();
    const int status = real(fd);
    if (wrong) errno = ENOSPC;
    return wrong ? -1 : status;
}

int fsync(int fd)
{
    REAL(fsync, int, int);
    return goes_wrong() ? -1 : real(fd);
}

int ftruncate(int fd, off_t size)
{
    REAL(ftruncate, int, int, off_t);
    return goes_wrong() ? -1 : real(fd, size);
}

int rename(const char *from, const char *to)
{
    REAL(rename, int, const char *, const char *);
    return goes_wrong() ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir, int, const char *, mode_t);
    return goes_wrong() ? -1 : real(path, mode);
}
#pragma GCC visibility pop

/* The first calls one by one, and behind those in steps that grow. */
static long next_call(long n)
{
    const long each = getenv("SAHARA_TEST_EVERY") != NULL ? 100000 : SLOW ? 1 : 4;
    return n < each ? n + 1 : n + 1 + (SLOW ? n : n / 2);
}

/* The last of the lines, and no other, says that the disk is full. (The one before may sum up, as rank's does.) */
static bool tells(const char *message)
{
    const char *line = strstr(message, "sahara: "), *end = line != NULL ? strchr(line, '\n') : NULL;
    return line != NULL && (line == message || line[-1] == '\n') && end != NULL && end[1] == '\0' &&
           strstr(line, strerror(ENOSPC)) != NULL;
}

/* Runs the command with call n going wrong; false when there is no such call. */
static bool try_call(const char *command, long n, const sah_text *usual, int *wrong)
{
    remove_made();
    const int status = run(command, n);
    const outcome now = *shared;
    if (!now.failed) return false;
    char *message = read_stderr();
    const bool told = status == 1 && tells(message);
    /* ablate and graft refuse to write over a checkpoint, which is whole where only what they say of it failed. */
    const bool kept =
        (strncmp(command, "ablate", 6) == 0 || strncmp(command, "graft", 5) == 0) && made_whole(usual);
    int again = kept ? 0 : run(command, -1);
    say_output();
    if (again == 0 && !kept && !same_made(usual)) again = -1;
    if ((!told || again != 0) && (*wrong)++ < 12)
        print_error("%s: call %ld%s: status %d, \"%s\"%s\n", command, n, full ? " and all behind it" : "",
                    status, message, again != 0 ? "; and the command does not carry on" : "");
    free(message);
    return true;
}

static void test_command(void **state)
{
    const char *command = *state;
    int wrong = 0;
    long tries = 0;
    remove_made();
    prepare_by(command);
    say_output();
    sah_text usual = read_made();
    for (int turn = 0; turn < 2; turn++) {
        full = turn == 1;
        for (long n = 0; try_call(command, n, &usual, &wrong); n = next_call(n)) tries++;
    }
    full = false;
    free(usual.data);
    print_message("%s: %ld failures, %ld calls\n", command, tries, shared->chances);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    struct CMUnitTest tests[sizeof commands / sizeof *commands];
    const size_t n = sizeof commands / sizeof *commands;
    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){commands[i], test_command, NULL, NULL, (void *)(uintptr_t)commands[i]};
    return _cmocka_run_group_tests("failing writes", tests, n, prepare, NULL);
}
