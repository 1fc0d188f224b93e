/* SPDX-License-Identifier: Apache-2.0 */
#include "report/html.h"

#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"

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
            sah_text_addf(out, "<%s>", tag);
            sah_add_escaped(out, text ? text : "");
            sah_text_addf(out, "</%s>", tag);
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
    sah_text_addf(out, class_ ? "<p class=\"%s\">" : "<p>", class_);
    sah_add_escaped(out, text);
    sah_text_adds(out, "</p>\n");
}
