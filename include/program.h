/* SPDX-License-Identifier: Apache-2.0 */
/* What the library does for the program `sahara` alone, which is linked to it statically: texts that it prints, the
 * last lines of merged results, the merging of an audit's directories. It is not installed, the shared library does
 * not show it, and it may change at any time; sahara.h is what other programs build on. */
#ifndef SAHARA_PROGRAM_H
#define SAHARA_PROGRAM_H

#include "sahara.h"

/* Adds to the journal `path` of a search's first step, where every head has its line (of shards, merged), the choice
 * that follows from them. `*done` is false where lines are missing, and where lines alone do not tell: with a starting
 * group, or screened. A file of another command is left alone. */
sah_status sah_find_conclude(const char *path, bool *done, sah_error *error);

/* Adds to the journal `path` of a utility run, where every item and window has its line (of shards, merged), the totals
 * that follow from them. `*done` is false where lines are missing. A file of another command is left alone. */
sah_status sah_utility_conclude(const char *path, bool *done, sah_error *error);

/* sah_merge() of the directories that an audit's shards wrote, file by file, into the directory `out`, which is made
 * when it is not there. `notes` (start from {0}) gets a line for each result of which something is missing. */
sah_status sah_audit_merge(const char *const *directories, size_t n, const char *out, sah_strings *notes,
                           sah_error *error);

/* What a sweep is about to do, and about how long that will take. */
typedef struct sah_estimate {
    size_t heads, queries; /* contrast queries among them */
    double operations; /* floating-point ones, without those of openings */
    double seconds;
} sah_estimate;

/* Of sah_ships(), or one step of sah_find(), over all heads of the options' ranges (shards share them), from the
 * operations that remain after sharing and a hundredth of a second's measurement of this machine. `contrast` may be
 * NULL; `default_template` is the command's. */
sah_status sah_sweep_estimate(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                              const char *default_template, const sah_run_options *options, sah_estimate *out,
                              sah_error *error);

/* Whether such a run could begin: its ranges, its partners, and whether the model takes its prompts. */
sah_status sah_sweep_check(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                           const char *default_template, const sah_run_options *options, sah_error *error);

/* The result as text for a person, or as one JSON object; free `*text` with free(). */
sah_status sah_bench_text(const sah_bench_result *result, bool json, char **text, sah_error *error);

/* The answer as lines for the eye, or as one JSON object; free `*text` with free(). */
sah_status sah_checks_text(const sah_checks *checks, bool json, char **text, sah_error *error);

/* sah_model_describe() as text for a person, or as one JSON object; free `*text` with free(). */
sah_status sah_model_text(const sah_model *model, bool json, char **text, sah_error *error);

/* {"tokens":[...],"logits":[...]} and a line end; numbers read back as the same floats. Free
 * `*text` with free(). */
sah_status sah_logits_text(const int32_t *tokens, size_t n, const float *logits, size_t n_vocab, char **text,
                           sah_error *error);

#endif
