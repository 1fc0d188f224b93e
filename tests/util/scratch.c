/* SPDX-License-Identifier: Apache-2.0 */
#include "util/scratch.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* cmocka wants setjmp.h and stdarg.h first. */
#include <cmocka.h>

static char directory[256];

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_directory(void)
{
    nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *scratch(const char *name)
{
    static char paths[5][512];
    static int turn;
    if (directory[0] == '\0') {
        const char *base = getenv("TMPDIR");
        snprintf(directory, sizeof directory, "%s/sahara-test-XXXXXX", base != NULL ? base : "/tmp");
        assert_non_null(mkdtemp(directory));
        atexit(remove_directory);
    }
    turn = (turn + 1) % 5;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", directory, name);
    return paths[turn];
}

void scratch_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void scratch_write_text(const char *path, const char *text)
{
    scratch_write(path, text, strlen(text));
}

uint8_t *scratch_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(*size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, file), *size);
    data[*size] = '\0';
    fclose(file);
    return data;
}

void expect_failure(sah_status status, const sah_error *error, const char *part)
{
    assert_int_not_equal(status, SAH_OK);
    assert_int_equal(status, error->status);
    assert_true(error->message[0] != '\0');
    assert_null(strchr(error->message, '\n'));
    if (strstr(error->message, part) == NULL)
        fail_msg("\"%s\" does not contain \"%s\"", error->message, part);
}

void expect_ok(sah_status status, const sah_error *error)
{
    if (status != SAH_OK) fail_msg("%s", error->message);
}
