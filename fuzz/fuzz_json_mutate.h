/* SPDX-License-Identifier: Apache-2.0 */
/* Mutations that know JSON, for targets whose input is some, whatever bytes stand around it: bytes that change at
 * random seldom leave a text that parses, and readers stumble over values. Three of four mutations put another value in
 * a value's place, take a member away, or double it; two inputs are crossed by putting a member of the one into the
 * other. A target includes this and says which of its inputs hold JSON: fuzz_holds_json(). */
#ifndef SAH_FUZZ_JSON_MUTATE_H
#define SAH_FUZZ_JSON_MUTATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool fuzz_holds_json(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size,
                                 uint8_t *out, size_t room, unsigned seed);

enum { FUZZ_MOST_VALUES = 1024, FUZZ_DEEPEST = 64 };

/* A value's bytes; they begin at `member` with its key, if it has one. */
typedef struct fuzz_value {
    size_t member, begin, end;
} fuzz_value;

typedef struct fuzz_values {
    fuzz_value items[FUZZ_MOST_VALUES];
    size_t n;
} fuzz_values;

static bool fuzz_is_blank(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool fuzz_is_word(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '+' || c == '.';
}

static size_t fuzz_string_end(const uint8_t *data, size_t size, size_t i)
{
    for (i++; i < size && data[i] != '"'; i++)
        if (data[i] == '\\') i++;
    return i < size ? i + 1 : size;
}

/* The values in the bytes, as far as these make sense. */
static void fuzz_find_values(const uint8_t *data, size_t size, fuzz_values *out)
{
    fuzz_value open[FUZZ_DEEPEST];
    size_t depth = 0, key = SIZE_MAX;
    out->n = 0;
    for (size_t i = 0, end; i < size && out->n < FUZZ_MOST_VALUES; i = end) {
        const uint8_t c = data[i];
        const size_t member = key != SIZE_MAX ? key : i;
        end = i + 1;
        if (c == '"') {
            size_t next = end = fuzz_string_end(data, size, i);
            while (next < size && fuzz_is_blank(data[next])) next++;
            if (next < size && data[next] == ':') {
                key = i;
                end = next + 1;
                continue;
            }
            out->items[out->n++] = (fuzz_value){member, i, end};
        } else if ((c == '{' || c == '[') && depth < FUZZ_DEEPEST) {
            open[depth++] = (fuzz_value){member, i, 0};
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
            out->items[out->n++] = (fuzz_value){open[depth].member, open[depth].begin, end};
        } else if (fuzz_is_word(c)) {
            while (end < size && fuzz_is_word(data[end])) end++;
            out->items[out->n++] = (fuzz_value){member, i, end};
        }
        if (!fuzz_is_blank(c)) key = SIZE_MAX;
    }
}

/* Another number each time it is called. */
static uint64_t fuzz_draw(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

/* Puts text in the place of data[begin..end); returns the new size, or the old one where there is no room. `data` and
 * `text` may overlap. */
static size_t fuzz_replace(uint8_t *data, size_t size, size_t room, size_t begin, size_t end,
                           const void *text, size_t n)
{
    if (n > room || size - (end - begin) > room - n) return size;
    uint8_t *copy = malloc(n + 1);
    if (copy == NULL) abort();
    if (n > 0) memcpy(copy, text, n);
    memmove(data + begin + n, data + end, size - end);
    if (n > 0) memcpy(data + begin, copy, n);
    free(copy);
    return size - (end - begin) + n;
}

/* What readers stumble over. */
static const char *const fuzz_candidates[] = {"0",
                                              "1",
                                              "-1",
                                              "2",
                                              "3",
                                              "4",
                                              "5",
                                              "7",
                                              "8",
                                              "16",
                                              "64",
                                              "127",
                                              "255",
                                              "256",
                                              "65537",
                                              "16777217",
                                              "2147483647",
                                              "2147483648",
                                              "-2147483648",
                                              "4294967295",
                                              "4294967296",
                                              "9007199254740993",
                                              "9223372036854775807",
                                              "-9223372036854775808",
                                              "9223372036854775808",
                                              "0.0",
                                              "-0.0",
                                              "0.5",
                                              "1.0",
                                              "1.5",
                                              "2.0",
                                              "0.1",
                                              "1e-9",
                                              "-0.5",
                                              "1.7e308",
                                              "-1.7e308",
                                              "1e-320",
                                              "1e400",
                                              "3.4e38",
                                              "1e10",
                                              "1e19",
                                              "2147483647.5",
                                              "null",
                                              "true",
                                              "false",
                                              "\"\"",
                                              "\"0\"",
                                              "\"a\"",
                                              "[]",
                                              "{}",
                                              "[0]",
                                              "[null]",
                                              "[-1]",
                                              "[1,2,3]",
                                              "[[]]",
                                              "{\"a\":0}",
                                              "[0.5,1e300]",
                                              "\"\\u0000\"",
                                              "\"\\ud83d\\ude00\"",
                                              "\".*\""};

/* The number nearby, double, half, negative. */
static size_t fuzz_near(uint8_t *data, size_t size, size_t room, const fuzz_value *v, uint64_t how)
{
    char text[64] = "";
    const size_t n = v->end - v->begin;
    if (n >= sizeof text) return size;
    memcpy(text, data + v->begin, n);
    char *end;
    double x = strtod(text, &end);
    if (end != text + n) return size;
    switch (how % 6) {
    case 0:
        x += 1;
        break;
    case 1:
        x -= 1;
        break;
    case 2:
        x *= 2;
        break;
    case 3:
        x /= 2;
        break;
    case 4:
        x = -x;
        break;
    default:
        x *= 1e9;
    }
    snprintf(text, sizeof text, "%.17g", x);
    return fuzz_replace(data, size, room, v->begin, v->end, text, strlen(text));
}

/* Without the member and a comma beside it. */
static size_t fuzz_remove(uint8_t *data, size_t size, const fuzz_value *v)
{
    size_t begin = v->member, end = v->end;
    while (end < size && fuzz_is_blank(data[end])) end++;
    if (end < size && data[end] == ',') {
        end++;
    } else {
        while (begin > 0 && fuzz_is_blank(data[begin - 1])) begin--;
        if (begin > 0 && data[begin - 1] == ',') begin--;
    }
    return fuzz_replace(data, size, size, begin, end, NULL, 0);
}

/* With data[..] of a member and a comma in front of another. */
static size_t fuzz_insert(uint8_t *data, size_t size, size_t room, size_t at, const uint8_t *member, size_t n)
{
    const size_t with = fuzz_replace(data, size, room, at, at, member, n);
    return with == size ? size : fuzz_replace(data, with, room, at + n, at + n, ",", 1);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    static fuzz_values values;
    uint64_t state = seed;
    const uint64_t how = fuzz_draw(&state) % 16;
    values.n = 0;
    if (fuzz_holds_json(data, size)) fuzz_find_values(data, size, &values);
    if (how < 4 || values.n == 0) return LLVMFuzzerMutate(data, size, room);
    const fuzz_value *v = &values.items[fuzz_draw(&state) % values.n],
                     *other = &values.items[fuzz_draw(&state) % values.n];
    if (how < 9) {
        const char *text =
            fuzz_candidates[fuzz_draw(&state) % (sizeof fuzz_candidates / sizeof *fuzz_candidates)];
        return fuzz_replace(data, size, room, v->begin, v->end, text, strlen(text));
    }
    if (how < 11) return fuzz_near(data, size, room, v, fuzz_draw(&state));
    if (how < 13)
        return fuzz_replace(data, size, room, v->begin, v->end, data + other->begin,
                            other->end - other->begin);
    if (how < 15) return fuzz_remove(data, size, v);
    return fuzz_insert(data, size, room, v->member, data + other->member, other->end - other->member);
}

/* The value of the same key becomes the other's, or the other's member stands in front of one. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size,
                                 uint8_t *out, size_t room, unsigned seed)
{
    static fuzz_values to, from;
    uint64_t state = seed;
    if (!fuzz_holds_json(one, one_size) || !fuzz_holds_json(other, other_size))
        return 0; /* libFuzzer's own, then */
    const size_t size = one_size < room ? one_size : room;
    if (size > 0) memcpy(out, one, size);
    fuzz_find_values(out, size, &to);
    fuzz_find_values(other, other_size, &from);
    if (to.n == 0 || from.n == 0) return 0;
    const fuzz_value *v = &from.items[fuzz_draw(&state) % from.n], *at = &to.items[fuzz_draw(&state) % to.n];
    const size_t key = v->begin - v->member;
    for (size_t i = 0; i < to.n && key > 0; i++) {
        const fuzz_value *same = &to.items[i];
        if (same->begin - same->member == key && memcmp(out + same->member, other + v->member, key) == 0)
            return fuzz_replace(out, size, room, same->begin, same->end, other + v->begin, v->end - v->begin);
    }
    return fuzz_insert(out, size, room, at->member, other + v->member, v->end - v->member);
}

#endif
