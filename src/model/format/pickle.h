/* SPDX-License-Identifier: Apache-2.0 */
/* Python's pickle read as data. A pickle is a program that builds objects; of its instructions only those are
 * known here that lists of tensors are written with, and nothing is called: a call becomes a value that says
 * which name was to be called with what. Names that the caller does not know are refused. */
#ifndef SAH_MODEL_FORMAT_PICKLE_H
#define SAH_MODEL_FORMAT_PICKLE_H

#include "sahara.h"

typedef enum sah_pickle_kind {
    SAH_PICKLE_UNSET,
    SAH_PICKLE_NONE,
    SAH_PICKLE_BOOL, /* integer */
    SAH_PICKLE_INT,
    SAH_PICKLE_FLOAT,
    SAH_PICKLE_STRING,
    SAH_PICKLE_GLOBAL, /* integer: which of the caller's names */
    SAH_PICKLE_TUPLE,
    SAH_PICKLE_LIST,
    SAH_PICKLE_DICT, /* items: key, value, key, value, ... */
    SAH_PICKLE_CALL, /* items as of a dictionary, put into what the call gave */
    SAH_PICKLE_OUTSIDE /* a thing kept outside the pickle; items[0] says which */
} sah_pickle_kind;

typedef struct sah_pickle_value {
    sah_pickle_kind kind;
    union {
        int64_t integer;
        double number;
        size_t length; /* of a string */
    };
    union {
        const char *text; /* of a string: in the pickle, not NUL-terminated */
        struct sah_pickle_group *group; /* from SAH_PICKLE_TUPLE on */
    };
} sah_pickle_value;

typedef struct sah_pickle_group {
    sah_pickle_value *items;
    size_t n, capacity;
    size_t callee; /* of a call: which of the caller's names */
    const struct sah_pickle_group *arguments; /* of a call */
} sah_pickle_group;

typedef struct sah_pickle {
    sah_pickle_value root;
    sah_pickle_group **groups; /* all there are, each once; they may hold each other in circles */
    size_t n, capacity;
} sah_pickle;

/* `names[n_names]`: "module name" of every class and function that may occur. The pickle's bytes must stay while
 * the result is in use. Memory is bounded by the size of the pickle. */
sah_status sah_pickle_read(const uint8_t *bytes, size_t size, const char *where, const char *const *names,
                           size_t n_names, sah_pickle *out, sah_error *error);
void sah_pickle_free(sah_pickle *pickle);

#endif
