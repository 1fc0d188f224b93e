/* SPDX-License-Identifier: Apache-2.0 */
/* The Python package, by its own tests, and its notebook, run through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "util/needs.h"

/* The library is built without what python3 does not have: sanitizers. */
#ifdef __SANITIZE_ADDRESS__
static const bool plain = false;
#else
static const bool plain = true;
#endif

static void run(const char *what)
{
    char command[512];
    const char *build = getenv("BUILD") != NULL ? getenv("BUILD") : "build";
    needs(plain, "a build without sanitizers, which python3 cannot load");
    needs(system("python3 -c 'import numpy, cffi' 2> /dev/null") == 0, "python3 with numpy and cffi");
    snprintf(command, sizeof command,
             "SAHARA_LIBRARY=\"$(realpath %s/libsahara.so)\" SAHARA_DEVICE_PATH=%s/tests/far "
             "PYTHONPATH=python PYTHONDONTWRITEBYTECODE=1 "
             "OMP_NUM_THREADS=2 "
             "python3 %s 2>&1",
             build, build, what);
    assert_int_equal(system(command), 0);
}

static void test_package(void **state)
{
    (void)state;
    run("-m unittest discover -s python/tests");
}

/* The notebook is what the script makes, and runs through: as Jupyter runs it where that is installed, else as the
 * script. */
static void test_notebook(void **state)
{
    (void)state;
    run("python/examples/make-notebook.py -n");
    if (system("python3 -c 'import matplotlib, nbclient, ipykernel' 2> /dev/null") == 0)
        run("python/tests/run-notebook.py");
    else
        run("python/examples/tour.py 12");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_package), cmocka_unit_test(test_notebook)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
