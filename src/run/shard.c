/* SPDX-License-Identifier: Apache-2.0 */
#include "run/shard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"

enum { MAX_SHARDS = 1000000 };

bool sah_shard_has(const sah_shard *shard, size_t i)
{
    return shard->count < 2 || i % shard->count == shard->index;
}

bool sah_shard_is_part(const sah_shard *shard)
{
    return shard->count > 1;
}

sah_status sah_shard_check(const sah_shard *shard, sah_error *error)
{
    if (shard->count == 0 && shard->index == 0) return SAH_OK;
    if (shard->count >= 1 && shard->count <= MAX_SHARDS && shard->index < shard->count) return SAH_OK;
    return sah_fail(error, SAH_BAD_ARGUMENT,
                    "shard %zu of %zu: shards count from 0 to one less than their number", shard->index,
                    shard->count);
}

/* ---- What a scheduler says ----------------------------------------------------------------------------- */

/* A whole number; false when it is none. */
static bool read_number(const char *text, long long *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

/* The variable's number; *there tells whether it is set. Anything else in it is an error. */
static sah_status read_variable(const char *name, long long *out, bool *there, sah_error *error)
{
    const char *text = getenv(name);
    *there = text != NULL && text[0] != '\0';
    if (!*there || read_number(text, out)) return SAH_OK;
    return sah_fail(error, SAH_FAILED, "%s is \"%s\", which is not a number: name the shard as I/N", name,
                    text);
}

/* The rank and number of processes that started together, by the first launcher that left both. */
static sah_status read_processes(sah_shard *out, sah_error *error)
{
    /* Slurm sets SLURM_PROCID in a batch script as well, which is one process whatever the job asked for; in a step
     * alone there is a number of the step's tasks. */
    static const char *const NAMES[][2] = {{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                           {"PMI_RANK", "PMI_SIZE"},
                                           {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
                                           {"JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"}};
    *out = (sah_shard){0, 0};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        long long rank = 0, size = 0;
        bool has_rank, has_size;
        sah_status status = read_variable(NAMES[i][0], &rank, &has_rank, error);
        if (status == SAH_OK) status = read_variable(NAMES[i][1], &size, &has_size, error);
        if (status != SAH_OK) return status;
        if (has_rank && !has_size && i == 3) {
            return sah_fail(error, SAH_FAILED,
                            "JOB_COMPLETION_INDEX is set, but nothing says how many there are: set "
                            "JOB_COMPLETIONS to the "
                            "job's completions, or name the shard as I/N");
        }
        if (!has_rank || !has_size) continue;
        if (size < 1 || size > MAX_SHARDS || rank < 0 || rank >= size)
            return sah_fail(error, SAH_FAILED, "%s %lld of %s %lld: name the shard as I/N", NAMES[i][0], rank,
                            NAMES[i][1], size);
        *out = (sah_shard){(size_t)rank, (size_t)size};
        return SAH_OK;
    }
    return SAH_OK;
}

/* The place of a task in a Slurm array, whose numbers may begin anywhere and leave some out evenly. */
static sah_status read_array(sah_shard *out, sah_error *error)
{
    static const char *const NAMES[] = {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT",
                                        "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX"};
    enum { ID, COUNT, MIN, MAX, N };
    long long values[N] = {0};
    bool there[N];
    *out = (sah_shard){0, 0};
    for (int i = 0; i < N; i++) {
        sah_status status = read_variable(NAMES[i], &values[i], &there[i], error);
        if (status != SAH_OK) return status;
    }
    if (!there[ID]) return SAH_OK;
    const bool known = there[COUNT] && there[MIN] && there[MAX] && values[COUNT] >= 1 &&
                       values[COUNT] <= MAX_SHARDS && values[MIN] >= 0 && values[MIN] <= values[ID] &&
                       values[ID] <= values[MAX];
    const long long gaps = values[COUNT] - 1;
    const long long span = known ? values[MAX] - values[MIN] : 0, step = gaps > 0 ? span / gaps : 1;
    if (!known || span != gaps * step || step < 1 || (values[ID] - values[MIN]) % step != 0) {
        return sah_fail(
            error, SAH_FAILED,
            "the numbers of the Slurm array are not evenly spaced: number it 0-7, say, or name the shard as "
            "I/N");
    }
    *out = (sah_shard){(size_t)((values[ID] - values[MIN]) / step), (size_t)values[COUNT]};
    return SAH_OK;
}

/* Processes inside the tasks of an array are shards of its shards. */
static sah_status find_shard(sah_shard *out, sah_error *error)
{
    sah_shard array, process;
    sah_status status = read_array(&array, error);
    if (status == SAH_OK) status = read_processes(&process, error);
    if (status != SAH_OK) return status;
    if (array.count == 0 && process.count == 0) {
        return sah_fail(
            error, SAH_FAILED,
            "no scheduler says which shard this is (Slurm's arrays and steps, Open MPI, PMI, Kubernetes' "
            "completion index): name it as I/N");
    }
    if (array.count == 0) array = (sah_shard){0, 1};
    if (process.count == 0) process = (sah_shard){0, 1};
    *out = (sah_shard){array.index * process.count + process.index, array.count * process.count};
    return sah_shard_check(out, error);
}

sah_status sah_shard_parse(const char *text, sah_shard *out, sah_error *error)
{
    const char *slash = strchr(text, '/');
    long long index, count;
    char first[24];
    *out = (sah_shard){0, 0};
    if (strcmp(text, "auto") == 0) return find_shard(out, error);
    if (slash == NULL || (size_t)(slash - text) >= sizeof first || text[0] < '0' || text[0] > '9' ||
        slash[1] < '0' || slash[1] > '9')
        return sah_fail(error, SAH_BAD_ARGUMENT, "expected I/N or auto");
    memcpy(first, text, (size_t)(slash - text));
    first[slash - text] = '\0';
    if (!read_number(first, &index) || !read_number(slash + 1, &count))
        return sah_fail(error, SAH_BAD_ARGUMENT, "expected I/N or auto");
    *out = (sah_shard){(size_t)index, (size_t)count};
    if (count == 0) return sah_fail(error, SAH_BAD_ARGUMENT, "no shards");
    return sah_shard_check(out, error);
}
