/* SPDX-License-Identifier: Apache-2.0 */
/* Allocations that fail, for the test programs of this folder, each of which includes this once: malloc() and its
 * like below stand before the C library's (or the address sanitizer's) for everything that is linked, so they must
 * be in the program itself.
 *
 * What the libraries of threads and products ask for never fails, as they end the program then; nor what jansson's
 * parser does, which loses characters without a word (2.14: strbuffer_append_byte() of a string's bytes goes
 * unchecked). The C library sorts in place and writes without a buffer where it must, and so does jansson as it
 * writes: who bears a failure must have written what he writes otherwise. */
#ifndef TESTS_MEMORY_FAILING_H
#define TESTS_MEMORY_FAILING_H

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "util/needs.h"
#include "util/scratch.h"
#include "util/strings.h"

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
    static const char *const spared[] = {"libgomp",  "libdnnl",   "libstdc++",
                                         "ld-linux", "libcmocka", "libasan"};
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
    char *copy = malloc(size);
    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

UNCHECKED char *strndup(const char *text, size_t most)
{
    const size_t n = strnlen(text, most);
    char *copy = malloc(n + 1);
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
    const long each = all ? 600 : 50, more = all ? 100 : 20;
    return n < each ? n + 1 : n + 1 + n / more;
}

/* ---- What a call wrote ----------------------------------------------------------------------------------- */

/* Calls write into "made", a directory of its own, to see what is left in it. */
static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    return ftw->level > 0 ? remove(path) : 0;
}

static void remove_made(void)
{
    mkdir(scratch("made"), 0777);
    nftw(scratch("made"), remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void add_tree(const char *path, sah_text *out)
{
    struct dirent **entries;
    struct stat status;
    size_t size;
    if (stat(path, &status) != 0) return;
    if (!S_ISDIR(status.st_mode)) {
        uint8_t *data = scratch_read(path, &size);
        sah_text_add(out, (const char *)data, size);
        free(data);
        return;
    }
    const int n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char inner[1024];
        snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') {
            sah_text_addf(out, "\n== %s\n", entries[i]->d_name);
            add_tree(inner, out);
        }
        free(entries[i]);
    }
    if (n >= 0) free(entries);
}

/* What a call gave back, for comparisons. */
static char said[1 << 17];
static size_t n_said;

static void say(const void *bytes, size_t n)
{
    assert_true(n <= sizeof said - n_said);
    if (n > 0) memcpy(said + n_said, bytes, n);
    n_said += n;
}

/* All that was said, and all names and bytes in "made"; for free(). */
static sah_text read_made(void)
{
    sah_text out = {0};
    sah_text_add(&out, said, n_said);
    add_tree(scratch("made"), &out);
    sah_text_add(&out, "", 0);
    assert_false(out.failed);
    return out;
}

static bool same_made(const sah_text *usual)
{
    sah_text now = read_made();
    const bool same =
        now.size == usual->size && (now.size == 0 || memcmp(now.data, usual->data, now.size) == 0);
    free(now.data);
    return same;
}

static bool left_anything(void)
{
    sah_text now = {0};
    add_tree(scratch("made"), &now);
    free(now.data);
    return now.size > 0;
}

#endif
