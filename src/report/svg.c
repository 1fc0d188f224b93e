/* SPDX-License-Identifier: Apache-2.0 */
/* A canvas that writes SVG 1.1. */
#include <math.h>
#include <stdlib.h>

#include "report/canvas.h"
#include "util/error.h"

void sah_add_escaped(sah_text *out, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        switch (*c) {
        case '&':
            sah_text_adds(out, "&amp;");
            break;
        case '<':
            sah_text_adds(out, "&lt;");
            break;
        case '>':
            sah_text_adds(out, "&gt;");
            break;
        case '"':
            sah_text_adds(out, "&quot;");
            break;
        case '\'':
            sah_text_adds(out, "&#39;");
            break;
        default:
            if (*c >= 32 || *c == '\n' || *c == '\t')
                sah_text_add(out, (const char *)c, 1);
            else
                sah_text_adds(out, "\xEF\xBF\xBD");
        }
    }
}

static void rectangle(void *ctx, double x, double y, double width, double height, unsigned colour,
                      const char *title)
{
    sah_text *out = ctx;
    sah_text_addf(out, "<rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" fill=\"#%06x\"", x, y, width,
                  height, colour);
    if (title == NULL) {
        sah_text_adds(out, "/>\n");
        return;
    }
    sah_text_adds(out, "><title>");
    sah_add_escaped(out, title);
    sah_text_adds(out, "</title></rect>\n");
}

static void text(void *ctx, double x, double y, double size, sah_anchor anchor, const char *string)
{
    static const char *const anchors[] = {"start", "middle", "end"};
    sah_text *out = ctx;
    sah_text_addf(out, "<text x=\"%g\" y=\"%g\" font-size=\"%g\" text-anchor=\"%s\">", x, y, size,
                  anchors[anchor]);
    sah_add_escaped(out, string);
    sah_text_adds(out, "</text>\n");
}

sah_status sah_map_svg(const sah_result *result, sah_order order, bool inline_, sah_text *out,
                       sah_error *error)
{
    double width, height;
    sah_canvas canvas = {rectangle, text, out};
    sah_map_size(result, &width, &height);
    sah_text_addf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" viewBox=\"0 0 %g %g\" "
        "font-family=\"sans-serif\" fill=\"%s\" role=\"img\">\n",
        width, height, width, height, inline_ ? "currentColor" : "#222222");
    sah_text_adds(out, "<title>Heat map, layers by heads: ");
    sah_add_escaped(out, result->info.model_name);
    sah_text_adds(out, "</title>\n");
    if (!inline_) rectangle(out, 0, 0, width, height, 0xffffff, NULL);
    sah_status status = sah_map_draw(result, order, &canvas, error);
    sah_text_adds(out, "</svg>\n");
    return status == SAH_OK && out->failed ? sah_fail_memory(error, "the heat map") : status;
}
