/* SPDX-License-Identifier: Apache-2.0 */
/* Heat maps against shades and colours worked out by hand: the square root of a score's share of the highest. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "report/colour.h"
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

static sah_report_options options;

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
    expect_ok(sah_report(&paths, 1, &options, out, &error), &error);
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
    /* Places on the scale of src/report/colour.h, by the root of the share: 1, 0.6, 0.25, 0, 0.75. */
    static const char *const raw[] = {"fill=\"#1a2d51\"><title>0-0: 4</title>",
                                      "fill=\"#387fad\"><title>0-1: 1.44</title>",
                                      "fill=\"#9ec5de\"><title>0-2: 0.25</title>",
                                      "fill=\"#f4f4f4\"><title>1-0: 0</title>",
                                      "fill=\"#2c5f89\"><title>1-1: 2.25</title>",
                                      "fill=\"#c8c8c8\"><title>1-2: not scored</title>",
                                      ">Mean KL, nats</text>",
                                      ">not scored</text>"};
    /* The largest magnitude, 9, is below 0: 2/3, 1/3, -1/3, -1, 0 and 1/6. */
    static const char *const differences[] = {"fill=\"#33709d\"><title>0-0: 4</title>",
                                              "fill=\"#81b5d7\"><title>0-1: 1</title>",
                                              "fill=\"#d1a37f\"><title>0-2: -1</title>",
                                              "fill=\"#482304\"><title>1-0: -9</title>",
                                              "fill=\"#f4f4f4\"><title>1-1: 0</title>",
                                              "fill=\"#bbd5e6\"><title>1-2: 0.25</title>",
                                              ">-5</text>",
                                              ">5</text>"};
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
    /* Two columns of a journal, less the margins, hold 24 cells of 7.04 mm. */
    assert_non_null(strstr(picture, "width=\"183.00mm\" height=\"28.04mm\""));
    assert_non_null(strstr(picture, "fill=\"#f4f4f4\"><title>0-0: 0</title>"));
    assert_non_null(strstr(picture, "fill=\"#482304\"><title>0-1: -1</title>"));
    static const char *const numbers[] = {">0</text>", ">1</text>", ">23</text>"};
    expect_cells(picture, numbers, 3);
    free(picture);
    options.width_mm = 89;
    picture = svg(lines); /* cells of 3.125 mm, too narrow for numbers of two digits: every second */
    assert_non_null(strstr(picture, "width=\"89.00mm\""));
    assert_non_null(strstr(picture, ">22</text>"));
    assert_null(strstr(picture, ">23</text>"));
    options.width_mm = 0;
    free(picture);
}

/* Distance of two colours in Oklab, from sRGB by the inverse of the matrices in colour.c. */
static double distance(unsigned a, unsigned b)
{
    static const double to_lms[3][3] = {{0.4122214708, 0.5363325363, 0.0514459929},
                                        {0.2119034982, 0.6806995451, 0.1073969566},
                                        {0.0883024619, 0.2817188376, 0.6299787005}},
                        to_lab[3][3] = {{0.2104542553, 0.7936177850, -0.0040720468},
                                        {1.9779984951, -2.4285922050, 0.4505937099},
                                        {0.0259040371, 0.7827717662, -0.8086757660}};
    double sum = 0, roots[2][3] = {{0}};
    const unsigned colours[2] = {a, b};
    for (int c = 0; c < 2; c++) {
        for (int i = 0; i < 3; i++) {
            for (int j = 0; j < 3; j++) {
                double x = (double)(colours[c] >> (16 - 8 * j) & 255) / 255;
                roots[c][i] += to_lms[i][j] * (x <= 0.04045 ? x / 12.92 : pow((x + 0.055) / 1.055, 2.4));
            }
            roots[c][i] = cbrt(roots[c][i]);
        }
    }
    for (int i = 0; i < 3; i++) {
        double difference = 0;
        for (int j = 0; j < 3; j++) difference += to_lab[i][j] * (roots[0][j] - roots[1][j]);
        sum += difference * difference;
    }
    return sqrt(sum);
}

/* Sixteen steps of each arm are equally wide to the eye, and both get darker all along. */
static void test_even(void **state)
{
    (void)state;
    for (int sign = -1; sign <= 1; sign += 2) {
        double least = 1, most = 0;
        for (int i = 0; i < 16; i++) {
            double step = distance(sah_colour(sign * i / 16.0), sah_colour(sign * (i + 1) / 16.0));
            least = fmin(least, step);
            most = fmax(most, step);
        }
        assert_true(most < 1.15 * least); /* colours are whole numbers: 8 % of a step */
        assert_true(least > 0.03);
    }
    for (int i = 0; i < 64; i++) {
        const unsigned here = sah_colour(i / 64.0), there = sah_colour((i + 1) / 64.0);
        assert_true((here >> 16) + (here >> 8 & 255) > (there >> 16) + (there >> 8 & 255));
    }
    assert_int_equal(sah_colour(2), sah_colour(1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal), cmocka_unit_test(test_terminal_colours),
        cmocka_unit_test(test_picture),  cmocka_unit_test(test_wide),
        cmocka_unit_test(test_even),
    };
    return cmocka_run_group_tests_name("heat maps", tests, NULL, NULL);
}
