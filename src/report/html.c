/* SPDX-License-Identifier: Apache-2.0 */
#include "report/html.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"

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

void sah_html_number(sah_text *out, double value)
{
    char digits[32];
    double magnitude = fabs(value);
    snprintf(digits, sizeof digits, "%.2e", value); /* three digits of it */
    if (magnitude >= 999.5 && magnitude < 1e9)
        sah_text_addf(out, "%.0f", strtod(digits, NULL));
    else
        sah_text_addf(out, "%.3g", value);
}

/* A cell, a number with a fraction by three of its digits, and all of them where it is pointed at. */
static void add_cell(sah_text *out, const char *tag, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || strchr(text, '.') == NULL || !isfinite(value)) {
        sah_text_addf(out, "<%s>", tag);
        sah_add_escaped(out, text);
    } else {
        sah_text_addf(out, "<%s title=\"", tag);
        sah_add_escaped(out, text);
        sah_text_adds(out, "\">");
        sah_html_number(out, value);
    }
    sah_text_addf(out, "</%s>", tag);
}

void sah_html_table(sah_text *out, const char *tsv)
{
    const char *tag = "th";
    sah_text_adds(out, "<div class=\"scroll\"><table>\n");
    for (const char *line = tsv; *line != '\0'; tag = "td") {
        size_t length = strcspn(line, "\n");
        sah_text_adds(out, "<tr>");
        for (const char *cell = line;; cell++) {
            size_t n = strcspn(cell, "\t\n");
            char *text = strndup(cell, n);
            if (text == NULL) out->failed = true;
            add_cell(out, tag, text != NULL ? text : "");
            free(text);
            cell += n;
            if (*cell != '\t') break;
        }
        sah_text_adds(out, "</tr>\n");
        line += length + (line[length] == '\n');
    }
    sah_text_adds(out, "</table></div>\n");
}

void sah_html_paragraph(sah_text *out, const char *class_, const char *text)
{
    sah_text_addf(out, class_ != NULL ? "<p class=\"%s\">" : "<p>", class_);
    sah_add_escaped(out, text);
    sah_text_adds(out, "</p>\n");
}
