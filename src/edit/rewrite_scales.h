/* SPDX-License-Identifier: Apache-2.0 */
/* What of a quantized checkpoint goes when its tensors become floats: their scales, and config.json's words on them. */
#ifndef SAH_EDIT_REWRITE_SCALES_H
#define SAH_EDIT_REWRITE_SCALES_H

#include "edit/rewrite_tensors.h"

/* Whether tensor `name` of the files holds scales of a tensor that becomes floats; how many bytes
 * all such take; config.json as it must be where there are any, for free(). */
bool sah_rewrite_drops(const sah_rewrite *rewrite, const char *name);
size_t sah_rewrite_dropped_bytes(const sah_rewrite *rewrite);
sah_status sah_rewrite_config(const sah_rewrite *rewrite, const char *path, char **text, sah_error *error);

#endif
