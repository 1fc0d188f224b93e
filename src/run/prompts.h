/* SPDX-License-Identifier: Apache-2.0 */
/* What every attribution run begins with: queries to prompts to a forest, the heads to try, the settings to
 * write down. */
#ifndef SAH_RUN_PROMPTS_H
#define SAH_RUN_PROMPTS_H

#include "engine/forest.h"
#include "engine/model.h"
#include "run/journal.h"
#include "util/json.h"

/* One query wrapped in a template and tokenised; *prompt and *tokens for free() (NULL where it failed). A
 * prompt longer than the model takes is an error. */
sah_status sah_run_prompt(const sah_model *model, const char *template_, const char *system,
                          const char *query, char **prompt, int32_t **tokens, size_t *n, sah_error *error);

/* The prompts of a run. Start from {0}. */
typedef struct sah_run_prompts {
    int32_t **tokens; /* [n] */
    sah_prompt *items; /* [n] the same */
    const char **opened; /* [n] the mark with which the prompt opens the model's thinking, or NULL */
    int32_t **sources; /* [n] theirs, where donors stand in (interchange.h); else NULL */
    size_t n;
} sah_run_prompts;

/* Wraps the queries of the lists (NULL: none), one list behind the other, and makes tokens of them. The caller
 * frees it, in either case. */
sah_status sah_run_prompts_new(const sah_model *model, const sah_strings *const *lists, size_t n_lists,
                               const char *template_, const char *system, sah_run_prompts *out,
                               sah_error *error);
void sah_run_prompts_free(sah_run_prompts *prompts);

/* The forest of such prompts, in the run's template (or `default_template`), and the donors of the run's ablation:
 * prompt i is query query_of[i] of the run's lists, or i where that is NULL. *donors for sah_donors_free() behind the
 * forest; NULL where nothing stands in. */
sah_status sah_run_forest(const sah_model *model, const sah_strings *const *lists, size_t n_lists,
                          const sah_run_options *options, const char *default_template,
                          const size_t *query_of, struct sah_donors **donors, sah_forest **out,
                          sah_error *error);

/* The options as they are meant: NULL, and an ablation that is all 0, are the defaults. */
sah_run_options sah_run_resolve(const sah_run_options *options);

/* The options' callback of lines. */
sah_line_sink sah_run_sink(const sah_run_options *options);

/* Heads of a layer under the run's ablation: key heads when part k stands alone, else query heads. */
int sah_run_heads_of_layer(const sah_model_info *info, const sah_ablation *ablation);

/* The heads of the run's ranges, layer after layer; *heads for free(). A range outside the model is an error.
 */
sah_status sah_run_heads(const sah_model *model, const sah_run_options *options, sah_head **heads, size_t *n,
                         sah_error *error);

/* Adds to a header's settings what a chat template was given besides the query (docs/files.md,
 * "template_vars", "template_date"). False: no memory, or `settings` is NULL. */
bool sah_run_note_template(const sah_model *model, const char *template_, json_t *settings);

/* Where another device than the CPU computes: adds it to settings, since numbers depend on it. False when memory is
 * out. */
bool sah_run_note_device(const sah_model *model, json_t *settings);

/* The header's "settings", in which numbers depend on nothing that is not there; the caller may add its own.
 * NULL: no memory. */
json_t *sah_run_settings(const sah_model *model, const sah_run_options *options,
                         const char *default_template);

/* Says in the settings that products are taken by differences, where they are (engine/difference.h). */
bool sah_run_note_products(bool differs, json_t *settings);
/* How many heads each layer has to try, as "heads_of_layers", where layers differ. False: no memory. */
bool sah_run_add_heads(json_t *settings, const sah_model *model, const sah_run_options *options);

/* The options' refusal check, where one was made, as the header's "refusal_check". False: no memory. */
bool sah_run_add_refusal(json_t *header, const sah_run_options *options);

/* How the contrast queries were sampled, where they were, as the header's "contrast_matched". False: no
 * memory. */
bool sah_run_add_matching(json_t *header, const sah_matching *matching);

/* The list as a JSON array. NULL: no memory, or text that is not UTF-8. */
json_t *sah_run_strings(const sah_strings *strings);

/* A header that could not be made: a query of the lists (either may be NULL), the template or the system prompt
 * is not UTF-8, or memory is out. */
sah_status sah_run_no_header(const sah_strings *queries, const sah_strings *contrast, const char *template_,
                             const char *system, sah_error *error);

/* "5-6" to a head with layer < n_layers, head < n_heads; false for anything else. */
bool sah_head_read(const char *text, int n_layers, int n_heads, sah_head *out);

#endif
