/* SPDX-License-Identifier: Apache-2.0 */
/* States of other prompts, the donors, that stand in for those of edited heads (docs/method.md, "Ablations": swap
 * and mean-data). They come from the unedited model, one base pass over the donors' own forest, and are numbered
 * by rows; a prompt says for each of its positions which row stands in there (sah_prompt.source). With swap a row is
 * a node of that forest; with mean-data it is a position counted from the end, or the only one. */
#ifndef SAH_ENGINE_DONORS_H
#define SAH_ENGINE_DONORS_H

#include "engine/forest.h"
#include "engine/model.h"
#include "model/checkpoint/heads.h"

typedef enum sah_donor_kind {
    SAH_DONOR_PARTNERS, /* swap: each prompt has its partner among the donors */
    SAH_DONOR_MEANS, /* mean-data: the mean over the donors, by position from the end */
    SAH_DONOR_MEAN /* mean-data: over all positions of all donors */
} sah_donor_kind;

typedef struct sah_donors {
    sah_donor_kind kind;
    sah_forest *forest; /* of the donors, every position an end */
    size_t n;
    size_t *lengths, *first; /* [n] tokens of a donor; where its positions begin in forest->last */
    int64_t n_positions; /* of all donors */
    int32_t n_rows;
} sah_donors;

/* Donors of a run: n prompts with tokens in 0..n_vocab-1. */
sah_status sah_donors_new(sah_donor_kind kind, const sah_prompt *prompts, size_t n, int32_t n_vocab,
                          sah_donors **out, sah_error *error);
void sah_donors_free(sah_donors *donors);

/* source [n] of a path: a prompt of `length` tokens, whose partner is number `donor`, and new ones behind it. */
void sah_donors_sources(const sah_donors *donors, size_t donor, size_t length, size_t n, int32_t *source);
/* That of a new token. */
int32_t sah_donors_beyond(const sah_donors *donors);

/* Fails where an edit asks for donors of another kind than there are (NULL: none). */
sah_status sah_donors_check(const sah_donors *donors, const sah_edit *edits, size_t n, sah_error *error);

/* A layer's rows of all heads side by side, in the device's memory; q and k behind RoPE, at these positions (NULL: all
 * at 0). */
typedef struct sah_donor {
    const float *q, *k, *z;
    int64_t q_stride, k_stride, z_stride;
    const int32_t *position; /* [rows] */
} sah_donor;

/* The donors' base pass, which walks up as layers are asked for (as sah_base does: snapshot.h). */
typedef struct sah_donor_walk sah_donor_walk;

/* `needed[l]` will take layer l, and let it go again. Donors and `needed` must outlive the walk. */
sah_status sah_donor_walk_new(const sah_model *model, const sah_donors *donors, const int32_t *needed,
                              sah_donor_walk **out, sah_error *error);
void sah_donor_walk_free(sah_donor_walk *walk);
sah_status sah_donor_walk_take(sah_donor_walk *walk, sah_workspace *workspace, int layer,
                               const sah_donor **out, sah_error *error);
void sah_donor_walk_ahead(sah_donor_walk *walk, sah_workspace *workspace, int layer);
void sah_donor_walk_release(sah_donor_walk *walk, int layer, int32_t n);

/* What a pass under given edits needs, all at once. */
typedef struct sah_donor_set {
    sah_donor_walk *walk;
    int32_t *needed; /* [n_layers] */
    const sah_donor **layers; /* [n_layers], NULL where no edit asks; NULL: none does anywhere */
} sah_donor_set;

/* The caller frees it, in either case. `donors` may be NULL where no edit asks for them. */
sah_status sah_donor_set_new(const sah_model *model, const sah_donors *donors, const sah_edit *edits,
                             size_t n_edits, sah_workspace *workspace, sah_donor_set *out, sah_error *error);
void sah_donor_set_free(sah_donor_set *set);

/* Bytes that a walk keeps of a layer. */
uint64_t sah_donor_bytes(const sah_config *config, const sah_donors *donors);

#endif
