/* Result files read back: a header, then a line per head (docs/files.md). */
#ifndef SAH_REPORT_RESULT_H
#define SAH_REPORT_RESULT_H

#include <jansson.h>
#include "sahara.h"

/* Which numbers a line has. */
typedef enum sah_kind {
    SAH_KIND_SHIPS, /* one KL a query, then one a contrast query */
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
} sah_result_step;

/* One file. */
typedef struct sah_result_file {
    const char *path;
    sah_kind kind;
    json_t *header;
    int n_layers, n_heads;
    size_t n_expected; /* heads of the settings' ranges */
    size_t n_screened; /* those of them that a race left behind, without scores on every query */
    size_t n_queries, n_contrast;
    size_t n_statistics; /* find: of the labels as they are and shuffled, of every head or of none */
    size_t width; /* numbers of a row, those left aside */
    sah_result_step *steps; /* [n_steps] */
    size_t n_steps, step_capacity;
} sah_result_file;

/* Reads the whole lines of a file; a last one without its end was cut short when the run stopped. The caller
 * closes it, in either case. */
sah_status sah_result_file_open(const char *path, sah_result_file *out, sah_error *error);
void sah_result_file_close(sah_result_file *file);

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
    const double **rows; /* find, direction: [n_scored] numbers of the head, in the file's memory */
};

/* Every head has a difference of harmful and harmless: contrast queries, or a direction. */
bool sah_result_has_difference(const sah_result *result);

#endif
