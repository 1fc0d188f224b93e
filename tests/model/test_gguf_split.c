/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF models in parts: tests/golden/formats/llama-split is models/llama-gqa/model-f32.gguf in three files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "model/checkpoint/checkpoint.h"
#include "model/format/gguf_split.h"
#include "model/writers.h"
#include "util/scratch.h"

#define PARTS "tests/golden/formats/llama-split/"

static void test_any_part(void **state)
{
    (void)state;
    sah_error error;
    sah_checkpoint *whole;
    char checksum[17] = "";
    expect_ok(sah_checkpoint_open("tests/golden/models/llama-gqa/model-f32.gguf", NULL, true, &whole, &error),
              &error);
    for (int part = 1; part <= 3; part++) {
        char path[256];
        sah_checkpoint *c;
        snprintf(path, sizeof path, PARTS "model-0000%d-of-00003.gguf", part);
        expect_ok(sah_checkpoint_open(path, NULL, false, &c, &error), &error);
        assert_int_equal(c->tensors->n_files, 3);
        assert_int_equal(c->tensors->n, whole->tensors->n);
        for (size_t i = 0; i < c->tensors->n; i++) {
            const sah_tensor *x = &c->tensors->items[i], *y = sah_tensors_find(whole->tensors, x->name);
            assert_non_null(y);
            assert_true(x->type == y->type && x->bytes == y->bytes);
            assert_memory_equal(x->data, y->data, x->bytes);
            assert_ptr_equal(x->data, c->tensors->files[x->file].data + x->offset);
        }
        assert_string_equal(c->info.name, "model-00001-of-00003.gguf");
        assert_true(part == 1 || strcmp(checksum, c->info.checksum) == 0);
        strcpy(checksum, c->info.checksum);
        assert_int_equal(c->config.n_heads, whole->config.n_heads);
        sah_checkpoint_close(c);
    }
    sah_checkpoint_close(whole);
}

static void copy_part(int from, const char *to)
{
    size_t size;
    char path[256];
    snprintf(path, sizeof path, PARTS "model-0000%d-of-00003.gguf", from);
    uint8_t *data = scratch_read(path, &size);
    scratch_write(scratch(to), data, size);
    free(data);
}

static void expect_refused(const char *path, const char *what)
{
    sah_error error;
    sah_gguf gguf;
    expect_failure(sah_gguf_open(scratch(path), &gguf, &error), &error, what);
}

static void test_bad_sets(void **state)
{
    (void)state;
    copy_part(2, "a-00002-of-00003.gguf");
    expect_refused("a-00002-of-00003.gguf", "a-00001-of-00003.gguf: No such file");
    copy_part(1, "a-00001-of-00003.gguf");
    expect_refused("a-00001-of-00003.gguf", "a-00003-of-00003.gguf: No such file");
    copy_part(2, "a-00003-of-00003.gguf");
    expect_refused("a-00001-of-00003.gguf", "a-00003-of-00003.gguf: says that it is part 2 of 3");
    copy_part(2, "renamed.gguf");
    expect_refused("renamed.gguf", "part 2 of a model in 3 files: its name must end in -00002-of-00003.gguf");
    copy_part(3, "a-00002-of-00003.gguf");
    expect_refused("a-00002-of-00003.gguf", "its name must end in -00003-of-00003.gguf");
}

static gguf_writer part(uint16_t number, uint16_t count, int32_t tensors)
{
    gguf_writer w = {.version = 3, .alignment = 32};
    gguf_pair(&w, "split.no", SAH_GGUF_U16, &number, sizeof number);
    gguf_pair(&w, "split.count", SAH_GGUF_U16, &count, sizeof count);
    gguf_pair(&w, "split.tensors.count", SAH_GGUF_I32, &tensors, sizeof tensors);
    return w;
}

static void test_bad_counts(void **state)
{
    (void)state;
    static const uint64_t ONE[] = {1};
    sah_error error;
    sah_gguf gguf;
    gguf_writer w = part(0, 2, 3), v = part(1, 2, 3);
    gguf_tensor(&w, "a", 0, 1, ONE, 4);
    gguf_tensor(&v, "b", 40, 1, (const uint64_t[]){256}, 144); /* a type that is not supported counts too */
    gguf_write(&w, scratch("c-00001-of-00002.gguf"));
    gguf_write(&v, scratch("c-00002-of-00002.gguf"));
    expect_refused("c-00002-of-00002.gguf", "its 2 parts hold 2 tensors instead of 3");
    w = part(0, 2, 2);
    gguf_tensor(&w, "a", 0, 1, ONE, 4);
    gguf_write(&w, scratch("c-00001-of-00002.gguf"));
    expect_ok(sah_gguf_open(scratch("c-00002-of-00002.gguf"), &gguf, &error), &error);
    assert_string_equal(sah_tensors_unsupported(&gguf.tensors, "b"), "NVFP4");
    sah_gguf_close(&gguf);
    v = part(1, 2, 2);
    gguf_tensor(&v, "a", 0, 1, ONE, 4);
    gguf_write(&v, scratch("c-00002-of-00002.gguf"));
    expect_refused("c-00001-of-00002.gguf", "c-00001-of-00002.gguf as well");
    w = part(2, 2, 2);
    gguf_write(&w, scratch("d.gguf"));
    expect_refused("d.gguf", "split.no is 2, outside 0 to 1");
    w = part(0, 65535, 2);
    gguf_write(&w, scratch("d.gguf"));
    expect_refused("d.gguf", "split.count is 65535");
    w = part(0, 1, 2); /* one part is the whole, whatever its name */
    gguf_tensor(&w, "a", 0, 1, ONE, 4);
    gguf_write(&w, scratch("d.gguf"));
    expect_ok(sah_gguf_open(scratch("d.gguf"), &gguf, &error), &error);
    sah_gguf_close(&gguf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_part),
        cmocka_unit_test(test_bad_sets),
        cmocka_unit_test(test_bad_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
