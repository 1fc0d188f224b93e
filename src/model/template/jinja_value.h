/* SPDX-License-Identifier: Apache-2.0 */
/* Values made and asked, failures, and the bounds of a template's work. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_VALUE_H
#define SAH_MODEL_TEMPLATE_JINJA_VALUE_H

#include "model/template/jinja_run.h"

/* ---- Failing and bounds -------------------------------------------------------------------------------- */

sah_jv sah_jr_fail(sah_jrun *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
sah_jv sah_jr_unsupported(sah_jrun *run, const char *what, sah_jtext name);
sah_jv sah_jr_out_of_memory(sah_jrun *run);

/* Counts n units of work; false when there were too many. */
bool sah_jr_step(sah_jrun *run, size_t n);

/* One level of recursion; pair with run->depth--, also when it failed. */
bool sah_jr_deeper(sah_jrun *run);

/* ---- Making values ------------------------------------------------------------------------------------- */

void *sah_jr_alloc(sah_jrun *run, size_t n, size_t size); /* NULL: failed */
sah_jv sah_jr_text(sah_jrun *run, sah_jtext text); /* not copied */
sah_jv sah_jr_text_c(sah_jrun *run, const char *string); /* not copied */
bool sah_jr_add(sah_jrun *run, sah_jbuffer *buffer, const char *data, size_t n);
bool sah_jr_add_text(sah_jrun *run, sah_jbuffer *buffer, sah_jtext text);
bool sah_jr_add_code(sah_jrun *run, sah_jbuffer *buffer, uint32_t code);
bool sah_jr_add_c(sah_jrun *run, sah_jbuffer *buffer, const char *string);
bool sah_jr_add_repeated(sah_jrun *run, sah_jbuffer *buffer, sah_jtext text, int64_t n);
sah_jv sah_jr_buffer_text(sah_jrun *run, const sah_jbuffer *buffer);

sah_jv sah_jr_list(sah_jrun *run, sah_jkind kind, size_t capacity); /* empty, to be filled */
bool sah_jr_push(sah_jrun *run, sah_jv list, sah_jv item);
sah_jv sah_jr_pair(sah_jrun *run, sah_jv a, sah_jv b); /* a tuple */
sah_jv sah_jr_dict(sah_jrun *run);
bool sah_jr_dict_set(sah_jrun *run, sah_jv dict, sah_jv key, sah_jv value);
const sah_jv *sah_jr_dict_get(sah_jrun *run, sah_jv dict, sah_jv key);
const sah_jv *sah_jr_dict_get_text(sah_jv dict, sah_jtext key);

sah_jv sah_jr_undefined(sah_jrun *run, sah_jtext name); /* 'name' is undefined */
sah_jv sah_jr_undefined_hint(sah_jrun *run, const char *hint);
sah_jv sah_jr_undefined_member(sah_jrun *run, sah_jv owner, sah_jv name);
sah_jv sah_jr_use_undefined(sah_jrun *run, sah_jv undefined); /* fails as Jinja does */

/* "not a TYPE": fails as Python's TypeError, or as the undefined value does. */
sah_jv sah_jr_type_error(sah_jrun *run, sah_jv v, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* ---- Asking values ------------------------------------------------------------------------------------- */

bool sah_jr_truth(sah_jrun *run, sah_jv v);
bool sah_jr_equal(sah_jrun *run, sah_jv a, sah_jv b);

/* <, 0, > as the order is; fails where Python has none. `op` is for the message. */
int sah_jr_compare(sah_jrun *run, sah_jv a, sah_jv b, const char *op);
bool sah_jr_contains(sah_jrun *run, sah_jv container, sah_jv item);
bool sah_jr_length(sah_jrun *run, sah_jv v, size_t *out); /* false: it has none; does not fail */
bool sah_jr_hashable(sah_jrun *run, sah_jv key); /* fails where it is not */

/* "str", "dict", ...: Python's name of the type. */
const char *sah_jv_type(sah_jv v);

#endif
