/* SPDX-License-Identifier: Apache-2.0 */
/* Pages and pictures of results: whole tags, the numbers that rank gives, colours in the order of the scores,
 * texts from files that cannot get out of where they stand, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cairo.h>
#include <jansson.h>
#include <cmocka.h>

#include "util/scratch.h"

/* Two layers of three heads on two queries; 1-2 is not there. */
static const char SHIPS[] =
    "{\"sahara\":\"ships\",\"version\":\"0\",\"model\":{\"name\":\"%s\",\"xxh3\":\"0\",\"family\":\"llama\","
    "\"layers\":2,\"heads\":3,"
    "\"kv_heads\":3,\"head_dim\":4,\"d_model\":12,\"vocab\":9,\"n_parameters\":1000},\"settings\":{\"part\":"
    "\"q\",\"op\":\"scale\","
    "\"scale\":0.0001,\"template\":\"%s\",\"precision\":\"f32\",\"layers\":[0,2],\"heads\":[0,3]},"
    "\"queries\":[\"a\",\"b\"]%s}\n"
    "{\"head\":\"0-0\",\"kl\":[0.5,0.25]}\n{\"head\":\"0-1\",\"kl\":[4,6]}\n{\"head\":\"0-2\",\"kl\":[0,0]}\n"
    "{\"head\":\"1-0\",\"kl\":[1,1.5]}\n{\"head\":\"1-1\",\"kl\":[2,3]}\n";

static const char JUDGED[] =
    "{\"sahara\":\"judge\",\"version\":\"0\",\"settings\":{\"rule\":\"default\"},\"model\":{\"name\":\"m\"}}"
    "\n"
    "{\"response\":\"I "
    "cannot.\",\"verdict\":\"refusal\",\"ablated\":[]}\n{\"response\":\"Stir.\",\"verdict\":\"compliance\","
    "\"ablated\":[\"0-1\"]}\n"
    "{\"ablated\":[],\"random\":false,\"asr\":0,\"low\":0,\"high\":0.79,\"n\":1,\"refusal\":1,\"compliance\":"
    "0,\"degenerate\":0}\n"
    "{\"ablated\":[\"0-1\"],\"random\":true,\"asr\":1,\"low\":0.21,\"high\":1,\"n\":1,\"refusal\":0,"
    "\"compliance\":1,\"degenerate\":0}\n"
    "{\"asr\":0.5,\"low\":0.09,\"high\":0.91,\"n\":2,\"refusal\":1,\"compliance\":1,\"degenerate\":0}\n";

/* A result whose names are given, in file `name`; its path lives until the test's end. */
static const char *write_ships(const char *name, const char *model, const char *template_, const char *more)
{
    static char paths[4][512];
    static int next;
    char text[4096], *path = paths[next++ % 4];
    snprintf(text, sizeof text, SHIPS, model, template_, more);
    snprintf(path, sizeof paths[0], "%s", scratch(name));
    scratch_write_text(path, text);
    return path;
}

static char *report(const char *const *paths, size_t n, const char *name, size_t *size)
{
    char out[512];
    sah_error error = {0};
    snprintf(out, sizeof out, "%s", scratch(name));
    remove(out);
    expect_ok(sah_report(paths, n, &(sah_report_options){0}, out, &error), &error);
    return (char *)scratch_read(out, size);
}

/* Takes the contents of scripts and styles out, in place; returns the JSON of the page's data, which is for free(). */
static char *take_scripts(char *page)
{
    static const char *const ends[] = {"</script>", "</style>"};
    char *data = NULL, *to = page;
    for (char *from = page; *from != '\0';) {
        const bool script = strncmp(from, "<script", 7) == 0;
        if (!script && strncmp(from, "<style", 6) != 0) {
            *to++ = *from++;
            continue;
        }
        char *begin = strchr(from, '>') + 1, *end = strstr(begin, ends[!script]);
        assert_non_null(end);
        if (memmem(from, (size_t)(begin - from), "id=\"data\"", 9) != NULL)
            data = strndup(begin, (size_t)(end - begin));
        memmove(to, from, (size_t)(begin - from));
        to += begin - from;
        from = end;
        *to++ = *from++; /* the end's first letter, which is no script's beginning */
    }
    *to = '\0';
    return data;
}

/* Every tag that is opened is closed, in order. */
static void expect_whole(const char *text)
{
    static const char *const empty[] = {"meta", "!DOCTYPE"};
    char open[64][32];
    size_t depth = 0;
    for (const char *at = strchr(text, '<'); at != NULL; at = strchr(at + 1, '<')) {
        char name[32];
        bool closing = at[1] == '/', alone = false;
        size_t n = strcspn(at + 1 + closing, " >/");
        assert_true(n > 0 && n < sizeof name);
        snprintf(name, sizeof name, "%.*s", (int)n, at + 1 + closing);
        const char *end = strchr(at, '>');
        assert_non_null(end);
        assert_true(memchr(at + 1, '<', (size_t)(end - at - 1)) == NULL);
        for (size_t i = 0; i < 2; i++) alone = alone || strcmp(name, empty[i]) == 0;
        if (alone || end[-1] == '/') continue;
        if (!closing) {
            assert_true(depth < 64);
            strcpy(open[depth++], name);
        } else if (depth == 0 || strcmp(open[--depth], name) != 0) {
            fail_msg("</%s> closes %s", name, depth < 64 ? open[depth] : "nothing");
        }
    }
    assert_int_equal(depth, 0);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) n++;
    return n;
}

static void test_page(void **state)
{
    (void)state;
    size_t size;
    char judged[512];
    snprintf(judged, sizeof judged, "%s", scratch("judged.jsonl"));
    scratch_write_text(judged, JUDGED);
    const char *paths[] = {
        write_ships("a.jsonl", "first", "ships", ",\"refusal_check\":{\"sampled\":16,\"refused\":1}"),
        write_ships("b.jsonl", "second", "ships", ""), judged};
    char *page = report(paths, 3, "page.html", &size);
    free(take_scripts(page));
    expect_whole(page);
    assert_int_equal(count(page, "<section"), 5);
    assert_int_equal(count(page, "<svg "), 2);
    /* In the order of rank: 0-1 with mean 5, 1-1 with 2.5; three digits, all of them in the title. */
    const char *first = strstr(page, "<td>1</td><th scope=\"row\">0-1</th><td title=\"5 (4 to 6)\">5<"),
               *second = strstr(page, "<td>2</td><th scope=\"row\">1-1</th><td title=\"2.5 (2 to 3)\">2.5<");
    assert_true(first != NULL && second != NULL && first < second);
    assert_non_null(strstr(page, "refused 1 of 16 sampled queries. Where it hardly refuses"));
    assert_non_null(strstr(page, "The run is not finished: 5 of 6 heads."));
    assert_non_null(strstr(
        page, "<td>none</td><td>1</td><td>1</td><td>0</td><td>0</td><td>0.0 %</td><td>0.0 to 79.0 %</td>"));
    assert_non_null(strstr(page, "<td>0-1 (at random)</td>"));
    assert_non_null(strstr(page, "<td>all</td><td>2</td>"));
    assert_non_null(strstr(page, "<h2>Agreement</h2>"));
    /* Nothing is fetched; the name of SVG's name space is no address. */
    assert_int_equal(count(page, "http:") + count(page, "https:") + count(page, "//"), 4);
    assert_int_equal(count(page, "xmlns=\"http"), 2);
    free(page);
}

/* The note stands where the model refused fewer than half of the sampled queries. */
static void test_refusal_note(void **state)
{
    (void)state;
    static const struct {
        int refused, sampled, thinking;
        bool noted;
    } cases[] = {{0, 16, 0, true},   {7, 16, 0, true}, {8, 16, 0, false}, {9, 16, 0, false},
                 {16, 16, 0, false}, {2, 5, 0, true},  {3, 5, 0, false},  {1, 16, 9, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size;
        char check[128], said[64];
        snprintf(check, sizeof check, ",\"refusal_check\":{\"sampled\":%d,\"refused\":%d,\"thinking\":%d}",
                 cases[i].sampled, cases[i].refused, cases[i].thinking);
        snprintf(said, sizeof said, "refused %d of %d sampled queries", cases[i].refused, cases[i].sampled);
        const char *path = write_ships("n.jsonl", "m", "ships", check);
        char *page = report(&path, 1, "note.html", &size);
        assert_non_null(strstr(page, said));
        assert_int_equal(strstr(page, "Where it hardly refuses") != NULL, cases[i].noted);
        assert_int_equal(strstr(page, "9 of these responses were still thinking") != NULL,
                         cases[i].thinking > 0);
        free(page);
    }
}

/* Texts that would end their element, their string or their line, or turn what stands beside them around. */
static void test_hostile_texts(void **state)
{
    (void)state;
    size_t size;
    char judged[512];
    snprintf(judged, sizeof judged, "%s", scratch("hostile-judged.jsonl"));
    scratch_write_text(judged,
                       "{\"sahara\":\"judge\",\"version\":\"0\",\"settings\":{},\"model\":{\"name\":\"m\"}}\n"
                       "{\"query\":\"<!--<script>\\u2028\\u202e\",\"response\":\"</script><b>\\u0000\\\"'\","
                       "\"verdict\":\"</script>\"}\n");
    const char *paths[] = {
        write_ships("h.jsonl", "</title><script>alert(1)</script>", "' onload=\\\"x\\\" <b>\\u0007{}", ""),
        judged};
    char *page = report(paths, 2, "hostile.html", &size);
    char *data = take_scripts(page);
    expect_whole(page);
    assert_int_equal(count(page, "<script"), 5); /* our own */
    assert_null(strchr(data, '<'));
    assert_null(strstr(data, "\xE2\x80\xA8"));
    json_t *read = json_loads(data, JSON_ALLOW_NUL, NULL);
    assert_non_null(read);
    const json_t *answers = json_object_get(read, "answers");
    assert_string_equal(json_string_value(json_array_get(json_object_get(answers, "queries"), 0)),
                        "<!--<script>\xE2\x80\xA8\xE2\x80\xAE");
    const json_t *response = json_array_get(
        json_array_get(json_object_get(json_array_get(json_object_get(answers, "groups"), 0), "responses"),
                       0),
        1);
    assert_int_equal(json_string_length(response), 15);
    assert_memory_equal(json_string_value(response), "</script><b>\0\"'", 15);
    json_decref(read);
    free(data);
    assert_null(strstr(page, "<b>"));
    assert_null(strchr(page, 7));
    assert_non_null(strstr(page, "&lt;script&gt;"));
    free(page);
    char *svg = report(paths, 1, "hostile.svg", &size);
    expect_whole(svg);
    assert_null(strstr(svg, "<script"));
    free(svg);
}

static void test_svg(void **state)
{
    (void)state;
    size_t size;
    const char *paths[] = {write_ships("s.jsonl", "m", "ships", "")};
    char *svg = report(paths, 1, "map.svg", &size);
    expect_whole(svg);
    assert_int_equal(count(svg, "<title>"), 1 + 6);
    assert_non_null(strstr(svg, "fill=\"#c8c8c8\"><title>1-2: not scored</title>"));
    assert_non_null(strstr(svg, "fill=\"#f4f4f4\"><title>0-2: 0</title>"));
    assert_non_null(strstr(svg, "fill=\"#1a2d51\"><title>0-1: 5</title>"));
    /* Axes with their names, and a colour bar with its numbers and what they are. */
    static const char *const texts[] = {
        ">Layer</text>", ">Head</text>",          ">0</text>",         ">1</text>", ">2</text>",
        ">5</text>",     ">Mean KL, nats</text>", ">not scored</text>"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strstr(svg, texts[i]) == NULL) fail_msg("no %s in %s", texts[i], svg);
    free(svg);
}

typedef struct reader {
    const unsigned char *data;
    size_t left;
} reader;

static cairo_status_t read_some(void *closure, unsigned char *data, unsigned length)
{
    reader *r = closure;
    if (length > r->left) return CAIRO_STATUS_READ_ERROR;
    memcpy(data, r->data, length);
    r->data += length;
    r->left -= length;
    return CAIRO_STATUS_SUCCESS;
}

/* Red, green and blue of a cell's middle, together: how light it is. */
static int lightness(cairo_surface_t *image, int layer, int head)
{
    int x = (int)(23.622 * (11 + 8 * head + 3)), y = (int)(23.622 * (1.5 + 8 * layer + 3));
    const unsigned char *pixel =
        cairo_image_surface_get_data(image) + y * cairo_image_surface_get_stride(image) + 4 * x;
    return pixel[0] + pixel[1] + pixel[2];
}

static void test_png(void **state)
{
    (void)state;
    size_t size;
    const char *paths[] = {write_ships("p.jsonl", "m", "ships", "")};
    char *png = report(paths, 1, "map.png", &size);
    reader from = {(unsigned char *)png, size};
    cairo_surface_t *image = cairo_image_surface_create_from_png_stream(read_some, &from);
    assert_int_equal(cairo_surface_status(image), CAIRO_STATUS_SUCCESS);
    /* By falling score: 0-1, 1-1, 1-0, 0-0, 0-2. */
    static const int order[][2] = {{0, 1}, {1, 1}, {1, 0}, {0, 0}, {0, 2}};
    for (size_t i = 1; i < 5; i++)
        assert_true(lightness(image, order[i - 1][0], order[i - 1][1]) <
                    lightness(image, order[i][0], order[i][1]));
    assert_int_equal(lightness(image, 1, 2), 3 * 0xc8);
    /* 600 dots an inch, as the file says: 85 by 1.5 + 2 * 8 + 19.5 + 4 millimetres. */
    static const unsigned char dots[] = "\0\0\0\tpHYs\0\0\x5c\x46\0\0\x5c\x46\1\x14\x94\x43\x41";
    assert_int_equal(cairo_image_surface_get_width(image), 2008);
    assert_int_equal(cairo_image_surface_get_height(image), 969);
    assert_memory_equal(png + 33, dots, sizeof dots - 1);
    cairo_surface_destroy(image);
    free(png);
}

static void test_refusals(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_report_options options = {0};
    const char *good[] = {write_ships("g.jsonl", "m", "ships", "")};
    char text[512], out[512];
    snprintf(out, sizeof out, "%s", scratch("none.html"));
    expect_failure(sah_report(good, 1, &options, scratch("page.pdf"), &error), &error,
                   ".html, .svg, .png or .tsv");
    expect_failure(sah_report(good, 1, &options, "html", &error), &error, "must end in");
    expect_failure(sah_report(good, 0, &options, out, &error), &error, "no result");
    snprintf(text, sizeof text, "%s", scratch("broken.jsonl"));
    scratch_write_text(text, "{\"sahara\":\"bench\"}\n");
    const char *bad[] = {good[0], text};
    remove(out);
    expect_failure(sah_report(bad, 2, &options, out, &error), &error, "broken.jsonl");
    FILE *file = fopen(out, "r");
    assert_null(file);
    scratch_write_text(text, "not JSON\n");
    expect_failure(sah_report(bad, 2, &options, out, &error), &error, "broken.jsonl");
    const char *absent[] = {"/nowhere/x.jsonl"};
    expect_failure(sah_report(absent, 1, &options, out, &error), &error, "/nowhere/x.jsonl");
    expect_failure(sah_report(good, 1, &options, good[0], &error), &error, "must end in");
    options.step = 3;
    expect_failure(sah_report(good, 1, &options, scratch("m.svg"), &error), &error, "step");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),          cmocka_unit_test(test_refusal_note),
        cmocka_unit_test(test_hostile_texts), cmocka_unit_test(test_svg),
        cmocka_unit_test(test_png),           cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("reports", tests, NULL, NULL);
}
