/* SPDX-License-Identifier: Apache-2.0 */
/* What was done to a checkpoint, as it is left with the result (docs/files.md, "sahara.json"). */
#ifndef SAH_EDIT_PROVENANCE_H
#define SAH_EDIT_PROVENANCE_H

#include "edit/rewrite.h"

/* {"sahara": command, "version", "model": the base, "settings", "tensors": the changed ones with their types,
 * "before": what had been done to the base}. Takes the reference of `settings`. The text is for free(). */
sah_status sah_provenance_text(const char *command, const sah_rewrite *rewrite, json_t *settings, char **text,
                               sah_error *error);

/* An adapter as the record names it, whatever the path to it; NULL for NULL. */
const char *sah_provenance_name(const char *adapter);

/* Says of every type that was not kept how many tensors became what. `lost`: what the 16-bit type would have
 * lost, or NULL where that is not the reason. */
sah_status sah_provenance_notes(const sah_rewrite *rewrite, const char *lost, sah_strings *notes,
                                sah_error *error);

#endif
