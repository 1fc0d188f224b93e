/* SPDX-License-Identifier: Apache-2.0 */
/* Tests: what may stand behind `is`. */
#include <math.h>

#include "model/template/jinja_tests.h"
#include "model/template/jinja_arithmetic.h"
#include "model/template/jinja_call.h"
#include "model/template/jinja_filters.h"
#include "model/template/jinja_iterate.h"
#include "model/template/jinja_print.h"
#include "model/template/jinja_text_methods.h"
#include "model/template/jinja_value.h"

#define TEST(name) static sah_jv name(sah_jrun *run, sah_jv v, const sah_jv *a)

static sah_jv remainder_is(sah_jrun *run, sah_jv v, sah_jv by, int64_t wanted)
{
    const sah_jv remainder = sah_jr_binary(run, SAH_J_MODULO, v, by);
    return run->failed ? remainder : sah_jv_bool(sah_jr_equal(run, remainder, sah_jv_int(wanted)));
}

TEST(t_odd)
{
    (void)a;
    return remainder_is(run, v, sah_jv_int(2), 1);
}

TEST(t_even)
{
    (void)a;
    return remainder_is(run, v, sah_jv_int(2), 0);
}

TEST(t_divisibleby)
{
    return remainder_is(run, v, a[0], 0);
}

static bool all_cased(sah_jrun *run, sah_jv v, bool upper)
{
    const sah_jtext text = sah_jr_str(run, v);
    return sah_jr_step(run, text.size / 64) && sah_jtext_all_cased(text, upper);
}

#define SIMPLE(name, condition)                                                                              \
    TEST(name)                                                                                               \
    {                                                                                                        \
        (void)run;                                                                                           \
        (void)a;                                                                                             \
        return sah_jv_bool(condition);                                                                       \
    }
SIMPLE(t_defined, v.kind != SAH_J_UNDEFINED)
SIMPLE(t_undefined, v.kind == SAH_J_UNDEFINED)
SIMPLE(t_none, v.kind == SAH_J_NONE)
SIMPLE(t_boolean, v.kind == SAH_J_BOOL)
SIMPLE(t_true, v.kind == SAH_J_BOOL && v.truth)
SIMPLE(t_false, v.kind == SAH_J_BOOL && !v.truth)
SIMPLE(t_integer, v.kind == SAH_J_INT)
SIMPLE(t_float, v.kind == SAH_J_FLOAT)
SIMPLE(t_number, sah_jv_is_number(v))
SIMPLE(t_string, v.kind == SAH_J_TEXT)
SIMPLE(t_mapping, v.kind == SAH_J_DICT)
SIMPLE(t_iterable, sah_jr_iterable(v))
SIMPLE(t_sequence, v.kind == SAH_J_UNDEFINED || v.kind == SAH_J_TEXT || v.kind == SAH_J_LIST ||
                       v.kind == SAH_J_TUPLE || v.kind == SAH_J_DICT || v.kind == SAH_J_RANGE)
SIMPLE(t_callable, v.kind == SAH_J_UNDEFINED || v.kind == SAH_J_LOOP || v.kind == SAH_J_MACRO ||
                       v.kind == SAH_J_FUNCTION || v.kind == SAH_J_METHOD)
SIMPLE(t_escaped, v.kind == SAH_J_TEXT && v.safe)
SIMPLE(t_lower, all_cased(run, v, false))
SIMPLE(t_upper, all_cased(run, v, true))
SIMPLE(t_filter, v.kind == SAH_J_TEXT && sah_jinja_filter_named(*v.text) != NULL)
SIMPLE(t_test, v.kind == SAH_J_TEXT && sah_jinja_test_named(*v.text) != NULL)
SIMPLE(t_in, sah_jr_contains(run, a[0], v))
SIMPLE(t_eq, sah_jr_equal(run, v, a[0]))
SIMPLE(t_ne, !sah_jr_equal(run, v, a[0]))
SIMPLE(t_gt, sah_jr_compare(run, v, a[0], ">") > 0)
SIMPLE(t_ge, sah_jr_compare(run, v, a[0], ">=") >= 0)
SIMPLE(t_lt, sah_jr_compare(run, v, a[0], "<") < 0)
SIMPLE(t_le, sah_jr_compare(run, v, a[0], "<=") <= 0)
#undef SIMPLE

/* The same object: singletons and what shares its memory. Of numbers and texts Python decides by chance. */
TEST(t_sameas)
{
    if (v.kind != a[0].kind) return sah_jv_bool(false);
    switch (v.kind) {
    case SAH_J_NONE:
        return sah_jv_bool(true);
    case SAH_J_BOOL:
        return sah_jv_bool(v.truth == a[0].truth);
    case SAH_J_INT:
    case SAH_J_FLOAT:
    case SAH_J_TEXT:
        return sah_jr_fail(run, "the test 'sameas' of a %s is not supported", sah_jv_type(v));
    default:
        return sah_jv_bool(v.list == a[0].list);
    }
}

static const sah_jbuiltin tests[] = {
    {"defined", "", 0, t_defined, NULL},
    {"undefined", "", 0, t_undefined, NULL},
    {"none", "", 0, t_none, NULL},
    {"string", "", 0, t_string, NULL},
    {"mapping", "", 0, t_mapping, NULL},
    {"iterable", "", 0, t_iterable, NULL},
    {"sequence", "", 0, t_sequence, NULL},
    {"number", "", 0, t_number, NULL},
    {"integer", "", 0, t_integer, NULL},
    {"float", "", 0, t_float, NULL},
    {"boolean", "", 0, t_boolean, NULL},
    {"true", "", 0, t_true, NULL},
    {"false", "", 0, t_false, NULL},
    {"callable", "", 0, t_callable, NULL},
    {"sameas", "other", 1, t_sameas, NULL},
    {"escaped", "", 0, t_escaped, NULL},
    {"odd", "", 0, t_odd, NULL},
    {"even", "", 0, t_even, NULL},
    {"divisibleby", "num", 1, t_divisibleby, NULL},
    {"lower", "", 0, t_lower, NULL},
    {"upper", "", 0, t_upper, NULL},
    {"filter", "", 0, t_filter, NULL},
    {"test", "", 0, t_test, NULL},
    {"in", "seq", 1, t_in, NULL},
    {"==", "other", 1, t_eq, NULL},
    {"eq", "other", 1, t_eq, NULL},
    {"equalto", "other", 1, t_eq, NULL},
    {"!=", "other", 1, t_ne, NULL},
    {"ne", "other", 1, t_ne, NULL},
    {">", "other", 1, t_gt, NULL},
    {"gt", "other", 1, t_gt, NULL},
    {"greaterthan", "other", 1, t_gt, NULL},
    {">=", "other", 1, t_ge, NULL},
    {"ge", "other", 1, t_ge, NULL},
    {"<", "other", 1, t_lt, NULL},
    {"lt", "other", 1, t_lt, NULL},
    {"lessthan", "other", 1, t_lt, NULL},
    {"<=", "other", 1, t_le, NULL},
    {"le", "other", 1, t_le, NULL},
};

const sah_jbuiltin *sah_jinja_test_named(sah_jtext name)
{
    return sah_jinja_find_builtin(tests, sizeof tests / sizeof *tests, name);
}
