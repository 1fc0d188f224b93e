/* SPDX-License-Identifier: Apache-2.0 */
#include "util/needs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

void needs(bool there, const char *what)
{
    if (there) return;
    print_message("SKIPPED: needs %s\n", what);
    skip();
}

void needs_smollm2(void)
{
    bool there = access(SMOLLM2, R_OK) == 0;
    if (!there && getenv("SAHARA_TEST_REAL") != NULL) fail_msg("%s is not there", SMOLLM2);
    needs(there, SMOLLM2 ", which scripts/get-smollm2 fetches");
}
