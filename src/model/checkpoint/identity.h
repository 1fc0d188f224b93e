/* SPDX-License-Identifier: Apache-2.0 */
/* How models and parts of heads are written down: in result files, and in what surgery leaves with a
 * checkpoint. */
#ifndef SAH_MODEL_CHECKPOINT_IDENTITY_H
#define SAH_MODEL_CHECKPOINT_IDENTITY_H

#include "sahara.h"
#include "util/json.h"

/* {"name", "xxh3", "family", "layers", ...}, the "model" of docs/files.md. NULL: no memory. */
json_t *sah_model_record(const sah_model_info *info);

/* Parts as the command line writes them: "q", "q,v". */

void sah_parts_name(unsigned parts, char out[8]);

#endif
