/* SPDX-License-Identifier: Apache-2.0 */
/* Calls: arguments to parameters, macros, and the functions that every template has. */
#include <string.h>

#include "model/template/jinja_call.h"
#include "model/template/jinja_eval.h"
#include "model/template/jinja_exec.h"
#include "model/template/jinja_iterate.h"
#include "model/template/jinja_print.h"
#include "model/template/jinja_value.h"
#include "util/error.h"

/* ---- Builtins ------------------------------------------------------------------------------------------ */

const sah_jbuiltin *sah_jinja_find_builtin(const sah_jbuiltin *table, size_t n, sah_jtext name)
{
    for (size_t i = 0; i < n; i++)
        if (sah_jtext_is(name, table[i].name)) return &table[i];
    return NULL;
}

/* The place of `name` among the blank-separated parameters; *n gets how many there are. */
static size_t parameter_place(const char *parameters, sah_jtext name, size_t *n)
{
    size_t place = SIZE_MAX;
    *n = 0;
    for (const char *at = parameters; *at != '\0';) {
        const size_t size = strcspn(at, " ");
        if (sah_jtext_same(name, sah_jtext_of(at, size))) place = *n;
        ++*n;
        at += size + (at[size] == ' ');
    }
    return place;
}

enum { MOST_PARAMETERS = 6 };

static bool bind(sah_jrun *run, const sah_jbuiltin *builtin, const char *what, const sah_jargs *args,
                 sah_jv *a)
{
    size_t n, given;
    parameter_place(builtin->parameters, sah_jtext_c(""), &n);
    if (args->n > n) {
        sah_jr_fail(run, "%s %s takes at most %zu arguments (%zu given)", what, builtin->name, n, args->n);
        return false;
    }
    for (size_t i = 0; i < args->n; i++) a[i] = args->positional[i];
    for (size_t i = 0; i < args->n_named; i++) {
        const size_t place = parameter_place(builtin->parameters, args->names[i], &n);
        if (place == SIZE_MAX || a[place].kind != SAH_J_MISSING) {
            sah_jr_fail(run, "%s %s takes no argument '%.*s' here", what, builtin->name,
                        (int)args->names[i].size, args->names[i].data);
            return false;
        }
        a[place] = args->named[i];
    }
    for (given = 0; given < builtin->required && a[given].kind != SAH_J_MISSING;) given++;
    if (given == builtin->required) return true;
    sah_jr_fail(run, "%s %s needs %zu argument%s", what, builtin->name, builtin->required,
                builtin->required == 1 ? "" : "s");
    return false;
}

sah_jv sah_jr_call_builtin(sah_jrun *run, const sah_jbuiltin *builtin, const char *what, sah_jv self,
                           const sah_jargs *args)
{
    sah_jv a[MOST_PARAMETERS] = {{0}};
    if (run->failed) return sah_jv_missing();
    if (builtin->run_raw != NULL) return builtin->run_raw(run, self, args);
    if (builtin->run == NULL) return sah_jr_unsupported(run, what, sah_jtext_c(builtin->name));
    return bind(run, builtin, what, args, a) ? builtin->run(run, self, a) : sah_jv_missing();
}

/* ---- Macros -------------------------------------------------------------------------------------------- */

static const sah_jv *named_argument(const sah_jargs *args, sah_jtext name)
{
    for (size_t i = 0; i < args->n_named; i++)
        if (sah_jtext_same(args->names[i], name)) return &args->named[i];
    return NULL;
}

static bool is_parameter(const sah_jbody *function, size_t from, sah_jtext name)
{
    for (size_t i = from; i < function->n_parameters; i++)
        if (sah_jtext_same(function->parameters[i]->text, name)) return true;
    return false;
}

/* The arguments that no parameter takes: kwargs and varargs of the body, or a mistake. */
static bool put_rest(sah_jrun *run, const sah_jbody *function, const sah_jargs *args)
{
    const size_t taken = args->n < function->n_parameters ? args->n : function->n_parameters;
    sah_jv kwargs = sah_jr_dict(run), varargs = sah_jr_list(run, SAH_J_TUPLE, 0);
    for (size_t i = 0; i < args->n_named && !run->failed; i++) {
        const sah_jtext name = args->names[i];
        if (is_parameter(function, taken, name)) continue;
        if (function->takes_caller && sah_jtext_is(name, "caller")) continue;
        if (!function->takes_kwargs) {
            sah_jr_fail(run, "a macro takes no keyword argument '%.*s'", (int)name.size, name.data);
            return false;
        }
        sah_jr_dict_set(run, kwargs, sah_jr_text(run, name), args->named[i]);
    }
    for (size_t i = taken; i < args->n && !run->failed; i++) {
        if (!function->takes_varargs) {
            sah_jr_fail(run, "a macro takes not more than %zu arguments", function->n_parameters);
            return false;
        }
        sah_jr_push(run, varargs, args->positional[i]);
    }
    if (run->failed) return false;
    if (function->takes_kwargs) *sah_jr_slot(run, function->kwargs) = kwargs;
    if (function->takes_varargs) *sah_jr_slot(run, function->varargs) = varargs;
    if (function->takes_caller) {
        const sah_jv *caller = named_argument(args, sah_jtext_c("caller"));
        *sah_jr_slot(run, function->caller) =
            caller != NULL ? *caller : sah_jr_undefined_hint(run, "No caller defined");
    }
    return !run->failed;
}

static void put_parameters(sah_jrun *run, const sah_jbody *function, const sah_jargs *args)
{
    for (size_t i = 0; i < function->n_parameters; i++) {
        const sah_jv *named = i < args->n ? NULL : named_argument(args, function->parameters[i]->text);
        *sah_jr_slot(run, function->places[i]) = i < args->n     ? args->positional[i]
                                                 : named != NULL ? *named
                                                                 : sah_jv_missing();
    }
}

/* Defaults are evaluated in the macro, one after the other. */
static void put_defaults(sah_jrun *run, const sah_jbody *function)
{
    for (size_t i = 0; i < function->n_parameters && !run->failed; i++) {
        if (sah_jr_slot(run, function->places[i])->kind != SAH_J_MISSING) continue;
        const sah_jv value = function->defaults[i] != NULL
                                 ? sah_jr_eval(run, function->defaults[i])
                                 : sah_jr_undefined_hint(run, "a parameter of a macro was not provided");
        *sah_jr_slot(run, function->places[i]) = value;
    }
}

sah_jv sah_jr_call_macro(sah_jrun *run, const sah_jmacro *macro, const sah_jargs *args)
{
    const sah_jnode *node = macro->node;
    sah_jbuffer buffer = {0}, *out = run->out;
    sah_jframe *caller = run->frame, *frame = sah_jr_alloc(run, 1, sizeof *frame);
    if (frame == NULL || !sah_jr_step(run, 1 + node->function->n_slots / 8)) return sah_jv_missing();
    *frame = (sah_jframe){sah_jr_alloc(run, node->function->n_slots, sizeof *frame->slots), macro->frame};
    if (frame->slots == NULL) return sah_jv_missing();
    run->frame = frame;
    run->out = &buffer;
    put_parameters(run, node->function, args);
    if (put_rest(run, node->function, args)) {
        sah_jr_enter(run, &node->scope);
        put_defaults(run, node->function);
        if (!run->failed) sah_jr_exec(run, &node->body);
    }
    run->frame = caller;
    run->out = out;
    return sah_jr_buffer_text(run, &buffer);
}

sah_jv sah_jr_call(sah_jrun *run, sah_jv callee, const sah_jargs *args)
{
    if (run->failed) return sah_jv_missing();
    switch (callee.kind) {
    case SAH_J_FUNCTION:
        return sah_jr_call_builtin(run, callee.function, "function", sah_jv_missing(), args);
    case SAH_J_METHOD:
        return sah_jr_call_builtin(run, callee.method->builtin, "method", callee.method->self, args);
    case SAH_J_MACRO:
        return sah_jr_call_macro(run, callee.macro, args);
    case SAH_J_LOOP:
        return sah_jr_fail(run, "a recursive loop (a call of `loop`) is not supported");
    default:
        return sah_jr_type_error(run, callee, "'%s' object is not callable", sah_jv_type(callee));
    }
}

/* ---- Functions ----------------------------------------------------------------------------------------- */

enum { LONGEST_RANGE = 100000 /* as Jinja's sandbox has it */ };

static sah_jv run_range(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)self;
    int64_t ends[3] = {0, 0, 1};
    size_t n = 0;
    for (; n < 3 && a[n].kind != SAH_J_MISSING; n++) {
        if (a[n].kind != SAH_J_INT && a[n].kind != SAH_J_BOOL)
            return sah_jr_type_error(run, a[n], "'%s' object cannot be interpreted as an integer",
                                     sah_jv_type(a[n]));
        ends[n] = sah_jv_integer(a[n]);
    }
    if (n == 1) {
        ends[1] = ends[0];
        ends[0] = 0;
    }
    if (ends[2] == 0) return sah_jr_fail(run, "range() arg 3 must not be zero");
    const bool up = ends[2] > 0, empty = up ? ends[0] >= ends[1] : ends[0] <= ends[1];
    const uint64_t span = up ? (uint64_t)ends[1] - (uint64_t)ends[0] : (uint64_t)ends[0] - (uint64_t)ends[1];
    const uint64_t stride = up ? (uint64_t)ends[2] : 0 - (uint64_t)ends[2];
    const uint64_t count = empty ? 0 : (span - 1) / stride + 1;
    if (count > LONGEST_RANGE) return sah_jr_fail(run, "a range of more than %d items", LONGEST_RANGE);
    sah_jrange *range = sah_jr_alloc(run, 1, sizeof *range);
    if (range == NULL) return sah_jv_missing();
    *range = (sah_jrange){ends[0], ends[1], ends[2], (size_t)count};
    return (sah_jv){.kind = SAH_J_RANGE, .range = range};
}

/* dict(mapping or pairs, name=value, ...). */
static sah_jv run_dict(sah_jrun *run, sah_jv self, const sah_jargs *args)
{
    (void)self;
    sah_jv dict = sah_jr_dict(run), pair;
    if (args->n > 1) return sah_jr_fail(run, "dict expected at most 1 argument, got %zu", args->n);
    if (args->n == 1 && args->positional[0].kind == SAH_J_DICT) {
        const sah_jdict *other = args->positional[0].dict;
        for (size_t i = 0; i < other->n && !run->failed; i++)
            sah_jr_dict_set(run, dict, other->keys[i], other->values[i]);
    } else if (args->n == 1) {
        sah_jiterator *pairs = sah_jr_iterate(run, args->positional[0]);
        while (pairs != NULL && sah_jr_next(run, pairs, &pair)) {
            pair = sah_jr_to_list(run, pair, SAH_J_LIST);
            if (!run->failed && pair.list->n != 2) sah_jr_fail(run, "dict() takes pairs");
            if (!run->failed) sah_jr_dict_set(run, dict, pair.list->items[0], pair.list->items[1]);
        }
    }
    for (size_t i = 0; i < args->n_named && !run->failed; i++)
        sah_jr_dict_set(run, dict, sah_jr_text(run, args->names[i]), args->named[i]);
    return run->failed ? sah_jv_missing() : dict;
}

static sah_jv run_namespace(sah_jrun *run, sah_jv self, const sah_jargs *args)
{
    sah_jv names = run_dict(run, self, args);
    if (run->failed) return sah_jv_missing();
    for (size_t i = 0; i < names.dict->n; i++) {
        const sah_jv key = names.dict->keys[i];
        if (key.kind == SAH_J_TEXT && key.text->size > 0 && key.text->data[0] == '_')
            return sah_jr_fail(run, "a namespace cannot hold '%.*s', which begins with _",
                               (int)key.text->size, key.text->data);
    }
    names.kind = SAH_J_NAMESPACE;
    return names;
}

static sah_jv run_raise_exception(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)self;
    const sah_jtext message = sah_jr_str(run, a[0]);
    if (run->failed) return sah_jv_missing();
    run->failed = run->raised = true;
    sah_fail(run->error, SAH_FAILED, "%.*s", message.size < 500 ? (int)message.size : 500, message.data);
    return sah_jv_missing();
}

/* One conversion of strftime, "%d" or "%-d". */
static void add_time(sah_jrun *run, sah_jbuffer *buffer, sah_jtext conversion)
{
    char format[8], text[128];
    if (sah_jtext_is(conversion, "%f")) { /* microseconds; C has none */
        sah_jr_add_c(run, buffer, "000000");
    } else if (!sah_jtext_is(conversion, "%z") &&
               !sah_jtext_is(conversion, "%Z")) { /* empty without a zone */
        memcpy(format, conversion.data, conversion.size);
        format[conversion.size] = '\0';
        sah_jr_add(run, buffer, text, strftime(text, sizeof text, format, run->now));
    }
}

static sah_jv run_strftime_now(sah_jrun *run, sah_jv self, const sah_jv *a)
{
    (void)self;
    sah_jbuffer buffer = {0};
    if (a[0].kind != SAH_J_TEXT) return sah_jr_type_error(run, a[0], "strftime_now needs a string");
    const sah_jtext format = *a[0].text;
    for (size_t at = 0, size; at < format.size && !run->failed; at += size) {
        size = 1;
        if (format.data[at] == '%' && at + 1 < format.size) {
            size = 2;
            if (strchr("-_0^#:EO", format.data[at + 1]) != NULL && at + 2 < format.size) size = 3;
            if (memchr(format.data + at, '\0', size) != NULL ||
                (unsigned char)format.data[at + size - 1] >= 0x80)
                return sah_jr_fail(run, "strftime_now: an unknown conversion");
            add_time(run, &buffer, sah_jtext_cut(format, at, at + size));
        } else {
            sah_jr_add(run, &buffer, format.data + at, 1);
        }
    }
    return sah_jr_buffer_text(run, &buffer);
}

static const sah_jbuiltin functions[] = {
    {"range", "start stop step", 1, run_range, NULL},
    {"dict", "", 0, NULL, run_dict},
    {"namespace", "", 0, NULL, run_namespace},
    {"raise_exception", "message", 1, run_raise_exception, NULL},
    {"strftime_now", "format", 1, run_strftime_now, NULL},
    {"lipsum", "", 0, NULL, NULL},
    {"cycler", "", 0, NULL, NULL},
    {"joiner", "", 0, NULL, NULL},
};

const sah_jbuiltin *sah_jinja_function_named(sah_jtext name)
{
    return sah_jinja_find_builtin(functions, sizeof functions / sizeof *functions, name);
}
