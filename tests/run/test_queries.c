/* CSV records, and lists of queries in every form they may have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "util/csv.h"
#include "util/scratch.h"
#include "util/strings.h"

/* Records as "field|field;record;", from `text`. */
static sah_status records(const char *text, size_t size, char **out, sah_error *error)
{
    size_t at = 0, line = 1;
    sah_strings fields = {0};
    sah_text joined = {0};
    sah_status status;
    sah_text_adds(&joined, "");
    while ((status = sah_csv_record(text, size, &at, &line, &fields, "t", error)) == SAH_OK && fields.n > 0) {
        for (size_t i = 0; i < fields.n; i++) {
            if (i > 0) sah_text_adds(&joined, "|");
            sah_text_adds(&joined, fields.items[i]);
        }
        sah_text_adds(&joined, ";");
    }
    sah_strings_free(&fields);
    *out = joined.data;
    return status;
}

static void test_csv(void **state)
{
    (void)state;
    static const struct {
        const char *text, *records;
    } CASES[] = {
        {"", ""},
        {"a,b\nc,d\n", "a|b;c|d;"},
        {"a,b\r\nc,d", "a|b;c|d;"},
        {"a,\n,b\n", "a|;|b;"},
        {"\"a,b\",\"c\"\"d\"\"\"\n", "a,b|c\"d\";"},
        {"\"two\r\nlines\",x\ny,z\n", "two\r\nlines|x;y|z;"},
        {"\"\",\"\"", "|;"},
        {"a\n\nb\n", "a;;b;"},
        {"say \"hi\",x\n", "say \"hi\"|x;"},
        {"a\rb\n", "a\rb;"},
        {"caf\u00E9,\U0001F600\n", "caf\u00E9|\U0001F600;"},
        {"a\r", "a;"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sah_error error;
        char *out;
        expect_ok(records(CASES[i].text, strlen(CASES[i].text), &out, &error), &error);
        assert_string_equal(out, CASES[i].records);
        free(out);
    }
}

static void test_csv_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } CASES[] = {
        {"a\nb,\"c\nd\n", "t: line 2: a quoted field has no closing quote"},
        {"\"a\"b,c\n", "t: line 1: text behind the closing quote"},
        {"a\n\xFF\n", "t: line 2: a field is not UTF-8"},
    };
    sah_error error;
    char *out;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        expect_failure(records(CASES[i].text, strlen(CASES[i].text), &out, &error), &error, CASES[i].part);
        free(out);
    }
    expect_failure(records("a\0b\n", 4, &out, &error), &error, "NUL");
    free(out);
}

/* Reads `text` as the file `name`; the queries joined by '|'. */
static sah_status read_text(const char *name, const char *text, const char *column, size_t limit,
                            char joined[256], sah_error *error)
{
    sah_strings list;
    const char *path = scratch(name);
    scratch_write_text(path, text);
    sah_status status = sah_queries_read(path, column, limit, &list, error);
    joined[0] = '\0';
    for (size_t i = 0; i < list.n; i++) {
        if (i > 0) strcat(joined, "|");
        strcat(joined, list.items[i]);
    }
    sah_strings_free(&list);
    return status;
}

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *column, *queries;
    } CASES[] = {
        {"q.csv", "id,goal\n1,\"a, b\"\n2,c\n", NULL, "a, b|c"},
        {"q.csv", "goal,input\nx,y\n", NULL, "y"}, /* input comes before goal */
        {"q.csv", "goal,input\nx,y\n", "goal", "x"},
        {"q.csv", "\xEF\xBB\xBFquery\r\na\r\n\r\n  \r\nb\r\n", NULL, "a|b"},
        {"q.CSV", "prompt\n\"a\nb\"\n", NULL, "a\nb"},
        {"q.jsonl", "{\"input\": \"a\"}\n\n{\"goal\": \"b\", \"x\": 1}\n", NULL, "a|b"},
        {"q.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}", "text", "a|b"},
        {"q.json", " [{\"query\": \"a\"},\n {\"query\": \"b\"}]", NULL, "a|b"},
        {"q.json", "{\"prompt\": \"a\"}\n", NULL, "a"},
        {"q.json", "[\"a\", \"b\"]", NULL, "a|b"},
        {"q.txt", "one\r\n\n  \ntwo, with a comma\n", NULL, "one|two, with a comma"},
        {"q.txt", "[not json]\n", NULL, "[not json]"},
        {"q", "{\"input\": \"a\"}\n", NULL, "a"},
        {"q", "goal,target\nx,y\n", NULL, "x"},
        {"q", "text,id\nx,y\n", "text", "x"},
        {"q", "goals are,many\nx\n", NULL, "goals are,many|x"},
        {"q", "\"quoted\" but plain\n", NULL, "\"quoted\" but plain"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sah_error error;
        char joined[256];
        expect_ok(read_text(CASES[i].name, CASES[i].text, CASES[i].column, 0, joined, &error), &error);
        assert_string_equal(joined, CASES[i].queries);
    }
}

static void test_limit(void **state)
{
    (void)state;
    sah_error error;
    char joined[256];
    expect_ok(read_text("q.txt", "a\nb\nc\n", NULL, 2, joined, &error), &error);
    assert_string_equal(joined, "a|b");
    expect_ok(read_text("q.csv", "goal\na\n\nb\nc\n", NULL, 2, joined, &error), &error);
    assert_string_equal(joined, "a|b");
    expect_ok(read_text("q.jsonl", "{\"goal\": \"a\"}\n{\"goal\": \"b\"}\nbroken", NULL, 2, joined, &error),
              &error);
    assert_string_equal(joined, "a|b");
    expect_ok(read_text("q.txt", "a\nb\n", NULL, 9, joined, &error), &error);
    assert_string_equal(joined, "a|b");
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *column, *part;
    } CASES[] = {
        {"q.txt", "", NULL, "no queries"},
        {"q.txt", " \n\n", NULL, "no queries"},
        {"q.csv", "goal\n", NULL, "no queries"},
        {"q.csv", "", NULL, "no column"},
        {"q.csv", "a,b\n1,2\n", NULL, "no column input, goal, query or prompt"},
        {"q.csv", "goal\nx\n", "text", "no column \"text\""},
        {"q.csv", "a,goal\nx\n", NULL, "line 2: 1 fields"},
        {"q.jsonl", "{\"a\": \"b\"}\n", NULL, "line 1: no key input, goal, query or prompt"},
        {"q.jsonl", "\n{\"goal\": 3}\n", NULL, "line 2: the query is not a string"},
        {"q.jsonl", "{\"goal\": \"a\"}\n{\"goal\":\n", NULL, "line 2 is not a JSON value"},
        {"q.json", "[{\"goal\": \"a\"}", NULL, "not valid JSON"},
        {"q.json", "[3]", NULL, "no key"},
        {"q.txt", "a\n\xC3(\n", NULL, "line 2 is not UTF-8"},
    };
    sah_error error;
    char joined[256];
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        expect_failure(read_text(CASES[i].name, CASES[i].text, CASES[i].column, 0, joined, &error), &error,
                       CASES[i].part);
        assert_string_equal(joined, "");
    }
    sah_strings list;
    expect_failure(sah_queries_read(scratch("absent.csv"), NULL, 0, &list, &error), &error, "No such file");
}

/* The list of queries that comes with the project. */
static void test_project_data(void **state)
{
    (void)state;
    sah_error error;
    sah_strings list;
    expect_ok(sah_queries_read("data/harmful-heldout.csv", NULL, 0, &list, &error), &error);
    assert_true(list.n > 10);
    sah_strings_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv),   cmocka_unit_test(test_csv_errors), cmocka_unit_test(test_forms),
        cmocka_unit_test(test_limit), cmocka_unit_test(test_errors),     cmocka_unit_test(test_project_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
