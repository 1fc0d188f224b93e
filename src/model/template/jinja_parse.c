/* SPDX-License-Identifier: Apache-2.0 */
/* Statements, names and the parser's tools. Tags outside of what is supported are refused by name. */
#include "model/template/jinja_parse.h"
#include "model/template/jinja_expression.h"
#include "model/template/jinja_scope.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bounds on what is read: a published chat template has at most some 30 KB. */
enum { LARGEST_SOURCE = 1 << 20, LARGEST_MEMORY = 64 << 20, MOST_NAMES = 4096 };

static bool parse_body(sah_jparser *p, sah_jnodes *out, const char *const *ends, size_t n_ends);

/* ---- Tools --------------------------------------------------------------------------------------------- */

static bool is_operator(const sah_jtoken *token, const char *op)
{
    return token->kind == SAH_JT_OPERATOR && sah_jtext_is(token->text, op);
}

bool sah_jparse_at(const sah_jparser *p, const char *op)
{
    return is_operator(p->token, op);
}

bool sah_jparse_at_name(const sah_jparser *p, const char *name)
{
    return p->token->kind == SAH_JT_NAME && sah_jtext_is(p->token->text, name);
}

bool sah_jparse_skip(sah_jparser *p, const char *op)
{
    const bool there = sah_jparse_at(p, op);
    p->token += there;
    return there;
}

bool sah_jparse_skip_name(sah_jparser *p, const char *name)
{
    const bool there = sah_jparse_at_name(p, name);
    p->token += there;
    return there;
}

void *sah_jparse_fail(sah_jparser *p, int line, const char *format, ...)
{
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    sah_fail(p->error, SAH_FAILED, "line %d: %s", line, message);
    return NULL;
}

void *sah_jparse_unexpected(sah_jparser *p, const char *what)
{
    const sah_jtoken *token = p->token;
    static const char *const kinds[] = {
        [SAH_JT_END] = "the template's end", [SAH_JT_DATA] = "text",      [SAH_JT_OUTPUT_BEGIN] = "{{",
        [SAH_JT_OUTPUT_END] = "}}",          [SAH_JT_BLOCK_BEGIN] = "{%", [SAH_JT_BLOCK_END] = "%}",
        [SAH_JT_STRING] = "a string"};
    if (token->kind < sizeof kinds / sizeof *kinds && kinds[token->kind] != NULL)
        return sah_jparse_fail(p, token->line, "expected %s, found %s", what, kinds[token->kind]);
    return sah_jparse_fail(p, token->line, "expected %s, found '%.*s'", what, (int)token->text.size,
                           token->text.data);
}

bool sah_jparse_expect(sah_jparser *p, const char *op)
{
    char what[8];
    if (sah_jparse_skip(p, op)) return true;
    snprintf(what, sizeof what, "'%s'", op);
    sah_jparse_unexpected(p, what);
    return false;
}

bool sah_jparse_deeper(sah_jparser *p)
{
    if (++p->depth <= SAH_J_DEEPEST) return true;
    sah_jparse_fail(p, p->token->line, "nested more than %d deep", SAH_J_DEEPEST);
    return false;
}

void *sah_jparse_alloc(sah_jparser *p, size_t n, size_t size)
{
    void *memory = sah_arena_alloc(&p->jinja->arena, n, size);
    if (memory == NULL) sah_jinja_out_of_memory(&p->jinja->arena, p->error);
    return memory;
}

sah_jnode *sah_jparse_node(sah_jparser *p, sah_jnode_kind kind, int line)
{
    sah_jnode *node = sah_jparse_alloc(p, 1, sizeof *node);
    if (node == NULL) return NULL;
    node->kind = kind;
    node->line = line;
    return node;
}

bool sah_jparse_append(sah_jparser *p, sah_jnodes *nodes, sah_jnode *node)
{
    if (node == NULL) return false;
    if (nodes->n == nodes->capacity) {
        const size_t capacity = nodes->capacity == 0 ? 2 : 2 * nodes->capacity;
        sah_jnode **items = sah_jparse_alloc(p, capacity, sizeof *items);
        if (items == NULL) return false;
        if (nodes->n > 0) memcpy(items, nodes->items, nodes->n * sizeof *items);
        nodes->items = items;
        nodes->capacity = capacity;
    }
    nodes->items[nodes->n++] = node;
    return true;
}

static sah_jname **row_of(const sah_jinja *jinja, sah_jtext text)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < text.size; i++) hash = (hash ^ (unsigned char)text.data[i]) * 16777619u;
    return (sah_jname **)&jinja->rows[hash % SAH_J_NAME_ROWS];
}

static sah_jname *find_name(const sah_jinja *jinja, sah_jtext text)
{
    sah_jname *name = *row_of(jinja, text);
    while (name != NULL && !sah_jtext_same(name->text, text)) name = name->next;
    return name;
}

sah_jname *sah_jparse_intern(sah_jparser *p, sah_jtext text)
{
    sah_jname *name = find_name(p->jinja, text);
    if (name != NULL) return name;
    if (p->jinja->n_names == MOST_NAMES)
        return sah_jparse_fail(p, p->token->line, "more than %d names", MOST_NAMES);
    name = sah_jparse_alloc(p, 1, sizeof *name);
    if (name == NULL) return NULL;
    sah_jname **row = row_of(p->jinja, text);
    *name = (sah_jname){.text = text, .id = p->jinja->n_names++, .next = *row};
    *row = name;
    return name;
}

sah_jname *sah_jparse_name(sah_jparser *p)
{
    if (p->token->kind != SAH_JT_NAME) return sah_jparse_unexpected(p, "a name");
    return sah_jparse_intern(p, p->token++->text);
}

/* ---- Statements ---------------------------------------------------------------------------------------- */

/* Up to and with the tag {% end %}. */
static bool parse_until(sah_jparser *p, sah_jnodes *out, const char *end)
{
    if (!parse_body(p, out, &end, 1)) return false;
    p->token++;
    return true;
}

static sah_jnode *parse_if(sah_jparser *p)
{
    static const char *const ends[] = {"elif", "else", "endif"};
    sah_jnode *first = NULL, *last = NULL;
    do { /* each elif is an if of its own in the branch for `else` */
        sah_jnode *node = sah_jparse_node(p, SAH_JN_IF, p->token++->line);
        if (node == NULL) return NULL;
        node->a = sah_jparse_tuple(p, false, NULL);
        if (node->a == NULL || !parse_body(p, &node->body, ends, 3)) return NULL;
        if (first == NULL)
            first = node;
        else if (!sah_jparse_append(p, &last->other, node))
            return NULL;
        last = node;
    } while (sah_jparse_at_name(p, "elif"));
    if (sah_jparse_at_name(p, "else")) {
        p->token++;
        if (!parse_body(p, &last->other, &ends[2], 1)) return NULL;
    }
    p->token++;
    return first;
}

static sah_jnode *parse_for(sah_jparser *p)
{
    static const char *const ends[] = {"endfor", "else"};
    sah_jnode *node = sah_jparse_node(p, SAH_JN_FOR, p->token++->line);
    if (node == NULL) return NULL;
    node->a = sah_jparse_target(p, "in", false);
    if (node->a == NULL) return NULL;
    if (!sah_jparse_skip_name(p, "in")) return sah_jparse_unexpected(p, "'in'");
    node->b = sah_jparse_tuple(p, false, "recursive");
    if (node->b == NULL) return NULL;
    if (sah_jparse_skip_name(p, "if")) {
        node->c = sah_jparse_expression(p);
        if (node->c == NULL) return NULL;
    }
    if (sah_jparse_at_name(p, "recursive"))
        return sah_jparse_fail(p, node->line,
                               "a recursive loop ({%% for ... recursive %%}) is not supported");
    p->loops++;
    const bool read = parse_body(p, &node->body, ends, 2);
    p->loops--;
    if (!read) return NULL;
    if (sah_jparse_at_name(p, "else")) {
        p->token++;
        if (!parse_body(p, &node->other, ends, 1)) return NULL;
    }
    p->token++;
    return node;
}

static sah_jnode *parse_set(sah_jparser *p)
{
    sah_jnode *node = sah_jparse_node(p, SAH_JN_SET, p->token++->line);
    if (node == NULL) return NULL;
    node->a = sah_jparse_target(p, NULL, true);
    if (node->a == NULL) return NULL;
    if (sah_jparse_skip(p, "=")) {
        node->b = sah_jparse_tuple(p, true, NULL);
        return node->b != NULL ? node : NULL;
    }
    node->kind = SAH_JN_SET_BLOCK;
    if (sah_jparse_at(p, "|")) {
        node->b = sah_jparse_filters(p, NULL, false);
        if (node->b == NULL) return NULL;
    }
    return parse_until(p, &node->body, "endset") ? node : NULL;
}

/* (a, b=1) of a macro or call block. */
static bool parse_parameters(sah_jparser *p, sah_jbody *out)
{
    enum { MOST = 64 };
    bool defaults = false;
    out->parameters = sah_jparse_alloc(p, MOST, sizeof *out->parameters);
    out->defaults = sah_jparse_alloc(p, MOST, sizeof(sah_jnode *));
    out->places = sah_jparse_alloc(p, MOST, sizeof *out->places);
    if (out->parameters == NULL || out->defaults == NULL || out->places == NULL) return false;
    if (!sah_jparse_expect(p, "(")) return false;
    while (!sah_jparse_at(p, ")")) {
        const size_t i = out->n_parameters;
        if (i > 0 && !sah_jparse_expect(p, ",")) return false;
        if (i == MOST) return sah_jparse_fail(p, p->token->line, "more than %d parameters", MOST) != NULL;
        out->parameters[i] = sah_jparse_name(p);
        if (out->parameters[i] == NULL) return false;
        for (size_t j = 0; j < i; j++)
            if (out->parameters[j] == out->parameters[i])
                return sah_jparse_fail(p, p->token->line, "a parameter is named twice") != NULL;
        if (sah_jparse_skip(p, "=")) {
            out->defaults[i] = sah_jparse_expression(p);
            if (out->defaults[i] == NULL) return false;
            defaults = true;
        } else if (defaults) {
            return sah_jparse_fail(p, p->token->line,
                                   "a parameter without a default behind one that has one") != NULL;
        }
        out->n_parameters++;
    }
    p->token++;
    return true;
}

/* The body of a macro, call block or generation block: a function of its own. */
static sah_jnode *parse_function(sah_jparser *p, sah_jnode *node, const char *end)
{
    const int loops = p->loops;
    p->loops = 0;
    const bool read = parse_until(p, &node->body, end);
    p->loops = loops;
    return read ? node : NULL;
}

static sah_jnode *parse_macro(sah_jparser *p)
{
    sah_jnode *node = sah_jparse_node(p, SAH_JN_MACRO, p->token++->line);
    if (node == NULL) return NULL;
    node->name = sah_jparse_name(p);
    node->function = sah_jparse_alloc(p, 1, sizeof *node->function);
    if (node->name == NULL || node->function == NULL || !parse_parameters(p, node->function)) return NULL;
    return parse_function(p, node, "endmacro");
}

static sah_jnode *parse_call_block(sah_jparser *p)
{
    sah_jnode *node = sah_jparse_node(p, SAH_JN_CALL_BLOCK, p->token++->line);
    if (node == NULL) return NULL;
    node->function = sah_jparse_alloc(p, 1, sizeof *node->function);
    if (node->function == NULL) return NULL;
    if (sah_jparse_at(p, "(") && !parse_parameters(p, node->function)) return NULL;
    node->a = sah_jparse_expression(p);
    if (node->a == NULL) return NULL;
    if (node->a->kind != SAH_JN_CALL) return sah_jparse_fail(p, node->line, "{%% call %%} needs a call");
    return parse_function(p, node, "endcall");
}

static sah_jnode *parse_generation(sah_jparser *p)
{
    sah_jnode *node = sah_jparse_node(p, SAH_JN_GENERATION, p->token++->line);
    if (node == NULL) return NULL;
    node->function = sah_jparse_alloc(p, 1, sizeof *node->function);
    return node->function != NULL ? parse_function(p, node, "endgeneration") : NULL;
}

static sah_jnode *parse_filter_block(sah_jparser *p)
{
    sah_jnode *node = sah_jparse_node(p, SAH_JN_FILTER_BLOCK, p->token++->line);
    if (node == NULL) return NULL;
    node->b = sah_jparse_filters(p, NULL, true);
    return node->b != NULL && parse_until(p, &node->body, "endfilter") ? node : NULL;
}

static sah_jnode *parse_with(sah_jparser *p)
{
    sah_jnode *node = sah_jparse_node(p, SAH_JN_WITH, p->token++->line);
    if (node == NULL) return NULL;
    while (p->token->kind != SAH_JT_BLOCK_END) {
        if (node->items.n > 0 && !sah_jparse_expect(p, ",")) return NULL;
        sah_jnode *target = sah_jparse_node(p, SAH_JN_STORE, p->token->line);
        if (target == NULL) return NULL;
        target->name = sah_jparse_name(p);
        if (target->name == NULL || !sah_jparse_append(p, &node->items, target) ||
            !sah_jparse_expect(p, "=") || !sah_jparse_append(p, &node->items, sah_jparse_expression(p)))
            return NULL;
    }
    return parse_until(p, &node->body, "endwith") ? node : NULL;
}

static sah_jnode *parse_print(sah_jparser *p)
{
    sah_jnode *node = sah_jparse_node(p, SAH_JN_OUTPUT, p->token++->line);
    if (node == NULL) return NULL;
    while (p->token->kind != SAH_JT_BLOCK_END) {
        if (node->items.n > 0 && !sah_jparse_expect(p, ",")) return NULL;
        if (!sah_jparse_append(p, &node->items, sah_jparse_expression(p))) return NULL;
    }
    return node;
}

static sah_jnode *parse_jump(sah_jparser *p)
{
    const bool ends = sah_jparse_at_name(p, "break");
    const int line = p->token++->line;
    if (p->loops == 0)
        return sah_jparse_fail(p, line, "{%% %s %%} outside of a loop", ends ? "break" : "continue");
    return sah_jparse_node(p, ends ? SAH_JN_BREAK : SAH_JN_CONTINUE, line);
}

static const struct {
    const char *tag;
    sah_jnode *(*parse)(sah_jparser *);
} statements[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"generation", parse_generation},
    {"filter", parse_filter_block},
    {"with", parse_with},
    {"print", parse_print},
    {"break", parse_jump},
    {"continue", parse_jump},
};

static sah_jnode *parse_statement(sah_jparser *p, const char *const *ends, size_t n_ends)
{
    if (p->token->kind != SAH_JT_NAME) return sah_jparse_unexpected(p, "a tag's name");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!sah_jparse_at_name(p, statements[i].tag)) continue;
        sah_jnode *node = sah_jparse_deeper(p) ? statements[i].parse(p) : NULL;
        p->depth--;
        return node;
    }
    const sah_jtext tag = p->token->text;
    if (tag.size > 3 && memcmp(tag.data, "end", 3) == 0 && n_ends > 0)
        return sah_jparse_fail(p, p->token->line, "found {%% %.*s %%} where {%% %s %%} is due", (int)tag.size,
                               tag.data, ends[n_ends - 1]);
    return sah_jparse_fail(p, p->token->line, "the tag {%% %.*s %%} is not supported", (int)tag.size,
                           tag.data);
}

/* Text and {{ ... }} are put together in one output node as long as no block comes between. */
static bool parse_output(sah_jparser *p, sah_jnodes *out)
{
    sah_jnode *last = out->n > 0 ? out->items[out->n - 1] : NULL, *item;
    if (last == NULL || last->kind != SAH_JN_OUTPUT) {
        last = sah_jparse_node(p, SAH_JN_OUTPUT, p->token->line);
        if (!sah_jparse_append(p, out, last)) return false;
    }
    if (p->token->kind == SAH_JT_DATA) {
        sah_jtext *text = sah_jparse_alloc(p, 1, sizeof *text);
        item = text != NULL ? sah_jparse_node(p, SAH_JN_CONST, p->token->line) : NULL;
        if (item == NULL) return false;
        *text = p->token++->text;
        item->constant = (sah_jv){.kind = SAH_J_TEXT, .text = text};
        return sah_jparse_append(p, &last->items, item);
    }
    p->token++;
    item = sah_jparse_tuple(p, true, NULL);
    if (!sah_jparse_append(p, &last->items, item)) return false;
    if (p->token->kind == SAH_JT_OUTPUT_END) {
        p->token++;
        return true;
    }
    return sah_jparse_unexpected(p, "'}}'") != NULL;
}

/* Until a tag of one of the names comes, whose name is the next token then; without names, to the end. */
static bool parse_statements(sah_jparser *p, sah_jnodes *out, const char *const *ends, size_t n_ends)
{
    for (;;) {
        switch (p->token->kind) {
        case SAH_JT_END:
            if (n_ends == 0) return true;
            sah_jparse_fail(p, p->token->line, "the template ends where {%% %s %%} is due", ends[n_ends - 1]);
            return false;
        case SAH_JT_DATA:
        case SAH_JT_OUTPUT_BEGIN:
            if (!parse_output(p, out)) return false;
            break;
        default: /* SAH_JT_BLOCK_BEGIN */
            p->token++;
            for (size_t i = 0; i < n_ends; i++)
                if (sah_jparse_at_name(p, ends[i])) return true;
            if (!sah_jparse_append(p, out, parse_statement(p, ends, n_ends))) return false;
            if (p->token->kind != SAH_JT_BLOCK_END) return sah_jparse_unexpected(p, "'%}'") != NULL;
            p->token++;
        }
    }
}

static bool parse_body(sah_jparser *p, sah_jnodes *out, const char *const *ends, size_t n_ends)
{
    sah_jparse_skip(p, ":");
    if (p->token->kind != SAH_JT_BLOCK_END) return sah_jparse_unexpected(p, "'%}'") != NULL;
    p->token++;
    return parse_statements(p, out, ends, n_ends);
}

/* ---- The whole ----------------------------------------------------------------------------------------- */

sah_status sah_jinja_new(const char *source, size_t size, sah_jinja **out, sah_error *error)
{
    sah_jtokens tokens;
    *out = NULL;
    if (size > LARGEST_SOURCE)
        return sah_fail(error, SAH_FAILED, "it is larger than %d KB", LARGEST_SOURCE >> 10);
    if (!sah_utf8_valid(source, size)) return sah_fail(error, SAH_FAILED, "it is not valid UTF-8");
    sah_jinja *jinja = sah_alloc(1, sizeof *jinja);
    if (jinja == NULL) return sah_fail_memory(error, "the chat template");
    jinja->arena.limit = LARGEST_MEMORY;
    sah_status status = sah_jinja_lex(source, size, &jinja->arena, &tokens, error);
    if (status == SAH_OK) {
        sah_error why = {.status = SAH_FAILED};
        sah_jparser p = {.token = tokens.items, .jinja = jinja, .error = &why};
        if (!parse_statements(&p, &jinja->body, NULL, 0) || !sah_jinja_find_scopes(&p)) {
            status = why.status;
            if (error != NULL) *error = why;
        }
    }
    if (status != SAH_OK) {
        sah_jinja_free(jinja);
        return status;
    }
    *out = jinja;
    return SAH_OK;
}

void sah_jinja_free(sah_jinja *jinja)
{
    if (jinja == NULL) return;
    sah_arena_free(&jinja->arena);
    free(jinja);
}

bool sah_jinja_names(const sah_jinja *jinja, const char *name)
{
    return find_name(jinja, sah_jtext_c(name)) != NULL;
}
