/* SPDX-License-Identifier: Apache-2.0 */
/* Which shard a process is: as it is told, or as schedulers say it in the environment (the variables that Slurm's
 * sbatch and srun, Open MPI's and MPICH's mpirun and Kubernetes set). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "run/shard.h"
#include "util/scratch.h"

enum { MOST = 8 };
static const char *const ALL[] = {"OMPI_COMM_WORLD_RANK",
                                  "OMPI_COMM_WORLD_SIZE",
                                  "PMI_RANK",
                                  "PMI_SIZE",
                                  "SLURM_PROCID",
                                  "SLURM_STEP_NUM_TASKS",
                                  "SLURM_NTASKS",
                                  "JOB_COMPLETION_INDEX",
                                  "JOB_COMPLETIONS",
                                  "SLURM_ARRAY_TASK_ID",
                                  "SLURM_ARRAY_TASK_COUNT",
                                  "SLURM_ARRAY_TASK_MIN",
                                  "SLURM_ARRAY_TASK_MAX"};

static void set_environment(const char *const variables[MOST][2])
{
    for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++) unsetenv(ALL[i]);
    for (size_t i = 0; i < MOST && variables[i][0] != NULL; i++)
        assert_int_equal(setenv(variables[i][0], variables[i][1], 1), 0);
}

#define ARRAY(id, count, min, max)                                                                           \
    {"SLURM_ARRAY_TASK_ID", id}, {"SLURM_ARRAY_TASK_COUNT", count}, {"SLURM_ARRAY_TASK_MIN", min},           \
    {                                                                                                        \
        "SLURM_ARRAY_TASK_MAX", max                                                                          \
    }

static void test_auto(void **state)
{
    (void)state;
    static const struct {
        const char *variables[MOST][2];
        size_t index, count;
    } CASES[] = {
        {{ARRAY("3", "8", "0", "7")}, 3, 8},
        {{ARRAY("1", "8", "1", "8")}, 0, 8},
        {{ARRAY("12", "4", "0", "12")}, 3, 4}, /* --array=0-12:4 */
        {{ARRAY("5", "1", "5", "5")}, 0, 1},
        /* in a batch script of four tasks, of which the script is one process */
        {{ARRAY("2", "4", "0", "3"), {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}, 2, 4},
        {{{"SLURM_PROCID", "2"}, {"SLURM_STEP_NUM_TASKS", "5"}, {"SLURM_NTASKS", "5"}}, 2, 5},
        {{ARRAY("1", "3", "0", "2"), {"SLURM_PROCID", "2"}, {"SLURM_STEP_NUM_TASKS", "4"}}, 6, 12},
        {{{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}}, 1, 2},
        /* mpirun inside a step of Slurm that counts one task a machine */
        {{{"OMPI_COMM_WORLD_RANK", "9"},
          {"OMPI_COMM_WORLD_SIZE", "16"},
          {"SLURM_PROCID", "0"},
          {"SLURM_STEP_NUM_TASKS", "1"}},
         9,
         16},
        {{{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}}, 0, 1},
        {{{"JOB_COMPLETION_INDEX", "4"}, {"JOB_COMPLETIONS", "9"}}, 4, 9},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sah_error error;
        sah_shard shard;
        set_environment(CASES[i].variables);
        expect_ok(sah_shard_parse("auto", &shard, &error), &error);
        assert_true(shard.index == CASES[i].index && shard.count == CASES[i].count);
    }
}

static void test_auto_refused(void **state)
{
    (void)state;
    static const struct {
        const char *variables[MOST][2], *part;
    } CASES[] = {
        {{{NULL, NULL}}, "no scheduler says which shard this is"},
        {{{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}, "no scheduler says"}, /* no step */
        {{ARRAY("3", "3", "1", "7")}, "not evenly spaced"}, /* --array=1,3,7 */
        {{ARRAY("2", "2", "0", "3")}, "not evenly spaced"},
        {{{"SLURM_ARRAY_TASK_ID", "1"}}, "not evenly spaced"},
        {{{"JOB_COMPLETION_INDEX", "4"}}, "set JOB_COMPLETIONS"},
        {{{"JOB_COMPLETION_INDEX", "4"}, {"JOB_COMPLETIONS", "4"}}, "name the shard as I/N"},
        {{{"OMPI_COMM_WORLD_RANK", "one"}, {"OMPI_COMM_WORLD_SIZE", "2"}}, "\"one\", which is not a number"},
        {{{"PMI_RANK", "-1"}, {"PMI_SIZE", "2"}}, "name the shard as I/N"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sah_error error;
        sah_shard shard;
        set_environment(CASES[i].variables);
        expect_failure(sah_shard_parse("auto", &shard, &error), &error, CASES[i].part);
    }
}

static void test_told(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",    "1",    "/2",   "1/",   "2/2",  "-1/2",  "0/0",       "1/2/3",
        "a/b", "+1/2", "1/ 2", " 0/2", "0/2 ", "0x1/4", "0/1000001", "99999999999999999999/2"};
    sah_error error;
    sah_shard shard;
    expect_ok(sah_shard_parse("0/1", &shard, &error), &error);
    assert_false(sah_shard_is_part(&shard));
    expect_ok(sah_shard_parse("63/64", &shard, &error), &error);
    assert_true(shard.index == 63 && shard.count == 64);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        expect_failure(sah_shard_parse(BAD[i], &shard, &error), &error, "");
}

/* Every unit is one shard's. */
static void test_deal(void **state)
{
    (void)state;
    for (size_t n = 1; n < 70; n++) {
        for (size_t i = 0; i < 200; i++) {
            size_t owners = 0;
            for (size_t index = 0; index < n; index++) owners += sah_shard_has(&(sah_shard){index, n}, i);
            assert_int_equal(owners, 1);
        }
    }
    assert_true(sah_shard_has(&(sah_shard){0, 0}, 17));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_auto_refused),
        cmocka_unit_test(test_told),
        cmocka_unit_test(test_deal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
