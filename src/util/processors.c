/* SPDX-License-Identifier: Apache-2.0 */
#include "util/processors.h"

#include <stdio.h>
#include <string.h>

/* The first number pair of a file: a quota and its period, both microseconds. Version 2 has "max 100000" where there is
 * none, version 1 has -1. */
static double quota(const char *path, const char *period_path)
{
    double limit = -1, period = -1;
    FILE *file = fopen(path, "r");
    if (file == NULL) return -1;
    int n = fscanf(file, "%lf %lf", &limit, &period);
    fclose(file);
    if (n == 1 && period_path != NULL && (file = fopen(period_path, "r")) != NULL) {
        n += fscanf(file, "%lf", &period);
        fclose(file);
    }
    return n == 2 && limit > 0 && period > 0 ? limit / period : -1;
}

/* The least quota of a group and of those it lies in. `v1` is the folder of version 1's controller, or NULL. */
static double least_quota(const char *root, const char *v1, char *group)
{
    double least = -1;
    for (;;) {
        char path[4096], period[4096];
        int n, m = 0;
        if (v1 == NULL)
            n = snprintf(path, sizeof path, "%s%s/cpu.max", root, group);
        else
            n = snprintf(path, sizeof path, "%s/%s%s/cpu.cfs_quota_us", root, v1, group),
            m = snprintf(period, sizeof period, "%s/%s%s/cpu.cfs_period_us", root, v1, group);
        if (n > 0 && n < (int)sizeof path && m < (int)sizeof period) {
            double here = quota(path, v1 != NULL ? period : NULL);
            if (here > 0 && (least < 0 || here < least)) least = here;
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL) return least;
        *slash = '\0';
    }
}

/* Lines of cgroups(7): "0::/user.slice/a" of version 2, "4:cpu,cpuacct:/docker/b" of version 1. */
static double least_of_groups(const char *root, const char *groups)
{
    char line[4096];
    double least = -1;
    FILE *file = fopen(groups, "r");
    if (file == NULL) return -1;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *group = NULL;
        if (controllers != NULL) group = strchr(++controllers, ':');
        if (group == NULL) continue;
        *group++ = '\0';
        if (strcmp(group, "/") == 0) *group = '\0';
        double here = -1;
        if (*controllers == '\0') {
            here = least_quota(root, NULL, group);
        } else {
            for (char *next = controllers, *name; (name = strsep(&next, ",")) != NULL;)
                if (strcmp(name, "cpu") == 0) here = least_quota(root, "cpu", group);
        }
        if (here > 0 && (least < 0 || here < least)) least = here;
    }
    fclose(file);
    return least;
}

int sah_processors(int most, const char *root, const char *groups)
{
    double paid = least_of_groups(root, groups);
    if (paid > 0 && paid < (double)most) {
        most = (int)paid;
        if ((double)most < paid) most++;
    }
    return most < 1 ? 1 : most;
}
