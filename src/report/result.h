/* SPDX-License-Identifier: Apache-2.0 */
/* Result files read back: a header, then a line per head (docs/files.md). */
#ifndef SAH_REPORT_RESULT_H
#define SAH_REPORT_RESULT_H

#include <jansson.h>
#include "sahara.h"

/* Which numbers a line has. */
typedef enum sah_kind {
    SAH_KIND_SHIPS, /* one KL a query, then one a contrast query; with openings the lists of sah_effects behind
                       them likewise */
    SAH_KIND_FIND, /* those of SAH_FIND_*, then the statistics */
    SAH_KIND_DIRECTION /* those of SAH_DIRECTION_* */
} sah_kind;

/* NaN where a file has none; shift, and with contrast queries the three behind SAH_FIND_CONTRAST, are there.
 */
enum {
    SAH_FIND_SHIFT,
    SAH_FIND_SHIFT_LOW,
    SAH_FIND_SHIFT_HIGH,
    SAH_FIND_CONTRAST,
    SAH_FIND_LOW,
    SAH_FIND_HIGH,
    SAH_FIND_DIFFERENCE,
    SAH_FIND_N
};
enum {
    SAH_DIRECTION_CONTRIBUTION,
    SAH_DIRECTION_HARMFUL,
    SAH_DIRECTION_HARMLESS,
    SAH_DIRECTION_LOW,
    SAH_DIRECTION_HIGH,
    SAH_DIRECTION_N
};

/* The heads of one step; ships and direction have one. */
typedef struct sah_result_step {
    double **rows; /* [n_layers * n_heads] NULL, or the head's numbers; itself NULL when there are none */
    size_t n_rows;
    bool finished; /* a head was chosen: */
    sah_chosen chosen;
    double score; /* the group's: its shift, or with contrast queries the difference */
    double *random; /* [n_random] the same of random groups of its size, of find */
    size_t n_random, random_capacity;
} sah_result_step;

/* What the judge says of the response that an opening belongs to. */
typedef enum sah_opening_kind {
    SAH_OPENING_ANSWERS,
    SAH_OPENING_REFUSES,
    SAH_OPENING_THINKS /* neither is known: it is still thinking where the judged tokens end */
} sah_opening_kind;

/* What ships says of openings: a column a query, contrast queries among them, in an order of its own. */
enum { SAH_EFFECT, SAH_TOWARD, SAH_OPENING_KL, SAH_N_EFFECTS };
typedef struct sah_effects {
    size_t n; /* queries; 0: no openings */
    sah_opening_kind *kinds; /* [n] */
    double *values[SAH_N_EFFECTS]; /* [n_scored, n] each, NaN where a query has none */
} sah_effects;

/* One file. */
typedef struct sah_result_file {
    char *path; /* a copy: the caller's may be gone by the time a message names it */
    sah_kind kind;
    json_t *header;
    int n_layers, n_heads;
    size_t n_expected; /* heads of the settings' ranges */
    size_t n_screened; /* those of them that a race left behind, without scores on every query */
    size_t n_queries, n_contrast;
    sah_opening_kind *openings; /* [n_queries + n_contrast] ships with openings, or NULL */
    size_t n_statistics; /* find: of the labels as they are and shuffled, of every head or of none */
    size_t width; /* numbers of a row, those left aside */
    sah_result_step *steps; /* [n_steps] */
    size_t n_steps, step_capacity;
} sah_result_file;

/* Several files as one: the heads that all have, their numbers side by side. */
struct sah_result {
    sah_result_info info;
    sah_kind kind;
    sah_result_file *files; /* [n_files] */
    size_t n_files;
    sah_strings queries, contrast;
    bool grouped; /* the step's heads were ablated beside a group that is not empty */
    sah_head *heads; /* [n_scored] by layer, then head */
    double *kl; /* ships: [n_scored, n_queries] */
    double *contrast_kl; /* ships: [n_scored, n_contrast] */
    sah_effects effects; /* ships, where every file has openings */
    const double **rows; /* find, direction: [n_scored] numbers of the head, in the file's memory */
};

/* Every head has a difference of harmful and harmless: contrast queries, or a direction. */
bool sah_result_has_difference(const sah_result *result);
/* Its settings say that the divergence over whole openings was asked for. */
bool sah_result_has_opening_kl(const sah_result *result);

#endif
