/* SPDX-License-Identifier: Apache-2.0 */
#include "report/fields.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "util/json.h"

void sah_cell_json(sah_text *text, const char *string)
{
    json_t *value = json_string(string);
    char *quoted = value != NULL ? sah_json_text(value, JSON_ENCODE_ANY) : NULL;
    if (quoted != NULL)
        sah_text_adds(text, quoted);
    else
        text->failed = true;
    free(quoted);
    json_decref(value);
}

void sah_cell_tsv(sah_text *text, const char *string)
{
    for (const char *c = string; *c != '\0'; c++) {
        if (*c == '\t')
            sah_text_adds(text, "\\t");
        else if (*c == '\n')
            sah_text_adds(text, "\\n");
        else if (*c == '\r')
            sah_text_adds(text, "\\r");
        else if (*c == '\\')
            sah_text_adds(text, "\\\\");
        else
            sah_text_add(text, c, 1);
    }
}

void sah_cell_number(sah_text *text, double value, bool tsv)
{
    char number[32];
    if (isnan(value)) {
        sah_text_adds(text, tsv ? "" : "null");
    } else if (tsv) {
        sah_text_addf(text, "%.6g", value);
    } else {
        sah_format_double(value, number);
        sah_text_adds(text, number);
    }
}
