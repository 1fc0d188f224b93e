/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint written anew with some of its tensors changed and everything else byte for byte. Surgery and
 * graft say what changes; the writers of the two containers know how. */
#ifndef SAH_EDIT_REWRITE_H
#define SAH_EDIT_REWRITE_H

#include "edit/rewrite_tensors.h"

/* Sets the types of the changes without data: their values are made once for it, and must be finite. */
sah_status sah_rewrite_plan(sah_rewrite *rewrite, sah_error *error);

/* Writes the result to `path`, which must not exist; `inputs` are the paths it was made from. */
sah_status sah_rewrite_run(sah_rewrite *rewrite, const char *path, const char *const *inputs, size_t n_inputs,
                           sah_error *error);

#endif
