/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar is that of Jinja 3.1: from the loosest to the tightest `if`, or, and, not, comparisons, + -, ~,
 * * / // %, **, signs, then subscripts, calls, filters and tests. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/template/jinja_expression.h"
#include "model/template/jinja_filters.h"
#include "model/template/jinja_tests.h"
#include "util/error.h"

static sah_jnode *parse_or(sah_jparser *p);
static sah_jnode *parse_unary(sah_jparser *p, bool filters);
static sah_jnode *parse_primary(sah_jparser *p);
static sah_jarguments *parse_arguments(sah_jparser *p);

/* ---- Operators ----------------------------------------------------------------------------------------- */

static sah_jnode *two(sah_jparser *p, sah_jnode_kind kind, int line, sah_jnode *a, sah_jnode *b)
{
    if (a == NULL || b == NULL) return NULL;
    sah_jnode *node = sah_jparse_node(p, kind, line);
    if (node == NULL) return NULL;
    node->a = a;
    node->b = b;
    return node;
}

static sah_jnode *one(sah_jparser *p, sah_jnode_kind kind, int line, sah_jnode *a)
{
    sah_jnode *node = a != NULL ? sah_jparse_node(p, kind, line) : NULL;
    if (node != NULL) node->a = a;
    return node;
}

static sah_jnode *binary(sah_jparser *p, sah_joperator op, int line, sah_jnode *a, sah_jnode *b)
{
    sah_jnode *node = two(p, SAH_JN_BINARY, line, a, b);
    if (node != NULL) node->op = op;
    return node;
}

/* A chain that leans to the left nests as deeply as it is long. */
static bool chain_too_long(sah_jparser *p, int *n)
{
    return ++*n > SAH_J_DEEPEST &&
           sah_jparse_fail(p, p->token->line, "an expression is nested too deeply") == NULL;
}

static sah_jnode *parse_power(sah_jparser *p)
{
    int n = 0;
    sah_jnode *left = parse_unary(p, true);
    while (left != NULL && sah_jparse_at(p, "**")) {
        const int line = p->token++->line;
        if (chain_too_long(p, &n)) return NULL;
        left = binary(p, SAH_J_POWER, line, left, parse_unary(p, true));
    }
    return left;
}

static sah_jnode *parse_product(sah_jparser *p)
{
    static const struct {
        const char *sign;
        sah_joperator op;
    } signs[] = {{"*", SAH_J_MULTIPLY}, {"/", SAH_J_DIVIDE}, {"//", SAH_J_FLOOR_DIVIDE}, {"%", SAH_J_MODULO}};
    int n = 0;
    sah_jnode *left = parse_power(p);
    for (size_t i = 0; left != NULL && i < 4;) {
        const int line = p->token->line;
        if (!sah_jparse_skip(p, signs[i].sign)) {
            i++;
            continue;
        }
        if (chain_too_long(p, &n)) return NULL;
        left = binary(p, signs[i].op, line, left, parse_power(p));
        i = 0;
    }
    return left;
}

static sah_jnode *parse_concat(sah_jparser *p)
{
    const int line = p->token->line;
    sah_jnode *first = parse_product(p);
    if (first == NULL || !sah_jparse_at(p, "~")) return first;
    sah_jnode *node = sah_jparse_node(p, SAH_JN_CONCAT, line);
    if (node == NULL || !sah_jparse_append(p, &node->items, first)) return NULL;
    while (sah_jparse_skip(p, "~")) {
        if (!sah_jparse_append(p, &node->items, parse_product(p))) return NULL;
    }
    return node;
}

static sah_jnode *parse_sum(sah_jparser *p)
{
    int n = 0;
    sah_jnode *left = parse_concat(p);
    while (left != NULL && (sah_jparse_at(p, "+") || sah_jparse_at(p, "-"))) {
        const sah_joperator op = sah_jparse_at(p, "+") ? SAH_J_ADD : SAH_J_SUBTRACT;
        const int line = p->token++->line;
        if (chain_too_long(p, &n)) return NULL;
        left = binary(p, op, line, left, parse_concat(p));
    }
    return left;
}

static bool comparison(sah_jparser *p, sah_joperator *op)
{
    static const struct {
        const char *sign;
        sah_joperator op;
    } signs[] = {{"==", SAH_J_EQUAL},         {"!=", SAH_J_UNEQUAL}, {"<=", SAH_J_LESS_EQUAL},
                 {">=", SAH_J_GREATER_EQUAL}, {"<", SAH_J_LESS},     {">", SAH_J_GREATER}};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        *op = signs[i].op;
        if (sah_jparse_skip(p, signs[i].sign)) return true;
    }
    *op = SAH_J_IN;
    if (sah_jparse_skip_name(p, "in")) return true;
    if (!sah_jparse_at_name(p, "not")) return false;
    p->token++;
    *op = SAH_J_NOT_IN;
    if (sah_jparse_skip_name(p, "in")) return true;
    p->token--;
    return false;
}

static sah_jnode *parse_comparison(sah_jparser *p)
{
    enum { MOST = 64 };
    sah_joperator ops[MOST];
    const int line = p->token->line;
    sah_jnode *first = parse_sum(p);
    if (first == NULL || !comparison(p, &ops[0])) return first;
    sah_jnode *node = sah_jparse_node(p, SAH_JN_COMPARE, line);
    if (node == NULL) return NULL;
    node->a = first;
    do {
        if (node->items.n + 1 == MOST) return sah_jparse_fail(p, line, "a comparison of too many values");
        if (!sah_jparse_append(p, &node->items, parse_sum(p))) return NULL;
    } while (comparison(p, &ops[node->items.n]));
    node->operators = sah_jparse_alloc(p, node->items.n, sizeof *node->operators);
    if (node->operators == NULL) return NULL;
    memcpy(node->operators, ops, node->items.n * sizeof *ops);
    return node;
}

static sah_jnode *parse_not(sah_jparser *p)
{
    const int line = p->token->line;
    if (!sah_jparse_skip_name(p, "not")) return parse_comparison(p);
    sah_jnode *node = sah_jparse_deeper(p) ? one(p, SAH_JN_NOT, line, parse_not(p)) : NULL;
    p->depth--;
    return node;
}

static sah_jnode *parse_and(sah_jparser *p)
{
    int n = 0;
    sah_jnode *left = parse_not(p);
    while (left != NULL && sah_jparse_at_name(p, "and")) {
        const int line = p->token++->line;
        if (chain_too_long(p, &n)) return NULL;
        left = two(p, SAH_JN_AND, line, left, parse_not(p));
    }
    return left;
}

static sah_jnode *parse_or(sah_jparser *p)
{
    int n = 0;
    sah_jnode *left = parse_and(p);
    while (left != NULL && sah_jparse_at_name(p, "or")) {
        const int line = p->token++->line;
        if (chain_too_long(p, &n)) return NULL;
        left = two(p, SAH_JN_OR, line, left, parse_and(p));
    }
    return left;
}

sah_jnode *sah_jparse_expression_unconditional(sah_jparser *p)
{
    if (!sah_jparse_deeper(p)) return NULL;
    sah_jnode *node = parse_or(p);
    p->depth--;
    return node;
}

sah_jnode *sah_jparse_expression(sah_jparser *p)
{
    int n = 0;
    if (!sah_jparse_deeper(p)) return NULL;
    sah_jnode *value = parse_or(p);
    while (value != NULL && sah_jparse_at_name(p, "if")) {
        const int line = p->token++->line;
        if (chain_too_long(p, &n)) return NULL;
        sah_jnode *node = two(p, SAH_JN_CONDITION, line, value, parse_or(p));
        if (node != NULL && sah_jparse_skip_name(p, "else")) {
            node->c = sah_jparse_expression(p);
            if (node->c == NULL) node = NULL;
        }
        value = node;
    }
    p->depth--;
    return value;
}

/* ---- Signs, subscripts, calls -------------------------------------------------------------------------- */

/* The inside of [...], a value or a slice. */
static sah_jnode *parse_subscribed(sah_jparser *p, sah_jnode *object, int line)
{
    sah_jnode *index = NULL;
    if (!sah_jparse_at(p, ":")) {
        index = sah_jparse_expression(p);
        if (index == NULL) return NULL;
        if (!sah_jparse_at(p, ":")) return two(p, SAH_JN_ITEM, line, object, index);
    }
    sah_jnode *node = sah_jparse_node(p, SAH_JN_SLICE, line);
    if (node == NULL) return NULL;
    node->a = object;
    node->items.items = sah_jparse_alloc(p, 3, sizeof *node->items.items);
    if (node->items.items == NULL) return NULL;
    node->items.n = 3;
    node->items.items[0] = index;
    for (size_t i = 1; i < 3 && sah_jparse_skip(p, ":"); i++) {
        if (sah_jparse_at(p, ":") || sah_jparse_at(p, "]") || sah_jparse_at(p, ",")) continue;
        node->items.items[i] = sah_jparse_expression(p);
        if (node->items.items[i] == NULL) return NULL;
    }
    return node;
}

/* One subscript, or a tuple of several. */
static sah_jnode *parse_brackets(sah_jparser *p, sah_jnode *object)
{
    const int line = p->token++->line;
    const bool empty = sah_jparse_at(p, "]");
    sah_jnode *node = empty ? NULL : parse_subscribed(p, object, line);
    if (node == NULL && !empty) return NULL;
    if (node == NULL || sah_jparse_at(p, ",")) {
        sah_jnode *tuple = sah_jparse_node(p, SAH_JN_TUPLE, line);
        if (tuple == NULL) return NULL;
        if (node != NULL && node->kind == SAH_JN_SLICE)
            return sah_jparse_fail(p, line, "several slices in one subscript are not supported");
        if (node != NULL && !sah_jparse_append(p, &tuple->items, node->b)) return NULL;
        while (sah_jparse_skip(p, ","))
            if (!sah_jparse_append(p, &tuple->items, sah_jparse_expression(p))) return NULL;
        node = two(p, SAH_JN_ITEM, line, object, tuple);
    }
    return sah_jparse_expect(p, "]") ? node : NULL;
}

static sah_jnode *parse_dot(sah_jparser *p, sah_jnode *object)
{
    const int line = p->token++->line;
    sah_jnode *node = sah_jparse_node(p, SAH_JN_ATTRIBUTE, line);
    if (node == NULL) return NULL;
    node->a = object;
    if (p->token->kind != SAH_JT_INTEGER) {
        node->name = sah_jparse_name(p);
        return node->name != NULL ? node : NULL;
    }
    node->kind = SAH_JN_ITEM; /* x.0 */
    node->b = parse_primary(p);
    return node->b != NULL ? node : NULL;
}

static sah_jnode *parse_call(sah_jparser *p, sah_jnode *callee)
{
    sah_jnode *node = sah_jparse_node(p, SAH_JN_CALL, p->token->line);
    if (node == NULL) return NULL;
    node->a = callee;
    node->arguments = parse_arguments(p);
    return node->arguments != NULL ? node : NULL;
}

static sah_jnode *parse_postfix(sah_jparser *p, sah_jnode *node)
{
    for (int n = 0; node != NULL;) {
        if (sah_jparse_at(p, "."))
            node = parse_dot(p, node);
        else if (sah_jparse_at(p, "["))
            node = parse_brackets(p, node);
        else if (sah_jparse_at(p, "("))
            node = parse_call(p, node);
        else
            break;
        if (chain_too_long(p, &n)) return NULL;
    }
    return node;
}

/* *list, **dict, name=value and plain values, in the order that Python asks for. */
static bool parse_argument(sah_jparser *p, sah_jarguments *out)
{
    const sah_jtoken *token = p->token;
    const bool named =
        token->kind == SAH_JT_NAME && token[1].kind == SAH_JT_OPERATOR && sah_jtext_is(token[1].text, "=");
    bool ordered = out->star_star == NULL;
    if (sah_jparse_skip(p, "**")) {
        out->star_star = ordered ? sah_jparse_expression(p) : NULL;
        if (ordered && out->star_star == NULL) return false;
    } else if (sah_jparse_skip(p, "*")) {
        ordered = ordered && out->star == NULL;
        out->star = ordered ? sah_jparse_expression(p) : NULL;
        if (ordered && out->star == NULL) return false;
    } else if (named && ordered) {
        sah_jname *name = sah_jparse_name(p), **names;
        p->token++;
        names = sah_jparse_alloc(p, out->named.n + 1, sizeof *names);
        if (name == NULL || names == NULL) return false;
        for (size_t i = 0; i < out->named.n; i++) {
            names[i] = out->names[i];
            if (names[i] == name)
                return sah_jparse_fail(p, token->line, "the argument '%.*s' is given twice",
                                       (int)name->text.size, name->text.data) != NULL;
        }
        names[out->named.n] = name;
        out->names = names;
        if (!sah_jparse_append(p, &out->named, sah_jparse_expression(p))) return false;
    } else {
        ordered = ordered && out->star == NULL && out->named.n == 0;
        if (ordered && !sah_jparse_append(p, &out->positional, sah_jparse_expression(p))) return false;
    }
    if (!ordered) sah_jparse_fail(p, token->line, "the arguments of a call are in an impossible order");
    return ordered;
}

static sah_jarguments *parse_arguments(sah_jparser *p)
{
    enum { MOST = 256 };
    sah_jarguments *out = sah_jparse_alloc(p, 1, sizeof *out);
    bool first = true;
    if (out == NULL || !sah_jparse_expect(p, "(")) return NULL;
    while (!sah_jparse_at(p, ")")) {
        if (!first && !sah_jparse_expect(p, ",")) return NULL;
        if (!first && sah_jparse_at(p, ")")) break;
        if (out->positional.n + out->named.n == MOST)
            return sah_jparse_fail(p, p->token->line, "a call with more than %d arguments", MOST);
        if (!parse_argument(p, out)) return NULL;
        first = false;
    }
    p->token++;
    return out;
}

/* ---- Filters and tests --------------------------------------------------------------------------------- */

static sah_jarguments *arguments_or_none(sah_jparser *p)
{
    return sah_jparse_at(p, "(") ? parse_arguments(p) : sah_jparse_alloc(p, 1, sizeof(sah_jarguments));
}

sah_jnode *sah_jparse_filters(sah_jparser *p, sah_jnode *node, bool inline_)
{
    for (int n = 0; inline_ || sah_jparse_at(p, "|"); inline_ = false) {
        if (!inline_) p->token++;
        if (chain_too_long(p, &n)) return NULL;
        sah_jnode *filter = sah_jparse_node(p, SAH_JN_FILTER, p->token->line);
        if (filter == NULL) return NULL;
        filter->a = node;
        filter->name = sah_jparse_name(p);
        if (filter->name == NULL) return NULL;
        filter->builtin = sah_jinja_filter_named(filter->name->text);
        filter->arguments = arguments_or_none(p);
        if (filter->arguments == NULL) return NULL;
        node = filter;
    }
    return node;
}

/* Behind `is [not] name` a single argument may stand without brackets. */
static bool starts_argument(const sah_jparser *p)
{
    if (p->token->kind == SAH_JT_NAME)
        return !sah_jparse_at_name(p, "else") && !sah_jparse_at_name(p, "or") &&
               !sah_jparse_at_name(p, "and");
    return p->token->kind == SAH_JT_STRING || p->token->kind == SAH_JT_INTEGER ||
           p->token->kind == SAH_JT_FLOAT || sah_jparse_at(p, "[") || sah_jparse_at(p, "{");
}

static sah_jnode *parse_test(sah_jparser *p, sah_jnode *value)
{
    const int line = p->token++->line;
    const bool negated = sah_jparse_skip_name(p, "not");
    sah_jnode *node = sah_jparse_node(p, SAH_JN_TEST, line);
    if (node == NULL) return NULL;
    node->a = value;
    node->name = sah_jparse_name(p);
    if (node->name == NULL) return NULL;
    node->builtin = sah_jinja_test_named(node->name->text);
    if (sah_jparse_at(p, "(") || !starts_argument(p)) {
        node->arguments = arguments_or_none(p);
        if (node->arguments == NULL) return NULL;
    } else {
        if (sah_jparse_at_name(p, "is")) return sah_jparse_fail(p, line, "tests with `is` cannot be chained");
        node->arguments = sah_jparse_alloc(p, 1, sizeof *node->arguments);
        sah_jnode *argument = node->arguments != NULL ? parse_primary(p) : NULL;
        if (argument != NULL) argument = parse_postfix(p, argument);
        if (!sah_jparse_append(p, &node->arguments->positional, argument)) return NULL;
    }
    return negated ? one(p, SAH_JN_NOT, line, node) : node;
}

static sah_jnode *parse_filters_and_tests(sah_jparser *p, sah_jnode *node)
{
    for (int n = 0; node != NULL;) {
        if (sah_jparse_at(p, "|"))
            node = sah_jparse_filters(p, node, false);
        else if (sah_jparse_at_name(p, "is"))
            node = parse_test(p, node);
        else if (sah_jparse_at(p, "("))
            node = parse_call(p, node);
        else
            break;
        if (chain_too_long(p, &n)) return NULL;
    }
    return node;
}

static sah_jnode *parse_unary(sah_jparser *p, bool filters)
{
    const int line = p->token->line;
    sah_jnode *node;
    if (!sah_jparse_deeper(p)) return NULL;
    if (sah_jparse_at(p, "-") || sah_jparse_at(p, "+")) {
        const sah_jnode_kind kind = sah_jparse_at(p, "-") ? SAH_JN_NEGATIVE : SAH_JN_POSITIVE;
        p->token++;
        node = one(p, kind, line, parse_unary(p, false));
    } else {
        node = parse_primary(p);
    }
    if (node != NULL) node = parse_postfix(p, node);
    if (node != NULL && filters) node = parse_filters_and_tests(p, node);
    p->depth--;
    return node;
}

/* ---- Literals and names -------------------------------------------------------------------------------- */

static sah_jnode *constant(sah_jparser *p, int line, sah_jv value)
{
    sah_jnode *node = sah_jparse_node(p, SAH_JN_CONST, line);
    if (node != NULL) node->constant = value;
    return node;
}

/* Adjacent literals are one. */
static sah_jnode *parse_string(sah_jparser *p)
{
    const int line = p->token->line;
    sah_jtext *text = sah_jparse_alloc(p, 1, sizeof *text);
    if (text == NULL) return NULL;
    for (bool first = true; p->token->kind == SAH_JT_STRING; p->token++, first = false) {
        sah_jtext part;
        if (sah_jinja_unescape(p->token->text, p->token->line, &p->jinja->arena, &part, p->error) != SAH_OK)
            return NULL;
        if (first) {
            *text = part;
            continue;
        }
        char *joined = sah_arena_bytes(&p->jinja->arena, text->size + part.size);
        if (joined == NULL) {
            sah_jinja_out_of_memory(&p->jinja->arena, p->error);
            return NULL;
        }
        if (text->size > 0) memcpy(joined, text->data, text->size);
        if (part.size > 0) memcpy(joined + text->size, part.data, part.size);
        *text = sah_jtext_of(joined, text->size + part.size);
    }
    return constant(p, line, (sah_jv){.kind = SAH_J_TEXT, .text = text});
}

static sah_jnode *parse_number(sah_jparser *p)
{
    char digits[64];
    size_t n = 0;
    const sah_jtoken *token = p->token++;
    for (size_t i = 0; i < token->text.size && n + 1 < sizeof digits; i++)
        if (token->text.data[i] != '_') digits[n++] = token->text.data[i];
    digits[n] = '\0';
    if (n + 1 == sizeof digits) return sah_jparse_fail(p, token->line, "a number of too many digits");
    if (token->kind == SAH_JT_FLOAT) return constant(p, token->line, sah_jv_real(strtod(digits, NULL)));
    int base = 10;
    const char *begin = digits;
    if (digits[0] == '0' && (digits[1] | 0x20) >= 'a') {
        base = (digits[1] | 0x20) == 'b' ? 2 : (digits[1] | 0x20) == 'o' ? 8 : 16;
        begin += 2;
    }
    errno = 0;
    const long long value = strtoll(begin, NULL, base);
    if (errno != 0)
        return sah_jparse_fail(p, token->line, "the integer %.30s needs more than 64 bits", digits);
    return constant(p, token->line, sah_jv_int(value));
}

/* [a, b] and {a: b}. */
static sah_jnode *parse_collection(sah_jparser *p, sah_jnode_kind kind, const char *end)
{
    sah_jnode *node = sah_jparse_node(p, kind, p->token++->line);
    if (node == NULL) return NULL;
    while (!sah_jparse_at(p, end)) {
        if (node->items.n > 0 && !sah_jparse_expect(p, ",")) return NULL;
        if (sah_jparse_at(p, end)) break;
        if (!sah_jparse_append(p, &node->items, sah_jparse_expression(p))) return NULL;
        if (kind == SAH_JN_DICT &&
            (!sah_jparse_expect(p, ":") || !sah_jparse_append(p, &node->items, sah_jparse_expression(p))))
            return NULL;
    }
    p->token++;
    return node;
}

static sah_jnode *parse_word(sah_jparser *p)
{
    const sah_jtoken *token = p->token;
    const sah_jtext word = token->text;
    const bool no = sah_jtext_is(word, "false") || sah_jtext_is(word, "False");
    if (no || sah_jtext_is(word, "true") || sah_jtext_is(word, "True")) {
        p->token++;
        return constant(p, token->line, sah_jv_bool(!no));
    }
    if (sah_jtext_is(word, "none") || sah_jtext_is(word, "None")) {
        p->token++;
        return constant(p, token->line, sah_jv_none());
    }
    sah_jnode *node = sah_jparse_node(p, SAH_JN_NAME, token->line);
    if (node == NULL) return NULL;
    node->name = sah_jparse_name(p);
    return node->name != NULL ? node : NULL;
}

/* Items up to the tag's end, `)` or the word `end`. `required`: one at least. */
static sah_jnode *parse_items(sah_jparser *p, sah_jnode *(*item)(sah_jparser *), const char *end,
                              bool required)
{
    const int line = p->token->line;
    sah_jnodes items = {0};
    bool tuple = false;
    do {
        if (p->token->kind == SAH_JT_OUTPUT_END || p->token->kind == SAH_JT_BLOCK_END ||
            sah_jparse_at(p, ")") || (end != NULL && sah_jparse_at_name(p, end)))
            break;
        if (!sah_jparse_append(p, &items, item(p))) return NULL;
        tuple |= sah_jparse_at(p, ",");
    } while (sah_jparse_skip(p, ","));
    if (!tuple && items.n == 1) return items.items[0];
    if (items.n == 0 && required) return sah_jparse_unexpected(p, "an expression");
    sah_jnode *node = sah_jparse_node(p, SAH_JN_TUPLE, line);
    if (node != NULL) node->items = items;
    return node;
}

sah_jnode *sah_jparse_tuple(sah_jparser *p, bool conditional, const char *end)
{
    return parse_items(p, conditional ? sah_jparse_expression : sah_jparse_expression_unconditional, end,
                       true);
}

static sah_jnode *parse_primary(sah_jparser *p)
{
    sah_jnode *node;
    switch (p->token->kind) {
    case SAH_JT_NAME:
        return parse_word(p);
    case SAH_JT_STRING:
        return parse_string(p);
    case SAH_JT_INTEGER:
    case SAH_JT_FLOAT:
        return parse_number(p);
    default:
        break;
    }
    if (sah_jparse_skip(p, "(")) {
        node = parse_items(p, sah_jparse_expression, NULL, false);
        return node != NULL && sah_jparse_expect(p, ")") ? node : NULL;
    }
    if (sah_jparse_at(p, "[")) return parse_collection(p, SAH_JN_LIST, "]");
    if (sah_jparse_at(p, "{")) return parse_collection(p, SAH_JN_DICT, "}");
    return sah_jparse_unexpected(p, "an expression");
}

/* ---- Targets ------------------------------------------------------------------------------------------- */

static sah_jnode *parse_member(sah_jparser *p)
{
    sah_jnode *node = parse_primary(p);
    if (node == NULL || node->kind != SAH_JN_NAME || !sah_jparse_skip(p, ".")) return node;
    node->kind = SAH_JN_STORE_MEMBER;
    node->attribute = sah_jparse_name(p);
    return node->attribute != NULL ? node : NULL;
}

static bool make_target(sah_jparser *p, sah_jnode *node)
{
    if (node->kind == SAH_JN_STORE_MEMBER) return true;
    if (node->kind == SAH_JN_NAME) {
        node->kind = SAH_JN_STORE;
        return true;
    }
    if (node->kind != SAH_JN_TUPLE) {
        sah_jparse_fail(p, node->line, "this cannot be assigned to");
        return false;
    }
    for (size_t i = 0; i < node->items.n; i++) {
        if (!make_target(p, node->items.items[i])) return false;
    }
    return true;
}

sah_jnode *sah_jparse_target(sah_jparser *p, const char *end, bool members)
{
    sah_jnode *node = parse_items(p, members ? parse_member : parse_primary, end, true);
    return node != NULL && make_target(p, node) ? node : NULL;
}
