/* SPDX-License-Identifier: Apache-2.0 */
#include "models/far.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/cpu/cpu.h"

/* Memory is dealt out from the bottom and starts anew when all of it is free. */
enum { PAGE = 4096 };
static const size_t SPACE = (size_t)1 << 30;
static char *bottom;
static size_t used, touched; /* `touched`: the most that was ever dealt out */
static int held, open_now;

static void protect(size_t from, size_t to, int how)
{
    if (to > from && mprotect(bottom + from, to - from, how) != 0) abort();
}

static void open_memory(void)
{
    if (open_now++ == 0) protect(0, touched, PROT_READ | PROT_WRITE);
}

static void close_memory(void)
{
    if (--open_now == 0) protect(0, touched, PROT_NONE);
}

static void *far_alloc(size_t bytes)
{
    if (!bottom) {
        bottom = mmap(NULL, SPACE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (bottom == MAP_FAILED) abort();
    }
    size_t pages = (bytes / PAGE + 1) * PAGE;
    if (pages > SPACE - used) return NULL;
    void *memory = bottom + used;
    used += pages;
    held++;
    if (used > touched) {
        if (open_now) protect(touched, used, PROT_READ | PROT_WRITE);
        touched = used;
    }
    return memory;
}

static void far_free(void *memory)
{
    (void)memory;
    if (--held == 0) used = 0;
}

int far_held(void)
{
    return held;
}

static sah_status copy(const void *from, size_t bytes, void *to, sah_error *error)
{
    (void)error;
    open_memory();
    memmove(to, from, bytes);
    close_memory();
    return SAH_OK;
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
    sah_status status = sah_cpu()->product(ws, weights, rows, x, y, add, error);
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

static void edit(sah_workspace *ws, const sah_head_states *states, const sah_edit *e, float *out)
{
    open_memory();
    sah_cpu()->edit(ws, states, e, out);
    close_memory();
}

static void activate(sah_workspace *ws, const sah_config *config, int64_t n, const float *gate_bias,
                     const float *up_bias, int64_t rows, float *states, float *out)
{
    open_memory();
    sah_cpu()->activate(ws, config, n, gate_bias, up_bias, rows, states, out);
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

const sah_device *far_device(void)
{
    static sah_device
        device; /* weights stay the CPU's own, and so do workspaces but for their scratch memory */
    device = *sah_cpu();
    device.name = "far";
    device.host = false;
    device.alloc = far_alloc;
    device.free = far_free;
    device.upload = device.download = copy;
    device.input = input;
    device.product = product;
    device.copy = copy_rows;
    device.add = add;
    device.scale = scale;
    device.norm = norm;
    device.join = join;
    device.rotate = rotate;
    device.attend = attend;
    device.edit = edit;
    device.activate = activate;
    device.softcap = softcap;
    device.distribution = distribution;
    device.score = score;
    return &device;
}
