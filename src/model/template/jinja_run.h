/* SPDX-License-Identifier: Apache-2.0 */
/* A template at work: what its files share. Functions that give a value give a missing one when they failed;
 * run->failed then tells, and nothing more is done. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_RUN_H
#define SAH_MODEL_TEMPLATE_JINJA_RUN_H

#include "model/template/jinja_node.h"

/* Variables of one call of a function (the template itself, a macro, a call block). */
typedef struct sah_jframe {
    sah_jv *slots;
    struct sah_jframe *outer; /* the function's around */
} sah_jframe;

/* Text that grows in the arena. */
typedef struct sah_jbuffer {
    char *data;
    size_t n, capacity;
} sah_jbuffer;

typedef struct sah_jrun {
    const sah_jinja *jinja;
    sah_arena arena; /* every value */
    sah_jv *context; /* [jinja->n_names] what each name means where the template does not set it */
    sah_jframe *frame;
    sah_jbuffer *out;
    const struct tm *now;
    uint64_t steps;
    int depth;
    int line; /* of the node at work */
    bool failed, raised;
    sah_error *error;
} sah_jrun;

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

sah_jv sah_jr_from_json(sah_jrun *run, const json_t *json);
sah_jv sah_jr_to_json(sah_jrun *run, sah_jv v, bool ascii, sah_jv indent, sah_jv separators, bool sorted);

/* ---- Asking values ------------------------------------------------------------------------------------- */

bool sah_jr_truth(sah_jrun *run, sah_jv v);
bool sah_jr_equal(sah_jrun *run, sah_jv a, sah_jv b);
/* <, 0, > as the order is; fails where Python has none. `op` is for the message. */
int sah_jr_compare(sah_jrun *run, sah_jv a, sah_jv b, const char *op);
bool sah_jr_contains(sah_jrun *run, sah_jv container, sah_jv item);
bool sah_jr_length(sah_jrun *run, sah_jv v, size_t *out); /* false: it has none; does not fail */
bool sah_jr_hashable(sah_jrun *run, sah_jv key); /* fails where it is not */

sah_jtext sah_jr_str(sah_jrun *run, sah_jv v); /* Python's str() */
bool sah_jr_add_repr(sah_jrun *run, sah_jbuffer *buffer, sah_jv v);
size_t sah_jr_format_real(double value, char out[40]); /* Python's repr of a float */

sah_jv sah_jr_binary(sah_jrun *run, sah_joperator op, sah_jv a, sah_jv b);
sah_jv sah_jr_attribute(sah_jrun *run, sah_jv v, sah_jtext name); /* v.name */
sah_jv sah_jr_item(sah_jrun *run, sah_jv v, sah_jv key); /* v[key] */
sah_jv sah_jr_slice(sah_jrun *run, sah_jv v, sah_jv start, sah_jv stop, sah_jv step);

/* printf-style `format % values`, and str.format. */
sah_jv sah_jr_percent(sah_jrun *run, sah_jtext format, sah_jv values);
struct sah_jargs;
sah_jv sah_jr_format(sah_jrun *run, sah_jtext format, const struct sah_jargs *args);

/* ---- Going over items ---------------------------------------------------------------------------------- */

/* NULL: it cannot be iterated, which is a failure. */
struct sah_jiterator *sah_jr_iterate(sah_jrun *run, sah_jv v);
bool sah_jr_iterable(sah_jv v);
/* False at the end and when it failed. */
bool sah_jr_next(sah_jrun *run, struct sah_jiterator *iterator, sah_jv *out);
sah_jv sah_jr_to_list(sah_jrun *run, sah_jv v, sah_jkind kind);

/* An iterator of its own making: `next` is called until it gives false. */
typedef struct sah_jiterator {
    bool (*next)(sah_jrun *run, struct sah_jiterator *it, sah_jv *out);
    sah_jv source;
    size_t at; /* bytes of a text, else items */
    struct sah_jiterator *inner;
    const struct sah_jargs *args; /* of the filter that made it */
    void *state;
    const char *type; /* "generator", ... */
} sah_jiterator;

/* ---- Running ------------------------------------------------------------------------------------------- */

typedef enum sah_jflow { SAH_J_GO_ON, SAH_J_BREAK, SAH_J_CONTINUE, SAH_J_FAILED } sah_jflow;

sah_jv sah_jr_eval(sah_jrun *run, const sah_jnode *node);
/* A call with, when `caller` is not NULL, that as the argument `caller`; a filter behind the text of a block. */
sah_jv sah_jr_eval_call(sah_jrun *run, const sah_jnode *node, const sah_jv *caller);
sah_jv sah_jr_eval_filter(sah_jrun *run, const sah_jnode *node, const sah_jv *block);
sah_jflow sah_jr_exec(sah_jrun *run, const sah_jnodes *nodes);
sah_jv *sah_jr_slot(const sah_jrun *run, sah_jref ref);
void sah_jr_enter(sah_jrun *run, const sah_jscope *scope);
void sah_jr_leave(sah_jrun *run, const sah_jscope *scope);
bool sah_jr_assign(sah_jrun *run, const sah_jnode *target, sah_jv value);

/* A macro or the body of a call block, with the variables around it. */
typedef struct sah_jmacro {
    const sah_jnode *node;
    sah_jframe *frame;
} sah_jmacro;

sah_jv sah_jr_call(sah_jrun *run, sah_jv callee, const struct sah_jargs *args);
sah_jv sah_jr_call_macro(sah_jrun *run, const sah_jmacro *macro, const struct sah_jargs *args);

typedef struct sah_jmethod {
    sah_jv self;
    const struct sah_jbuiltin *builtin; /* NULL: forbidden by the sandbox */
    sah_jtext name;
} sah_jmethod;

/* The variable `loop`. */
typedef struct sah_jloop {
    const sah_jnode *node;
    sah_jframe *frame; /* where the loop runs: its condition is evaluated there */
    sah_jv iterable;
    sah_jiterator *iterator;
    int64_t index0; /* -1: before the first item */
    bool tested; /* the condition's scope is entered */
    bool sized; /* `length` is known */
    int64_t length;
    bool peeked;
    sah_jv after, current, before, changed; /* missing: none */
} sah_jloop;

bool sah_jr_loop_next(sah_jrun *run, sah_jloop *loop, sah_jv *out);
sah_jv sah_jr_loop_attribute(sah_jrun *run, sah_jloop *loop, sah_jtext name, bool *known);

#endif
