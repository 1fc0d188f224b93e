/* SPDX-License-Identifier: Apache-2.0 */
/* Responses to judge, from our own `generate` and from other programs:
 *   - JSON lines, one object a response; a result file's header and the totals of an earlier judgement are
 * known as such
 *   - a JSON array of objects or of strings
 *   - one JSON object: of objects by name ({"0": {"generation": ...}}, the paper's implementation), of
 * strings by name, or of columns ({"response": [...], "query": [...]}) */
#ifndef SAH_EVAL_JUDGE_RESPONSES_H
#define SAH_EVAL_JUDGE_RESPONSES_H

#include <jansson.h>
#include "sahara.h"

typedef struct sah_record {
    json_t *object; /* the record; valid until the next one is asked for */
    const char
        *line; /* its line as it stands in the file, without blanks around it; NULL: it has none of its own */
    size_t line_size;
    const char *text; /* the response; may hold NULs */
    size_t length;
    char where[128]; /* "line 3" or "record 3" */
} sah_record;

typedef struct sah_responses {
    const char *name, *key;
    char *data; /* the file */
    size_t size, at, line;
    json_t *header; /* of a result file, or NULL */
    json_t *document; /* NULL: JSON lines */
    json_t *columns; /* a member of document: the column of responses, or NULL */
    void *next_member;
    size_t index;
    json_t *record;
} sah_responses;

/* `key` names the response in a record; NULL: the first present of response, generation, output. "-" is
 * standard input. `path` and `key` must outlive it. */
sah_status sah_responses_open(const char *path, const char *key, sah_responses *out, sah_error *error);
/* The next response, or one with object NULL at the end. */
sah_status sah_responses_next(sah_responses *responses, sah_record *out, sah_error *error);
void sah_responses_close(sah_responses *responses);

#endif
