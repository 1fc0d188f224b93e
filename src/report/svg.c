/* SPDX-License-Identifier: Apache-2.0 */
/* A canvas that writes SVG 1.1. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "report/heat_picture.h"
#include "report/html.h"
#include "report/svg.h"
#include "util/error.h"

static void rectangle(void *ctx, double x, double y, double width, double height, unsigned colour,
                      const char *title)
{
    sah_text *out = ctx;
    sah_text_addf(out, "<rect x=\"%.6g\" y=\"%.6g\" width=\"%.5g\" height=\"%.5g\" fill=\"#%06x\"", x, y,
                  width, height, colour);
    if (title == NULL) {
        sah_text_adds(out, "/>\n");
        return;
    }
    sah_text_adds(out, "><title>");
    sah_add_escaped(out, title);
    sah_text_adds(out, "</title></rect>\n");
}

static void add_line(sah_text *out, double x, double y, double size, sah_anchor anchor, const char *turned,
                     const char *string)
{
    static const char *const anchors[] = {"start", "middle", "end"};
    sah_text_addf(out, "<text x=\"%.6g\" y=\"%.6g\" font-size=\"%g\" text-anchor=\"%s\"%s>", x, y, size,
                  anchors[anchor], turned);
    sah_add_escaped(out, string);
    sah_text_adds(out, "</text>\n");
}

static void text(void *ctx, double x, double y, double size, sah_anchor anchor, const char *string)
{
    add_line(ctx, x, y, size, anchor, "", string);
}

static void text_upwards(void *ctx, double x, double y, double size, sah_anchor anchor, const char *string)
{
    char turned[64];
    snprintf(turned, sizeof turned, " transform=\"rotate(-90 %.6g %.6g)\"", x, y);
    add_line(ctx, x, y, size, anchor, turned, string);
}

/* Each part is a group; the first opens behind one that holds the ground. */
static void part(void *ctx, const char *name)
{
    sah_text_addf(ctx, "</g><g class=\"%s\">\n", name);
}

sah_status sah_map_svg(const sah_map *map, bool inline_, sah_text *out, sah_error *error)
{
    double width, height;
    sah_canvas canvas = {rectangle, text, text_upwards, part, out};
    sah_map_size(map, &width, &height);
    sah_text_adds(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" ");
    if (inline_) /* as wide as the page and as high as a screen allow, at 4 to 10 pixels a millimetre */
        sah_text_addf(out, "style=\"width:%.0fpx\" ",
                      width * fmin(fmax(fmin(1040 / width, 860 / height), 4), 10));
    else
        sah_text_addf(out, "width=\"%.2fmm\" height=\"%.2fmm\" ", width, height);
    sah_text_addf(
        out,
        "viewBox=\"0 0 %.6g %.6g\" font-family=\"Helvetica, Arial, sans-serif\" fill=\"%s\" role=\"img\">\n",
        width, height, inline_ ? "currentColor" : "#222222");
    sah_text_adds(out, "<title>Heat map, layers by heads: ");
    sah_add_escaped(out, map->result->info.model_name);
    sah_text_adds(out, "</title>\n<g>");
    if (!inline_) rectangle(out, 0, 0, width, height, 0xffffff, NULL);
    sah_status status = sah_map_draw(map, &canvas, error);
    sah_text_adds(out, "</g></svg>\n");
    return status == SAH_OK && out->failed ? sah_fail_memory(error, "the heat map") : status;
}
