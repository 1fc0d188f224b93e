/* SPDX-License-Identifier: Apache-2.0 */
/* The rules are those of jinja2.idtracking (3.1), worked out in two walks over each scope: the first collects
 * the names that it loads and stores, in the order of the text, the second gives names their places and walks
 * the scopes inside. */
#include "model/template/jinja_scope.h"

#include <string.h>

enum { DEEPEST = 1000 /* nested nodes */, MOST_STORES = 1 << 16 };

typedef struct walk {
    sah_jparser *p;
    sah_jscope *scope;
    sah_jbody *function; /* that the scope belongs to */
    uint32_t function_depth;
    int depth;
    bool conditional; /* an unknown filter fails only when it is used */
    sah_jbinding **stores; /* those that the scope stores for the first time, in order */
    size_t n_stores, capacity;
} walk;

static bool collect(walk *w, sah_jnode *node);
static bool place(walk *w, sah_jnode *node);
static bool place_all(walk *w, sah_jnodes *nodes);

static bool deeper(walk *w, const sah_jnode *node)
{
    if (++w->depth <= DEEPEST) return true;
    sah_jparse_fail(w->p, node->line, "nested too deeply");
    return false;
}

/* ---- Children ------------------------------------------------------------------------------------------ */

/* Calls `visit` for what an expression consists of; names are for the caller. */
static bool each_part(walk *w, sah_jnode *node, bool (*visit)(walk *, sah_jnode *))
{
    if (node->b != NULL && node->kind == SAH_JN_CONDITION && !visit(w, node->b)) return false;
    if (node->a != NULL && !visit(w, node->a)) return false;
    if (node->b != NULL && node->kind != SAH_JN_CONDITION && !visit(w, node->b)) return false;
    if (node->c != NULL && !visit(w, node->c)) return false;
    for (size_t i = 0; i < node->items.n; i++)
        if (node->items.items[i] != NULL && !visit(w, node->items.items[i])) return false;
    const sah_jarguments *arguments = node->arguments;
    if (arguments == NULL) return true;
    for (size_t i = 0; i < arguments->positional.n; i++)
        if (!visit(w, arguments->positional.items[i])) return false;
    for (size_t i = 0; i < arguments->named.n; i++)
        if (!visit(w, arguments->named.items[i])) return false;
    return (arguments->star == NULL || visit(w, arguments->star)) &&
           (arguments->star_star == NULL || visit(w, arguments->star_star));
}

static bool each(walk *w, sah_jnodes *nodes, bool (*visit)(walk *, sah_jnode *))
{
    for (size_t i = 0; i < nodes->n; i++)
        if (!visit(w, nodes->items[i])) return false;
    return true;
}

/* ---- Bindings ------------------------------------------------------------------------------------------ */

static sah_jref ref_to(const walk *w, const sah_jbinding *binding)
{
    return (sah_jref){w->function_depth - binding->function, binding->slot};
}

static sah_jbinding *own(const walk *w, const sah_jname *name)
{
    return name->binding != NULL && name->binding->scope == w->scope ? name->binding : NULL;
}

static sah_jbinding *define(walk *w, sah_jname *name, sah_jload load)
{
    sah_jbinding *binding = sah_jparse_alloc(w->p, 1, sizeof *binding);
    if (binding == NULL) return NULL;
    *binding = (sah_jbinding){.name = name,
                              .scope = w->scope,
                              .load = load,
                              .slot = w->function->n_slots++,
                              .function = w->function_depth,
                              .shadowed = name->binding};
    if (load == SAH_J_LOAD_OUTER) binding->outer = ref_to(w, name->binding);
    name->binding = binding;
    if (w->scope->last != NULL)
        w->scope->last->next = binding;
    else
        w->scope->first = binding;
    w->scope->last = binding;
    return binding;
}

static bool load(walk *w, sah_jname *name)
{
    return name->binding != NULL || define(w, name, SAH_J_LOAD_CONTEXT) != NULL;
}

static bool parameter(walk *w, sah_jname *name, sah_jref *place_)
{
    sah_jbinding *binding = own(w, name);
    if (binding == NULL) binding = define(w, name, SAH_J_LOAD_PARAMETER);
    if (binding == NULL) return false;
    binding->load = SAH_J_LOAD_PARAMETER;
    binding->stored = true;
    if (place_ != NULL) *place_ = ref_to(w, binding);
    return true;
}

static bool store(walk *w, sah_jname *name)
{
    sah_jbinding *binding = own(w, name);
    if (binding == NULL)
        binding = define(w, name, name->binding != NULL ? SAH_J_LOAD_OUTER : SAH_J_LOAD_MISSING);
    if (binding == NULL) return false;
    if (binding->stored) return true;
    binding->stored = true;
    if (w->n_stores == w->capacity) {
        const size_t capacity = w->capacity == 0 ? 16 : 2 * w->capacity;
        sah_jbinding **stores = sah_jparse_alloc(w->p, capacity, sizeof *stores);
        if (stores == NULL) return false;
        if (w->n_stores > 0) memcpy(stores, w->stores, w->n_stores * sizeof *stores);
        w->stores = stores;
        w->capacity = capacity;
    }
    w->stores[w->n_stores++] = binding;
    return true;
}

static void leave(sah_jscope *scope)
{
    for (sah_jbinding *binding = scope->first; binding != NULL; binding = binding->next)
        binding->name->binding = binding->shadowed;
}

/* ---- First walk: what a scope loads and stores --------------------------------------------------------- */

/* What only some branches store begins with the value around, or with the context's. */
static bool collect_if(walk *w, sah_jnode *node)
{
    const size_t before = w->n_stores;
    if (!collect(w, node->a) || !each(w, &node->body, collect) || !each(w, &node->other, collect))
        return false;
    for (size_t i = before; i < w->n_stores; i++) {
        sah_jbinding *binding = w->stores[i];
        binding->load = binding->shadowed != NULL ? SAH_J_LOAD_OUTER : SAH_J_LOAD_CONTEXT;
        if (binding->shadowed != NULL) binding->outer = ref_to(w, binding->shadowed);
    }
    return true;
}

static bool collect_inner(walk *w, sah_jnode *node)
{
    switch (node->kind) {
    case SAH_JN_NAME:
    case SAH_JN_STORE_MEMBER:
        return load(w, node->name);
    case SAH_JN_STORE:
        return store(w, node->name);
    case SAH_JN_SET:
        return collect(w, node->b) && collect(w, node->a);
    case SAH_JN_SET_BLOCK:
        return collect(w, node->a);
    case SAH_JN_IF:
        return collect_if(w, node);
    case SAH_JN_FOR:
    case SAH_JN_FILTER_BLOCK:
        return collect(w, node->b);
    case SAH_JN_MACRO:
        return store(w, node->name);
    case SAH_JN_CALL_BLOCK:
        return collect(w, node->a);
    case SAH_JN_WITH:
        for (size_t i = 1; i < node->items.n; i += 2)
            if (!collect(w, node->items.items[i])) return false;
        return true;
    case SAH_JN_GENERATION:
        return true;
    default:
        return each_part(w, node, collect);
    }
}

static bool collect(walk *w, sah_jnode *node)
{
    const bool done = deeper(w, node) && collect_inner(w, node);
    w->depth--;
    return done;
}

/* ---- Does a body name `caller`? ------------------------------------------------------------------------ */

typedef enum mention { NOT_AT_ALL, LOADED, STORED, TOO_DEEP } mention;

static mention mentioned_by(walk *w, const sah_jnode *node, const sah_jname *name);

static mention first_of(walk *w, sah_jnode *const *parts, size_t n, const sah_jname *name)
{
    mention m = NOT_AT_ALL;
    for (size_t i = 0; i < n && m == NOT_AT_ALL; i++)
        if (parts[i] != NULL) m = mentioned_by(w, parts[i], name);
    return m;
}

static mention mentions(walk *w, const sah_jnodes *nodes, const sah_jname *name)
{
    return first_of(w, nodes->items, nodes->n, name);
}

static mention mentioned_inside(walk *w, const sah_jnode *node, const sah_jname *name)
{
    sah_jnode *const parts[] = {node->a, node->b, node->c};
    mention m = first_of(w, parts, node->kind == SAH_JN_CALL_BLOCK ? 1 : 3, name);
    if (node->function != NULL && m == NOT_AT_ALL) {
        for (size_t i = 0; i < node->function->n_parameters; i++)
            if (node->function->parameters[i] == name) return STORED;
        m = first_of(w, node->function->defaults, node->function->n_parameters, name);
    }
    if (m == NOT_AT_ALL) m = mentions(w, &node->items, name);
    if (node->arguments != NULL) {
        sah_jnode *const stars[] = {node->arguments->star, node->arguments->star_star};
        if (m == NOT_AT_ALL) m = mentions(w, &node->arguments->positional, name);
        if (m == NOT_AT_ALL) m = mentions(w, &node->arguments->named, name);
        if (m == NOT_AT_ALL) m = first_of(w, stars, 2, name);
    }
    if (m == NOT_AT_ALL) m = mentions(w, &node->body, name);
    return m == NOT_AT_ALL ? mentions(w, &node->other, name) : m;
}

/* What happens to the name first. */
static mention mentioned_by(walk *w, const sah_jnode *node, const sah_jname *name)
{
    if (node->kind == SAH_JN_NAME && node->name == name) return LOADED;
    if (node->kind == SAH_JN_STORE && node->name == name) return STORED;
    const mention m = deeper(w, node) ? mentioned_inside(w, node, name) : TOO_DEEP;
    w->depth--;
    return m;
}

/* ---- Second walk: places ------------------------------------------------------------------------------- */

/* A scope inside of the present one; its variables are known when `end_scope` ends it. */
static walk begin_scope(const walk *outer, sah_jscope *scope)
{
    walk w = *outer;
    w.scope = scope;
    w.conditional = false; /* as Jinja has it: a loop in a branch is none */
    w.stores = NULL;
    w.n_stores = w.capacity = 0;
    return w;
}

static sah_jnode *copy_target(walk *w, const sah_jnode *target)
{
    sah_jnode *copy = sah_jparse_node(w->p, target->kind, target->line);
    if (copy == NULL) return NULL;
    copy->name = target->name;
    for (size_t i = 0; i < target->items.n; i++)
        if (!sah_jparse_append(w->p, &copy->items, copy_target(w, target->items.items[i]))) return NULL;
    return copy;
}

/* The variables of a loop or `with`. */
static bool target_parameters(walk *w, sah_jnode *target)
{
    if (target->kind == SAH_JN_STORE) return parameter(w, target->name, &target->ref);
    if (target->kind == SAH_JN_STORE_MEMBER) return load(w, target->name);
    for (size_t i = 0; i < target->items.n; i++)
        if (!target_parameters(w, target->items.items[i])) return false;
    return true;
}

static bool stores_name(const sah_jnode *target, const sah_jname *name)
{
    if (target->kind == SAH_JN_STORE) return target->name == name;
    for (size_t i = 0; i < target->items.n; i++)
        if (stores_name(target->items.items[i], name)) return true;
    return false;
}

static bool sets_name(const sah_jnodes *nodes, const sah_jname *name)
{
    for (size_t i = 0; i < nodes->n; i++) {
        const sah_jnode *node = nodes->items[i];
        if ((node->kind == SAH_JN_SET || node->kind == SAH_JN_SET_BLOCK || node->kind == SAH_JN_FOR) &&
            stores_name(node->a, name))
            return true;
        if (sets_name(&node->body, name) || sets_name(&node->other, name)) return true;
    }
    return false;
}

static bool place_for(walk *w, sah_jnode *node)
{
    sah_jname *loop = sah_jparse_intern(w->p, sah_jtext_c("loop"));
    if (loop == NULL || !place(w, node->b)) return false;
    if (stores_name(node->a, loop) || sets_name(&node->body, loop))
        return sah_jparse_fail(w->p, node->line, "the variable `loop` cannot be assigned inside of a loop") !=
               NULL;

    walk body = begin_scope(w, &node->scope);
    bool done = parameter(&body, loop, &node->loop) && target_parameters(&body, node->a) &&
                each(&body, &node->body, collect) && place(&body, node->a) && place_all(&body, &node->body);
    leave(&node->scope);
    if (done && node->c != NULL) {
        walk test = begin_scope(w, &node->test_scope);
        sah_jnode *target = copy_target(w, node->a);
        done = sah_jparse_append(w->p, &node->items, target) && target_parameters(&test, target) &&
               collect(&test, node->c) && place(&test, target) && place(&test, node->c);
        leave(&node->test_scope);
    }
    if (done && node->other.n > 0) {
        walk other = begin_scope(w, &node->else_scope);
        done = each(&other, &node->other, collect) && place_all(&other, &node->other);
        leave(&node->else_scope);
    }
    return done;
}

static bool special_parameter(walk *w, const sah_jnode *node, const char *word, bool *taken, sah_jref *place_)
{
    sah_jname *name = sah_jparse_intern(w->p, sah_jtext_c(word));
    if (name == NULL) return false;
    for (size_t i = 0; i < node->function->n_parameters; i++)
        if (node->function->parameters[i] == name) return true;
    const mention m = mentions(w, &node->body, name);
    *taken = m == LOADED;
    return m != TOO_DEEP && (!*taken || parameter(w, name, place_));
}

/* A macro, call block or generation block. */
static bool place_function(walk *w, sah_jnode *node)
{
    sah_jbody *function = node->function;
    walk inner = begin_scope(w, &node->scope);
    inner.function = function;
    inner.function_depth++;
    bool done = true;
    for (size_t i = 0; i < function->n_parameters && done; i++)
        done = parameter(&inner, function->parameters[i], &function->places[i]);
    done = done && special_parameter(&inner, node, "caller", &function->takes_caller, &function->caller) &&
           special_parameter(&inner, node, "kwargs", &function->takes_kwargs, &function->kwargs) &&
           special_parameter(&inner, node, "varargs", &function->takes_varargs, &function->varargs);
    for (size_t i = 0; i < function->n_parameters && done; i++)
        if (function->defaults[i] != NULL) done = collect(&inner, function->defaults[i]);
    done = done && each(&inner, &node->body, collect);
    for (size_t i = 0; i < function->n_parameters && done; i++)
        if (function->defaults[i] != NULL) done = place(&inner, function->defaults[i]);
    done = done && place_all(&inner, &node->body);
    leave(&node->scope);
    return done;
}

/* A block of `set` or `filter`; node->b is a filter that belongs inside. */
static bool place_block(walk *w, sah_jnode *node)
{
    walk inner = begin_scope(w, &node->scope);
    const bool done = each(&inner, &node->body, collect) && (node->b == NULL || collect(&inner, node->b)) &&
                      place_all(&inner, &node->body) && (node->b == NULL || place(&inner, node->b));
    leave(&node->scope);
    return done;
}

static bool place_with(walk *w, sah_jnode *node)
{
    for (size_t i = 1; i < node->items.n; i += 2)
        if (!place(w, node->items.items[i])) return false;
    walk inner = begin_scope(w, &node->scope);
    bool done = true;
    for (size_t i = 0; i < node->items.n && done; i += 2)
        done = target_parameters(&inner, node->items.items[i]);
    done = done && each(&inner, &node->body, collect) && place_all(&inner, &node->body);
    leave(&node->scope);
    return done;
}

static bool place_name(walk *w, sah_jnode *node)
{
    if (!load(w, node->name)) return false;
    node->ref = ref_to(w, node->name->binding);
    return true;
}

/* An `if` and what depends on it. */
static bool place_if(walk *w, sah_jnode *node)
{
    const bool before = w->conditional;
    w->conditional = true;
    const bool done = each_part(w, node, place) && place_all(w, &node->body) && place_all(w, &node->other);
    w->conditional = before;
    return done;
}

static bool place_builtin(walk *w, sah_jnode *node)
{
    if (node->builtin == NULL && !w->conditional)
        return sah_jparse_fail(w->p, node->line, "there is no %s '%.*s'",
                               node->kind == SAH_JN_FILTER ? "filter" : "test", (int)node->name->text.size,
                               node->name->text.data) != NULL;
    return each_part(w, node, place);
}

static bool place_inner(walk *w, sah_jnode *node)
{
    switch (node->kind) {
    case SAH_JN_NAME:
    case SAH_JN_STORE:
    case SAH_JN_STORE_MEMBER:
        return place_name(w, node);
    case SAH_JN_IF:
    case SAH_JN_CONDITION:
        return place_if(w, node);
    case SAH_JN_FILTER:
    case SAH_JN_TEST:
        return place_builtin(w, node);
    case SAH_JN_FOR:
        return place_for(w, node);
    case SAH_JN_SET_BLOCK:
        return place(w, node->a) && place_block(w, node);
    case SAH_JN_FILTER_BLOCK:
        return place_block(w, node);
    case SAH_JN_MACRO:
        return place_name(w, node) && place_function(w, node);
    case SAH_JN_CALL_BLOCK:
        return place(w, node->a) && place_function(w, node);
    case SAH_JN_GENERATION:
        return place_function(w, node);
    case SAH_JN_WITH:
        return place_with(w, node);
    default:
        return each_part(w, node, place);
    }
}

static bool place(walk *w, sah_jnode *node)
{
    const bool done = deeper(w, node) && place_inner(w, node);
    w->depth--;
    return done;
}

static bool place_all(walk *w, sah_jnodes *nodes)
{
    return each(w, nodes, place);
}

bool sah_jinja_find_scopes(sah_jparser *parser)
{
    sah_jinja *jinja = parser->jinja;
    walk w = {.p = parser, .scope = &jinja->scope, .function = &jinja->function};
    sah_jname *self = sah_jparse_intern(parser, sah_jtext_c("self"));
    if (self == NULL) return false;
    const mention m = mentions(&w, &jinja->body, self);
    if (m == TOO_DEEP) return false;
    if (m == LOADED) return sah_jparse_fail(parser, 1, "the variable `self` is not supported") != NULL;
    const bool done = each(&w, &jinja->body, collect) && place_all(&w, &jinja->body);
    leave(&jinja->scope);
    return done;
}
