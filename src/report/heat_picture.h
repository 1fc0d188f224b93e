/* SPDX-License-Identifier: Apache-2.0 */
/* A heat map drawn on a canvas. */
#ifndef SAH_REPORT_HEAT_PICTURE_H
#define SAH_REPORT_HEAT_PICTURE_H

#include "report/canvas.h"
#include "report/result.h"

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

#endif
