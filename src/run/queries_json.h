/* SPDX-License-Identifier: Apache-2.0 */
/* Queries from JSON and JSON lines. */
#ifndef SAH_RUN_QUERIES_JSON_H
#define SAH_RUN_QUERIES_JSON_H

#include "run/query_source.h"

/* Whether the text is meant as JSON though no name says so. */
sah_status sah_query_is_json(const sah_query_source *s, bool *is_json, sah_error *error);

/* One or several JSON values: records, or arrays of them. A record is an object or the query itself. */
sah_status sah_query_read_json(const sah_query_source *s, sah_error *error);

#endif
