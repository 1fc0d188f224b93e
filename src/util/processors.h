/* SPDX-License-Identifier: Apache-2.0 */
/* How many processors a process may use in a container: OpenMP sees what it may run on, not what its quota pays for. */
#ifndef SAH_UTIL_PROCESSORS_H
#define SAH_UTIL_PROCESSORS_H

/* At most `most`, and no more than the quotas of the process's control groups and of those they lie in pay for
 * (Linux, versions 1 and 2; rounded up); at least 1. `root` is where control groups are mounted, `groups` the list
 * of the process's own: "/sys/fs/cgroup" and "/proc/self/cgroup". */
int sah_processors(int most, const char *root, const char *groups);

#endif
