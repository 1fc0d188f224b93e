/* SPDX-License-Identifier: Apache-2.0 */
#include "models/far.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/cpu/cpu.h"
#include "util/error.h"

enum { PAGE = 4096, MOST_BLOCKS = 1 << 14 };
static const size_t SPACE = (size_t)1 << 32;
static char *bottom;
static size_t touched; /* the end of what was ever dealt out: [0, touched) is opened and closed as one */
static struct {
    size_t from, size;
} blocks[MOST_BLOCKS]; /* [held] dealt out, in the order of their addresses */
static int held, open_now;
static size_t limit = SIZE_MAX, taken; /* bytes, weights among them */
static long products_left = -1; /* until it is lost; negative: that never happens */
static pthread_mutex_t lock; /* recursive; held while memory is open, and guards all of these */

static void protect(size_t from, size_t to, int how)
{
    if (to > from && mprotect(bottom + from, to - from, how) != 0) abort();
}

static void open_memory(void)
{
    pthread_mutex_lock(&lock);
    if (open_now++ == 0) protect(0, touched, PROT_READ | PROT_WRITE);
}

static void close_memory(void)
{
    if (--open_now == 0) protect(0, touched, PROT_NONE);
    pthread_mutex_unlock(&lock);
}

static bool take(size_t bytes)
{
    if (bytes > limit || taken > limit - bytes) return false;
    taken += bytes;
    return true;
}

/* The first gap that is large enough. */
static void *deal(size_t size)
{
    size_t from = 0;
    int i = 0;
    for (; i < held && blocks[i].from - from < size; i++) from = blocks[i].from + blocks[i].size;
    if (held == MOST_BLOCKS || SPACE - from < size || !take(size)) return NULL;
    memmove(&blocks[i + 1], &blocks[i], (size_t)(held - i) * sizeof *blocks);
    blocks[i].from = from;
    blocks[i].size = size;
    held++;
    if (from + size > touched) {
        if (open_now) protect(touched, from + size, PROT_READ | PROT_WRITE);
        touched = from + size;
    }
    return bottom + from;
}

static void *far_alloc(size_t bytes)
{
    pthread_mutex_lock(&lock);
    if (bottom == NULL) {
        bottom = mmap(NULL, SPACE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (bottom == MAP_FAILED) abort();
    }
    void *memory = bytes < SPACE ? deal((bytes / PAGE + 1) * PAGE) : NULL;
    pthread_mutex_unlock(&lock);
    return memory;
}

static void far_free(void *memory)
{
    int i = 0;
    pthread_mutex_lock(&lock);
    while (i < held && bottom + blocks[i].from != (char *)memory) i++;
    if (i == held) abort();
    taken -= blocks[i].size;
    held--;
    memmove(&blocks[i], &blocks[i + 1], (size_t)(held - i) * sizeof *blocks);
    pthread_mutex_unlock(&lock);
}

int far_held(void)
{
    return held;
}

void far_limit(size_t bytes, long products)
{
    limit = bytes > 0 ? bytes : SIZE_MAX;
    products_left = products > 0 ? products : -1;
}

static sah_status check(sah_error *error)
{
    return products_left == 0 ? sah_fail(error, SAH_FAILED, "the far device is lost") : SAH_OK;
}

static sah_status copy(const void *from, size_t bytes, void *to, sah_error *error)
{
    open_memory();
    sah_status status = check(error);
    if (status == SAH_OK) memmove(to, from, bytes);
    close_memory();
    return status;
}

/* ---- Weights ------------------------------------------------------------------------------------------- */

/* They stay the CPU's own, in the host's memory; here they are counted. */
static sah_status pack(int64_t outputs, const int64_t *ends, int n, sah_packing packing, sah_rows_fn read,
                       const void *source, sah_weights **out, sah_error *error)
{
    sah_status status = sah_cpu()->pack(outputs, ends, n, packing, read, source, out, error);
    size_t bytes = 0;
    for (int i = 0; i < n && status == SAH_OK; i++) bytes += out[i]->bytes;
    pthread_mutex_lock(&lock);
    bool fits = take(bytes);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < n && status == SAH_OK; i++) {
        if (fits) {
            out[i]->device = far_device();
        } else {
            sah_weights_free(out[i]);
            out[i] = NULL;
        }
    }
    return fits ? status : sah_fail_memory(error, "weights");
}

static void unpack(sah_weights *weights)
{
    pthread_mutex_lock(&lock);
    taken -= weights->bytes;
    pthread_mutex_unlock(&lock);
    sah_cpu()->unpack(weights);
}

/* ---- Operations ---------------------------------------------------------------------------------------- */

static const void *input(sah_workspace *ws, sah_slot slot, const sah_weights *weights, int64_t rows,
                         const float *x)
{
    open_memory();
    const void *out = sah_cpu()->input(ws, slot, weights, rows, x);
    close_memory();
    return out;
}

static sah_status product(sah_workspace *ws, const sah_weights *weights, int64_t rows, const void *x,
                          float *y, bool add, sah_error *error)
{
    open_memory();
    if (products_left > 0) products_left--;
    sah_status status = check(error);
    if (status == SAH_OK) status = sah_cpu()->product(ws, weights, rows, x, y, add, error);
    close_memory();
    return status;
}

static void copy_rows(sah_workspace *ws, sah_rows from, int64_t rows, int64_t width, float *to,
                      int64_t to_stride, const int32_t *to_row)
{
    open_memory();
    sah_cpu()->copy(ws, from, rows, width, to, to_stride, to_row);
    close_memory();
}

static void add(sah_workspace *ws, sah_rows from, int64_t rows, int64_t width, float factor, float *to)
{
    open_memory();
    sah_cpu()->add(ws, from, rows, width, factor, to);
    close_memory();
}

static void scale(sah_workspace *ws, float *x, int64_t n, float factor)
{
    open_memory();
    sah_cpu()->scale(ws, x, n, factor);
    close_memory();
}

static void clear(sah_workspace *ws, float *x, int64_t n)
{
    open_memory();
    sah_cpu()->clear(ws, x, n);
    close_memory();
}

static void scatter(sah_workspace *ws, const float *x, int64_t rows, int64_t width, const float *factor,
                    const int32_t *to_row, float *to)
{
    open_memory();
    sah_cpu()->scatter(ws, x, rows, width, factor, to_row, to);
    close_memory();
}

static void weigh(sah_workspace *ws, const float *w, const float *x, int64_t rows, int64_t width, float *y)
{
    open_memory();
    sah_cpu()->weigh(ws, w, x, rows, width, y);
    close_memory();
}

static void norm(sah_workspace *ws, const sah_config *config, const sah_norm *n, const float *x, int64_t rows,
                 float *y)
{
    open_memory();
    sah_cpu()->norm(ws, config, n, x, rows, y);
    close_memory();
}

static void join(sah_workspace *ws, const sah_config *config, const sah_norm *n, float *branch, int64_t rows,
                 float *y)
{
    open_memory();
    sah_cpu()->join(ws, config, n, branch, rows, y);
    close_memory();
}

static void rotate(sah_workspace *ws, const sah_config *config, const sah_rotation *rotation,
                   const sah_view *view, int64_t from, int64_t n, int64_t width, float *x)
{
    open_memory();
    sah_cpu()->rotate(ws, config, rotation, view, from, n, width, x);
    close_memory();
}

static sah_status attend(sah_workspace *ws, const sah_attention *attention, const sah_view *view,
                         sah_error *error)
{
    open_memory();
    sah_status status = sah_cpu()->attend(ws, attention, view, error);
    close_memory();
    return status;
}

static void convolve(sah_workspace *ws, const sah_convolution *convolution, const sah_view *nodes,
                     const sah_view *ends, const sah_view *view)
{
    open_memory();
    sah_cpu()->convolve(ws, convolution, nodes, ends, view);
    close_memory();
}

static sah_status recur(sah_workspace *ws, const sah_recurrence *recurrence, const sah_view *nodes,
                        const sah_view *ends, const sah_view *view, sah_error *error)
{
    open_memory();
    sah_status status = sah_cpu()->recur(ws, recurrence, nodes, ends, view, error);
    close_memory();
    return status;
}

static void edit(sah_workspace *ws, const sah_head_states *states, const sah_edit *e, float *out)
{
    open_memory();
    sah_cpu()->edit(ws, states, e, out);
    close_memory();
}

static void stand_in(sah_workspace *ws, const sah_stand_in *which, float *out)
{
    open_memory();
    sah_cpu()->stand_in(ws, which, out);
    close_memory();
}

static void activate(sah_workspace *ws, const sah_config *config, int64_t n, const float *gate_bias,
                     const float *up_bias, int64_t rows, float *states, float *out)
{
    open_memory();
    sah_cpu()->activate(ws, config, n, gate_bias, up_bias, rows, states, out);
    close_memory();
}

static void give(sah_workspace *ws, const sah_config *config, const sah_view *view, int64_t from,
                 int64_t rows, int64_t width, const float *given, int64_t stride, const float *gates,
                 float *out)
{
    open_memory();
    sah_cpu()->give(ws, config, view, from, rows, width, given, stride, gates, out);
    close_memory();
}

static void softcap(sah_workspace *ws, float *x, int64_t n, float cap)
{
    open_memory();
    sah_cpu()->softcap(ws, x, n, cap);
    close_memory();
}

static sah_status distribution(sah_workspace *ws, const float *logits, int64_t n, sah_kl_base *base,
                               sah_error *error)
{
    open_memory();
    sah_status status = sah_cpu()->distribution(ws, logits, n, base, error);
    close_memory();
    return status;
}

static sah_status score(sah_workspace *ws, const float *logits, int64_t rows, int64_t n,
                        sah_row_score *scores, sah_error *error)
{
    open_memory();
    sah_status status = sah_cpu()->score(ws, logits, rows, n, scores, error);
    close_memory();
    return status;
}

static uint64_t room(void)
{
    pthread_mutex_lock(&lock);
    const uint64_t left = limit < SIZE_MAX ? limit - taken : 0;
    pthread_mutex_unlock(&lock);
    return left;
}

static sah_device device; /* the CPU's operations, each between open_memory() and close_memory() */

static void make(void)
{
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    device = *sah_cpu();
    device.name = "far";
    device.host = false;
    device.alloc = far_alloc;
    device.free = far_free;
    device.room = room;
    device.upload = device.download = copy;
    device.pack = pack;
    device.unpack = unpack;
    device.input = input;
    device.product = product;
    device.copy = copy_rows;
    device.add = add;
    device.scale = scale;
    device.clear = clear;
    device.scatter = scatter;
    device.weigh = weigh;
    device.norm = norm;
    device.join = join;
    device.rotate = rotate;
    device.attend = attend;
    device.convolve = convolve;
    device.recur = recur;
    device.edit = edit;
    device.stand_in = stand_in;
    device.activate = activate;
    device.give = give;
    device.softcap = softcap;
    device.distribution = distribution;
    device.score = score;
}

const sah_device *far_device(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make);
    return &device;
}
