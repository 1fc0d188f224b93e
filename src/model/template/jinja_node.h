/* SPDX-License-Identifier: Apache-2.0 */
/* A template as it was read: statements and expressions, and where each variable lives. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_NODE_H
#define SAH_MODEL_TEMPLATE_JINJA_NODE_H

#include "model/template/jinja.h"
#include "model/template/jinja_kinds.h"
#include "util/arena.h"

/* ---- Names --------------------------------------------------------------------------------------------- */

/* A name of the template, once. */
typedef struct sah_jname {
    sah_jtext text;
    uint32_t id; /* 0, 1, ... */
    struct sah_jbinding *binding; /* while scopes are worked out: the innermost scope that knows it */
    struct sah_jname *next; /* in its row of the table */
} sah_jname;

/* Where a variable's value lies: in the slot of the function (template, macro, call block) `up` functions
 * outwards. */
typedef struct sah_jref {
    uint32_t up, slot;
} sah_jref;

/* What a variable holds when its scope is entered. */
typedef enum sah_jload {
    SAH_J_LOAD_PARAMETER, /* what is put there: an argument, a loop's item */
    SAH_J_LOAD_CONTEXT, /* the variable of that name that was handed to the template, or the function */
    SAH_J_LOAD_OUTER, /* the value in the scope around */
    SAH_J_LOAD_MISSING
} sah_jload;

typedef struct sah_jbinding {
    sah_jname *name;
    struct sah_jscope *scope;
    sah_jload load;
    sah_jref outer; /* SAH_J_LOAD_OUTER */
    uint32_t slot;
    uint32_t function; /* how deep the function is nested */
    bool stored; /* the scope sets it */
    struct sah_jbinding *shadowed; /* the next outer scope's */
    struct sah_jbinding *next; /* the scope's next */
} sah_jbinding;

typedef struct sah_jscope {
    sah_jbinding *first, *last;
} sah_jscope;

/* ---- Nodes --------------------------------------------------------------------------------------------- */

typedef enum sah_jnode_kind {
    /* expressions */
    SAH_JN_CONST,
    SAH_JN_NAME,
    SAH_JN_TUPLE, /* items */
    SAH_JN_LIST, /* items */
    SAH_JN_DICT, /* items: key, value, key, ... */
    SAH_JN_ATTRIBUTE, /* a.name */
    SAH_JN_ITEM, /* a[b] */
    SAH_JN_SLICE, /* a[items 0 : 1 : 2], NULL where left out */
    SAH_JN_CALL, /* a(arguments) */
    SAH_JN_FILTER, /* a | name(arguments); a NULL: the text of the block around */
    SAH_JN_TEST, /* a is name(arguments) */
    SAH_JN_NOT,
    SAH_JN_NEGATIVE,
    SAH_JN_POSITIVE,
    SAH_JN_AND,
    SAH_JN_OR,
    SAH_JN_BINARY, /* a op b */
    SAH_JN_CONCAT, /* items joined by ~ */
    SAH_JN_COMPARE, /* a operators[0] items[0] operators[1] ... */
    SAH_JN_CONDITION, /* a if b else c (or NULL) */
    /* targets of assignments */
    SAH_JN_STORE, /* a name */
    SAH_JN_STORE_MEMBER, /* namespace.attribute: `name`, `attribute` */
    /* statements */
    SAH_JN_OUTPUT, /* items written; a text constant is the template's own text */
    SAH_JN_IF, /* a; body; other: the else branch, or one SAH_JN_IF for elif */
    SAH_JN_FOR, /* a: target, b: iterated, c: condition or NULL; body, other (for else) */
    SAH_JN_SET, /* a: target, b: value */
    SAH_JN_SET_BLOCK, /* a: target, b: filter or NULL; body */
    SAH_JN_MACRO, /* name; parameters; body */
    SAH_JN_CALL_BLOCK, /* a: the call; parameters; body */
    SAH_JN_FILTER_BLOCK, /* b: filter; body */
    SAH_JN_WITH, /* items: target, value, ...; body */
    SAH_JN_GENERATION, /* body */
    SAH_JN_BREAK,
    SAH_JN_CONTINUE
} sah_jnode_kind;

typedef enum sah_joperator {
    SAH_J_ADD,
    SAH_J_SUBTRACT,
    SAH_J_MULTIPLY,
    SAH_J_DIVIDE,
    SAH_J_FLOOR_DIVIDE,
    SAH_J_MODULO,
    SAH_J_POWER,
    SAH_J_EQUAL,
    SAH_J_UNEQUAL,
    SAH_J_LESS,
    SAH_J_LESS_EQUAL,
    SAH_J_GREATER,
    SAH_J_GREATER_EQUAL,
    SAH_J_IN,
    SAH_J_NOT_IN
} sah_joperator;

typedef struct sah_jnodes {
    struct sah_jnode **items;
    size_t n, capacity;
} sah_jnodes;

/* Of a call, filter or test. */
typedef struct sah_jarguments {
    sah_jnodes positional;
    sah_jnodes named; /* values, with the names beside */
    sah_jname **names;
    struct sah_jnode *star, *star_star; /* *list, **dict; or NULL */
} sah_jarguments;

/* A macro, a call block or a generation block; also the template itself. */
typedef struct sah_jbody {
    sah_jname **parameters;
    struct sah_jnode **defaults; /* [n_parameters], NULL where there is none */
    size_t n_parameters;
    sah_jref *places; /* [n_parameters] */
    bool takes_caller, takes_kwargs, takes_varargs; /* the body names them */
    sah_jref caller, kwargs, varargs;
    uint32_t n_slots;
} sah_jbody;

typedef struct sah_jnode {
    sah_jnode_kind kind;
    int line;
    sah_joperator op;
    struct sah_jnode *a, *b, *c;
    sah_jnodes items, body, other;
    sah_joperator *operators;
    sah_jname *name, *attribute;
    sah_jv constant;
    sah_jref ref;
    sah_jarguments *arguments;
    sah_jbody *function;
    sah_jscope scope, test_scope, else_scope;
    sah_jref loop; /* of a for: the variable `loop` */
    const struct sah_jbuiltin *builtin; /* of a filter or test; NULL: Jinja has none of that name */
} sah_jnode;

/* ---- The whole ----------------------------------------------------------------------------------------- */

enum { SAH_J_NAME_ROWS = 256 };

struct sah_jinja {
    sah_arena arena;
    sah_jnodes body;
    sah_jscope scope;
    sah_jbody function;
    sah_jname *rows[SAH_J_NAME_ROWS];
    uint32_t n_names;
    size_t n_nodes;
};

#endif
