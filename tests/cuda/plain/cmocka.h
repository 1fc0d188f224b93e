/* SPDX-License-Identifier: Apache-2.0 */
/* As much of cmocka as tests/engine/operations.c and alone.c use, for machines that lack it: the first failure ends the
 * program. */
#ifndef TESTS_CUDA_PLAIN_CMOCKA_H
#define TESTS_CUDA_PLAIN_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define fail_msg(...)                                                                                        \
    do {                                                                                                     \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                      \
        fprintf(stderr, __VA_ARGS__);                                                                        \
        fputc('\n', stderr);                                                                                 \
        exit(1);                                                                                             \
    } while (0)
#define assert_true(it)                                                                                      \
    do {                                                                                                     \
        if (!(it)) fail_msg("not so: %s", #it);                                                              \
    } while (0)
#define assert_non_null(it)              assert_true((it) != NULL)
#define assert_int_equal(a, b)           assert_true((a) == (b))
#define assert_memory_equal(a, b, bytes) assert_true(memcmp(a, b, bytes) == 0)

#endif
