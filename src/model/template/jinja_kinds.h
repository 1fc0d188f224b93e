/* SPDX-License-Identifier: Apache-2.0 */
/* The values that a template computes with: Python's, as far as templates can tell. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_KINDS_H
#define SAH_MODEL_TEMPLATE_JINJA_KINDS_H

#include "model/template/jinja_text.h"

typedef enum sah_jkind {
    SAH_J_MISSING, /* no value at all: a variable not set, an argument not given; templates never see it */
    SAH_J_UNDEFINED,
    SAH_J_NONE,
    SAH_J_BOOL,
    SAH_J_INT,
    SAH_J_FLOAT,
    SAH_J_TEXT,
    SAH_J_LIST,
    SAH_J_TUPLE,
    SAH_J_DICT,
    SAH_J_VIEW, /* keys(), values() or items() of a dict */
    SAH_J_RANGE,
    SAH_J_NAMESPACE,
    SAH_J_ITERATOR, /* what map, select, reverse and the like give: goes through its items once */
    SAH_J_LOOP, /* the variable `loop` */
    SAH_J_MACRO,
    SAH_J_FUNCTION, /* range, dict, namespace, ... */
    SAH_J_METHOD /* a method together with the value it belongs to */
} sah_jkind;

typedef struct sah_jv {
    sah_jkind kind;
    bool safe; /* of a text: marked by safe or escape (markupsafe.Markup) */
    union {
        bool truth;
        int64_t integer;
        double real;
        const sah_jtext *text;
        struct sah_jlist *list; /* list, tuple, view */
        struct sah_jdict *dict; /* dict, namespace */
        const struct sah_jundefined *undefined;
        const struct sah_jrange *range;
        struct sah_jiterator *iterator;
        struct sah_jloop *loop;
        const struct sah_jmacro *macro;
        const struct sah_jbuiltin *function;
        const struct sah_jmethod *method;
    };
} sah_jv;

/* Never changes once a template can see it. */
typedef struct sah_jlist {
    sah_jv *items;
    size_t n, capacity;
    const char *view; /* of a view: "dict_keys", ... */
} sah_jlist;

typedef struct sah_jdict {
    sah_jv *keys, *values; /* in the order in which keys came */
    size_t n, capacity;
} sah_jdict;

/* What is said when an undefined value is used. */
typedef struct sah_jundefined {
    const char *hint; /* the whole message; else it is made of: */
    sah_jtext name;
    const char *owner; /* "dict object", whose attribute or element it would be; NULL: a variable */
    bool element; /* `name` is an element's, not quoted */
} sah_jundefined;

typedef struct sah_jrange {
    int64_t start, stop, step;
    size_t n;
} sah_jrange;

static inline sah_jv sah_jv_none(void)
{
    return (sah_jv){.kind = SAH_J_NONE};
}

static inline sah_jv sah_jv_missing(void)
{
    return (sah_jv){.kind = SAH_J_MISSING};
}

static inline sah_jv sah_jv_bool(bool truth)
{
    return (sah_jv){.kind = SAH_J_BOOL, .truth = truth};
}

static inline sah_jv sah_jv_int(int64_t integer)
{
    return (sah_jv){.kind = SAH_J_INT, .integer = integer};
}

static inline sah_jv sah_jv_real(double real)
{
    return (sah_jv){.kind = SAH_J_FLOAT, .real = real};
}

static inline bool sah_jv_is_number(sah_jv v)
{
    return v.kind == SAH_J_BOOL || v.kind == SAH_J_INT || v.kind == SAH_J_FLOAT;
}

/* Of a bool or an integer. */
static inline int64_t sah_jv_integer(sah_jv v)
{
    return v.kind == SAH_J_BOOL ? v.truth : v.integer;
}

/* Of a number. */
static inline double sah_jv_number(sah_jv v)
{
    return v.kind == SAH_J_FLOAT ? v.real : (double)sah_jv_integer(v);
}

#endif
