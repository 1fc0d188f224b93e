/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding: sequences that grow from the prompts of a forest, one token at a time and all together. The keys
 * and values of every layer are kept, so a step is a forward pass over one new node a live sequence: its
 * ancestors are the forest's path to its prompt and its own nodes before.
 *
 * A sequence's states do not depend on which others live beside it: every row is computed by itself. */
#ifndef SAH_ENGINE_DECODE_H
#define SAH_ENGINE_DECODE_H

#include "engine/forest.h"
#include "engine/model.h"

typedef struct sah_decoding sah_decoding;

/* Runs the prompts under the edits (which must outlive the decoding, and so must `donors`, NULL where no edit asks
 * for them). Each sequence may be given `most_steps` tokens. */
sah_status sah_decoding_new(const sah_model *model, const sah_prompt *prompts, size_t n, int32_t most_steps,
                            const sah_edit *edits, size_t n_edits, const struct sah_donors *donors,
                            sah_decoding **out, sah_error *error);
void sah_decoding_free(sah_decoding *decoding);

/* The live sequences, ascending: numbers of their prompts, [*n]. */
const int32_t *sah_decoding_live(const sah_decoding *decoding, int32_t *n);

/* Final-norm hidden states [live, d] of the live sequences' last tokens, in their order. */
const float *sah_decoding_hidden(const sah_decoding *decoding);

/* Gives each live sequence its next token, tokens [live]; -1: the sequence is finished and leaves, its memory
 * serves others. */
sah_status sah_decoding_step(sah_decoding *decoding, const int32_t *tokens, sah_error *error);

/* Bytes a decoding needs at most for `n_tokens` prompt tokens in all, of `n` prompts, beside the packed
 * weights. False when that overflows. */
bool sah_decoding_bytes(const sah_config *config, size_t n, size_t n_tokens, size_t most_steps,
                        size_t *bytes);

#endif
