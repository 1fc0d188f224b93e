/* SPDX-License-Identifier: Apache-2.0 */
/* Where a picture is drawn: rectangles and lines of text, in millimetres from the upper left corner. */
#ifndef SAH_REPORT_CANVAS_H
#define SAH_REPORT_CANVAS_H

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

#endif
