/* SPDX-License-Identifier: Apache-2.0 */
/* Where a picture is drawn: rectangles and lines of text, in millimetres from the upper left corner. */
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
    /* The same, read upwards: the anchor is along the line. */
    void (*text_upwards)(void *ctx, double x, double y, double size, sah_anchor anchor, const char *text);
    /* What is drawn from here on is `part` of the picture; before the first part comes the ground. */
    void (*part)(void *ctx, const char *part);
    void *ctx;
} sah_canvas;

/* What a heat map shows of which result, and how wide it may be: width_mm 0 is a column of a journal (89 mm), or both
 * (183 mm) where there are more than 20 heads a layer. */
typedef struct sah_map {
    const sah_result *result;
    sah_order order;
    double width_mm;
    const sah_ranked *ranked; /* [n_ranked] all its heads, or NULL: they are ranked for it */
    size_t n_ranked;
} sah_map;

/* Width and height in millimetres. */
void sah_map_size(const sah_map *map, double *width, double *height);
/* Layers down, heads across, with axes and a colour bar. Colours go by the square root of the score, as scores fall off
 * steeply: to blue above 0, to brown below (sah_colour()), grey where nothing was scored. */
sah_status sah_map_draw(const sah_map *map, const sah_canvas *canvas, sah_error *error);

/* The heat map as SVG; `inline_`: part of a page, whose text colour it takes, without ground of its own. */
sah_status sah_map_svg(const sah_map *map, bool inline_, sah_text *out, sah_error *error);
/* As PNG of 600 dots an inch; *data for free(). */
sah_status sah_map_png(const sah_map *map, unsigned char **data, size_t *size, sah_error *error);

/* Text inside HTML or XML: & < > " ' as entities; what XML cannot hold (control characters) as U+FFFD. */
void sah_add_escaped(sah_text *out, const char *text);

#endif
