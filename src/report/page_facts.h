/* SPDX-License-Identifier: Apache-2.0 */
/* What a file says of itself, as the page shows it: heading, settings, the command that gives it again. */
#ifndef SAH_REPORT_PAGE_FACTS_H
#define SAH_REPORT_PAGE_FACTS_H

#include <jansson.h>

#include "util/strings.h"

/* A JSON value; null where there is none. */
void sah_page_json(sah_text *out, const json_t *value);

void sah_page_heading(sah_text *out, const char *command, const json_t *header);

/* Version, checksum, all settings, and the command that gives the file again. */
void sah_page_facts(sah_text *out, const char *path, const json_t *header);

#endif
