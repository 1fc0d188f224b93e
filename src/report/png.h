/* SPDX-License-Identifier: Apache-2.0 */
/* A heat map as PNG. */
#ifndef SAH_REPORT_PNG_H
#define SAH_REPORT_PNG_H

#include "report/heat_picture.h"

/* As PNG of 600 dots an inch; *data for free(). */
sah_status sah_map_png(const sah_map *map, unsigned char **data, size_t *size, sah_error *error);

#endif
