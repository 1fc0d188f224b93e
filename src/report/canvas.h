/* SPDX-License-Identifier: Apache-2.0 */
/* Where a picture is drawn: rectangles and lines of text, in pixels from the upper left corner. */
#ifndef SAH_REPORT_CANVAS_H
#define SAH_REPORT_CANVAS_H

#include "report/result.h"
#include "util/strings.h"

typedef enum sah_anchor { SAH_LEFT, SAH_MIDDLE, SAH_RIGHT } sah_anchor;

typedef struct sah_canvas {
    /* `colour` is 0xRRGGBB; `title` (or NULL) is what a reader is told of the rectangle. */
    void (*rectangle)(void *ctx, double x, double y, double width, double height, unsigned colour,
                      const char *title);
    /* y is the base line; `size` the height of the letters' body. */
    void (*text)(void *ctx, double x, double y, double size, sah_anchor anchor, const char *text);
    void *ctx;
} sah_canvas;

/* Width and height of a result's heat map. */
void sah_map_size(const sah_result *result, double *width, double *height);
/* What `order` goes by, layers down, heads across, in colour: light to blue for what is above 0, light to brown
 * below, grey where nothing was scored; the square root of the score, as scores fall off steeply. */
sah_status sah_map_draw(const sah_result *result, sah_order order, const sah_canvas *canvas,
                        sah_error *error);

/* The heat map as SVG; `inline_`: part of a page, whose text colour it takes, without ground of its own. */
sah_status sah_map_svg(const sah_result *result, sah_order order, bool inline_, sah_text *out,
                       sah_error *error);
/* As PNG, at twice the size in pixels; *data for free(). */
sah_status sah_map_png(const sah_result *result, sah_order order, unsigned char **data, size_t *size,
                       sah_error *error);

/* Text inside HTML or XML: & < > " ' as entities; what XML cannot hold (control characters) as U+FFFD. */
void sah_add_escaped(sah_text *out, const char *text);

#endif
