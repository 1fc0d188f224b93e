#include "engine/tiles.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/simd.h"

/* A tile is 16 rows of 64 bytes. Sums: [rows of X, 16 outputs] in float32. X: [rows, 32 inputs] in bfloat16.
 * W: [16, 16 outputs, 2 inputs], a row for two inputs, which the product adds up.
 *
 * Work goes by panels of 32 outputs and pairs of tiles of X: four tiles of sums, two of X, two of W. A step is
 * 32 inputs. W lies as [panel][step][its tiles, the rest before the first piece], X as [pair][step][piece][2].
 * All rows of X are dealt out to their tiles evenly: time goes by rows, also by those of a tile in part. */
enum { TILE_ROWS = 16, TILE_INPUTS = 32, TILE = TILE_ROWS * TILE_INPUTS, PANEL = 2 * TILE_ROWS, X_PIECES = 3 };

/* Steps at once: X and two panels of W stay in a second-level cache. */
enum { STEPS = 32 };

struct sah_tiles {
    int64_t outputs, inputs;
    int64_t panels, steps;
    int64_t n_pieces; /* 1 or 2 */
    uint16_t *packed; /* [panels, steps, n_pieces, 2, TILE] */
    size_t bytes;
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

/* Rows of X in a tile. */
static int64_t tile_rows(int64_t rows)
{
    return divide_up(rows, 2 * pairs_of(rows));
}

size_t sah_tiles_input_floats(int64_t inputs, int64_t rows)
{
    return (size_t)(pairs_of(rows) * divide_up(inputs, TILE_INPUTS) * X_PIECES * 2 * TILE) / 2;
}

/* One row of X to its row of every step's tiles; with `inputs` 0 that becomes zeros. */
SAH_SIMD static void row_pieces(const float *x, int64_t inputs, int64_t steps, uint16_t *out)
{
    for (int64_t s = 0; s < steps; s++, out += X_PIECES * 2 * TILE) {
        int64_t from = s * TILE_INPUTS, n = inputs - from < TILE_INPUTS ? inputs - from : TILE_INPUTS;
        float values[TILE_INPUTS] = {0.0f};
        if (n > 0) memcpy(values, x + from, (size_t)n * sizeof *x);
#pragma omp simd
        for (int i = 0; i < TILE_INPUTS; i++) {
            float rest = values[i];
            out[i] = piece(rest, &rest);
            out[2 * TILE + i] = piece(rest, &rest);
            out[4 * TILE + i] = piece(rest, &rest);
        }
    }
}

void sah_tiles_input(const float *x, int64_t inputs, int64_t rows, int threads, void *pieces)
{
    int64_t steps = divide_up(inputs, TILE_INPUTS), each = tile_rows(rows), places = 2 * pairs_of(rows) * each;
    uint16_t *out = pieces;
#pragma omp parallel for if (threads > 1 && rows > 8) num_threads(threads)
    for (int64_t r = 0; r < places; r++) {
        int64_t tile = r / each;
        uint16_t *at = out + (tile / 2 * steps * X_PIECES * 2 + tile % 2) * TILE + r % each * TILE_INPUTS;
        row_pieces(x + (r < rows ? r : 0) * inputs, r < rows ? inputs : 0, steps, at);
    }
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

static void pack_panel(const sah_tiles *w, const float *values, int64_t stride, int64_t panel)
{
    int64_t step_size = w->n_pieces * 2 * TILE;
    uint16_t *out = w->packed + panel * w->steps * step_size;
    for (int64_t n = 0; n < PANEL && panel * PANEL + n < w->outputs; n++) {
        const float *row = values + (panel * PANEL + n) * stride;
        uint16_t *column = out + n / TILE_ROWS * TILE + n % TILE_ROWS * 2;
        for (int64_t i = 0; i < w->inputs; i++) {
            int64_t at = i / TILE_INPUTS * step_size + i % TILE_INPUTS / 2 * TILE_INPUTS + i % 2;
            float rest;
            column[at + (w->n_pieces - 1) * 2 * TILE] = piece(row[i], &rest);
            if (w->n_pieces == 2) column[at] = piece(rest, &rest);
        }
    }
}

sah_status sah_tiles_new(int64_t outputs, int64_t inputs, const float *values, int64_t stride,
                         sah_tiles **out, sah_error *error)
{
    sah_tiles *w = sah_alloc(1, sizeof *w);
    *out = NULL;
    if (!w) return sah_fail_memory(error, "weights");
    w->outputs = outputs;
    w->inputs = inputs;
    w->panels = divide_up(outputs, PANEL);
    w->steps = divide_up(inputs, TILE_INPUTS);
    w->n_pieces = are_bf16(values, outputs, inputs, stride) ? 1 : 2;
    if (sah_mul((size_t)w->panels, (size_t)w->steps, &w->bytes) &&
        sah_mul(w->bytes, (size_t)w->n_pieces * 2 * TILE * sizeof *w->packed, &w->bytes))
        w->packed = sah_alloc_aligned(w->bytes, 1);
    if (!w->packed) {
        sah_tiles_free(w);
        return sah_fail_memory(error, "weights");
    }
    if (outputs % PANEL != 0 || inputs % TILE_INPUTS != 0) memset(w->packed, 0, w->bytes);
#pragma omp parallel for
    for (int64_t p = 0; p < w->panels; p++) pack_panel(w, values, stride, p);
    *out = w;
    return SAH_OK;
}

void sah_tiles_free(sah_tiles *tiles)
{
    if (!tiles) return;
    free(tiles->packed);
    free(tiles);
}

size_t sah_tiles_bytes(const sah_tiles *tiles)
{
    return tiles->bytes;
}

/* ---- Products ------------------------------------------------------------------------------------------ */

#if defined(__x86_64__) && defined(__linux__)

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ON_TILES __attribute__((target("amx-tile,amx-bf16,avx512f,avx512vl,avx512bw,avx512dq")))
#define ON_TILES_INLINE ON_TILES static inline __attribute__((always_inline))

bool sah_tiles_usable(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* The processor's own record of what its eight tiles are (Intel SDM, LDTILECFG). */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

/* Tiles 0 to 3: sums [first and second tile of X][first and second half of the panel]; 4 and 5: X; 6, 7: W. */
ON_TILES static void configure(int64_t rows)
{
    tile_config config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = TILE_INPUTS * sizeof(uint16_t);
        config.rows[i] = (uint8_t)(i < 6 ? rows : TILE_ROWS);
    }
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

ON_TILES static void multiply_panel(const task *t, int64_t panel)
{
    _Alignas(64) float sums[2 * TILE_ROWS * PANEL];
    const sah_tiles *w = t->w;
    int64_t each = tile_rows(t->rows), pairs = pairs_of(t->rows), step_size = w->n_pieces * 2 * TILE;
    const uint16_t *weights = w->packed + (panel * w->steps + t->from) * step_size;
    int64_t next = panel + 1 < w->panels ? w->steps * step_size : 0, step_lines = step_size / 32;
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
        _tile_stored(0, sums, PANEL * sizeof *sums);
        _tile_stored(1, sums + TILE_ROWS, PANEL * sizeof *sums);
        _tile_stored(2, sums + each * PANEL, PANEL * sizeof *sums);
        _tile_stored(3, sums + each * PANEL + TILE_ROWS, PANEL * sizeof *sums);
        int64_t row = 2 * p * each, n = t->rows - row < 2 * each ? t->rows - row : 2 * each;
        store(t, row, n, panel * PANEL, sums);
    }
}

/* The thread's share of the panels: runs of neighbours, so that what is asked for ahead is its own. */
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
        task t = {tiles, rows, from, n, pieces, y, add || from > 0};
#pragma omp parallel num_threads(threads) if (threads > 1)
        multiply_share(&t, omp_get_thread_num(), omp_get_num_threads());
    }
}

#else

bool sah_tiles_usable(void)
{
    return false;
}

void sah_tiles_multiply(const sah_tiles *tiles, int64_t rows, const void *pieces, float *y, bool add,
                        int threads)
{
    (void)tiles, (void)rows, (void)pieces, (void)y, (void)add, (void)threads;
}

#endif
