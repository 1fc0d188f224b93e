/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing: tokens and nodes, for statements (jinja_parse.c) and expressions (jinja_expression.c).
 * Functions that give a node give NULL when they failed, with the reason in the parser's error. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_PARSE_H
#define SAH_MODEL_TEMPLATE_JINJA_PARSE_H

#include "model/template/jinja_lex.h"
#include "model/template/jinja_node.h"

/* Nesting of expressions and blocks. Python's own parser takes 200 brackets of what Jinja compiles to. */
enum { SAH_J_DEEPEST = 200 };

typedef struct sah_jparser {
    const sah_jtoken *token; /* the one to be read next */
    sah_jinja *jinja;
    sah_error *error;
    int depth;
    int loops; /* loops around in this function: break and continue need one */
} sah_jparser;

bool sah_jparse_at(const sah_jparser *p, const char *op); /* the operator `op` comes next */
bool sah_jparse_at_name(const sah_jparser *p, const char *name); /* the word comes next */
bool sah_jparse_skip(sah_jparser *p, const char *op);
bool sah_jparse_skip_name(sah_jparser *p, const char *name);
bool sah_jparse_expect(sah_jparser *p, const char *op);
sah_jname *sah_jparse_name(sah_jparser *p); /* any name; NULL: something else comes next */

sah_jnode *sah_jparse_node(sah_jparser *p, sah_jnode_kind kind, int line);
bool sah_jparse_append(sah_jparser *p, sah_jnodes *nodes, sah_jnode *node);
sah_jname *sah_jparse_intern(sah_jparser *p, sah_jtext text);
void *sah_jparse_alloc(sah_jparser *p, size_t n, size_t size);

/* "line N: expected WHAT, found ..."; "line N: WHAT". Both give NULL. */
void *sah_jparse_unexpected(sah_jparser *p, const char *what);
void *sah_jparse_fail(sah_jparser *p, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool sah_jparse_deeper(sah_jparser *p); /* false: too deep; pair with p->depth-- */

#endif
