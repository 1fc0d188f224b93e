/* SPDX-License-Identifier: Apache-2.0 */
/* Whole passes by differences (difference.h): under many ablations, each held against one base pass in float32 that
 * goes up with them, a layer at a time. */
#ifndef SAH_ENGINE_BESIDE_H
#define SAH_ENGINE_BESIDE_H

#include "engine/forest.h"
#include "engine/model.h"

typedef struct sah_edit_list {
    const sah_edit *edits;
    size_t n;
} sah_edit_list;

/* Passes that go up together, at most: sah_sweep_differs() has found room for the rows of as many candidates. */
enum { SAH_MOST_BESIDE = 32 };

/* Final-norm hidden states [n, n_prompts, d], in the host's memory, of every prompt's last token under each of n
 * ablations; no edits: float32's. Only where sah_sweep_differs(), whose memory is enough. */
sah_status sah_forward_beside(const sah_model *model, const sah_forest *forest,
                              const sah_edit_list *ablations, size_t n, float *hidden, sah_error *error);

#endif
