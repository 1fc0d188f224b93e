/* SPDX-License-Identifier: Apache-2.0 */
/* CSV records, and lists of queries in every form they may have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
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
    while ((status = sah_csv_record(text, size, ',', &at, &line, &fields, "t", error)) == SAH_OK &&
           fields.n > 0) {
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
        {"a\rb\n", "a;b;"}, /* an older Mac's line end */
        {"a\r\"b\rc\"\rd", "a;b\rc;d;"},
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
        {"\"a\"b,c\n", "t: line 1: text after the closing quote"},
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
        {"q.csv", "Index,Goal,Target\n1,a,b\n", NULL, "a"}, /* as JailbreakBench has it */
        {"q.csv", "Input,prompt\nx,y\n", NULL, "y"}, /* small letters first */
        {"q.csv", "GOAL,Query\nx,y\n", NULL, "x"},
        {"q", "Goal,Target\nx,y\n", NULL, "x"},
        {"q.jsonl", "{\"Behavior\": \"x\", \"Goal\": \"a\"}\n{\"Query\": \"c\", \"prompt\": \"b\"}\n", NULL,
         "a|c"},
        {"q.csv", "\xEF\xBB\xBFquery\r\na\r\n\r\n  \r\nb\r\n", NULL, "a|b"},
        {"q.csv", "\xEF\xBB\xBF\"query\"\r\na\r\n", NULL, "a"},
        {"q.CSV", "prompt\n\"a\nb\"\n", NULL, "a\nb"},
        {"q.csv", "goal,note\na\n,only a note\nb,,,\n", NULL,
         "a|b"}, /* short, without a query, commas behind */
        {"q.csv", "note,goal,note\n1,a,2\n", NULL, "a"}, /* only the name that is read must be the only one */
        {"q.csv", "id\tgoal\n1\ta, b\n", NULL, "a, b"},
        {"q.csv", "id;goal\n1;\"a;b\"\n", NULL, "a;b"},
        {"q.csv", "id,goal\r1,a\r2,\"b\nc\"\r", NULL, "a|b\nc"},
        {"q.tsv", "id\tgoal\r\n1\ta b\r\n2\tc, d\r\n", NULL, "a b|c, d"},
        {"q.tsv", "goal\n\"two\nlines\"\n\"a\"\"b\"\"\tc\"\nsay \"hi\"\n", NULL,
         "two\nlines|a\"b\"\tc|say \"hi\""},
        {"q.tsv", "goal\n\n\t\na\n", NULL, "a"},
        {"q.csv", "\n  \r\n\rgoal,id\n\na,1\n", NULL, "a"},
        {"q.tsv", "\n\tgoal\n1\ta\n", NULL, "a"}, /* a header whose first name is empty */
        {"q.tab", "\xEF\xBB\xBFtext\tgoal\nx\ty\n", "text", "x"},
        {"q.jsonl", "{\"input\": \"a\"}\n\n{\"goal\": \"b\", \"x\": 1}\n", NULL, "a|b"},
        {"q.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}", "text", "a|b"},
        {"q.jsonl", "{\"goal\": \"a\"}\r{\"goal\": \"b\"}\r", NULL, "a|b"},
        {"q.ndjson", "\"a\"\n\"b\"\n", NULL, "a|b"},
        {"q.jsonl", "{\n  \"goal\": \"a\"\n}\n{\n  \"goal\": \"b\"\n}\n", NULL,
         "a|b"}, /* as jq lays it out */
        {"q.jsonl", "{\"input\": null, \"goal\": \"a\"}\n", NULL, "a"},
        {"q.jsonl",
         "{\"goal\": \"a\", \"n\": 123456789012345678901234567890, \"z\": \"\\u0000\", \"o\": {\"goal\": 1}}",
         NULL, "a"},
        {"q.jsonl", "[{\"goal\": \"a\"}, {\"goal\": \"\"}, {\"goal\": \"b\"}]\n", NULL, "a|b"},
        {"q.json", " [{\"query\": \"a\"},\n {\"query\": \"b\"}]", NULL, "a|b"},
        {"q.json", "{\"prompt\": \"a\"}\n", NULL, "a"},
        {"q.json", "[\"a\", \"b\"]", NULL, "a|b"},
        {"q.json", "[\"a\", {\"goal\": \"b\"}]", NULL, "a|b"},
        {"q.json", "\xEF\xBB\xBF[{\"goal\": \"na\\u00efve \\ud83d\\ude00\"}]", NULL, "na\u00EFve \U0001F600"},
        {"q.txt", "[\n  {\n    \"goal\": \"a\"\n  }\n]\n", NULL, "a"},
        {"q.csv", "[{\"goal\": \"a\"}]", NULL, "a"},
        {"q", "[\"a\", \"b\"]", NULL, "a|b"},
        {"q", "[{\"text\": \"a\"}]", "text", "a"},
        {"q.txt", "one\r\n\n  \ntwo, with a comma\n", NULL, "one|two, with a comma"},
        {"q.txt", "one\rtwo\r\rthree", NULL, "one|two|three"},
        {"q.txt", "\xEF\xBB\xBFone\n", NULL, "one"},
        {"q.txt", "[not json]\n", NULL, "[not json]"},
        {"q.txt", "[1] is a reference\n[]\n", NULL, "[1] is a reference|[]"},
        {"q.txt", "{name} is a place\n{}\n", NULL, "{name} is a place|{}"},
        {"q.txt", "goal\na\n", NULL, "goal|a"},
        {"q.txt", "Prompt\nprompt\n", NULL, "Prompt|prompt"},
        {"q.txt", "- goal: a\n---\n", NULL, "- goal: a|---"},
        {"q.txt", "query, prompt and goal are words\n", NULL, "query, prompt and goal are words"},
        {"q.txt", "<html> is a tag\n", NULL, "<html> is a tag"},
        {"q.txt", "text\na\n", "text", "a"}, /* asked for, so a column */
        {"q.txt", "id,goal\n1,a\n", NULL, "a"},
        {"q.text.md", "input\na\n", NULL, "input|a"},
        {"q", "{\"input\": \"a\"}\n", NULL, "a"},
        {"q", "goal,target\nx,y\n", NULL, "x"},
        {"q", "goal\na\n", NULL, "a"}, /* a table as much as a text; a name with .txt says text */
        {"q", "id\tgoal\n1\ta\n", NULL, "a"},
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

/* A field of a few megabytes, in every form. */
static void test_huge(void **state)
{
    (void)state;
    enum { SIZE = 5000000 };
    static const char *const forms[][3] = {{"h.csv", "goal\n\"", "\"\n"},
                                           {"h.tsv", "goal\n", "\n"},
                                           {"h.jsonl", "{\"goal\": \"", "\"}\n"},
                                           {"h.txt", "", ""}};
    char *text = malloc(SIZE + 100);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        sah_error error;
        sah_strings list;
        size_t at = strlen(forms[i][1]);
        memcpy(text, forms[i][1], at);
        memset(text + at, 'x', SIZE);
        memcpy(text + at + SIZE, forms[i][2], strlen(forms[i][2]) + 1);
        scratch_write_text(scratch(forms[i][0]), text);
        expect_ok(sah_queries_read(scratch(forms[i][0]), NULL, 0, &list, &error), &error);
        assert_int_equal(list.n, 1);
        assert_int_equal(strlen(list.items[0]), SIZE);
        sah_strings_free(&list);
    }
    free(text);
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
        {"q.json", "[]", NULL, "no queries"},
        {"q.csv", "", NULL, "no queries"},
        {"q.csv", "\n \r\n", NULL, "no queries"},
        {"q.csv", "\n\na,b\n1,2\n", NULL, "line 3: no column input"},
        {"q.csv", "a,b\n1,2\n", NULL, "no column input, goal, query or prompt among \"a\", \"b\""},
        {"q.tsv", "a\tb c\n1\t2\n", NULL, "no column input, goal, query or prompt among \"a\", \"b c\""},
        {"q.csv", "goal\nx\n", "text", "no column \"text\" among \"goal\""},
        {"q.csv", "a,goal\nx\n", NULL, "line 2: 1 fields, but the header has 2"},
        {"q.csv", "goal\n\"x\"\nhello, world\n", NULL,
         "line 3: 2 fields, but the header has 1; a field with a sep"},
        {"q.csv", "goal,goal\nx,y\n", NULL, "line 1: two columns are named \"goal\""},
        {"q.csv", "Goal,GOAL\nx,y\n", NULL, "line 1: two columns are named \"Goal\""},
        {"q.csv", "Goal\nx\n", "goal",
         "no column \"goal\" among \"Goal\""}, /* asked for, so that name alone */
        {"q.jsonl", "{\"Goal\": \"b\"}\n", "goal", "line 1: no key \"goal\" among \"Goal\""},
        {"q.csv", "goal\r\"a\rb\"\r\"open\r", NULL, "line 4: a quoted field has no closing quote"},
        {"q.txt", "a\nb\n", "goal", "no column \"goal\": it is read as plain text"},
        {"q.json", "[\"a\"]", "goal", "record 1 is plain text, without a key \"goal\""},
        {"q.jsonl", "{\"a\": \"b\", \"c\": 1}\n", NULL,
         "line 1: no key input, goal, query or prompt among \"a\", \"c\""},
        {"q.jsonl", "{\"goal\": \"b\"}\n", "a", "line 1: no key \"a\" among \"goal\""},
        {"q.jsonl", "\n{\"goal\": 3}\n", NULL, "line 2: \"goal\" is a number, not a text"},
        {"q.jsonl", "{\"goal\": null}\n", NULL, "line 1: \"goal\" is null"},
        {"q.jsonl", "{\"goal\": {\"text\": \"a\"}}\n", NULL, "line 1: \"goal\" is an object"},
        {"q.jsonl", "{\"goal\": [\"a\"]}\n", NULL, "line 1: \"goal\" is a list"},
        {"q.jsonl", "{\"goal\": \"a\\u0000b\"}\n", NULL, "line 1: the query holds the character NUL"},
        {"q.jsonl", "{\"goal\": \"a\"}\n{\"goal\":\n", NULL, "line 2: not valid JSON: "},
        {"q.jsonl", "{\"goal\": \"a\"}\r\n{'goal': \"b\"}\r\n", NULL,
         "line 2: not valid JSON: string or '}' expected"},
        {"q.jsonl", "{\"goal\": \"a\", \"goal\": \"b\"}\n", NULL,
         "line 1: not valid JSON: duplicate object key"},
        {"q.jsonl", "{\"goal\": \"a\nb\"}\n", NULL, "not valid JSON: unexpected newline"},
        {"q.jsonl", "{\"goal\": \"\\ud83d\"}\n", NULL, "line 1: not valid JSON: invalid Unicode"},
        {"q.json", "[{\"goal\": \"a\"},\n{\"goal\": \"b\"},\n]", NULL,
         "line 3: not valid JSON: unexpected token near ']'"},
        {"q.json", "[{\"goal\": \"a\"}", NULL, "line 1: not valid JSON: ']' expected near end of file"},
        {"q", "[{\"goal\": \"a\"},\n", NULL, "line 1: not valid JSON: "},
        {"q.json", "[3]", NULL, "record 1 is a number"},
        {"q.json", "[\"a\", null]", NULL, "record 2 is null"},
        {"q.json", "goal\n", NULL, "line 1: not valid JSON: invalid token"},
        {"q.txt", "a\n\xC3(\n", NULL, "line 2 is not UTF-8"},
        {"q.txt", "a\r\xC3(\r", NULL, "line 2 is not UTF-8"},
        {"q.txt",
         "\xFF\xFE"
         "a",
         NULL, "UTF-16"},
        {"q.csv",
         "\xFE\xFF"
         "a",
         NULL, "UTF-16"},
        {"q.yaml", "- goal: a\n", NULL, "YAML is not supported"},
        {"q.YML", "a\n", NULL, "YAML is not supported"},
        {"q", "---\n- a\n", NULL, "YAML is not supported"},
        {"q", "# a list\n---\n", "goal", "no column"},
        {"q", "- goal: a\n  id: 1\n", NULL, "YAML is not supported"},
        {"q", "goal:\n  - a\n", NULL, "YAML is not supported"},
        {"q.parquet", "PAR1\x15", NULL, "a Parquet file"},
        {"q.csv", "PAR1\x15", NULL, "a Parquet file"},
        {"q.parquet", "a\n", NULL, ".parquet is not supported"},
        {"q.parquet", "a\xFF", NULL, ".parquet is not supported"},
        {"q.csv", "PAR1\x12 PAR1", NULL, "a Parquet file"},
        {"q.xlsx", "PK\3\4", NULL, "a zip archive (as .xlsx"},
        {"q.csv", "\x1F\x8B\x08", NULL, "gzip compressed"},
        {"q.pkl", "\x80\4", NULL, "a Python pickle"},
        {"q.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", NULL, "a Git LFS pointer"},
        {"q.csv", "\n<!DOCTYPE html>\n<html>", NULL, "an HTML page, not a list of queries"},
        {"q.txt", "<HTML lang=\"en\">\n<head>", NULL, "an HTML page"},
    };
    sah_error error;
    char joined[256];
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        expect_failure(read_text(CASES[i].name, CASES[i].text, CASES[i].column, 0, joined, &error), &error,
                       CASES[i].part);
        assert_string_equal(joined, "");
    }
    sah_strings list;
    static const char wide[] = "g\0o\0a\0l\0";
    scratch_write(scratch("wide.csv"), wide, 8);
    expect_failure(sah_queries_read(scratch("wide.csv"), NULL, 0, &list, &error), &error, "UTF-16");
    scratch_write(scratch("wide.csv"), "\0g\0o\0a", 6);
    expect_failure(sah_queries_read(scratch("wide.csv"), NULL, 0, &list, &error), &error, "UTF-16");
    scratch_write(scratch("nul.txt"), "good\nba\0d\n", 10);
    expect_failure(sah_queries_read(scratch("nul.txt"), NULL, 0, &list, &error), &error,
                   "line 2 holds a NUL");
    expect_failure(sah_queries_read(scratch("absent.csv"), NULL, 0, &list, &error), &error, "No such file");
}

/* Reads `text` as the file `name`; "query>partner" joined by '|'. */
static sah_status read_pairs(const char *name, const char *text, size_t limit, char joined[256],
                             sah_error *error)
{
    sah_strings queries, partners;
    const char *path = scratch(name);
    scratch_write_text(path, text);
    sah_status status = sah_pairs_read(path, NULL, limit, &queries, &partners, error);
    assert_int_equal(queries.n, partners.n);
    joined[0] = '\0';
    for (size_t i = 0; i < queries.n; i++)
        snprintf(joined + strlen(joined), 256 - strlen(joined), "%s%s>%s", i > 0 ? "|" : "", queries.items[i],
                 partners.items[i]);
    sah_strings_free(&queries);
    sah_strings_free(&partners);
    return status;
}

static void test_pairs(void **state)
{
    static const struct {
        const char *name, *text, *pairs;
    } CASES[] =
        {
            {"p.csv", "goal,partner\na,x\n,nobody\n\"b\",\"y, z\"\n", "a>x|b>y, z"},
            {"p.csv", "partner,goal\nx,a\ny,b\n", "a>x|b>y"},
            {"p.tsv", "goal\tpartner\na\tx\n", "a>x"},
            {"p.jsonl", "{\"goal\":\"a\",\"partner\":\"x\"}\n{\"partner\":\"y\",\"input\":\"b\"}\n",
             "a>x|b>y"},
        },
      WRONG[] = {
          {"p.csv", "goal,other\na,x\n", "line 1: no column \"partner\""},
          {"p.csv", "goal,partner\na,x\nb,\n", "line 3: the query has no partner"},
          {"p.csv", "goal,partner\na\n", "line 2: the query has no partner"},
          {"p.jsonl", "{\"goal\":\"a\",\"partner\":7}\n", "line 1: the query has no partner"},
          {"p.jsonl", "{\"goal\":\"a\",\"partner\":\"x\\u0000y\"}\n", "NUL"},
          {"p.jsonl", "\"a\"\n", "no partner"},
          {"p.txt", "a\nb\n", "no column \"partner\""},
      };
    sah_error error;
    sah_strings list;
    char joined[256];
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        expect_ok(read_pairs(CASES[i].name, CASES[i].text, 0, joined, &error), &error);
        assert_string_equal(joined, CASES[i].pairs);
    }
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++)
        expect_failure(read_pairs(WRONG[i].name, WRONG[i].text, 0, joined, &error), &error, WRONG[i].pairs);
    expect_ok(read_pairs("p.csv", CASES[1].text, 1, joined, &error), &error);
    assert_string_equal(joined, "a>x");
    /* a list of partners: their column, else the usual one */
    expect_ok(sah_partners_read(scratch("p.csv"), NULL, 0, &list, &error), &error);
    assert_string_equal(list.items[1], "y");
    sah_strings_free(&list);
    scratch_write_text(scratch("p.csv"), "id,goal\n1,a\n");
    expect_ok(sah_partners_read(scratch("p.csv"), NULL, 0, &list, &error), &error);
    assert_string_equal(list.items[0], "a");
    sah_strings_free(&list);
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
        cmocka_unit_test(test_csv),   cmocka_unit_test(test_csv_errors),   cmocka_unit_test(test_forms),
        cmocka_unit_test(test_huge),  cmocka_unit_test(test_limit),        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_pairs), cmocka_unit_test(test_project_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
