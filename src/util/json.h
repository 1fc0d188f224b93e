/* SPDX-License-Identifier: Apache-2.0 */
/* JSON on jansson: reading with errors that name the file and the place, typed look-ups with ranges, writing
 * floats that read back as the same float. */
#ifndef SAH_UTIL_JSON_H
#define SAH_UTIL_JSON_H

#include <jansson.h>
#include "sahara.h"

/* Parses one JSON text; `where` names it in errors. The result is for json_decref(). */
sah_status sah_json_parse(const char *text, size_t size, const char *where, json_t **out, sah_error *error);
sah_status sah_json_read(const char *path, size_t limit, json_t **out, sah_error *error);
/* A file's text alone, refused where it is of another kind or empty; for free(). */
sah_status sah_json_read_text(const char *path, size_t limit, char **text, size_t *size, sah_error *error);

/* The same for what must be an object. */
sah_status sah_json_parse_object(const char *text, size_t size, const char *where, json_t **out,
                                 sah_error *error);
sah_status sah_json_read_object(const char *path, size_t limit, json_t **out, sah_error *error);

/* The value as text with jansson's flags, for free(); NULL: no memory, or not valid UTF-8. Characters at which some
 * readers end a line are escaped. (Where memory is out json_dumps() may leave out keys without a word: in 2.14
 * do_dump() drops the status of dump_string().) */
char *sah_json_text(const json_t *value, size_t flags);

/* Members of an object. An absent or null member gives `otherwise`; one of another type or outside [low,
 * high] is an error that names it. */
sah_status sah_json_int(const json_t *object, const char *key, int64_t otherwise, int64_t low, int64_t high,
                        int64_t *out, const char *where, sah_error *error);
sah_status sah_json_number(const json_t *object, const char *key, double otherwise, double *out,
                           const char *where, sah_error *error);
sah_status sah_json_bool(const json_t *object, const char *key, bool otherwise, bool *out, const char *where,
                         sah_error *error);
/* Borrowed from the object; `otherwise` may be NULL. */
sah_status sah_json_string(const json_t *object, const char *key, const char *otherwise, const char **out,
                           const char *where, sah_error *error);

/* A float as the shortest decimal that reads back as the same float32 (a finite one). */
void sah_format_float(float value, char out[32]);
/* The same for float64. */
void sah_format_double(double value, char out[32]);

/* A float32 as the JSON number that its shortest decimal reads as: 0.0001, not 9.9999997473787516e-05. */
json_t *sah_json_float(float value);

#endif
