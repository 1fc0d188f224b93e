/* SPDX-License-Identifier: Apache-2.0 */
/* The queries that an audit asks when it is given none: the project's own, compiled in. */
#include "run/query_source.h"
#include "run/queries_table.h"
#include "util/embedded.h"

static sah_status read_text(const sah_embedded_text *text, const char *where, size_t limit, sah_strings *out,
                            sah_error *error)
{
    const sah_query_source source = {
        .text = (const char *)text->data, .size = text->size, .where = where, .limit = limit, .out = out};
    return sah_query_read_table(&source, SAH_SEPARATORS_CSV, error);
}

sah_status sah_audit_queries(size_t limit, sah_strings *harmful, sah_strings *harmless, sah_error *error)
{
    sah_status status = read_text(&sah_text_harmful_heldout, "own harmful queries", limit, harmful, error);
    if (status == SAH_OK)
        status = read_text(&sah_text_harmless_heldout, "own harmless queries", limit, harmless, error);
    return status;
}
