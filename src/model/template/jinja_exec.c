/* SPDX-License-Identifier: Apache-2.0 */
/* Statements, and a whole render. */
#include <stdlib.h>
#include <string.h>

#include "model/template/jinja_exec.h"
#include "model/template/jinja_call.h"
#include "model/template/jinja_eval.h"
#include "model/template/jinja_iterate.h"
#include "model/template/jinja_json.h"
#include "model/template/jinja_print.h"
#include "model/template/jinja_value.h"
#include "util/error.h"

enum { LARGEST_RUN = 128 << 20 /* bytes of values and text */ };

/* ---- Scopes and targets -------------------------------------------------------------------------------- */

void sah_jr_enter(sah_jrun *run, const sah_jscope *scope)
{
    for (const sah_jbinding *b = scope->first; b != NULL; b = b->next) {
        sah_jv *slot = &run->frame->slots[b->slot];
        if (b->load == SAH_J_LOAD_CONTEXT) *slot = run->context[b->name->id];
        if (b->load == SAH_J_LOAD_OUTER) *slot = *sah_jr_slot(run, b->outer);
        if (b->load == SAH_J_LOAD_MISSING) *slot = sah_jv_missing();
    }
    sah_jr_step(run, 1);
}

void sah_jr_leave(sah_jrun *run, const sah_jscope *scope)
{
    for (const sah_jbinding *b = scope->first; b != NULL; b = b->next)
        run->frame->slots[b->slot] = sah_jv_missing();
}

static bool assign_member(sah_jrun *run, const sah_jnode *target, sah_jv value)
{
    const sah_jv owner = *sah_jr_slot(run, target->ref);
    if (owner.kind != SAH_J_NAMESPACE) {
        sah_jr_fail(run, "cannot assign attribute on non-namespace object");
        return false;
    }
    if (target->attribute->text.data[0] == '_') {
        sah_jr_fail(run, "a namespace cannot hold '%.*s', which begins with _",
                    (int)target->attribute->text.size, target->attribute->text.data);
        return false;
    }
    return sah_jr_dict_set(run, owner, sah_jr_text(run, target->attribute->text), value);
}

bool sah_jr_assign(sah_jrun *run, const sah_jnode *target, sah_jv value)
{
    if (run->failed) return false;
    if (target->kind == SAH_JN_STORE) {
        *sah_jr_slot(run, target->ref) = value;
        return true;
    }
    if (target->kind == SAH_JN_STORE_MEMBER) return assign_member(run, target, value);
    const sah_jv all = sah_jr_to_list(run, value, SAH_J_LIST);
    if (run->failed) return false;
    if (all.list->n != target->items.n) {
        sah_jr_fail(run, "%zu values to unpack, expected %zu", all.list->n, target->items.n);
        return false;
    }
    for (size_t i = 0; i < all.list->n; i++)
        if (!sah_jr_assign(run, target->items.items[i], all.list->items[i])) return false;
    return true;
}

/* ---- Loops --------------------------------------------------------------------------------------------- */

/* The next item that meets the loop's condition. */
static bool next_item(sah_jrun *run, sah_jloop *loop, sah_jv *out)
{
    const sah_jnode *node = loop->node;
    if (node->c == NULL) return sah_jr_next(run, loop->iterator, out);
    sah_jframe *frame = run->frame;
    bool found = false;
    run->frame = loop->frame;
    if (!loop->tested) sah_jr_enter(run, &node->test_scope);
    loop->tested = true;
    while (!found && sah_jr_next(run, loop->iterator, out))
        found =
            sah_jr_assign(run, node->items.items[0], *out) && sah_jr_truth(run, sah_jr_eval(run, node->c));
    run->frame = frame;
    return found && !run->failed;
}

static bool peek(sah_jrun *run, sah_jloop *loop)
{
    if (!loop->peeked) {
        loop->after = sah_jv_missing();
        if (!next_item(run, loop, &loop->after)) loop->after = sah_jv_missing();
    }
    loop->peeked = loop->after.kind != SAH_J_MISSING;
    return loop->peeked;
}

bool sah_jr_loop_next(sah_jrun *run, sah_jloop *loop, sah_jv *out)
{
    if (loop->peeked)
        *out = loop->after;
    else if (!next_item(run, loop, out))
        return false;
    loop->peeked = false;
    loop->index0++;
    loop->before = loop->current;
    loop->current = *out;
    return !run->failed;
}

/* Of a loop over what has no length the rest is taken at once. */
static int64_t loop_length(sah_jrun *run, sah_jloop *loop)
{
    size_t length;
    if (loop->sized) return loop->length;
    if (loop->node->c == NULL && sah_jr_length(run, loop->iterable, &length)) {
        loop->length = (int64_t)length;
    } else {
        sah_jv rest = sah_jr_list(run, SAH_J_LIST, 0), item;
        while (!run->failed && next_item(run, loop, &item)) sah_jr_push(run, rest, item);
        if (run->failed) return 0;
        loop->length = (int64_t)rest.list->n + loop->index0 + 1 + loop->peeked;
        loop->iterator = sah_jr_iterate(run, rest);
        /* The condition has been asked for all of them. */
        if (loop->node->c != NULL) {
            sah_jnode *plain = sah_jr_alloc(run, 1, sizeof *plain);
            if (plain == NULL) return 0;
            *plain = *loop->node;
            plain->c = NULL;
            loop->node = plain;
        }
    }
    loop->sized = true;
    return loop->length;
}

sah_jv sah_jr_loop_attribute(sah_jrun *run, sah_jloop *loop, sah_jtext name, bool *known)
{
    *known = true;
    if (sah_jtext_is(name, "first")) return sah_jv_bool(loop->index0 == 0);
    if (sah_jtext_is(name, "last")) return sah_jv_bool(!peek(run, loop));
    if (sah_jtext_is(name, "index")) return sah_jv_int(loop->index0 + 1);
    if (sah_jtext_is(name, "index0")) return sah_jv_int(loop->index0);
    if (sah_jtext_is(name, "length")) return sah_jv_int(loop_length(run, loop));
    if (sah_jtext_is(name, "revindex")) return sah_jv_int(loop_length(run, loop) - loop->index0);
    if (sah_jtext_is(name, "revindex0")) return sah_jv_int(loop_length(run, loop) - loop->index0 - 1);
    if (sah_jtext_is(name, "depth")) return sah_jv_int(1);
    if (sah_jtext_is(name, "depth0")) return sah_jv_int(0);
    if (sah_jtext_is(name, "previtem"))
        return loop->index0 == 0 ? sah_jr_undefined_hint(run, "there is no previous item") : loop->before;
    if (sah_jtext_is(name, "nextitem"))
        return peek(run, loop) ? loop->after : sah_jr_undefined_hint(run, "there is no next item");
    *known = false;
    return sah_jv_missing();
}

static sah_jflow exec_for(sah_jrun *run, const sah_jnode *node)
{
    sah_jflow flow = SAH_J_GO_ON;
    sah_jv item;
    bool whole = false; /* some round went to its end: break and continue leave a loop's `else` to run */
    sah_jloop *loop = sah_jr_alloc(run, 1, sizeof *loop);
    const sah_jv iterable = sah_jr_eval(run, node->b);
    if (run->failed) return SAH_J_FAILED;
    *loop = (sah_jloop){.node = node, .frame = run->frame, .iterable = iterable, .index0 = -1};
    loop->iterator = sah_jr_iterate(run, iterable);
    while (!run->failed && flow != SAH_J_BREAK && flow != SAH_J_FAILED &&
           sah_jr_loop_next(run, loop, &item)) {
        *sah_jr_slot(run, node->loop) = (sah_jv){.kind = SAH_J_LOOP, .loop = loop};
        if (!sah_jr_assign(run, node->a, item)) break;
        sah_jr_enter(run, &node->scope);
        flow = sah_jr_exec(run, &node->body);
        whole = whole || flow == SAH_J_GO_ON;
    }
    sah_jr_leave(run, &node->scope);
    if (run->failed) return SAH_J_FAILED;
    if (whole || node->other.n == 0) return SAH_J_GO_ON;
    sah_jr_enter(run, &node->else_scope);
    flow = sah_jr_exec(run, &node->other);
    sah_jr_leave(run, &node->else_scope);
    return flow;
}

/* ---- Other statements ---------------------------------------------------------------------------------- */

/* What a body writes, in a scope of its own. */
static sah_jv capture(sah_jrun *run, const sah_jnode *node, sah_jflow *flow)
{
    sah_jbuffer buffer = {0}, *out = run->out;
    run->out = &buffer;
    *flow = sah_jr_exec(run, &node->body);
    run->out = out;
    return sah_jr_buffer_text(run, &buffer);
}

static sah_jflow exec_output(sah_jrun *run, const sah_jnode *node)
{
    for (size_t i = 0; i < node->items.n && !run->failed; i++) {
        const sah_jnode *item = node->items.items[i];
        const sah_jv value = item->kind == SAH_JN_CONST ? item->constant : sah_jr_eval(run, item);
        sah_jr_add_text(run, run->out, sah_jr_str(run, value));
    }
    return run->failed ? SAH_J_FAILED : SAH_J_GO_ON;
}

static sah_jflow exec_if(sah_jrun *run, const sah_jnode *node)
{
    for (;;) {
        run->line = node->line;
        const bool truth = sah_jr_truth(run, sah_jr_eval(run, node->a));
        if (run->failed) return SAH_J_FAILED;
        if (truth) return sah_jr_exec(run, &node->body);
        if (node->other.n != 1 || node->other.items[0]->kind != SAH_JN_IF)
            return sah_jr_exec(run, &node->other);
        node = node->other.items[0]; /* elif */
    }
}

static sah_jflow exec_set_block(sah_jrun *run, const sah_jnode *node)
{
    sah_jflow flow;
    sah_jr_enter(run, &node->scope);
    sah_jv text = capture(run, node, &flow);
    if (!run->failed && node->b != NULL) text = sah_jr_eval_filter(run, node->b, &text);
    if (!run->failed && flow == SAH_J_GO_ON) sah_jr_assign(run, node->a, text);
    sah_jr_leave(run, &node->scope);
    return run->failed ? SAH_J_FAILED : flow;
}

static sah_jflow exec_filter_block(sah_jrun *run, const sah_jnode *node)
{
    sah_jflow flow;
    sah_jr_enter(run, &node->scope);
    sah_jv text = capture(run, node, &flow);
    if (!run->failed && flow == SAH_J_GO_ON) {
        text = sah_jr_eval_filter(run, node->b, &text);
        sah_jr_add_text(run, run->out, sah_jr_str(run, text));
    }
    sah_jr_leave(run, &node->scope);
    return run->failed ? SAH_J_FAILED : flow;
}

static sah_jflow exec_with(sah_jrun *run, const sah_jnode *node)
{
    sah_jr_enter(run, &node->scope);
    for (size_t i = 0; i < node->items.n && !run->failed; i += 2)
        sah_jr_assign(run, node->items.items[i], sah_jr_eval(run, node->items.items[i + 1]));
    const sah_jflow flow = run->failed ? SAH_J_FAILED : sah_jr_exec(run, &node->body);
    sah_jr_leave(run, &node->scope);
    return flow;
}

static sah_jv macro_of(sah_jrun *run, const sah_jnode *node)
{
    sah_jmacro *macro = sah_jr_alloc(run, 1, sizeof *macro);
    if (macro == NULL) return sah_jv_missing();
    *macro = (sah_jmacro){node, run->frame};
    return (sah_jv){.kind = SAH_J_MACRO, .macro = macro};
}

static sah_jflow exec_call_block(sah_jrun *run, const sah_jnode *node)
{
    const sah_jv caller = macro_of(run, node), text = sah_jr_eval_call(run, node->a, &caller);
    sah_jr_add_text(run, run->out, sah_jr_str(run, text));
    return run->failed ? SAH_J_FAILED : SAH_J_GO_ON;
}

static sah_jflow exec_generation(sah_jrun *run, const sah_jnode *node)
{
    const sah_jmacro macro = {node, run->frame};
    const sah_jv text = sah_jr_call_macro(run, &macro, &(sah_jargs){0});
    sah_jr_add_text(run, run->out, sah_jr_str(run, text));
    return run->failed ? SAH_J_FAILED : SAH_J_GO_ON;
}

static sah_jflow exec_node(sah_jrun *run, const sah_jnode *node)
{
    run->line = node->line;
    switch (node->kind) {
    case SAH_JN_OUTPUT:
        return exec_output(run, node);
    case SAH_JN_IF:
        return exec_if(run, node);
    case SAH_JN_FOR:
        return exec_for(run, node);
    case SAH_JN_SET:
        sah_jr_assign(run, node->a, sah_jr_eval(run, node->b));
        break;
    case SAH_JN_SET_BLOCK:
        return exec_set_block(run, node);
    case SAH_JN_MACRO:
        *sah_jr_slot(run, node->ref) = macro_of(run, node);
        break;
    case SAH_JN_CALL_BLOCK:
        return exec_call_block(run, node);
    case SAH_JN_FILTER_BLOCK:
        return exec_filter_block(run, node);
    case SAH_JN_WITH:
        return exec_with(run, node);
    case SAH_JN_GENERATION:
        return exec_generation(run, node);
    case SAH_JN_BREAK:
        return SAH_J_BREAK;
    case SAH_JN_CONTINUE:
        return SAH_J_CONTINUE;
    default: /* expressions are no statements */
        sah_jr_fail(run, "this is no statement");
    }
    return run->failed ? SAH_J_FAILED : SAH_J_GO_ON;
}

sah_jflow sah_jr_exec(sah_jrun *run, const sah_jnodes *nodes)
{
    sah_jflow flow = SAH_J_GO_ON;
    if (sah_jr_deeper(run)) {
        for (size_t i = 0; i < nodes->n && flow == SAH_J_GO_ON; i++) {
            flow = sah_jr_step(run, 1) ? exec_node(run, nodes->items[i]) : SAH_J_FAILED;
        }
    }
    run->depth--;
    return run->failed ? SAH_J_FAILED : flow;
}

/* ---- The whole ----------------------------------------------------------------------------------------- */

/* What each name means at the beginning: a variable, else one of the functions. */
static bool make_context(sah_jrun *run, const json_t *const *variables, size_t n)
{
    run->context = sah_jr_alloc(run, run->jinja->n_names, sizeof *run->context);
    if (run->context == NULL) return false;
    for (size_t row = 0; row < SAH_J_NAME_ROWS; row++) {
        for (const sah_jname *name = run->jinja->rows[row]; name != NULL && !run->failed; name = name->next) {
            const json_t *value = NULL;
            for (size_t i = n; i > 0 && value == NULL; i--)
                value = json_object_getn(variables[i - 1], name->text.data, name->text.size);
            const sah_jbuiltin *function = sah_jinja_function_named(name->text);
            if (value != NULL)
                run->context[name->id] = sah_jr_from_json(run, value);
            else if (function != NULL)
                run->context[name->id] = (sah_jv){.kind = SAH_J_FUNCTION, .function = function};
        }
    }
    return !run->failed;
}

sah_jinja_end sah_jinja_render(const sah_jinja *jinja, const json_t *const *variables, size_t n,
                               const struct tm *now, sah_text *out, sah_error *error)
{
    sah_jbuffer buffer = {0};
    sah_jframe frame = {0};
    sah_jrun run = {.jinja = jinja, .frame = &frame, .out = &buffer, .now = now, .line = 1, .error = error};
    run.arena.limit = LARGEST_RUN;
    frame.slots = sah_jr_alloc(&run, jinja->function.n_slots, sizeof *frame.slots);
    if (frame.slots != NULL && make_context(&run, variables, n)) {
        sah_jr_enter(&run, &jinja->scope);
        sah_jr_exec(&run, &jinja->body);
    }
    if (!run.failed) sah_text_add(out, buffer.data != NULL ? buffer.data : "", buffer.n);
    sah_arena_free(&run.arena);
    if (run.failed) return run.raised ? SAH_JINJA_RAISED : SAH_JINJA_WRONG;
    if (out->failed) {
        sah_fail_memory(error, "a prompt");
        return SAH_JINJA_WRONG;
    }
    return SAH_JINJA_DONE;
}
