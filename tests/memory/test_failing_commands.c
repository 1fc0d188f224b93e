/* SPDX-License-Identifier: Apache-2.0 */
/* Every command of the program, with an allocation that fails: each runs again and again in a process of its own, and
 * each time a later one of its allocations fails. It says so in one line and ends with 1; the same command again, on
 * what the failed one left, gives what it always gives; nothing leaks (under the address sanitizer). `bench` alone is
 * left out: it measures for seconds, and its sweep is that of ships. */
#include "failing.h"
#include "commands.h"

static long first; /* of the run */

static void arm(long n)
{
    countdown = first = n;
    armed = n >= 0;
}

static outcome disarm(void)
{
    armed = false;
    return (outcome){failed, coped, first - countdown};
}

/* Steps that grow sooner where a command takes long; the long form and the plain build have the shorter ones. */
static long next_of(long n)
{
    const bool sooner = SLOW && getenv("SAHARA_TEST_ALL") == NULL;
    return sooner && n >= 8 ? n + 1 + n / 3 : next_allocation(n);
}

static void try_command(const char *command)
{
    int wrong = 0, tries = 0;
    long n = 0, total = 0;
    remove_made();
    prepare_by(command);
    say_output();
    sah_text usual = read_made();
    for (bool more = true; more; n = next_of(n), tries++) {
        remove_made();
        int status = run(command, n), again = 0;
        const outcome now = *shared;
        char *message = read_stderr(), *end = strchr(message, '\n');
        say_output();
        more = now.failed;
        total = now.chances;
        const bool told = status == 1 && strncmp(message, "sahara: ", 8) == 0 && end != NULL &&
                          end[1] == '\0' &&
                          (strstr(message, "not enough memory") != NULL ||
                           strstr(message, "Cannot allocate memory") != NULL ||
                           strstr(message, "far has too little for ") != NULL /* a device's memory */);
        const bool good = (now.failed && told) || (status == 0 && same_made(&usual));
        if (status != 0 && left_anything()) {
            again = run(command, -1);
            say_output();
            if (again == 0 && !same_made(&usual)) again = -1;
        }
        if ((!good || again != 0) && wrong++ < 12)
            print_error("%s: allocation %ld: status %d, \"%s\"%s\n", command, n, status, message,
                        again != 0 ? "; and the command does not carry on" : "");
        free(message);
    }
    free(usual.data);
    print_message("%s: %d of %ld allocations\n", command, tries - 1, total);
    assert_int_equal(wrong, 0);
}

static void test_command(void **state)
{
    needs(CAN_FAIL, "glibc");
    try_command(*state);
}

int main(void)
{
    struct CMUnitTest tests[sizeof commands / sizeof *commands];
    const size_t n = sizeof commands / sizeof *commands;
    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){commands[i], test_command, NULL, NULL, (void *)(uintptr_t)commands[i]};
    return _cmocka_run_group_tests("failing commands", tests, n, prepare, NULL);
}
