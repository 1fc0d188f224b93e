/* SPDX-License-Identifier: Apache-2.0 */
/* What a call or a command has written and said, to be compared with what it usually does. Each test program of this
 * folder includes it once. */
#ifndef TESTS_MEMORY_MADE_H
#define TESTS_MEMORY_MADE_H

#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "util/scratch.h"
#include "util/strings.h"

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

/* Whether "made" holds what it usually does, whatever was said. */
static inline bool made_whole(const sah_text *usual)
{
    sah_text now = {0};
    add_tree(scratch("made"), &now);
    const bool same = now.size > 0 && now.size <= usual->size &&
                      memcmp(now.data, usual->data + usual->size - now.size, now.size) == 0;
    free(now.data);
    return same;
}

static inline bool left_anything(void)
{
    sah_text now = {0};
    add_tree(scratch("made"), &now);
    free(now.data);
    return now.size > 0;
}

#endif
