/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts to responses, decoded together. */
#ifndef SAH_EVAL_GENERATE_RESPOND_H
#define SAH_EVAL_GENERATE_RESPOND_H

#include "engine/forest.h"
#include "engine/model.h"
#include "eval/generate/sample.h"

typedef struct sah_reply {
    size_t prompt; /* index */
    const int32_t *tokens; /* [n] the end token left out; valid during the call */
    size_t n;
    bool ended; /* at an end token, not at the limit */
} sah_reply;

typedef struct sah_respond_options {
    sah_sampling sampling;
    uint64_t seed;
    const uint64_t *numbers; /* [n_prompts] with the seed and the place they say what is drawn; may be NULL
                                when nothing is */
    size_t most_tokens; /* of a reply, at least 1 */
    const struct sah_donors *donors; /* of the prompts' sources; NULL where no edit asks for them */
    uint64_t memory; /* 0: a quarter of the machine's */
    sah_progress_fn progress; /* or NULL */
    void *user;
    const char *what;
    uint64_t *done, *total; /* tokens, for the progress: counted up; corrected when a reply ends early */
    sah_status (*take)(void *ctx, const sah_reply *reply, sah_error *error);
    void *ctx;
} sah_respond_options;

/* Hands every prompt's reply to `take` as soon as it is finished. As many prompts live together, in order, as
 * the memory takes. */
sah_status sah_respond(const sah_model *model, const sah_prompt *prompts, size_t n, const sah_edit *edits,
                       size_t n_edits, const sah_respond_options *options, sah_error *error);

#endif
