/* SPDX-License-Identifier: Apache-2.0 */
/* The page in a browser: page_in_browser.py says what is tried. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/needs.h"
#include "util/scratch.h"

/* A large page is the same whichever build writes it. */
#ifdef __SANITIZE_ADDRESS__
static const char *const size = "small";
#else
static const char *const size = "";
#endif

static void test_browser(void **state)
{
    (void)state;
    char command[1024];
    const char *program = getenv("SAHARA");
    needs(system("command -v chromium python3 > /dev/null 2>&1") == 0,
          "chromium and python3, to open pages in");
    snprintf(command, sizeof command,
             "PYTHONDONTWRITEBYTECODE=1 python3 tests/report/page_in_browser.py %s \"$(dirname %s)\" "
             "\"$(command -v chromium)\" %s",
             program != NULL ? program : "build/sahara", scratch("in-browser.jsonl"), size);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_browser)};
    return cmocka_run_group_tests_name("the page in a browser", tests, NULL, NULL);
}
