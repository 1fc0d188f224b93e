/* What a chat family writes around a system text and a query. */
#ifndef SAH_MODEL_TEMPLATE_TEMPLATE_SHAPE_H
#define SAH_MODEL_TEMPLATE_TEMPLATE_SHAPE_H

#include "util/strings.h"

/* BOS, opening, [system_open, system text, system_close], user_open, query, user_close. */
typedef struct sah_shape {
    const char *family;
    const char *opening, *system_open, *system_close, *user_open, *user_close;
    const char *default_system; /* written where none is given; NULL: then no system part */
    bool writes_bos;
    bool takes_system;
    bool skips_empty_system; /* an empty system text is none */
    bool
        trims; /* white space at the ends of both texts; of the query's beginning only where it comes first */
    bool trims_inside; /* ... or wherever it comes */
    sah_text owned[4]; /* what the pointers above need to live on */
} sah_shape;

/* The family's usual form; NULL: no such family. */
const sah_shape *sah_shape_named(const char *family);
const char *sah_shape_names(void); /* "chatml, llama2, ..." */

/* The shape of a model's own template; false: unknown, or memory is out. sah_shape_free() after true. */
bool sah_shape_recognise(const char *jinja, sah_shape *out);
void sah_shape_free(sah_shape *shape);

#endif
