/* SPDX-License-Identifier: Apache-2.0 */
/* Where the matrices of a layer lie in tensors that hold several of them, or keep rows in an order of their own. */
#ifndef SAH_MODEL_CHECKPOINT_LAYOUT_H
#define SAH_MODEL_CHECKPOINT_LAYOUT_H

#include "model/family/family.h"

/* The place of a role's rows in the tensor of `cut` (not of those of experts), and how many rows that tensor has.
 * `gguf`: of that container. */
sah_layout sah_layout_of(const sah_family *family, const sah_config *config, int layer, sah_role role,
                         sah_cut cut, bool gguf, size_t *all);
/* The same of its columns. */
sah_layout sah_columns_layout_of(const sah_family *family, const sah_config *config, int layer, sah_role role,
                                 bool gguf);

/* The row of the tensor in which a matrix has its row `row`. */
size_t sah_layout_row(const sah_layout *layout, size_t row);
/* The place of number i of groups of `each` where the groups take turns. */
size_t sah_layout_turn(size_t i, size_t groups, size_t each);

#endif
