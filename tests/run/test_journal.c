/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: written line by line, resumed from the last whole line, never taken for another run's. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>

#include "run/journal.h"
#include "util/scratch.h"

static json_t *header_of(const char *text)
{
    sah_error error = {0};
    json_t *header;
    expect_ok(sah_json_parse(text, strlen(text), "header", &header, &error), &error);
    return header;
}

#define HEADER                                                                                               \
    "{\"sahara\":\"ships\",\"settings\":{\"scale\":0.0001,\"op\":\"scale\"},\"queries\":[\"a\",\"b\"]}"

typedef struct seen {
    size_t n;
    json_int_t sum;
    size_t last_number;
} seen;

static sah_status take(void *ctx, const json_t *line, size_t number, sah_error *error)
{
    seen *s = ctx;
    (void)error;
    s->n++;
    s->sum += json_integer_value(json_object_get(line, "unit"));
    s->last_number = number;
    return SAH_OK;
}

static sah_status open_journal(const char *path, const char *header_text, seen *s, sah_journal **out,
                               sah_error *error)
{
    json_t *header = header_of(header_text);
    *s = (seen){0};
    sah_status status = sah_journal_open(path, header, take, s, (sah_line_sink){0}, out, error);
    json_decref(header);
    return status;
}

static void add(sah_journal *journal, const char *line)
{
    sah_error error = {0};
    expect_ok(sah_journal_add(journal, line, strlen(line), &error), &error);
}

/* A finished journal of three units. */
static void write_three(const char *path)
{
    sah_error error = {0};
    sah_journal *journal;
    seen s;
    expect_ok(open_journal(path, HEADER, &s, &journal, &error), &error);
    add(journal, "{\"unit\":1}");
    add(journal, "{\"unit\":2}");
    add(journal, "{\"unit\":4}");
    expect_ok(sah_journal_close(journal, &error), &error);
    assert_int_equal(s.n, 0);
}

static void expect_file(const char *path, const char *text)
{
    size_t size;
    uint8_t *data = scratch_read(path, &size);
    assert_string_equal((const char *)data, text);
    free(data);
}

static void test_writes_lines(void **state)
{
    (void)state;
    const char *path = scratch("lines.jsonl");
    write_three(path);
    expect_file(path, HEADER "\n{\"unit\":1}\n{\"unit\":2}\n{\"unit\":4}\n");
}

/* Cut at every byte, a journal resumes to the same file; behind the header only whole lines count as done. */
static void test_resumes_at_every_byte(void **state)
{
    (void)state;
    const char *path = scratch("cut.jsonl");
    static const char *const lines[] = {"{\"unit\":1}", "{\"unit\":2}", "{\"unit\":4}"};
    static const json_int_t sums[] = {0, 1, 3, 7};
    write_three(path);
    size_t size;
    uint8_t *whole = scratch_read(path, &size);
    for (size_t cut = 0; cut <= size; cut++) {
        sah_error error = {0};
        sah_journal *journal;
        seen s;
        size_t ends = 0;
        for (size_t i = 0; i < cut; i++) ends += whole[i] == '\n';
        size_t done = ends > 0 ? ends - 1 : 0;
        scratch_write(path, whole, cut);
        expect_ok(open_journal(path, HEADER, &s, &journal, &error), &error);
        assert_int_equal(s.n, done);
        assert_int_equal(s.sum, sums[done]);
        if (done > 0) assert_int_equal(s.last_number, done + 1);
        for (size_t i = done; i < 3; i++) add(journal, lines[i]);
        expect_ok(sah_journal_close(journal, &error), &error);
        expect_file(path, (const char *)whole);
    }
    free(whole);
}

static void expect_refused(const char *path, const char *header, const char *part)
{
    sah_error error = {0};
    sah_journal *journal = NULL;
    seen s;
    size_t before, after;
    uint8_t *was = scratch_read(path, &before);
    expect_failure(open_journal(path, header, &s, &journal, &error), &error, part);
    assert_null(journal);
    uint8_t *is = scratch_read(path, &after);
    assert_int_equal(before, after);
    assert_memory_equal(was, is, before);
    free(was);
    free(is);
}

static void test_names_the_first_difference(void **state)
{
    (void)state;
    const char *path = scratch("other.jsonl");
    write_three(path);
    static const struct {
        const char *header, *part;
    } cases[] = {
        {"{\"sahara\":\"find\",\"settings\":{\"scale\":0.0001,\"op\":\"scale\"},\"queries\":[\"a\",\"b\"]}",
         "sahara: \"ships\" there, \"find\" here"},
        {"{\"sahara\":\"ships\",\"settings\":{\"scale\":0.001,\"op\":\"scale\"},\"queries\":[\"a\",\"b\"]}",
         "settings.scale: 0.0001 there, 0.001 here"},
        {"{\"sahara\":\"ships\",\"settings\":{\"op\":\"scale\"},\"queries\":[\"a\",\"b\"]}",
         "settings.scale: 0.0001 there, nothing here"},
        {"{\"sahara\":\"ships\",\"settings\":{\"scale\":0.0001,\"op\":\"scale\"},\"queries\":[\"a\",\"c\"]}",
         "queries[1]: \"b\" there, \"c\" here"},
        {"{\"sahara\":\"ships\",\"settings\":{\"scale\":0.0001,\"op\":\"scale\"},\"queries\":[\"a\"]}",
         "queries[1]: \"b\" there, nothing here"},
        {"{\"sahara\":\"ships\",\"settings\":{\"scale\":0.0001,\"op\":\"scale\"},\"queries\":[\"a\",\"b\"],"
         "\"more\":1}",
         "more: nothing there, 1 here"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refused(path, cases[i].header, cases[i].part);
}

/* The order of keys, and 1 against 1.0, are no difference. */
static void test_equal_headers(void **state)
{
    (void)state;
    json_t *a = header_of("{\"x\":1,\"y\":[1.5,null,true]}"),
           *b = header_of("{\"y\":[1.5,null,true],\"x\":1.0}");
    char what[256];
    assert_false(sah_json_difference(a, b, what, sizeof what));
    json_decref(a);
    json_decref(b);
}

static void test_spares_other_files(void **state)
{
    (void)state;
    const char *path = scratch("notes.txt");
    static const char *const texts[] = {
        "my notes, no line end", "my notes\n", "{\"a\":1}\n", "[1]\n", "\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        scratch_write_text(path, texts[i]);
        expect_refused(path, HEADER, "not a result file");
    }
}

static void test_names_a_damaged_line(void **state)
{
    (void)state;
    const char *path = scratch("damaged.jsonl");
    scratch_write_text(path, HEADER "\n{\"unit\":1}\n{\"unit\":\n{\"unit\":4}\n");
    expect_refused(path, HEADER, "line 3");
    scratch_write_text(path, HEADER "\n\n{\"unit\":4}\n");
    expect_refused(path, HEADER, "line 2");
}

static void test_one_writer(void **state)
{
    (void)state;
    const char *path = scratch("locked.jsonl");
    sah_error error = {0};
    sah_journal *first, *second = NULL;
    seen s;
    expect_ok(open_journal(path, HEADER, &s, &first, &error), &error);
    expect_failure(open_journal(path, HEADER, &s, &second, &error), &error, "another run");
    expect_ok(sah_journal_close(first, &error), &error);
    error = (sah_error){0};
    expect_ok(open_journal(path, HEADER, &s, &second, &error), &error);
    expect_ok(sah_journal_close(second, &error), &error);
}

static void test_bad_paths(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_journal *journal = NULL;
    seen s;
    expect_failure(open_journal(scratch("no/such/folder.jsonl"), HEADER, &s, &journal, &error), &error,
                   "No such file");
    expect_failure(open_journal("/tmp", HEADER, &s, &journal, &error), &error, "directory");
    expect_failure(open_journal("/dev/full", HEADER, &s, &journal, &error), &error, "No space left");
    assert_null(journal);
}

/* A disk that fills up in the middle of a line (a limit on the file's size does the same): the error is told,
 * the file ends with its last whole line. */
static void test_full_disk(void **state)
{
    (void)state;
    const char *path = scratch("full.jsonl");
    char line[512];
    memset(line, ' ', sizeof line);
    memcpy(line, "{\"unit\":1", 9);
    line[sizeof line - 2] = '}';
    line[sizeof line - 1] = '\0';
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* in a process of its own: the limit cannot be raised again by everyone */
        sah_error error = {0};
        sah_journal *journal;
        seen s;
        struct rlimit limit = {1000, 1000};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        json_t *header = header_of(HEADER);
        if (sah_journal_open(path, header, take, &s, (sah_line_sink){0}, &journal, &error) != SAH_OK)
            _exit(2);
        json_decref(header);
        if (sah_journal_add(journal, line, strlen(line), &error) != SAH_OK) _exit(3);
        if (sah_journal_add(journal, line, strlen(line), &error) != SAH_IO_ERROR) _exit(4);
        if (strstr(error.message, "cannot write") == NULL) _exit(5);
        (void)sah_journal_close(journal, &error);
        _exit(0);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
    size_t size;
    uint8_t *data = scratch_read(path, &size);
    assert_int_equal(size, strlen(HEADER) + 1 + strlen(line) + 1);
    assert_int_equal(data[size - 1], '\n');
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_lines),
        cmocka_unit_test(test_resumes_at_every_byte),
        cmocka_unit_test(test_names_the_first_difference),
        cmocka_unit_test(test_equal_headers),
        cmocka_unit_test(test_spares_other_files),
        cmocka_unit_test(test_names_a_damaged_line),
        cmocka_unit_test(test_one_writer),
        cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
