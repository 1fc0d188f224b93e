/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cpu/tiles.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/elementwise.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/simd.h"

/* A tile is 16 rows of 64 bytes. Sums: [rows of X, 16 outputs] in float32. X: [rows, 32 inputs] in bfloat16.
 * W: [16, 16 outputs, 2 inputs], a row for two inputs, which the product adds up.
 *
 * Work goes by panels of 32 outputs and pairs of tiles of X: four tiles of sums, two of X, two of W. A step
 * is 32 inputs. W lies as [panel][step][its tiles, the rest before the first piece], X as
 * [pair][step][piece][2]. All rows of X are dealt out to their tiles evenly: time goes by rows, also by those
 * of a tile in part. */
enum {
    TILE_ROWS = 16,
    TILE_INPUTS = 32,
    TILE = TILE_ROWS * TILE_INPUTS,
    PANEL = 2 * TILE_ROWS,
    X_PIECES = 3
};

/* Steps at once: X and two panels of W stay in a second-level cache. */
enum { STEPS = 32 };

struct sah_tiles {
    int64_t outputs, inputs;
    int64_t panels, steps;
    int64_t n_pieces; /* 1 or 2 */
    bool gated;
    uint16_t *packed; /* [panels, steps, n_pieces, 2, TILE] */
    size_t bytes;
    bool finite;
    float *norms; /* [panels, 2] the largest norm of a panel's rows, and of their second pieces */
};

static int64_t divide_up(int64_t n, int64_t by)
{
    return (n + by - 1) / by;
}

/* ---- Pieces -------------------------------------------------------------------------------------------- */

/* The first piece of x, halves rounded away from zero; what is left of x in *rest. */
SAH_INLINE uint16_t piece(float x, float *rest)
{
    uint32_t bits;
    float value;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x8000u) & 0xffff0000u;
    memcpy(&value, &bits, sizeof value);
    *rest = x - value;
    return (uint16_t)(bits >> 16);
}

static int64_t pairs_of(int64_t rows)
{
    return divide_up(rows, PANEL);
}

size_t sah_tiles_input_floats(int64_t inputs, int64_t rows)
{
    return (size_t)(pairs_of(rows) * divide_up(inputs, TILE_INPUTS) * X_PIECES * 2 * TILE) / 2;
}

/* ---- Weights ------------------------------------------------------------------------------------------- */

/* Whether every value is a bfloat16. */
static bool are_bf16(const float *values, int64_t outputs, int64_t inputs, int64_t stride)
{
    uint32_t low = 0;
#pragma omp parallel for reduction(| : low)
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t i = 0; i < inputs; i++) {
            uint32_t bits;
            memcpy(&bits, &values[o * stride + i], sizeof bits);
            low |= bits & 0xffffu;
        }
    return low == 0;
}

/* Rounded up; a NaN stays. */
static void raise_norm(float *norm, double square)
{
    float here = (float)(sqrt(square) * (1.0 + 0x1p-20));
    if (!isnan(*norm) && !(here <= *norm)) *norm = here;
}

/* The matrix's row that is a panel's output n. Gated: gates in the first half, what they gate in the second.
 */
static int64_t row_of(const sah_tiles *w, int64_t panel, int64_t n)
{
    if (!w->gated) return panel * PANEL + n;
    return n / TILE_ROWS * (w->outputs / 2) + panel * TILE_ROWS + n % TILE_ROWS;
}

static void pack_panel(const sah_tiles *w, const float *values, int64_t stride, int64_t panel)
{
    int64_t step_size = w->n_pieces * 2 * TILE;
    uint16_t *out = w->packed + panel * w->steps * step_size;
    for (int64_t n = 0; n < PANEL && panel * PANEL + n < w->outputs; n++) {
        const float *row = values + row_of(w, panel, n) * stride;
        uint16_t *column = out + n / TILE_ROWS * TILE + n % TILE_ROWS * 2;
        double square = 0.0, second = 0.0;
        for (int64_t i = 0; i < w->inputs; i++) {
            int64_t at = i / TILE_INPUTS * step_size + i % TILE_INPUTS / 2 * TILE_INPUTS + i % 2;
            float rest;
            column[at + (w->n_pieces - 1) * 2 * TILE] = piece(row[i], &rest);
            square += (double)row[i] * (double)row[i];
            second += (double)rest * (double)rest;
            if (w->n_pieces == 2) column[at] = piece(rest, &rest);
        }
        raise_norm(&w->norms[2 * panel], square);
        raise_norm(&w->norms[2 * panel + 1], second);
    }
}

sah_status sah_tiles_new(int64_t outputs, int64_t inputs, const float *values, int64_t stride, bool gated,
                         sah_tiles **out, sah_error *error)
{
    sah_tiles *w = sah_alloc(1, sizeof *w);
    *out = NULL;
    if (w == NULL) return sah_fail_memory(error, "weights");
    w->outputs = outputs;
    w->inputs = inputs;
    w->gated = gated;
    w->panels = divide_up(outputs, PANEL);
    w->steps = divide_up(inputs, TILE_INPUTS);
    w->n_pieces = are_bf16(values, outputs, inputs, stride) ? 1 : 2;
    if (sah_mul((size_t)w->panels, (size_t)w->steps, &w->bytes) &&
        sah_mul(w->bytes, (size_t)w->n_pieces * 2 * TILE * sizeof *w->packed, &w->bytes))
        w->packed = sah_alloc_aligned(w->bytes, 1);
    w->norms = sah_alloc((size_t)w->panels, 2 * sizeof *w->norms);
    if (w->packed == NULL || w->norms == NULL) {
        sah_tiles_free(w);
        return sah_fail_memory(error, "weights");
    }
    if (outputs % PANEL != 0 || inputs % TILE_INPUTS != 0) memset(w->packed, 0, w->bytes);
#pragma omp parallel for
    for (int64_t p = 0; p < w->panels; p++) pack_panel(w, values, stride, p);
    w->finite = true;
    for (int64_t i = 0; i < 2 * w->panels; i++) w->finite = w->finite && isfinite(w->norms[i]);
    *out = w;
    return SAH_OK;
}

void sah_tiles_free(sah_tiles *tiles)
{
    if (tiles == NULL) return;
    free(tiles->packed);
    free(tiles->norms);
    free(tiles);
}

size_t sah_tiles_bytes(const sah_tiles *tiles)
{
    return tiles->bytes;
}

size_t sah_tiles_top_floats(const sah_tiles *tiles, int64_t rows)
{
    return (size_t)(rows * tiles->panels);
}

/* ---- Products ------------------------------------------------------------------------------------------ */

#if defined(__x86_64__) && defined(__linux__)

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ON_TILES        __attribute__((target("amx-tile,amx-bf16,avx512f,avx512vl,avx512bw,avx512dq")))
#define ON_TILES_INLINE ON_TILES static inline __attribute__((always_inline))

bool sah_tiles_usable(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* Rows of X in a tile. */
static int64_t tile_rows(int64_t rows)
{
    return divide_up(rows, 2 * pairs_of(rows));
}

/* The processor's own record of what its eight tiles are (Intel SDM, LDTILECFG). */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

/* piece() of 16 numbers, in the upper halves. */
ON_TILES_INLINE __m512i upper_half(__m512 x)
{
    const __m512i half = _mm512_set1_epi32(0x8000), top = _mm512_set1_epi32((int)0xffff0000);
    return _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), top);
}

/* The next pieces of 32 numbers to out; what is left stays in low and high. */
ON_TILES_INLINE void next_pieces(__m512 *low, __m512 *high, uint16_t *out)
{
    static const uint16_t upper[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                       33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
    __m512i a = upper_half(*low), b = upper_half(*high);
    _mm512_storeu_si512(out, _mm512_permutex2var_epi16(a, _mm512_loadu_si512(upper), b));
    *low = _mm512_sub_ps(*low, _mm512_castsi512_ps(a));
    *high = _mm512_sub_ps(*high, _mm512_castsi512_ps(b));
}

/* One row of X to its row of every step's tiles; with `inputs` 0 that becomes zeros. */
ON_TILES static void row_pieces(const float *x, int64_t inputs, int64_t steps, uint16_t *out)
{
    for (int64_t s = 0; s < steps; s++, out += X_PIECES * 2 * TILE) {
        int64_t left = inputs - s * TILE_INPUTS;
        uint32_t there = left >= TILE_INPUTS ? UINT32_MAX : left > 0 ? (1u << left) - 1 : 0;
        __m512 low = _mm512_maskz_loadu_ps((__mmask16)there, x + s * TILE_INPUTS);
        __m512 high = _mm512_maskz_loadu_ps((__mmask16)(there >> 16), x + s * TILE_INPUTS + 16);
        for (int i = 0; i < X_PIECES; i++) next_pieces(&low, &high, out + i * 2 * TILE);
    }
}

void sah_tiles_input(const float *x, int64_t inputs, int64_t rows, int threads, void *pieces)
{
    int64_t steps = divide_up(inputs, TILE_INPUTS), each = tile_rows(rows),
            places = 2 * pairs_of(rows) * each;
    uint16_t *out = pieces;
#pragma omp parallel for if (threads > 1 && rows > 8) num_threads(threads)
    for (int64_t r = 0; r < places; r++) {
        int64_t tile = r / each;
        uint16_t *at = out + (tile / 2 * steps * X_PIECES * 2 + tile % 2) * TILE + r % each * TILE_INPUTS;
        row_pieces(x + (r < rows ? r : 0) * inputs, r < rows ? inputs : 0, steps, at);
    }
}

/* Tiles 0 to 3: sums [first and second tile of X][first and second half of the panel]; 4 and 5: X; 6, 7: W.
 */
ON_TILES static void configure(int64_t rows)
{
    tile_config config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = TILE_INPUTS * sizeof(uint16_t);
        config.rows[i] = (uint8_t)(i < 6 ? rows : TILE_ROWS);
    }
    __asm__ volatile("" ::"r"(&config) : "memory"); /* gcc believes that only 8 bytes of it are read */
    _tile_loadconfig(&config);
}

/* What a panel asks the memory for while it runs, `lines` of 64 bytes a step, a few at a time: all at once
 * would keep its own loads from the cache waiting. */
typedef struct ahead {
    const char *next;
    int64_t lines, each;
} ahead;

ON_TILES_INLINE void ask(ahead *a)
{
    int64_t n = a->lines < a->each ? a->lines : a->each;
    for (int64_t i = 0; i < n; i++) __builtin_prefetch(a->next + i * 64, 0, 2);
    a->next += n * 64;
    a->lines -= n;
}

ON_TILES_INLINE void add_products(ahead *a)
{
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(2, 5, 6);
    ask(a);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
    ask(a);
}

ON_TILES_INLINE void load_x(const uint16_t *x, int piece)
{
    _tile_loadd(4, x + piece * 2 * TILE, TILE_INPUTS * sizeof *x);
    _tile_loadd(5, x + piece * 2 * TILE + TILE, TILE_INPUTS * sizeof *x);
}

ON_TILES_INLINE void load_w(const uint16_t *w)
{
    _tile_loadd(6, w, TILE_INPUTS * sizeof *w);
    _tile_loadd(7, w + TILE, TILE_INPUTS * sizeof *w);
}

/* sums [2 tiles' rows, PANEL]. */
ON_TILES_INLINE void store_sums(int64_t rows, float *sums)
{
    _tile_stored(0, sums, PANEL * sizeof *sums);
    _tile_stored(1, sums + TILE_ROWS, PANEL * sizeof *sums);
    _tile_stored(2, sums + rows * PANEL, PANEL * sizeof *sums);
    _tile_stored(3, sums + rows * PANEL + TILE_ROWS, PANEL * sizeof *sums);
}

/* 32 inputs; small products first. */
ON_TILES_INLINE void add_step(const uint16_t *x, const uint16_t *w, int64_t n_pieces, ahead *a)
{
    load_x(x, 0);
    if (n_pieces == 2) {
        load_w(w);
        add_products(a);
        load_w(w + 2 * TILE);
    } else {
        load_w(w);
    }
    add_products(a);
    load_x(x, 2);
    add_products(a);
    load_x(x, 1);
    add_products(a);
    if (n_pieces == 2) {
        load_w(w);
        add_products(a);
    }
}

/* sums [2 tiles of X, 32 outputs] of n steps. */
ON_TILES_INLINE void add_steps(const uint16_t *x, const uint16_t *w, int64_t n, int64_t n_pieces, ahead a)
{
    int64_t lines = a.lines, step_lines = n_pieces * 2 * TILE / 32;
    const char *next = a.next;
    for (int64_t s = 0; s < n; s++, x += X_PIECES * 2 * TILE, w += n_pieces * 2 * TILE) {
        a.next = next + s * step_lines * 64;
        a.lines = lines;
        add_step(x, w, n_pieces, &a);
    }
}

/* What the threads share of a product. */
typedef struct task {
    const sah_tiles *w;
    int64_t rows, from, n; /* steps [from, from + n) */
    const uint16_t *x;
    float *y;
    bool add;
    uint16_t *inner; /* of a gated matrix */
    const float *gate_bias, *up_bias;
} task;

/* y's part [the pair's rows, the panel's outputs] = or += sums [2 tiles' rows, PANEL]. */
ON_TILES static void store(const task *t, int64_t row, int64_t n_rows, int64_t output, const float *sums)
{
    int64_t width = t->w->outputs, n = width - output < PANEL ? width - output : PANEL;
    for (int64_t r = 0; r < n_rows; r++, sums += PANEL) {
        float *y = t->y + (row + r) * width + output;
        if (!t->add)
            memcpy(y, sums, (size_t)n * sizeof *y);
        else
            for (int64_t j = 0; j < n; j++) y[j] += sums[j];
    }
}

/* The same of a gated panel: its gates [2 tiles' rows, 16], then what they gate. */
ON_TILES_INLINE void store_halves(int64_t rows, float *sums)
{
    float *up = sums + 2 * rows * TILE_ROWS;
    _tile_stored(0, sums, TILE_ROWS * sizeof *sums);
    _tile_stored(1, up, TILE_ROWS * sizeof *sums);
    _tile_stored(2, sums + rows * TILE_ROWS, TILE_ROWS * sizeof *sums);
    _tile_stored(3, up + rows * TILE_ROWS, TILE_ROWS * sizeof *sums);
}

/* The pieces of silu(gate) * up of a pair's rows, in half a step of `inner`. */
ON_TILES static void activate(const task *t, int64_t pair, int64_t each, int64_t panel, float *sums)
{
    int64_t rows = 2 * each, n = rows * TILE_ROWS, steps = t->w->panels / 2;
    float *gate = sums, *up = sums + n;
    for (int64_t r = 0; r < rows && t->gate_bias != NULL; r++) {
        sah_vector_add(t->gate_bias + panel * TILE_ROWS, TILE_ROWS, gate + r * TILE_ROWS);
        sah_vector_add(t->up_bias + panel * TILE_ROWS, TILE_ROWS, up + r * TILE_ROWS);
    }
    sah_silu_multiply(gate, up, (int)n, gate);
    uint16_t *out = t->inner + (pair * steps + panel / 2) * X_PIECES * 2 * TILE + panel % 2 * TILE_ROWS;
    for (int64_t r = 0; r < rows; r++) {
        uint16_t *at = out + r / each * TILE + r % each * TILE_INPUTS;
        __m512 rest = _mm512_load_ps(gate + r * TILE_ROWS);
        for (int i = 0; i < X_PIECES; i++) {
            __m512i bits = upper_half(rest);
            _mm256_storeu_si256((__m256i *)(void *)(at + i * 2 * TILE),
                                _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
            rest = _mm512_sub_ps(rest, _mm512_castsi512_ps(bits));
        }
    }
}

/* How far the next panel is: 1, or 0 where there is none. */
static int64_t next_panel(const sah_tiles *w, int64_t panel)
{
    return panel + 1 < w->panels;
}

ON_TILES static void multiply_panel(const task *t, int64_t panel)
{
    _Alignas(64) float sums[2 * TILE_ROWS * PANEL];
    const sah_tiles *w = t->w;
    int64_t each = tile_rows(t->rows), pairs = pairs_of(t->rows), step_size = w->n_pieces * 2 * TILE;
    const uint16_t *weights = w->packed + (panel * w->steps + t->from) * step_size;
    int64_t next = next_panel(w, panel) * w->steps * step_size, step_lines = step_size / 32;
    int64_t lines = next ? divide_up(step_lines, pairs) : 0, products = w->n_pieces == 2 ? 5 : 3;
    for (int64_t p = 0; p < pairs; p++) {
        const uint16_t *x = t->x + (p * w->steps + t->from) * X_PIECES * 2 * TILE;
        int64_t left = step_lines - p * lines, own = left < 0 ? 0 : left < lines ? left : lines;
        ahead a = {(const char *)(weights + next) + p * lines * 64, own, divide_up(lines, 2 * products)};
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        if (w->n_pieces == 2)
            add_steps(x, weights, t->n, 2, a);
        else
            add_steps(x, weights, t->n, 1, a);
        if (w->gated) {
            store_halves(each, sums);
            activate(t, p, each, panel, sums);
            continue;
        }
        store_sums(each, sums);
        int64_t row = 2 * p * each, n = t->rows - row < 2 * each ? t->rows - row : 2 * each;
        store(t, row, n, panel * PANEL, sums);
    }
}

/* The thread's share of the panels: neighbours, so that what is asked for ahead is its own. */
ON_TILES static void multiply_share(const task *t, int64_t thread, int64_t threads)
{
    configure(tile_rows(t->rows));
    for (int64_t p = t->w->panels * thread / threads; p < t->w->panels * (thread + 1) / threads; p++)
        multiply_panel(t, p);
    _tile_release();
}

void sah_tiles_multiply(const sah_tiles *tiles, int64_t rows, const void *pieces, float *y, bool add,
                        int threads)
{
    for (int64_t from = 0; from < tiles->steps; from += STEPS) {
        int64_t n = tiles->steps - from < STEPS ? tiles->steps - from : STEPS;
        task t = {
            .w = tiles, .rows = rows, .from = from, .n = n, .x = pieces, .y = y, .add = add || from > 0};
#pragma omp parallel num_threads(threads) if (threads > 1)
        multiply_share(&t, omp_get_thread_num(), omp_get_num_threads());
    }
}

void sah_tiles_gate(const sah_tiles *tiles, int64_t rows, const void *pieces, const float *gate_bias,
                    const float *up_bias, int threads, void *inner)
{
    task t = {.w = tiles, .rows = rows, .n = tiles->steps, .x = pieces, .inner = inner};
    t.gate_bias = gate_bias;
    t.up_bias = up_bias;
#pragma omp parallel num_threads(threads) if (threads > 1)
    multiply_share(&t, omp_get_thread_num(), omp_get_num_threads());
}

/* ---- The largest product of a row ---------------------------------------------------------------------- */

/* The largest of n <= PANEL sums. */
ON_TILES_INLINE float largest(const float *sums, __mmask16 left, __mmask16 right)
{
    __m512 low = _mm512_set1_ps(-INFINITY);
    __m512 a = _mm512_mask_load_ps(low, left, sums), b = _mm512_mask_load_ps(low, right, sums + TILE_ROWS);
    return _mm512_reduce_max_ps(_mm512_max_ps(a, b));
}

/* most[row * panels + panel] = the largest of the panel's sums over first pieces alone. */
ON_TILES static void panel_top(const sah_tiles *w, int64_t rows, const uint16_t *pieces, int64_t panel,
                               float *most)
{
    _Alignas(64) float sums[2 * TILE_ROWS * PANEL];
    int64_t each = tile_rows(rows), pairs = pairs_of(rows), step_size = w->n_pieces * 2 * TILE;
    int64_t there = w->outputs - panel * PANEL;
    uint32_t outputs = there < PANEL ? (1u << there) - 1 : UINT32_MAX;
    const uint16_t *first = w->packed + panel * w->steps * step_size + (w->n_pieces - 1) * 2 * TILE;
    int64_t next = next_panel(w, panel) * w->steps * step_size;
    int64_t lines = next ? divide_up(2 * TILE / 32, pairs) : 0;
    for (int64_t p = 0; p < pairs; p++) {
        const uint16_t *x = pieces + p * w->steps * X_PIECES * 2 * TILE, *weights = first;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t s = 0; s < w->steps; s++, x += X_PIECES * 2 * TILE, weights += step_size) {
            ahead a = {(const char *)(weights + next) + p * lines * 64, lines, divide_up(lines, 2)};
            load_x(x, 0);
            load_w(weights);
            add_products(&a);
        }
        store_sums(each, sums);
        for (int64_t r = 0; r < 2 * each && 2 * p * each + r < rows; r++)
            most[(2 * p * each + r) * w->panels + panel] =
                largest(sums + r * PANEL, (__mmask16)outputs, (__mmask16)(outputs >> TILE_ROWS));
    }
}

/* The panel's largest product with x, in float64 over all pieces: raises *top and *token where it is above.
 */
SAH_SIMD static void exact_top(const sah_tiles *w, const float *x, int64_t panel, double *top, int32_t *token)
{
    double sums[PANEL] = {0.0};
    const uint16_t *tile = w->packed + panel * w->steps * w->n_pieces * 2 * TILE;
    for (int64_t s = 0; s < w->steps; s++)
        for (int64_t part = 0; part < w->n_pieces * 2; part++, tile += TILE)
            for (int64_t i = 0; i < TILE_INPUTS && s * TILE_INPUTS + i < w->inputs; i++) {
                double input = (double)x[s * TILE_INPUTS + i];
                for (int64_t n = 0; n < TILE_ROWS; n++) {
                    uint32_t bits = (uint32_t)tile[i / 2 * TILE_INPUTS + 2 * n + i % 2] << 16;
                    float weight;
                    memcpy(&weight, &bits, sizeof weight);
                    sums[part % 2 * TILE_ROWS + n] += input * (double)weight;
                }
            }
    for (int64_t n = 0; n < PANEL && panel * PANEL + n < w->outputs; n++) {
        if (*token >= 0 && !(sums[n] > *top)) continue;
        *top = sums[n];
        *token = (int32_t)(panel * PANEL + n);
    }
}

/* How far a product of first pieces can be from the product: Cauchy and Schwarz on what each side lacks, and
 * what sums of float32 may lose. A hundredth more, since pieces are rounded and the norms are of what is. */
static double error_bound(const sah_tiles *w, int64_t panel, double norm, double lacking)
{
    double rounding = (double)w->inputs * 0x1p-23;
    double second = (double)w->norms[2 * panel + 1], whole = (double)w->norms[2 * panel];
    return 1.01 * (norm * second + (lacking + rounding * norm) * whole);
}

static int32_t row_top(const sah_tiles *w, const float *x, const float *most)
{
    double norm = 0.0, lacking = 0.0, least = -INFINITY, top = 0.0;
    int32_t token = -1;
    for (int64_t i = 0; i < w->inputs; i++) {
        float rest;
        piece(x[i], &rest);
        norm += (double)x[i] * (double)x[i];
        lacking += (double)rest * (double)rest;
    }
    norm = sqrt(norm);
    lacking = sqrt(lacking);
    if (!isfinite(norm) || !w->finite) return -1;
    for (int64_t p = 0; p < w->panels; p++)
        least = fmax(least, (double)most[p] - error_bound(w, p, norm, lacking));
    for (int64_t p = 0; p < w->panels; p++)
        if ((double)most[p] + error_bound(w, p, norm, lacking) >= least) exact_top(w, x, p, &top, &token);
    return token;
}

ON_TILES static void share_top(const sah_tiles *w, int64_t rows, const uint16_t *pieces, float *most,
                               int64_t thread, int64_t threads)
{
    configure(tile_rows(rows));
    for (int64_t p = w->panels * thread / threads; p < w->panels * (thread + 1) / threads; p++)
        panel_top(w, rows, pieces, p, most);
    _tile_release();
}

void sah_tiles_top(const sah_tiles *tiles, int64_t rows, const float *x, const void *pieces, float *scratch,
                   int threads, int32_t *top)
{
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        share_top(tiles, rows, pieces, scratch, omp_get_thread_num(), omp_get_num_threads());
#pragma omp barrier
#pragma omp for schedule(dynamic, 1)
        for (int64_t r = 0; r < rows; r++)
            top[r] = row_top(tiles, x + r * tiles->inputs, scratch + r * tiles->panels);
    }
}

#else

bool sah_tiles_usable(void)
{
    return false;
}

void sah_tiles_input(const float *x, int64_t inputs, int64_t rows, int threads, void *pieces)
{
    (void)x, (void)inputs, (void)rows, (void)threads, (void)pieces;
}

void sah_tiles_multiply(const sah_tiles *tiles, int64_t rows, const void *pieces, float *y, bool add,
                        int threads)
{
    (void)tiles, (void)rows, (void)pieces, (void)y, (void)add, (void)threads;
}

void sah_tiles_gate(const sah_tiles *tiles, int64_t rows, const void *pieces, const float *gate_bias,
                    const float *up_bias, int threads, void *inner)
{
    (void)tiles, (void)rows, (void)pieces, (void)gate_bias, (void)up_bias, (void)threads, (void)inner;
}

void sah_tiles_top(const sah_tiles *tiles, int64_t rows, const float *x, const void *pieces, float *scratch,
                   int threads, int32_t *top)
{
    (void)tiles, (void)rows, (void)x, (void)pieces, (void)scratch, (void)threads, (void)top;
}

#endif
