/* SPDX-License-Identifier: Apache-2.0 */
/* Allocations that fail, for the test programs of this folder, each of which includes this once: malloc() and its
 * like below stand before the C library's (or the address sanitizer's) for everything that is linked, so they must
 * be in the program itself.
 *
 * What the libraries of threads and products ask for never fails, as they end the program then. Nor does what cairo
 * and the libraries under it ask for, as they go on without or end in a signal (cairo 1.16, fontconfig 2.14): png.c
 * asks for room before, and test_short_memory tries that. Nor what jansson's parser does, which loses characters
 * without a word (2.14: strbuffer_append_byte() of a string's bytes goes unchecked). The C library sorts in place and
 * writes without a buffer where it must, and so does jansson as it writes: who bears a failure must have written what
 * he writes otherwise. */
#ifndef TESTS_MEMORY_FAILING_H
#define TESTS_MEMORY_FAILING_H

#include <dlfcn.h>
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "util/needs.h"
#include "util/scratch.h"
#include "made.h"

#if defined(__SANITIZE_ADDRESS__)
#define CAN_FAIL   1
#define REAL(name) __interceptor_##name
#elif defined(__GLIBC__)
#define CAN_FAIL   1
#define REAL(name) __libc_##name
#else
#define CAN_FAIL 0
#endif

static __thread bool armed; /* this thread's allocations count */
static __thread long countdown; /* allocations before the one that fails */
static __thread bool failed, coped; /* coped: in a library that can do without */

#if CAN_FAIL
void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *old, size_t size);
void *REAL(memalign)(size_t alignment, size_t size);

static __thread bool inside; /* an allocation is being looked at */
static __thread bool parsing; /* JSON */

/* The first allocations come before the sanitizer has set itself up. */
#define UNCHECKED __attribute__((no_sanitize("address", "undefined")))

/* Whether this allocation is to fail; `caller` asked for it. */
UNCHECKED static bool fails(const void *caller)
{
    static const char *const spared[] = {"libgomp", "libdnnl",  "libstdc++",     "ld-linux",    "libcmocka",
                                         "libasan", "libcairo", "libfontconfig", "libfreetype", "libexpat",
                                         "libpng",  "libz.",    "libpixman"};
    Dl_info info = {0};
    if (!armed || inside || parsing) return false;
    inside = true;
    bool counts = dladdr(caller, &info) != 0 && info.dli_fname != NULL;
    for (size_t i = 0; counts && i < sizeof spared / sizeof *spared; i++)
        if (strstr(info.dli_fname, spared[i]) != NULL) counts = false;
    inside = false;
    if (!counts || countdown-- != 0) return false;
    failed = true;
    coped = strstr(info.dli_fname, "libc.so") != NULL || strstr(info.dli_fname, "libutf8proc") != NULL;
    errno = ENOMEM;
    return true;
}

#pragma GCC visibility push(default) /* for the shared libraries */
UNCHECKED void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : REAL(malloc)(size);
}

UNCHECKED void *calloc(size_t n, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : REAL(calloc)(n, size);
}

UNCHECKED void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : REAL(realloc)(old, size);
}

UNCHECKED void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : REAL(memalign)(alignment, size);
}

/* Here the C library would be the one who asks. */
UNCHECKED char *strdup(const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = fails(__builtin_return_address(0)) ? NULL : REAL(malloc)(size);
    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

UNCHECKED char *strndup(const char *text, size_t most)
{
    const size_t n = strnlen(text, most);
    char *copy = fails(__builtin_return_address(0)) ? NULL : REAL(malloc)(n + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, text, n);
    copy[n] = '\0';
    return copy;
}

json_t *json_loadb(const char *text, size_t size, size_t flags, json_error_t *error)
{
    json_t *(*parse)(const char *, size_t, size_t, json_error_t *);
    parsing = true;
    *(void **)(void *)&parse = dlsym(RTLD_NEXT, "json_loadb");
    json_t *value = parse(text, size, flags, error);
    parsing = false;
    return value;
}
#pragma GCC visibility pop
#endif

/* The number of the allocation to fail after number n: each of the first `each`, and behind those in steps that grow
 * with n; far more of them with SAHARA_TEST_ALL in the environment. */
static long next_allocation(long n)
{
    const bool all = getenv("SAHARA_TEST_ALL") != NULL;
    const long each = all ? 600 : 50, more = all ? 100 : 10;
    return n < each ? n + 1 : n + 1 + n / more;
}

#endif
