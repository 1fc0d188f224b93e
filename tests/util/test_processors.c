/* SPDX-License-Identifier: Apache-2.0 */
/* Processors of a container: quotas of control groups as the kernel shows them, in folders made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "util/processors.h"
#include "util/scratch.h"

/* Writes ROOT/GROUP/FILE. */
static void write_group(const char *group, const char *file, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s", scratch(group));
    (void)mkdir(path, 0777);
    snprintf(path + strlen(path), sizeof path - strlen(path), "/%s", file);
    scratch_write_text(path, text);
}

static int processors(int most, const char *groups)
{
    char root[512];
    scratch_write_text(scratch("groups"), groups);
    snprintf(root, sizeof root, "%s", scratch(""));
    root[strlen(root) - 1] = '\0'; /* its last slash */
    return sah_processors(most, root, scratch("groups"));
}

static void test_version_2(void **state)
{
    (void)state;
    write_group("a", "cpu.max", "max 100000\n");
    write_group("a/b", "cpu.max", "250000 100000\n");
    write_group("a/b/c", "cpu.max", "max 100000\n");
    write_group("half", "cpu.max", "50000 100000\n");
    assert_int_equal(processors(16, "0::/a\n"), 16);
    assert_int_equal(processors(16, "0::/a/b\n"), 3);
    assert_int_equal(processors(16, "0::/a/b/c\n"), 3); /* the group it lies in */
    assert_int_equal(processors(2, "0::/a/b\n"), 2);
    assert_int_equal(processors(16, "0::/half\n"), 1);
    assert_int_equal(processors(16, "0::/gone\n"), 16);
    assert_int_equal(processors(16, ""), 16);
    scratch_write_text(scratch("cpu.max"), "400000 100000\n"); /* a container's own root */
    assert_int_equal(processors(16, "0::/\n"), 4);
    assert_int_equal(processors(16, "0::/not/to/be/seen/from/inside\n"), 4);
    remove(scratch("cpu.max"));
}

static void test_version_1(void **state)
{
    (void)state;
    write_group("cpu", "cpu.cfs_quota_us", "-1\n");
    write_group("cpu", "cpu.cfs_period_us", "100000\n");
    write_group("cpu/docker", "cpu.cfs_quota_us", "150000\n");
    write_group("cpu/docker", "cpu.cfs_period_us", "50000\n");
    assert_int_equal(processors(16, "5:memory:/docker\n4:cpu,cpuacct:/docker\n"), 3);
    assert_int_equal(processors(16, "4:cpuset:/docker\n3:cpuacct,cpu:/\n"), 16);
}

static void test_nonsense(void **state)
{
    (void)state;
    write_group("odd", "cpu.max", "many 5\n");
    assert_int_equal(processors(4, "0::/odd\nno colon\n:\n1:cpu\n"), 4);
    write_group("odd", "cpu.max", "0 0\n");
    assert_int_equal(processors(4, "0::/odd\n"), 4);
    assert_int_equal(sah_processors(0, "/nowhere", "/nowhere"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_version_2), cmocka_unit_test(test_version_1),
                                       cmocka_unit_test(test_nonsense)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
