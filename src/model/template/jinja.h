/* SPDX-License-Identifier: Apache-2.0 */
/* Jinja templates as published chat templates use them: read once, rendered for each conversation.
 *
 * The language is Jinja 3.1's as transformers 5 sets it up for chat templates: an immutable sandbox,
 * trim_blocks and lstrip_blocks, break and continue, {% generation %}, tojson, raise_exception and
 * strftime_now. What lies outside (include, import, extends, block, autoescape, recursive loops, a few
 * filters) is refused by its name. A template is a stranger's program: its steps, memory, depth and output
 * are bounded. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_H
#define SAH_MODEL_TEMPLATE_JINJA_H

#include <jansson.h>
#include <time.h>

#include "util/strings.h"

typedef struct sah_jinja sah_jinja;

/* Reads a template; SAH_FAILED says what is wrong or not supported, and in which line. */
sah_status sah_jinja_new(const char *source, size_t size, sah_jinja **out, sah_error *error);
void sah_jinja_free(sah_jinja *jinja);

/* Whether the template's text names `name` as a variable or function anywhere. */
bool sah_jinja_names(const sah_jinja *jinja, const char *name);

/* Why a template gave no text. */
typedef enum sah_jinja_end {
    SAH_JINJA_DONE,
    SAH_JINJA_RAISED, /* it called raise_exception: the message is the template's own */
    SAH_JINJA_WRONG /* it failed, uses what is not supported, or went beyond a bound */
} sah_jinja_end;

/* Renders with `variables`, JSON objects of which a later one counts over an earlier one. strftime_now
 * formats `now`. Appends to `out`, which may hold U+0000. On SAH_JINJA_RAISED and SAH_JINJA_WRONG `error`
 * has the reason. */
sah_jinja_end sah_jinja_render(const sah_jinja *jinja, const json_t *const *variables, size_t n,
                               const struct tm *now, sah_text *out, sah_error *error);

#endif
