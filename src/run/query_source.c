/* SPDX-License-Identifier: Apache-2.0 */
#include "run/query_source.h"

#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/strings.h"

const char *sah_query_column(const sah_query_source *s, size_t i)
{
    static const char *const COLUMNS[] = {"input", "goal", "query", "prompt", NULL};
    if (s->partners_first && i == 0) return SAH_COLUMN_PARTNER;
    if (s->partners_first) i--;
    if (s->column == NULL) return COLUMNS[i];
    return i == 0 ? s->column : NULL;
}

bool sah_query_is_blank(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (strchr(" \t\r\n\v\f", text[i]) == NULL) return false;
    }
    return true;
}

bool sah_query_is_full(const sah_query_source *s)
{
    return s->limit > 0 && s->out->n >= s->limit;
}

sah_status sah_query_add(const sah_query_source *s, const char *query, size_t size, const char *partner,
                         const char *place, sah_error *error)
{
    if (sah_query_is_blank(query, size)) return SAH_OK;
    if (s->partners != NULL && (partner == NULL || sah_query_is_blank(partner, strlen(partner))))
        return sah_fail(error, SAH_FAILED, "%s: %s: the query has no partner", s->where, place);
    sah_status status = sah_strings_add(s->out, query, size, error);
    if (status == SAH_OK && s->partners != NULL)
        status = sah_strings_add(s->partners, partner, strlen(partner), error);
    return status;
}

sah_status sah_query_fail_column(const sah_query_source *s, const char *place, const char *kind,
                                 const sah_strings *names, sah_error *error)
{
    enum { SHOWN = 300 /* bytes */ };
    sah_text list = {0};
    for (size_t i = 0; i < names->n && list.size < SHOWN; i++)
        sah_text_addf(&list, "%s\"%.60s\"", i > 0 ? ", " : "", names->items[i]);
    if (list.size >= SHOWN) sah_text_adds(&list, ", ...");
    sah_status status;
    if (list.failed)
        status = sah_fail_memory(error, s->where);
    else if (s->column != NULL)
        status = sah_fail(error, SAH_FAILED, "%s: %s: no %s \"%s\" among %s", s->where, place, kind,
                          s->column, names->n > 0 ? list.data : "none");
    else
        status = sah_fail(error, SAH_FAILED,
                          "%s: %s: no %s input, goal, query or prompt among %s; name the one to read",
                          s->where, place, kind, names->n > 0 ? list.data : "none");
    free(list.data);
    return status;
}

size_t sah_query_line_end(const char *text, size_t size, size_t at)
{
    if (at >= size || (text[at] != '\n' && text[at] != '\r')) return 0;
    return text[at] == '\r' && at + 1 < size && text[at + 1] == '\n' ? 2 : 1;
}

size_t sah_query_lines(const char *text, size_t size)
{
    size_t lines = 0;
    for (size_t at = 0, end; at<size; at += end> 0 ? end : 1) {
        end = sah_query_line_end(text, size, at);
        lines += end > 0;
    }
    return lines;
}
