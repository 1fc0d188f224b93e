/* SPDX-License-Identifier: Apache-2.0 */
/* Mutations that know GGUF: a number that readers stumble over in the place of a count, a length, a size, a type, an
 * offset or a value. */
#ifndef SAH_FUZZ_GGUF_MUTATE_H
#define SAH_FUZZ_GGUF_MUTATE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "model/format/gguf.h"

enum { MOST_FIELDS = 2048 };

typedef struct field {
    size_t at;
    int bytes; /* 4 or 8 */
    bool real;
} field;

/* A walk over a file's head, as far as it makes sense. */
typedef struct walk {
    const uint8_t *data;
    size_t size, at;
    field fields[MOST_FIELDS];
    size_t n;
} walk;

/* The number at the walk's place, noted; it ends where the bytes do. */
static uint64_t number(walk *w, int bytes)
{
    uint64_t value = 0;
    if (w->size - w->at < (size_t)bytes) {
        w->at = w->size;
        return 0;
    }
    memcpy(&value, w->data + w->at, (size_t)bytes);
    if (w->n < MOST_FIELDS) w->fields[w->n++] = (field){w->at, bytes, false};
    w->at += (size_t)bytes;
    return value;
}

static void skip(walk *w, uint64_t n)
{
    w->at = n > w->size - w->at ? w->size : w->at + (size_t)n;
}

/* Bytes of a value by its type; 0: strings and arrays. */
static const int sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static void value(walk *w, uint64_t type)
{
    if (type == SAH_GGUF_STRING) {
        skip(w, number(w, 8));
    } else if (type == SAH_GGUF_ARRAY) {
        const uint64_t item = number(w, 4), n = number(w, 8);
        if (item == SAH_GGUF_STRING) {
            for (uint64_t i = 0; i < n && w->at < w->size; i++) skip(w, number(w, 8));
        } else if (item <= SAH_GGUF_F64 && n < w->size) {
            skip(w, n * (uint64_t)sizes[item]);
        } else {
            w->at = w->size;
        }
    } else if (type <= SAH_GGUF_F64 && sizes[type] >= 4) {
        const size_t n = w->n;
        number(w, sizes[type]);
        if (w->n > n) w->fields[n].real = type == SAH_GGUF_F32 || type == SAH_GGUF_F64;
    } else {
        skip(w, type <= SAH_GGUF_F64 ? (uint64_t)sizes[type] : w->size);
    }
}

static void walk_head(walk *w)
{
    skip(w, 4);
    number(w, 4);
    const uint64_t n_tensors = number(w, 8), n_values = number(w, 8);
    for (uint64_t i = 0; i < n_values && w->at < w->size; i++) {
        skip(w, number(w, 8));
        value(w, number(w, 4));
    }
    for (uint64_t i = 0; i < n_tensors && w->at < w->size; i++) {
        skip(w, number(w, 8));
        const uint64_t n_dims = number(w, 4);
        for (uint64_t d = 0; d < n_dims && d < 8; d++) number(w, 8);
        number(w, 4);
        number(w, 8);
    }
}

static uint64_t another(uint64_t old, unsigned choice, size_t size)
{
    const uint64_t candidates[] = {0,          1,          2,         31,         32,         size,
                                   size - 1,   1U << 16,   INT32_MAX, 1U << 31,   UINT32_MAX, 1ULL << 32,
                                   1ULL << 61, 1ULL << 62, INT64_MAX, 1ULL << 63, UINT64_MAX, UINT64_MAX - 31,
                                   39,         8};
    const unsigned n = sizeof candidates / sizeof *candidates;
    switch (choice % (n + 6)) {
    case 0:
        return old + 1;
    case 1:
        return old - 1;
    case 2:
        return old * 2;
    case 3:
        return old + 32;
    case 4: /* as many bytes as before, where the product with 4 or 8 is not checked */
        return old + (1ULL << 62);
    case 5:
        return old + (1ULL << 61);
    default:
        return candidates[choice % (n + 6) - 6];
    }
}

static double another_real(double old, unsigned choice)
{
    static const double candidates[] = {
        0, -0.0, 1, -1, 0.5, 1e-9, 1e-40, 1e30, -1e30, 2147483648.0, (double)INFINITY, (double)NAN};
    const unsigned n = sizeof candidates / sizeof *candidates;
    return choice % (n + 2) < 2 ? (choice % (n + 2) == 0 ? old * 2 : old / 2)
                                : candidates[choice % (n + 2) - 2];
}

/* Changes a number of the head that begins at data[begin]. False: there is none. */
static bool mutate_head(uint8_t *data, size_t size, size_t begin, unsigned seed)
{
    static walk w;
    w = (walk){.data = data, .size = size, .at = begin};
    walk_head(&w);
    if (w.n == 0) return false;
    const field f = w.fields[(seed >> 4) % w.n];
    uint64_t bits = 0;
    float single;
    double real;
    memcpy(&bits, data + f.at, (size_t)f.bytes);
    if (!f.real) {
        bits = another(bits, seed >> 16, size);
    } else if (f.bytes == 4) {
        memcpy(&single, &bits, sizeof single);
        single = (float)another_real((double)single, seed >> 16);
        memcpy(&bits, &single, sizeof single);
    } else {
        memcpy(&real, &bits, sizeof real);
        real = another_real(real, seed >> 16);
        memcpy(&bits, &real, sizeof real);
    }
    memcpy(data + f.at, &bits, (size_t)f.bytes);
    return true;
}

#endif
