/* SPDX-License-Identifier: Apache-2.0 */
/* A heat map as SVG. */
#ifndef SAH_REPORT_SVG_H
#define SAH_REPORT_SVG_H

#include "report/heat_picture.h"
#include "util/strings.h"

/* The heat map as SVG; `inline_`: part of a page, whose text colour it takes, without ground of its own. */
sah_status sah_map_svg(const sah_map *map, bool inline_, sah_text *out, sah_error *error);

#endif
