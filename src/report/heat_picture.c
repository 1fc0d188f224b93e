/* SPDX-License-Identifier: Apache-2.0 */
/* The heat map as a picture for a page of a paper: sizes in millimetres, letters of 7 points. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/heat_picture.h"
#include "report/colour.h"
#include "report/rank.h"
#include "util/alloc.h"
#include "util/error.h"

/* Millimetres. A cell is no wider than LARGEST_CELL, and the map no higher than a page. */
static const double SIZE = 2.5, LEFT = 11, TOP = 1.5, RIGHT = 3, BAR = 3, LARGEST_CELL = 8, LARGEST_MAP = 170,
                    LEAST_WIDTH = 85;
static const double ONE_COLUMN = 89, TWO_COLUMNS = 183;
/* Numbers of the heads, name of the axis, colour bar, its numbers and its name; what grey is. */
static const double BELOW = 19.5, GREY_LINE = 4;
static const unsigned NOTHING = 0xc8c8c8;
enum { MOST_BAR_STEPS = 64 };

static double cell_of(const sah_map *map)
{
    const sah_result_info *info = &map->result->info;
    double width = map->width_mm > 0 ? map->width_mm : info->n_heads > 20 ? TWO_COLUMNS : ONE_COLUMN;
    double cell = fmin((width - LEFT - RIGHT) / info->n_heads, LARGEST_MAP / info->n_layers);
    return fmin(cell, LARGEST_CELL);
}

static bool has_gaps(const sah_result_info *info)
{
    return info->n_scored < (size_t)info->n_layers * (size_t)info->n_heads;
}

void sah_map_size(const sah_map *map, double *width, double *height)
{
    const double cell = cell_of(map);
    *width = fmax(LEFT + cell * map->result->info.n_heads + RIGHT, LEAST_WIDTH);
    *height =
        TOP + cell * map->result->info.n_layers + BELOW + (has_gaps(&map->result->info) ? GREY_LINE : 0);
}

/* `share` of the largest score, in [-1, 1]. */
static unsigned colour_of(double share)
{
    double place = sqrt(fmin(fabs(share), 1));
    return sah_colour(share < 0 ? -place : place);
}

/* ---- Axes ---------------------------------------------------------------------------------------------- */

/* How many cells apart numbers stand that need `room`. */
static int spacing(double cell, double room)
{
    static const int steps[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
    size_t i = 0;
    while (i + 1 < sizeof steps / sizeof *steps && steps[i] * cell < room) i++;
    return steps[i];
}

static void draw_axes(const sah_canvas *c, const sah_result_info *info, double cell)
{
    const double bottom = TOP + cell * info->n_layers;
    char text[32];
    int digits = snprintf(text, sizeof text, "%d", info->n_heads - 1);
    int step = spacing(cell, 0.6 * SIZE * digits + 0.8);
    for (int h = 0; h < info->n_heads; h += step) {
        snprintf(text, sizeof text, "%d", h);
        c->text(c->ctx, LEFT + cell * (h + 0.5), bottom + SIZE + 0.6, SIZE, SAH_MIDDLE, text);
    }
    c->text(c->ctx, LEFT + cell * info->n_heads / 2, bottom + 2 * SIZE + 1.6, SIZE, SAH_MIDDLE, "Head");
    step = spacing(cell, 1.1 * SIZE);
    for (int l = 0; l < info->n_layers; l += step) {
        snprintf(text, sizeof text, "%d", l);
        c->text(c->ctx, LEFT - 1, TOP + cell * (l + 0.5) + 0.36 * SIZE, SIZE, SAH_RIGHT, text);
    }
    c->text_upwards(c->ctx, SIZE + 0.5, TOP + cell * info->n_layers / 2, SIZE, SAH_MIDDLE, "Layer");
}

/* ---- Colour bar ---------------------------------------------------------------------------------------- */

typedef struct colour_bar {
    double x, y, width;
    double from; /* share at its left end: -1 or 0 */
    double most; /* the score at its right end, less which is at its left end where there are some below 0 */
} colour_bar;

static double place_on(const colour_bar *b, double value)
{
    double share = b->most > 0 ? sqrt(fabs(value) / b->most) : 0, place = value < 0 ? -share : share;
    return b->x + b->width * (place - b->from) / (1 - b->from);
}

static void draw_number(const sah_canvas *c, const colour_bar *b, double value)
{
    char text[32];
    double x = place_on(b, value);
    snprintf(text, sizeof text, "%.3g", value);
    c->rectangle(c->ctx, x - 0.1, b->y + BAR, 0.2, 0.8, 0x808080, NULL);
    c->text(c->ctx, x, b->y + BAR + SIZE + 0.9, SIZE, SAH_MIDDLE, text);
}

/* 0 and round numbers (1, 2 or 5 with zeros), from the highest down, where there is room. */
static void draw_numbers(const sah_canvas *c, const colour_bar *b)
{
    static const double rounds[] = {5, 2, 1};
    const double room = 4 * SIZE;
    double last = INFINITY;
    draw_number(c, b, 0);
    if (!(b->most > 0) || !isfinite(b->most)) return;
    double ten = pow(10, floor(log10(b->most)));
    for (int i = 0; i < 6; i++, ten /= 10) {
        for (size_t r = 0; r < 3; r++) {
            double value = rounds[r] * ten, x = place_on(b, value);
            if (value > b->most || last - x < room || x - place_on(b, 0) < room) continue;
            draw_number(c, b, value);
            if (b->from < 0) draw_number(c, b, -value);
            last = x;
        }
    }
}

static void draw_bar(const sah_canvas *c, const colour_bar *b, const char *name, bool gaps)
{
    int n = b->from < 0 ? 2 * MOST_BAR_STEPS : MOST_BAR_STEPS;
    double width = b->width / n, y = b->y + BAR + 2 * SIZE + 2.2;
    char text[128];
    for (int i = 0; i < n; i++)
        c->rectangle(c->ctx, b->x + i * width, b->y, width + (i < n - 1 ? 0.1 : 0), BAR,
                     sah_colour(b->from + (1 - b->from) * (i + 0.5) / n), NULL);
    draw_numbers(c, b);
    snprintf(text, sizeof text, "%c%s", name[0] & ~0x20, name + 1);
    c->text(c->ctx, b->x, y, SIZE, SAH_LEFT, text);
    if (!gaps) return;
    c->rectangle(c->ctx, b->x, y + 1.2, SIZE, SIZE, NOTHING, NULL);
    c->text(c->ctx, b->x + SIZE + 1, y + 1.2 + 0.85 * SIZE, SIZE, SAH_LEFT, "not scored");
}

/* ---- The picture --------------------------------------------------------------------------------------- */

static void draw_cells(const sah_canvas *canvas, const sah_result_info *info, double cell,
                       const double *values, double most)
{
    const double gap = fmin(0.3, cell / 12);
    char text[64];
    for (int l = 0; l < info->n_layers; l++) {
        for (int h = 0; h < info->n_heads; h++) {
            double value = values[l * info->n_heads + h];
            if (isnan(value))
                snprintf(text, sizeof text, "%d-%d: not scored", l, h);
            else
                snprintf(text, sizeof text, "%d-%d: %.4g", l, h, value);
            unsigned colour = isnan(value) ? NOTHING : colour_of(most > 0 ? value / most : 0);
            canvas->rectangle(canvas->ctx, LEFT + cell * h, TOP + cell * l, cell - gap, cell - gap, colour,
                              text);
        }
    }
}

sah_status sah_map_draw(const sah_map *map, const sah_canvas *canvas, sah_error *error)
{
    const sah_result_info *info = &map->result->info;
    const sah_order order = sah_order_of(map->result, map->order);
    size_t n = map->n_ranked, n_cells = (size_t)info->n_layers * (size_t)info->n_heads;
    double most = 0, least = 0;
    sah_ranked *own = NULL;
    double *values = sah_alloc(n_cells, sizeof *values);
    sah_status status = values != NULL ? SAH_OK : sah_fail_memory(error, "the heat map");
    if (status == SAH_OK && map->ranked == NULL) status = sah_rank(map->result, order, &own, &n, error);
    if (status != SAH_OK) {
        free(values);
        return status;
    }
    const sah_ranked *ranked = own != NULL ? own : map->ranked;
    for (size_t i = 0; i < n_cells; i++) values[i] = NAN;
    for (size_t i = 0; i < n; i++) {
        double value = sah_score_of(order, &ranked[i]);
        values[ranked[i].head.layer * info->n_heads + ranked[i].head.head] = value;
        most = fmax(most, fabs(value));
        least = fmin(least, value);
    }
    const double cell = cell_of(map);
    canvas->part(canvas->ctx, "cells");
    draw_cells(canvas, info, cell, values, most);
    canvas->part(canvas->ctx, "axes");
    draw_axes(canvas, info, cell);
    canvas->part(canvas->ctx, "bar");
    const colour_bar bar = {.x = LEFT,
                            .y = TOP + cell * info->n_layers + 2 * SIZE + 3.6,
                            .width = fmax(cell * info->n_heads, LEAST_WIDTH - LEFT - RIGHT - 12),
                            .from = least < 0 ? -1 : 0,
                            .most = most};
    draw_bar(canvas, &bar, sah_score_name(map->result, order), has_gaps(info));
    free(own);
    free(values);
    return SAH_OK;
}
