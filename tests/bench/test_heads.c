/* SPDX-License-Identifier: Apache-2.0 */
/* The scorer of bench/heads, which is Python: its own tests, run by the interpreter that is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/needs.h"

static void test_scorer(void **state)
{
    (void)state;
    needs(system("python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2> /dev/null") == 0,
          "Python 3.8 or later");
    assert_int_equal(system("python3 bench/heads/test-score"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scorer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
