/* SPDX-License-Identifier: Apache-2.0 */
/* In the layouts below a block is written as its fields in file order; `d` (scale) and `m` (offset) are
 * float16, little endian. `lo` and `hi` are the low and high four bits of a byte. Loops run over whole runs
 * of 16 or 32 values that share a scale, so that compilers turn them into vector code. */
#include "model/format/quants.h"

#include <math.h>

#include "model/format/bytes.h"
#include "model/format/small_floats.h"

enum { SUPER = 256 }; /* values in a K block */

/* d, 16 bytes: value j from lo of byte j, value j + 16 from hi. x = d (q - 8). */
void sah_dequantize_q4_0(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 18, out += 32) {
        const float d = sah_half_at(in);
        const uint8_t *q = in + 2;
        for (int j = 0; j < 16; j++) out[j] = d * (float)((q[j] & 15) - 8);
        for (int j = 0; j < 16; j++) out[j + 16] = d * (float)((q[j] >> 4) - 8);
    }
}

/* d, m, 16 bytes as in Q4_0. x = d q + m. */
void sah_dequantize_q4_1(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 20, out += 32) {
        const float d = sah_half_at(in), m = sah_half_at(in + 2);
        const uint8_t *q = in + 4;
        for (int j = 0; j < 16; j++) out[j] = d * (float)(q[j] & 15) + m;
        for (int j = 0; j < 16; j++) out[j + 16] = d * (float)(q[j] >> 4) + m;
    }
}

/* Five-bit integers: four bits as in Q4_0, the fifth of value j is bit j of `high`. */
static void five_bits(uint32_t high, const uint8_t *q, int32_t values[32])
{
    for (uint32_t j = 0; j < 16; j++) {
        values[j] = (int32_t)((q[j] & 15U) | (high >> j & 1U) << 4);
        values[j + 16] = (int32_t)((q[j] >> 4U) | (high >> (j + 16) & 1U) << 4);
    }
}

/* d, 32 high bits, 16 bytes. x = d (q - 16). */
void sah_dequantize_q5_0(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 22, out += 32) {
        const float d = sah_half_at(in);
        int32_t q[32];
        five_bits(sah_u32_at(in + 2), in + 6, q);
        for (int j = 0; j < 32; j++) out[j] = d * (float)(q[j] - 16);
    }
}

/* d, m, 32 high bits, 16 bytes. x = d q + m. */
void sah_dequantize_q5_1(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 24, out += 32) {
        const float d = sah_half_at(in), m = sah_half_at(in + 2);
        int32_t q[32];
        five_bits(sah_u32_at(in + 4), in + 8, q);
        for (int j = 0; j < 32; j++) out[j] = d * (float)q[j] + m;
    }
}

/* d, 32 signed bytes. x = d q. */
void sah_dequantize_q8_0(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 34, out += 32) {
        const float d = sah_half_at(in);
        const uint8_t *q = in + 2;
        for (int j = 0; j < 32; j++) out[j] = d * (float)(int8_t)q[j];
    }
}

/* 16 bytes (lo: scale, hi: offset of a run of 16), 64 bytes of two-bit values, d, dmin. Each half of the
 * block (128 values) has 32 bytes of values; run pair k of it takes bits 2k and 2k + 1 of each. x = d scale q
 * - dmin offset. */
void sah_dequantize_q2_k(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 84, out += SUPER) {
        const float d = sah_half_at(in + 80), dmin = sah_half_at(in + 82);
        for (int run = 0; run < 16; run++) {
            const uint8_t *q = in + 16 + run / 8 * 32 + run % 2 * 16;
            const int shift = run % 8 / 2 * 2;
            const float scale = d * (float)(in[run] & 15), offset = dmin * (float)(in[run] >> 4);
            for (int j = 0; j < 16; j++) out[run * 16 + j] = scale * (float)(q[j] >> shift & 3) - offset;
        }
    }
}

/* 32 bytes of third bits, 64 bytes of two-bit values laid out as in Q2_K, 12 bytes of scales, d. The third
 * bit of the values in run pair k of the block (k = 0..7) is bit k of its 32 bytes. Six-bit scales of 16
 * runs: four low bits in lo of bytes 0..7 and then hi of the same, two high bits in bytes 8..11. x = d (scale
 * - 32) (q - 4). */
void sah_dequantize_q3_k(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 110, out += SUPER) {
        const uint8_t *high = in, *packed = in + 96;
        const float d = sah_half_at(in + 108);
        for (int run = 0; run < 16; run++) {
            const uint8_t *q = in + 32 + run / 8 * 32 + run % 2 * 16, *h = high + run % 2 * 16;
            const int shift = run % 8 / 2 * 2, bit = run / 2;
            const int low = run < 8 ? packed[run] & 15 : packed[run - 8] >> 4;
            const int scale = (low | (packed[8 + run % 4] >> (run / 4 * 2) & 3) << 4) - 32;
            const float dl = d * (float)scale;
            for (int j = 0; j < 16; j++) {
                out[run * 16 + j] = dl * (float)(((q[j] >> shift & 3) | (h[j] >> bit & 1) << 2) - 4);
            }
        }
    }
}

/* Six-bit scales and offsets of eight runs of 32 in 12 bytes: those of runs 0..3 are the low six bits of
 * bytes 0..3 and 4..7; of runs 4..7 the low four bits are lo (scale) and hi (offset) of bytes 8..11, the high
 * two the top bits of bytes 0..7. */
static void six_bit_scales(const uint8_t *packed, int run, float *scale, float *offset)
{
    int s, o;
    if (run < 4) {
        s = packed[run] & 63;
        o = packed[run + 4] & 63;
    } else {
        s = (packed[run + 4] & 15) | packed[run - 4] >> 6 << 4;
        o = packed[run + 4] >> 4 | packed[run] >> 6 << 4;
    }
    *scale = (float)s;
    *offset = (float)o;
}

/* d, dmin, 12 bytes of scales, 128 bytes: runs 2k and 2k + 1 are lo and hi of the 32 bytes k. x = d scale q -
 * dmin offset. */
void sah_dequantize_q4_k(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 144, out += SUPER) {
        const float d = sah_half_at(in), dmin = sah_half_at(in + 2);
        for (int run = 0; run < 8; run++) {
            const uint8_t *q = in + 16 + run / 2 * 32;
            const int shift = run % 2 * 4;
            float scale, offset;
            six_bit_scales(in + 4, run, &scale, &offset);
            scale *= d;
            offset *= dmin;
            for (int j = 0; j < 32; j++) out[run * 32 + j] = scale * (float)(q[j] >> shift & 15) - offset;
        }
    }
}

/* d, dmin, 12 bytes of scales, 32 bytes of fifth bits (bit r of byte j belongs to run r), 128 bytes as in
 * Q4_K. */
void sah_dequantize_q5_k(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 176, out += SUPER) {
        const float d = sah_half_at(in), dmin = sah_half_at(in + 2);
        const uint8_t *high = in + 16;
        for (int run = 0; run < 8; run++) {
            const uint8_t *q = in + 48 + run / 2 * 32;
            const int shift = run % 2 * 4;
            float scale, offset;
            six_bit_scales(in + 4, run, &scale, &offset);
            scale *= d;
            offset *= dmin;
            for (int j = 0; j < 32; j++) {
                out[run * 32 + j] =
                    scale * (float)((q[j] >> shift & 15) | (high[j] >> run & 1) << 4) - offset;
            }
        }
    }
}

/* 128 bytes of low four bits, 64 of high two bits, 16 signed scales of runs of 16, d. In each half of the
 * block (128 values, 64 low and 32 high bytes) run pair k takes lo (k < 2) or hi of the low bytes' first (k
 * even) or second 32, and bits 2k, 2k + 1 of the high bytes. x = d scale (q - 32). */
void sah_dequantize_q6_k(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 210, out += SUPER) {
        const float d = sah_half_at(in + 208);
        for (int run = 0; run < 16; run++) {
            const int half = run / 8, pair = run % 8 / 2, part = run % 2 * 16;
            const uint8_t *low = in + half * 64 + pair % 2 * 32 + part, *high = in + 128 + half * 32 + part;
            const int shift = pair / 2 * 4, high_shift = pair * 2;
            const float scale = d * (float)(int8_t)in[192 + run];
            for (int j = 0; j < 16; j++) {
                const int q = (low[j] >> shift & 15) | (high[j] >> high_shift & 3) << 4;
                out[run * 16 + j] = scale * (float)(q - 32);
            }
        }
    }
}

/* The sixteen levels of IQ4: dense near zero, where weights are. */
static const int8_t LEVELS[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* 32 values: value j is the level that lo of byte j names, value j + 16 that of hi. */
static void sixteen_levels(const uint8_t *q, const int8_t levels[16], float scale, float *out)
{
    for (int j = 0; j < 16; j++) out[j] = scale * (float)levels[q[j] & 15];
    for (int j = 0; j < 16; j++) out[j + 16] = scale * (float)levels[q[j] >> 4];
}

/* d, 16 bytes. x = d level. */
void sah_dequantize_iq4_nl(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 18, out += 32)
        sixteen_levels(in + 2, LEVELS, sah_half_at(in), out);
}

/* d, 16 bits with two high bits of the scale of each of eight runs of 32, four bytes with their low four bits
 * (lo, then hi), 128 bytes. x = d (scale - 32) level. */
void sah_dequantize_iq4_xs(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 136, out += SUPER) {
        const float d = sah_half_at(in);
        const int high = in[2] | in[3] << 8;
        for (int run = 0; run < 8; run++) {
            const int low = in[4 + run / 2] >> (run % 2 * 4) & 15;
            const int scale = (low | (high >> (2 * run) & 3) << 4) - 32;
            sixteen_levels(in + 8 + 16 * run, LEVELS, d * (float)scale, out + 32 * run);
        }
    }
}

/* An exponent, 16 bytes of E2M1. x = 2^(exponent - 127) value. All 256 exponents are numbers to ggml. */
void sah_dequantize_mxfp4(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 17, out += 32)
        sixteen_levels(in + 1, SAH_TWICE_E2M1, ldexpf(1, in[0] - 128), out);
}

/* Digit `place` of a byte that holds, as a fraction of 256, up to five digits of base three; less one. */
static float ternary(uint8_t byte, int place)
{
    static const uint8_t POWERS[] = {1, 3, 9, 27, 81};
    const uint8_t shifted = (uint8_t)(byte * POWERS[place]);
    return (float)((shifted * 3 >> 8) - 1);
}

/* 48 bytes of five digits, 4 of four, d. The first 32 bytes hold five runs of 32 values, the next 16 five runs
 * of 16, the last 4 four runs of 4: run k is digit k of each. x = d digit. */
void sah_dequantize_tq1_0(const uint8_t *in, size_t blocks, float *out)
{
    static const struct {
        int bytes, digits;
    } PARTS[] = {{32, 5}, {16, 5}, {4, 4}};
    for (size_t b = 0; b < blocks; b++, in += 54) {
        const float d = sah_half_at(in + 52);
        const uint8_t *q = in;
        for (int part = 0; part < 3; q += PARTS[part++].bytes)
            for (int k = 0; k < PARTS[part].digits; k++)
                for (int j = 0; j < PARTS[part].bytes; j++) *out++ = d * ternary(q[j], k);
    }
}

/* 64 bytes of two-bit values, d. Each half of the block (128 values) has 32 bytes; run k of 32 takes bits 2k
 * and 2k + 1. x = d (q - 1). */
void sah_dequantize_tq2_0(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 66, out += SUPER) {
        const float d = sah_half_at(in + 64);
        for (int run = 0; run < 8; run++) {
            const uint8_t *q = in + run / 4 * 32;
            for (int j = 0; j < 32; j++) out[run * 32 + j] = d * (float)((q[j] >> (run % 4 * 2) & 3) - 1);
        }
    }
}
