/* SPDX-License-Identifier: Apache-2.0 */
/* The bfloat16 tiles of Intel AMX on processors without them: included before the sources of engine/cpu/ that ask
 * for tiles (Makefile, build/tests/tiles/), so that the same code runs on eight tiles of each thread's. What a product
 * adds up in which order is the processor's (Intel SDM, TDPBF16PS), subnormals too; what a tile was not configured for
 * stops the program. Needs AVX-512, as the code around the tiles does; without that there are no tiles. */
#ifndef TESTS_ENGINE_EMULATED_TILES_H
#define TESTS_ENGINE_EMULATED_TILES_H

#include <immintrin.h>
#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EMULATED __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq"), unused)) static

typedef struct emulated_tile {
    int rows, row_bytes; /* 0: not configured */
    _Alignas(64) unsigned char bytes[16][64];
} emulated_tile;

static __thread emulated_tile emulated_tiles[8];

static inline void emulated_need(int good)
{
    if (!good) abort();
}

EMULATED void emulated_loadconfig(const void *config)
{
    const unsigned char *bytes = config;
    emulated_need(bytes[0] == 1 && bytes[1] == 0);
    memset(emulated_tiles, 0, sizeof emulated_tiles);
    for (int i = 0; i < 8; i++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof row_bytes);
        emulated_tiles[i].rows = bytes[48 + i];
        emulated_tiles[i].row_bytes = row_bytes;
        emulated_need(emulated_tiles[i].rows <= 16 && row_bytes <= 64);
    }
}

EMULATED void emulated_release(void)
{
    memset(emulated_tiles, 0, sizeof emulated_tiles);
}

EMULATED void emulated_zero(int tile)
{
    emulated_need(emulated_tiles[tile].rows > 0);
    memset(emulated_tiles[tile].bytes, 0, sizeof emulated_tiles[tile].bytes);
}

EMULATED void emulated_load(int tile, const void *base, size_t stride)
{
    emulated_tile *t = &emulated_tiles[tile];
    emulated_need(t->rows > 0);
    for (int r = 0; r < t->rows; r++)
        memcpy(t->bytes[r], (const unsigned char *)base + (size_t)r * stride, (size_t)t->row_bytes);
}

EMULATED void emulated_store(int tile, void *base, size_t stride)
{
    const emulated_tile *t = &emulated_tiles[tile];
    emulated_need(t->rows > 0);
    for (int r = 0; r < t->rows; r++)
        memcpy((unsigned char *)base + (size_t)r * stride, t->bytes[r], (size_t)t->row_bytes);
}

/* 16 float32 whose subnormals are 0. */
EMULATED inline __m512 emulated_flush(__m512 x)
{
    const __mmask16 tiny = _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(0x1p-126f), _CMP_LT_OQ);
    return _mm512_mask_blend_ps(tiny, x, _mm512_setzero_ps());
}

EMULATED inline __m512 emulated_add(__m512 sum, __m512 a, __m512 b)
{
    return emulated_flush(_mm512_fmadd_ps(emulated_flush(a), emulated_flush(b), sum));
}

/* sums [rows, 16] += a [rows, 32] b, as pairs of inputs: even and odd ones apart, then both. */
EMULATED void emulated_product(int sums, int a, int b)
{
    emulated_tile *s = &emulated_tiles[sums];
    const emulated_tile *x = &emulated_tiles[a], *w = &emulated_tiles[b];
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    emulated_need(s->rows > 0 && s->rows == x->rows && s->row_bytes == 64 && w->row_bytes == 64 &&
                  x->row_bytes == 4 * w->rows);
    for (int r = 0; r < s->rows; r++) {
        __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
        for (int k = 0; k < w->rows; k++) {
            const __m512i pair = _mm512_load_si512(w->bytes[k]);
            uint32_t own;
            memcpy(&own, x->bytes[r] + 4 * k, sizeof own);
            even = emulated_add(even, _mm512_castsi512_ps(_mm512_set1_epi32((int)(own << 16))),
                                _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)));
            odd = emulated_add(odd, _mm512_castsi512_ps(_mm512_set1_epi32((int)(own & 0xffff0000u))),
                               _mm512_castsi512_ps(_mm512_and_si512(pair, upper)));
        }
        const __m512 both = emulated_flush(_mm512_add_ps(even, odd));
        const __m512 before = _mm512_load_ps(s->bytes[r]);
        _mm512_store_ps(s->bytes[r], emulated_flush(_mm512_add_ps(before, both)));
    }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig                 emulated_loadconfig
#define _tile_release                    emulated_release
#define _tile_zero                       emulated_zero
#define _tile_loadd                      emulated_load
#define _tile_stored(tile, base, stride) emulated_store(tile, base, stride)
#define _tile_dpbf16ps                   emulated_product

static inline int emulated_usable(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

/* The system lets this process use the tiles, and the processor has them. */
#undef syscall
#define syscall(...) (emulated_usable() ? 0L : -1L)

static inline dnnl_cpu_isa_t emulated_isa(void)
{
    const dnnl_cpu_isa_t own = dnnl_get_effective_cpu_isa();
    return emulated_usable() ? (dnnl_cpu_isa_t)(own | dnnl_cpu_isa_avx512_core_amx) : own;
}
#define dnnl_get_effective_cpu_isa emulated_isa

#endif
