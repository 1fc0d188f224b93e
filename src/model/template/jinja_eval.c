/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions. */
#include "model/template/jinja_eval.h"
#include "model/template/jinja_arithmetic.h"
#include "model/template/jinja_call.h"
#include "model/template/jinja_iterate.h"
#include "model/template/jinja_member.h"
#include "model/template/jinja_print.h"
#include "model/template/jinja_value.h"

sah_jv *sah_jr_slot(const sah_jrun *run, sah_jref ref)
{
    const sah_jframe *frame = run->frame;
    for (uint32_t i = 0; i < ref.up; i++) frame = frame->outer;
    return &frame->slots[ref.slot];
}

static sah_jv eval_name(sah_jrun *run, const sah_jnode *node)
{
    const sah_jv value = *sah_jr_slot(run, node->ref);
    return value.kind == SAH_J_MISSING ? sah_jr_undefined(run, node->name->text) : value;
}

static sah_jv eval_list(sah_jrun *run, const sah_jnode *node, sah_jkind kind)
{
    sah_jv list = sah_jr_list(run, kind, node->items.n);
    for (size_t i = 0; i < node->items.n && !run->failed; i++)
        sah_jr_push(run, list, sah_jr_eval(run, node->items.items[i]));
    return list;
}

static sah_jv eval_dict(sah_jrun *run, const sah_jnode *node)
{
    sah_jv dict = sah_jr_dict(run);
    for (size_t i = 0; i < node->items.n && !run->failed; i += 2) {
        const sah_jv key = sah_jr_eval(run, node->items.items[i]);
        sah_jr_dict_set(run, dict, key, sah_jr_eval(run, node->items.items[i + 1]));
    }
    return dict;
}

static sah_jv eval_slice(sah_jrun *run, const sah_jnode *node)
{
    sah_jv ends[3] = {{0}};
    const sah_jv object = sah_jr_eval(run, node->a);
    for (size_t i = 0; i < 3; i++)
        if (node->items.items[i] != NULL) ends[i] = sah_jr_eval(run, node->items.items[i]);
    return run->failed ? sah_jv_missing() : sah_jr_slice(run, object, ends[0], ends[1], ends[2]);
}

static sah_jv eval_concat(sah_jrun *run, const sah_jnode *node)
{
    sah_jbuffer buffer = {0};
    for (size_t i = 0; i < node->items.n && !run->failed; i++)
        sah_jr_add_text(run, &buffer, sah_jr_str(run, sah_jr_eval(run, node->items.items[i])));
    return sah_jr_buffer_text(run, &buffer);
}

static bool holds(sah_jrun *run, sah_joperator op, sah_jv a, sah_jv b)
{
    switch (op) {
    case SAH_J_EQUAL:
        return sah_jr_equal(run, a, b);
    case SAH_J_UNEQUAL:
        return !sah_jr_equal(run, a, b);
    case SAH_J_LESS:
        return sah_jr_compare(run, a, b, "<") < 0;
    case SAH_J_LESS_EQUAL:
        return sah_jr_compare(run, a, b, "<=") <= 0;
    case SAH_J_GREATER:
        return sah_jr_compare(run, a, b, ">") > 0;
    case SAH_J_GREATER_EQUAL:
        return sah_jr_compare(run, a, b, ">=") >= 0;
    case SAH_J_IN:
        return sah_jr_contains(run, b, a);
    default:
        return !sah_jr_contains(run, b, a);
    }
}

/* a < b < c is (a < b) and (b < c), b evaluated once. */
static sah_jv eval_comparison(sah_jrun *run, const sah_jnode *node)
{
    sah_jv left = sah_jr_eval(run, node->a);
    bool truth = true;
    for (size_t i = 0; i < node->items.n && truth && !run->failed; i++) {
        const sah_jv right = sah_jr_eval(run, node->items.items[i]);
        if (!run->failed) truth = holds(run, node->operators[i], left, right);
        left = right;
    }
    return sah_jv_bool(truth);
}

static sah_jv eval_sign(sah_jrun *run, const sah_jnode *node)
{
    const sah_jv v = sah_jr_eval(run, node->a);
    if (run->failed) return sah_jv_missing();
    if (!sah_jv_is_number(v))
        return sah_jr_type_error(run, v, "bad operand type for unary %c: '%s'",
                                 node->kind == SAH_JN_NEGATIVE ? '-' : '+', sah_jv_type(v));
    if (node->kind == SAH_JN_POSITIVE) return v.kind == SAH_J_BOOL ? sah_jv_int(v.truth) : v;
    if (v.kind == SAH_J_FLOAT) return sah_jv_real(-v.real);
    return sah_jr_binary(run, SAH_J_SUBTRACT, sah_jv_int(0), v);
}

static sah_jv eval_condition(sah_jrun *run, const sah_jnode *node)
{
    const sah_jv condition = sah_jr_eval(run, node->b);
    if (run->failed) return sah_jv_missing();
    if (sah_jr_truth(run, condition)) return sah_jr_eval(run, node->a);
    if (node->c != NULL) return sah_jr_eval(run, node->c);
    return sah_jr_undefined_hint(
        run, "an inline if-expression evaluated to false and no else section was defined");
}

/* ---- Calls --------------------------------------------------------------------------------------------- */

static bool add_star(sah_jrun *run, const sah_jnode *star, sah_jargs *out)
{
    sah_jv all = sah_jr_to_list(run, sah_jr_eval(run, star), SAH_J_LIST);
    if (run->failed) return false;
    sah_jv *positional = sah_jr_alloc(run, out->n + all.list->n, sizeof *positional);
    if (positional == NULL) return false;
    for (size_t i = 0; i < out->n; i++) positional[i] = out->positional[i];
    for (size_t i = 0; i < all.list->n; i++) positional[out->n + i] = all.list->items[i];
    out->positional = positional;
    out->n += all.list->n;
    return true;
}

static bool add_star_star(sah_jrun *run, const sah_jnode *star, sah_jargs *out)
{
    const sah_jv all = sah_jr_eval(run, star);
    if (run->failed) return false;
    if (all.kind != SAH_J_DICT) {
        sah_jr_type_error(run, all, "argument after ** must be a mapping, not %s", sah_jv_type(all));
        return false;
    }
    sah_jtext *names = sah_jr_alloc(run, out->n_named + all.dict->n, sizeof *names);
    sah_jv *named = sah_jr_alloc(run, out->n_named + all.dict->n, sizeof *named);
    if (names == NULL || named == NULL) return false;
    for (size_t i = 0; i < out->n_named; i++) {
        names[i] = out->names[i];
        named[i] = out->named[i];
    }
    for (size_t i = 0; i < all.dict->n; i++) {
        if (all.dict->keys[i].kind != SAH_J_TEXT) {
            sah_jr_fail(run, "keywords must be strings");
            return false;
        }
        names[out->n_named] = *all.dict->keys[i].text;
        named[out->n_named++] = all.dict->values[i];
    }
    out->names = names;
    out->named = named;
    return true;
}

/* One more named argument than are there has room. */
static bool eval_arguments(sah_jrun *run, const sah_jarguments *arguments, sah_jargs *out)
{
    *out = (sah_jargs){.n = arguments->positional.n, .n_named = arguments->named.n};
    out->positional = sah_jr_alloc(run, out->n, sizeof *out->positional);
    out->names = sah_jr_alloc(run, out->n_named + 1, sizeof *out->names);
    out->named = sah_jr_alloc(run, out->n_named + 1, sizeof *out->named);
    if (run->failed) return false;
    for (size_t i = 0; i < out->n && !run->failed; i++)
        out->positional[i] = sah_jr_eval(run, arguments->positional.items[i]);
    for (size_t i = 0; i < out->n_named && !run->failed; i++) {
        out->names[i] = arguments->names[i]->text;
        out->named[i] = sah_jr_eval(run, arguments->named.items[i]);
    }
    return !run->failed && (arguments->star == NULL || add_star(run, arguments->star, out)) &&
           (arguments->star_star == NULL || add_star_star(run, arguments->star_star, out));
}

sah_jv sah_jr_eval_call(sah_jrun *run, const sah_jnode *node, const sah_jv *caller)
{
    sah_jargs args;
    const sah_jv callee = sah_jr_eval(run, node->a);
    if (run->failed || !eval_arguments(run, node->arguments, &args)) return sah_jv_missing();
    if (caller != NULL) {
        sah_jtext *names = sah_jr_alloc(run, args.n_named + 1, sizeof *names);
        sah_jv *named = sah_jr_alloc(run, args.n_named + 1, sizeof *named);
        if (names == NULL || named == NULL) return sah_jv_missing();
        for (size_t i = 0; i < args.n_named; i++) {
            names[i] = args.names[i];
            named[i] = args.named[i];
        }
        names[args.n_named] = sah_jtext_c("caller");
        named[args.n_named++] = *caller;
        args.names = names;
        args.named = named;
    }
    run->line = node->line;
    return sah_jr_call(run, callee, &args);
}

sah_jv sah_jr_eval_filter(sah_jrun *run, const sah_jnode *node, const sah_jv *block)
{
    sah_jargs args;
    const sah_jv value = node->a == NULL ? *block
                         : node->a->kind == SAH_JN_FILTER && block != NULL
                             ? sah_jr_eval_filter(run, node->a, block)
                             : sah_jr_eval(run, node->a);
    if (run->failed || !eval_arguments(run, node->arguments, &args)) return sah_jv_missing();
    run->line = node->line;
    if (node->builtin == NULL)
        return sah_jr_fail(run, "there is no filter '%.*s'", (int)node->name->text.size,
                           node->name->text.data);
    return sah_jr_call_builtin(run, node->builtin, "filter", value, &args);
}

static sah_jv eval_test(sah_jrun *run, const sah_jnode *node)
{
    sah_jargs args;
    const sah_jv value = sah_jr_eval(run, node->a);
    if (run->failed || !eval_arguments(run, node->arguments, &args)) return sah_jv_missing();
    run->line = node->line;
    if (node->builtin == NULL)
        return sah_jr_fail(run, "there is no test '%.*s'", (int)node->name->text.size, node->name->text.data);
    return sah_jr_call_builtin(run, node->builtin, "test", value, &args);
}

/* ---- The whole ----------------------------------------------------------------------------------------- */

static sah_jv eval_inner(sah_jrun *run, const sah_jnode *node)
{
    sah_jv a;
    switch (node->kind) {
    case SAH_JN_CONST:
        return node->constant;
    case SAH_JN_NAME:
        return eval_name(run, node);
    case SAH_JN_TUPLE:
        return eval_list(run, node, SAH_J_TUPLE);
    case SAH_JN_LIST:
        return eval_list(run, node, SAH_J_LIST);
    case SAH_JN_DICT:
        return eval_dict(run, node);
    case SAH_JN_ATTRIBUTE:
        a = sah_jr_eval(run, node->a);
        run->line = node->line;
        return sah_jr_attribute(run, a, node->name->text);
    case SAH_JN_ITEM:
        a = sah_jr_eval(run, node->a);
        return sah_jr_item(run, a, sah_jr_eval(run, node->b));
    case SAH_JN_SLICE:
        return eval_slice(run, node);
    case SAH_JN_CALL:
        return sah_jr_eval_call(run, node, NULL);
    case SAH_JN_FILTER:
        return sah_jr_eval_filter(run, node, NULL);
    case SAH_JN_TEST:
        return eval_test(run, node);
    case SAH_JN_NOT:
        return sah_jv_bool(!sah_jr_truth(run, sah_jr_eval(run, node->a)));
    case SAH_JN_NEGATIVE:
    case SAH_JN_POSITIVE:
        return eval_sign(run, node);
    case SAH_JN_AND:
        a = sah_jr_eval(run, node->a);
        return !run->failed && sah_jr_truth(run, a) ? sah_jr_eval(run, node->b) : a;
    case SAH_JN_OR:
        a = sah_jr_eval(run, node->a);
        return run->failed || sah_jr_truth(run, a) ? a : sah_jr_eval(run, node->b);
    case SAH_JN_BINARY:
        a = sah_jr_eval(run, node->a);
        return sah_jr_binary(run, node->op, a, sah_jr_eval(run, node->b));
    case SAH_JN_CONCAT:
        return eval_concat(run, node);
    case SAH_JN_COMPARE:
        return eval_comparison(run, node);
    case SAH_JN_CONDITION:
        return eval_condition(run, node);
    default: /* statements are no expressions */
        return sah_jr_fail(run, "this is no expression");
    }
}

sah_jv sah_jr_eval(sah_jrun *run, const sah_jnode *node)
{
    sah_jv value = sah_jv_missing();
    if (sah_jr_deeper(run) && sah_jr_step(run, 1)) {
        run->line = node->line;
        value = eval_inner(run, node);
    }
    run->depth--;
    return run->failed ? sah_jv_missing() : value;
}
