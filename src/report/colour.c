/* SPDX-License-Identifier: Apache-2.0 */
#include "report/colour.h"

#include <math.h>

/* A colour in Oklab. */
typedef struct oklab {
    double lightness, a, b;
} oklab;

/* In polar form: lightness, chroma, hue in degrees. */
static oklab of_hue(double lightness, double chroma, double degrees)
{
    const double angle = degrees * 0.017453292519943295;
    return (oklab){lightness, chroma * cos(angle), chroma * sin(angle)};
}

/* A channel of sRGB (IEC 61966-2-1), 0 to 255. */
static unsigned channel(double linear)
{
    double x = fmin(fmax(linear, 0), 1);
    x = x <= 0.0031308 ? 12.92 * x : 1.055 * pow(x, 1 / 2.4) - 0.055;
    return (unsigned)lround(255 * x);
}

/* The matrices are those of https://bottosson.github.io/posts/oklab/. */
static unsigned to_rgb(oklab c)
{
    double l = c.lightness + 0.3963377774 * c.a + 0.2158037573 * c.b,
           m = c.lightness - 0.1055613458 * c.a - 0.0638541728 * c.b,
           s = c.lightness - 0.0894841775 * c.a - 1.2914855480 * c.b;
    l = l * l * l;
    m = m * m * m;
    s = s * s * s;
    return channel(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s) << 16 |
           channel(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s) << 8 |
           channel(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s);
}

unsigned sah_colour(double place)
{
    const oklab zero = {0.967, 0, 0};
    const oklab middle = place < 0 ? of_hue(0.64, 0.11, 60) : of_hue(0.64, 0.11, 237),
                end = place < 0 ? of_hue(0.30, 0.07, 55) : of_hue(0.30, 0.07, 262);
    const double along = 2 * fmin(fabs(place), 1); /* both legs are of one length */
    const oklab from = along < 1 ? zero : middle, to = along < 1 ? middle : end;
    const double share = along < 1 ? along : along - 1;
    return to_rgb((oklab){from.lightness + share * (to.lightness - from.lightness),
                          from.a + share * (to.a - from.a), from.b + share * (to.b - from.b)});
}
