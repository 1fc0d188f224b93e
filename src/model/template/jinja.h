/* A Jinja template in one spelling, so that chat templates can be recognised by what they write. Not an
 * interpreter. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_H
#define SAH_MODEL_TEMPLATE_JINJA_H

#include "util/strings.h"

/* A text literal in a spelled-out template or in a pattern. */
#define SAH_JINJA_LITERAL(text) "\001" text "\002"

/* In a pattern: any identifier, and any text inside one literal. The first text matched is captured. */
#define SAH_JINJA_NAME "\003"
#define SAH_JINJA_TEXT "\004"

typedef struct sah_jinja {
    /* Tags without white space and '-', comments gone; x['y'] as x.y; literals decoded between \001 and \002,
     * those that are joined by + as one. Text outside of tags is what Jinja leaves of it under trim_blocks
     * and lstrip_blocks. */
    sah_text text;
    bool text_outside; /* something besides white space stands outside of tags */
    bool blanks_outside; /* white space does */
} sah_jinja;

typedef struct sah_capture {
    const char *text;
    size_t size;
} sah_capture;

/* False when memory is out, a tag does not end, or the template holds control characters that the spelling
 * uses itself. */
bool sah_jinja_spell(const char *source, sah_jinja *out);
void sah_jinja_free(sah_jinja *jinja);

/* The first place where `pattern` matches, or NULL. `capture` may be NULL. */
const char *sah_jinja_find(const char *spelled, const char *pattern, sah_capture *capture);
size_t sah_jinja_count(const char *spelled, const char *pattern);

/* Is every output tag that no `if` guards one of the n patterns? */
bool sah_jinja_writes_only(const char *spelled, const char *const *patterns, size_t n);

#endif
