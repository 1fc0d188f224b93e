/* SPDX-License-Identifier: Apache-2.0 */
/* A canvas of pixels, by cairo, which writes it as PNG. */
#include <cairo.h>
#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"
#include "util/error.h"

static const double ZOOM = 2;
/* What cairo's image surfaces can be (32767), less the zoom. */
static const double LARGEST = 16000;

static void use(cairo_t *cairo, unsigned colour)
{
    cairo_set_source_rgb(cairo, (double)(colour >> 16 & 255) / 255, (double)(colour >> 8 & 255) / 255,
                         (double)(colour & 255) / 255);
}

static void rectangle(void *ctx, double x, double y, double width, double height, unsigned colour,
                      const char *title)
{
    (void)title;
    use(ctx, colour);
    cairo_rectangle(ctx, x, y, width, height);
    cairo_fill(ctx);
}

static void text(void *ctx, double x, double y, double size, sah_anchor anchor, const char *string)
{
    cairo_text_extents_t extents;
    cairo_set_font_size(ctx, size);
    cairo_text_extents(ctx, string, &extents);
    use(ctx, 0x222222);
    cairo_move_to(ctx,
                  x - (anchor == SAH_LEFT     ? 0
                       : anchor == SAH_MIDDLE ? extents.x_advance / 2
                                              : extents.x_advance),
                  y);
    cairo_show_text(ctx, string);
}

static cairo_status_t keep(void *closure, const unsigned char *data, unsigned length)
{
    sah_text *out = closure;
    sah_text_add(out, (const char *)data, length);
    return out->failed ? CAIRO_STATUS_NO_MEMORY : CAIRO_STATUS_SUCCESS;
}

sah_status sah_map_png(const sah_result *result, sah_order order, unsigned char **data, size_t *size,
                       sah_error *error)
{
    double width, height;
    sah_text out = {0};
    sah_map_size(result, &width, &height);
    if (width > LARGEST || height > LARGEST)
        return sah_fail(error, SAH_FAILED, "%d layers of %d heads are too many for a PNG; write SVG",
                        result->info.n_layers, result->info.n_heads);
    cairo_surface_t *surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)(ZOOM * width), (int)(ZOOM * height));
    cairo_t *cairo = cairo_create(surface);
    sah_canvas canvas = {rectangle, text, cairo};
    cairo_scale(cairo, ZOOM, ZOOM);
    cairo_select_font_face(cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    rectangle(cairo, 0, 0, width, height, 0xffffff, NULL);
    sah_status status = sah_map_draw(result, order, &canvas, error);
    if (status == SAH_OK) {
        cairo_status_t drawn = cairo_status(cairo);
        if (drawn == CAIRO_STATUS_SUCCESS) drawn = cairo_surface_write_to_png_stream(surface, keep, &out);
        if (drawn != CAIRO_STATUS_SUCCESS)
            status = sah_fail(error, SAH_FAILED, "the PNG: %s", cairo_status_to_string(drawn));
    }
    cairo_destroy(cairo);
    cairo_surface_destroy(surface);
    if (status == SAH_OK) {
        *data = (unsigned char *)out.data;
        *size = out.size;
    } else {
        free(out.data);
    }
    return status;
}
