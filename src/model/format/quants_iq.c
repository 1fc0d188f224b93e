/* SPDX-License-Identifier: Apache-2.0 */
/* The IQ types of one to three bits: runs of values are words of a code book, times a scale. As in quants.c a block
 * is written as its fields in file order, `d` is float16, `lo` and `hi` are the halves of a byte. All blocks have 256
 * values, in eight runs of 32. */
#include "model/format/codebooks.h"
#include "model/format/bytes.h"
#include "model/format/quants.h"

enum { RUNS = 8 };

/* Seven signs, and an eighth that makes the number of minus signs even. */
static unsigned eight_signs(unsigned seven)
{
    return seven | (unsigned)__builtin_parity(seven) << 7;
}

static float with_sign(float value, unsigned signs, int i)
{
    return (signs >> i & 1) != 0 ? -value : value;
}

/* Eight values of a word of IQ2. */
static void word_2(unsigned word, unsigned signs, float scale, float *out)
{
    static const float LEVELS[4] = {8, 25, 43};
    for (int i = 0; i < 8; i++) out[i] = with_sign(scale * LEVELS[word >> (2 * i) & 3], signs, i);
}

/* Four values of a word of IQ3; `levels` are evenly spaced but for the last of IQ3_XXS. */
static void word_3(unsigned word, const float levels[8], unsigned signs, float scale, float *out)
{
    for (int i = 0; i < 4; i++) out[i] = with_sign(scale * levels[word >> (3 * i) & 7], signs, i);
}

/* Eight values of a word of IQ1, all shifted alike. */
static void word_1(unsigned word, bool down, float scale, float *out)
{
    const float delta = down ? -0.125F : 0.125F;
    for (int i = 0; i < 8; i++) out[i] = scale * ((float)((int)(word >> (2 * i) & 3) - 1) + delta);
}

/* d, then for each run four bytes, words, and 32 bits: seven signs a word, and the scale in the top four. x = d (scale
 * + 1/2) / 4 word. */
void sah_dequantize_iq2_xxs(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 66) {
        const float d = sah_half_at(in);
        for (int run = 0; run < RUNS; run++) {
            const uint8_t *q = in + 2 + 8 * run;
            const uint32_t rest = sah_u32_at(q + 4);
            const float scale = d * (0.5F + (float)(rest >> 28)) * 0.25F;
            for (int w = 0; w < 4; w++, out += 8)
                word_2(SAH_CODES_IQ2_XXS[q[w]], eight_signs(rest >> (7 * w) & 127), scale, out);
        }
    }
}

/* d, 32 16-bit numbers (nine bits of word, seven signs), eight bytes of scales, of the first (lo) and second (hi) 16
 * values of a run. x as in IQ2_XXS. */
void sah_dequantize_iq2_xs(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 74) {
        const float d = sah_half_at(in);
        for (int w = 0; w < 32; w++, out += 8) {
            const unsigned q = sah_u16_at(in + 2 + 2 * w), nibble = in[66 + w / 4] >> (w % 4 / 2 * 4) & 15;
            word_2(SAH_CODES_IQ2_XS[q & 511], eight_signs(q >> 9), d * (0.5F + (float)nibble) * 0.25F, out);
        }
    }
}

/* d, 32 bytes of words, 32 of signs, eight with the words' two high bits, eight of scales as in IQ2_XS. */
void sah_dequantize_iq2_s(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 82) {
        const float d = sah_half_at(in);
        for (int w = 0; w < 32; w++, out += 8) {
            const unsigned high = in[66 + w / 4] >> (w % 4 * 2) & 3,
                           nibble = in[74 + w / 4] >> (w % 4 / 2 * 4) & 15;
            word_2(SAH_CODES_IQ2_S[in[2 + w] | high << 8], in[34 + w], d * (0.5F + (float)nibble) * 0.25F,
                   out);
        }
    }
}

/* d, 64 bytes of words, then 32 bits for each run as in IQ2_XXS, seven signs for two words. x = d (scale + 1/2) / 2
 * word. */
void sah_dequantize_iq3_xxs(const uint8_t *in, size_t blocks, float *out)
{
    static const float LEVELS[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    for (size_t b = 0; b < blocks; b++, in += 98) {
        const float d = sah_half_at(in);
        for (int run = 0; run < RUNS; run++) {
            const uint32_t rest = sah_u32_at(in + 66 + 4 * run);
            const float scale = d * (0.5F + (float)(rest >> 28)) * 0.5F;
            for (int w = 0; w < 8; w++, out += 4) {
                const unsigned signs = eight_signs(rest >> (w / 2 * 7) & 127) >> (w % 2 * 4);
                word_3(SAH_CODES_IQ3_XXS[in[2 + 8 * run + w]], LEVELS, signs, scale, out);
            }
        }
    }
}

/* d, 64 bytes of words, eight with the words' ninth bits, 32 of signs, four of scales, of even (lo) and odd (hi) runs.
 * x = d (2 scale + 1) word. */
void sah_dequantize_iq3_s(const uint8_t *in, size_t blocks, float *out)
{
    static const float LEVELS[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    for (size_t b = 0; b < blocks; b++, in += 110) {
        const float d = sah_half_at(in);
        for (int w = 0; w < 64; w++, out += 4) {
            const int run = w / 8;
            const unsigned high = in[66 + run] >> (w % 8) & 1,
                           nibble = in[106 + run / 2] >> (run % 2 * 4) & 15;
            const unsigned signs = (unsigned)in[74 + w / 2] >> (w % 2 * 4);
            word_3(SAH_CODES_IQ3_S[in[2 + w] | high << 8], LEVELS, signs, d * (float)(1 + 2 * nibble), out);
        }
    }
}

/* d, 32 bytes of words, 16 bits for each run: three high bits of each word, the scale, and whether the run is shifted
 * down. x = d (2 scale + 1) (word ± 1/8). */
void sah_dequantize_iq1_s(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 50) {
        const float d = sah_half_at(in);
        for (int w = 0; w < 32; w++, out += 8) {
            const unsigned rest = sah_u16_at(in + 34 + w / 4 * 2), high = rest >> (w % 4 * 3) & 7;
            const float scale = d * (float)(2 * (rest >> 12 & 7) + 1);
            word_1(SAH_CODES_IQ1[in[2 + w] | high << 8], rest >> 15 != 0, scale, out);
        }
    }
}

/* 32 bytes of words, 16 with (lo, hi) three high bits of a word and its shift, four times 16 bits: three-bit scales of
 * four half runs, and a quarter of d in the top. */
void sah_dequantize_iq1_m(const uint8_t *in, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, in += 56) {
        unsigned bits = 0;
        for (int i = 0; i < 4; i++) bits |= ((unsigned)sah_u16_at(in + 48 + 2 * i) >> 12) << (4 * i);
        const float d = sah_f16_to_f32((uint16_t)bits);
        for (int w = 0; w < 32; w++, out += 8) {
            const unsigned rest = (unsigned)in[32 + w / 2] >> (w % 2 * 4);
            const unsigned s = sah_u16_at(in + 48 + w / 8 * 2) >> (w % 8 / 2 * 3) & 7;
            word_1(SAH_CODES_IQ1[in[w] | (rest & 7) << 8], (rest & 8) != 0, d * (float)(2 * s + 1), out);
        }
    }
}
