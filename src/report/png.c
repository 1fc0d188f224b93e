/* SPDX-License-Identifier: Apache-2.0 */
/* A canvas of pixels, by cairo, which writes it as PNG. */
#include <cairo.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "report/png.h"
#include "report/heat_picture.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

/* 600 dots an inch, what journals ask of line art, as dots a metre and a millimetre. */
static const uint32_t DOTS_A_METRE = 23622;
static const double ZOOM = 23.622;
/* What cairo's image surfaces can be. */
static const double LARGEST = 32767;
/* More than cairo and the libraries under it take besides the pixels: where memory ends within them they go on without
 * some settings or letters, or end in a signal (cairo 1.16, fontconfig 2.14). So nothing is drawn without as much. */
enum { ROOM = 32 << 20 };

static bool has_room(void)
{
    void *room = sah_alloc_aligned(ROOM, 1);
    const bool has = room != NULL;
    free(room);
    return has;
}

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

static double start_of(cairo_t *cairo, double size, sah_anchor anchor, const char *string)
{
    cairo_text_extents_t extents;
    cairo_set_font_size(cairo, size);
    cairo_text_extents(cairo, string, &extents);
    return anchor == SAH_LEFT ? 0 : anchor == SAH_MIDDLE ? -extents.x_advance / 2 : -extents.x_advance;
}

static void text(void *ctx, double x, double y, double size, sah_anchor anchor, const char *string)
{
    use(ctx, 0x222222);
    cairo_move_to(ctx, x + start_of(ctx, size, anchor, string), y);
    cairo_show_text(ctx, string);
}

static void text_upwards(void *ctx, double x, double y, double size, sah_anchor anchor, const char *string)
{
    cairo_save(ctx);
    cairo_translate(ctx, x, y);
    cairo_rotate(ctx, -1.5707963267948966);
    text(ctx, 0, 0, size, anchor, string);
    cairo_restore(ctx);
}

static void part(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
}

static cairo_status_t keep(void *closure, const unsigned char *data, unsigned length)
{
    sah_text *out = closure;
    sah_text_add(out, (const char *)data, length);
    return out->failed ? CAIRO_STATUS_NO_MEMORY : CAIRO_STATUS_SUCCESS;
}

/* ---- The size of a dot ----------------------------------------------------------------------------------- */

static void put_number(unsigned char *out, uint32_t value)
{
    for (int i = 0; i < 4; i++) out[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* The check of a chunk (PNG specification, annex D). */
static uint32_t chunk_check(const unsigned char *data, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Puts the chunk that says how large a dot is behind the header: cairo writes none, and a picture without it has no
 * size in millimetres. */
static void add_dot_size(const sah_text *png, sah_text *out)
{
    enum { HEADER = 8 + 25, DATA = 9 };
    unsigned char chunk[4 + 4 + DATA + 4] = {0, 0, 0, DATA, 'p', 'H', 'Y', 's'};
    if (png->size < HEADER) return;
    put_number(chunk + 8, DOTS_A_METRE);
    put_number(chunk + 12, DOTS_A_METRE);
    chunk[16] = 1; /* a metre */
    put_number(chunk + 17, chunk_check(chunk + 4, 4 + DATA));
    sah_text_add(out, png->data, HEADER);
    sah_text_add(out, (const char *)chunk, sizeof chunk);
    sah_text_add(out, png->data + HEADER, png->size - HEADER);
}

/* ---- The picture ----------------------------------------------------------------------------------------- */

sah_status sah_map_png(const sah_map *map, unsigned char **data, size_t *size, sah_error *error)
{
    double width, height;
    sah_text drawn_png = {0}, out = {0};
    sah_map_size(map, &width, &height);
    if (ZOOM * width > LARGEST || ZOOM * height > LARGEST)
        return sah_fail(error, SAH_FAILED, "%.0f mm by %.0f mm are too large for a PNG; write SVG", width,
                        height);
    cairo_surface_t *surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)(ZOOM * width + 0.5), (int)(ZOOM * height + 0.5));
    if (!has_room()) {
        cairo_surface_destroy(surface);
        return sah_fail_memory(error, "the PNG");
    }
    cairo_t *cairo = cairo_create(surface);
    sah_canvas canvas = {rectangle, text, text_upwards, part, cairo};
    cairo_scale(cairo, ZOOM, ZOOM);
    cairo_select_font_face(cairo, "Helvetica", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    rectangle(cairo, 0, 0, width + 1, height + 1, 0xffffff, NULL);
    sah_status status = sah_map_draw(map, &canvas, error);
    if (status == SAH_OK) {
        cairo_status_t drawn = cairo_status(cairo);
        if (drawn == CAIRO_STATUS_SUCCESS)
            drawn = cairo_surface_write_to_png_stream(surface, keep, &drawn_png);
        if (drawn == CAIRO_STATUS_NO_MEMORY)
            status = sah_fail_memory(error, "the PNG");
        else if (drawn != CAIRO_STATUS_SUCCESS)
            status = sah_fail(error, SAH_FAILED, "the PNG: %s", cairo_status_to_string(drawn));
    }
    cairo_destroy(cairo);
    cairo_surface_destroy(surface);
    if (status == SAH_OK) add_dot_size(&drawn_png, &out);
    /* cairo 1.18 forgets that the first bytes could not be kept */
    if (status == SAH_OK && (drawn_png.failed || out.failed)) status = sah_fail_memory(error, "the PNG");
    free(drawn_png.data);
    if (status == SAH_OK) {
        *data = (unsigned char *)out.data;
        *size = out.size;
    } else {
        free(out.data);
    }
    return status;
}
