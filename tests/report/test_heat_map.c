/* SPDX-License-Identifier: Apache-2.0 */
/* Heat maps against shades and colours worked out by hand: the square root of a score's share of the highest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sahara.h"
#include "util/scratch.h"

#define HEADER_OF(layers, heads)                                                                             \
    "{\"sahara\":\"ships\",\"version\":\"0\",\"model\":{\"name\":\"m\",\"layers\":" layers                   \
    ",\"heads\":" heads ",\"kv_heads\":" heads "},\"settings\":{\"part\":\"q\"},\"queries\":[\"a\",\"b\"]"
#define HEADER HEADER_OF("2", "3")

/* Shares 1, 0.36, 1/16; 0, 9/16 and a head that was not scored. */
static const char plain[] = HEADER "}\n{\"head\":\"0-0\",\"kl\":[4,4]}\n{\"head\":\"0-1\",\"kl\":[1.44,1.44]}"
                                   "\n{\"head\":\"0-2\",\"kl\":[0.5,0]}\n"
                                   "{\"head\":\"1-0\",\"kl\":[0,0]}\n{\"head\":\"1-1\",\"kl\":[2.25,2.25]}\n";

/* Differences 4, 1, -1 and -9, with 0 and 0.25. */
static const char contrast[] = HEADER ",\"contrast_queries\":[\"c\",\"d\"]}\n"
                                      "{\"head\":\"0-0\",\"kl\":[5,5],\"kl_contrast\":[1,1]}\n{\"head\":\"0-"
                                      "1\",\"kl\":[2,2],\"kl_contrast\":[1,1]}\n"
                                      "{\"head\":\"0-2\",\"kl\":[1,1],\"kl_contrast\":[2,2]}\n{\"head\":\"1-"
                                      "0\",\"kl\":[0,0],\"kl_contrast\":[9,9]}\n"
                                      "{\"head\":\"1-1\",\"kl\":[3,3],\"kl_contrast\":[3,3]}\n{\"head\":\"1-"
                                      "2\",\"kl\":[1,1],\"kl_contrast\":[0.75,0.75]}\n";

static char *map(const char *result_text, bool colour, int width)
{
    sah_error error = {0};
    sah_result *result;
    char *text;
    const char *path = scratch("result.jsonl");
    scratch_write_text(path, result_text);
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    expect_ok(sah_heat_map(result, SAH_ORDER_DEFAULT, colour, width, &text, &error), &error);
    sah_result_close(result);
    return text;
}

static void test_terminal(void **state)
{
    (void)state;
    /* Five shades: the square roots 1, 0.6, 0.25, 0, 0.75 times four; in the legend those of i/7. */
    char *text = map(plain, false, 80);
    assert_string_equal(text, "      0      head\n"
                              "    0 ██▒▒░░\n"
                              "    1   ▓▓··\n"
                              "layer  mean KL, nats: 0  ▒▒▓▓▓██ 4 (square-root scale)\n");
    free(text);
    text = map(plain, false, 12); /* too narrow for two columns a head */
    assert_non_null(strstr(text, "    0 █▒░\n    1  ▓·\n"));
    free(text);
    text = map(contrast, false, 80);
    assert_non_null(strstr(text, "    0 ██▒▒  \n    1     ░░\n"));
    assert_non_null(strstr(text, "mean KL less mean contrast KL, nats: 0 "));
    assert_non_null(strstr(text, " 4 (square-root scale; blank: below 0 too)\n"));
    free(text);
}

static void test_terminal_colours(void **state)
{
    (void)state;
    /* Twelve warm colours: times eleven 11, 6.6, 2.75, 0, 8.25. Layer 0 is the half block, layer 1 behind it. */
    char *text = map(plain, true, 80);
    assert_non_null(strstr(text, "    0 \033[38;5;230;48;5;232m▀▀\033[38;5;208;48;5;214m▀▀"
                                 "\033[38;5;124;48;5;244m▀▀\033[0m\nlayer"));
    assert_non_null(strstr(text, "square-root scale; grey: not scored"));
    free(text);
    /* Half of eleven steps and, of six cold colours, half of five; halves are rounded up, and what is below -4
     * is as cold as it gets. */
    text = map(contrast, true, 12);
    assert_non_null(strstr(text, "    0 \033[38;5;230;48;5;21m▀\033[38;5;202;48;5;232m▀"
                                 "\033[38;5;19;48;5;124m▀\033[0m\nlayer"));
    assert_non_null(strstr(text, "blue: below 0)"));
    free(text);
    /* The last of an odd number of layers has nothing behind it. */
    text = map(HEADER_OF("1", "2") "}\n{\"head\":\"0-0\",\"kl\":[4,4]}\n{\"head\":\"0-1\",\"kl\":[0,0]}\n",
               true, 80);
    assert_non_null(strstr(text, "    0 \033[38;5;230m▀▀\033[38;5;232m▀▀\033[0m\nlayer"));
    free(text);
}

static char *svg(const char *result_text)
{
    sah_error error = {0};
    char path[512], out[512];
    const char *paths = path;
    size_t size;
    snprintf(path, sizeof path, "%s", scratch("result.jsonl"));
    snprintf(out, sizeof out, "%s", scratch("map.svg"));
    scratch_write_text(path, result_text);
    remove(out);
    expect_ok(sah_report(&paths, 1, &(sah_report_options){0}, out, &error), &error);
    return (char *)scratch_read(out, &size);
}

static void expect_cells(const char *picture, const char *const *cells, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strstr(picture, cells[i]) == NULL) fail_msg("no %s in %s", cells[i], picture);
}

static void test_picture(void **state)
{
    (void)state;
    /* From #f7f7f7 over #4393c3, at the root 1/2, to #053061. */
    static const char *const raw[] = {
        "fill=\"#053061\"><title>0-0: 4</title>",
        "fill=\"#377faf\"><title>0-1: 1.44</title>",
        "fill=\"#9dc5dd\"><title>0-2: 0.25</title>",
        "fill=\"#f7f7f7\"><title>1-0: 0</title>",
        "fill=\"#246292\"><title>1-1: 2.25</title>",
        "fill=\"#dddddd\"><title>1-2: not scored</title>",
        "fill=\"#4393c3\"><title>1</title>",
        "fill=\"#053061\"><title>4</title>", /* the legend, 0 to 4 in nine steps */
        "fill=\"#f7f7f7\"><title>0</title>",
        "<title>0.5</title>",
        "<title>3.5</title>"};
    /* Below 0 over #d8a35f to #6b3d05. */
    static const char *const differences[] = {
        "fill=\"#053061\"><title>0-0: 4</title>",  "fill=\"#4393c3\"><title>0-1: 1</title>",
        "fill=\"#d8a35f\"><title>0-2: -1</title>", "fill=\"#6b3d05\"><title>1-0: -9</title>",
        "fill=\"#f7f7f7\"><title>1-1: 0</title>",  "fill=\"#9dc5dd\"><title>1-2: 0.25</title>",
        "fill=\"#6b3d05\"><title>-4</title>",      "fill=\"#d8a35f\"><title>-1</title>",
        "fill=\"#f7f7f7\"><title>0</title>",       "<title>-3</title>"};
    char *picture = svg(plain);
    expect_cells(picture, raw, sizeof raw / sizeof *raw);
    free(picture);
    picture = svg(contrast);
    expect_cells(picture, differences, sizeof differences / sizeof *differences);
    free(picture);
}

/* Twenty heads, and nothing above 0: the numbers of the columns, the size of the picture, no colour but the coldest. */
static void test_wide(void **state)
{
    (void)state;
    char lines[4096];
    int at = snprintf(
        lines, sizeof lines,
        "{\"sahara\":\"ships\",\"version\":\"0\",\"model\":{\"name\":\"m\",\"layers\":1,\"heads\":24,"
        "\"kv_heads\":24},\"settings\":{\"part\":\"q\"},\"queries\":[\"a\",\"b\"],"
        "\"contrast_queries\":[\"c\",\"d\"]}\n");
    for (int h = 0; h < 24; h++)
        at += snprintf(lines + at, sizeof lines - (size_t)at,
                       "{\"head\":\"0-%d\",\"kl\":[1,1],\"kl_contrast\":[%d,%d]}\n", h, h % 2 + 1, h % 2 + 1);
    char *text = map(lines, false, 80);
    assert_non_null(strstr(text, "      0         5         10        15        20       head\n"));
    assert_non_null(strstr(text, ": 0          0 (square-root scale; blank: below 0 too)\n"));
    free(text);
    text = map(lines, false, 54); /* one less than two columns a head need */
    assert_non_null(strstr(text, "      0    5    10   15   20   head\n"));
    free(text);
    text = map(lines, false, 55);
    assert_non_null(strstr(text, "      0         5 "));
    free(text);
    char *picture = svg(lines);
    assert_non_null(strstr(picture, "width=\"436\" height=\"108\"")); /* 40 + 24 * 16 + 12, 34 + 16 + 58 */
    assert_non_null(strstr(picture, "fill=\"#f7f7f7\"><title>0-0: 0</title>"));
    assert_non_null(strstr(picture, "fill=\"#6b3d05\"><title>0-1: -1</title>"));
    static const char *const numbers[] = {">0</text>", ">4</text>", ">20</text>"};
    expect_cells(picture, numbers, 3); /* every fourth head has its number */
    assert_null(strstr(picture, ">5</text>"));
    free(picture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_terminal_colours),
        cmocka_unit_test(test_picture),
        cmocka_unit_test(test_wide),
    };
    return cmocka_run_group_tests_name("heat maps", tests, NULL, NULL);
}
