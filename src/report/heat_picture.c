/* SPDX-License-Identifier: Apache-2.0 */
/* The heat map as a picture. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "report/canvas.h"
#include "report/rank.h"
#include "util/alloc.h"
#include "util/error.h"

enum { CELL = 16, LEFT = 40, TOP = 34, RIGHT = 12, LEGEND = 58, STEPS = 9, LEAST_WIDTH = 380 };
static const double SIZE = 11;
static const unsigned NOTHING = 0xdddddd;

void sah_map_size(const sah_result *result, double *width, double *height)
{
    *width = fmax(LEFT + CELL * result->info.n_heads + RIGHT, LEAST_WIDTH);
    *height = TOP + CELL * result->info.n_layers + LEGEND;
}

/* Between two colours. */
static unsigned mix(unsigned a, unsigned b, double share)
{
    unsigned out = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
        double from = (double)(a >> shift & 255), to = (double)(b >> shift & 255);
        out |= (unsigned)lround(from + share * (to - from)) << shift;
    }
    return out;
}

/* `share` of the largest score, in [-1, 1]. The two arms differ in hue and in the same way in lightness,
 * which also readers who see few colours can tell. */
static unsigned colour_of(double share)
{
    static const unsigned up[] = {0xf7f7f7, 0x4393c3, 0x053061}, down[] = {0xf7f7f7, 0xd8a35f, 0x6b3d05};
    const unsigned *arm = share < 0 ? down : up;
    double place = 2 * sqrt(fmin(fabs(share), 1));
    return place < 1 ? mix(arm[0], arm[1], place) : mix(arm[1], arm[2], place - 1);
}

static void draw_legend(const sah_canvas *c, double y, double least, double most, const char *name)
{
    double from = least < 0 ? -1 : 0, x = LEFT;
    char text[64];
    for (int i = 0; i < STEPS; i++, x += 2 * CELL) {
        double share = from + (1 - from) * i / (STEPS - 1);
        snprintf(text, sizeof text, "%.3g", share * most);
        c->rectangle(c->ctx, x, y, 2 * CELL, CELL, colour_of(share), text);
        if (i % 4 == 0) c->text(c->ctx, x + CELL, y + CELL + SIZE + 3, SIZE, SAH_MIDDLE, text);
    }
    c->text(c->ctx, LEFT, y + CELL + 2 * SIZE + 8, SIZE, SAH_LEFT, name);
}

sah_status sah_map_draw(const sah_result *result, sah_order order, const sah_canvas *canvas, sah_error *error)
{
    const sah_result_info *info = &result->info;
    order = sah_order_of(result, order);
    size_t n, n_cells = (size_t)info->n_layers * (size_t)info->n_heads;
    double most = 0, least = 0;
    sah_ranked *ranked = NULL;
    double *values = sah_alloc(n_cells, sizeof *values);
    sah_status status =
        values ? sah_rank(result, order, &ranked, &n, error) : sah_fail_memory(error, "the heat map");
    if (status != SAH_OK) {
        free(values);
        return status;
    }
    for (size_t i = 0; i < n_cells; i++) values[i] = NAN;
    for (size_t i = 0; i < n; i++) {
        double value = sah_score_of(order, &ranked[i]);
        values[ranked[i].head.layer * info->n_heads + ranked[i].head.head] = value;
        most = fmax(most, value);
        least = fmin(least, value);
    }
    char text[64];
    canvas->text(canvas->ctx, LEFT, SIZE + 2, SIZE, SAH_LEFT, "head");
    for (int h = 0; h < info->n_heads; h++) {
        if (h % (info->n_heads > 16 ? 4 : 1) != 0) continue;
        snprintf(text, sizeof text, "%d", h);
        canvas->text(canvas->ctx, LEFT + CELL * (h + 0.5), TOP - 5, SIZE, SAH_MIDDLE, text);
    }
    for (int l = 0; l < info->n_layers; l++) {
        snprintf(text, sizeof text, "%d", l);
        canvas->text(canvas->ctx, LEFT - 6, TOP + CELL * l + 12, SIZE, SAH_RIGHT, text);
        for (int h = 0; h < info->n_heads; h++) {
            double value = values[l * info->n_heads + h];
            if (isnan(value))
                snprintf(text, sizeof text, "%d-%d: not scored", l, h);
            else
                snprintf(text, sizeof text, "%d-%d: %.4g", l, h, value);
            unsigned colour = isnan(value) ? NOTHING
                                           : colour_of(most > 0    ? value / most
                                                       : value < 0 ? -1
                                                                   : 0);
            canvas->rectangle(canvas->ctx, LEFT + CELL * h, TOP + CELL * l, CELL - 1, CELL - 1, colour, text);
        }
    }
    canvas->text(canvas->ctx, LEFT - 6, SIZE + 2, SIZE, SAH_RIGHT, "layer");
    draw_legend(canvas, TOP + CELL * info->n_layers + 8, least, most, sah_score_name(result, order));
    free(ranked);
    free(values);
    return SAH_OK;
}
