/* SPDX-License-Identifier: Apache-2.0 */
/* The colours of scores. */
#ifndef SAH_REPORT_COLOUR_H
#define SAH_REPORT_COLOUR_H

/* 0xRRGGBB for a place on the scale, in [-1, 1]: from near white at 0 over blue to dark blue at 1, over orange to dark
 * brown at -1. Equal steps look equally wide: they are equal distances in Oklab (Ottosson 2020), within 3 %, and both
 * arms darken alike, which also readers who see few colours can tell. */
unsigned sah_colour(double place);

#endif
