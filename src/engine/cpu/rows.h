/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU's operations on rows that are no products, no attention and no scores; device.h says what they do. Threads
 * of the workspace share the rows. */
#ifndef SAH_ENGINE_CPU_ROWS_H
#define SAH_ENGINE_CPU_ROWS_H

#include "engine/device.h"

void sah_cpu_copy(sah_workspace *workspace, sah_rows from, int64_t rows, int64_t width, float *to,
                  int64_t to_stride, const int32_t *to_row);
void sah_cpu_add(sah_workspace *workspace, sah_rows from, int64_t rows, int64_t width, float factor,
                 float *to);
void sah_cpu_scale(sah_workspace *workspace, float *x, int64_t n, float factor);
void sah_cpu_clear(sah_workspace *workspace, float *x, int64_t n);
void sah_cpu_scatter(sah_workspace *workspace, const float *x, int64_t rows, int64_t width,
                     const float *factor, const int32_t *to_row, float *to);
void sah_cpu_weigh(sah_workspace *workspace, const float *w, const float *x, int64_t rows, int64_t width,
                   float *y);
void sah_cpu_norm(sah_workspace *workspace, const sah_config *config, const sah_norm *norm, const float *x,
                  int64_t rows, float *y);
void sah_cpu_join(sah_workspace *workspace, const sah_config *config, const sah_norm *norm, float *branch,
                  int64_t rows, float *y);
void sah_cpu_rotate(sah_workspace *workspace, const sah_config *config, const sah_rotation *rotation,
                    const sah_view *view, int64_t from, int64_t n, int64_t width, float *x);
void sah_cpu_edit(sah_workspace *workspace, const sah_head_states *states, const sah_edit *edit, float *out);
void sah_cpu_stand_in(sah_workspace *workspace, const sah_stand_in *stand_in, float *out);
void sah_cpu_activate(sah_workspace *workspace, const sah_config *config, int64_t n, const float *gate_bias,
                      const float *up_bias, int64_t rows, float *states, float *out);
void sah_cpu_give(sah_workspace *workspace, const sah_config *config, const sah_view *view, int64_t from,
                  int64_t rows, int64_t width, const float *given, int64_t stride, const float *gates,
                  float *out);
void sah_cpu_softcap(sah_workspace *workspace, float *x, int64_t n, float cap);

#endif
